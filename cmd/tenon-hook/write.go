// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// inPlace are the errors of writing in the container's root after which a mount
// over the file is tried: the root cannot be written, or not there.
var inPlace = []error{unix.EROFS, unix.EACCES, unix.EPERM, unix.EBUSY, unix.EISDIR, unix.EXDEV, unix.ENOSPC, unix.EDQUOT, unix.ENOENT}

// replaceInEtc makes name in the container's /etc a file with data, readable by
// all: by a new file that takes its name, or, where /etc is on another mount or
// cannot be written, by a read-only mount over the file that is there. What is
// below other mounts is never written. One that reads sees the old file or the
// new one. An error says why neither could be.
func (c *container) replaceInEtc(name string, data []byte) error {
	etc, err := c.root.Open("/etc", unix.O_PATH|unix.O_DIRECTORY)
	if err == unix.ENOENT {
		// Not where a dangling link is: mkdirat does not follow one.
		if err = unix.Mkdirat(c.root.FD(), "etc", 0o755); err == nil {
			etc, err = unix.Openat(c.root.FD(), "etc", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("/etc of the container: %w", err)
	}
	defer unix.Close(etc)
	mount, err := mountOf(etc)
	if err != nil {
		return fmt.Errorf("/etc of the container: %w", err)
	}
	if mount == c.mount {
		err = swapIn(etc, name, data)
		if err == nil {
			return nil
		}
		if !isOneOf(err, inPlace) {
			return fmt.Errorf("/etc/%s of the container: %w", name, err)
		}
	}
	return c.mountOver("/etc/"+name, data)
}

func isOneOf(err error, list []error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// swapIn writes a file of a name of its own into the folder, and renames it.
// There is no fsync: after a crash of the machine the container is started anew,
// and the hook with it.
func swapIn(folder int, name string, data []byte) error {
	folder, err := alone(folder)
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	fresh := freshName(name)
	if err := unix.Unlinkat(folder, fresh, 0); err != nil && err != unix.ENOENT {
		return err
	}
	fd, err := unix.Openat(folder, fresh, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = writeAll(fd, data)
	if err == nil {
		err = unix.Fchmod(fd, 0o644)
	}
	err = errors.Join(err, unix.Close(fd))
	if err == nil {
		err = unix.Renameat2(folder, fresh, folder, name, 0)
	}
	if err != nil {
		_ = unix.Unlinkat(folder, fresh, 0)
	}
	return err
}

// freshName is the file or link beside name that becomes it. The name is always
// the same, so that what a killed hook left behind is cleared away by the next.
func freshName(name string) string { return "." + name + ".tenon" }

// alone opens a folder once more, and keeps other hooks of tenon out of it until
// that descriptor is closed or the process ends: two containers may have one
// root. Who holds the lock for long makes this hook take too long, in a container
// that is theirs. Where the file system has no locks, nobody is kept out.
func alone(folder int) (int, error) {
	fd, err := unix.Openat(folder, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // flock(2) takes no O_PATH
	if err != nil {
		return -1, err
	}
	for unix.Flock(fd, unix.LOCK_EX) == unix.EINTR {
	}
	return fd, nil
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		data = data[n:]
	}
	return nil
}

// mountOver mounts a read-only file with data over the regular file at path, in
// the mount namespace that the hook runs in, which is the container's.
func (c *container) mountOver(path string, data []byte) error {
	target, err := c.root.Open(path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("%s of the container: %w", path, err)
	}
	defer unix.Close(target)
	var st unix.Stat_t
	if err := unix.Fstat(target, &st); err != nil {
		return fmt.Errorf("%s of the container: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s of the container: not a regular file", path)
	}
	file, err := c.detachedFile(data)
	if err != nil {
		return fmt.Errorf("%s of the container: a mount over it: %w", path, err)
	}
	defer unix.Close(file)
	if err := unix.MoveMount(file, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("%s of the container: a mount over it: %w", path, err)
	}
	return nil
}

// detachedFile returns a mount, attached nowhere, of one read-only file with
// data, in a file system of its own.
func (c *container) detachedFile(data []byte) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for key, value := range map[string]string{"size": fmt.Sprint(len(data) + 64<<10), "nr_inodes": "8", "mode": "0755"} {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return -1, err
		}
	}
	if c.label != "" {
		_ = unix.FsconfigSetString(fs, "context", c.label) // refused where SELinux is off
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	folder, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(folder)
	const name = "file"
	fd, err := unix.Openat(folder, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, err
	}
	if err := errors.Join(writeAll(fd, data), unix.Fchmod(fd, 0o444), unix.Close(fd)); err != nil {
		return -1, err
	}
	if err := errors.Join(unix.FsconfigSetFlag(fs, "ro"), unix.FsconfigReconfigure(fs)); err != nil {
		return -1, err
	}
	tree, err := unix.OpenTree(folder, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil && c.attach {
		unix.Close(tree)
		err = unix.EINVAL
	}
	if err == unix.EINVAL {
		// Linux before 6.15 takes no part of a mount that is attached nowhere.
		return attachedFile(folder, name)
	}
	return tree, err
}

// attachedFile is OpenTree for a mount that is attached nowhere: it is put over
// a folder of this mount namespace, where nobody works yet, and taken away again.
func attachedFile(folder int, name string) (int, error) {
	const place = "/proc/self/task" // never needed here, and on every machine
	if err := unix.MoveMount(folder, "", unix.AT_FDCWD, place, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, err
	}
	tree, err := unix.OpenTree(folder, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if gone := unix.Unmount(fmt.Sprintf("/proc/self/fd/%d", folder), unix.MNT_DETACH); gone != nil && err == nil {
		unix.Close(tree)
		return -1, gone
	}
	return tree, err
}
