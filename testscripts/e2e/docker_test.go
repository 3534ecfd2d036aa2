// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// look is what a container does to tell what it has.
const look = `/load; [ -c /dev/demo0 ] && echo device; echo x > /dev/demo0 && echo written by $(id -u); echo done`

// run runs a container to its end, without a network.
func run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	return command(t, "docker", append([]string{"run", "--rm", "--network", "none"}, args...)...)
}

// asking is how a container asks, through the runtime tenon.
var asking = []string{"--runtime", "tenon", "-e", "NVIDIA_VISIBLE_DEVICES=all"}

func args(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func TestDockerContainerGetsWhatItAsksFor(t *testing.T) {
	for name, c := range map[string]struct {
		flags []string
		user  string
	}{
		"plain":             {nil, "0"},
		"read-only":         {[]string{"--read-only"}, "0"},
		"user":              {[]string{"--user", "1000:1000"}, "1000"},
		"init":              {[]string{"--init"}, "0"},
		"no capabilities":   {[]string{"--cap-drop", "ALL"}, "0"},
		"no new privileges": {[]string{"--security-opt", "no-new-privileges", "--user", "1000"}, "1000"},
		"as little as can be": {[]string{"--read-only", "--user", "1000", "--cap-drop", "ALL",
			"--security-opt", "no-new-privileges", "--init"}, "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := run(t, args(asking, c.flags, []string{"image", "sh", "-c", look})...)
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			has(t, out, "loaded by soname", "device", "written by "+c.user, "done")
		})
	}
}

// The cgroup refuses a device that was not given: with an open cgroup, a write to
// the one that was would prove nothing.
func TestDockerContainerGetsNoOtherDevice(t *testing.T) {
	out, _ := run(t, args(asking, []string{"image", "sh", "-c", "busybox mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg; echo x > /dev/demo0 && echo written"})...)
	has(t, out, "cat: can't open '/tmp/kmsg': Operation not permitted", "written")
}

func TestDockerContainerThatDoesNotAskGetsNothing(t *testing.T) {
	for name, flags := range map[string][]string{
		"runc":             {"-e", "NVIDIA_VISIBLE_DEVICES=all"},
		"no variable":      {"--runtime", "tenon"},
		"void":             {"--runtime", "tenon", "-e", "NVIDIA_VISIBLE_DEVICES=void"},
		"another variable": {"--runtime", "tenon", "-e", "NVIDIA_VISIBLE_DEVICE=all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, _ := run(t, args(flags, []string{"image", "sh", "-c", "exec 2>&1; /load; ls /dev/demo0"})...)
			want := "libdemo.so.1: cannot open shared object file: No such file or directory\nls: /dev/demo0: No such file or directory\n"
			if out != want {
				t.Errorf("it says\n%s", out)
			}
		})
	}
}

// Between Docker and tenon, and between tenon and runc, somebody keeps a copy of
// config.json.
func TestDockerConfigIsTouchedOnlyWhereItMust(t *testing.T) {
	watch := func(path, copy, next string) {
		between(t, path, `cp config.json `+copy+`; stat -c '%i %Y %Z %a %u:%g' config.json >`+copy+`.stat`, next)
	}
	before, after := scratch+"/before", scratch+"/after"
	watch(scratch+"/watched", before, "/usr/bin/tenon-runtime")
	watch(scratch+"/runc", after, "runc")
	configure(t, `runtimes = ["`+scratch+`/runc"]`+"\n"+goodConfig)
	read := func(path string) string {
		data, err := os.ReadFile(path)
		must(t, err)
		return string(data)
	}

	out, _ := run(t, "--runtime", "watched", "image", "echo", "ran")
	has(t, out, "ran")
	if read(before) != read(after) || read(before+".stat") != read(after+".stat") {
		t.Errorf("config.json of a container that asks for nothing was touched: %s %s", read(before+".stat"), read(after+".stat"))
	}

	out, _ = run(t, "--runtime", "watched", "-e", "NVIDIA_VISIBLE_DEVICES=all", "image", "/load")
	has(t, out, "loaded by soname")
	// Everything that was there still is, in its order: what is new stands between.
	if a, b := read(before), read(after); !within(a, b) || len(b) <= len(a) {
		t.Errorf("config.json lost something:\n%s\n%s", a, b)
	}
	inode := func(stat string) (string, string) {
		node, rest, _ := strings.Cut(stat, " ")
		fields := strings.Fields(rest)
		return node, strings.Join(fields[2:], " ")
	}
	nodeBefore, modeBefore := inode(read(before + ".stat"))
	nodeAfter, modeAfter := inode(read(after + ".stat"))
	if nodeBefore == nodeAfter || modeBefore != modeAfter {
		t.Errorf("config.json was inode %s mode and owner %s, and is inode %s, %s", nodeBefore, modeBefore, nodeAfter, modeAfter)
	}
}

// between makes a runtime that does something in the bundle before a create, and
// becomes the next one.
func between(t *testing.T, path, do, next string) {
	t.Helper()
	// The bundle is the argument after --bundle.
	must(t, write(path, `#!/bin/sh
bundle= last= create=
for word; do
	[ "$last" = --bundle ] && bundle=$word
	[ "$word" = create ] && create=yes
	last=$word
done
if [ -n "$create" ]; then
	(cd "$bundle" && { `+do+`
	})
fi
exec `+next+` "$@"
`, 0o755))
}

// within reports whether all bytes of a stand in b, in their order.
func within(a, b string) bool {
	for i := range len(a) {
		at := strings.IndexByte(b, a[i])
		if at < 0 {
			return false
		}
		b = b[at+1:]
	}
	return true
}

func TestDockerSecondRunStartsNoModule(t *testing.T) {
	one := func() string {
		before := size(debugLog)
		out, _ := run(t, args(asking, []string{"image", "/load"})...)
		has(t, out, "loaded by soname")
		return tail(t, debugLog, before)
	}
	must(t, os.RemoveAll("/run/tenon"))
	if log := one(); strings.Count(log, "the module has to run") != 1 || strings.Contains(log, "a trace answers") {
		t.Errorf("the first run logs\n%s", log)
	}
	if log := one(); strings.Count(log, "a trace answers") != 1 || strings.Contains(log, "has to run") {
		t.Errorf("the second run logs\n%s", log)
	}
	// A library more: the trace no longer holds.
	must(t, write(csvFolder+"/more.csv", "", 0o644))
	t.Cleanup(func() { os.Remove(csvFolder + "/more.csv") })
	if log := one(); strings.Count(log, "the module has to run") != 1 {
		t.Errorf("with another list, the run logs\n%s", log)
	}
}

func TestDockerLifeOfAContainer(t *testing.T) {
	container(t, "life")
	for _, step := range []string{"exec life /load", "restart -t 1 life", "exec life /load", "pause life", "unpause life", "exec life /load",
		"stop -t 1 life", "start life", "exec life /load"} {
		out, code := command(t, "docker", strings.Fields(step)...)
		if code != 0 || strings.HasPrefix(step, "exec") && out != "loaded by soname\n" {
			t.Fatalf("docker %s: exit code %d\n%s", step, code, out)
		}
	}
}

// container starts a container that runs until the test ends.
func container(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() { command(t, "docker", "rm", "-f", name) })
	out, code := command(t, "docker", args([]string{"run", "-d", "--name", name, "--network", "none"}, asking,
		[]string{"image", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"})...)
	if code != 0 {
		t.Fatal(out)
	}
}

// Whatever happens to the configuration, a container that runs can be used,
// stopped and removed, and leaves nothing.
func TestDockerContainerOutlivesABrokenConfig(t *testing.T) {
	for name, breakIt := range map[string]func(t *testing.T){
		"not TOML":        func(t *testing.T) { configure(t, "mode = [[[\n") },
		"unknown key":     func(t *testing.T) { configure(t, "mode = \"csv\"\nruntmes = [\"runc\"]\n") },
		"engine missing":  func(t *testing.T) { hide(t, "/usr/bin/tenon-engine") },
		"modules missing": func(t *testing.T) { hide(t, "/etc/tenon/modules.d") },
	} {
		t.Run(name, func(t *testing.T) {
			container(t, "outlives")
			must(t, os.RemoveAll("/run/tenon")) // no settings that were kept
			breakIt(t)
			for _, step := range []string{"exec outlives /load", "top outlives", "pause outlives", "unpause outlives",
				"kill outlives", "wait outlives", "rm outlives"} {
				if out, code := command(t, "docker", strings.Fields(step)...); code != 0 || strings.Contains(out, "tenon") {
					t.Fatalf("docker %s: exit code %d\n%s", step, code, out)
				}
			}
			nothingLeft(t)
		})
	}
}

// hide takes a file away until the test ends.
func hide(t *testing.T, path string) {
	t.Helper()
	must(t, os.Rename(path, path+".hidden"))
	t.Cleanup(func() { must(t, os.Rename(path+".hidden", path)) })
}

func TestDockerManyAtOnce(t *testing.T) {
	const many = 64
	must(t, os.RemoveAll("/run/tenon"))
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			out, code := run(t, args(asking, []string{"image", "sh", "-c", look})...)
			if code != 0 {
				t.Errorf("container %d: exit code %d\n%s", i, code, out)
				return
			}
			has(t, out, "loaded by soname", "device", "written by 0", "done")
		})
	}
	wg.Wait()
	nothingLeft(t)
}

// Started by NVIDIA's name, tenon reads NVIDIA's configuration, and not its own.
func TestDockerNVIDIAName(t *testing.T) {
	nvidia := []string{"--runtime", "nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=all", "image", "sh", "-c", look}
	config := func(mode string) {
		must(t, write("/etc/nvidia-container-runtime/config.toml", `disable-require = false
[nvidia-container-cli]
load-kmods = true
[nvidia-container-runtime]
log-level = "info"
mode = "`+mode+`"
runtimes = ["docker-runc", "runc", "crun"]
[nvidia-container-runtime.modes.csv]
mount-spec-path = "`+csvFolder+`"
[nvidia-ctk]
path = "nvidia-ctk"
`, 0o644))
	}
	t.Cleanup(func() { os.Remove("/etc/nvidia-container-runtime/config.toml") })
	configure(t, "mode = [[[\n")

	config("csv")
	out, code := run(t, nvidia...)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "loaded by soname", "device", "done")

	config("bogus")
	out, code = run(t, nvidia...)
	saysOnly(t, out, code, `tenon: mode bogus: is not installed; run "tenon module install FILE", or correct mode in /etc/nvidia-container-runtime/config.toml:6`)

	must(t, write("/etc/nvidia-container-runtime/config.toml", "[nvidia-container-runtime\n", 0o644))
	out, code = run(t, nvidia...)
	saysOnly(t, out, code, `tenon: /etc/nvidia-container-runtime/config.toml:1: not TOML: expected ']' to close table name`)
}

// As default runtime tenon gets every container of the machine.
func TestDockerDefaultRuntime(t *testing.T) {
	daemon, err := os.ReadFile("/etc/docker/daemon.json")
	must(t, err)
	configureDocker := func(args ...string) {
		if out, code := command(t, "tenon", append([]string{"runtime", "configure", "docker"}, args...)...); code != 0 {
			t.Fatal(out)
		}
	}
	reload := func() {
		pid, err := os.ReadFile("/run/docker.pid")
		must(t, err)
		if out, code := command(t, "kill", "-HUP", strings.TrimSpace(string(pid))); code != 0 {
			t.Fatal(out)
		}
	}
	// Docker reloads in the background: it is asked until it says so.
	until := func(name string) {
		for range 100 {
			if out, _ := command(t, "docker", "info", "--format", "{{.DefaultRuntime}}"); strings.TrimSpace(out) == name {
				return
			}
		}
		t.Fatalf("the default runtime does not become %s", name)
	}
	configureDocker("--set-as-default")
	reload()
	until("tenon")
	out, _ := run(t, "-e", "NVIDIA_VISIBLE_DEVICES=all", "image", "sh", "-c", look)
	has(t, out, "loaded by soname", "device", "done")
	out, code := run(t, "image", "echo", "as before")
	if out != "as before\n" || code != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	must(t, write("/etc/docker/daemon.json", strings.Replace(string(daemon), "{", "{\"default-runtime\": \"runc\", ", 1), 0o644))
	reload()
	until("runc")
}

// nothingLeft checks that no container has left anything.
func nothingLeft(t *testing.T) {
	t.Helper()
	if out, _ := command(t, "docker", "ps", "-aq"); out != "" {
		t.Errorf("docker has containers left:\n%s", out)
	}
	for _, pattern := range []string{"/run/docker/runtime-*/moby/*", "/run/docker/containerd/daemon/*/moby/*", "/run/containerd/io.containerd.runtime.v2.task/moby/*"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
	for _, dir := range cgroupsBelow(cgroupName()) {
		// The other one is Podman's, which keeps it.
		if name := filepath.Base(dir); name != cgroupName() && name != "conmon" {
			t.Errorf("left behind: cgroup %s", dir)
		}
	}
	for _, left := range slices.Concat(mountsBelow(t, scratch+"/docker/overlay2/"), mountsBelow(t, "/run/containerd/io.containerd.runtime")) {
		t.Errorf("left behind: mount %s", left)
	}
}

// mountsBelow lists the mounts whose places begin with prefix.
func mountsBelow(t *testing.T, prefix string) []string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	var list []string
	for line := range strings.Lines(string(mounts)) {
		if place := strings.Fields(line)[4]; strings.HasPrefix(place, prefix) {
			list = append(list, place)
		}
	}
	return list
}

func TestDockerNothingIsLeft(t *testing.T) {
	out, _ := run(t, args(asking, []string{"image", "/load"})...)
	has(t, out, "loaded by soname")
	nothingLeft(t)
	// What tenon keeps is settings and traces, in files that are whole.
	out, _ = command(t, "sh", "-c", "cd /run/tenon && find . -type f | sort")
	for line := range strings.Lines(out) {
		if name := strings.TrimSpace(line); strings.HasSuffix(name, "/new") {
			t.Errorf("left behind: /run/tenon/%s", name)
		}
	}
	if out == "" {
		t.Error("/run/tenon is empty: nothing was looked at")
	}
}

func cgroupName() string { return os.Getenv(cgroupVariable) }
