// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestLineGrammar(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		want       []entry
	}{
		{"kind, comma, path", "dev,/dev/nvmap", []entry{{1, "dev", "/dev/nvmap"}}},
		{"spaces around both", " \tlib ,  /usr/lib/libx.so \t", []entry{{1, "lib", "/usr/lib/libx.so"}}},
		{"a path may hold commas and spaces", "dir,/a, b,c d", []entry{{1, "dir", "/a, b,c d"}}},
		{"Windows line end", "sym,/x\r", []entry{{1, "sym", "/x"}}},
		{"a relative path", "dev,zero", []entry{{1, "dev", "zero"}}},
		{"a comment does not parse", "# lib,/usr/lib/libx.so", nil},
		{"a comment behind a path is part of it", "lib,/x # y", []entry{{1, "lib", "/x # y"}}},
		{"blank", "   ", nil},
		{"upper case is another kind", "DEV,/dev/nvmap", nil},
		{"unknown kind", "bin,/bin/sh", nil},
		{"no comma", "lib /usr/lib/libx.so", nil},
		{"no path", "lib,  ", nil},
		{"no kind", ",/x", nil},
		{"quotes mean nothing", `"lib",/x`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := parse(tt.line); !slices.Equal(got, tt.want) {
				t.Fatalf("parse(%q) = %v, want %v", tt.line, got, tt.want)
			}
		})
	}
}

func TestLinesAreCountedFromOne(t *testing.T) {
	got := parse("# head\n\ndev,a\nbad\r\nlib,b")
	want := []entry{{3, "dev", "a"}, {5, "lib", "b"}}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// FuzzCSV checks what must hold for any file: every entry stands on the line
// that it names, in order, trimmed, and reading what was read changes nothing.
func FuzzCSV(f *testing.F) {
	f.Add("# comment\ndev, /dev/nvhost-ctrl\r\n\nlib, /usr/lib/libcuda.so.1.1\nsym,a,b\n")
	f.Add("dir,\nlib\n,\nsym,/x")
	f.Add("dev\u00a0,\u2028/x\n\x00lib,\xff")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		last := 0
		for _, e := range parse(text) {
			if e.line <= last || e.line > len(lines) {
				t.Fatalf("line %d after %d of %d", e.line, last, len(lines))
			}
			last = e.line
			if !slices.Contains([]string{"dev", "dir", "lib", "sym"}, e.kind) {
				t.Fatalf("kind %q", e.kind)
			}
			if e.path == "" || e.path != strings.TrimSpace(e.path) || !strings.Contains(lines[e.line-1], e.path) {
				t.Fatalf("line %d: path %q of %q", e.line, e.path, lines[e.line-1])
			}
			again := parse(e.kind + "," + e.path)
			if len(again) != 1 || again[0].kind != e.kind || again[0].path != e.path {
				t.Fatalf("%v written and read is %v", e, again)
			}
		}
	})
}
