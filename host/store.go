// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// errDamaged is wrapped where a file of a store is not as a writer leaves it.
var errDamaged = errors.New("is damaged")

// store is an open folder of what tenon keeps for itself from one create to the
// next. Nothing that is wrong with it fails a create.
type store struct {
	fd       int
	path     string
	lookOnly bool // a damaged file stays
}

func (s *store) close() { unix.Close(s.fd) }

// at puts the path of a file of the store before an error.
func (s *store) at(name string, err error) error { return fmt.Errorf("%s/%s: %w", s.path, name, err) }

// openStore opens a folder, and makes it and the one that it is in where asked
// to. Both must be this user's alone.
func openStore(folder string, create bool) (*store, error) {
	if !cleanAbs(folder) || strings.Count(folder, "/") < 2 {
		return nil, fmt.Errorf("%q: is no place for state; write an absolute path of two folders or more", folder)
	}
	names := strings.Split(folder, "/")
	fd := unix.AT_FDCWD
	for i, name := range names {
		at, own := strings.Join(names[:i+1], "/"), i >= len(names)-2
		if i == 0 {
			at, name = "/", "/"
		}
		// O_RDONLY for the last one, as flock(2) takes no O_PATH descriptor.
		flags := unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		if i < len(names)-1 {
			flags |= unix.O_PATH
		}
		next, err := openatRetry(fd, name, flags)
		if errors.Is(err, unix.ENOENT) && own && create {
			// Another create may make it at the same time. The umask can only
			// take from the mode, and what came of it is checked below.
			if err = unix.Mkdirat(fd, name, 0o700); err == nil || errors.Is(err, unix.EEXIST) {
				next, err = openatRetry(fd, name, flags)
			}
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		fd = next
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err != nil {
			err = fmt.Errorf("%s: %w", at, err)
		} else if err = trusted(at, folder, &st); err == nil && own {
			err = private(at, &st)
		}
		if err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return &store{fd: fd, path: folder}, nil
}

// private says what is wrong with a folder that only this user may enter.
func private(at string, st *unix.Stat_t) error {
	switch {
	case int(st.Uid) != os.Geteuid():
		todo := "remove it"
		if os.Geteuid() != 0 {
			todo = "run this as its owner"
		}
		return fmt.Errorf("%s: is not trusted: it belongs to uid %d, not to %d; %s", at, st.Uid, os.Geteuid(), todo)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%s: is not trusted: others may enter it (mode %04o); chmod 700 %s", at, st.Mode&0o7777, at)
	}
	return nil
}

// lock keeps other writers out until the store is closed, or the process ends.
// Nobody waits for it.
func (s *store) lock() error {
	err := unix.Flock(s.fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s: %w", s.path, ErrTraceBusy)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return nil
}

func (s *store) remove(name string) error {
	if err := unix.Unlinkat(s.fd, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return s.at(name, err)
	}
	return nil
}

// read reads a file whole. Where it is not as a writer leaves it, the error
// wraps errDamaged.
func (s *store) read(name string, limit int64) ([]byte, error) {
	fd, err := openatRetry(s.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w: it is a symbolic link", errDamaged)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1:
		return nil, fmt.Errorf("%w: it is not a regular file of one name", errDamaged)
	case int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0:
		return nil, fmt.Errorf("%w: it is not private (uid %d, mode %04o)", errDamaged, st.Uid, st.Mode&0o7777)
	case st.Size > limit:
		return nil, fmt.Errorf("%w: it has %d bytes", errDamaged, st.Size)
	}
	// Files are replaced and never written, so the size stays.
	data := make([]byte, st.Size)
	for got := 0; got < len(data); {
		n, err := unix.Read(fd, data[got:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return nil, fmt.Errorf("%w: it became shorter", errDamaged)
		}
		got += n
	}
	return data, nil
}

// create makes a file; [unix.EEXIST] where there is one.
func (s *store) create(name string, data []byte) error {
	fd, err := unix.Openat(s.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return s.at(name, err)
	}
	f := os.NewFile(uintptr(fd), s.path+"/"+name)
	_, err = f.Write(data)
	return cmp.Or(err, f.Close())
}

// newName is the file that replace makes.
const newName = "new"

// replace gives a file new content in one step. The lock is held,
// so the new file's name is this process's own; it may be there where one died.
func (s *store) replace(name string, data []byte) error {
	if err := s.remove(newName); err != nil {
		return err
	}
	err := s.create(newName, data)
	if err == nil {
		if err = unix.Renameat(s.fd, newName, s.fd, name); err != nil {
			err = s.at(name, err)
		}
	}
	if err != nil {
		s.remove(newName) // so that a full disk is not fuller than before
	}
	return err
}
