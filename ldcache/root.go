// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is a folder that stands for "/": the file system of a container, which
// whoever made the image controls. Every path given to it means what it would
// mean to a process chrooted there: an absolute link starts again at the root,
// ".." of the root is the root, and no link of /proc leads out of it. The
// kernel resolves it, in one step, from the folder's descriptor (openat2 with
// RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS); where the kernel has no openat2
// (before 5.6, or a seccomp filter in between), a walk does, by descriptors
// too. No method returns a path.
type Root struct {
	fd   int
	walk bool // the kernel has no openat2
}

// OpenRoot opens the folder at path, which is a path of this process and must
// not end in a link. Close it after use. The error is an [*fs.PathError].
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Root{fd: fd}, nil
}

// Close gives the folder back.
func (r *Root) Close() error { return unix.Close(r.fd) }

// FD returns the descriptor of the folder, an O_PATH one that Close closes.
func (r *Root) FD() int { return r.fd }

// Walk makes r resolve paths without openat2 from now on, as on a kernel that
// has none.
func (r *Root) Walk() { r.walk = true }

// untrusted are the flags of every open below a root: no wait at a FIFO or a
// modem, no controlling terminal, nothing for a child.
const untrusted = unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY

// Patience with openat2, which answers EAGAIN while someone renames on the way.
const (
	openatPatience = 100 * time.Millisecond
	maxLinks       = 40 // MAXSYMLINKS of the kernel's include/linux/namei.h
)

// Open opens path below the root, which may be absolute or not. flags are
// those of open(2); O_CREAT is not among them. The descriptor is the caller's
// to close. The error is an errno: ENOENT, ELOOP, …; the container is at fault.
func (r *Root) Open(path string, flags int) (fd int, err error) {
	if strings.IndexByte(path, 0) >= 0 {
		return -1, unix.EINVAL
	}
	if path == "" {
		return -1, unix.ENOENT
	}
	if r.walk {
		return r.open(path, flags|untrusted)
	}
	how := unix.OpenHow{Flags: uint64(flags | untrusted), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	if flags&unix.O_PATH != 0 {
		how.Flags &^= unix.O_NONBLOCK | unix.O_NOCTTY // openat2 refuses them with O_PATH
	}
	var until time.Time
	for {
		fd, err = unix.Openat2(r.fd, path, &how)
		switch {
		case err == unix.ENOSYS:
			r.walk = true
			return r.open(path, flags|untrusted)
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if until.IsZero() {
				until = time.Now().Add(openatPatience)
			} else if time.Now().After(until) {
				return -1, err
			}
			continue
		case err != nil:
			return -1, err
		}
		return fd, nil
	}
}

// open walks path, one name a step. It holds the descriptors of the folders on
// its way, so that ".." steps back to where it came from, whatever has been
// renamed meanwhile, and can never pass the root.
func (r *Root) open(path string, flags int) (fd int, err error) {
	if len(path) >= unix.PathMax {
		return -1, unix.ENAMETOOLONG
	}
	chain := []int{r.fd}
	defer func() {
		for _, held := range chain[1:] {
			unix.Close(held)
		}
	}()
	names := splitPath(path)
	folder := strings.HasSuffix(path, "/") || flags&unix.O_DIRECTORY != 0
	for links := 0; ; {
		if len(names) == 0 {
			return unix.Openat(chain[len(chain)-1], ".", flags, 0)
		}
		name := names[0]
		names = names[1:]
		switch name {
		case ".":
			continue
		case "..":
			if last := len(chain) - 1; last > 0 {
				unix.Close(chain[last])
				chain = chain[:last]
			}
			continue
		}
		here := chain[len(chain)-1]
		next, err := unix.Openat(here, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(next, &st); err != nil {
			unix.Close(next)
			return -1, err
		}
		last := len(names) == 0
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			if last && flags&unix.O_NOFOLLOW != 0 && !strings.HasSuffix(path, "/") {
				if flags&unix.O_PATH != 0 && flags&unix.O_DIRECTORY == 0 {
					return next, nil
				}
				unix.Close(next)
				if flags&unix.O_DIRECTORY != 0 {
					return -1, unix.ENOTDIR
				}
				return -1, unix.ELOOP
			}
			target, err := linkText(next, "")
			magic := err == nil && onProc(next)
			unix.Close(next)
			if links++; links > maxLinks || magic {
				return -1, unix.ELOOP
			}
			if err != nil {
				return -1, err
			}
			if strings.HasPrefix(target, "/") {
				for _, held := range chain[1:] {
					unix.Close(held)
				}
				chain = chain[:1]
			}
			if last && strings.HasSuffix(target, "/") {
				folder = true
			}
			names = append(splitPath(target), names...)
		case unix.S_IFDIR:
			if chain = append(chain, next); len(chain) > unix.PathMax {
				return -1, unix.ENAMETOOLONG
			}
		default:
			if !last || folder {
				unix.Close(next)
				return -1, unix.ENOTDIR
			}
			if flags&unix.O_PATH != 0 {
				return next, nil
			}
			unix.Close(next)
			return unix.Openat(here, name, flags|unix.O_NOFOLLOW, 0)
		}
	}
}

// splitPath returns the names in path, "." and ".." among them.
func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

// linkText returns what the link name in the folder of fd says; with name "",
// the link that fd is itself, an O_PATH descriptor.
func linkText(fd int, name string) (string, error) {
	var buffer [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, name, buffer[:])
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", unix.ENOENT
	}
	return string(buffer[:n]), nil
}

// onProc reports whether fd is on a proc file system. There a link may be a
// magic one, that the kernel follows without regard to its text; all others of
// that file system ("self", "mounts") are refused with them.
func onProc(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) != nil || st.Type == unix.PROC_SUPER_MAGIC
}

// ReadFile returns the bytes of the regular file at path. What is no regular
// file, and what is longer than limit, is an error.
func (r *Root) ReadFile(path string, limit int64) ([]byte, error) {
	fd, err := r.Open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return readRegular(fd, limit, &st)
}

var errNotRegular = errors.New("not a regular file")

// readRegular reads all of fd, and says in st what it is.
func readRegular(fd int, limit int64, st *unix.Stat_t) ([]byte, error) {
	if err := unix.Fstat(fd, st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errNotRegular
	}
	if st.Size > limit {
		return nil, fmt.Errorf("%d bytes are more than %d", st.Size, limit)
	}
	data := make([]byte, st.Size)
	n, err := fileAt(fd).ReadAt(data, 0)
	if err == io.EOF {
		err = nil // cut short meanwhile
	}
	return data[:n], err
}
