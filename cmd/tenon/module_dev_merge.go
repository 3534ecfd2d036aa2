// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Ids of the sections that packModule looks into, and what begins a module.
// https://www.w3.org/TR/wasm-core-2/#sections
const (
	wasmHeader       = "\x00asm\x01\x00\x00\x00"
	sectionCustom    = 0
	sectionImport    = 2
	sectionMemory    = 5
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
)

// moduleParts is what packModule found, and what it made of it.
type moduleParts struct {
	Functions      int `json:"functions"`
	CodeBytes      int `json:"codeBytes"`
	DataSegments   int `json:"dataSegments"`
	SegmentsBefore int `json:"dataSegmentsBefore,omitempty"`
}

// packModule takes out of a module what costs time whenever it is loaded and does
// nothing: its custom sections, and the thousands of pieces in which std Go
// writes its data. What the module does stays the same, to the byte of its memory.
// A module that it does not understand is returned as it is.
func packModule(code []byte) ([]byte, moduleParts) {
	var parts moduleParts
	sections, ok := splitSections(code)
	if !ok {
		return code, parts
	}
	memory := -1 // bytes of the module's own memory
	whole := true
	for _, s := range sections {
		r := &reader{data: s.content}
		switch s.id {
		case sectionImport:
			for range r.u32() {
				r.name()
				r.name()
				if whole = r.importKind() && whole; !whole {
					break
				}
			}
		case sectionMemory:
			if r.u32() == 1 {
				r.byte()
				memory = int(r.u32()) << 16
			}
		case sectionCode:
			parts.Functions, parts.CodeBytes = int(r.u32()), len(s.content)
		case sectionDataCount: // then code may name segments by their numbers
			whole = false
		}
	}
	out := []byte(wasmHeader)
	for _, s := range sections {
		switch s.id {
		case sectionCustom:
			continue
		case sectionData:
			parts.SegmentsBefore = int((&reader{data: s.content}).u32())
			parts.DataSegments = parts.SegmentsBefore
			if list, ok := readSegments(s.content); ok && whole && memory >= 0 && fit(list, memory) {
				list = mergeSegments(list)
				s.content, parts.DataSegments = writeSegments(list), len(list)
			}
		}
		out = append(out, s.id)
		out = binary.AppendUvarint(out, uint64(len(s.content)))
		out = append(out, s.content...)
	}
	return out, parts
}

// segment is an active data segment of memory 0.
type segment struct {
	at   uint32
	data []byte
}

// readSegments reads the data section; not ok where one is not active, or not at
// a constant.
func readSegments(content []byte) (list []segment, ok bool) {
	r := &reader{data: content}
	for range r.u32() {
		switch r.u32() {
		case 0:
		case 2: // the memory is named
			if r.u32() != 0 {
				return nil, false
			}
		default:
			return nil, false
		}
		constant, at, end := r.byte(), r.s32(), r.byte()
		s := segment{uint32(at), r.bytes()}
		if r.failed || constant != 0x41 || end != 0x0b {
			return nil, false
		}
		list = append(list, s)
	}
	return list, !r.failed && len(r.data) == 0
}

// fit reports whether all segments lie in a memory. One that does not ends the
// module when it is instantiated, behind those before it.
func fit(list []segment, memory int) bool {
	return !slices.ContainsFunc(list, func(s segment) bool { return int(s.at)+len(s.data) > memory })
}

// maxGap is how many zero bytes are written to join two segments: less than what
// decoding another segment costs.
const maxGap = 64

// mergeSegments returns segments that leave a memory, which is all zero before,
// as list does: in order, a later one writing over an earlier.
func mergeSegments(list []segment) []segment {
	order := make([]int, 0, len(list))
	for i, s := range list {
		if len(s.data) > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(list[a].at, list[b].at) })
	var merged []segment
	for len(order) > 0 {
		first := list[order[0]]
		end := int(first.at)
		n := 0 // of order that lie in one piece
		for n < len(order) && int(list[order[n]].at) <= end+maxGap {
			end = max(end, int(list[order[n]].at)+len(list[order[n]].data))
			n++
		}
		piece := segment{first.at, make([]byte, end-int(first.at))}
		inOrder := slices.Sorted(slices.Values(order[:n]))
		for _, i := range inOrder {
			copy(piece.data[list[i].at-piece.at:], list[i].data)
		}
		merged = append(merged, piece)
		order = order[n:]
	}
	return merged
}

func writeSegments(list []segment) []byte {
	out := binary.AppendUvarint(nil, uint64(len(list)))
	for _, s := range list {
		out = append(out, 0, 0x41)
		out = appendS32(out, int32(s.at))
		out = append(out, 0x0b)
		out = binary.AppendUvarint(out, uint64(len(s.data)))
		out = append(out, s.data...)
	}
	return out
}

// appendS32 writes a signed LEB128 number:
// https://www.w3.org/TR/wasm-core-2/#integers
func appendS32(out []byte, n int32) []byte {
	for n < -64 || n > 63 {
		out = append(out, byte(n)&0x7f|0x80)
		n >>= 7
	}
	return append(out, byte(n)&0x7f)
}

type wasmSection struct {
	id      byte
	content []byte
}

func splitSections(code []byte) (list []wasmSection, ok bool) {
	if len(code) < len(wasmHeader) || string(code[:len(wasmHeader)]) != wasmHeader {
		return nil, false
	}
	r := &reader{data: code[len(wasmHeader):]}
	for len(r.data) > 0 && !r.failed {
		id := r.byte()
		list = append(list, wasmSection{id, r.bytes()})
	}
	return list, !r.failed
}

// reader takes numbers and bytes off data; once it failed all it returns is zero.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) byte() byte {
	if len(r.data) == 0 {
		r.failed = true
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *reader) u32() uint32 {
	n, size := binary.Uvarint(r.data)
	if size <= 0 || size > 5 || n > 1<<32-1 {
		r.failed, r.data = true, nil
		return 0
	}
	r.data = r.data[size:]
	return uint32(n)
}

func (r *reader) s32() int32 {
	var n int64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		n |= int64(b&0x7f) << shift
		if b&0x80 != 0 {
			continue
		}
		if b&0x40 != 0 {
			n -= 1 << (shift + 7)
		}
		if n < -1<<31 || n > 1<<31-1 {
			break
		}
		return int32(n)
	}
	r.failed, r.data = true, nil
	return 0
}

func (r *reader) bytes() []byte {
	n := r.u32()
	if r.failed || uint64(n) > uint64(len(r.data)) {
		r.failed, r.data = true, nil
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) name() { r.bytes() }

// importKind passes over what an import is, and reports whether it is a function:
// a memory or a global from outside may hold anything.
func (r *reader) importKind() bool {
	kind := r.byte()
	r.u32() // its type; of others the caller reads no more
	return kind == 0 && !r.failed
}
