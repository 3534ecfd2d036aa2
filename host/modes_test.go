// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// machineOf makes a folder that stands for a machine. A name that ends in "!" is
// an executable file.
func machineOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		mode := os.FileMode(0o644)
		if name[len(name)-1] == '!' {
			name, mode = name[:len(name)-1], 0o755
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAutoIsCSVOnTegraElseLegacyWithTheHookElseNothing(t *testing.T) {
	const hook = "usr/bin/nvidia-container-runtime-hook"
	for _, test := range []struct {
		name     string
		files    map[string]string
		hookPath string
		want     []string
	}{
		{"empty machine", nil, "", nil},
		{"release file", map[string]string{"etc/nv_tegra_release": "# R36"}, "", []string{"csv"}},
		{"empty release file", map[string]string{"etc/nv_tegra_release": ""}, "", []string{"csv"}},
		{"release folder", map[string]string{"etc/nv_tegra_release/x": ""}, "", nil},
		{"family", map[string]string{"sys/devices/soc0/family": "Tegra\n"}, "", []string{"csv"}},
		{"family in lower case", map[string]string{"sys/devices/soc0/family": "tegra234\n"}, "", []string{"csv"}},
		{"release folder and family", map[string]string{"etc/nv_tegra_release/x": "", "sys/devices/soc0/family": "Tegra"}, "", []string{"csv"}},
		{"other family", map[string]string{"sys/devices/soc0/family": "Freescale i.MX\n"}, "", nil},
		{"short family", map[string]string{"sys/devices/soc0/family": "Teg"}, "", nil},
		{"empty family", map[string]string{"sys/devices/soc0/family": ""}, "", nil},
		{"family folder", map[string]string{"sys/devices/soc0/family/x": ""}, "", nil},
		{"hook", map[string]string{hook + "!": ""}, "", []string{"legacy"}},
		{"hook in the first folder", map[string]string{"usr/local/sbin/nvidia-container-runtime-hook!": ""}, "", []string{"legacy"}},
		{"hook elsewhere", map[string]string{"opt/bin/nvidia-container-runtime-hook!": ""}, "", nil},
		{"hook not executable", map[string]string{hook: ""}, "", nil},
		{"hook is a folder", map[string]string{hook + "/x!": ""}, "", nil},
		{"hook by path", map[string]string{"opt/nv/hook!": ""}, "/opt/nv/hook", []string{"legacy"}},
		{"hook by path is missing", map[string]string{hook + "!": ""}, "/opt/nv/hook", nil},
		{"Tegra with a hook", map[string]string{hook + "!": "", "etc/nv_tegra_release": ""}, "", []string{"csv"}},
	} {
		c := DefaultConfig()
		machine := machineOf(t, test.files)
		c.DriverRoot = machine
		if test.hookPath != "" {
			c.ModeTables["legacy"]["hook_path"] = test.hookPath
		}
		got, err := c.modesOf(machine)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, error %v, want %q", test.name, got, err, test.want)
		}
	}
}

func TestAutoLooksBelowTheDriverRootForTegraAndOnTheHostForTheHook(t *testing.T) {
	c := DefaultConfig()
	empty := machineOf(t, nil)
	c.DriverRoot = machineOf(t, map[string]string{"etc/nv_tegra_release": ""})
	if got, err := c.modesOf(empty); err != nil || !slices.Equal(got, []string{"csv"}) {
		t.Errorf("Tegra driver root: got %q, error %v", got, err)
	}
	c.DriverRoot = machineOf(t, map[string]string{"usr/bin/nvidia-container-runtime-hook!": ""})
	if got, err := c.modesOf(empty); err != nil || len(got) > 0 {
		t.Errorf("hook below the driver root: got %q, error %v", got, err)
	}
	c.DriverRoot = "/no/such/folder"
	if got, err := c.modesOf(empty); err != nil || len(got) > 0 {
		t.Errorf("no driver root: got %q, error %v", got, err)
	}
}

func TestALinkStaysInsideTheMachine(t *testing.T) {
	c := DefaultConfig()
	machine := machineOf(t, map[string]string{"opt/hook!": "", "usr/bin/x": ""})
	c.DriverRoot = machine
	if err := os.Symlink("/opt/hook", filepath.Join(machine, "usr/bin/nvidia-container-runtime-hook")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.modesOf(machine); err != nil || !slices.Equal(got, []string{"legacy"}) {
		t.Errorf("got %q, error %v", got, err)
	}
}

func TestModesThatAreNamedAreNotLookedFor(t *testing.T) {
	machine := machineOf(t, map[string]string{"etc/nv_tegra_release": ""})
	for _, want := range [][]string{{"legacy"}, {"acme", "csv"}, {}} {
		c := DefaultConfig()
		c.Mode, c.DriverRoot = want, machine
		if got, err := c.Modes(); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, error %v, want %q", got, err, want)
		}
	}
}
