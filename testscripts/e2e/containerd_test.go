// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// ctr runs a container to its end, with containerd alone.
func ctr(t *testing.T, id string, args ...string) (string, int) {
	t.Helper()
	t.Cleanup(func() { command(t, "ctr", "container", "delete", id) })
	return command(t, "ctr", slices.Concat([]string{"run", "--rm", "--runc-binary", "/usr/bin/tenon-runtime", "--cgroup", "/" + cgroupName() + "/" + id,
		"--env", "PATH=/bin", "--rootfs"}, args[:len(args)-1], []string{rootOf(t, id), id, "sh", "-c", args[len(args)-1]})...)
}

func TestContainerdContainerGetsWhatItAsksFor(t *testing.T) {
	out, code := ctr(t, "asks", "--env", "NVIDIA_VISIBLE_DEVICES=all", look)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "loaded by soname", "device", "written by 0", "done")
}

func TestContainerdShowsTheError(t *testing.T) {
	out, code := ctr(t, "fails", "--env", "PROBE=reason", "echo ran")
	if !strings.Contains(out, "OCI runtime create failed: tenon: mode probe: /dev/probe0: is asleep; wake it up: unknown\n") || code == 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// rootOf returns a root file system of its own for a container: the low-level
// runtime leaves the places of its mounts in there.
func rootOf(t *testing.T, id string) string {
	t.Helper()
	dir := scratch + "/roots/" + id
	must(t, os.MkdirAll(scratch+"/roots", 0o755))
	if out, code := command(t, "cp", "-a", rootfs, dir); code != 0 {
		t.Fatal(out)
	}
	return dir
}
