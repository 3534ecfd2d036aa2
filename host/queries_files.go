// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
)

// codeOf is the answer for an error of the kernel.
func codeOf(err error) int32 {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
		return CodeNotFound
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV):
		return CodeNotFound // a circle of links, or a link of procfs that leads out
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return CodeDenied
	}
	return CodeIO
}

// place is a path in a root.
type place struct {
	root uint32
	path string
}

// seen is what was found at a place, a link not followed.
type seen struct {
	at   place
	stat unix.Stat_t
}

// find resolves the path of a query. Every query that looks at the machine
// comes by here: grants are held against the path as asked and as resolved.
func (r *Run) find(op, rootNumber uint32, p string, follow bool) (node, int32) {
	return r.resolve((*root).lookup, rootNumber, p, follow, func(p string) bool { return r.grantedPath(op, rootNumber, p) })
}

// look is find for who needs no descriptor.
func (r *Run) look(op, rootNumber uint32, p string, follow bool) (node, int32) {
	return r.resolve((*root).look, rootNumber, p, follow, func(p string) bool { return r.grantedPath(op, rootNumber, p) })
}

func (r *Run) resolve(find func(*root, string, bool) (node, error), rootNumber uint32, p string, follow bool, granted func(string) bool) (node, int32) {
	if !cleanAbs(p) {
		return node{}, CodeInvalid
	}
	if !granted(p) {
		return node{}, CodeDenied
	}
	n, err := find(r.roots[rootNumber], p, follow)
	if err != nil {
		return node{}, codeOf(err)
	}
	if n.real != p && !granted(n.real) || rootNumber != rootContainer && r.mounted.secret(&n, r.roots[rootNumber].prefix, n.real) {
		n.close()
		return node{}, CodeDenied
	}
	return n, CodeOK
}

// typeByte is the letter of a file type in answers: that of find -type, find(1).
func typeByte(mode uint32) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 'f'
	case unix.S_IFDIR:
		return 'd'
	case unix.S_IFLNK:
		return 'l'
	case unix.S_IFCHR:
		return 'c'
	case unix.S_IFBLK:
		return 'b'
	case unix.S_IFIFO:
		return 'p'
	case unix.S_IFSOCK:
		return 's'
	}
	return 0
}

// statSize is the size of a stat record. A later minor version may add to it.
const statSize = 32

// statPath answers with a record, little-endian:
//
//	 0  type, one of f d l c b p s, then three bytes of zero
//	 4  u32 permission bits, mode & 07777
//	 8  u32 uid
//	12  u32 gid
//	16  u32 major, of a device, else 0
//	20  u32 minor, of a device, else 0
//	24  u64 size of a regular file or link, else 0; 0 on procfs and sysfs
func (r *Run) statPath(q question) ([]byte, int32) {
	if q.key == "" || r.last.at != (place{q.root, q.key}) || !r.grantedPath(q.op, q.root, q.key) {
		n, code := r.look(q.op, q.root, q.key, false)
		if code != CodeOK {
			return nil, code
		}
		r.last = seen{place{q.root, q.key}, n.stat}
		n.close()
	}
	st := &r.last.stat
	b := make([]byte, statSize)
	b[0] = typeByte(st.Mode)
	binary.LittleEndian.PutUint32(b[4:], st.Mode&0o7777)
	binary.LittleEndian.PutUint32(b[8:], st.Uid)
	binary.LittleEndian.PutUint32(b[12:], st.Gid)
	switch b[0] {
	case 'c', 'b':
		binary.LittleEndian.PutUint32(b[16:], unix.Major(uint64(st.Rdev)))
		binary.LittleEndian.PutUint32(b[20:], unix.Minor(uint64(st.Rdev)))
	case 'f', 'l':
		if pseudo, code := r.pseudoFile(q); code != CodeOK {
			return nil, code
		} else if !pseudo {
			binary.LittleEndian.PutUint64(b[24:], uint64(st.Size))
		}
	}
	return b, CodeOK
}

// pseudoFile reports whether what was seen last, by question q, is on procfs or
// sysfs, where sizes mean nothing. One file system has one device number, so only
// the first file of each is asked.
func (r *Run) pseudoFile(q question) (pseudo bool, code int32) {
	dev := uint64(r.last.stat.Dev)
	pseudo, known := r.pseudo[dev]
	if known {
		return pseudo, CodeOK
	}
	n, code := r.find(q.op, q.root, q.key, false)
	if code != CodeOK {
		return false, code // gone meanwhile
	}
	defer n.close()
	pseudo = onFileSystem(n.fd, unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC)
	r.pseudo[uint64(n.stat.Dev)] = pseudo
	return pseudo, CodeOK
}

// readDir answers with the entries of a folder sorted by the bytes of their
// names, each a type letter, the name and NUL. Names that no query could ask
// about, as they are not UTF-8 or denied, are left out.
func (r *Run) readDir(q question) ([]byte, int32) {
	n, code := r.find(q.op, q.root, q.key, true)
	if code != CodeOK {
		return nil, code
	}
	defer n.close()
	visits := r.config.Limits.GlobEntries
	entries, code := r.entries(&n, &visits)
	answer := []byte{}
	for _, e := range entries {
		answer = append(append(append(answer, typeByte(e.kind)), e.name...), 0)
	}
	return answer, code
}

type entry struct {
	name string
	kind uint32 // as in st_mode
}

// entries reads a folder, taking each entry off visits.
func (r *Run) entries(n *node, visits *int) ([]entry, int32) {
	if n.kind() != unix.S_IFDIR {
		return nil, CodeWrongType
	}
	fd, err := reopen(n.fd, &n.stat)
	if err != nil {
		return nil, codeOf(err)
	}
	// Where the file system does not tell types, ReadDir looks at NAME/ENTRY.
	f := os.NewFile(uintptr(fd), "/proc/self/fd/"+strconv.Itoa(fd))
	defer f.Close()
	list, err := f.ReadDir(*visits + 1)
	if len(list) > *visits {
		return nil, CodeTooLarge
	}
	if err != nil && len(list) == 0 && !isEOF(err) {
		return nil, codeOf(err)
	}
	*visits -= len(list)
	var entries []entry
	for _, e := range list {
		if !utf8.ValidString(e.Name()) || discover.ForbiddenQuery(path.Join(n.real, e.Name())) {
			continue
		}
		entries = append(entries, entry{e.Name(), kindOf(e.Type())})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, CodeOK
}

func kindOf(m os.FileMode) uint32 {
	switch {
	case m.IsRegular():
		return unix.S_IFREG
	case m&os.ModeDir != 0:
		return unix.S_IFDIR
	case m&os.ModeSymlink != 0:
		return unix.S_IFLNK
	case m&os.ModeCharDevice != 0:
		return unix.S_IFCHR
	case m&os.ModeDevice != 0:
		return unix.S_IFBLK
	case m&os.ModeNamedPipe != 0:
		return unix.S_IFIFO
	case m&os.ModeSocket != 0:
		return unix.S_IFSOCK
	}
	return 0
}

// readFile answers with the content of a regular file.
func (r *Run) readFile(q question) ([]byte, int32) {
	n, code := r.find(q.op, q.root, q.key, true)
	if code != CodeOK {
		return nil, code
	}
	defer n.close()
	return n.content(r.config.Limits.AnswerBytes)
}

// content reads a regular file of at most limit bytes. Nothing else is ever
// opened. The bytes come by read(2): the poller of package os would wait for
// files of procfs and sysfs that can be polled.
func (n *node) content(limit int) ([]byte, int32) {
	if n.kind() != unix.S_IFREG {
		return nil, CodeWrongType
	}
	if n.stat.Size > int64(limit) && !onFileSystem(n.fd, unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC) {
		return nil, CodeTooLarge
	}
	fd, err := reopen(n.fd, &n.stat)
	if err != nil {
		return nil, codeOf(err)
	}
	defer unix.Close(fd)
	content := make([]byte, 0, max(512, min(int(n.stat.Size), limit)+1))
	for {
		got, err := unix.Read(fd, content[len(content):cap(content)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, codeOf(err)
		case got == 0:
			return content, CodeOK
		}
		if content = content[:len(content)+got]; len(content) > limit {
			return nil, CodeTooLarge
		}
		if len(content) == cap(content) {
			content = slices.Grow(content, len(content))
		}
	}
}

func (r *Run) readLink(q question) ([]byte, int32) {
	n, code := r.find(q.op, q.root, q.key, false)
	if code != CodeOK {
		return nil, code
	}
	defer n.close()
	if n.kind() != unix.S_IFLNK {
		return nil, CodeWrongType
	}
	target, err := readlink(n.fd, "")
	if err != nil {
		return nil, codeOf(err)
	}
	return []byte(target), CodeOK
}

func (r *Run) realPath(q question) ([]byte, int32) {
	n, code := r.look(q.op, q.root, q.key, true)
	if code != CodeOK {
		return nil, code
	}
	defer n.close()
	// Modes ask where a file really is, and then what it is: what it is there is
	// known now. It is one moment of the machine, looked at once.
	r.last = seen{place{q.root, n.real}, n.stat}
	return []byte(n.real), CodeOK
}

// programFolders are searched by the which query, in this order: what Docker
// and containerd give a container as its PATH, as the hooks of tenon have it.
var programFolders = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// which finds a program by its name, or by an absolute path, and answers with
// the path where it stands, links not resolved.
func (r *Run) which(q question) ([]byte, int32) {
	candidates := []string{q.key}
	if !strings.HasPrefix(q.key, "/") {
		if q.key == "" || q.key == "." || q.key == ".." || strings.Contains(q.key, "/") {
			return nil, CodeInvalid
		}
		candidates = nil
		for _, folder := range programFolders {
			candidates = append(candidates, folder+"/"+q.key)
		}
	}
	if path.IsAbs(q.key) && !cleanAbs(q.key) {
		return nil, CodeInvalid
	}
	granted := func(p string) bool { return !discover.ForbiddenQuery(p) }
	if candidates = slices.DeleteFunc(candidates, func(p string) bool { return !r.grantedPath(q.op, q.root, p) }); len(candidates) == 0 {
		return nil, CodeDenied
	}
	for _, p := range candidates {
		n, code := r.resolve((*root).look, q.root, p, true, granted)
		switch code {
		case CodeOK:
			runs := n.kind() == unix.S_IFREG && n.stat.Mode&0o111 != 0
			n.close()
			if runs {
				return []byte(p), CodeOK
			}
		case CodeNotFound:
		default:
			return nil, code
		}
	}
	return nil, CodeNotFound
}
