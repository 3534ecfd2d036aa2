// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/ldcache"
)

// fakeMachine makes files below a folder: a text, or a link where the text begins
// with "-> ", or a folder where the path ends in a slash.
func fakeMachine(t *testing.T, files map[string]string) machine {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		file := filepath.Join(dir, path)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		to, link := strings.CutPrefix(text, "-> ")
		switch {
		case err != nil:
		case strings.HasSuffix(path, "/"):
			err = os.MkdirAll(file, 0o755)
		case link:
			err = os.Symlink(to, file)
		default:
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return machine{dir}
}

// points are what a check finds, as lines without the folder of the machine.
func points(m machine, check func(d *checkup)) string {
	d := &checkup{config: host.DefaultConfig()}
	check(d)
	var lines []string
	for _, p := range d.list {
		line := string(p.State) + " " + p.Point + ": " + p.What
		if p.Do != "" {
			line += "; " + p.Do
		}
		lines = append(lines, strings.ReplaceAll(line, m.root, ""))
	}
	return strings.Join(lines, "\n")
}

// cacheOf is an ld.so.cache with one library.
func cacheOf(t *testing.T, soname, path string) string {
	t.Helper()
	c := ldcache.Cache{Entries: []ldcache.Entry{{Key: soname, Value: path, Flags: ldcache.NativeFlags()[0]}}}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const (
	nvrm = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n" +
		"GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
	nvrmOpen = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder@U16-I3)\n"
)

func TestDriverVersionIsHeldAgainstItsLibrary(t *testing.T) {
	const cuda = "/usr/lib/libcuda.so.1"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no driver": {map[string]string{"x": ""}, ""},
		"both the same": {map[string]string{"proc/driver/nvidia/version": nvrm, "usr/lib/libcuda.so.1": "-> libcuda.so.535.104.05"},
			"ok NVIDIA driver: version 535.104.05, with /usr/lib/libcuda.so.535.104.05"},
		"the open module": {map[string]string{"proc/driver/nvidia/version": nvrmOpen, "usr/lib/libcuda.so.1": "-> libcuda.so.570.86.15"},
			"ok NVIDIA driver: version 570.86.15, with /usr/lib/libcuda.so.570.86.15"},
		"upgraded, and not restarted": {map[string]string{"proc/driver/nvidia/version": nvrm, "usr/lib/libcuda.so.1": "-> libcuda.so.570.86.15"},
			"wrong NVIDIA driver: version 535.104.05 is loaded, and /usr/lib/libcuda.so.570.86.15 is of another; " +
				"load the new kernel module, which takes a restart of the machine where the old one is in use"},
		"not loaded": {map[string]string{"usr/lib/libcuda.so.1": "-> libcuda.so.570.86.15"},
			"wrong NVIDIA driver: /usr/lib/libcuda.so.570.86.15 is there, and the kernel's part is not loaded; run modprobe nvidia"},
		"a Jetson": {map[string]string{"usr/lib/libcuda.so.1": "-> libcuda.so.1.1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.files["etc/ld.so.cache"] = cacheOf(t, "libcuda.so.1", cuda)
			m := fakeMachine(t, test.files)
			if got := points(m, m.nvidia); got != test.want {
				t.Errorf("got\n%s, want\n%s", got, test.want)
			}
		})
	}
	m := fakeMachine(t, map[string]string{"proc/driver/nvidia/version": nvrm})
	want := "wrong NVIDIA driver: version 535.104.05 is loaded, and libcuda.so.1 is not in /etc/ld.so.cache; " +
		"install the driver's libraries of that version, and run ldconfig"
	if got := points(m, m.nvidia); got != want {
		t.Errorf("without libraries:\n%s", got)
	}
}

func TestCgroupIsOfAVersionThatAllowsDevices(t *testing.T) {
	for _, test := range []struct {
		file, want string
	}{
		{"sys/fs/cgroup/cgroup.controllers", "ok cgroup: version 2"},
		{"sys/fs/cgroup/devices/devices.allow", "ok cgroup: version 1, with the controller of devices"},
		{"sys/fs/cgroup/memory/x", "wrong cgroup: /sys/fs/cgroup has neither version 2 nor the controller of devices, so that no device can be allowed; mount cgroup2 there"},
		{"x", "wrong cgroup: /sys/fs/cgroup does not exist, so that no device can be allowed; mount cgroup2 there"},
	} {
		m := fakeMachine(t, map[string]string{test.file: ""})
		if got := points(m, m.cgroup); got != test.want {
			t.Errorf("%s: %s", test.file, got)
		}
	}
}

// NVIDIA/nvidia-container-toolkit issue 48: containers lose their GPUs when
// systemd is reloaded, where /dev/char does not lead to them.
func TestDevicesHaveTheLinksThatSystemdLooksFor(t *testing.T) {
	given := map[string]string{"195:0": "/dev/nvidia0", "10:52": "/dev/nvmap"}
	m := fakeMachine(t, map[string]string{"dev/char/195:0": "", "dev/char/10:52": ""})
	links := func(systemd bool, devices map[string]string) func(*checkup) {
		return func(d *checkup) { m.deviceLinks(d, devices, systemd) }
	}
	if got, want := points(m, links(true, given)), "ok /dev/char: has links to all 2 devices that containers are given"; got != want {
		t.Errorf("with all links: %s", got)
	}
	if got := points(m, links(true, nil)); got != "" {
		t.Errorf("without devices: %s", got)
	}
	if err := os.Remove(m.at("/dev/char/195:0")); err != nil {
		t.Fatal(err)
	}
	want := `wrong /dev/char: has no links to /dev/nvidia0 (195:0), so that containers lose them at "systemctl daemon-reload"; ` +
		"make them, as by ln -s /dev/nvidia0 /dev/char/195:0"
	if got := points(m, links(true, given)); got != want {
		t.Errorf("with one missing: %s", got)
	}
	want = "note /dev/char: has no links to /dev/nvidia0 (195:0), which matters only under systemd"
	if got := points(m, links(false, given)); got != want {
		t.Errorf("without systemd: %s", got)
	}
}

func TestNVIDIANodesAreFoundWithoutAnyContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("TENON_CI") != "" {
			t.Fatal("needs root: a device node is made")
		}
		t.Skip("needs root: a device node is made")
	}
	m := fakeMachine(t, map[string]string{"dev/": "", "dev/nvidia-file": ""})
	if err := unix.Mknod(m.at("/dev/nvidiactl"), unix.S_IFCHR|0o666, int(unix.Mkdev(195, 255))); err != nil {
		t.Fatal(err)
	}
	want := "note /dev/char: has no links to /dev/nvidiactl (195:255), which matters only under systemd"
	if got := points(m, func(d *checkup) { m.deviceLinks(d, nil, false) }); got != want {
		t.Errorf("got %s", got)
	}
}

func TestMarkedTracesAreTold(t *testing.T) {
	folder := scriptFolder(t)
	traces := filepath.Join(folder, "state", "traces")
	for _, dir := range []string{filepath.Dir(traces), traces} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	key := strings.Repeat("ab", 32)
	if err := os.WriteFile(filepath.Join(traces, key+".marked"), []byte("is not deterministic: it once asked; and now asks"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &checkup{config: host.DefaultConfig(), state: filepath.Dir(traces)}
	d.traces()
	want := point{"traces", isWrong, "a module that is no longer installed, or had another configuration is not deterministic, so that it has to run each time " +
		"(it once asked, and now asks)", "tell its author"}
	if len(d.list) != 1 || d.list[0] != want {
		t.Errorf("got %+v", d.list)
	}
}
