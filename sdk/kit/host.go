// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package main

import "unsafe"

// The functions of the host take plain numbers here, so that any can be passed.

//go:wasmimport tenon_v1 query
func hostQuery(op, root, keyPtr, keyLen, bufPtr, bufCap uint32) int64

//go:wasmimport tenon_v1 emit
func hostEmit(kind, ptr, length uint32) int32

//go:wasmimport tenon_v1 log
func hostLog(level, ptr, length uint32)

// Ops, roots, kinds and codes, as ABI.md numbers them.
const (
	opEnv = iota + 1
	opAnnotation
	opSpec
	opMounts
	opConfig
	opStat
	opReadDir
	opRead
	opReadLink
	opGlob
	opLdLookup
	opRealPath
	opFeature
	opProvider
	opWhich
	opRequest
)

const (
	rootHost = iota
	rootContainer
	rootDriver
)

const (
	emitEdits = iota
	emitReason
	emitExplain
)

const (
	notFound = -1 - iota
	denied
	wrongType
	tooLarge
	invalid
	unsupported
	ioError
	wrongState
	spent
)

// memoryPages is the size of the module's memory now, in pages of 64 KiB.
func memoryPages() uint32

func memorySize() uint32 { return memoryPages() << 16 }

// Everything that the host is pointed at lies here, in no function's stack,
// which Go may move. guard is what is looked at behind each buffer.
var (
	keyArea [8 << 10]byte
	bufArea [1<<20 + 64]byte
)

const (
	guard = 16
	fill  = 0xa5
)

func address(p *byte) uint32 { return uint32(uintptr(unsafe.Pointer(p))) }

// put copies text to where the host may read it.
func put(text string) (ptr, length uint32) {
	if len(text) > len(keyArea) {
		big = append(big[:0], text...)
		return address(&big[0]), uint32(len(text))
	}
	copy(keyArea[:], text)
	return address(&keyArea[0]), uint32(len(text))
}

// big holds what is too large for keyArea.
var big []byte

// ask asks one query with a buffer of capacity bytes, and checks what must hold
// for every query: the answer is there whole or not at all, and nothing else was
// written. The bytes are those of the buffer.
func ask(op, root uint32, key string, capacity int) (int64, []byte) {
	ptr, length := put(key)
	window := bufArea[:capacity+guard]
	for i := range window {
		window[i] = fill
	}
	n := hostQuery(op, root, ptr, length, address(&bufArea[0]), uint32(capacity))
	written := 0
	if n >= 0 && n <= int64(capacity) {
		written = int(n)
	}
	for i, b := range window[written:] {
		if b != fill {
			rule := "H-9"
			switch {
			case n < 0:
				rule = "H-12"
			case n > int64(capacity):
				rule = "H-11"
			}
			fail(rule, name(op, root, key)+": byte "+itoa(int64(written+i))+" of the buffer was written, the result being "+itoa(n))
			break
		}
	}
	return n, window[:written]
}

// answer asks with room for the answer, and asks again where it had too little.
// Both times the length must be the same.
func answer(op, root uint32, key string) (int64, string) {
	n, b := ask(op, root, key, 512)
	if n > 512 {
		if n > 1<<20 {
			fail("H-73", name(op, root, key)+": an answer of "+itoa(n)+" bytes, which is over the limit")
			return n, ""
		}
		again, whole := ask(op, root, key, int(n))
		if again != n {
			fail("H-13", name(op, root, key)+": first "+itoa(n)+", then "+itoa(again))
		}
		b = whole
	}
	return n, string(b)
}

// emit and log write over what they have passed: a host that reads it later
// breaks H-8, and reads nothing that it can use.
func emit(kind uint32, text string) int32 {
	ptr, length := put(text)
	code := hostEmit(kind, ptr, length)
	overwrite()
	return code
}

func log(level uint32, text string) {
	ptr, length := put(text)
	hostLog(level, ptr, length)
	overwrite()
}

func overwrite() {
	for i := range keyArea {
		keyArea[i] = fill
	}
	for i := range big {
		big[i] = fill
	}
}
