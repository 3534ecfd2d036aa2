// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The engines themselves say whether they take what was written. They are asked
// for their configuration only: none is started.

// engineProgram returns the path of an engine's program.
func engineProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("TENON_CI") != "" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("needs %s", name)
	}
	return path
}

// output runs an engine's program, which must go well.
func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", program, args, err, out, stderr.String())
	}
	return string(out) + stderr.String()
}

func TestDockerdTakesDaemonJSON(t *testing.T) {
	dockerd := engineProgram(t, "dockerd")
	flags := []string{"--validate"}
	if !strings.Contains(output(t, dockerd, "--help"), "--validate") {
		// Before 23.0, it must be stopped by what comes after the configuration.
		flags = []string{"--data-root", "/proc/self/tenon"}
	}
	// refused returns what dockerd has to say against a file. It reads and checks
	// the file before all else (moby, cmd/dockerd/daemon.go, start).
	refused := func(file string) string {
		out, err := exec.Command(dockerd, append(flags, "--config-file", file)...).CombinedOutput()
		text := string(out)
		switch {
		case strings.Contains(text, "with file "+file), strings.Contains(text, "default runtime"):
			return text
		case strings.Contains(text, "configuration OK"), err != nil && strings.Contains(text, "/proc/self/tenon"):
			return ""
		}
		t.Fatalf("dockerd: %v, %s", err, text)
		return ""
	}
	bad := newTree(t, map[string]string{"/etc/docker/daemon.json": `{"runtimes": {"tenon": []}}`})
	if refused(bad.at("/etc/docker/daemon.json")) == "" {
		t.Fatal("dockerd does not look at the file")
	}
	// A start takes dockerd a second; that the JSON is right for every shape is
	// seen elsewhere.
	for _, name := range []string{"empty", "two spaces", "one line", "crlf", "nvidia is def", "no runtimes", "inline"} {
		text := daemonJSON[name]
		tr := newTree(t, map[string]string{"/etc/docker/daemon.json": text})
		file := tr.at("/etc/docker/daemon.json")
		must(t, tr, "configure", "docker", "--set-as-default")
		if why := refused(file); why != "" {
			t.Errorf("%s: %q: %s", name, get(t, tr, "/etc/docker/daemon.json"), why)
		}
	}
}

func TestContainerdTakesTheDropIn(t *testing.T) {
	containerd := engineProgram(t, "containerd")
	// The newest version of the file that it knows, in which it prints its own.
	newest := strings.Fields(output(t, containerd, "config", "default") + " version = 2")
	knows := newest[slices.Index(newest, "version")+2]
	const old, new = `[plugins."io.containerd.grpc.v1.cri"`, `[plugins.'io.containerd.cri.v1.runtime'`
	for _, test := range []struct {
		name, text string
		needs      string   // version of the file
		want       []string // lines of "containerd config dump"
	}{
		{name: "what Debian installs", text: "version = 2\n\n[plugins]\n  " + old + "]\n    " + old + ".cni]\n      bin_dir = \"/usr/lib/cni\"\n      conf_dir = \"/etc/cni/net.d\"\n",
			want: []string{`"/usr/lib/cni"`, `default_runtime_name = "tenon"`, `BinaryName = "/usr/bin/tenon-runtime"`, ".runtimes.runc]"}},
		{name: "nothing", text: "",
			want: []string{`default_runtime_name = "tenon"`, `BinaryName = "/usr/bin/tenon-runtime"`, ".runtimes.runc]"}},
		{name: "SystemdCgroup of runc", text: "version = 2\n" + old + "]\nsandbox_image = \"example.org/pause:1\"\n" + old + ".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n" + old + ".containerd.runtimes.runc.options]\nSystemdCgroup = true\n",
			want: []string{`example.org/pause:1`, `default_runtime_name = "tenon"`, `BinaryName = "/usr/bin/tenon-runtime"`, "SystemdCgroup = true\nSystemdCgroup = true", ".runtimes.runc]"}},
		{name: "version 3", needs: "3", text: "version = 3\n" + new + "]\nenable_selinux = true\n" + new + ".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n" + new + ".containerd.runtimes.runc.options]\nSystemdCgroup = true\n",
			want: []string{`enable_selinux = true`, `default_runtime_name = "tenon"`, `BinaryName = "/usr/bin/tenon-runtime"`, "SystemdCgroup = true\nSystemdCgroup = true", ".runtimes.runc]"}},
		{name: "version 3, built-in runc", needs: "3", text: "version = 3\nroot = \"/var/lib/c\"\n",
			want: []string{`default_runtime_name = "tenon"`, `BinaryName = "/usr/bin/tenon-runtime"`, ".runtimes.runc]"}},
		{name: "version 4", needs: "4", text: "version = 4\n" + new + "]\nenable_selinux = true\n",
			want: []string{`enable_selinux = true`, `default_runtime_name = "tenon"`, `BinaryName = "/usr/bin/tenon-runtime"`, ".runtimes.runc]"}},
	} {
		if test.needs > knows {
			continue
		}
		// No --root: containerd is to find the drop-in under the name that was written.
		dir := t.TempDir()
		main := filepath.Join(dir, "config.toml")
		if test.text != "" {
			put(t, tree{"/"}, main, test.text)
		}
		v := view{tree: tree{"/"}}
		e := engines[1]
		changes, err := e.configure(v, e.files(main), settings{map[string]string{"tenon": "/usr/bin/tenon-runtime"}, "tenon"})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			put(t, v.tree, c.path, string(c.after))
		}
		dump := output(t, containerd, "--config", main, "config", "dump")
		lines := ""
		for line := range strings.Lines(dump) {
			lines += strings.ReplaceAll(strings.TrimSpace(line), "'", `"`) + "\n"
		}
		for _, want := range test.want {
			// A line that stands there twice is asked for as two lines.
			line, _, twice := strings.Cut(want, "\n")
			if n := strings.Count(lines, line); n == 0 || twice && n < 2 {
				t.Errorf("%s: %q stands %d times in\n%s", test.name, line, n, dump)
			}
		}
	}
}

func TestPodmanSeesTheRuntime(t *testing.T) {
	podman := engineProgram(t, "podman")
	runc := engineProgram(t, "runc")
	if os.Geteuid() != 0 {
		if os.Getenv("TENON_CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	// A program that Podman can ask for its version. It is not where tenon is.
	dir := t.TempDir()
	shim := filepath.Join(dir, "tenon-runtime")
	if err := os.WriteFile(shim, []byte("#!/bin/sh\nexec "+runc+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	v := view{tree: tree{"/"}}
	e := engines[3]
	changes, err := e.configure(v, e.files(filepath.Join(dir, "containers.conf")), settings{map[string]string{"tenon": shim}, "tenon"})
	if err != nil || len(changes) != 1 {
		t.Fatal(changes, err)
	}
	put(t, v.tree, changes[0].path, string(changes[0].after))
	// containers.conf(5): CONTAINERS_CONF names the one file that is read.
	t.Setenv("CONTAINERS_CONF", changes[0].path)
	store := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"), "--storage-driver", "vfs"}
	got := output(t, podman, append(store, "info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}")...)
	if got != "tenon "+shim+"\n" {
		t.Errorf("the default is %q", got)
	}
	got = output(t, podman, append(store, "--runtime", "runc", "info", "--format", "{{.Host.OCIRuntime.Name}}")...)
	if got != "runc\n" {
		t.Errorf("with --runtime runc, it is %q", got)
	}
}

// Killed at any system call that changes something, configure leaves each file as
// it was or as it is to be, and unconfigure still gives every byte back.
func TestConfigureKilledAtAnyMoment(t *testing.T) {
	strace := engineProgram(t, "strace")
	tenon := engineProgram(t, "tenon") // this test, see TestMain
	for engine, path := range map[string]string{"docker": "/etc/docker/daemon.json", "containerd": "/etc/containerd/config.toml"} {
		text := map[string]string{"docker": daemonJSON["nvidia is def"], "containerd": configTOML["debian"]}[engine]
		done := newTree(t, map[string]string{path: text})
		must(t, done, "configure", engine, "--set-as-default")
		want := get(t, done, path)
		kills := 0
		for _, call := range []string{"write", "fsync", "fchmod", "fchmodat", "fchown", "mkdirat", "renameat", "unlinkat"} {
			for n := 1; ; n++ {
				if n > 200 {
					t.Fatalf("%s is called without end", call)
				}
				tr := newTree(t, map[string]string{path: text})
				before := snapshot(t, tr)
				// strace(1): when= counts the calls of one thread.
				cmd := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call,
					"-e", "inject="+call+":signal=KILL:when="+strconv.Itoa(n),
					tenon, "runtime", "configure", engine, "--set-as-default", "--root", tr.root)
				cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
				err := cmd.Run()
				if got := get(t, tr, path); got != text && got != want {
					t.Fatalf("killed at %s %d: %q", call, n, got)
				}
				if err == nil {
					break
				}
				kills++
				must(t, tr, "unconfigure", engine)
				after := snapshot(t, tr)
				for path, is := range after {
					// A folder may be made before the record of that.
					if before[path] != is && !(before[path] == "" && strings.HasPrefix(is, "d")) {
						t.Errorf("killed at %s %d: %s is %q, was %q", call, n, path, is, before[path])
					}
				}
				for path := range before {
					if after[path] == "" {
						t.Errorf("killed at %s %d: %s is missing", call, n, path)
					}
				}
			}
		}
		t.Logf("%s: killed %d times", engine, kills)
		if kills < 10 {
			t.Errorf("%s: killed %d times only", engine, kills)
		}
	}
}
