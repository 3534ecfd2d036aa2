// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The newest engines are in no distribution: engines.sh builds them, and here they
// stand in /usr/local, before those of the distribution.

const (
	containerdSocket = "/run/containerd/containerd.sock"
	containerdConfig = "/etc/containerd/config.toml"
	containerdLog    = scratch + "/containerd.log"
	criClient        = scratch + "/cri-client"
)

// newestTests are the tests that are about them. They are run where -run names
// them: what they need has to be built, which takes a minute and, for Kubernetes,
// some more.
const newestTests = "^Test(CRI|Kubernetes)"

// newestTools are the tools for them. What engines.sh needs it says itself.
var newestTools = map[string]string{
	"busybox": "busybox-static", "gcc": "gcc libc6-dev", "unshare": "util-linux", "ldconfig": "libc-bin",
}

// newest reports whether the tests that -run names are about the newest engines,
// which take the place of Docker and its containerd.
func newest() bool {
	run := flag.Lookup("test.run").Value.String()
	return strings.Contains(run, "CRI") || kubernetes()
}

// kubernetes reports whether they are about Kubernetes.
func kubernetes() bool { return strings.Contains(flag.Lookup("test.run").Value.String(), "Kubernetes") }

// object is one of JSON.
type object = map[string]any

// containerd2 is the configuration that somebody has made: its runtime runc has
// more to it than the built-in one, and tenon's is to be as it is. Without
// CAP_SYS_RESOURCE, as in many containers that CI runs in, nobody may be less
// likely to be killed than now.
const containerd2 = `version = 3
root = "` + scratch + `/containerd"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "localhost/pause:1"

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["` + scratch + `/cni"]
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    pod_annotations = ["tenon.example/pod-*"]
    container_annotations = ["tenon.example/probe"]
`

// startContainerd2 starts containerd 2 with its CRI service and the runtime that
// "tenon runtime configure" tells it of, and imports the images. It ends with the
// namespace.
func startContainerd2() error {
	if err := installEngines("containerd", "runc"); err != nil {
		return err
	}
	if _, err := goTool("-C", "cri", "build", "-o", criClient, "."); err != nil {
		return err
	}
	// overlayfs cannot stand on the overlay that /var is here, so root is elsewhere.
	if err := write(containerdConfig, containerd2, 0o644); err != nil {
		return err
	}
	if err := commandError("tenon", "runtime", "configure", "containerd"); err != nil {
		return err
	}
	if err := makeCNI(); err != nil {
		return err
	}
	if err := restartContainerd2(); err != nil {
		return err
	}
	pause := scratch + "/pause"
	return errors.Join(
		gcc(pause+"/pause", `
#include <unistd.h>
int main(void) { for (;;) pause(); }`, "-static"),
		ctrImport("localhost/pause:1", pause, "/pause"),
		ctrImport("localhost/image:1", rootfs, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"))
}

// containerd is the process.
var containerd *exec.Cmd

// restartContainerd2 does what systemctl does: it ends containerd, if it runs, and
// starts it. Containers live on.
func restartContainerd2() error {
	if containerd != nil {
		if err := containerd.Process.Signal(unix.SIGTERM); err != nil {
			return err
		}
		_ = containerd.Wait() // its exit status after a signal does not matter
	}
	var err error
	if containerd, err = startProcess(containerdLog, "containerd"); err != nil {
		return err
	}
	if err := await(containerdSocket, containerdLog); err != nil {
		return err
	}
	// The CRI service takes longer than the socket.
	return until("the CRI service", containerdLog, func() bool {
		return cri("RuntimeService/Version", object{}, &object{}) == nil
	})
}

// until waits for something that a daemon does.
func until(what, log string, done func() bool) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if done() {
			return nil
		}
	}
	text, _ := os.ReadFile(log)
	return fmt.Errorf("%s: is not as it should be after %v\n%s", what, patience, text[max(0, len(text)-8192):])
}

// installEngines puts what engines.sh has built, or builds now, where an
// administrator puts programs.
func installEngines(names ...string) error {
	for _, name := range names {
		// A shell, since go is not in the PATH of this process.
		out, err := exec.Command("sh", "-c", `PATH=$`+pathVariable+` exec ./engines.sh `+name).Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		if err != nil {
			return fmt.Errorf("engines.sh %s: %w", name, err)
		}
		programs, err := filepath.Glob(strings.TrimSpace(string(out)) + "/*")
		if err != nil {
			return err
		}
		for _, program := range programs {
			if st, err := os.Stat(program); err != nil || !st.Mode().IsRegular() {
				continue // the module that it was built in
			}
			if err := commandError("cp", program, "/usr/local/bin/"); err != nil {
				return err
			}
		}
	}
	return nil
}

// goTool runs go as go test found it, and returns what it prints.
func goTool(args ...string) (string, error) {
	cmd := exec.Command("sh", append([]string{"-c", `PATH=$` + pathVariable + ` exec go "$@"`, "sh"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// makeCNI makes a network plugin that says that it has done what it was asked for:
// a pod with a network namespace of its own can be made, with nothing in it. See
// https://www.cni.dev/docs/spec/, sections 2 and 5.
func makeCNI() error {
	for _, name := range []string{"loopback", "nothing"} {
		if err := write(scratch+"/cni/"+name, `#!/bin/sh
cat >/dev/null
[ "$CNI_COMMAND" = ADD ] || exit 0
echo '{"cniVersion": "1.0.0", "interfaces": [{"name": "'$CNI_IFNAME'", "sandbox": "'$CNI_NETNS'"}],
	"ips": [{"interface": 0, "address": "192.0.2.1/24"}]}'
`, 0o755); err != nil {
			return err
		}
	}
	return write("/etc/cni/net.d/10-nothing.conflist", `{"cniVersion": "1.0.0", "name": "nothing", "plugins": [{"type": "nothing"}]}`, 0o644)
}

// ctrImport makes an image of a root file system, in the form of "docker save", and
// imports it for the CRI service.
func ctrImport(name, root string, entrypoint ...string) error {
	layer, err := exec.Command("tar", "-C", root, "--numeric-owner", "-c", ".").Output()
	if err != nil {
		return fmt.Errorf("tar: %w", err)
	}
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Entrypoint": entrypoint, "Env": []string{"PATH=/bin"}},
		"rootfs": object{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]object{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, data := range map[string][]byte{"layer.tar": layer, "config.json": config, "manifest.json": manifest} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	file := scratch + "/image.tar"
	if err := os.WriteFile(file, archive.Bytes(), 0o644); err != nil {
		return err
	}
	defer os.Remove(file)
	return commandError("ctr", "-n", "k8s.io", "images", "import", file)
}

// cri makes a call of the Container Runtime Interface. An error is the server's
// line.
func cri(method string, request, answer any) error {
	in, err := json.Marshal(request)
	if err != nil {
		return err
	}
	cmd := exec.Command(criClient, containerdSocket, method, string(in))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return errors.New(strings.TrimSpace(stderr.String()))
	}
	return json.Unmarshal(out, answer)
}

// mustCRI is cri where nothing goes wrong.
func mustCRI(t *testing.T, method string, request, answer any) {
	t.Helper()
	if err := cri(method, request, answer); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
}

// criExec runs a command in a container, and returns all it prints and its exit code.
func criExec(t *testing.T, id string, command ...string) (string, int) {
	t.Helper()
	var answer struct {
		Stdout, Stderr []byte
		ExitCode       int
	}
	mustCRI(t, "RuntimeService/ExecSync", object{"containerId": id, "cmd": command, "timeout": int(patience.Seconds())}, &answer)
	return string(answer.Stdout) + string(answer.Stderr), answer.ExitCode
}
