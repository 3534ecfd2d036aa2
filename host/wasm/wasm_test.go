// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"slices"

	"github.com/tenon-runtime/tenon/host"
)

// A small assembler of WebAssembly, for modules that no compiler would write.

func uleb(n uint64) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func sleb(n int64) (b []byte) {
	for n < -64 || n > 63 {
		b = append(b, byte(n)&0x7f|0x80)
		n >>= 7
	}
	return append(b, byte(n)&0x7f)
}

func bytesOf(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func sized(content []byte) []byte { return append(uleb(uint64(len(content))), content...) }

func section(id int, parts ...any) []byte { return bytesOf(id, sized(bytesOf(parts...))) }

func list(items ...[]byte) []byte {
	return append(uleb(uint64(len(items))), slices.Concat(items...)...)
}

func text(s string) []byte { return sized([]byte(s)) }

func wasm(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), slices.Concat(sections...)...)
}

// Query ops of the ABI.
const (
	opEnv   = 1
	opStat  = 6
	opWhich = 15
)

// Instructions.
const (
	opUnreachable = 0x00
	opLoop        = 0x03
	opEnd         = 0x0b
	opBr          = 0x0c
	opCall        = 0x10
	opDrop        = 0x1a
	opMemoryGrow  = 0x40
	blockEmpty    = 0x40
)

func i32Const(n int64) []byte { return append([]byte{0x41}, sleb(n)...) }

func i32Consts(ns ...int64) (b []byte) {
	for _, n := range ns {
		b = append(b, i32Const(n)...)
	}
	return b
}

// The types and functions of guestModule.
const (
	typeDiscover = iota // () -> i32
	typeQuery
	typeEmit
	typeNone // () -> ()
	typeExit // (i32) -> ()

	funcQuery    = 0
	funcEmit     = 1
	funcExit     = 2
	funcDiscover = 3
)

// guestModule is a module with the body of tenon_discover, one page of memory,
// data at 0 and openManifest. more are sections of ids between export and code, or custom.
func guestModule(body []byte, data string, more ...[]byte) []byte {
	return wasm(slices.Concat([][]byte{
		section(1, list(
			bytesOf(0x60, list(), list([]byte(i32))),
			bytesOf(0x60, text(i32+i32+i32+i32+i32+i32), text(i64)),
			bytesOf(0x60, text(i32+i32+i32), text(i32)),
			bytesOf(0x60, list(), list()),
			bytesOf(0x60, text(i32), list()),
		)),
		section(2, list(
			bytesOf(text("tenon_v1"), text("query"), 0, typeQuery),
			bytesOf(text("tenon_v1"), text("emit"), 0, typeEmit),
			bytesOf(text("wasi_snapshot_preview1"), text("proc_exit"), 0, typeExit),
		)),
		section(3, list([]byte{typeDiscover})),
		section(5, list([]byte{0, 1})),
		section(7, list(bytesOf(text("memory"), 2, 0), bytesOf(text("tenon_discover"), 0, funcDiscover))),
	}, more, [][]byte{
		section(10, list(sized(bytesOf(list(), body, opEnd)))),
		section(11, list(bytesOf(0, i32Const(0), opEnd, text(data)))),
		section(0, text(host.ManifestSection), openManifest),
	})...)
}

// emitAndReturn emits data, which lies at 0, and returns a result.
func emitAndReturn(kind int64, data string, result int64) []byte {
	return guestModule(bytesOf(i32Consts(kind, 0, int64(len(data))), opCall, funcEmit, opDrop, i32Const(result)), data)
}
