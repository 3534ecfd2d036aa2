// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Encode returns the cache as a file of the new format with its extensions,
// the one that ldconfig has written by default since glibc 2.32 and that
// loaders since 2.2 read. For the same entries and generator it returns the
// bytes that ldconfig writes. The entries are written as they stand: see
// [Compare]. An error means that they do not fit into [MaxSize] or that one of
// them holds a NUL or a level above 1023.
func (c *Cache) Encode() ([]byte, error) {
	names := c.hwcapsNames()
	table := newStringTable(2*len(c.Entries) + len(names) + len(c.unused))
	for i := range c.Entries {
		table.add(c.Entries[i].Key)
		table.add(c.Entries[i].Value)
	}
	for _, name := range names {
		table.add(name)
	}
	for _, name := range c.unused {
		table.add(name)
	}
	start := newHeaderSize + len(c.Entries)*newEntrySize
	text, err := table.finish(uint32(start))
	if err != nil {
		return nil, err
	}
	extension := (start + len(text) + 3) &^ 3
	size := extension + extensionHeaderSize + 2*sectionSize + 4*len(names) + len(c.Generator)
	if size > MaxSize {
		return nil, fmt.Errorf("ld.so.cache: %d bytes are more than the %d that a cache may have", size, MaxSize)
	}

	le := binary.LittleEndian
	data := make([]byte, 0, size)
	data = append(data, newMagic...)
	data = le.AppendUint32(data, uint32(len(c.Entries)))
	data = le.AppendUint32(data, uint32(len(text)))
	data = append(data, littleEndian, 0, 0, 0)
	data = le.AppendUint32(data, uint32(extension))
	data = append(data, make([]byte, 12)...)
	for i := range c.Entries {
		e := &c.Entries[i]
		hwcap := e.Legacy
		if e.HWCaps != "" {
			if e.ISALevel > isaLevelMask {
				return nil, fmt.Errorf("%q: ISA level %d is above %d", e.Value, e.ISALevel, isaLevelMask)
			}
			index, _ := slices.BinarySearch(names, e.HWCaps)
			hwcap = hwcapExtension | uint64(e.ISALevel)<<isaLevelShift | uint64(index)
		}
		data = le.AppendUint32(data, e.Flags)
		data = le.AppendUint32(data, table.offset[e.Key])
		data = le.AppendUint32(data, table.offset[e.Value])
		data = le.AppendUint32(data, e.OSVersion)
		data = le.AppendUint64(data, hwcap)
	}
	data = append(data, text...)
	data = append(data, make([]byte, extension-len(data))...)

	// ldconfig lists the generator first and stores it last.
	sections := uint32(1)
	if len(names) > 0 {
		sections = 2
	}
	hwcaps := uint32(extension) + extensionHeaderSize + sections*sectionSize
	data = le.AppendUint32(data, extensionMagic)
	data = le.AppendUint32(data, sections)
	data = appendSection(data, sectionTagGenerator, hwcaps+4*uint32(len(names)), uint32(len(c.Generator)))
	if len(names) > 0 {
		data = appendSection(data, sectionTagHWCaps, hwcaps, 4*uint32(len(names)))
	}
	for _, name := range names {
		data = le.AppendUint32(data, table.offset[name])
	}
	return append(data, c.Generator...), nil
}

func appendSection(data []byte, tag, offset, size uint32) []byte {
	for _, v := range [...]uint32{tag, 0, offset, size} {
		data = binary.LittleEndian.AppendUint32(data, v)
	}
	return data
}

// hwcapsNames returns the names of the glibc-hwcaps folders in use, sorted as
// strcmp sorts: an entry refers to its folder by the place in this list.
func (c *Cache) hwcapsNames() []string {
	var names []string
	for i := range c.Entries {
		name := c.Entries[i].HWCaps
		if name == "" {
			continue
		}
		if at, there := slices.BinarySearch(names, name); !there {
			names = slices.Insert(names, at, name)
		}
	}
	return names
}

// stringTable lays strings out as glibc's elf/stringtable.c does: each once,
// sorted by their reversed text, a string that is the tail of another inside
// that one.
type stringTable struct {
	strings []tailString
	offset  map[string]uint32
}

// tailString is a string with its last eight bytes, the last one on top and
// zeros for those that it lacks, so that most comparisons are of two numbers.
type tailString struct {
	tail uint64
	text string
}

func newStringTable(size int) *stringTable {
	return &stringTable{offset: make(map[string]uint32, size)}
}

func (t *stringTable) add(s string) {
	if _, there := t.offset[s]; there {
		return
	}
	t.offset[s] = 0
	var tail uint64
	for i := range min(8, len(s)) {
		tail |= uint64(s[len(s)-1-i]) << (56 - 8*i)
	}
	t.strings = append(t.strings, tailString{tail, s})
}

// finish decides where each string stands, counted from base before the first,
// and returns the text.
func (t *stringTable) finish(base uint32) ([]byte, error) {
	slices.SortFunc(t.strings, compareTails)
	var text []byte
	previous, at := "", 0
	for i, s := range t.strings {
		if strings.IndexByte(s.text, 0) >= 0 {
			return nil, fmt.Errorf("%q: a string in a cache cannot hold a NUL", s.text)
		}
		if i > 0 && strings.HasSuffix(previous, s.text) {
			at += len(previous) - len(s.text)
		} else {
			at = len(text)
			text = append(text, s.text...)
			text = append(text, 0)
		}
		if len(text) > MaxSize {
			return nil, fmt.Errorf("ld.so.cache: its strings are more than %d bytes", MaxSize)
		}
		previous = s.text
		t.offset[s.text] = base + uint32(at)
	}
	return text, nil
}

// compareTails orders by reversed text, descending, so that a string follows
// those that end with it.
func compareTails(a, b tailString) int {
	if a.tail != b.tail {
		if a.tail > b.tail {
			return -1
		}
		return 1
	}
	for i := 9; i <= len(a.text) && i <= len(b.text); i++ {
		if x, y := a.text[len(a.text)-i], b.text[len(b.text)-i]; x != y {
			return int(y) - int(x)
		}
	}
	return len(b.text) - len(a.text)
}
