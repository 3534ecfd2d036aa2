// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-runtime/tenon/host"
)

// smallest is a module that says that it does not apply: one page of memory, and
// tenon_discover returns 2.
const smallest = "0061736d01000000" + "010501" + "6000017f" + "03020100" + "0503010001" +
	"071b02066d656d6f727902000e74656e6f6e5f646973636f7665720000" + "0a0601040041020b"

func smallModule(manifest []byte) ([]byte, error) {
	code, err := hex.DecodeString(smallest)
	if err != nil {
		return nil, err
	}
	return host.WithManifest(code, manifest)
}

// acme is a small module with a manifest of that name and version, which grants
// what is given of the manifest besides.
func acme(t testing.TB, name, version, rest string) []byte {
	t.Helper()
	code, err := smallModule(fmt.Appendf(nil, `{"abi":{"major":1,"minor":0},"name":%q,"version":%q,%s}`, name, version, rest))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// withManifest MANIFEST FILE makes a small module with a manifest.
func withManifest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: manifest MANIFEST FILE")
	}
	code, err := smallModule([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), code, 0o644))
}

// spoil FILE changes one byte of a file in place, whatever its mode.
func spoil(ts *testscript.TestScript, neg bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	data[len(data)/2] ^= 1
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.Write(data)
	ts.Check(err)
	ts.Check(f.Close())
}

// TestInstallAsksOnATerminal: what the module may do is shown and asked for, and
// nothing but a yes accepts it.
func TestInstallAsksOnATerminal(t *testing.T) {
	folder := installer(t)
	file := folder + "/npu.wasm"
	if err := os.WriteFile(file, acme(t, "acme.example/npu", "1.0.0", `"grants":{"env":["ACME"]},"edits":{}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		answer string
		code   int
		want   string
	}{
		{"\n", 1, "tenon: module install: not accepted; nothing was changed"},
		{"no\n", 1, "tenon: module install: not accepted; nothing was changed"},
		{"Yes\n", 0, "mode npu: acme.example/npu 1.0.0 is installed"},
	} {
		var code int
		text := onTerminal(t, test.answer, func(tty *os.File) {
			stdin := os.Stdin
			defer func() { os.Stdin = stdin }()
			os.Stdin = tty
			code = run([]string{"module", "install", file}, tty, tty)
		})
		if code != test.code || !strings.Contains(text, "may read the variable ACME of the container") ||
			!strings.Contains(text, "Accept? [y/N] ") || !strings.Contains(text, test.want) {
			t.Errorf("answer %q: exit code %d, want %d, and %q in\n%s", test.answer, code, test.code, test.want, text)
		}
		_, err := os.Stat(folder + "/modules.d/npu.toml")
		if installed := err == nil; installed != (test.code == 0) {
			t.Errorf("answer %q: installed %v", test.answer, installed)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"module", "list"}, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "npu   acme.example/npu  1.0.0") {
		t.Errorf("list: exit code %d\n%s%s", code, &stdout, &stderr)
	}
}

// TestInstallCompiles is with the program as it is built, since only that has
// compiled code that no other build could take for its own.
func TestInstallCompiles(t *testing.T) {
	folder := installer(t)
	program := folder + "/tenon"
	build := exec.Command("go", "build", "-ldflags", "-X github.com/tenon-runtime/tenon/host.build=test-"+t.Name(), "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tenon := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
			t.Errorf("tenon %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, out)
		}
		return string(out)
	}
	t.Setenv("TENON_MODE", "csv")
	file := folder + "/npu.wasm"
	for _, version := range []string{"1.0.0", "1.0.1"} {
		writeModule(t, file, acme(t, "acme.example/npu", version, `"grants":{},"edits":{}`))
		if out := tenon(0, "module", "install", "--accept-grants", file); !strings.HasSuffix(out, "\nmode npu: acme.example/npu "+version+" is installed\n"+
			"it is not asked yet: add \"npu\" to mode in the configuration\n") {
			t.Errorf("install:\n%s", out)
		}
		if out := tenon(0, "module", "verify"); out != "mode npu: good, not signed, compiled\n" {
			t.Errorf("verify: %s", out)
		}
	}
	compiled := func() []string {
		t.Helper()
		list, err := filepath.Glob(folder + "/cache/*/*/wazero-*/*")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if n := len(compiled()); n != 2 {
		t.Fatalf("%d modules are compiled, want this one and the one before", n)
	}
	// Code that is damaged is found, and made again.
	for _, code := range compiled() {
		data, err := os.ReadFile(code)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(code, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := tenon(exitCheck, "module", "verify"); !strings.Contains(out, ": is not the code that was recorded; run \"tenon module warm npu\"\n") {
		t.Errorf("verify: %s", out)
	}
	if out := tenon(0, "module", "warm"); out != "mode npu: compiled\n" {
		t.Errorf("warm: %s", out)
	}
	tenon(0, "module", "verify")
	// Rollback finds its own compiled, or compiles it.
	tenon(0, "module", "rollback", "npu")
	if out := tenon(0, "module", "verify"); out != "mode npu: good, not signed, compiled\n" {
		t.Errorf("verify: %s", out)
	}
	tenon(0, "module", "remove", "npu")
	if list := compiled(); len(list) > 0 {
		t.Errorf("after remove there is %v", list)
	}
	tenon(exitNothing, "module", "warm")
}
