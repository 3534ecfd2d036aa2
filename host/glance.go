// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Most of what is asked about a machine is what files there are in a few
// folders, and most paths have no link in them. So the folders are held, and a
// file is looked at by one call of statx in its folder, where opening it takes
// four. What a glance cannot tell is looked up.

// maxFolders is how many folders of a root are held at most. A mode may ask for
// files in any number of folders.
const maxFolders = 64

// hold lets glance hold folders of the root. It is not for the root of a
// container: its folders may be moved by others at any time.
func (r *root) hold() {
	if r.fd >= 0 {
		r.folders = map[string]int{}
	}
}

func (r *root) closeFolders() {
	for _, fd := range r.folders {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// look is lookup for who needs no descriptor of what is found.
func (r *root) look(p string, follow bool) (node, error) {
	if n, known, err := r.glance(p, follow); known {
		return n, err
	}
	return r.lookup(p, follow)
}

// glance finds what lookup would, without a descriptor, where no link is on the
// way or in the last place. known is false where that is not so, or not known.
func (r *root) glance(p string, follow bool) (n node, known bool, err error) {
	slash := strings.LastIndexByte(p, '/')
	if r.folders == nil || slash < 0 || slash == len(p)-1 {
		return node{}, false, nil
	}
	folder := r.folder(p[:slash])
	if folder < 0 {
		return node{}, false, nil
	}
	var st unix.Statx_t
	const wanted = unix.STATX_BASIC_STATS
	err = unix.Statx(folder, p[slash+1:], unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, wanted|unix.STATX_MNT_ID, &st)
	if errors.Is(err, unix.ENOENT) {
		return node{}, true, err
	}
	if err != nil || st.Mask&wanted != wanted || follow && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return node{}, false, nil
	}
	n = node{fd: -1, real: p, mount: mountIDOf(&st)}
	n.stat.Dev, n.stat.Ino = unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino
	n.stat.Mode, n.stat.Uid, n.stat.Gid = uint32(st.Mode), st.Uid, st.Gid
	n.stat.Rdev = unix.Mkdev(st.Rdev_major, st.Rdev_minor)
	n.stat.Size = int64(st.Size)
	return n, true, nil
}

// folder returns a descriptor of a folder below the root, without its last
// slash, or -1 where a link is on the way, or it cannot be held.
func (r *root) folder(p string) int {
	if p == "" {
		return r.fd
	}
	fd, known := r.folders[p]
	if known || len(r.folders) >= maxFolders {
		if !known {
			return -1
		}
		return fd
	}
	fd, straight, err := r.open(p, true)
	if err == nil && !straight {
		unix.Close(fd)
	}
	if err != nil || !straight {
		fd = -1
	}
	r.folders[p] = fd
	return fd
}
