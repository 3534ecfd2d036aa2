// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/sdk"
)

const machines = "../../testscripts/machines/"

func open(t testing.TB, dir string) *sdk.Machine {
	t.Helper()
	m, err := sdk.OpenMachine(dir)
	if err == nil {
		m.Manifest, err = os.ReadFile("manifest.json")
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestGolden compares the edits for a recorded machine, and why they are as
// they are, with testdata; UPDATE=1 rewrites it. Read the difference then.
func TestGolden(t *testing.T) {
	hooks := []byte(`{"hooks":{"prestart":[{"path":"/bin/true"},{"path":"/usr/bin/nvidia-container-runtime-hook","args":["x","prestart"]},{"path":"/opt/nvidia-container-toolkit"},{"path":"/usr/bin/nvidia-container-runtime-hook"}]}}`)
	for _, tt := range []struct {
		name, machine string
		request       sdk.Request
	}{
		{"orin_all", "jetson-orin", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}}},
		{"orin_none", "jetson-orin", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=none"}}},
		{"orin_csv_mounts_all", "jetson-orin", sdk.Request{
			Env:    []string{"NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_JETPACK=csv-mounts=all", "NVIDIA_REQUIRE_CUDA=cuda>=12.0"},
			Config: map[string]string{"env_void": "replace"}}},
		{"orin_docker_gpus", "jetson-orin", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=none"}, Spec: hooks}},
		{"empty_all", "empty", sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, machines+tt.machine).Context(tt.request)
			edits, err := discover(c)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, edits.JSON(), "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			golden(t, tt.name+".json", got.Bytes())
			golden(t, tt.name+".explain", []byte(strings.Join(c.Explained(), "\n")+"\n"))
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

func TestContainerThatDoesNotAskIsNotApplicable(t *testing.T) {
	hook := []byte(`{"hooks":{"prestart":[{"path":"/usr/bin/nvidia-container-runtime-hook"}]}}`)
	for _, env := range []string{"PATH=/bin", "NVIDIA_VISIBLE_DEVICES=", "NVIDIA_VISIBLE_DEVICES=void"} {
		edits, err := discover(open(t, machines+"jetson-orin").Context(sdk.Request{Env: []string{env}, Spec: hook}))
		if !errors.Is(err, sdk.NotApplicable) || edits != nil {
			t.Errorf("%s: %v, %v", env, edits, err)
		}
	}
}

// made writes a recorded machine: names that end in / are folders, values that
// begin with -> are links.
func made(t testing.TB, files map[string]string) *sdk.Machine {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, name)
		} else {
			err = os.WriteFile(name, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return open(t, dir)
}

// one asks for all on a machine whose one CSV file is csv.
func one(t *testing.T, csv string, config map[string]string, files map[string]string) (*sdk.Edits, []string, error) {
	t.Helper()
	files["root"+defaultFolder+"/l4t.csv"] = csv
	c := made(t, files).Context(sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}, Config: config})
	edits, err := discover(c)
	return edits, c.Explained(), err
}

func TestStrictNamesFileLineAndEntry(t *testing.T) {
	strict := map[string]string{"strict": "true"}
	const file = defaultFolder + "/l4t.csv"
	const end = "; correct it, or set strict = false"
	for _, tt := range []struct{ csv, want string }{
		{"# x\nlib, /usr/lib/libx.so\n", file + ":2: lib,/usr/lib/libx.so: does not exist, or is a link to what does not" + end},
		{"lib,/usr/lib/*.so\n", file + ":1: lib,/usr/lib/*.so: does not exist" + end},
		{"lib,/usr/lib/[\n", file + ":1: lib,/usr/lib/[: not a path or a pattern" + end},
		{"lib,/a\xff\n", file + `:1: lib,"/a\xff": not a path or a pattern` + end},
		{"dev,/etc/hostname\n", file + ":1: dev,/etc/hostname: not a character device" + end},
		{"dev,nothing\n", file + ":1: dev,nothing: does not exist" + end},
		{"dir,/etc/hostname\n", file + ":1: dir,/etc/hostname: not a folder" + end},
		{"lib,/etc\n", file + ":1: lib,/etc: not a file" + end},
		{"sym,/dev/null\n", file + ":1: sym,/dev/null: not a file" + end},
		{"sym,/loop\n", file + ":1: sym,/loop: does not exist, or is a link to what does not" + end},
		{"# only this\n", file + ": has no entry" + end},
	} {
		_, _, err := one(t, tt.csv, strict, map[string]string{
			"root/etc/hostname": "h\n", "devices": "c 1 3 0666 0 0 /dev/null\n", "root/loop": "->loop"})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.csv, err, tt.want)
		}
	}
	c := made(t, map[string]string{"root/x": ""}).Context(sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}, Config: strict})
	if _, err := discover(c); err == nil || err.Error() != defaultFolder+": no CSV file is there"+end {
		t.Errorf("no folder: %v", err)
	}
}

func mountsOf(e *sdk.Edits) (list []string) {
	for _, m := range e.ContainerEdits.Mounts {
		if len(m.Options) > 0 || m.Type != "" {
			list = append(list, "not the host's default")
		}
		list = append(list, m.HostPath+" "+m.ContainerPath)
	}
	return list
}

func linksOf(e *sdk.Edits) (list []string) {
	for _, l := range e.Symlinks {
		list = append(list, l.Target+"::"+l.Link)
	}
	return list
}

func TestDriverRootStaysOutOfTheContainer(t *testing.T) {
	edits, why, err := one(t, "dev,/dev/nvmap\nlib,/usr/lib/liba.so.1\nsym,/usr/lib/liba.so\ndir,/opt/link\n",
		map[string]string{"driver_root": "/run/driver"}, map[string]string{
			"root/usr/lib/liba.so.1":      "the machine's own, not to be used",
			"devices":                     "c 10 121 0660 0 44 /dev/nvmap\n",
			"driver/usr/lib/liba.so.1.2":  "",
			"driver/usr/lib/liba.so.1":    "->/usr/lib/liba.so.1.2",
			"driver/usr/lib/liba.so":      "->liba.so.1",
			"driver/opt/real/x":           "",
			"driver/opt/link":             "->real",
			"driver/etc/nv_tegra_release": "R36",
		})
	if err != nil || len(why) != 0 {
		t.Fatal(err, why)
	}
	want := []string{
		"/run/driver/usr/lib/liba.so.1.2 /usr/lib/liba.so.1.2",
		"/run/driver/opt/real /opt/link",
		"/run/driver/etc/nv_tegra_release /etc/nv_tegra_release",
	}
	if got := mountsOf(edits); !slices.Equal(got, want) {
		t.Errorf("mounts\n%q\nwant\n%q", got, want)
	}
	if got, want := linksOf(edits), []string{"liba.so.1::/usr/lib/liba.so", "/usr/lib/liba.so.1.2::/usr/lib/liba.so.1"}; !slices.Equal(got, want) {
		t.Errorf("links %q, want %q", got, want)
	}
	// The driver root has no /dev: the node is the machine's own.
	d := edits.ContainerEdits.DeviceNodes
	if len(d) != 1 || d[0].Path != "/dev/nvmap" || d[0].HostPath != "" {
		t.Errorf("devices %+v", d)
	}
}

// TestDevicesOfTheDriverRoot: where the driver root has a /dev, its nodes are
// those that count, and the host must be told where they are.
func TestDevicesOfTheDriverRoot(t *testing.T) {
	edits, why, err := one(t, "dev,/dev/nvmap\ndev,/dev/null\n",
		map[string]string{"driver_root": "/run/driver"}, map[string]string{
			"devices":        "c 1 3 0666 0 0 /dev/null\n",
			"driver/x":       "",
			"driver_devices": "c 10 121 0660 0 44 /dev/nvmap\n",
		})
	if err != nil {
		t.Fatal(err)
	}
	d := edits.ContainerEdits.DeviceNodes
	if len(d) != 1 || d[0].Path != "/dev/nvmap" || d[0].HostPath != "/run/driver/dev/nvmap" {
		t.Errorf("devices %+v", d)
	}
	if want := []string{defaultFolder + "/l4t.csv:2: dev,/dev/null: does not exist, left out"}; !slices.Equal(why, want) {
		t.Errorf("explained %q, want %q", why, want)
	}
}

func TestLinkThroughALinkedFolder(t *testing.T) {
	edits, _, err := one(t, "sym,/lib/tegra/libx.so\n", nil, map[string]string{
		"root/usr/lib/deep/nvidia/libx.so": "->../liby.so",
		"root/usr/lib/deep/liby.so":        "->liby.so.1",
		"root/usr/lib/deep/liby.so.1":      "",
		"root/lib/tegra":                   "->../usr/lib/deep/nvidia",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := mountsOf(edits), []string{"/usr/lib/deep/liby.so.1 /usr/lib/deep/liby.so.1"}; !slices.Equal(got, want) {
		t.Errorf("mounts %q, want %q", got, want)
	}
	if got, want := linksOf(edits), []string{"../liby.so::/lib/tegra/libx.so", "liby.so.1::/usr/lib/deep/liby.so"}; !slices.Equal(got, want) {
		t.Errorf("links %q, want %q", got, want)
	}
}

func TestDriverLinks(t *testing.T) {
	edits, _, err := one(t, "lib,/l/libcuda.so.1.1\nlib,/l/libGLX_nvidia.so.540.4.0\nlib,/l/libnvidia-opticalflow.so.540.4.0\nlib,/m/libcuda.so.1\nlib,/n/libcuda.so.1.1\nsym,/n/libcuda.so\n", nil,
		map[string]string{"root/l/libcuda.so.1.1": "", "root/l/libGLX_nvidia.so.540.4.0": "", "root/l/libnvidia-opticalflow.so.540.4.0": "",
			"root/m/libcuda.so.1": "", "root/n/libcuda.so.1.1": "", "root/n/libcuda.so": "->libcuda.so.1.1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"libcuda.so.1.1::/n/libcuda.so", // the CSV file's comes first and stays
		"libcuda.so.1::/l/libcuda.so",
		"libGLX_nvidia.so.540.4.0::/l/libGLX_indirect.so.0",
		"libnvidia-opticalflow.so.1::/l/libnvidia-opticalflow.so",
	}
	if got := linksOf(edits); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHookConflict(t *testing.T) {
	for _, tt := range []struct{ hook, policy, want string }{
		{"/usr/bin/nvidia-container-runtime-hook", "error",
			`/usr/bin/nvidia-container-runtime-hook: the container has NVIDIA's prestart hook already; start it without --gpus, or set modes.csv.hook_conflict to "replace"`},
		{"/x/nvidia-container-toolkit", "error",
			`/x/nvidia-container-toolkit: the container has NVIDIA's prestart hook already; start it without --gpus, or set modes.csv.hook_conflict to "replace"`},
		{"/usr/bin/nvidia-container-runtime-hook-wrapper", "error", ""},
		{"/bin/true", "keep", `config key "modes.csv.hook_conflict": "keep" is not replace or error`},
	} {
		c := open(t, machines+"jetson-orin").Context(sdk.Request{
			Env:    []string{"NVIDIA_VISIBLE_DEVICES=all"},
			Spec:   []byte(`{"hooks":{"prestart":[{"path":"/bin/true"},{"path":"` + tt.hook + `"}]}}`),
			Config: map[string]string{"hook_conflict": tt.policy}})
		edits, err := discover(c)
		switch {
		case tt.want != "" && (err == nil || err.Error() != tt.want):
			t.Errorf("%s: error %v, want %s", tt.hook, err, tt.want)
		case tt.want == "" && (err != nil || len(edits.Remove.Hooks) != 0):
			t.Errorf("%s: %v, error %v", tt.hook, edits.Remove, err)
		}
	}
}

func TestFolderOfTheAdministrator(t *testing.T) {
	files := map[string]string{
		"root/opt/csv/L4T.csv":                  "lib,/a\n", // not a base file: the case counts
		"root/opt/csv/x.CSV":                    "lib,/b\n",
		"root/opt/csv/l4t.csv/x":                "a folder",
		"root" + defaultFolder + "/drivers.csv": "lib,/c\n",
		"root" + defaultFolder + "/more.csv":    "lib,/d\n",
		"root/a":                                "", "root/b": "", "root/c": "", "root/d": "",
	}
	for _, tt := range []struct {
		folder, jetpack string
		want            []string
	}{
		{"/opt/csv", "", []string{"/c /c"}}, // the list is empty, the default folder's base files count
		{"/opt/csv/", "csv-mounts=all", []string{"/a /a", "/b /b"}},
		{"/opt/csv", "csv-mounts=all,x", []string{"/c /c"}},
		{"/nothing", "csv-mounts=all", []string{"/c /c"}},
		{defaultFolder, "csv-mounts=all", []string{"/c /c", "/d /d"}},
	} {
		edits, err := discover(made(t, files).Context(sdk.Request{
			Env:    []string{"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_REQUIRE_JETPACK=" + tt.jetpack},
			Config: map[string]string{"mount_spec_path": tt.folder}}))
		if err != nil {
			t.Errorf("%v: %v", tt, err)
		} else if got := mountsOf(edits); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %q", tt, got)
		}
	}
}

func TestRequirementsAreSaidNotToBeChecked(t *testing.T) {
	for _, tt := range []struct {
		env, disable string
		want         bool
	}{
		{"X=1", "false", true},
		{"NVIDIA_DISABLE_REQUIRE=true", "false", false},
		{"NVIDIA_DISABLE_REQUIRE=yes", "false", true}, // not a boolean to NVIDIA's runtime
		{"X=1", "true", false},
	} {
		c := open(t, machines+"empty").Context(sdk.Request{
			Env:    []string{"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_REQUIRE_CUDA=cuda>=99", tt.env},
			Config: map[string]string{"disable_require": tt.disable}})
		if _, err := discover(c); err != nil {
			t.Fatal(err)
		}
		said := strings.Contains(strings.Join(c.Explained(), "\n"), "NVIDIA_REQUIRE_CUDA: not checked")
		if said != tt.want {
			t.Errorf("%v: explained %q", tt, c.Explained())
		}
	}
}

func TestSameEditsEachTime(t *testing.T) {
	m := open(t, machines+"jetson-orin")
	var first []byte
	for range 20 {
		edits, err := discover(m.Context(sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_REQUIRE_JETPACK=csv-mounts=all"}}))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = edits.JSON()
		} else if !bytes.Equal(first, edits.JSON()) {
			t.Fatal("differs from one run to the next")
		}
	}
}
