// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

package main

import (
	"testing"

	"github.com/tenon-runtime/tenon/sdk"
)

// deviceMounts is the folder whose mounts ask for devices, by manifest.json.
const deviceMounts = "/var/run/nvidia-container-devices"

func TestWhatAContainerAsksFor(t *testing.T) {
	empty := open(t, machines+"empty")
	visible := func(v string) sdk.Request { return sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=" + v}} }
	mounted := func(accept string, env string, dests ...string) sdk.Request {
		r := sdk.Request{Config: map[string]string{"accept_volume_mounts": accept}}
		if env != "" {
			r.Env = []string{"NVIDIA_VISIBLE_DEVICES=" + env}
		}
		for _, d := range dests {
			r.Mounts = append(r.Mounts, sdk.Mount{Destination: d, Source: "/dev/null", Type: "bind"})
		}
		return r
	}
	const dir = deviceMounts
	for _, tt := range []struct {
		name    string
		request sdk.Request
		want    request
		err     string
	}{
		{"nothing set", sdk.Request{Env: []string{"PATH=/bin"}}, nothing, ""},
		{"empty", visible(""), nothing, ""},
		{"only commas", visible(" , ,"), nothing, ""},
		{"void", visible("void"), nothing, ""},
		{"void beside an id", visible("0,void"), nothing, ""},
		{"void beside all", visible("all, void"), nothing, ""},
		{"none", visible("none"), filesOnly, ""},
		{"none beside an id", visible("0,none"), filesOnly, ""},
		{"all", visible("all"), everything, ""},
		{"all beside what is not there", visible("7,all"), everything, ""},
		{"0", visible("0"), everything, ""},
		{"0 twice and trimmed", visible(" 0 , 0,"), everything, ""},
		{"the last of two", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=void"}}, nothing, ""},
		{"a range", visible("0-0"), everything, ""},
		{"a range of more", visible("0-3"), nothing, `NVIDIA_VISIBLE_DEVICES: "1" is not a device of this machine; ask for all, 0 or none`},
		{"1", visible("1"), nothing, `NVIDIA_VISIBLE_DEVICES: "1" is not a device of this machine; ask for all, 0 or none`},
		{"0 and 1", visible("0,1"), nothing, `NVIDIA_VISIBLE_DEVICES: "1" is not a device of this machine; ask for all, 0 or none`},
		{"not printable", visible("0,\n"), everything, ""},
		{"a CDI name", visible("nvidia.com/gpu=0"), nothing, `NVIDIA_VISIBLE_DEVICES: "nvidia.com/gpu=0" is not a device of this machine; ask for all, 0 or none`},

		{"mounts are not looked at unless accepted", mounted("false", "", dir+"/0"), nothing, ""},
		{"mounts", mounted("true", "", dir+"/0"), everything, ""},
		{"mounts win over the environment", mounted("true", "void", dir+"/all"), everything, ""},
		{"no mount, the environment counts", mounted("true", "all"), everything, ""},
		{"the folder itself is no device", mounted("true", "", dir), nothing, ""},
		{"the folder's name ends at a slash", mounted("true", "", dir+"X/0"), nothing, ""},
		{"destinations are cleaned", mounted("true", "", "/var/run/./x/../nvidia-container-devices//0/"), everything, ""},
		{"an IMEX channel is not ours", mounted("true", "", dir+"/imex/0"), nothing, ""},
		{"beside one, the environment counts", mounted("true", "all", dir+"/imex/0"), everything, ""},
		{"a CDI device is none of this machine", mounted("true", "", dir+"/cdi/nvidia.com/gpu/0"), nothing,
			`/var/run/nvidia-container-devices: "cdi/nvidia.com/gpu/0" is not a device of this machine; ask for all, 0 or none`},
		{"another id", mounted("true", "all", dir+"/GPU-1/x"), nothing, `/var/run/nvidia-container-devices: "GPU-1/x" is not a device of this machine; ask for all, 0 or none`},
		{"another source", sdk.Request{Config: map[string]string{"accept_volume_mounts": "true"},
			Mounts: []sdk.Mount{{Destination: dir + "/0", Source: "/dev/zero"}}}, nothing, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := requested(empty.Context(tt.request))
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}
