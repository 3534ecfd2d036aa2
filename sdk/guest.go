// SPDX-License-Identifier: Apache-2.0

//go:build wasm || tinygo.wasm

package sdk

import "unsafe"

//go:wasmimport tenon_v1 query
func hostQuery(op, root uint32, keyPtr unsafe.Pointer, keyLen uint32, bufPtr unsafe.Pointer, bufCap uint32) int64

//go:wasmimport tenon_v1 emit
func hostEmit(kind uint32, ptr unsafe.Pointer, length uint32) int32

//go:wasmimport tenon_v1 log
func hostLog(level uint32, ptr unsafe.Pointer, length uint32)

// discover is the module's one entry point; ABI.md, "Lifecycle".
//
//go:wasmexport tenon_discover
func discover() int32 {
	return run(&Context{ask: guestAsk, emit: guestEmit, log: guestLog})
}

// recording is of use only to tests, which run natively.
type recording struct{}

// buffer takes the host's answers, one after the other. It only grows.
var buffer = make([]byte, 16<<10)

func guestAsk(op Op, root Root, key string) ([]byte, Code) {
	for range 2 {
		n := hostQuery(uint32(op), uint32(root), unsafe.Pointer(unsafe.StringData(key)), uint32(len(key)),
			unsafe.Pointer(&buffer[0]), uint32(len(buffer)))
		switch {
		case n < 0:
			return nil, Code(n)
		case n <= int64(len(buffer)):
			return buffer[:n], 0
		}
		buffer = make([]byte, n)
	}
	// The host remembers its first answer, so its length cannot have changed.
	panic("tenon: the host's answer grew; this is a bug of tenon, please report")
}

func guestEmit(kind int32, text string) Code {
	return Code(hostEmit(uint32(kind), unsafe.Pointer(unsafe.StringData(text)), uint32(len(text))))
}

func guestLog(level Level, text string) {
	hostLog(uint32(level), unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
}
