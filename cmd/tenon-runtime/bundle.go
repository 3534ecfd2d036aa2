// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
)

// maxConfig is the size in bytes above which a config.json is refused: those of
// real engines have some 10 KB.
const maxConfig = 8 << 20

// tempName is the file in the bundle that becomes the new config.json. The name
// is always the same, so that what a killed run left behind is cleared away by
// the next one. Two creates of one bundle at a time are an error of the caller
// in any case, since the container's ID can exist only once.
const tempName = ".config.json.tenon"

// A bundle is the folder of a container that is about to be created.
type bundle struct {
	path string         // of config.json, for messages and for finding the root file system
	dir  *os.File       // the folder that config.json is in
	name string         // of config.json in dir
	stat unix.Stat_t    // of config.json as it was read
	spec *discover.Spec // its content
	base string         // the bundle's folder as the caller named it
}

// openBundle reads the config.json of the bundle in folder ("" is the working
// directory). config is crun's --config and usually empty.
func openBundle(folder, config string) (*bundle, error) {
	if folder == "" {
		folder = "."
	}
	if config == "" {
		config = "config.json"
	}
	b := &bundle{base: folder, path: config}
	if !filepath.IsAbs(config) {
		b.path = filepath.Join(folder, config)
	}
	dir, name := filepath.Split(b.path)
	if dir == "" {
		dir = "."
	}
	b.name = name
	var err error
	if b.dir, err = os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return nil, fmt.Errorf("bundle %s: %w", folder, host.Bare(err))
	}
	data, err := b.read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.path, host.Bare(err))
	}
	if b.spec, err = discover.Parse(data); err != nil {
		return nil, fmt.Errorf("%s: %w", b.path, err)
	}
	return b, nil
}

// read returns the bytes of config.json and keeps its identity.
func (b *bundle) read() ([]byte, error) {
	// O_NONBLOCK: should it be a pipe, nobody is kept waiting.
	fd, err := unix.Openat(int(b.dir.Fd()), b.name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), b.path)
	defer f.Close()
	if err := unix.Fstat(fd, &b.stat); err != nil {
		return nil, err
	}
	if b.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("is not a regular file")
	}
	if b.stat.Size > maxConfig {
		return nil, fmt.Errorf("has %d bytes, and at most %d are read", b.stat.Size, maxConfig)
	}
	data := bytes.NewBuffer(make([]byte, 0, b.stat.Size+bytes.MinRead))
	if _, err := data.ReadFrom(io.LimitReader(f, maxConfig+1)); err != nil {
		return nil, err
	}
	if data.Len() > maxConfig {
		return nil, fmt.Errorf("grows beyond %d bytes while it is read", maxConfig)
	}
	return data.Bytes(), nil
}

// root returns the path of the container's root file system.
// runtime-spec, config.md, "Root": a relative path is relative to the bundle.
func (b *bundle) root(req *discover.Request) string {
	root := req.Root()
	if root == "" || filepath.IsAbs(root) {
		return root
	}
	return filepath.Join(b.base, root)
}

// write puts content into the place of config.json in one step, with its owner,
// mode and SELinux label. Content that is the same bytes writes nothing: the
// file keeps its inode and its times. Whenever the process is killed, the file
// is the old one or the new one.
//
// There is no fsync: after a crash of the machine the container is gone too.
func (b *bundle) write(content []byte) error {
	if bytes.Equal(content, b.spec.Bytes()) {
		return nil
	}
	if err := b.replace(content); err != nil {
		return fmt.Errorf("%s: %w", b.path, err)
	}
	return nil
}

func (b *bundle) replace(content []byte) error {
	// Whoever else may write the file can make any container, with us or
	// without. Refusing shows it while it matters.
	if uid := b.stat.Uid; uid != 0 && int(uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d; it must belong to root or to the user of this process", uid)
	}
	if mode := b.stat.Mode & 0o7777; mode&0o022 != 0 {
		return fmt.Errorf("has mode %04o; nobody but its owner may write it", mode)
	}
	dir := int(b.dir.Fd())
	if err := unix.Unlinkat(dir, tempName, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("clearing away %s: %w", tempName, err)
	}
	fd, err := unix.Openat(dir, tempName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s beside it: %w", tempName, err)
	}
	f := os.NewFile(uintptr(fd), tempName)
	err = b.fill(f, content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = b.unchanged()
	}
	if err == nil {
		err = unix.Renameat(dir, tempName, dir, b.name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, tempName, 0)
		return host.Bare(err)
	}
	return nil
}

// fill gives the new file its content and what the old one had.
func (b *bundle) fill(f *os.File, content []byte) error {
	if _, err := f.Write(content); err != nil {
		return err
	}
	fd := int(f.Fd())
	// fchown first: it clears set-user-ID bits, chown(2).
	if int(b.stat.Uid) != os.Geteuid() || int(b.stat.Gid) != os.Getegid() {
		if err := unix.Fchown(fd, int(b.stat.Uid), int(b.stat.Gid)); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, b.stat.Mode&0o7777); err != nil {
		return err
	}
	return b.copyLabel(fd)
}

// selinuxLabel is the extended attribute of an SELinux label, selinux(8) and
// include/uapi/linux/xattr.h.
const selinuxLabel = "security.selinux"

// copyLabel gives the file fd the SELinux label of config.json, if it has one:
// the confined low-level runtime could not read a file with the wrong one.
func (b *bundle) copyLabel(fd int) error {
	label := make([]byte, 256)
	n, err := unix.Lgetxattr("/proc/self/fd/"+strconv.Itoa(int(b.dir.Fd()))+"/"+b.name, selinuxLabel, label)
	if err != nil || n == 0 {
		return nil // no label, or no SELinux
	}
	if err := unix.Fsetxattr(fd, selinuxLabel, label[:n], 0); err != nil {
		return fmt.Errorf("SELinux label %q: %w", bytes.TrimRight(label[:n], "\x00"), err)
	}
	return nil
}

// unchanged makes sure that config.json still is the file that was read.
func (b *bundle) unchanged() error {
	var now unix.Stat_t
	if err := unix.Fstatat(int(b.dir.Fd()), b.name, &now, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if now.Mode&unix.S_IFMT == unix.S_IFLNK {
		return errors.New("is a symbolic link; name the file itself")
	}
	was := b.stat
	if now.Dev != was.Dev || now.Ino != was.Ino || now.Size != was.Size || now.Mtim != was.Mtim || now.Ctim != was.Ctim {
		return errors.New("was changed by somebody else while it was edited")
	}
	return nil
}
