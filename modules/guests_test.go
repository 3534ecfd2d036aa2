// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

// Package modules_test holds what is true of every mode as a guest: it builds,
// it imports and exports what sdk/ABI.md allows, and it is as small as it can be.
package modules_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxGuest is the most that a mode of ours may weigh, in bytes. An empty std Go
// guest is 1.8 MiB; one that links fmt and encoding/json is over 2.9 MiB, and
// takes twice as long to load.
const maxGuest = 2300 << 10

// wasiOfGo are the functions of wasi_snapshot_preview1 that std Go imports and
// the host therefore has: runtime/os_wasip1.go and its neighbours.
var wasiOfGo = []string{
	"args_get", "args_sizes_get", "clock_time_get", "environ_get", "environ_sizes_get",
	"fd_write", "poll_oneoff", "proc_exit", "random_get", "sched_yield",
}

func TestGuests(t *testing.T) {
	dirs, err := filepath.Glob("*/main.go")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no modes here", err)
	}
	for _, main := range dirs {
		mode := filepath.Dir(main)
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			wasm := build(t, mode)
			t.Logf("%d bytes", len(wasm))
			if len(wasm) > maxGuest {
				t.Errorf("%d bytes, more than %d: look at what it links", len(wasm), maxGuest)
			}
			m, err := read(wasm)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range m.imports {
				module, name, _ := strings.Cut(i, ".")
				switch {
				case module == "tenon_v1" && slices.Contains([]string{"query", "emit", "log"}, name):
				case module == "wasi_snapshot_preview1" && slices.Contains(wasiOfGo, name):
				default:
					t.Errorf("imports %s, which no host has", i)
				}
			}
			if !slices.Contains(m.imports, "tenon_v1.query") {
				t.Error("asks nothing: imports no tenon_v1.query")
			}
			slices.Sort(m.exports)
			if want := []string{"_initialize", "memory", "tenon_discover"}; !slices.Equal(m.exports, want) {
				t.Errorf("exports %v, want %v", m.exports, want)
			}
		})
	}
}

func TestGuestsLinkNoReflection(t *testing.T) {
	for _, pkg := range []string{"../sdk", "./csv", "./legacy"} {
		out := goTool(t, "list", "-deps", pkg)
		if !bytes.Contains(out, []byte("github.com/tenon-runtime/tenon/sdk\n")) {
			t.Errorf("%s does not use the sdk:\n%s", pkg, out)
		}
		for dep := range strings.SplitSeq(string(out), "\n") {
			switch dep {
			case "fmt", "encoding/json", "encoding/binary", "reflect", "os", "time":
				t.Errorf("%s links %s", pkg, dep)
			}
		}
	}
}

func build(t *testing.T, mode string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), mode+".wasm")
	goTool(t, "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./"+mode)
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func goTool(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

type module struct{ imports, exports []string }

// read takes the import and export sections of a core module apart.
// https://webassembly.github.io/spec/core/binary/modules.html
func read(wasm []byte) (m module, err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("a section is cut short")
		}
	}()
	in, ok := bytes.CutPrefix(wasm, []byte("\x00asm\x01\x00\x00\x00"))
	if !ok {
		return m, fmt.Errorf("not a core module of version 1")
	}
	for len(in) > 0 {
		id := in[0]
		in = in[1:]
		size := u32(&in)
		section := in[:size]
		in = in[size:]
		switch id {
		case 2:
			for range u32(&section) {
				m.imports = append(m.imports, name(&section)+"."+name(&section))
				if kind := section[0]; kind != 0 {
					return m, fmt.Errorf("imports something that is no function (kind %d)", kind)
				}
				section = section[1:]
				u32(&section)
			}
		case 7:
			for range u32(&section) {
				m.exports = append(m.exports, name(&section))
				section = section[1:]
				u32(&section)
			}
		}
	}
	return m, nil
}

func u32(in *[]byte) uint32 {
	n, size := binary.Uvarint(*in)
	*in = (*in)[size:]
	return uint32(n)
}

func name(in *[]byte) string {
	n := u32(in)
	s := string((*in)[:n])
	*in = (*in)[n:]
	return s
}
