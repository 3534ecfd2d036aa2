// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

// podmanReady sets Podman up once: "tenon runtime configure", and the image.
var podmanReady = sync.OnceValue(func() error {
	// Without CAP_SYS_RESOURCE, as in many containers that CI runs in, the
	// limits that podman sets itself could not be set.
	if err := write("/etc/containers/containers.conf", `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
`, 0o644); err != nil {
		return err
	}
	if err := commandError("tenon", "runtime", "configure", "podman"); err != nil {
		return err
	}
	return importImage(podman...)
})

// podman is the command with its own storage: overlay cannot stand on the overlay
// that /var is here.
var podman = []string{"podman", "--root", scratch + "/podman", "--runroot", "/run/podman-root", "--storage-driver", "overlay"}

// podmanRun runs a container to its end, without a network.
func podmanRun(t *testing.T, flags ...string) (string, int) {
	t.Helper()
	must(t, podmanReady())
	all := slices.Concat(podman[1:], flags[:2], []string{"run", "--rm", "--network", "none", "--cgroup-parent", "/" + cgroupName()}, flags[2:])
	return command(t, "podman", all...)
}

func TestPodmanContainerGetsWhatItAsksFor(t *testing.T) {
	for name, flags := range map[string][]string{
		"plain":           nil,
		"read-only":       {"--read-only"},
		"no capabilities": {"--cap-drop", "ALL"},
		"user":            {"--user", "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := podmanRun(t, args(asking, flags, []string{"image", "sh", "-c", look})...)
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			has(t, out, "loaded by soname", "device", "done")
		})
	}
}

func TestPodmanContainerInAUserNamespace(t *testing.T) {
	out, code := podmanRun(t, args(asking, []string{"--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "image", "sh", "-c", look + "; cat /proc/self/uid_map"})...)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "loaded by soname", "device", "written by 0", "done", "         0     100000      65536")
}

func TestPodmanContainerThatDoesNotAskGetsNothing(t *testing.T) {
	out, _ := podmanRun(t, "--runtime", "tenon", "image", "sh", "-c", "exec 2>&1; /load; ls /dev/demo0")
	want := "libdemo.so.1: cannot open shared object file: No such file or directory\nls: /dev/demo0: No such file or directory\n"
	if out != want {
		t.Errorf("it says\n%s", out)
	}
}

func TestPodmanShowsTheError(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		flags  []string
		want   string
		// Podman also deletes what it could not create, and says so where that
		// is refused as well.
		deleteFails bool
	}{
		"unknown key": {"runtmes = [\"runc\"]\n", asking[2:],
			configFile + `:1: no such key "runtmes"; did you mean "runtimes"`, false},
		"not installed": {"mode = \"acme\"\n", asking[2:],
			`mode acme: is not installed; run "tenon module install FILE", or correct mode in ` + configFile + `:1`, false},
		"device missing": {goodConfig, probe("device"),
			`mode probe: /dev/probe0: is not a device on this machine; load its driver`, false},
		"runc missing": {"mode = \"csv\"\nruntimes = [\"no-such-runc\"]\n", asking[2:],
			`low-level runtime "no-such-runc": is not installed; install runc, or set runtimes in the configuration to an absolute path`, true},
	} {
		t.Run(name, func(t *testing.T) {
			configure(t, c.config)
			out, code := podmanRun(t, args(asking[:2], c.flags, []string{"image", "true"})...)
			// The first tenon is Podman's, who names the runtime; 126 is the exit
			// code that it has for whatever a runtime refuses.
			want := "Error: OCI runtime error: tenon: tenon: " + c.want
			if lines := strings.Split(strings.TrimSpace(out), "\n"); lines[len(lines)-1] != want || len(lines) != 1 && !c.deleteFails || code != 126 {
				t.Errorf("exit code %d, and podman says\n%s\nwant\n%s", code, out, want)
			}
		})
	}
}

func TestPodmanLifeOfAContainer(t *testing.T) {
	must(t, podmanReady())
	do := func(words string, more ...string) string {
		out, code := command(t, "podman", slices.Concat(podman[1:], strings.Fields(words), more)...)
		if code != 0 {
			t.Fatalf("podman %s: exit code %d\n%s", words, code, out)
		}
		return out
	}
	t.Cleanup(func() { command(t, "podman", slices.Concat(podman[1:], []string{"rm", "-f", "-i", "life"})...) })
	do("--runtime tenon run -d --name life --network none --cgroup-parent /"+cgroupName()+" -e NVIDIA_VISIBLE_DEVICES=all image",
		"sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
	has(t, do("exec life /load"), "loaded by soname")
	configure(t, "mode = [[[\n")
	has(t, do("exec life /load"), "loaded by soname")
	do("stop -t 5 life")
	do("rm life")
}
