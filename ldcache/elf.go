// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
)

// library is what ldconfig needs to know of a shared library.
type library struct {
	flags    uint32 // as Entry.Flags
	isaLevel uint16 // as Entry.ISALevel
	soname   string // DT_SONAME; "" where it has none
}

// Limits on what is read of one file. Real libraries have at most some 15
// program headers and a few hundred dynamic entries.
const (
	headBytes       = 4096 // read at once: the header, the program headers, most notes
	maxHeaderBytes  = 64 << 10
	maxDynamicBytes = 1 << 20
	maxNoteBytes    = 64 << 10
)

// Of elf.h: the gABI's "ELF Header", "Program Header" and "Dynamic Section".
// Package debug/elf has them too, and starts up more slowly than a whole run of
// this package takes.
const (
	elfMagic        = "\x7fELF"
	class32         = 1 // EI_CLASS, byte 4
	class64         = 2
	typeDyn         = 3 // ET_DYN
	segmentLoad     = 1 // PT_LOAD
	segmentDynamic  = 2 // PT_DYNAMIC
	segmentProperty = 0x6474e553
	tagNull         = 0 // DT_NULL
	tagStrTab       = 5
	tagSoname       = 14
)

// One reason is enough: ldconfig, too, passes such a file by.
var errNotLibrary = errors.New("not a shared library that a loader could load")

// elfReader reads libraries, one after the other, into memory that it keeps.
type elfReader struct {
	file    io.ReaderAt
	size    int64
	head    []byte // the first bytes of the file
	buffer  []byte
	reading [headBytes]byte
}

// readLibrary reads the library in file, of which size bytes are there. It
// accepts what process_elf_file of glibc's elf/readelflib.c accepts, and holds
// every offset against size. On a file that is no library of one of families
// the error is errNotLibrary, or that of the file's ReadAt.
func (r *elfReader) readLibrary(file io.ReaderAt, size int64, families families) (library, error) {
	var lib library
	r.file, r.size, r.head = file, size, nil
	head, err := r.bytes(0, min(headBytes, size), r.reading[:])
	if err != nil {
		return lib, err
	}
	if len(head) < 64 || string(head[:4]) != elfMagic {
		return lib, errNotLibrary
	}
	r.head = head
	le := binary.LittleEndian
	class := head[4]
	if le.Uint16(head[16:]) != typeDyn {
		return lib, errNotLibrary
	}
	arch := machine(le.Uint16(head[18:]))

	// Elf64_Ehdr and Elf64_Phdr, or their 32-bit forms, of elf.h.
	var headers, eflags, word, entrySize uint64
	var count int
	switch class {
	case class64:
		headers, eflags, count, word, entrySize = le.Uint64(head[32:]), uint64(le.Uint32(head[48:])), int(le.Uint16(head[56:])), 8, 56
	case class32:
		headers, eflags, count, word, entrySize = uint64(le.Uint32(head[28:])), uint64(le.Uint32(head[36:])), int(le.Uint16(head[44:])), 4, 32
	default:
		return lib, errNotLibrary
	}
	if lib.flags = families.flags(arch, class == class64, uint32(eflags)); lib.flags == 0 {
		return lib, errNotLibrary
	}
	length := uint64(count) * entrySize
	if length > maxHeaderBytes || headers > uint64(size) {
		return lib, errNotLibrary
	}
	raw, err := r.bytes(int64(headers), int64(length), nil)
	if err != nil {
		return lib, err
	}
	segments := make([]segment, 0, 16)
	for i := range count {
		segments = append(segments, readSegment(raw[uint64(i)*entrySize:], class))
	}

	var dynamic segment
	for _, s := range segments {
		switch s.kind {
		case segmentDynamic:
			dynamic = s
		case segmentProperty:
			if arch == machineX8664 || arch == machine386 {
				lib.isaLevel = r.isaLevel(s, word)
			}
		}
	}
	if dynamic.size == 0 || dynamic.offset > uint64(size) {
		return lib, errNotLibrary
	}
	// Many tools leave the entry count to DT_NULL; glibc reads up to it.
	raw, err = r.bytes(int64(dynamic.offset), int64(min(dynamic.size, maxDynamicBytes, uint64(size)-dynamic.offset)), nil)
	if err != nil {
		return lib, err
	}
	var table, soname uint64
	var hasTable, hasSoname bool
	for ; uint64(len(raw)) >= 2*word; raw = raw[2*word:] {
		tag, value := readWord(raw, word), readWord(raw[word:], word)
		if tag == tagNull {
			break
		}
		if tag == tagStrTab && !hasTable {
			table, hasTable = value, true
		}
		if tag == tagSoname && !hasSoname {
			soname, hasSoname = value, true
		}
	}
	if !hasTable {
		return lib, errNotLibrary
	}
	for _, s := range segments {
		if s.kind == segmentLoad && table >= s.address && table-s.address < s.size {
			table = table - s.address + s.offset
			break
		}
	}
	if table > uint64(size) {
		return lib, errNotLibrary
	}
	if !hasSoname {
		return lib, nil
	}
	if soname > uint64(size)-table {
		return lib, errNotLibrary
	}
	at := table + soname
	text, err := r.bytes(int64(at), int64(min(maxKey+1, uint64(size)-at)), nil)
	if err != nil {
		return lib, err
	}
	for i, c := range text {
		if c == 0 {
			if lib.soname = string(text[:i]); !ValidKey(lib.soname) {
				return lib, errNotLibrary
			}
			return lib, nil
		}
	}
	return lib, errNotLibrary // no end within 255 bytes or before the end of the file
}

// segment is a program header; size is that in the file.
type segment struct {
	kind                         uint32
	offset, address, size, align uint64
}

func readSegment(raw []byte, class byte) segment {
	le := binary.LittleEndian
	if class == class64 {
		return segment{le.Uint32(raw), le.Uint64(raw[8:]), le.Uint64(raw[16:]), le.Uint64(raw[32:]), le.Uint64(raw[48:])}
	}
	return segment{le.Uint32(raw), uint64(le.Uint32(raw[4:])), uint64(le.Uint32(raw[8:])), uint64(le.Uint32(raw[16:])), uint64(le.Uint32(raw[28:]))}
}

func readWord(raw []byte, word uint64) uint64 {
	if word == 8 {
		return binary.LittleEndian.Uint64(raw)
	}
	return uint64(binary.LittleEndian.Uint32(raw))
}

// From the x86-64 psABI, "Program Property", and glibc's elf.h.
const (
	noteGNUPropertyType0 = 5
	propertyX86ISANeeded = 0xc0008002 // GNU_PROPERTY_X86_ISA_1_NEEDED
)

// isaLevel returns the number of the highest bit in the ISA_1_NEEDED property
// of the notes in s, 0 where there is none or the notes are not sound, as
// glibc's sysdeps/unix/sysv/linux/x86/elf-read-prop.h has it.
func (r *elfReader) isaLevel(s segment, word uint64) uint16 {
	if s.align != word || s.size > maxNoteBytes || s.offset > uint64(r.size) {
		return 0
	}
	note, err := r.bytes(int64(s.offset), int64(s.size), nil)
	if err != nil {
		return 0
	}
	le := binary.LittleEndian
	align := func(n uint64) uint64 { return (n + word - 1) &^ (word - 1) }
	for len(note) > 12 {
		nameSize, descSize, kind := uint64(le.Uint32(note)), uint64(le.Uint32(note[4:])), le.Uint32(note[8:])
		desc := align(12 + nameSize)
		if nameSize == 4 && kind == noteGNUPropertyType0 && len(note) >= 16 && string(note[12:16]) == "GNU\x00" {
			if descSize%word != 0 || desc+descSize > uint64(len(note)) {
				return 0
			}
			properties := note[desc : desc+descSize]
			for last := uint32(0); len(properties) >= 8; {
				kind, size := le.Uint32(properties), uint64(le.Uint32(properties[4:]))
				properties = properties[8:]
				if kind < last || kind > propertyX86ISANeeded || size > uint64(len(properties)) {
					return 0
				}
				if kind == propertyX86ISANeeded {
					if size == 4 {
						if needed := le.Uint32(properties); needed != 0 {
							return uint16(bits.Len32(needed) - 1)
						}
					}
					return 0
				}
				last, properties = kind, properties[min(align(size), uint64(len(properties))):]
			}
			return 0
		}
		next := align(desc + descSize)
		if next > uint64(len(note)) {
			return 0
		}
		note = note[next:]
	}
	return 0
}

// bytes returns length bytes of the file at offset. They are good until the
// next call. A range that is not in the file is errNotLibrary.
func (r *elfReader) bytes(offset, length int64, into []byte) ([]byte, error) {
	if offset < 0 || length < 0 || offset > r.size || length > r.size-offset {
		return nil, errNotLibrary
	}
	if end := offset + length; end <= int64(len(r.head)) {
		return r.head[offset:end], nil
	}
	if into == nil {
		if int64(cap(r.buffer)) < length {
			r.buffer = make([]byte, length)
		}
		into = r.buffer
	}
	into = into[:length]
	if n, err := r.file.ReadAt(into, offset); int64(n) < length {
		if err == nil || err == io.EOF {
			err = errNotLibrary // cut short since size was read
		}
		return nil, err
	}
	return into, nil
}
