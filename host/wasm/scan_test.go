// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/tenon-runtime/tenon/host"
)

// Small files that make a WebAssembly engine ask for hundreds of gigabytes or
// compute for a minute: T21 and T22 of the attack cases.
var bombs = []struct {
	name   string
	module []byte
	want   string
}{
	{"types", wasm(section(1, uleb(0xffffffff))), "its type section declares 4294967295 types; 2000 are the most"},
	{"imports", wasm(section(2, uleb(0xffffffff))), "declares 4294967295 imports; 64 are the most"},
	{"functions", wasm(section(3, uleb(0xffffffff))), "its function section declares 4294967295 functions; 20000 are the most"},
	{"globals", wasm(section(6, uleb(0xffffffff))), "its global section declares 4294967295 globals; 2000 are the most"},
	{"exports", wasm(section(7, uleb(0xffffffff))), "its export section declares 4294967295 exports; 1000 are the most"},
	{"elements", wasm(section(9, uleb(0xffffffff))), "its element section declares 4294967295 segments; 64 are the most"},
	{"code", wasm(section(10, uleb(0xffffffff))), "its code section declares 4294967295 functions; 20000 are the most"},
	{"data", wasm(section(11, uleb(0xffffffff))), "its data section declares 4294967295 segments; 131072 are the most"},
	{"data in few bytes", wasm(section(11, uleb(100000))), "its data section declares 100000 segments in 0 bytes"},
	{"data count", wasm(section(12, uleb(0xffffffff))), "its data count section declares 4294967295 segments; 131072 are the most"},
	{"data segment", wasm(section(11, list(bytesOf(1, uleb(0xffffffff))))), "its data section is cut short"},
	{"names", wasm(section(0, text("name"), 1, sized(uleb(4000000)))), "its name subsection declares 4000000 names; 2097152 are the most"},
	{"local names", wasm(section(0, text("name"), 2, sized(bytesOf(uleb(1), 0, uleb(2000000))))), "its name subsection declares 2000000 names in 0 bytes"},
	{"parameters", wasm(section(1, list(bytesOf(0x60, uleb(101), make([]byte, 200))))), "its type section declares 101 parameters; 100 are the most"},
	{"results", wasm(section(1, list(bytesOf(0x60, uleb(0), uleb(17), make([]byte, 200))))), "its type section declares 17 results; 16 are the most"},
	{"locals", guestModule(nil, "", nil, section(10, list(sized(bytesOf(list(bytesOf(uleb(0xffff0000), 0x7f)), opEnd))))), "its function body declares 4294901760 locals; 5000 are the most"},
	{"tables", wasm(section(4, uleb(64), bytes.Repeat(bytesOf(0x70, 0, uleb(134217727)), 64))), "its table section declares 64 tables; 1 are the most"},
	{"table", wasm(section(4, list(bytesOf(0x70, 0, uleb(134217727))))), "its table section has a table of 134217727 elements; 65536 are the most"},
	{"table of references", wasm(section(4, list(bytesOf(0x6f, 0, 1)))), "its table section has a table that is not of functions"},
	{"table.grow", guestModule(bytesOf(0xd0, 0x70, i32Const(1), 0xfc, 15, 0), ""), "its function body has opcode 0xd0; build for core WebAssembly 2.0 without SIMD and reference types"},
	{"table.size", guestModule(bytesOf(0xfc, 16, 0), ""), "its function body has opcode 0xfc 16; build for core WebAssembly 2.0 without SIMD and reference types"},
	{"memories", wasm(section(5, list([]byte{0, 1}, []byte{0, 1}))), "its memory section declares 2 memories; 1 are the most"},
	{"memory64", wasm(section(5, list([]byte{4, 1}))), "its memory section has limits of kind 4; build without threads and memory64"},
	{"blocks", guestModule(bytesOf(bytes.Repeat([]byte{0x02, blockEmpty}, 100000), bytes.Repeat([]byte{opEnd}, 100000), i32Const(0)), ""), "its function body has blocks in blocks deeper than 8192"},
	{"br_table", guestModule(bytesOf(i32Const(0), 0x0e, uleb(300000), make([]byte, 300001)), ""), "its function body declares 300000 targets of a br_table; 8192 are the most"},
	{"body", guestModule(bytes.Repeat([]byte{1}, maxBody+1), ""), "its code section has a function body of 1048579 bytes; 1048576 are the most"},
	{"custom", wasm(section(0, text("x"), make([]byte, maxCustom+1))), `its custom section "x" has more than 4194304 bytes`},
	{"manifest", wasm(section(0, text("tenon.manifest"), make([]byte, host.MaxManifest+1))), "its custom section tenon.manifest has more than 16384 bytes"},
	{"two manifests", wasm(section(0, text("tenon.manifest"), "{}"), section(0, text("tenon.manifest"), "{}")), "its custom section tenon.manifest stands twice"},
	{"section size", wasm([]byte{1, 0xff, 0xff, 0x7f}), "its module is cut short"},
	{"section order", wasm(section(3, list()), section(1, list())), "has a second or misplaced type section"},
	{"unknown section", wasm(section(13, list())), "has a section of id 13, which core WebAssembly does not have"},
	{"left over", wasm(section(1, list(), 0)), "its type section has bytes left over"},
	{"long number", wasm([]byte{1, 0x80, 0x80, 0x80, 0x80, 0x80, 0}), "its module has a number that is too long"},
	{"large number", wasm([]byte{1, 0x80, 0x80, 0x80, 0x80, 0x10}), "its module has a number that is too large"},
	{"no code", wasm(section(1, list(bytesOf(0x60, list(), list()))), section(3, list([]byte{0}))), "declares 1 functions and has code for 0"},
	{"unknown type", wasm(section(3, list([]byte{0}))), "its function section names type 0 of 0"},
}

func TestScanRefusesBombs(t *testing.T) {
	for _, test := range bombs {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := scan(test.module)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("accepted")
			}
			if err.Error() != test.want {
				t.Errorf("error is\n%s\nwant\n%s", err, test.want)
			}
			if took > time.Second {
				t.Errorf("took %v", took)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
				t.Errorf("allocated %d bytes", used)
			}
		})
	}
}

func TestScanFindsTheManifest(t *testing.T) {
	m, err := scan(guestModule(i32Const(0), ""))
	if err != nil || string(m.manifest) != openManifest {
		t.Errorf("got %q, %v", m.manifest, err)
	}
	m, err = scan(wasm())
	if err != nil || m.manifest != nil {
		t.Errorf("without one: got %q, %v", m.manifest, err)
	}
	// The name section stays allowed.
	names := section(0, text("name"), 0, sized(text("guest")), 1, sized(list(bytesOf(0, text("query")))), 2, sized(list(bytesOf(3, list(bytesOf(0, text("x")))))), 9, sized([]byte("later")))
	if _, err = scan(guestModule(i32Const(0), "", names)); err != nil {
		t.Error(err)
	}
}

func TestScanSeesImportsAndExports(t *testing.T) {
	m, err := scan(guestModule(i32Const(0), ""))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range m.imports {
		got = append(got, i.module+"."+i.name+" "+i.typ.String())
	}
	want := []string{"tenon_v1.query (i32, i32, i32, i32, i32, i32) -> i64", "tenon_v1.emit (i32, i32, i32) -> i32", "wasi_snapshot_preview1.proc_exit (i32) -> ()"}
	if !slices.Equal(got, want) {
		t.Errorf("imports are %q", got)
	}
	if e := m.exports["tenon_discover"]; e.kind != kindFunc || e.typ.String() != "() -> i32" {
		t.Errorf("tenon_discover is %v", e)
	}
}

// Whatever scan lets through, wazero decodes and validates in little memory:
// that is what scan is for. It never panics, and its errors are one line.
func FuzzScan(f *testing.F) {
	for _, test := range bombs {
		if len(test.module) < 1<<12 {
			f.Add(test.module)
		}
	}
	f.Add(guestModule(i32Const(0), "data", section(9, list(bytesOf(1, 0, list([]byte{3}))))))
	f.Add(guestModule(bytesOf(i32Const(0), 0x0e, list([]byte{0}), 0), "", section(0, text("name"), 1, sized(list(bytesOf(0, text("q")))))))
	f.Add(emitAndReturn(0, "{}", 0))
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(coreFeatures).WithMemoryLimitPages(1024).WithDebugInfoEnabled(false)
	f.Fuzz(func(t *testing.T, module []byte) {
		shape, err := scan(module)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") || err.Error() == "" {
				t.Errorf("error is %q", err)
			}
			return
		}
		checkShape(shape)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		engine := wazero.NewRuntimeWithConfig(t.Context(), config)
		compiled, err := engine.CompileModule(t.Context(), module)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20+uint64(len(module))*1000 {
			t.Errorf("wazero allocated %d bytes for a module of %d", used, len(module))
		}
		if err == nil {
			// The two must see the same module, or one could hide imports.
			if got := len(compiled.ImportedFunctions()); got != len(shape.imports) {
				t.Errorf("wazero sees %d imports, scan %d", got, len(shape.imports))
			}
			for name := range compiled.ExportedFunctions() {
				if e, ok := shape.exports[name]; !ok || e.kind != kindFunc {
					t.Errorf("scan does not see the export %q", name)
				}
			}
		}
		engine.Close(t.Context())
	})
}
