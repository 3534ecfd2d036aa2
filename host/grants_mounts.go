// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
)

// mountTable knows where the machine's files lie beside the path that they were
// found at: a bind mount shows /etc under another name, and resolving a path does
// not tell. The zero value is ready; it reads the table once, when it first meets
// a file that is not on the file system of /.
type mountTable struct {
	read bool
	root mountID // of /
	list []mountPoint
}

// mountPoint is a line of mountinfo: proc_pid_mountinfo(5).
type mountPoint struct {
	id     mountID
	device string // major:minor
	root   string // the part of the file system that is mounted
	at     string
}

// secret reports whether n, found at the path that a root's prefix and a path
// inside make, is a secret of the machine or its users that the floor has under
// another path. Of the floor only /etc, /home and
// /root are looked for: the rest is not files that a mount could show elsewhere, or
// is what engines mount all the time. Linux before 5.8 does not tell the mount
// of a file, and then nothing is known here.
func (t *mountTable) secret(n *node, prefix, inside string) bool {
	if n.mount == 0 {
		return false
	}
	if !t.read {
		t.read = true
		if fd, err := openatRetry(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC); err == nil {
			t.root = mountOf(fd)
			unix.Close(fd)
		}
	}
	if n.mount == t.root {
		return false
	}
	if t.list == nil {
		text, _ := os.ReadFile("/proc/self/mountinfo") // unreadable: no other name is known
		t.list = parseMounts(string(text))
	}
	for _, p := range t.aliases(n.mount, prefix+inside) {
		first, _, _ := strings.Cut(p[1:], "/")
		if (first == "etc" || first == "home" || first == "root") && discover.ForbiddenQuery(p) {
			return true
		}
	}
	return false
}

// aliases are the other paths of what lies at p on the mount with an id.
func (t *mountTable) aliases(id mountID, p string) (list []string) {
	for _, m := range t.list {
		if m.id != id || !isBelow(p, m.at) {
			continue
		}
		inner := path.Join(m.root, strings.TrimPrefix(p, strings.TrimSuffix(m.at, "/")))
		for _, o := range t.list {
			if o.id != id && o.device == m.device && isBelow(inner, o.root) {
				list = append(list, path.Join(o.at, strings.TrimPrefix(inner, strings.TrimSuffix(o.root, "/"))))
			}
		}
	}
	return list
}

// mountID tells the mounts of the machine apart: stx_mnt_id of statx(2). It is 0
// where that is not known; the kernel gives 0 to a mount of its own that no path
// leads to.
type mountID uint64

func mountOf(fd int) mountID {
	var st unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st) != nil {
		return 0
	}
	return mountIDOf(&st)
}

func mountIDOf(st *unix.Statx_t) mountID {
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return mountID(st.Mnt_id)
}

// parseMounts reads mountinfo; lines that it does not understand are left out.
func parseMounts(text string) []mountPoint {
	list := []mountPoint{} // not nil: it was read
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		id, err := strconv.ParseUint(f[0], 10, 64)
		if root, at := unescaped(f[3]), unescaped(f[4]); err == nil && strings.HasPrefix(root, "/") && strings.HasPrefix(at, "/") {
			list = append(list, mountPoint{mountID(id), f[2], root, at})
		}
	}
	return list
}

// unescaped takes back the octal escapes of space, tab, newline and backslash:
// mangle in fs/proc_namespace.c of Linux.
func unescaped(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
