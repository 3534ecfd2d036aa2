// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxEngineConfig bounds what is read of an engine's file, in bytes. The files
// of real machines have a few thousand.
const maxEngineConfig = 8 << 20

// A placedError is an error at a line of a file, which is named by whoever knows
// it; see inFile.
type placedError struct {
	line int
	err  error
}

func (e placedError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e placedError) Unwrap() error { return e.err }

// inFile puts the file, and the line if it is known, before err.
func inFile(path string, err error) error {
	var placed placedError
	if errors.As(err, &placed) {
		return fmt.Errorf("%s:%d: %w", path, placed.line, placed.err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// A tree is where engines keep their files: the machine ("/"), or another one
// below a folder, such as the image that a package is built for. Paths are those
// that the engine sees.
type tree struct{ root string }

// at returns where path really is.
func (t tree) at(path string) string { return filepath.Join(t.root, path) }

// A content is what a file holds; nil stands for a file that is not there.
type content []byte

func (c content) exists() bool { return c != nil }

// read returns what a file holds that we may write. A symbolic link is refused:
// what is written would take the link's place, so whoever keeps the file
// elsewhere names it there. Links on the way to the file are the administrator's
// own layout, and followed; but not in another tree, which they would lead out of.
func (t tree) read(path string) (content, error) {
	return t.open(path, unix.O_NOFOLLOW)
}

// readOther returns what a file holds that we only look at.
func (t tree) readOther(path string) (content, error) {
	if t.root != "/" {
		return t.read(path)
	}
	return t.open(path, 0)
}

func (t tree) open(path string, flags int) (content, error) {
	if err := t.inside(path); err != nil {
		return nil, err
	}
	fd, err := unix.Open(t.at(path), flags|unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, unix.ELOOP):
		to, _ := os.Readlink(t.at(path))
		return nil, fmt.Errorf("%s: is a symbolic link to %q; name the file itself with --config", path, to)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxEngineConfig+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxEngineConfig {
		return nil, fmt.Errorf("%s: has more than %d bytes", path, maxEngineConfig)
	}
	return append(content{}, data...), nil // never nil
}

// inside refuses a path that a symbolic link takes out of another tree.
func (t tree) inside(path string) error {
	if t.root == "/" {
		return nil
	}
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		st, err := os.Lstat(t.at(dir))
		if err == nil && st.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s: is a symbolic link, which leads out of %s; name another --root", dir, t.root)
		}
	}
	return nil
}

// A change is what has to become of one file.
type change struct {
	path          string
	before, after content
}

// real reports whether there is anything to do.
func (c change) real() bool {
	return c.before.exists() != c.after.exists() || !bytes.Equal(c.before, c.after)
}

// makeFolders makes the folder and those above it, and returns the ones that
// were not there, the outermost first.
func (t tree) makeFolders(dir string, mode fs.FileMode) (made []string, err error) {
	if _, err := os.Stat(t.at(dir)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if made, err = t.makeFolders(filepath.Dir(dir), mode); err != nil {
		return made, err
	}
	if err := os.Mkdir(t.at(dir), mode); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// replace makes the file what c says in one step: whoever looks, at whatever
// moment the machine stops, sees the file of before or that of after. Owner,
// mode, SELinux label and access list stay; a new file is root's, with mode.
func (t tree) replace(c change, mode fs.FileMode) error {
	path := t.at(c.path)
	if err := sweep(path); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), tempPrefix(path)+rand.Text()[:8]+tempSuffix)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temp) // once it is renamed, there is nothing of that name
	defer f.Close()
	if c.before.exists() {
		err = likeFile(f, path)
	} else {
		err = f.Chmod(mode)
	}
	if err == nil {
		_, err = f.Write(c.after)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return err
	}
	now, err := t.read(c.path)
	if err != nil {
		return err
	}
	if (change{before: c.before, after: now}).real() {
		return fmt.Errorf("%s: was changed by another program just now; try again", c.path)
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// The name of the file that replace makes is this with something random between.
func tempPrefix(path string) string { return "." + filepath.Base(path) + "." }

const tempSuffix = ".tenon-tmp"

// sweep removes what a replace left that was killed. One that runs now would
// fail, and leave the file as it is.
func sweep(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix(path)) && strings.HasSuffix(e.Name(), tempSuffix) && err == nil {
			err = os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return err
}

// likeFile gives f the owner, mode and extended attributes of the file at path.
func likeFile(f *os.File, path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(int(f.Fd()), st.Mode&0o7777); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	value := make([]byte, 64<<10) // the largest that Linux allows, xattr(7)
	for _, name := range []string{"security.selinux", "system.posix_acl_access"} {
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil { // it has none, or the file system knows none
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), name, value[:n], 0); err != nil {
			return fmt.Errorf("%s: %s: %w", f.Name(), name, err)
		}
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// remove takes the file away, if it still is what c says.
func (t tree) remove(c change) error {
	now, err := t.read(c.path)
	if err != nil {
		return err
	}
	if (change{before: c.before, after: now}).real() {
		return fmt.Errorf("%s: was changed by another program just now; try again", c.path)
	}
	if err := os.Remove(t.at(c.path)); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(t.at(c.path)))
}

// ownerOf returns the uid of a file of this machine.
func ownerOf(st fs.FileInfo) int { return int(st.Sys().(*syscall.Stat_t).Uid) }
