// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"
)

// crun in the place of runc, started as a person would, with a flag that only crun
// has: without cgroups it needs no more than root in a container of CI's has.
func TestCrunContainerGetsWhatItAsksFor(t *testing.T) {
	configure(t, "runtimes = [\"crun\"]\n"+goodConfig)
	bundle := scratch + "/crun"
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
