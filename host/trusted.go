// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenTrusted opens a file that decides what tenon does, to be read: a module,
// a config file. From / on, each folder and the file itself must belong to root
// or to the user that this process runs as, nobody else may write it, and none
// may be a symbolic link; the file must be a regular one with one name. So
// nobody but them can have made, changed or exchanged it. The sticky bit does
// not help: who may write /tmp may put a folder there. Who root is in a user
// namespace that does not know the machine's, [isRoots] says.
//
// path is absolute and clean. What is read from the file returned is what was
// checked; open it once. Errors begin with the folder or file that is at fault.
// Where something is missing they wrap [io/fs.ErrNotExist].
func OpenTrusted(path string) (*os.File, error) {
	if !cleanAbs(path) {
		return nil, fmt.Errorf("%q: is not an absolute path in its shortest form; write it in full", path)
	}
	if path == "/" {
		return nil, errors.New("/: is not a regular file")
	}
	dir, err := openatRetry(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("/: %w", err)
	}
	defer func() { unix.Close(dir) }()
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return nil, fmt.Errorf("/: %w", err)
	}
	if err := trusted("/", path, &st); err != nil {
		return nil, err
	}
	names := strings.Split(path[1:], "/")
	for i, name := range names {
		at := "/" + strings.Join(names[:i+1], "/")
		// O_PATH opens anything and starts nothing: the type is known before a
		// FIFO or a device could be opened for reading.
		fd, err := openatRetry(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		unix.Close(dir)
		dir = fd
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		if err := trusted(at, path, &st); err != nil {
			return nil, err
		}
		kind := st.Mode & unix.S_IFMT
		last := i == len(names)-1
		switch {
		case !last && kind != unix.S_IFDIR:
			return nil, fmt.Errorf("%s: is not a folder", at)
		case last && kind != unix.S_IFREG:
			return nil, fmt.Errorf("%s: is not a regular file", at)
		case last && st.Nlink != 1:
			return nil, fmt.Errorf("%s: has %d names, so others may reach it; copy it to a file of its own", at, st.Nlink)
		}
	}
	fd, err := reopen(dir, &st)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// trusted says what is wrong with one step at of the way to path.
func trusted(at, path string, st *unix.Stat_t) error {
	what := "is not trusted"
	if at != path {
		what = "leads to " + path + " and is not trusted"
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Errorf("%s: %s: it is a symbolic link; name the place it leads to", at, what)
	case int(st.Uid) != os.Geteuid() && !isRoots(st.Uid):
		owner := fmt.Sprintf("uid %d", st.Uid)
		if n := userNamespace(); n.inner && st.Uid == n.overflow {
			owner += ", who may be any user that this user namespace does not know"
		}
		return fmt.Errorf("%s: %s: it belongs to %s; chown it to root", at, what, owner)
	case st.Mode&0o022 != 0:
		todo := "chmod go-w " + at
		if st.Mode&unix.S_ISVTX != 0 && at != path {
			todo = "put it elsewhere" // /tmp is meant to be so
		}
		return fmt.Errorf("%s: %s: others may write it (mode %04o); %s", at, what, st.Mode&0o7777, todo)
	}
	return nil
}

// reopen opens for reading what an O_PATH descriptor stands for, whose fstat is
// st, by way of procfs: the name is not looked up again.
func reopen(fd int, st *unix.Stat_t) (int, error) {
	proc, err := procFD()
	if err != nil {
		return -1, err
	}
	file, err := openatRetry(proc, "self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err != nil {
		return -1, err
	}
	var now unix.Stat_t
	if err := unix.Fstat(file, &now); err != nil {
		unix.Close(file)
		return -1, err
	}
	if now.Dev != st.Dev || now.Ino != st.Ino || now.Mode&unix.S_IFMT != st.Mode&unix.S_IFMT {
		unix.Close(file)
		return -1, errors.New("changed while it was opened")
	}
	return file, nil
}

// openatRetry is openat(2); a signal, which the Go runtime sends itself to
// switch goroutines, may interrupt it on some file systems.
func openatRetry(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
