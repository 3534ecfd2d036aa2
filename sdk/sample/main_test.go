// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/sdk"
)

// recorded is a machine with three devices, the control node of one, and a file
// where a device should be. Nothing of it needs root: the devices are lines.
func recorded(t *testing.T, devices string) *sdk.Machine {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"devices": devices, "root/dev/acme2": ""} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := sdk.OpenMachine(dir)
	if err == nil {
		m.Manifest, err = os.ReadFile("manifest.json")
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const devices3 = `c 240 0 0666 0 0 /dev/acme0
c 240 128 0600 0 0 /dev/acme0ctl
c 240 1 0660 0 44 /dev/acme1
c 240 10 0660 0 44 /dev/acme10
`

func TestAsked(t *testing.T) {
	doc := func(devices string) string { return `{"abi":1,"containerEdits":{"deviceNodes":[` + devices + `]}}` }
	for _, c := range []struct {
		rule, env, driverRoot string
		edits, err            string // edits "" and no err: not applicable
	}{
		{rule: "no variable asks for nothing"},
		{rule: "an empty variable asks for nothing", env: "ACME_VISIBLE_DEVICES="},
		{rule: "commas alone ask for nothing", env: "ACME_VISIBLE_DEVICES=,,"},
		{rule: "void asks for nothing", env: "ACME_VISIBLE_DEVICES=void"},
		{rule: "all gives every character device", env: "ACME_VISIBLE_DEVICES=all",
			edits: doc(`{"path":"/dev/acme0"},{"path":"/dev/acme1"},{"path":"/dev/acme10"}`)},
		{rule: "none gives no device", env: "ACME_VISIBLE_DEVICES=none", edits: `{"abi":1}`},
		{rule: "a range", env: "ACME_VISIBLE_DEVICES=0-1", edits: doc(`{"path":"/dev/acme0"},{"path":"/dev/acme1"}`)},
		{rule: "indexes give those devices once, in the machine's order", env: "ACME_VISIBLE_DEVICES=10,0,,10,",
			edits: doc(`{"path":"/dev/acme0"},{"path":"/dev/acme10"}`)},
		{rule: "a driver root of its own is where the host finds the device", env: "ACME_VISIBLE_DEVICES=1", driverRoot: "/run/acme",
			edits: doc(`{"path":"/dev/acme1","hostPath":"/run/acme/dev/acme1"}`)},
		{rule: "an index that the machine does not have is refused", env: "ACME_VISIBLE_DEVICES=0,7",
			err: `ACME_VISIBLE_DEVICES: "7" is not a device of this machine; ask for all, none or some of 0,1,10`},
		{rule: "an index of a file that is no device is refused", env: "ACME_VISIBLE_DEVICES=2",
			err: `ACME_VISIBLE_DEVICES: "2" is not a device of this machine; ask for all, none or some of 0,1,10`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			request := sdk.Request{Env: []string{c.env}}
			if c.driverRoot != "" {
				request.Config = map[string]string{"driver_root": c.driverRoot}
			}
			edits, err := discover(recorded(t, devices3).Context(request))
			switch {
			case c.err != "":
				if err == nil || err.Error() != c.err {
					t.Errorf("got %v, want %s", err, c.err)
				}
			case c.edits == "":
				if !errors.Is(err, sdk.NotApplicable) {
					t.Errorf("got %v, want not applicable", err)
				}
			case err != nil:
				t.Error(err)
			case edits == nil:
				if c.edits != `{"abi":1}` {
					t.Errorf("got no edits, want %s", c.edits)
				}
			case string(edits.JSON()) != c.edits:
				t.Errorf("got  %s\nwant %s", edits.JSON(), c.edits)
			}
		})
	}
}

func TestEachEditIsExplained(t *testing.T) {
	c := recorded(t, devices3).Context(sdk.Request{Env: []string{"ACME_VISIBLE_DEVICES=0"}})
	if _, err := discover(c); err != nil {
		t.Fatal(err)
	}
	want := "/dev/acme2: left out, it is not a character device\n/dev/acme0: asked for by ACME_VISIBLE_DEVICES"
	if got := strings.Join(c.Explained(), "\n"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestMountsAskWhereTheAdministratorAcceptsThem(t *testing.T) {
	request := sdk.Request{Mounts: []sdk.Mount{{Source: "/dev/null", Destination: "/var/run/acme-devices/1"}}}
	if _, err := discover(recorded(t, devices3).Context(request)); !errors.Is(err, sdk.NotApplicable) {
		t.Errorf("got %v, want not applicable", err)
	}
	request.Config = map[string]string{"accept_volume_mounts": "true"}
	c := recorded(t, devices3).Context(request)
	edits, err := discover(c)
	if err != nil || string(edits.JSON()) != `{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/acme1"}]}}` {
		t.Errorf("got %s, %v", edits.JSON(), err)
	}
	if want := "/dev/acme1: asked for by /var/run/acme-devices"; !slices.Contains(c.Explained(), want) {
		t.Errorf("%q does not say %q", c.Explained(), want)
	}
}

func TestMachineWithoutDevicesIsRefused(t *testing.T) {
	_, err := discover(recorded(t, "").Context(sdk.Request{Env: []string{"ACME_VISIBLE_DEVICES=all"}}))
	if want := "/dev/acme0: this machine has no such device; load its driver"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
