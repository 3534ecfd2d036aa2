// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/ldcache"
)

// otherBuild says in what a program of tenon's differs from this one; "" for
// nothing that can be seen. The error is about the file.
func otherBuild(file, name string) (string, error) {
	f, err := host.OpenTrusted(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := buildinfo.Read(f)
	if err != nil {
		return "", fmt.Errorf("%s: is not a program of tenon; install tenon anew", file)
	}
	own, ok := debug.ReadBuildInfo()
	if !ok {
		return "", nil
	}
	for _, pair := range [][3]string{
		{"module", info.Main.Path, own.Main.Path},
		{"version", info.Main.Version, own.Main.Version},
		{"go", info.GoVersion, own.GoVersion},
		{"commit", setting(info, "vcs.revision"), setting(own, "vcs.revision")},
	} {
		if pair[1] != pair[2] {
			return fmt.Sprintf("%s %s, and not %s", pair[0], orDash(pair[1]), orDash(pair[2])), nil
		}
	}
	// The id that the linker has set stands in the program as it is. tenon-hook
	// has none.
	if id := host.BuildID(); id != "" && name != "tenon-hook" {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", fmt.Errorf("%s: %w", file, host.Bare(err))
		}
		code, err := io.ReadAll(io.LimitReader(f, 256<<20))
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, host.Bare(err))
		}
		if !bytes.Contains(code, []byte(id)) && !strings.Contains(id, " ") {
			return "it has not the id " + id, nil
		}
	}
	return "", nil
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// kernel looks whether it has what paths of an image are opened by.
func (d *checkup) kernel() {
	var u unix.Utsname
	release := ""
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	switch {
	case errors.Is(err, unix.ENOSYS):
		d.wrong("openat2", "Linux %s does not have it; use Linux 5.6 or later, or a seccomp profile that knows it", release)
	case err != nil:
		d.wrong("openat2", "Linux %s refuses it (%v); let the seccomp profile of this process allow it", release, err)
	default:
		unix.Close(fd)
		d.good("openat2", "Linux %s has it", release)
	}
}

// A machine is what procfs, sysfs and /dev below a folder say.
type machine struct{ root string }

func (m machine) at(path string) string { return filepath.Join(m.root, path) }

// systemd reports whether systemd runs here: sd_booted(3).
func (m machine) systemd() bool {
	st, err := os.Lstat(m.at("/run/systemd/system"))
	return err == nil && st.IsDir()
}

// cgroup looks for what keeps a container from devices that it was not given:
// cgroups(7). Version 2 has BPF programs in place of the controller.
func (m machine) cgroup(d *checkup) {
	const name = "cgroup"
	if _, err := os.Stat(m.at("/sys/fs/cgroup/cgroup.controllers")); err == nil {
		d.good(name, "version 2")
		return
	}
	if isFolder(m.at("/sys/fs/cgroup/devices")) {
		if _, err := os.Stat(m.at("/sys/fs/cgroup/devices/devices.allow")); err == nil || isFolder(m.at("/sys/fs/cgroup/devices/system.slice")) {
			d.good(name, "version 1, with the controller of devices")
			return
		}
	}
	if isFolder(m.at("/sys/fs/cgroup")) {
		d.wrong(name, "/sys/fs/cgroup has neither version 2 nor the controller of devices, so that no device can be allowed; mount cgroup2 there")
		return
	}
	d.wrong(name, "/sys/fs/cgroup does not exist, so that no device can be allowed; mount cgroup2 there")
}

// driverVersion finds the version in /proc/driver/nvidia/version, as in
// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 …" and
// "… NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build …".
var driverVersion = regexp.MustCompile(`(?m)^NVRM version:.*Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)(?:\s|$)`)

// libraryVersion is that of a driver's library, as in libcuda.so.535.104.05. That
// of Jetson, libcuda.so.1.1, has no version of a driver.
var libraryVersion = regexp.MustCompile(`^libcuda\.so\.(\d{3,}\.\d+(?:\.\d+)?)$`)

// nvidia holds the version of the kernel's part of NVIDIA's driver against that of
// its libraries. Where they differ, no program of CUDA starts.
func (m machine) nvidia(d *checkup) {
	const name = "NVIDIA driver"
	loaded := ""
	text, err := os.ReadFile(m.at("/proc/driver/nvidia/version"))
	if err == nil {
		if match := driverVersion.FindSubmatch(text); match != nil {
			loaded = string(match[1])
		}
	}
	library := machine{m.at(d.config.DriverRoot)}.library("libcuda.so.1")
	found := ""
	if match := libraryVersion.FindStringSubmatch(filepath.Base(library)); match != nil {
		found = match[1]
	}
	switch {
	case loaded == "" && found == "":
		return // another machine, or a Jetson, whose libraries say no version
	case loaded == "":
		d.wrong(name, "%s is there, and the kernel's part is not loaded; run modprobe nvidia", library)
	case library == "":
		d.wrong(name, "version %s is loaded, and libcuda.so.1 is not in /etc/ld.so.cache; install the driver's libraries of that version, and run ldconfig", loaded)
	case found != "" && found != loaded:
		d.wrong(name, "version %s is loaded, and %s is of another; load the new kernel module, which takes a restart of the machine where the old one is in use", loaded, library)
	default:
		d.good(name, "version %s, with %s", loaded, library)
	}
}

// library finds the file that the loader would take for a soname; "" for none.
func (m machine) library(soname string) string {
	data, err := os.ReadFile(m.at("/etc/ld.so.cache"))
	if err != nil || len(data) > ldcache.MaxSize {
		return ""
	}
	cache, err := ldcache.Decode(data)
	if err != nil {
		return ""
	}
	found := cache.Lookup(soname)
	if len(found) == 0 {
		return ""
	}
	path := found[0] // the one that a loader takes
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return ""
	}
	defer root.Close()
	target, err := root.Readlink(strings.TrimPrefix(path, "/"))
	if err != nil {
		return path
	}
	return filepath.Join(filepath.Dir(path), filepath.Base(target))
}

// nvidiaNodes are the device nodes of NVIDIA's drivers.
var nvidiaNodes = []string{"/dev/nvidia*", "/dev/nvidia-caps/*", "/dev/nvhost*", "/dev/nvmap"}

// deviceLinks looks for the links /dev/char/MAJOR:MINOR of devices. Where systemd
// makes the cgroups, it finds the devices of a container by them when it is
// reloaded, and takes away those that have none: "systemctl daemon-reload" makes
// running containers lose their devices. Programs from udev make the links; those
// that make nodes themselves, as NVIDIA's do, may not.
func (m machine) deviceLinks(d *checkup, devices map[string]string, systemd bool) {
	all := map[string]string{}
	for _, pattern := range nvidiaNodes {
		nodes, _ := filepath.Glob(m.at(pattern))
		for _, node := range nodes {
			var st unix.Stat_t
			if unix.Lstat(node, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
				path := strings.TrimPrefix(node, strings.TrimSuffix(m.root, "/"))
				all[fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))] = path
			}
		}
	}
	for numbers, path := range devices {
		all[numbers] = path
	}
	if len(all) == 0 {
		return
	}
	var missing []string
	for _, numbers := range sortedNumbers(all) {
		if _, err := os.Stat(m.at("/dev/char/" + numbers)); err != nil {
			missing = append(missing, fmt.Sprintf("%s (%s)", all[numbers], numbers))
		}
	}
	const name = "/dev/char"
	switch {
	case len(missing) == 0:
		d.good(name, "has links to all %d devices that containers are given", len(all))
	case !systemd:
		d.note(name, "has no links to %s, which matters only under systemd", strings.Join(missing, ", "))
	default:
		first, _, _ := strings.Cut(missing[0], " (")
		numbers := strings.TrimSuffix(missing[0][strings.LastIndex(missing[0], "(")+1:], ")")
		d.wrong(name, "has no links to %s, so that containers lose them at \"systemctl daemon-reload\"; make them, as by ln -s %s /dev/char/%s",
			strings.Join(missing, ", "), first, numbers)
	}
}
