// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// crun in the place of runc, started as a person would, with a flag that only crun
// has: without cgroups it needs no more than root in a container of CI's has.
func TestCrunContainerGetsWhatItAsksFor(t *testing.T) {
	configure(t, "runtimes = [\"crun\"]\n"+goodConfig)
	bundle := scratch + "/crun-bundle"
	must(t, write(bundle+"/config.json", fmt.Sprintf(`{"ociVersion": "1.0.2",
	"process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/sh", "-c", %q], "env": ["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=all"]},
	"root": {"path": %q},
	"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
	"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}]}}`, look, rootOf(t, "crun")), 0o644))
	t.Cleanup(func() { command(t, "crun", "--root", "/run/crun-e2e", "delete", "--force", "crun-e2e") })
	out, code := command(t, "tenon-runtime", "--root", "/run/crun-e2e", "--cgroup-manager", "disabled", "run", "--bundle", bundle, "crun-e2e")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "loaded by soname", "device", "written by 0", "done")
}

// crunLimits is crun where it may not raise its limit for locked memory, which it
// does before it gives the kernel a program for cgroup v2. Linux 5.11 and newer do
// not hold such a program to that limit, bpf_memcg; crun before 1.9 asks all the
// same, and CAP_SYS_RESOURCE is not to be had in many containers that CI runs in.
var crunLimits = sync.OnceValues(func() (string, error) {
	library := scratch + "/limits.so"
	if err := gcc(library, `
#include <sys/resource.h>
int setrlimit(__rlimit_resource_t r, const struct rlimit *l) { (void)r; (void)l; return 0; }`, "-shared", "-fPIC"); err != nil {
		return "", err
	}
	program := scratch + "/crun"
	return program, write(program, "#!/bin/sh\nLD_PRELOAD="+library+" exec crun \"$@\"\n", 0o755)
})

// With cgroups, from Podman. Docker always says something of the io controller,
// which is in v1 on many machines, and crun refuses that.
func TestCrunFromPodman(t *testing.T) {
	program, err := crunLimits()
	must(t, err)
	configure(t, "runtimes = [\""+program+"\"]\n"+goodConfig)
	out, _ := podmanRun(t, args(asking, []string{"--cap-add", "MKNOD", "image", "sh", "-c", look + "; busybox mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg"})...)
	has(t, out, "loaded by soname", "device", "written by 0", "done", "cat: can't open '/tmp/kmsg': Operation not permitted")
	out, _ = podmanRun(t, "--runtime", "tenon", "image", "sh", "-c", "exec 2>&1; /load; ls /dev/demo0")
	want := "libdemo.so.1: cannot open shared object file: No such file or directory\nls: /dev/demo0: No such file or directory\n"
	if out != want {
		t.Errorf("it says\n%s", out)
	}
	out, code := podmanRun(t, args(asking[:2], probe("reason"), []string{"image", "true"})...)
	if !strings.Contains(out, "tenon: mode probe: /dev/probe0: is asleep; wake it up") || code != 126 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	out, code = podmanRun(t, "--runtime", "tenon", "image", "no-such-command")
	if !strings.Contains(out, "tenon: executable file `no-such-command` not found") || code != 127 {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
