// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteTrusted makes the file at path hold data, in one step: whoever opens it
// with [OpenTrusted], at whatever moment the machine stops, gets the file of
// before or the new one. Folders that are not there are made, for everybody to
// enter; those that are must be such that OpenTrusted would take a file in them.
// The file is new: it belongs to this user, and its mode is mode.
//
// path is absolute and clean. Errors begin with the folder or file that is at
// fault.
func WriteTrusted(path string, data []byte, mode os.FileMode) error {
	dir, name, err := openParent(path, true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	temp := fmt.Sprintf(".%s.%016x.tenon-tmp", name, rand.Uint64()) // O_EXCL does the rest
	fd, err := unix.Openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode) // the umask does not count
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = unix.Renameat(dir, temp, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
		return fmt.Errorf("%s: %w", path, Bare(err))
	}
	if err := unix.Fsync(dir); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// RemoveTrusted removes the file at path, if it is there. The folders on the way
// must be such that OpenTrusted would take a file in them. Errors are as those of
// WriteTrusted.
func RemoveTrusted(path string) error {
	dir, name, err := openParent(path, false)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// ExchangeTrusted gives each of two files of one folder the name of the other, in
// one step (renameat2(2), RENAME_EXCHANGE). Errors are as those of WriteTrusted.
func ExchangeTrusted(a, b string) error {
	dir, name, err := openParent(a, false)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if path.Dir(a) != path.Dir(b) {
		return fmt.Errorf("%s: is not in the folder of %s", b, a)
	}
	if err := unix.Renameat2(dir, name, dir, path.Base(b), unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	if err := unix.Fsync(dir); err != nil {
		return fmt.Errorf("%s: %w", path.Dir(a), err)
	}
	return nil
}

// openParent opens the folder that a file is in, to be changed, and returns the
// file's name in it.
func openParent(file string, create bool) (fd int, name string, err error) {
	if !cleanAbs(file) || file == "/" {
		return -1, "", fmt.Errorf("%q: is not an absolute path in its shortest form; write it in full", file)
	}
	names := strings.Split(file, "/")
	fd = unix.AT_FDCWD
	for i, dir := range names[:len(names)-1] {
		at := strings.Join(names[:i+1], "/")
		if i == 0 {
			at, dir = "/", "/"
		}
		next, err := openatRetry(fd, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		if errors.Is(err, unix.ENOENT) && create {
			if err = unix.Mkdirat(fd, dir, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
				// The umask can only take from the mode; nobody else can be in
				// the way, since this one was looked at.
				if next, err = openatRetry(fd, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC); err == nil {
					err = unix.Fchmod(next, 0o755)
				}
			}
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			return -1, "", fmt.Errorf("%s: leads to %s and is not trusted: it is a symbolic link or no folder; name the place it leads to", at, file)
		}
		if err != nil {
			return -1, "", fmt.Errorf("%s: %w", at, err)
		}
		fd = next
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err != nil {
			err = fmt.Errorf("%s: %w", at, err)
		} else {
			err = trusted(at, file, &st)
		}
		if err != nil {
			unix.Close(fd)
			return -1, "", err
		}
	}
	return fd, names[len(names)-1], nil
}

// LockTrusted keeps others that call it out of a folder until unlock is called, or
// the process ends. The folder is made where it is missing. Errors are as those of
// WriteTrusted.
func LockTrusted(folder string) (unlock func(), err error) {
	fd, _, err := openParent(path.Join(folder, "lock"), true)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	return func() { unix.Close(fd) }, nil
}
