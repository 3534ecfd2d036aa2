// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// Layouts of sysdeps/generic/dl-cache.h, little-endian. All offsets of the
// new format count from the start of its own header.
//
//	old header   "ld.so-1.7.0" | pad 1 | u32 libraries
//	old entry    u32 flags | u32 key | u32 value; offsets count from the end of the entries
//	new header   "glibc-ld.so.cache1.1" | u32 libraries | u32 bytes of strings | u8 byte order | pad 3 | u32 extension | 12 bytes unused
//	new entry    u32 flags | u32 key | u32 value | u32 osversion | u64 hwcap
//	extension    u32 magic | u32 sections | sections of: u32 tag | u32 flags | u32 offset | u32 size
//
// A file of the compat format is an old cache whose strings begin, at the next
// multiple of 8, with a new cache.
const (
	oldMagic      = "ld.so-1.7.0"
	oldHeaderSize = 16
	oldEntrySize  = 12

	newMagic      = "glibc-ld.so.cache1.1"
	newHeaderSize = 48
	newEntrySize  = 24

	littleEndian = 2 // cache_file_new_flags_endian_little; 0 is a file of before glibc 2.33

	extensionMagic       = 0xeaa42174 // cache_extension_magic
	extensionHeaderSize  = 8
	sectionSize          = 16
	sectionTagGenerator  = 0 // cache_extension_tag_generator
	sectionTagHWCaps     = 1 // cache_extension_tag_glibc_hwcaps
	maxExtensionSections = 64

	hwcapExtension  = 1 << 62 // DL_CACHE_HWCAP_EXTENSION
	isaLevelShift   = 32
	isaLevelMask    = 1<<10 - 1 // DL_CACHE_HWCAP_ISA_LEVEL_MASK
	hwcapIndexMask  = math.MaxUint32
	hwcapLevelField = isaLevelMask << isaLevelShift
)

// MaxSize is the largest cache that this package reads or writes, in bytes. A
// machine with all of a distribution's libraries needs less than 2 MiB.
const MaxSize = 16 << 20

// Decode reads an ld.so.cache file of any format: old (libc5), compat, new,
// and new with extensions. Where an old cache hides a new one, the new one is
// what counts, as it does to the loader. An error means that the file is cut
// short, is none of these, or has an offset that leads out of it: the fault of
// whoever wrote it.
func Decode(data []byte) (*Cache, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("ld.so.cache: %d bytes are more than the %d that a cache may have", len(data), MaxSize)
	}
	if hasPrefix(data, newMagic) {
		return decodeNew(data)
	}
	if !hasPrefix(data, oldMagic) || len(data) < oldHeaderSize {
		return nil, fmt.Errorf("ld.so.cache: no magic number of a cache at its start")
	}
	count := uint64(binary.LittleEndian.Uint32(data[12:]))
	end := oldHeaderSize + count*oldEntrySize
	if end > uint64(len(data)) {
		return nil, fmt.Errorf("ld.so.cache: %d entries do not fit in %d bytes", count, len(data))
	}
	if hidden := (end + 7) &^ 7; hidden < uint64(len(data)) && hasPrefix(data[hidden:], newMagic) {
		return decodeNew(data[hidden:])
	}
	c := &Cache{Entries: make([]Entry, count)}
	text := string(data[end:])
	for i := range c.Entries {
		raw := data[oldHeaderSize+i*oldEntrySize:]
		e := &c.Entries[i]
		e.Flags = binary.LittleEndian.Uint32(raw)
		var err error
		if e.Key, err = stringAt(text, binary.LittleEndian.Uint32(raw[4:])); err == nil {
			e.Value, err = stringAt(text, binary.LittleEndian.Uint32(raw[8:]))
		}
		if err != nil {
			return nil, fmt.Errorf("ld.so.cache: entry %d: %w", i, err)
		}
	}
	return c, nil
}

func decodeNew(data []byte) (*Cache, error) {
	if len(data) < newHeaderSize {
		return nil, fmt.Errorf("ld.so.cache: cut short in its header")
	}
	count := uint64(binary.LittleEndian.Uint32(data[20:]))
	length := uint64(binary.LittleEndian.Uint32(data[24:]))
	if order := data[28] & 3; order != 0 && order != littleEndian {
		return nil, fmt.Errorf("ld.so.cache: not written for a little-endian processor")
	}
	end := newHeaderSize + count*newEntrySize + length
	if end > uint64(len(data)) {
		return nil, fmt.Errorf("ld.so.cache: %d entries and %d bytes of strings do not fit in %d bytes", count, length, len(data))
	}
	c := &Cache{Entries: make([]Entry, count)}
	text := string(data[:end]) // offsets count from the header
	names, err := c.decodeExtension(data, text)
	if err != nil {
		return nil, err
	}
	for i := range c.Entries {
		if err := c.Entries[i].decode(data[newHeaderSize+i*newEntrySize:], text, names); err != nil {
			return nil, fmt.Errorf("ld.so.cache: entry %d: %w", i, err)
		}
	}
	return c, nil
}

func (e *Entry) decode(raw []byte, text string, names []string) (err error) {
	e.Flags = binary.LittleEndian.Uint32(raw)
	if e.Key, err = stringAt(text, binary.LittleEndian.Uint32(raw[4:])); err != nil {
		return err
	}
	if e.Value, err = stringAt(text, binary.LittleEndian.Uint32(raw[8:])); err != nil {
		return err
	}
	e.OSVersion = binary.LittleEndian.Uint32(raw[12:])
	hwcap := binary.LittleEndian.Uint64(raw[16:])
	if hwcap&^(hwcapLevelField|hwcapIndexMask) != hwcapExtension {
		e.Legacy = hwcap
		return nil
	}
	index := hwcap & hwcapIndexMask
	if index >= uint64(len(names)) {
		return fmt.Errorf("glibc-hwcaps folder %d of %d", index, len(names))
	}
	e.HWCaps = names[index]
	e.ISALevel = uint16(hwcap >> isaLevelShift & isaLevelMask)
	return nil
}

// decodeExtension reads the generator into c, and returns the names of the
// glibc-hwcaps folders.
func (c *Cache) decodeExtension(data []byte, text string) (names []string, err error) {
	offset := uint64(binary.LittleEndian.Uint32(data[32:]))
	if offset == 0 {
		return nil, nil
	}
	size := uint64(len(data))
	if offset%4 != 0 || offset+extensionHeaderSize > size || binary.LittleEndian.Uint32(data[offset:]) != extensionMagic {
		return nil, fmt.Errorf("ld.so.cache: no extension at offset %d, where its header says", offset)
	}
	count := uint64(binary.LittleEndian.Uint32(data[offset+4:]))
	if count > maxExtensionSections || offset+extensionHeaderSize+count*sectionSize > size {
		return nil, fmt.Errorf("ld.so.cache: %d extension sections", count)
	}
	for i := range count {
		raw := data[offset+extensionHeaderSize+i*sectionSize:]
		tag := binary.LittleEndian.Uint32(raw)
		at, length := uint64(binary.LittleEndian.Uint32(raw[8:])), uint64(binary.LittleEndian.Uint32(raw[12:]))
		if at+length > size {
			return nil, fmt.Errorf("ld.so.cache: extension section %d leads out of the file", i)
		}
		switch tag {
		case sectionTagGenerator:
			c.Generator = string(data[at : at+length])
		case sectionTagHWCaps:
			if at%4 != 0 || length%4 != 0 || names != nil {
				return nil, fmt.Errorf("ld.so.cache: extension section %d: not one aligned list of folders", i)
			}
			names = make([]string, length/4)
			for j := range names {
				if names[j], err = stringAt(text, binary.LittleEndian.Uint32(data[at+uint64(j)*4:])); err != nil {
					return nil, fmt.Errorf("ld.so.cache: glibc-hwcaps folder %d: %w", j, err)
				}
				if names[j] == "" {
					return nil, fmt.Errorf("ld.so.cache: glibc-hwcaps folder %d has no name", j)
				}
			}
		}
	}
	return names, nil
}

// stringAt returns the NUL-terminated string at offset, sharing text's memory.
func stringAt(text string, offset uint32) (string, error) {
	if uint64(offset) >= uint64(len(text)) {
		return "", fmt.Errorf("string at %d is out of the file", offset)
	}
	n := strings.IndexByte(text[offset:], 0)
	if n < 0 {
		return "", fmt.Errorf("string at %d has no end", offset)
	}
	return text[offset : int(offset)+n], nil
}

func hasPrefix(data []byte, prefix string) bool {
	return len(data) >= len(prefix) && string(data[:len(prefix)]) == prefix
}
