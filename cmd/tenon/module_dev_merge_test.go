// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// memoryModule has a memory of pages, and a data section.
func memoryModule(pages byte, data []byte) []byte {
	section := func(id byte, content ...byte) []byte {
		return append(binary.AppendUvarint([]byte{id}, uint64(len(content))), content...)
	}
	out := []byte(wasmHeader)
	out = append(out, section(sectionMemory, 1, 0, pages)...)
	out = append(out, section(7, append([]byte("\x01\x06memory"), 2, 0)...)...)
	out = append(out, section(sectionData, data...)...)
	return append(out, section(sectionCustom, []byte("\x04noteabc")...)...)
}

// loaded instantiates a module and returns its memory; nil where that fails.
func loaded(t testing.TB, code []byte) []byte {
	t.Helper()
	ctx := context.Background()
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(1024))
	defer engine.Close(ctx)
	compiled, err := engine.CompileModule(ctx, code)
	if err != nil {
		return nil
	}
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		_, err := engine.NewHostModuleBuilder(module).NewFunctionBuilder().
			WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), f.ParamTypes(), f.ResultTypes()).Export(name).Instantiate(ctx)
		if err != nil {
			return nil // several functions of one module: not for this test
		}
	}
	m, err := engine.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil || m.Memory() == nil {
		return nil
	}
	memory, _ := m.Memory().Read(0, m.Memory().Size())
	return bytes.Clone(memory)
}

func TestMergedSegmentsLeaveTheSameMemory(t *testing.T) {
	at := func(n uint32, data string) segment { return segment{n, []byte(data)} }
	long := string(bytes.Repeat([]byte("x"), 300))
	for _, test := range []struct {
		name string
		list []segment
		want int // segments
	}{
		{"none", nil, 0},
		{"empty ones do nothing", []segment{at(65536, ""), at(3, "")}, 0},
		{"neighbours", []segment{at(0, "ab"), at(2, "cd")}, 1},
		{"a small gap is zeros", []segment{at(0, "ab"), at(66, "cd")}, 1},
		{"a large gap stays", []segment{at(0, "ab"), at(67, "cd")}, 2},
		{"the later one counts", []segment{at(10, long), at(12, "AB"), at(11, "CDE"), at(0, "zero")}, 1},
		{"the later one counts, whatever its place", []segment{at(12, "late"), at(10, "early"), at(14, "again")}, 1},
		{"the gap of two is what a third wrote", []segment{at(20, "mid"), at(0, "ab"), at(40, "cd")}, 1},
		{"to the end", []segment{at(65536-300, long), at(65535, "!")}, 1},
		{"out of memory is left alone", []segment{at(0, "ab"), at(2, "cd"), at(65536, "x")}, 3},
		{"empty out of memory is left alone", []segment{at(0, "ab"), at(2, "cd"), at(65537, "")}, 3},
		{"the upper half of 32 bits", []segment{at(0, "ab"), at(1<<31, "x")}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			code := memoryModule(1, writeSegments(test.list))
			packed, parts := packModule(code)
			if parts.SegmentsBefore != len(test.list) || parts.DataSegments != test.want {
				t.Errorf("%d segments became %d, want %d", parts.SegmentsBefore, parts.DataSegments, test.want)
			}
			if !bytes.Equal(loaded(t, code), loaded(t, packed)) {
				t.Error("the memories differ")
			}
			if again, _ := packModule(packed); !bytes.Equal(again, packed) {
				t.Error("packing twice is not as packing once")
			}
			if bytes.Contains(packed, []byte("\x04note")) {
				t.Error("a custom section is still there")
			}
		})
	}
}

// What could tell one segment from another, or has a memory that is not zero, is
// not merged.
func TestPackLeavesAloneWhatItCannotProve(t *testing.T) {
	two := writeSegments([]segment{{0, []byte("ab")}, {2, []byte("cd")}})
	plain := memoryModule(1, two)
	insert := func(at int, section ...byte) []byte {
		return append(append(bytes.Clone(plain[:at]), section...), plain[at:]...)
	}
	for name, code := range map[string][]byte{
		"a count of segments":   insert(8+5+12, sectionDataCount, 1, 2),
		"a memory from outside": insert(8, sectionImport, 8, 1, 1, 'a', 1, 'b', 2, 0, 1),
		"a global from outside": insert(8, sectionImport, 8, 1, 1, 'a', 1, 'b', 3, 0x7f, 0),
		"passive":               memoryModule(1, []byte{2, 1, 1, 'a', 1, 1, 'b'}),
		"another memory":        memoryModule(1, []byte{1, 2, 1, 0x41, 0, 0x0b, 0}),
		"at a global":           memoryModule(1, []byte{1, 0, 0x23, 0, 0x0b, 0}),
	} {
		if _, parts := packModule(code); parts.DataSegments != parts.SegmentsBefore || parts.SegmentsBefore == 0 {
			t.Errorf("%s: %d segments became %d", name, parts.SegmentsBefore, parts.DataSegments)
		}
	}
	if _, parts := packModule(plain); parts.DataSegments != 1 {
		t.Fatalf("the plain module has %d segments, want 1: the others prove nothing", parts.DataSegments)
	}
	for _, code := range []string{"", "text", wasmHeader + "\x0b\x05\x01", wasmHeader + "\x0b\xff\xff\xff\xff\xff\xff"} {
		if packed, _ := packModule([]byte(code)); string(packed) != code {
			t.Errorf("%q became %q", code, packed)
		}
	}
}

// TestPackGo: the module of std Go, which has some 20,000 segments.
func TestPackGo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "../../sdk/sample")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	packed, parts := packModule(code)
	if parts.SegmentsBefore < 1000 || parts.DataSegments > 100 {
		t.Errorf("%d segments became %d", parts.SegmentsBefore, parts.DataSegments)
	}
	t.Logf("%d bytes became %d, %d segments %d", len(code), len(packed), parts.SegmentsBefore, parts.DataSegments)
	before, _ := splitSections(code)
	after, _ := splitSections(packed)
	flat := func(sections []wasmSection) []byte {
		memory := make([]byte, 32<<20)
		for _, s := range sections {
			if s.id != sectionData {
				continue
			}
			list, ok := readSegments(s.content)
			if !ok {
				t.Fatal("the data section cannot be read")
			}
			for _, s := range list {
				copy(memory[s.at:], s.data)
			}
		}
		return memory
	}
	if !bytes.Equal(flat(before), flat(after)) {
		t.Error("the memories differ")
	}
}

// FuzzMergeSegments: whatever the segments are, both modules leave the same
// memory, and where one is refused so is the other.
func FuzzMergeSegments(f *testing.F) {
	f.Add(byte(1), []byte{0, 0, 4, 0, 2, 4, 0, 200, 1})
	f.Add(byte(0), []byte{0, 0, 0})
	f.Add(byte(1), []byte{255, 250, 9, 255, 0, 255, 0, 1, 1, 0, 3, 7})
	f.Fuzz(func(t *testing.T, pages byte, shape []byte) {
		var list []segment
		for i := 0; i+3 <= len(shape) && len(list) < 64; i += 3 { // offset of 17 bits, length
			n := uint32(shape[i])<<8 | uint32(shape[i+1]) + uint32(shape[i+2]&1)<<16
			list = append(list, segment{n, bytes.Repeat([]byte{byte(len(list) + 1)}, int(shape[i+2]))})
		}
		code := memoryModule(pages%3, writeSegments(list))
		packed, _ := packModule(code)
		if !bytes.Equal(loaded(t, code), loaded(t, packed)) {
			t.Error("the memories differ")
		}
	})
}

// FuzzPackModule: no bytes make it panic or blow up, and what it has done once it
// does not do again.
func FuzzPackModule(f *testing.F) {
	f.Add(memoryModule(1, writeSegments([]segment{{0, []byte("ab")}, {2, []byte("cd")}})))
	f.Add(memoryModule(1, []byte{2, 1, 1, 'a', 1, 1, 'b'}))
	f.Add([]byte(wasmHeader))
	f.Fuzz(func(t *testing.T, code []byte) {
		packed, _ := packModule(code)
		if len(packed) > 16*len(code)+64 { // a gap of 64 for each segment, which has 5 bytes or more
			t.Errorf("%d bytes became %d", len(code), len(packed))
		}
		if again, _ := packModule(packed); !bytes.Equal(again, packed) {
			t.Error("packing twice is not as packing once")
		}
	})
}
