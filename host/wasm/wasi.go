// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"unicode/utf16"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/tenon-runtime/tenon/host"
)

// This file is the WASI that modules get, as much of it as std Go, TinyGo,
// wasi-libc and Rust import without being asked. All of it is deterministic:
// no arguments, no environment, no files, a clock that counts how often it was
// read, random numbers of a fixed seed. What a run does follows from the
// answers to its queries alone.
// https://github.com/WebAssembly/WASI/blob/snapshot-01/phases/snapshot/docs.md

const wasiModule = "wasi_snapshot_preview1"

// Errno of WASI preview 1.
const (
	wasiOK      = 0
	wasiBadFD   = 8
	wasiInvalid = 28
)

const (
	// wasiEpoch is where the clock starts, in nanoseconds: 2022-01-01 UTC.
	wasiEpoch = 1640995200 * 1_000_000_000
	// wasiTick is how far it goes with each reading: 1 ms.
	wasiTick = 1_000_000
)

// hostFunc is a function that a module may import.
type hostFunc struct {
	typ  funcType
	call func(g *guest, m api.Memory, stack []uint64)
}

// errnoFunc makes a host function of one that answers with an errno.
func errnoFunc(params string, f func(g *guest, m api.Memory, p []uint64) uint64) hostFunc {
	return hostFunc{funcType{params, i32}, func(g *guest, m api.Memory, stack []uint64) { stack[0] = f(g, m, stack) }}
}

func badFD(params string) hostFunc {
	return errnoFunc(params, func(*guest, api.Memory, []uint64) uint64 { return wasiBadFD })
}

// nothing is args_get and environ_get: there is nothing to write.
var nothing = errnoFunc(i32+i32, func(*guest, api.Memory, []uint64) uint64 { return wasiOK })

// noSizes is args_sizes_get and environ_sizes_get: no strings, no bytes.
var noSizes = errnoFunc(i32+i32, func(g *guest, m api.Memory, p []uint64) uint64 {
	g.put32(m, p[0], 0)
	g.put32(m, p[1], 0)
	return wasiOK
})

var wasiFuncs = map[string]hostFunc{
	"args_get":          nothing,
	"args_sizes_get":    noSizes,
	"environ_get":       nothing,
	"environ_sizes_get": noSizes,

	"clock_time_get": errnoFunc(i32+i64+i32, func(g *guest, m api.Memory, p []uint64) uint64 {
		g.clock += wasiTick
		g.put64(m, p[2], wasiEpoch+g.clock)
		return wasiOK
	}),
	"clock_res_get": errnoFunc(i32+i32, func(g *guest, m api.Memory, p []uint64) uint64 {
		g.put64(m, p[1], wasiTick)
		return wasiOK
	}),
	"random_get": errnoFunc(i32+i32, func(g *guest, m api.Memory, p []uint64) uint64 {
		g.random.Read(g.view(m, p[0], p[1])) // never fails
		return wasiOK
	}),
	"sched_yield": errnoFunc("", func(*guest, api.Memory, []uint64) uint64 { return wasiOK }),
	"proc_exit":   {funcType{i32, ""}, func(_ *guest, _ api.Memory, p []uint64) { panic(sys.NewExitError(uint32(p[0]))) }},

	"fd_write":    errnoFunc(i32+i32+i32+i32, fdWrite),
	"poll_oneoff": errnoFunc(i32+i32+i32+i32, pollOneoff),

	"fd_close":            badFD(i32),
	"fd_read":             badFD(i32 + i32 + i32 + i32),
	"fd_seek":             badFD(i32 + i64 + i32 + i32),
	"fd_fdstat_get":       badFD(i32 + i32),
	"fd_fdstat_set_flags": badFD(i32 + i32),
	"fd_prestat_get":      badFD(i32 + i32),
	"fd_prestat_dir_name": badFD(i32 + i32 + i32),
}

// newRandom is the source of random_get. Its output is fixed by
// https://c2sp.org/chacha8rand, whatever Go it is built with. variant is 0 but
// for [Trial].
func newRandom(variant uint64) *rand.ChaCha8 {
	seed := [32]byte([]byte("tenon: the same for every module"))
	binary.LittleEndian.PutUint64(seed[:], binary.LittleEndian.Uint64(seed[:])^variant)
	return rand.NewChaCha8(seed)
}

// fdWrite writes standard output and standard error to the log.
func fdWrite(g *guest, m api.Memory, p []uint64) uint64 {
	fd := uint32(p[0])
	if fd != 1 && fd != 2 {
		return wasiBadFD
	}
	vectors := g.view(m, p[1], uint64(uint32(p[2]))*8)
	var written uint32
	for ; len(vectors) > 0; vectors = vectors[8:] {
		at, size := binary.LittleEndian.Uint32(vectors), binary.LittleEndian.Uint32(vectors[4:])
		text := g.view(m, uint64(at), uint64(size))
		if written+size < written {
			return wasiInvalid
		}
		written += size
		g.stdio(fd, text)
	}
	g.put32(m, p[3], written)
	return wasiOK
}

// Layout of subscription and event in WASI preview 1.
const (
	subscriptionSize = 48 // userdata u64 @0, kind u8 @8, clock: timeout u64 @24, flags u16 @40
	eventSize        = 32 // userdata u64 @0, errno u16 @8, kind u8 @10
	eventClock       = 0
	maxSubscriptions = 1024
)

// pollOneoff lets every event happen at once, and puts the clock to where the
// longest wait ends, so that a module that sleeps goes on.
func pollOneoff(g *guest, m api.Memory, p []uint64) uint64 {
	count := uint64(uint32(p[2]))
	if count == 0 || count > maxSubscriptions {
		return wasiInvalid
	}
	in := append([]byte{}, g.view(m, p[0], count*subscriptionSize)...) // out may overlap it
	out := g.view(m, p[1], count*eventSize)
	now := wasiEpoch + g.clock
	end := now
	for i := range count {
		s, e := in[i*subscriptionSize:], out[i*eventSize:(i+1)*eventSize]
		clear(e)
		copy(e[:8], s[:8])
		e[10] = s[8]
		if s[8] != eventClock {
			binary.LittleEndian.PutUint16(e[8:], wasiBadFD)
			continue
		}
		at := binary.LittleEndian.Uint64(s[24:])
		if binary.LittleEndian.Uint16(s[40:])&1 == 0 { // relative
			at = now + min(at, math.MaxInt64-now)
		}
		end = max(end, min(at, math.MaxInt64))
	}
	g.clock = end - wasiEpoch
	g.put32(m, p[3], uint32(count))
	return wasiOK
}

// abort is what AssemblyScript calls on a failed assertion or exception:
// https://www.assemblyscript.org/concepts.html#special-imports
// Message and file are UTF-16, their size in bytes 4 bytes before them.
var abort = hostFunc{funcType{i32 + i32 + i32 + i32, ""}, func(g *guest, m api.Memory, p []uint64) {
	text := func(ptr uint64) string {
		if uint32(ptr) < 4 {
			return ""
		}
		size, _ := m.ReadUint32Le(uint32(ptr) - 4)
		bytes, ok := m.Read(uint32(ptr), min(size, 2*maxReason))
		if !ok {
			return ""
		}
		units := make([]uint16, len(bytes)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(bytes[2*i:])
		}
		return string(utf16.Decode(units))
	}
	trap("abort: %s at %s:%d:%d", host.OneLine(text(p[0])), host.OneLine(text(p[1])), uint32(p[2]), uint32(p[3]))
}}
