// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// counted counts what is read.
type counted struct {
	io.ReaderAt
	bytes int
}

func (c *counted) ReadAt(p []byte, offset int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, offset)
	c.bytes += n
	return n, err
}

func readBytes(data []byte) (library, *counted, error) {
	var r elfReader
	file := &counted{ReaderAt: bytes.NewReader(data)}
	lib, err := r.readLibrary(file, int64(len(data)), known)
	return lib, file, err
}

// realLibraries are some of the machine's.
func realLibraries(t testing.TB) [][]byte {
	var all [][]byte
	for _, pattern := range []string{"/lib/*/libgcc_s.so.1", "/lib/*/libm.so.6", "/lib/*/libz.so.1", "/lib64/ld-linux-x86-64.so.2", "/lib32/libc.so.6", "../build/roots/*/lib*/*/libc.so.6"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if data, err := os.ReadFile(path); err == nil {
				all = append(all, data)
			}
		}
	}
	if len(all) == 0 {
		if os.Getenv("TENON_CI") != "" {
			t.Fatal("needs the machine's libraries")
		}
		t.Skip("needs the machine's libraries")
	}
	return all
}

// sonameByDebugELF is the soname by another reader; ok where that one looks at
// the same bytes: it goes by sections, a loader by segments.
func sonameByDebugELF(data []byte) (soname string, ok bool) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil || f.Type != elf.ET_DYN || f.ByteOrder != binary.LittleEndian {
		return "", false
	}
	section := f.SectionByType(elf.SHT_DYNAMIC)
	dynamics := 0
	for _, p := range f.Progs {
		if p.Type == elf.PT_DYNAMIC {
			dynamics++
			if section == nil || section.Offset != p.Off || section.FileSize != p.Filesz {
				return "", false
			}
		}
	}
	if dynamics != 1 || int(section.Link) >= len(f.Sections) {
		return "", false
	}
	table, err := f.DynValue(elf.DT_STRTAB)
	if err != nil || len(table) != 1 {
		return "", false
	}
	strings := f.Sections[section.Link]
	loads := 0
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && table[0] >= p.Vaddr && table[0]-p.Vaddr < p.Filesz {
			if loads++; loads > 1 || table[0]-p.Vaddr+p.Off != strings.Offset {
				return "", false
			}
		}
	}
	names, err := f.DynString(elf.DT_SONAME)
	if loads != 1 || err != nil || len(names) > 1 || strings.Flags&elf.SHF_COMPRESSED != 0 {
		return "", false
	}
	if len(names) == 1 {
		soname = names[0]
	}
	return soname, true
}

func TestSonamesAreThoseOfDebugELF(t *testing.T) {
	compared := 0
	for _, data := range realLibraries(t) {
		lib, file, err := readBytes(data)
		if err != nil {
			t.Error(err)
			continue
		}
		if want, ok := sonameByDebugELF(data); ok {
			compared++
			if lib.soname != want {
				t.Errorf("soname %q, debug/elf has %q", lib.soname, want)
			}
		}
		if file.bytes > 16<<10 {
			t.Errorf("%s: %d bytes read", lib.soname, file.bytes)
		}
	}
	if compared == 0 {
		t.Error("nothing compared")
	}
}

// T08: offsets out of the file, and around the end of what a number holds.
func TestT08LibrariesThatLie(t *testing.T) {
	whole := realLibraries(t)[0]
	le := binary.LittleEndian
	phoff := int(le.Uint64(whole[32:]))
	find := func(kind uint32) int {
		for i := range int(le.Uint16(whole[56:])) {
			if at := phoff + i*56; le.Uint32(whole[at:]) == kind {
				return at
			}
		}
		t.Fatalf("no segment %#x", kind)
		return 0
	}
	dynamic := find(segmentDynamic)
	tags := int(le.Uint64(whole[dynamic+8:]))
	entry := func(tag uint64) int {
		for at := tags; ; at += 16 {
			if le.Uint64(whole[at:]) == tag {
				return at
			}
		}
	}
	for name, change := range map[string]func(d []byte) []byte{
		"headers past the end":       func(d []byte) []byte { le.PutUint64(d[32:], uint64(len(d))+1); return d },
		"headers that wrap":          func(d []byte) []byte { le.PutUint64(d[32:], 1<<64-56); return d },
		"65535 headers":              func(d []byte) []byte { le.PutUint16(d[56:], 65535); return d },
		"no headers":                 func(d []byte) []byte { le.PutUint16(d[56:], 0); return d },
		"dynamic past the end":       func(d []byte) []byte { le.PutUint64(d[dynamic+8:], uint64(len(d))); return d },
		"dynamic that wraps":         func(d []byte) []byte { le.PutUint64(d[dynamic+8:], 1<<63); return d },
		"dynamic of no size":         func(d []byte) []byte { le.PutUint64(d[dynamic+32:], 0); return d },
		"strings past the end":       func(d []byte) []byte { le.PutUint64(d[entry(tagStrTab)+8:], 1<<62); return d },
		"soname past the end":        func(d []byte) []byte { le.PutUint64(d[entry(tagSoname)+8:], 1<<40); return d },
		"soname that wraps":          func(d []byte) []byte { le.PutUint64(d[entry(tagSoname)+8:], 1<<64-1); return d },
		"cut in the header":          func(d []byte) []byte { return d[:60] },
		"cut in the program headers": func(d []byte) []byte { return d[:100] },
		"empty":                      func([]byte) []byte { return nil },
		"not a library":              func(d []byte) []byte { le.PutUint16(d[16:], uint16(elf.ET_EXEC)); return d },
		"unknown machine":            func(d []byte) []byte { le.PutUint16(d[18:], 0xfeed); return d },
		"soname at the end, no NUL": func(d []byte) []byte {
			d = append(d, "libend.so"...)
			table := le.Uint64(d[entry(tagStrTab)+8:])
			le.PutUint64(d[entry(tagSoname)+8:], uint64(len(d)-9)-table)
			return d
		},
	} {
		if lib, _, err := readBytes(change(bytes.Clone(whole))); err == nil {
			t.Errorf("%s: read as %+v", name, lib)
		}
	}
	// A note that is out of the file has no level; ldconfig crashes on it.
	note, stack := bytes.Clone(whole), find(uint32(elf.PT_GNU_STACK))
	le.PutUint32(note[stack:], segmentProperty)
	le.PutUint64(note[stack+8:], 1<<40)
	le.PutUint64(note[stack+32:], 64)
	le.PutUint64(note[stack+48:], 8)
	if lib, _, err := readBytes(note); err != nil || lib.isaLevel != 0 || lib.soname == "" {
		t.Errorf("%+v, %v", lib, err)
	}
	// Without DT_NULL the table ends where its segment does.
	endless := bytes.Clone(whole)
	for at := tags; at < tags+int(le.Uint64(whole[dynamic+32:])); at += 16 {
		if le.Uint64(endless[at:]) == tagNull {
			le.PutUint64(endless[at:], 0x6ffffef5)
		}
	}
	if lib, _, err := readBytes(endless); err != nil || lib.soname == "" {
		t.Errorf("%+v, %v", lib, err)
	}
}

// What each processor's libraries are marked with, which its loader takes.
func TestFlagsOfProcessors(t *testing.T) {
	for _, c := range []struct {
		arch   machine
		wide   bool
		eflags uint32
		want   uint32
		goarch string
	}{
		{machineX8664, true, 0, 0x303, "amd64"}, {machineX8664, false, 0, 0x803, ""}, {machine386, false, 0, 3, "386"}, {machine386, true, 0, 0, ""},
		{machineAArch64, true, 0, 0xa03, "arm64"}, {machineARM, false, armFloatHard, 0x903, "arm"}, {machineARM, false, armFloatSoft, 0xb03, "arm"},
		{machineRISCV, true, riscvFloatDouble, 0x1003, "riscv64"}, {machineRISCV, true, 0, 0xf03, "riscv64"}, {machineRISCV, true, 2, 0, ""},
		{machineLoongArch, true, loongarchDouble, 0x1203, "loong64"}, {machineLoongArch, true, 1, 0x1103, "loong64"},
		{machinePPC64, true, 2, 0x503, "ppc64le"}, {9999, true, 0, 0, ""},
	} {
		got := known.flags(c.arch, c.wide, c.eflags)
		if got != c.want || c.goarch != "" && !slices.Contains(nativeFlags(c.goarch), got) {
			t.Errorf("machine %d, wide %v, flags %#x: %#x; %s takes %#x", c.arch, c.wide, c.eflags, got, c.goarch, nativeFlags(c.goarch))
		}
	}
	if f := (families{known[1]}).flags(machineX8664, true, 0); f != 0 {
		t.Errorf("an x86-64 library in an image for arm64: %#x", f)
	}
}

func FuzzELFInfo(f *testing.F) {
	for _, seed := range [][]byte{nil, []byte("\x7fELF"), make([]byte, 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lib, file, err := readBytes(data)
		if file.bytes > 4<<20 {
			t.Errorf("%d bytes read", file.bytes)
		}
		if err != nil {
			return
		}
		if lib.soname != "" && !ValidKey(lib.soname) || lib.isaLevel > 31 || lib.flags == 0 {
			t.Errorf("%+v", lib)
		}
		if want, ok := sonameByDebugELF(data); ok && want != lib.soname {
			t.Errorf("soname %q, debug/elf has %q", lib.soname, want)
		}
	})
}
