// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/adler32"
	"hash/fnv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A cache that this package made says in its generator text what it was made
// from: a hash over all that a survey saw. Where a new survey sees the same,
// reading the libraries would give the same cache, and the present one stays.
//
// Why that is sound. Generate is a function of the options and of what the
// kernel says: which loaders, folders, names and links there are (all hashed
// as they are), and the bytes of regular files (hashed as inode number, size,
// mode, mtime and ctime). The one thing assumed is that a regular file whose
// bytes changed has another ctime. ctime is set by the kernel at each write,
// truncation and change of the inode, and no call sets it back: an mtime can be
// forged, a ctime not. Three cases are left, and in each no hash is written or
// believed:
//
//   - a change in the same clock tick as the one before leaves the ctime as it
//     was. So a survey that sees a ctime younger than settleTime makes no hash.
//   - a file system that keeps no such ctime (over a network, in user space).
//     Only those of ctimeFileSystems count.
//   - a present cache that is damaged, or that something else wrote. A checksum
//     over all before the generator text must fit.
//
// The device number is left out: it is another one each time that an overlay
// is mounted. Someone who makes an image can forge all of this, and gets the
// cache of their own choice into their own container, where they could have
// put it anyway.
//
// The number goes up with each change of what Generate makes of a tree.
const generatorPrefix = "tenon 1 "

// settleTime is more than a tick of any kernel's clock (HZ=100: 10 ms).
const settleTime = 50 * time.Millisecond

// ctimeFileSystems are those whose ctime the kernel of this machine sets; from
// linux/magic.h, and for xfs and zfs from their sources.
var ctimeFileSystems = map[int64]bool{
	unix.EXT4_SUPER_MAGIC:      true,
	unix.XFS_SUPER_MAGIC:       true,
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.F2FS_SUPER_MAGIC:      true,
	unix.TMPFS_MAGIC:           true,
	unix.RAMFS_MAGIC:           true,
	unix.OVERLAYFS_SUPER_MAGIC: true,
	unix.SQUASHFS_MAGIC:        true,
	unix.EROFS_SUPER_MAGIC_V1:  true,
	0x2fc12fc1:                 true, // ZFS_SUPER_MAGIC
}

type fingerprint struct {
	hash    hash.Hash
	line    []byte
	newest  int64 // ctime, nanoseconds since 1970
	unsound bool
	checked map[uint64]bool // devices whose file system is known
}

func newFingerprint() fingerprint {
	return fingerprint{hash: fnv.New128a(), checked: map[uint64]bool{}}
}

// text adds strings.
func (f *fingerprint) text(parts ...string) {
	for _, s := range parts {
		f.line = append(append(f.line[:0], s...), 0)
		f.hash.Write(f.line)
	}
	f.hash.Write([]byte{0})
}

// absent adds that there is nothing at path.
func (f *fingerprint) absent(path string) { f.text(path, "-") }

// add adds what path is. fd is on the file system of it, or of its folder.
func (f *fingerprint) add(path string, fd int, st *unix.Stat_t) {
	f.newest = max(f.newest, st.Ctim.Nano())
	if !f.checked[st.Dev] {
		f.checked[st.Dev] = true
		var fs unix.Statfs_t
		if unix.Fstatfs(fd, &fs) != nil || !ctimeFileSystems[int64(fs.Type)] {
			f.unsound = true
		}
	}
	f.line = append(append(f.line[:0], path...), 0)
	for _, v := range [...]uint64{st.Ino, uint64(st.Size), uint64(st.Mode), uint64(st.Mtim.Nano()), uint64(st.Ctim.Nano())} {
		f.line = binary.LittleEndian.AppendUint64(f.line, v)
	}
	f.hash.Write(f.line)
}

// sum returns the hash as text, "" where it would not be sound at now.
func (f *fingerprint) sum(now time.Time) string {
	if f.unsound || f.newest > now.Add(-settleTime).UnixNano() {
		return ""
	}
	return fmt.Sprintf("%x", f.hash.Sum(nil))
}

// Encode encodes what Generate returned, with a generator text by which a
// later survey of the same root knows it. looked is when the survey began.
func (s *Survey) Encode(c *Cache, looked time.Time) ([]byte, error) {
	named := *c
	named.Generator = generatorPrefix
	sum := s.print.sum(looked)
	if sum == "" {
		named.Generator = strings.TrimSuffix(generatorPrefix, " ")
		return named.Encode()
	}
	named.Generator += sum + " 00000000"
	data, err := named.Encode()
	if err != nil {
		return nil, err
	}
	body := len(data) - len(named.Generator)
	copy(data[len(data)-8:], fmt.Sprintf("%08x", adler32.Checksum(data[:body])))
	return data, nil
}

// Current reports whether present, the bytes of a cache, is the one that this
// package made when it surveyed the same root, the same files in it, with the
// same options: then Generate need not be called. looked is when the survey
// began.
func (s *Survey) Current(present []byte, looked time.Time) bool {
	sum := s.print.sum(looked)
	if sum == "" || !hasPrefix(present, newMagic) {
		return false
	}
	want := generatorPrefix + sum + " "
	body := len(present) - len(want) - 8
	if body < newHeaderSize || string(present[body:body+len(want)]) != want {
		return false
	}
	return string(present[len(present)-8:]) == fmt.Sprintf("%08x", adler32.Checksum(present[:body]))
}
