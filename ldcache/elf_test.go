// SPDX-License-Identifier: Apache-2.0

package ldcache_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// makeELF returns a small shared library for x86-64 that a loader can load: a
// soname unless it is empty, and a property note where level is above 0.
func makeELF(soname string, level int) []byte {
	const headers, segments = 64, 56
	symbols := uint64(headers + 3*segments)
	dynamic := symbols + 24
	table := []byte("\x00" + soname + "\x00")
	tags := [][2]uint64{
		{uint64(elf.DT_STRTAB), 0}, {uint64(elf.DT_STRSZ), uint64(len(table))},
		{uint64(elf.DT_SYMTAB), symbols}, {uint64(elf.DT_SYMENT), 24},
	}
	if soname != "" {
		tags = append(tags, [2]uint64{uint64(elf.DT_SONAME), 1})
	}
	tags = append(tags, [2]uint64{uint64(elf.DT_NULL), 0})
	note := dynamic + uint64(len(tags))*16
	strtab := note + 32
	tags[0][1] = strtab
	end := strtab + uint64(len(table))

	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	put(elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1,
		Phoff: headers, Ehsize: headers, Phentsize: segments, Phnum: 3, Shentsize: 64,
	})
	property := elf.PT_NULL
	if level > 0 {
		property = elf.PT_GNU_PROPERTY
	}
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Filesz: end, Memsz: end, Align: 4096})
	put(elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Flags: uint32(elf.PF_R | elf.PF_W), Off: dynamic, Vaddr: dynamic, Paddr: dynamic, Filesz: note - dynamic, Memsz: note - dynamic, Align: 8})
	put(elf.Prog64{Type: uint32(property), Off: note, Vaddr: note, Paddr: note, Filesz: 32, Memsz: 32, Align: 8})
	put(make([]byte, 24))
	put(tags)
	put([]uint32{4, 16, 5})
	put([]byte("GNU\x00"))
	put([]uint32{0xc0008002, 4, 1 << max(level, 0), 0})
	put(table)
	return b.Bytes()
}
