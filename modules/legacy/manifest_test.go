// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/sdk"
)

// TestAsked keeps what the mode asks and edits; UPDATE=1 rewrites it. A test of
// package host holds manifest.json against both: all of it is granted, and no
// grant can be taken away.
func TestAsked(t *testing.T) {
	for name, test := range map[string]struct {
		machine string
		request sdk.Request
	}{
		"hook":        {"jetson-orin", sdk.Request{Spec: []byte(`{"hooks":{"prestart":[{"path":"/bin/true"}]}}`)}},
		"hook_named":  {"jetson-orin", sdk.Request{Config: map[string]string{"hook_path": "/usr/bin/nvidia-container-toolkit"}}},
		"not_for_us":  {"empty", sdk.Request{Env: []string{"CUDA_VERSION=12.4", "NVIDIA_REQUIRE_CUDA=cuda>=12.4"}}},
		"has_it":      {"jetson-orin", sdk.Request{Spec: []byte(`{"hooks":{"prestart":[{"path":"/usr/bin/nvidia-container-runtime-hook"}]}}`)}},
		"by_its_name": {"empty", sdk.Request{Config: map[string]string{"hook_path": "other-hook"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := sdk.OpenMachine("../../testscripts/machines/" + test.machine)
			if err != nil {
				t.Fatal(err)
			}
			c := m.Context(test.request)
			edits, err := discover(c)
			switch {
			case errors.Is(err, sdk.NotApplicable):
				edits = &sdk.Edits{}
			case err != nil:
				t.Fatal(err)
			}
			golden(t, "asked_"+name+".json", append(edits.JSON(), '\n'))
			golden(t, "asked_"+name+".txt", []byte(strings.Join(slices.Compact(slices.Sorted(slices.Values(c.Asked()))), "\n")+"\n"))
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s", file, got)
	}
}
