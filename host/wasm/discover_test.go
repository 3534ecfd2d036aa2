// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
)

func requestOf(t testing.TB, config string) *discover.Request {
	t.Helper()
	spec, err := discover.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return spec.Request()
}

// discovered runs a module as mode "m", which it is installed as. One that could
// not even have a manifest could not be installed; it is tried.
func discovered(t *testing.T, c host.Config, module []byte) (host.Result, string, error) {
	t.Helper()
	c.ModuleDir, c.Limits.WallMS = trustedDir(t), 60000
	file := filepath.Join(c.ModuleDir, "m.wasm")
	req := requestOf(t, `{"process":{"env":["A=b"]}}`)
	var r host.Result
	if installable, err := host.WithManifest(module, []byte(openManifest)); err == nil {
		module = installable
		writeFile(t, file, string(module))
		c = asInstalled(t, c, "m")
		r, err = Discover(t.Context(), c, "m", req, "", nil)
		sameCompiled(t, c, module, r, err)
		return r, file, err
	}
	r, err := Trial{Config: c, Mode: "m", File: file, Code: module, Request: req}.Discover(t.Context())
	if err != nil {
		err = fmt.Errorf("mode m: %w", err)
	}
	sameCompiled(t, c, module, r, err)
	return r, file, err
}

func TestDiscoverReturnsWhatWasEmitted(t *testing.T) {
	doc := `{"abi":1,"containerEdits":{"env":["GPU=1"]}}`
	r, _, err := discovered(t, host.DefaultConfig(), emitAndReturn(emitEdits, doc, host.ResultDone))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Applicable || !slices.Equal(r.Edits.ContainerEdits.Env, []string{"GPU=1"}) {
		t.Errorf("got %+v", r)
	}
	r, _, err = discovered(t, host.DefaultConfig(), emitAndReturn(emitExplain, "because\nof this", host.ResultNotApplicable))
	if err != nil {
		t.Fatal(err)
	}
	if r.Applicable || !r.Edits.Empty() || !slices.Equal(r.Explain, []string{"because?of this"}) {
		t.Errorf("not applicable: got %+v", r)
	}
	// Nothing emitted is no edits.
	r, _, err = discovered(t, host.DefaultConfig(), guestModule(i32Const(0), ""))
	if err != nil || !r.Applicable || !r.Edits.Empty() {
		t.Errorf("nothing: got %+v, %v", r, err)
	}
}

func TestDiscoverMergesDocumentsInOrder(t *testing.T) {
	one, two := `{"abi":1,"containerEdits":{"env":["A=1"]}}`, `{"abi":1,"containerEdits":{"env":["B=2"]}}`
	body := bytesOf(
		i32Consts(emitEdits, 0, int64(len(one))), opCall, funcEmit, opDrop,
		i32Consts(emitEdits, int64(len(one)), int64(len(two))), opCall, funcEmit)
	r, _, err := discovered(t, host.DefaultConfig(), guestModule(body, one+two))
	if err != nil || !slices.Equal(r.Edits.ContainerEdits.Env, []string{"A=1", "B=2"}) {
		t.Errorf("got %v, %v", r.Edits.ContainerEdits.Env, err)
	}
}

// queryAndReturn asks one query, whose key is data, and returns code + 100.
func queryAndReturn(op, root, keyPtr, keyLen, bufPtr, bufCap int64, data string) []byte {
	return guestModule(bytesOf(i32Consts(op, root, keyPtr, keyLen, bufPtr, bufCap),
		opCall, funcQuery, 0xa7 /* i32.wrap_i64 */, i32Const(100), 0x6a /* i32.add */), data)
}

// Modules that no mode would be, each refused in one line that says what is
// wrong with it.
func TestT23BadModules(t *testing.T) {
	const page = 65536
	imports := func(module, name string, kind byte, rest ...byte) []byte {
		return wasm(section(1, list(bytesOf(0x60, list(), list()))),
			section(2, list(bytesOf(text(module), text(name), []byte{kind}, rest))))
	}
	exports := func(items ...[]byte) []byte {
		return wasm(section(1, list(bytesOf(0x60, list(), list()), bytesOf(0x60, list(), list([]byte(i32))))),
			section(3, list([]byte{0}, []byte{1})), section(5, list([]byte{0, 1})), section(7, list(items...)),
			section(10, list(sized(bytesOf(list(), opEnd)), sized(bytesOf(list(), i32Const(0), opEnd)))))
	}
	memory := bytesOf(text("memory"), 2, 0)
	entry := bytesOf(text("tenon_discover"), 0, 1)
	many := func(setup, what []byte) []byte { // setup, then what 40,000 times, by a counter in memory
		return guestModule(bytesOf(setup, opLoop, blockEmpty, what,
			i32Consts(1000, 1000), 0x28, 2, 0, i32Const(1), 0x6a, 0x36, 2, 0, // memory[1000]++
			i32Const(1000), 0x28, 2, 0, i32Const(40000), 0x48, 0x0d, 0, opEnd, i32Const(0)), "")
	}
	tests := []struct {
		name   string
		module []byte
		want   string // FILE is the module's file
	}{
		{"text", []byte("#!/bin/sh\nexit 0\n"), "FILE: is not a WebAssembly module"},
		{"empty", nil, "FILE: is empty; build a WebAssembly module"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "FILE: is a component; build a core module"},
		{"version", []byte("\x00asm\x02\x00\x00\x00"), "FILE: is of WebAssembly version 02000000; build a core module of version 1"},
		{"large", make([]byte, maxModule+1), "FILE: is larger than the 8388608 bytes a module may have"},
		{"nothing in it", wasm(), `FILE: does not export its memory as "memory"; it is not a module for tenon`},
		{"no discover", exports(memory), "FILE: does not export tenon_discover; it is not a module for tenon"},
		{"discover of another type", exports(memory, bytesOf(text("tenon_discover"), 0, 0)), "FILE: exports tenon_discover as () -> (); it must be () -> i32"},
		{"discover no function", exports(memory, bytesOf(text("tenon_discover"), 2, 0)), "FILE: exports tenon_discover as a memory; it must be () -> i32"},
		{"initialize of another type", exports(memory, entry, bytesOf(text("_initialize"), 0, 1)), "FILE: exports _initialize as () -> i32; it must be () -> ()"},
		{"a program", exports(memory, entry, bytesOf(text("_start"), 0, 0)), "FILE: exports _start, so it is a program; build a reactor (Go: -buildmode=c-shared, clang: -mexec-model=reactor)"},
		// T24 and T25 of the attack cases.
		{"unknown WASI import", imports("wasi_snapshot_preview1", "path_open", 0, 0), "FILE: imports wasi_snapshot_preview1.path_open, which tenon does not offer"},
		{"unknown module", imports("env", "system", 0, 0), "FILE: imports env.system, which tenon does not offer"},
		{"odd names", imports("a b", "c\nd", 0, 0), `FILE: imports "a b"."c\nd", which tenon does not offer`},
		{"unknown function", imports("tenon_v1", "open", 0, 0), "FILE: imports tenon_v1.open, which tenon does not offer"},
		{"later ABI", imports("tenon_v2", "query", 0, 0), "FILE: imports tenon_v2.query; this tenon offers the ABI tenon_v1: install a newer tenon, or an older module"},
		{"wrong signature", imports("tenon_v1", "emit", 0, 0), "FILE: imports tenon_v1.emit as () -> (); it is (i32, i32, i32) -> i32"},
		{"memory import", imports("env", "memory", 2, 0, 1), "FILE: imports env.memory, a memory, which tenon does not offer"},
		{"global import", imports("env", "g", 3, 0x7f, 0), "FILE: imports env.g, a global, which tenon does not offer"},
		{"table import", imports("env", "t", 1, 0x70, 0, 1), "FILE: imports env.t, a table, which tenon does not offer"},
		{"import as start", guestModule(i32Const(0), "", section(8, 0)), "FILE: its start section names an imported function; start with a function of the module"},
		{"not valid", guestModule([]byte{opDrop}, ""), "FILE: is not valid WebAssembly for tenon: "},
		{"SIMD", guestModule(bytesOf(0xfd, 0x0c, make([]byte, 16), opDrop, i32Const(0)), ""), "FILE: its function body has opcode 0xfd; build for core WebAssembly 2.0 without SIMD and reference types"},
		{"too much memory", slicesReplace(guestModule(i32Const(0), ""), section(5, list([]byte{0, 1})), section(5, list(bytesOf(0, uleb(2000))))),
			"FILE: is not valid WebAssembly for tenon: section memory: min 2000 pages (125 Mi) over limit of 1024 pages (64 Mi)"},

		{"trap", guestModule([]byte{opUnreachable}, ""), "FILE: trapped: unreachable"},
		{"recursion", guestModule([]byte{opCall, funcDiscover}, ""), "FILE: trapped: stack overflow"},
		{"exit", guestModule(bytesOf(i32Const(3), opCall, funcExit, i32Const(0)), ""), "FILE: exited with code 3"},
		{"exit with 0", guestModule(bytesOf(i32Const(0), opCall, funcExit, i32Const(0)), ""), "FILE: exited with code 0"},
		{"unknown result", guestModule(i32Const(-7), ""), "FILE: returned -7, which is no result of the ABI"},
		{"failed", emitAndReturn(emitReason, "/dev/gpu0: is not a device on this machine; load its driver", host.ResultFailed), "/dev/gpu0: is not a device on this machine; load its driver"},
		{"failed without a word", guestModule(i32Const(1), ""), "FILE: failed, and gave no reason"},
		{"not applicable with edits", emitAndReturn(emitEdits, `{"abi":1}`, host.ResultNotApplicable), "FILE: emitted edits, and then said that it does not apply"},

		{"key outside of memory", queryAndReturn(opEnv, 0, page-1, 2, 0, 0, ""), "FILE: trapped: pointer outside of its memory: 2 bytes at 65535"},
		{"key that wraps", queryAndReturn(opEnv, 0, -1, -1, 0, 0, ""), "FILE: trapped: pointer outside of its memory: 4294967295 bytes at 4294967295"},
		{"buffer outside of memory", queryAndReturn(opEnv, 0, 0, 1, page-8, 9, "A"), "FILE: trapped: pointer outside of its memory: 9 bytes at 65528"},
		{"emit outside of memory", guestModule(bytesOf(i32Consts(0, 8, -8), opCall, funcEmit), ""), "FILE: trapped: pointer outside of its memory: 4294967288 bytes at 8"},
		{"emit of 2 GiB", guestModule(bytesOf(i32Consts(0, 0, 1<<31-1), opCall, funcEmit), ""), "FILE: trapped: pointer outside of its memory: 2147483647 bytes at 0"},

		{"answer is not JSON", emitAndReturn(emitEdits, "devices, please", host.ResultDone), "FILE: "},
		{"unknown field", emitAndReturn(emitEdits, `{"abi":1,"containerEdit":{}}`, host.ResultDone), "FILE: "},
		{"edits break a rule", emitAndReturn(emitEdits, `{"abi":1,"containerEdits":{"mounts":[{"hostPath":"/x","containerPath":"/proc/x"}]}}`, host.ResultDone), "FILE: "},
		{"too many documents", many(nil, bytesOf(i32Consts(0, 0, 0), opCall, funcEmit, opDrop)), "FILE: emitted more than the 64 edits documents a run may emit"},
		{"too much emitted", many(nil, bytesOf(i32Consts(2, 0, 60000), opCall, funcEmit, opDrop)), "FILE: emitted more than the 2097152 bytes a run may emit"},
		{"too many queries", many(nil, bytesOf(i32Const(1000), 0x28, 2, 0, i32Consts(0, 0, 0, 0, 0), opCall, funcQuery, opDrop)), "FILE: asked more than the 32768 queries a run may ask"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			_, file, err := discovered(t, host.DefaultConfig(), test.module)
			if err == nil {
				t.Fatal("accepted")
			}
			got, ok := strings.CutPrefix(err.Error(), "mode m: ")
			want := strings.ReplaceAll(test.want, "FILE", file)
			if !ok || got != want && !(strings.HasSuffix(want, ": ") && strings.HasPrefix(got, want) && len(got) > len(want)) {
				t.Errorf("error is\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(got, "\n") {
				t.Errorf("error is of several lines: %q", got)
			}
			if blamed := errors.Is(err, discover.ErrInvalidEdits); blamed != (test.want == "FILE: ") {
				t.Errorf("ErrInvalidEdits: %v", blamed)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func slicesReplace(b, old, new []byte) []byte {
	return []byte(strings.Replace(string(b), string(old), string(new), 1))
}

// The codes that the functions of the ABI answer with; a module that only adds
// 100 to a code returns something that is no result.
func TestQueryCodes(t *testing.T) {
	tests := []struct {
		name   string
		module []byte
		want   int32
	}{
		{"answer that fits", queryAndReturn(opEnv, 0, 0, 1, 100, 1, "A"), 1},
		{"answer that does not fit", queryAndReturn(opEnv, 0, 0, 1, 100, 0, "A"), 1},
		{"not found", queryAndReturn(opEnv, 0, 0, 1, 0, 0, "Z"), host.CodeNotFound},
		{"key too long", queryAndReturn(opEnv, 0, 0, 4097, 0, 0, strings.Repeat("A", 4097)), host.CodeInvalid},
		{"key not UTF-8", queryAndReturn(opEnv, 0, 0, 1, 0, 0, "\xff"), host.CodeInvalid},
		{"unknown op", queryAndReturn(14, 0, 0, 1, 0, 0, "A"), host.CodeUnsupported},
		{"op far out", queryAndReturn(-1, 0, 0, 1, 0, 0, "A"), host.CodeUnsupported},
		{"unknown root", queryAndReturn(opStat, 3, 0, 1, 0, 0, "/"), host.CodeUnsupported},
		{"root that an op does not take", queryAndReturn(opWhich, 1, 0, 2, 0, 0, "sh"), host.CodeUnsupported},
		{"unknown kind of emit", guestModule(bytesOf(i32Consts(3, 0, 1), opCall, funcEmit, i32Const(100), 0x6a), "x"), host.CodeUnsupported},
		{"reason not UTF-8", guestModule(bytesOf(i32Consts(1, 0, 1), opCall, funcEmit, i32Const(100), 0x6a), "\xff"), host.CodeInvalid},
		{"reason too long", guestModule(bytesOf(i32Consts(1, 0, 4097), opCall, funcEmit, i32Const(100), 0x6a), ""), host.CodeTooLarge},
		{"memory.grow over the limit", guestModule(bytesOf(i32Const(1024), opMemoryGrow, 0, i32Const(100), 0x6a), ""), -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := discovered(t, host.DefaultConfig(), test.module)
			want := fmt.Sprintf(": returned %d, which is no result of the ABI", test.want+100)
			if err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("got %v, want ...%s", err, want)
			}
		})
	}
}

// A query from _initialize or the start function is in the wrong state; the
// module traps unless it gets that code.
func TestQueryOutsideOfDiscover(t *testing.T) {
	ask := bytesOf(i32Consts(opEnv, 0, 0, 1, 0, 0), opCall, funcQuery, 0xa7, i32Const(host.CodeWrongState), 0x47, 0x04, blockEmpty, opUnreachable, opEnd,
		i32Consts(emitReason, 0, 0), opCall, funcEmit, i32Const(host.CodeWrongState), 0x47, 0x04, blockEmpty, opUnreachable, opEnd)
	plain := guestModule(i32Const(0), "A")
	for name, extra := range map[string]func([]byte) []byte{
		"start": func(m []byte) []byte {
			return slicesReplace(m, section(7, list(bytesOf(text("memory"), 2, 0), bytesOf(text("tenon_discover"), 0, funcDiscover))),
				bytesOf(section(7, list(bytesOf(text("memory"), 2, 0), bytesOf(text("tenon_discover"), 0, funcDiscover))), section(8, 4)))
		},
		"_initialize": func(m []byte) []byte {
			return slicesReplace(m, section(7, list(bytesOf(text("memory"), 2, 0), bytesOf(text("tenon_discover"), 0, funcDiscover))),
				section(7, list(bytesOf(text("memory"), 2, 0), bytesOf(text("tenon_discover"), 0, funcDiscover), bytesOf(text("_initialize"), 0, 4))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := slicesReplace(plain, section(3, list([]byte{typeDiscover})), section(3, list([]byte{typeDiscover}, []byte{typeNone})))
			m = slicesReplace(m, section(10, list(sized(bytesOf(list(), i32Const(0), opEnd)))),
				section(10, list(sized(bytesOf(list(), i32Const(0), opEnd)), sized(bytesOf(list(), ask, opEnd)))))
			if _, _, err := discovered(t, host.DefaultConfig(), extra(m)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Loops that only the watchdog ends. The module goes on computing, so each runs
// in a process of its own, which ends as tenon-runtime does: with the error.
func TestT20Watchdog(t *testing.T) {
	loops := map[string][]byte{
		"loop":        bytesOf(opLoop, blockEmpty, opBr, 0, opEnd, i32Const(0)),
		"memory.fill": bytesOf(opLoop, blockEmpty, i32Consts(0, 0, 65536), 0xfc, 11, 0, opBr, 0, opEnd, i32Const(0)),
		"memory.grow": bytesOf(opLoop, blockEmpty, i32Const(1), opMemoryGrow, 0, opDrop, opBr, 0, opEnd, i32Const(0)),
		"queries":     bytesOf(opLoop, blockEmpty, i32Consts(opEnv, 0, 0, 1, 0, 0), opCall, funcQuery, opDrop, opBr, 0, opEnd, i32Const(0)),
	}
	if dir := os.Getenv("TENON_TEST_LOOP"); dir != "" {
		c := host.DefaultConfig()
		c.ModuleDir, c.Limits.WallMS = dir, 200
		_, err := Discover(t.Context(), asInstalled(t, c, "m"), "m", requestOf(t, "{}"), "", nil)
		fmt.Println("ended:", err)
		os.Exit(0)
	}
	for name, body := range loops {
		t.Run(name, func(t *testing.T) {
			dir := trustedDir(t)
			writeFile(t, filepath.Join(dir, "m.wasm"), string(guestModule(body, "A")))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestT20Watchdog$")
			cmd.Env = append(os.Environ(), "TENON_TEST_LOOP="+dir, "GOMAXPROCS=1")
			out, err := cmd.CombinedOutput()
			want := fmt.Sprintf("ended: mode m: %s/m.wasm: did not finish within 200ms; if the machine is slow, raise wall_ms in [limits] of the config\n", dir)
			if err != nil || string(out) != want {
				t.Errorf("%v, printed\n%swant\n%s", err, out, want)
			}
		})
	}
}

// A run on a busy machine gets the processor time that it may take, and one that
// waits for something that never comes ends all the same.
func TestT20TimeLeft(t *testing.T) {
	const ms = time.Millisecond
	limits := host.Limits{WallMS: 100}
	for _, test := range []struct{ wall, processor, left time.Duration }{
		{100 * ms, 100 * ms, 0},
		{100 * ms, 150 * ms, -50 * ms}, // two threads
		{100 * ms, 99 * ms, 1 * ms},
		{100 * ms, 10 * ms, 90 * ms},
		{250 * ms, 10 * ms, 50 * ms},
		{300 * ms, 0, 0},
	} {
		if left := timeLeft(limits, test.wall, test.processor); left != test.left {
			t.Errorf("after %v, %v of them computing: %v, want %v", test.wall, test.processor, left, test.left)
		}
	}
}

func TestDiscoverRefusesBeforeItRuns(t *testing.T) {
	dir := trustedDir(t)
	c := host.DefaultConfig()
	c.ModuleDir = dir
	writeFile(t, filepath.Join(dir, "csv.wasm"), "x")
	writeFile(t, filepath.Join(dir, "open.wasm"), "x")
	os.Chmod(filepath.Join(dir, "open.wasm"), 0o666)
	none := c
	for _, mode := range []string{"cdi", "csv", "open"} {
		c.Installed = append(c.Installed, host.Installed{Name: mode, Digest: host.DigestOf([]byte("y")), File: filepath.Join(dir, mode+".wasm"),
			Entry: "/etc/tenon/modules.d/" + mode + ".toml", Manifest: openManifest, Accepted: `{"grants":{},"edits":{}}`})
	}
	for _, test := range []struct {
		c          host.Config
		mode, want string
	}{
		{c, "../m", `mode "../m": is not a name of small letters, digits, dots and dashes; set mode in the config`},
		{c, "", `mode "": is not a name of small letters, digits, dots and dashes; set mode in the config`},
		{c, "cdi", "mode cdi: " + dir + "/cdi.wasm: does not exist; run \"tenon module install\" again"},
		{none, "csv", "mode csv: is not installed; run \"tenon module install FILE\""},
		{c, "csv", "mode csv: " + dir + "/csv.wasm: is not the module that was installed: its digest is " + host.DigestOf([]byte("x")) +
			", and /etc/tenon/modules.d/csv.toml has " + host.DigestOf([]byte("y")) + "; run \"tenon module install\" again"},
		{c, "open", "mode open: " + dir + "/open.wasm: is not trusted: others may write it (mode 0666); chmod go-w " + dir + "/open.wasm"},
	} {
		if _, err := Discover(t.Context(), test.c, test.mode, requestOf(t, "{}"), "", nil); err == nil || err.Error() != test.want {
			t.Errorf("error is\n%v\nwant\n%s", err, test.want)
		}
	}
}

// A mode in Go, as mode authors write them, asks and answers through all of it.
func TestGoGuest(t *testing.T) {
	module := goGuest(t)
	dir := trustedDir(t)
	writeFile(t, filepath.Join(dir, "guest.wasm"), string(module))
	c := host.DefaultConfig()
	c.ModuleDir, c.Limits.WallMS = dir, 60000
	c.ModeTables = map[string]map[string]string{"guest": {"greeting": "hello"}}
	c = asInstalled(t, c, "guest")
	req := requestOf(t, `{"process":{"env":["GUEST_DEVICES=null,zero"]},"annotations":{"a/b":"c"},"mounts":[{"destination":"/data","source":"/s","type":"bind","options":["ro","rbind"]}]}`)
	var log strings.Builder
	r, err := Discover(t.Context(), c, "guest", req, t.TempDir(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	got, err := json.Marshal(r.Edits.ContainerEdits)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"env":["GREETING=hello","ANNOTATION=c","MOUNTS=/data /s bind ro+rbind"],"deviceNodes":[{"path":"/dev/null"},{"path":"/dev/zero"}]}`
	if string(got) != want {
		t.Errorf("edits are\n%s\nwant\n%s", got, want)
	}
	if !slices.Equal(r.Explain, []string{"2 devices asked for"}) {
		t.Errorf("explain lines are %q", r.Explain)
	}
	for _, line := range []string{"level=WARN msg=\"a word of warning\" mode=guest", "level=DEBUG msg=\"to stderr\" mode=guest"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log lacks %s:\n%s", line, &log)
		}
	}

	// A panic in Go is the mode's fault, and its own words are kept.
	_, err = Discover(t.Context(), c, "guest", requestOf(t, `{"process":{"env":["GUEST_DEVICES=panic"]}}`), "", nil)
	want = "mode guest: " + dir + "/guest.wasm: trapped: unreachable; it wrote \"panic: runtime error: index out of range [5] with length 0\""
	if err == nil || err.Error() != want {
		t.Errorf("error is\n%v\nwant\n%s", err, want)
	}
}

// goGuest builds testdata/guest.
func goGuest(t testing.TB) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./testdata/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-buildvcs=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return withManifest(t, module)
}

func BenchmarkGoGuest(b *testing.B) {
	module := goGuest(b)
	c := host.DefaultConfig()
	c.ModeTables = map[string]map[string]string{"guest": {"greeting": "hello"}}
	req := requestOf(b, `{"process":{"env":["GUEST_DEVICES=null,zero"]}}`)
	for b.Loop() {
		shape, err := scan(module)
		if err != nil {
			b.Fatal(err)
		}
		m, err := host.ParseManifest([]byte(openManifest))
		if err != nil {
			b.Fatal(err)
		}
		r, _, err := host.NewTrial(c, "guest", m, req, "", slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		g := &guest{run: r, ask: r.Query, config: c, mode: "guest", log: slog.New(slog.DiscardHandler), random: newRandom(0)}
		if answer, err := g.execute(b.Context(), module, shape); err != nil || answer != host.ResultDone {
			b.Fatal(answer, err)
		}
		r.Close()
	}
}
