// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/sdk"
)

// TestAsked keeps, for requests that between them go every way through the mode,
// what it asks and what it edits. A test of package host holds manifest.json
// against both: all of it is granted, and no grant can be taken away.
func TestAsked(t *testing.T) {
	hooks := []byte(`{"hooks":{"prestart":[{"path":"/usr/bin/nvidia-container-runtime-hook"},{"path":"/opt/nvidia-container-toolkit"}]}}`)
	ask := []string{"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_REQUIRE_JETPACK=csv-mounts=all"}
	for name, c := range map[string]*sdk.Context{
		"orin": open(t, machines+"jetson-orin").Context(sdk.Request{Env: ask, Spec: hooks, Config: map[string]string{"env_void": "replace"}}),
		"orin_mounts": open(t, machines+"jetson-orin").Context(sdk.Request{Config: map[string]string{"accept_volume_mounts": "true"},
			Mounts: []sdk.Mount{{Destination: deviceMounts + "/0", Source: "/dev/null"}}}),
		"driver_root": made(t, map[string]string{
			"root/opt/lists/L4T.CSV":             "dev,/dev/nvmap\nlib,/usr/lib/lib*.so.1\nsym,/usr/lib/liba.so\ndir,/opt/data\ndev,nv[a-z]*\n",
			"driver/usr/lib/liba.so.1":           "",
			"driver/usr/lib/liba.so":             "->liba.so.1",
			"driver/opt/data/x":                  "",
			"driver_devices":                     "c 10 121 0660 0 44 /dev/nvmap\n",
			"root" + defaultFolder + "/none.txt": "",
		}).Context(sdk.Request{Env: ask, Config: map[string]string{"driver_root": "/run/driver", "mount_spec_path": "/opt/lists"}}),
		"folder_missing": made(t, map[string]string{"root" + defaultFolder + "/l4t.csv": "dev,/dev/none*\n"}).Context(sdk.Request{
			Env: ask[:1], Config: map[string]string{"mount_spec_path": "/opt/none"}}),
	} {
		t.Run(name, func(t *testing.T) {
			edits, err := discover(c)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "asked_"+name+".json", append(edits.JSON(), '\n'))
			golden(t, "asked_"+name+".txt", []byte(strings.Join(slices.Compact(slices.Sorted(slices.Values(c.Asked()))), "\n")+"\n"))
		})
	}
}
