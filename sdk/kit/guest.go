// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package main

import (
	"encoding/hex"
	"strings"
	"unsafe"
)

// early is what the host answered before tenon_discover: init functions run in
// _initialize.
var early struct {
	query  int64
	emit   [3]int32
	buffer string
}

func init() {
	early.query, _ = ask(opStat, rootHost, "/", 64)
	early.buffer = strings.Trim(string(bufArea[:64]), "\xa5")
	for kind := range early.emit {
		early.emit[kind] = emit(uint32(kind), `{"abi":1}`)
	}
	log(0, "kit: log is allowed here")
}

// lifecycle checks what the host said before tenon_discover ran.
func lifecycle() {
	check("H-6", early.query == wrongState, "query in _initialize: got "+itoa(early.query)+", want -8")
	check("H-12", early.buffer == "", "query in _initialize wrote into the buffer")
	for kind, got := range early.emit {
		check("H-6", got == wrongState, "emit "+itoa(int64(kind))+" in _initialize: got "+itoa(int64(got))+", want -8")
	}
}

// emits checks emit and log, as far as a run that ends well can.
func emits() {
	for _, kind := range []uint32{3, 255, 1 << 31, 1<<32 - 1} {
		got := emit(kind, "kit")
		check("H-17", got == unsupported, "emit of kind "+itoa(int64(kind))+": got "+itoa(int64(got))+", want -6")
	}
	for _, kind := range []uint32{emitReason, emitExplain} {
		got := emit(kind, "kit \xff")
		check("H-17", got == invalid, "emit of kind "+itoa(int64(kind))+" that is not UTF-8: got "+itoa(int64(got))+", want -5")
	}
	got := emit(emitReason, strings.Repeat("k", 4097))
	check("H-17", got == tooLarge, "emit of a reason of 4097 bytes: got "+itoa(int64(got))+", want -4")
	got = emit(emitReason, strings.Repeat("k", 4096))
	check("H-17", got == 0, "emit of a reason of 4096 bytes: got "+itoa(int64(got))+", want 0")
	got = hostEmit(emitExplain, memorySize(), 0)
	check("M-9", got == 0, "emit of no bytes at the end of the memory: got "+itoa(int64(got))+", want 0")

	// What was emitted is a copy. The runner looks for the first of these lines.
	ptr, length := put("kit: copied when emit was called")
	hostEmit(emitExplain, ptr, length)
	put("kit: H-8 IS BROKEN, the host reads memory later")
	// And control characters do not reach a terminal; it looks for this too.
	emit(emitExplain, "kit: control \x1b[31m\r\ncharacters")

	for _, level := range []uint32{0, 1, 2, 3, 4, 1 << 31, 1<<32 - 1} {
		log(level, "kit: level "+itoa(int64(level)))
	}
	log(1, "kit: not UTF-8 \xff\x00\x1b")
	log(1, "")
	hostLog(1, memorySize(), 0)
	is("H-19", opEnv, 0, "KIT_VALUE", "last")
}

//go:wasmimport wasi_snapshot_preview1 clock_time_get
func clockTimeGet(id uint32, precision uint64, result unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 clock_res_get
func clockResGet(id uint32, result unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 random_get
func randomGet(p unsafe.Pointer, length uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_write
func fdWrite(fd uint32, vectors unsafe.Pointer, count uint32, written unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_read
func fdRead(fd uint32, vectors unsafe.Pointer, count uint32, read unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_close
func fdClose(fd uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_seek
func fdSeek(fd uint32, offset uint64, whence uint32, result unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_fdstat_get
func fdFdstatGet(fd uint32, result unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_fdstat_set_flags
func fdFdstatSetFlags(fd uint32, flags uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_prestat_get
func fdPrestatGet(fd uint32, result unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_prestat_dir_name
func fdPrestatDirName(fd uint32, path unsafe.Pointer, length uint32) uint32

//go:wasmimport wasi_snapshot_preview1 args_sizes_get
func argsSizesGet(count, size unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 environ_sizes_get
func environSizesGet(count, size unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 poll_oneoff
func pollOneoff(subscriptions, events unsafe.Pointer, count uint32, happened unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 proc_exit
func procExit(code uint32)

// ebadf is BADF of
// https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#errno
const ebadf = 8

// What WASI calls are pointed at. Package os would do some of this, and import
// functions that no mode may.
var (
	wasiResult  [64]byte
	wasiTime    uint64
	wasiCounts  [2]uint32
	wasiVectors [2]uint32
	// wasiSleep is a subscription of 48 bytes: user data, tag 0 for a clock, the
	// clock 0, a time-out of an hour, its precision, flags.
	wasiSleep = [6]uint64{1, 0, 0, hour, 0, 0}
)

const (
	hour      = 3600 * 1_000_000_000 // ns
	epoch2022 = 1_640_995_200_000_000_000
	step      = 1_000_000
)

// wasi checks that WASI tells the module nothing.
func wasi() {
	count, size := unsafe.Pointer(&wasiCounts[0]), unsafe.Pointer(&wasiCounts[1])
	check("H-69", argsSizesGet(count, size) == 0 && wasiCounts == [2]uint32{}, "WASI: there are arguments")
	check("H-69", environSizesGet(count, size) == 0 && wasiCounts == [2]uint32{}, "WASI: there are variables")
	first := clock()
	second := clock()
	check("H-69", first >= epoch2022 && first < epoch2022+hour, "WASI clock: it is at "+itoa(int64(first))+" ns, not near 2022-01-01")
	check("H-69", second == first+step, "WASI clock: it went on by "+itoa(int64(second-first))+" ns, not by 1 ms")
	// An hour passes at once: 2 s are all that a run has.
	check("H-69", pollOneoff(unsafe.Pointer(&wasiSleep), unsafe.Pointer(&wasiResult), 1, count) == 0 && wasiCounts[0] == 1, "WASI poll_oneoff: no event")
	check("H-69", clock() >= second+hour, "WASI poll_oneoff: the clock was not put to where the wait ends")
	check("H-69", clockResGet(0, unsafe.Pointer(&wasiTime)) == 0 && wasiTime == step, "WASI clock_res_get: not 1 ms")

	p := unsafe.Pointer(&wasiResult[0])
	wasiVectors = [2]uint32{address(&keyArea[0]), 3}
	v := unsafe.Pointer(&wasiVectors[0])
	for _, fd := range []uint32{0, 3, 4, 1<<32 - 1} {
		for what, got := range map[string]uint32{
			"fd_write": fdWrite(fd, v, 1, p), "fd_read": fdRead(fd, v, 1, p), "fd_close": fdClose(fd), "fd_seek": fdSeek(fd, 0, 0, p),
			"fd_fdstat_get": fdFdstatGet(fd, p), "fd_fdstat_set_flags": fdFdstatSetFlags(fd, 0),
			"fd_prestat_get": fdPrestatGet(fd, p), "fd_prestat_dir_name": fdPrestatDirName(fd, p, 8),
		} {
			check("H-69", got == ebadf, "WASI "+what+" of "+itoa(int64(fd))+": got errno "+itoa(int64(got))+", want EBADF")
		}
	}
	ptr, length := put("kit: a line on standard error\n")
	wasiVectors = [2]uint32{ptr, length}
	check("H-69", fdWrite(2, v, 1, count) == 0 && wasiCounts[0] == length, "WASI fd_write of 2: it did not take a line")

	// The same in every run: the runner holds two runs against each other.
	check("H-69", randomGet(p, 16) == 0, "WASI random_get fails")
	emit(emitExplain, "kit: random "+hex.EncodeToString(wasiResult[:16]))
	emit(emitExplain, "kit: clock "+itoa(int64(clock())))
}

func clock() uint64 {
	clockTimeGet(0, 1, unsafe.Pointer(&wasiTime))
	return wasiTime
}
