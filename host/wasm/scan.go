// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"fmt"

	"github.com/tenon-runtime/tenon/host"
)

// The caps of the scan. wazero allocates what a module declares before it has
// read it, and a few bytes can declare anything, so each count is held against
// the bytes that follow it and against a cap. The caps leave three times or
// more of what std Go 1.26 writes for a mode with fmt and encoding/json: 2,000
// functions, a table of 6,096, 34,513 data segments, a br_table of 895, blocks
// 549 deep, 29 KiB for the largest function.
const (
	maxModule     = 8 << 20 // bytes of a module
	maxTypes      = 2000
	maxParams     = 100 // of one function type
	maxResults    = 16  // of one function type
	maxImports    = 64
	maxFunctions  = 20000
	maxTableMin   = 65536 // elements that the table starts with
	maxGlobals    = 2000
	maxExports    = 1000
	maxElements   = 64      // element segments
	maxTableInits = 65536   // in all element segments
	maxData       = 1 << 17 // data segments
	maxBody       = 1 << 20
	maxLocals     = 5000 // of one function, without its parameters
	maxDepth      = 8192 // blocks in blocks
	maxTargets    = 8192 // of one br_table
	maxCustom     = 4 << 20
)

// Section ids of the binary format, in the order in which they must stand.
// https://www.w3.org/TR/wasm-core-2/#sections%E2%91%A0
var sectionNames = []string{"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data", "data count"}

// sectionOrder maps a section id to its place: data count stands before code.
var sectionOrder = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10}

// Kinds of imports and exports.
const (
	kindFunc = iota
	kindTable
	kindMemory
	kindGlobal
)

// funcType is a function type; each byte is a value type of the binary format.
type funcType struct{ params, results string }

const (
	i32 = "\x7f"
	i64 = "\x7e"
)

// String writes the type as the text format does: "(i32, i64) -> i32".
func (t funcType) String() string {
	s := "("
	for i := range len(t.params) {
		if i > 0 {
			s += ", "
		}
		s += valueTypes[t.params[i]]
	}
	s += ") -> "
	switch len(t.results) {
	case 0:
		return s + "()"
	case 1:
		return s + valueTypes[t.results[0]]
	}
	for i := range len(t.results) {
		s += valueTypes[t.results[i]] + " "
	}
	return s[:len(s)-1]
}

var valueTypes = map[byte]string{0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64"}

type moduleImport struct {
	module, name string
	kind         byte
	typ          funcType // of a function
}

type moduleExport struct {
	kind byte
	typ  funcType // of a function
}

// moduleShape is what a scan finds in a module.
type moduleShape struct {
	imports  []moduleImport
	exports  map[string]moduleExport
	manifest []byte // content of the custom section tenon.manifest; nil without one

	types     []funcType
	funcs     []uint32 // type index of each function, imported ones first
	imported  int      // how many of funcs are imported
	tables    int
	memories  int
	globals   int
	bodies    int
	dataCount int // -1 without that section

	known bool // bodies are not looked at
}

// scan walks the sections of a module before wazero sees it, and refuses what
// would make wazero spend more memory or time than the module is large. It
// does not validate: wazero does, and can then no more be hurt by it. Errors
// say what is wrong with the module, without its name.
func scan(code []byte) (*moduleShape, error) { return scanAll(code, false) }

// scanAll is scan; where the bodies of the functions are known, since this build
// has compiled them, it passes over them.
func scanAll(code []byte, known bool) (*moduleShape, error) {
	switch {
	case len(code) == 0:
		return nil, errors.New("is empty; build a WebAssembly module")
	case len(code) > maxModule:
		return nil, fmt.Errorf("is larger than the %d bytes a module may have", maxModule)
	case len(code) < 8 || string(code[:4]) != "\x00asm":
		return nil, errors.New("is not a WebAssembly module")
	case string(code[4:8]) == "\x0d\x00\x01\x00":
		return nil, errors.New("is a component; build a core module")
	case string(code[4:8]) != "\x01\x00\x00\x00":
		return nil, fmt.Errorf("is of WebAssembly version %x; build a core module of version 1", code[4:8])
	}
	m := &moduleShape{exports: map[string]moduleExport{}, dataCount: -1, known: known}
	r := &scanner{data: code, pos: 8, what: "module"}
	last, names := 0, false
	for r.more() {
		id := int(r.byte())
		if id >= len(sectionNames) {
			return nil, fmt.Errorf("has a section of id %d, which core WebAssembly does not have", id)
		}
		s := r.sub(sectionNames[id]+" section", maxModule)
		if r.err != nil {
			return nil, r.err
		}
		if id == 0 {
			m.custom(s, &names)
		} else {
			if sectionOrder[id] <= last {
				return nil, fmt.Errorf("has a second or misplaced %s section", sectionNames[id])
			}
			last = sectionOrder[id]
			m.section(id, s)
		}
		if s.err == nil && s.more() {
			s.fail("has bytes left over")
		}
		if s.err != nil {
			return nil, s.err
		}
	}
	if m.bodies != len(m.funcs)-m.imported {
		return nil, fmt.Errorf("declares %d functions and has code for %d", len(m.funcs)-m.imported, m.bodies)
	}
	return m, nil
}

func (m *moduleShape) custom(s *scanner, names *bool) {
	name := s.name()
	content := s.data[s.pos:]
	if len(content) > maxCustom {
		s.fail("%q has more than %d bytes", name, maxCustom)
	}
	switch {
	case s.err != nil:
	case name == "tenon.manifest":
		if m.manifest != nil {
			s.fail("tenon.manifest stands twice")
		}
		if len(content) > host.MaxManifest {
			s.fail("tenon.manifest has more than %d bytes", host.MaxManifest)
		}
		m.manifest = append([]byte{}, content...)
	case name == "name":
		// wazero reads this one, and allocates by its counts.
		if *names {
			s.fail(`"name" stands twice`)
		}
		*names = true
		s.nameSection()
		return
	}
	s.pos = len(s.data)
}

// nameSection walks the custom section "name".
// https://www.w3.org/TR/wasm-core-2/#name-section%E2%91%A0
func (s *scanner) nameSection() {
	for s.more() {
		id := s.byte()
		b := s.sub("name subsection", maxCustom)
		if s.err != nil {
			return
		}
		switch id {
		case 0:
			b.name()
		case 1:
			b.nameMap()
		case 2:
			for n := b.count("functions", maxFunctions, 2); n > 0; n-- {
				b.u32()
				b.nameMap()
			}
		default:
			b.pos = len(b.data)
		}
		if b.err == nil && b.more() {
			b.fail("has bytes left over")
		}
		if b.err != nil {
			s.err = b.err
		}
	}
}

func (s *scanner) nameMap() {
	for n := s.count("names", maxCustom/2, 2); n > 0; n-- {
		s.u32()
		s.name()
	}
}

func (m *moduleShape) section(id int, s *scanner) {
	switch id {
	case 1:
		m.typeSection(s)
	case 2:
		m.importSection(s)
	case 3:
		for n := s.count("functions", maxFunctions, 1); n > 0; n-- {
			m.function(s)
		}
	case 4:
		for n := s.count("tables", 1, 3); n > 0; n-- {
			m.table(s)
		}
	case 5:
		for n := s.count("memories", 1, 2); n > 0; n-- {
			m.memories++
			s.limits()
		}
	case 6:
		for n := s.count("globals", maxGlobals, 4); n > 0; n-- {
			m.globals++
			s.valueType()
			s.byte()
			s.constExpr()
		}
	case 7:
		m.exportSection(s)
	case 8:
		if f := s.u32(); s.err == nil && int(f) < m.imported {
			s.fail("names an imported function; start with a function of the module")
		} else if s.err == nil && int(f) >= len(m.funcs) {
			s.fail("names function %d, which the module does not have", f)
		}
	case 9:
		m.elementSection(s)
	case 10:
		m.bodies = s.count("functions", maxFunctions, 3)
		for n := m.bodies; n > 0 && s.err == nil; n-- {
			b := s.sub("function body", maxBody)
			if s.err == nil && !m.known {
				b.body()
				s.err = b.err
			}
		}
	case 11:
		n := s.count("segments", maxData, 2)
		if m.dataCount >= 0 && n != m.dataCount {
			s.fail("has %d segments, the data count section says %d", n, m.dataCount)
		}
		for ; n > 0; n-- {
			s.dataSegment()
		}
	case 12:
		m.dataCount = int(s.u32())
		if m.dataCount > maxData {
			s.fail("declares %d segments; %d are the most", m.dataCount, maxData)
		}
	}
}

func (m *moduleShape) typeSection(s *scanner) {
	for n := s.count("types", maxTypes, 3); n > 0 && s.err == nil; n-- {
		if s.byte() != 0x60 {
			s.fail("has a type that is not a function's")
		}
		var t funcType
		params := s.count("parameters", maxParams, 1)
		t.params = s.valueTypeList(params)
		results := s.count("results", maxResults, 1)
		t.results = s.valueTypeList(results)
		m.types = append(m.types, t)
	}
}

func (m *moduleShape) importSection(s *scanner) {
	for n := s.count("imports", maxImports, 4); n > 0 && s.err == nil; n-- {
		i := moduleImport{module: s.name(), name: s.name(), kind: s.byte()}
		if s.err != nil {
			return
		}
		switch i.kind {
		case kindFunc:
			i.typ = m.function(s)
			m.imported++
		case kindTable, kindMemory, kindGlobal:
			// None of them is offered, so what follows need not be read.
			s.fail("imports %s.%s, a %s, which tenon does not offer", host.Shown(i.module), host.Shown(i.name), kindNames[i.kind])
		default:
			s.fail("has an import of kind %d", i.kind)
		}
		m.imports = append(m.imports, i)
	}
}

var kindNames = []string{"function", "table", "memory", "global"}

// function reads a type index and adds a function of that type.
func (m *moduleShape) function(s *scanner) funcType {
	t := s.u32()
	if s.err != nil || int64(t) >= int64(len(m.types)) {
		s.fail("names type %d of %d", t, len(m.types))
		return funcType{}
	}
	m.funcs = append(m.funcs, t)
	return m.types[t]
}

func (m *moduleShape) table(s *scanner) {
	m.tables++
	if s.byte() != 0x70 {
		s.fail("has a table that is not of functions")
	}
	if least := s.limits(); least > maxTableMin {
		s.fail("has a table of %d elements; %d are the most", least, maxTableMin)
	}
}

func (m *moduleShape) exportSection(s *scanner) {
	for n := s.count("exports", maxExports, 3); n > 0 && s.err == nil; n-- {
		name, kind, index := s.name(), s.byte(), s.u32()
		e := moduleExport{kind: kind}
		have := 0
		switch kind {
		case kindFunc:
			if have = len(m.funcs); int64(index) < int64(have) {
				e.typ = m.types[m.funcs[index]]
			}
		case kindTable:
			have = m.tables
		case kindMemory:
			have = m.memories
		case kindGlobal:
			have = m.globals
		default:
			s.fail("has an export of kind %d", kind)
			return
		}
		if int64(index) >= int64(have) {
			s.fail("exports %s %d, which the module does not have", kindNames[kind], index)
		}
		if _, twice := m.exports[name]; twice {
			s.fail("exports %s twice", host.Shown(name))
		}
		m.exports[name] = e
	}
}

func (m *moduleShape) elementSection(s *scanner) {
	all := 0
	for n := s.count("segments", maxElements, 2); n > 0 && s.err == nil; n-- {
		// Bit 0: not active. Bit 1: a table index, or declarative. Bit 2:
		// expressions in place of function indices.
		// https://www.w3.org/TR/wasm-core-2/#element-section%E2%91%A0
		flags := s.u32()
		if flags > 7 {
			s.fail("has a segment with flags %#x", flags)
			return
		}
		if flags&1 == 0 {
			if flags&2 != 0 {
				s.u32()
			}
			s.constExpr()
		}
		if flags&3 != 0 {
			s.byte() // element kind or type
		}
		count := s.count("elements", maxTableInits, 1)
		if all += count; all > maxTableInits {
			s.fail("has more than %d elements", maxTableInits)
		}
		for ; count > 0 && s.err == nil; count-- {
			if flags&4 != 0 {
				s.constExpr()
			} else {
				s.u32()
			}
		}
	}
}

func (s *scanner) dataSegment() {
	switch flags := s.u32(); {
	case flags > 2:
		s.fail("has a segment with flags %#x", flags)
	case flags == 2:
		s.u32()
		s.constExpr()
	case flags == 0:
		s.constExpr()
	}
	s.skip(int64(s.u32()))
}
