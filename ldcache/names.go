// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// dirName is a name in a folder, with the kind of file that getdents64(2)
// says: a DT_ value.
type dirName struct {
	text string
	kind byte
}

// readNames returns the names in the folder of fd, sorted by their bytes so
// that the order of the disk means nothing, and whether these are all of them.
func readNames(fd int) (names []dirName, whole bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buffer)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			whole = err == nil
			break
		}
		// struct linux_dirent64: u64 inode, i64 offset, u16 length, u8 kind, name
		for rest := buffer[:n]; len(rest) > 19; {
			length := int(binary.NativeEndian.Uint16(rest[16:]))
			if length < 20 || length > len(rest) {
				break
			}
			name := rest[19:length]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			if s := string(name); s != "." && s != ".." && s != "" {
				names = append(names, dirName{s, rest[18]})
			}
			rest = rest[length:]
		}
		if len(names) > maxNames {
			names = names[:maxNames]
			break
		}
	}
	slices.SortFunc(names, func(a, b dirName) int { return strings.Compare(a.text, b.text) })
	return names, whole
}
