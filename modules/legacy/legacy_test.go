// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

package main

import (
	"errors"
	"testing"

	"github.com/tenon-runtime/tenon/sdk"
)

const inserted = `{"abi":1,"builtinHooks":[{"name":"nvidia-container-runtime-hook"}]}`

func TestHookIsInserted(t *testing.T) {
	prestart := func(paths ...string) []byte {
		doc := `{"hooks":{"prestart":[`
		for i, p := range paths {
			if i > 0 {
				doc += ","
			}
			doc += `{"path":"` + p + `"}`
		}
		return []byte(doc + `]}}`)
	}
	for _, tt := range []struct {
		name    string
		machine string
		request sdk.Request
		edits   string // "" means not applicable
		err     string
	}{
		{"once, for a container that asks", "jetson-orin", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}}, inserted, ""},
		{"for a container that does not ask too", "jetson-orin", sdk.Request{}, inserted, ""},
		{"for void too: the hook decides", "jetson-orin", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=void"}}, inserted, ""},
		{"not where it is", "jetson-orin", sdk.Request{Spec: prestart("/bin/true", "/opt/nvidia-container-runtime-hook")}, `{"abi":1}`, ""},
		{"not where it is under its older name", "jetson-orin", sdk.Request{Spec: prestart("/usr/bin/nvidia-container-toolkit")}, `{"abi":1}`, ""},
		{"beside one whose name only holds it", "jetson-orin", sdk.Request{Spec: prestart("/usr/bin/nvidia-container-runtime-hook-wrapper", "/nvidia-container-runtime-hook/x")}, inserted, ""},
		{"beside a hook of another stage", "jetson-orin", sdk.Request{Spec: []byte(`{"hooks":{"poststop":[{"path":"/usr/bin/nvidia-container-runtime-hook"}]}}`)}, inserted, ""},
		{"by an absolute path", "jetson-orin", sdk.Request{Config: map[string]string{"hook_path": "/usr/bin/nvidia-container-toolkit"}}, inserted, ""},
		{"by another name", "jetson-orin", sdk.Request{Config: map[string]string{"hook_path": "nvidia-container-toolkit"}}, inserted, ""},

		{"not installed and not asked for", "empty", sdk.Request{Env: []string{"PATH=/bin"}}, "", ""},
		{"not installed and void", "empty", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=void", "CUDA_VERSION=9.0"}}, "", ""},
		{"not installed and empty", "empty", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=", "CUDA_VERSION=9.0"}}, "", ""},
		{"not installed, a newer CUDA image that is not asked for", "empty", sdk.Request{Env: []string{"CUDA_VERSION=12.4", "NVIDIA_REQUIRE_CUDA=cuda>=12.4"}}, "", ""},
		{"not installed, but there already", "empty", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}, Spec: prestart("/opt/nvidia-container-toolkit")}, `{"abi":1}`, ""},
		{"not installed and asked for", "empty", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=none"}}, "",
			"nvidia-container-runtime-hook: not an executable file on this machine, and the container asks for devices by NVIDIA_VISIBLE_DEVICES; install nvidia-container-toolkit or set modes.legacy.hook_path"},
		{"not installed, a CUDA image from before the variable", "empty", sdk.Request{Env: []string{"CUDA_VERSION=9.0", "NVIDIA_REQUIRE_CUDA="}}, "",
			"nvidia-container-runtime-hook: not an executable file on this machine, and the container asks for devices by CUDA_VERSION; install nvidia-container-toolkit or set modes.legacy.hook_path"},
		{"not installed and asked for by a mount", "empty", sdk.Request{Mounts: []sdk.Mount{{Destination: "/var/run/nvidia-container-devices/all", Source: "/dev/null"}}}, "",
			"nvidia-container-runtime-hook: not an executable file on this machine, and the container asks for devices by a mount below /var/run/nvidia-container-devices; install nvidia-container-toolkit or set modes.legacy.hook_path"},
		{"not where the administrator says", "jetson-orin", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}, Config: map[string]string{"hook_path": "/opt/hook"}}, "",
			"/opt/hook: not an executable file on this machine, and the container asks for devices by NVIDIA_VISIBLE_DEVICES; install nvidia-container-toolkit or set modes.legacy.hook_path"},
		{"not executable", "jetson-orin", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}, Config: map[string]string{"hook_path": "/etc/hostname"}}, "",
			"/etc/hostname: not an executable file on this machine, and the container asks for devices by NVIDIA_VISIBLE_DEVICES; install nvidia-container-toolkit or set modes.legacy.hook_path"},
		{"a path that is not absolute", "jetson-orin", sdk.Request{Config: map[string]string{"hook_path": "bin/hook"}}, "",
			`config key "modes.legacy.hook_path": "bin/hook" is neither an absolute path nor a program's name`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := sdk.OpenMachine("../../testscripts/machines/" + tt.machine)
			if err != nil {
				t.Fatal(err)
			}
			edits, err := discover(m.Context(tt.request))
			switch {
			case tt.err != "":
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %s", err, tt.err)
				}
			case tt.edits == "":
				if !errors.Is(err, sdk.NotApplicable) {
					t.Fatalf("got %v, %v; want not applicable", edits, err)
				}
			case err != nil:
				t.Fatal(err)
			default:
				if got := string(edits.JSON()); got != tt.edits {
					t.Fatalf("got %s, want %s", got, tt.edits)
				}
			}
		})
	}
}
