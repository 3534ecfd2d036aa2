// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"fmt"
	"unicode/utf8"
)

// scanner reads the binary format of WebAssembly from front to back. After the
// first error it reads only zeros, so a caller may look at err late; but a loop
// over a count ends at once, as count answers 0.
type scanner struct {
	data []byte
	pos  int
	what string // the part of the module that data is, for messages
	err  error
}

func (s *scanner) more() bool { return s.err == nil && s.pos < len(s.data) }

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("its "+s.what+" "+format, args...)
		if s.what == "import section" {
			// The sentence reads better without the section.
			s.err = fmt.Errorf(format, args...)
		}
	}
	s.pos = len(s.data)
}

func (s *scanner) byte() byte {
	if s.pos >= len(s.data) {
		s.fail("is cut short")
		return 0
	}
	s.pos++
	return s.data[s.pos-1]
}

func (s *scanner) skip(n int64) {
	if n > int64(len(s.data)-s.pos) {
		s.fail("is cut short")
		return
	}
	s.pos += int(n)
}

// leb passes over a LEB128 number of at most bits bits and gives its bits. As
// the format asks, a number may be padded with zeros but not be longer than
// its type needs. https://www.w3.org/TR/wasm-core-2/#integers%E2%91%A4
func (s *scanner) leb(bits int) (v uint64) {
	for shift := 0; ; shift += 7 {
		b := s.byte()
		if s.err != nil {
			return 0
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
		if shift+7 >= bits {
			s.fail("has a number that is too long")
			return 0
		}
	}
}

// pass passes over a LEB128 number. Most have one byte, and a module of std Go
// has some hundred thousand.
func (s *scanner) pass(bits int) {
	if s.pos < len(s.data) && s.data[s.pos] < 0x80 {
		s.pos++
		return
	}
	s.leb(bits)
}

func (s *scanner) u32() uint32 {
	v := s.leb(32)
	if v > 0xffffffff {
		s.fail("has a number that is too large")
		return 0
	}
	return uint32(v)
}

// count reads the length of a list whose elements take at least size bytes.
func (s *scanner) count(of string, most, size int) int {
	n := int64(s.u32())
	if n > int64(most) {
		s.fail("declares %d %s; %d are the most", n, of, most)
		return 0
	}
	if n*int64(size) > int64(len(s.data)-s.pos) {
		s.fail("declares %d %s in %d bytes", n, of, len(s.data)-s.pos)
		return 0
	}
	return int(n)
}

// sub reads a size and gives a scanner of that many bytes.
func (s *scanner) sub(what string, most int) *scanner {
	n := int64(s.u32())
	start := s.pos
	switch {
	case s.err != nil:
	case n > int64(most):
		s.fail("has a %s of %d bytes; %d are the most", what, n, most)
	default:
		s.skip(n)
	}
	if s.err != nil {
		return &scanner{what: what, err: s.err}
	}
	return &scanner{data: s.data[start:s.pos:s.pos], what: what}
}

func (s *scanner) name() string {
	n := int64(s.u32())
	start := s.pos
	s.skip(n)
	if s.err != nil {
		return ""
	}
	name := string(s.data[start:s.pos])
	if !utf8.ValidString(name) {
		s.fail("has a name that is not UTF-8")
	}
	return name
}

func (s *scanner) valueType() byte {
	b := s.byte()
	if s.err == nil && valueTypes[b] == "" {
		s.fail("has values of type %#x; build without SIMD and reference types", b)
	}
	return b
}

func (s *scanner) valueTypeList(n int) string {
	b := make([]byte, 0, n)
	for range n {
		b = append(b, s.valueType())
	}
	return string(b)
}

// limits reads the limits of a table or memory and gives the least size.
func (s *scanner) limits() uint32 {
	flags := s.byte()
	if flags > 1 {
		s.fail("has limits of kind %d; build without threads and memory64", flags)
		return 0
	}
	least := s.u32()
	if flags == 1 {
		s.u32()
	}
	return least
}

// constExpr passes over a constant expression. One instruction and end is all
// that core WebAssembly 2.0 has there.
func (s *scanner) constExpr() {
	switch op := s.byte(); op {
	case 0x41: // i32.const
		s.leb(32)
	case 0x42: // i64.const
		s.leb(64)
	case 0x43: // f32.const
		s.skip(4)
	case 0x44: // f64.const
		s.skip(8)
	case 0x23, 0xd2: // global.get, ref.func
		s.u32()
	case 0xd0: // ref.null
		if s.byte() != 0x70 {
			s.fail("has a reference that is not to a function")
		}
	default:
		s.fail("has opcode %#x in a constant expression", op)
	}
	if end := s.byte(); s.err == nil && end != 0x0b {
		s.fail("has a constant expression of more than one instruction")
	}
}

// immediates says what follows an opcode of one byte.
// https://www.w3.org/TR/wasm-core-2/#instructions%E2%91%A6
var immediates = func() (t [256]byte) {
	for i := range t {
		t[i] = immUnknown
	}
	set := func(kind byte, ranges ...int) {
		for i := 0; i < len(ranges); i += 2 {
			for op := ranges[i]; op <= ranges[i+1]; op++ {
				t[op] = kind
			}
		}
	}
	set(immNone, 0x00, 0x01, 0x05, 0x05, 0x0f, 0x0f, 0x1a, 0x1b, 0x45, 0xc4)
	set(immBlock, 0x02, 0x04)
	set(immEnd, 0x0b, 0x0b)
	set(immOne, 0x0c, 0x0d, 0x10, 0x10, 0x20, 0x24)
	set(immTargets, 0x0e, 0x0e)
	set(immTwo, 0x11, 0x11, 0x28, 0x3e)
	set(immOne, 0x3f, 0x40)
	set(immSigned32, 0x41, 0x41)
	set(immSigned64, 0x42, 0x42)
	set(immFour, 0x43, 0x43)
	set(immEight, 0x44, 0x44)
	set(immPrefix, 0xfc, 0xfc)
	return t
}()

const (
	immNone     = iota
	immBlock    // block, loop, if: a block type
	immEnd      // end
	immOne      // one index
	immTwo      // two indices, or alignment and offset
	immTargets  // br_table
	immSigned32 // i32.const
	immSigned64 // i64.const
	immFour     // f32.const
	immEight    // f64.const
	immPrefix   // 0xfc: truncation, bulk memory
	immUnknown
)

// body walks the code of one function: how many locals it has, how deep its
// blocks nest and how long its br_tables are. Compilers are known to take a
// minute for a megabyte of each.
func (s *scanner) body() {
	locals := int64(0)
	for n := s.count("groups of locals", maxLocals, 2); n > 0; n-- {
		locals += int64(s.u32())
		s.valueType()
		if locals > maxLocals {
			s.fail("declares %d locals; %d are the most", locals, maxLocals)
		}
	}
	for depth := 1; depth > 0 && s.err == nil; {
		if s.pos >= len(s.data) {
			s.fail("is cut short")
			return
		}
		op := s.data[s.pos]
		s.pos++
		switch immediates[op] {
		case immNone:
		case immOne:
			s.pass(32)
		case immTwo:
			s.pass(32)
			s.pass(32)
		case immBlock:
			s.pass(33)
			if depth++; depth > maxDepth {
				s.fail("has blocks in blocks deeper than %d", maxDepth)
			}
		case immEnd:
			depth--
		case immTargets:
			for n := s.count("targets of a br_table", maxTargets, 1) + 1; n > 0 && s.err == nil; n-- {
				s.pass(32)
			}
		case immSigned32:
			s.pass(32)
		case immSigned64:
			s.pass(64)
		case immFour:
			s.skip(4)
		case immEight:
			s.skip(8)
		case immPrefix:
			s.prefixed()
		default:
			s.fail("has opcode %#x; build for core WebAssembly 2.0 without SIMD and reference types", op)
		}
	}
	if s.more() {
		s.fail("has bytes after its end")
	}
}

// prefixed passes over what follows 0xfc.
func (s *scanner) prefixed() {
	switch op := s.u32(); {
	case op <= 7: // saturating truncation
	case op == 9 || op == 11 || op == 13: // data.drop, memory.fill, elem.drop
		s.leb(32)
	case op == 8 || op == 10 || op == 12 || op == 14: // memory.init, memory.copy, table.init, table.copy
		s.leb(32)
		s.leb(32)
	default:
		s.fail("has opcode 0xfc %d; build for core WebAssembly 2.0 without SIMD and reference types", op)
	}
}
