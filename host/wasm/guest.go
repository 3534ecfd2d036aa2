// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/api"

	"github.com/tenon-runtime/tenon/host"
)

const abiModule = "tenon_v1"

// abiFuncs are the three functions of ABI v1.
var abiFuncs = map[string]hostFunc{
	"query": {funcType{i32 + i32 + i32 + i32 + i32 + i32, i64}, (*guest).query},
	"emit":  {funcType{i32 + i32 + i32, i32}, (*guest).emit},
	"log":   {funcType{i32 + i32 + i32, ""}, (*guest).logLine},
}

// hostFuncs are all functions that a module may import, by module and name.
var hostFuncs = map[string]map[string]hostFunc{
	abiModule:  abiFuncs,
	wasiModule: wasiFuncs,
	"env":      {"abort": abort},
}

// Kinds of emit.
const (
	emitEdits   = 0
	emitReason  = 1
	emitExplain = 2
)

const (
	maxDocuments = 64   // edits documents of one run
	maxReason    = 4096 // bytes of a reason
)

// guest is one instance of a module: the run that answers it, and what it has
// handed out so far. It is used by one goroutine.
type guest struct {
	run    *host.Run
	ask    host.Ask // who answers its queries: mostly run
	config host.Config
	mode   string
	log    *slog.Logger

	digest      []byte        // of the module; nil where it has not been hashed yet
	stored      *compiledCode // checked, not yet loaded; nil where there is none
	notStored   error         // why there is none; nil too before findCompiled
	compiled    bool          // else interpreted
	discovering bool          // tenon_discover is running
	stopped     atomic.Bool   // nobody waits for it any more

	documents [][]byte
	reason    string
	explain   []string
	emitted   int    // bytes of all three
	over      string // the limit of emit that was hit; the run fails

	logged, dropped int       // bytes of log lines kept, and lines dropped
	pending         [2][]byte // lines begun on standard output and error
	stderr          string    // line of standard error to show where the module traps
	dying           bool      // it says why

	clock  uint64 // nanoseconds since wasiEpoch
	random *rand.ChaCha8
}

// trapped is an error that a host function ends the guest with. wazero carries
// a panic of a host function to the caller of the guest as an error.
type trapped struct{ text string }

func (t trapped) Error() string { return t.text }

func trap(format string, args ...any) { panic(trapped{fmt.Sprintf(format, args...)}) }

// function wraps f for wazero.
func (g *guest) function(f hostFunc) api.GoModuleFunc {
	return func(_ context.Context, m api.Module, stack []uint64) {
		if g.stopped.Load() {
			trap("stopped")
		}
		defer func() {
			p := recover()
			if bug, ok := p.(runtime.Error); ok {
				// Only tenon's own code runs here: the module is not to blame.
				g.log.Error("panic in a host function", "error", bug, "stack", string(debug.Stack()))
				trap("%v; this is a bug of tenon, please report", bug)
			}
			if p != nil {
				panic(p)
			}
		}()
		f.call(g, m.Memory(), stack)
	}
}

// view is a part of the guest's memory, good until the guest runs on. ptr is
// an i32; size may be larger, where it was multiplied. Memory that the guest
// does not have is a crash of the guest, as it is in its own code.
func (g *guest) view(m api.Memory, ptr, size uint64) []byte {
	ptr = uint64(uint32(ptr))
	if m == nil || ptr+size > uint64(m.Size()) {
		trap("pointer outside of its memory: %d bytes at %d", size, ptr)
	}
	b, _ := m.Read(uint32(ptr), uint32(size))
	return b
}

func (g *guest) put32(m api.Memory, ptr uint64, v uint32) {
	if !m.WriteUint32Le(uint32(ptr), v) {
		trap("pointer outside of its memory: 4 bytes at %d", uint32(ptr))
	}
}

func (g *guest) put64(m api.Memory, ptr, v uint64) {
	if !m.WriteUint64Le(uint32(ptr), v) {
		trap("pointer outside of its memory: 8 bytes at %d", uint32(ptr))
	}
}

// query is query of the ABI:
//
//	query(op i32, root i32, key_ptr i32, key_len i32, buf_ptr i32, buf_cap i32) -> i64
//
// It returns the length of the whole answer, written at buf_ptr if it fits in
// buf_cap and else not at all, or a code below zero. The whole buffer must lie
// in memory, whether it is needed or not.
func (g *guest) query(m api.Memory, stack []uint64) {
	key := g.view(m, stack[2], uint64(uint32(stack[3])))
	buffer := g.view(m, stack[4], uint64(uint32(stack[5])))
	if !g.discovering {
		stack[0] = result(host.CodeWrongState)
		return
	}
	if len(key) > host.MaxKey {
		stack[0] = result(host.CodeInvalid) // without copying it first
		return
	}
	answer, code := g.ask(uint32(stack[0]), uint32(stack[1]), string(key))
	if code != host.CodeOK {
		stack[0] = result(code)
		return
	}
	if len(answer) <= len(buffer) {
		copy(buffer, answer)
	}
	stack[0] = uint64(len(answer))
}

func result(code int32) uint64 { return uint64(int64(code)) }

// emit is emit of the ABI:
//
//	emit(kind i32, ptr i32, len i32) -> i32
//
// kind 0 is an edits document, 1 the reason of result 1, the last one counts,
// 2 a line for explain. A limit that it goes over fails the run, whatever the
// module makes of the code: it must not go on as if its edits were taken.
func (g *guest) emit(m api.Memory, stack []uint64) {
	content := g.view(m, stack[1], uint64(uint32(stack[2])))
	stack[0] = uint64(uint32(g.take(uint32(stack[0]), content)))
}

func (g *guest) take(kind uint32, content []byte) int32 {
	switch {
	case !g.discovering:
		return host.CodeWrongState
	case g.over != "":
		return host.CodeTooLarge
	case kind > emitExplain:
		return host.CodeUnsupported
	case kind != emitEdits && !utf8.Valid(content):
		return host.CodeInvalid
	case kind == emitReason && len(content) > maxReason:
		return host.CodeTooLarge
	}
	// One byte each, so that empty ones end too.
	if g.emitted += len(content) + 1; g.emitted > g.config.Limits.EditsBytes {
		g.over = fmt.Sprintf("emitted more than the %d bytes a run may emit", g.config.Limits.EditsBytes)
		return host.CodeTooLarge
	}
	switch kind {
	case emitEdits:
		if len(g.documents) >= maxDocuments {
			g.over = fmt.Sprintf("emitted more than the %d edits documents a run may emit", maxDocuments)
			return host.CodeTooLarge
		}
		g.documents = append(g.documents, append([]byte{}, content...))
	case emitReason:
		g.reason = string(content)
	case emitExplain:
		g.explain = append(g.explain, host.OneLine(string(content)))
	}
	return host.CodeOK
}

// logLine is log of the ABI:
//
//	log(level i32, ptr i32, len i32)
func (g *guest) logLine(m api.Memory, stack []uint64) {
	text := g.view(m, stack[1], uint64(uint32(stack[2])))
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	g.write(levels[min(uint32(stack[0]), 3)], text)
}

// maxLine is how many bytes of standard output or error make a line at most.
const maxLine = 4096

// stdio takes what the module writes to standard output (1) or error (2). Go
// writes a panic in small pieces, so they are joined to lines.
func (g *guest) stdio(fd uint32, text []byte) {
	pending := &g.pending[fd-1]
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if room := maxLine - len(*pending); len(line) > room {
			line, rest, ended = text[:room], text[room:], true
		}
		*pending = append(*pending, line...)
		text = rest
		if ended {
			g.flush(fd)
		}
	}
}

// flush ends a line of standard output or error.
func (g *guest) flush(fd uint32) {
	line := g.pending[fd-1]
	g.pending[fd-1] = nil
	if fd == 2 {
		// The last words are those of the runtime that gave up, if there are any.
		dying := bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) || bytes.Contains(line, []byte(" panicked at "))
		if g.stderr == "" || dying && !g.dying {
			g.stderr, g.dying = host.OneLine(string(line[:min(len(line), 200)])), dying
		}
	}
	g.write(slog.LevelDebug, line)
}

// write logs a line of the module as long as its run has log bytes left.
func (g *guest) write(level slog.Level, text []byte) {
	if g.logged += len(text) + 1; g.logged > g.config.Limits.LogBytes {
		g.dropped++
		return
	}
	if line := strings.TrimRight(string(text), "\r\n"); line != "" {
		g.log.Log(context.Background(), level, host.OneLine(line), "mode", g.mode)
	}
}
