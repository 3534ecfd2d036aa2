// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The roots of a query, as the ABI numbers them.
const (
	rootHost = iota
	rootContainer
	rootDriver
	rootCount
)

// root is a folder that queries take for "/". It is held as a descriptor, and
// every path is resolved below it by the kernel: absolute links and ".." stay
// inside, whatever whoever owns the folder makes of it meanwhile. A root that
// does not exist has fd -1, and nothing is found in it.
type root struct {
	fd      int
	prefix  string         // path of the root; "" for /
	folders map[string]int // see glance; nil where it is not for this root
}

// openRoot opens the folder dir, "" or a missing one being an empty root.
func openRoot(dir string) (*root, error) {
	if dir == "" {
		return &root{fd: -1}, nil
	}
	fd, err := openatRetry(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return &root{fd: -1}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	where, err := pathOf(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return &root{fd: fd, prefix: strings.TrimSuffix(where, "/")}, nil
}

func (r *root) close() {
	if r.fd >= 0 {
		unix.Close(r.fd)
	}
	r.closeFolders()
}

// node is one thing found below a root: a descriptor that can only be looked at
// (O_PATH), its fstat, and where it really is, as seen from the root.
type node struct {
	fd    int // -1 where it was only glanced at
	stat  unix.Stat_t
	mount mountID
	real  string
}

func (n *node) close() {
	if n.fd >= 0 {
		unix.Close(n.fd)
	}
}

func (n *node) kind() uint32 { return n.stat.Mode & unix.S_IFMT }

// lookup finds p, an absolute path, below the root. Where follow is false, a
// link in the last place is the thing itself. Errors are those of the kernel,
// and [unix.ENOENT] also stands for a root that is not there.
func (r *root) lookup(p string, follow bool) (node, error) {
	if r.fd < 0 {
		return node{}, unix.ENOENT
	}
	fd, straight, err := r.open(p, follow)
	if err != nil {
		return node{}, err
	}
	n := node{fd: fd}
	if err := unix.Fstat(fd, &n.stat); err != nil {
		n.close()
		return node{}, err
	}
	n.mount = mountOf(fd)
	if straight {
		n.real = p
		return n, nil
	}
	where, err := pathOf(fd)
	if err != nil {
		n.close()
		return node{}, err
	}
	inside, ok := strings.CutPrefix(where, r.prefix)
	if n.stat.Nlink == 0 && strings.HasSuffix(where, " (deleted)") || !ok || inside != "" && inside[0] != '/' {
		n.close() // deleted or moved out meanwhile
		return node{}, unix.ENOENT
	}
	if n.real = inside; inside == "" {
		n.real = "/"
	}
	return n, nil
}

// resolveDeadline bounds the retries of openat2, which answers EAGAIN as long
// as folders are renamed below it: openat2(2), ERRORS.
const resolveDeadline = 100 * time.Millisecond

// open resolves p below the root, and reports whether that met no link, so that
// p is where the thing is. It asks for that first: most paths have none, and to
// ask procfs where a descriptor leads costs more than to open it. Linux before
// 5.6 has no openat2, and then walk does the same step by step: Jetson boards of
// JetPack 4 run Linux 4.9.
func (r *root) open(p string, follow bool) (fd int, straight bool, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS,
	}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	var deadline time.Time
	for {
		fd, err := unix.Openat2(r.fd, p, &how)
		switch {
		case errors.Is(err, unix.ENOSYS):
			fd, err := r.walk(p, follow)
			return fd, false, err
		case errors.Is(err, unix.ELOOP) && how.Resolve&unix.RESOLVE_NO_SYMLINKS != 0:
			how.Resolve &^= unix.RESOLVE_NO_SYMLINKS
		case errors.Is(err, unix.EAGAIN):
			if now := time.Now(); deadline.IsZero() {
				deadline = now.Add(resolveDeadline)
			} else if now.After(deadline) {
				return -1, false, err
			}
		case !errors.Is(err, unix.EINTR):
			return fd, how.Resolve&unix.RESOLVE_NO_SYMLINKS != 0, err
		}
	}
}

// maxLinks is how many links one resolution may follow: MAXSYMLINKS of
// include/linux/namei.h.
const maxLinks = 40

// walk is open without openat2. It holds each folder on the way as a
// descriptor, so that ".." is a step back on its own track and can lead out of
// the root no more than the track does. Links on procfs are refused, as the
// kernel cannot be asked which of them are magic.
func (r *root) walk(p string, follow bool) (int, error) {
	type step struct {
		fd     int
		folder bool
	}
	track := []step{}
	cut := func(n int) {
		for _, s := range track[n:] {
			unix.Close(s.fd)
		}
		track = track[:n]
	}
	defer func() { cut(0) }()
	top := func() step {
		if len(track) == 0 {
			return step{r.fd, true}
		}
		return track[len(track)-1]
	}
	rest := strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch {
		case !top().folder:
			return -1, unix.ENOTDIR
		case name == "" || name == ".":
			continue
		case name == "..":
			cut(max(0, len(track)-1))
			continue
		}
		fd, err := openatRetry(top().fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		if err != nil {
			return -1, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return -1, err
		}
		// A slash at the end asks for a folder, so it follows.
		if st.Mode&unix.S_IFMT != unix.S_IFLNK || len(rest) == 0 && !follow {
			track = append(track, step{fd, st.Mode&unix.S_IFMT == unix.S_IFDIR})
			continue
		}
		magic := onFileSystem(fd, unix.PROC_SUPER_MAGIC)
		target, err := readlink(fd, "")
		unix.Close(fd)
		if links++; magic || links > maxLinks {
			return -1, unix.ELOOP
		}
		if err != nil {
			return -1, err
		}
		if strings.HasPrefix(target, "/") {
			cut(0)
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return unix.FcntlInt(uintptr(top().fd), unix.F_DUPFD_CLOEXEC, 0)
}

// pathOf says where an O_PATH descriptor leads, by procfs.
func pathOf(fd int) (string, error) {
	proc, err := procFD()
	if err != nil {
		return "", err
	}
	return readlink(proc, "self/fd/"+strconv.Itoa(fd))
}

// readlink reads the link name below the folder dir, or the link that dir is
// where name is empty: readlinkat(2).
func readlink(dir int, name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// procFD is a descriptor of /proc, known to be procfs. It stays open.
var procFD = sync.OnceValues(func() (int, error) {
	fd, err := openatRetry(unix.AT_FDCWD, "/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("/proc: %w", err)
	}
	if !onFileSystem(fd, unix.PROC_SUPER_MAGIC) {
		unix.Close(fd)
		return -1, errors.New("/proc: is not a proc file system; mount one")
	}
	return fd, nil
})

// onFileSystem reports whether fd lies on one of the file systems, numbered as
// in include/uapi/linux/magic.h.
func onFileSystem(fd int, magic ...int64) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil {
		return false
	}
	for _, m := range magic {
		if int64(fs.Type) == m {
			return true
		}
	}
	return false
}

// maxPath is PATH_MAX of include/uapi/linux/limits.h, without its NUL.
const maxPath = 4095

// cleanAbs reports whether p is what a query may name: absolute, in its
// shortest form, UTF-8, without NUL.
func cleanAbs(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && len(p) <= maxPath && utf8.ValidString(p) && strings.IndexByte(p, 0) < 0
}
