// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The user who runs Podman without root: an ordinary one, who has the uids that
// Debian gives each user for that. rootless(7) of Podman, newuidmap(1).
const (
	rootlessID      = 1500
	rootlessHome    = scratch + "/home"
	rootlessRuntime = "/run/user/1500"
)

// rootless is the command. Its storage copies, since what stands in for overlay
// without root needs a program more.
var rootless = []string{"podman", "--storage-driver", "vfs"}

// rootlessReady makes the user, and gives him the image.
var rootlessReady = sync.OnceValue(func() error {
	if err := podmanReady(); err != nil {
		return err
	}
	if err := commandError("useradd", "--uid", "1500", "--home-dir", rootlessHome, "--create-home", "--user-group", "rootless"); err != nil {
		return err
	}
	for _, ids := range []string{"/etc/subuid", "/etc/subgid"} {
		if err := write(ids, "rootless:100000:65536\n", 0o644); err != nil {
			return err
		}
	}
	// As pam_systemd(8) makes it when he logs in.
	if err := errors.Join(os.MkdirAll(filepath.Dir(rootlessRuntime), 0o755), os.Mkdir(rootlessRuntime, 0o700), os.Chown(rootlessRuntime, rootlessID, rootlessID)); err != nil {
		return err
	}
	tar, err := exec.Command("tar", "-C", rootfs, "-c", ".").Output()
	if err != nil {
		return err
	}
	load := asUser(context.Background(), rootless[0], append(rootless[1:], "import", "-", "image")...)
	load.Stdin = bytes.NewReader(tar)
	if out, err := load.CombinedOutput(); err != nil {
		return errors.New("podman import: " + err.Error() + "\n" + string(out))
	}
	return nil
})

// asUser is a command of that user's.
func asUser(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = rootlessHome
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + rootlessHome, "USER=rootless", "XDG_RUNTIME_DIR=" + rootlessRuntime}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: rootlessID, Gid: rootlessID}}
	return cmd
}

// rootlessPodman runs podman as that user, and returns what it and the container
// print, and its exit code.
func rootlessPodman(t *testing.T, args ...string) (string, int) {
	t.Helper()
	must(t, rootlessReady())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := asUser(ctx, rootless[0], slices.Concat(rootless[1:], args)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("podman %s: %v\n%s", strings.Join(args, " "), err, out.String())
		return out.String(), -1
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// rootlessRun runs a container to its end.
func rootlessRun(t *testing.T, flags ...string) (string, int) {
	t.Helper()
	return rootlessPodman(t, slices.Concat(flags[:2], []string{"run", "--rm", "--network", "none"}, flags[2:])...)
}

// The device is a bind mount of the machine's: nobody makes device nodes in a user
// namespace.
func TestRootlessContainerGetsWhatItAsksFor(t *testing.T) {
	for name, flags := range map[string][]string{
		"plain":           nil,
		"read-only":       {"--read-only"},
		"no capabilities": {"--cap-drop", "ALL"},
		"user":            {"--user", "1000"},
		"keep-id":         {"--userns", "keep-id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := rootlessRun(t, args(asking, flags, []string{"image", "sh", "-c", look + "; cat /proc/self/uid_map; cat /proc/self/mountinfo"})...)
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			has(t, out, "loaded by soname", "device", "done")
			if !strings.Contains(out, " /dev/demo0 ") {
				t.Errorf("/dev/demo0 is no mount\n%s", out)
			}
		})
	}
}

func TestRootlessContainerThatDoesNotAskGetsNothing(t *testing.T) {
	out, _ := rootlessRun(t, "--runtime", "tenon", "image", "sh", "-c", "exec 2>&1; /load; ls /dev/demo0")
	want := "libdemo.so.1: cannot open shared object file: No such file or directory\nls: /dev/demo0: No such file or directory\n"
	if !strings.HasSuffix(out, want) || strings.Contains(out, "tenon") {
		t.Errorf("it says\n%s", out)
	}
}

// What is kept between two creates is in the user's own folder. Where that cannot
// be, nothing is kept, and containers get what they ask for.
func TestRootlessState(t *testing.T) {
	must(t, rootlessReady())
	folder := rootlessRuntime + "/tenon"
	runs := func() {
		t.Helper()
		out, code := rootlessRun(t, args(asking, []string{"image", "sh", "-c", look})...)
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
		has(t, out, "loaded by soname", "device", "done")
	}
	must(t, os.RemoveAll(folder))
	runs()
	for _, kept := range []string{"traces", "settings", "containers"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(folder, kept), &st); err != nil || st.Uid != rootlessID || st.Mode&0o777 != 0o700 {
			t.Errorf("%s/%s: %v, uid %d, mode %o", folder, kept, err, st.Uid, st.Mode)
		}
	}
	if traces, _ := filepath.Glob(folder + "/traces/*"); len(traces) == 0 {
		t.Error("there is no trace")
	}
	if records, _ := filepath.Glob(folder + "/containers/*"); len(records) != 0 {
		t.Errorf("records are left: %v", records)
	}
	must(t, os.RemoveAll(folder))
	must(t, os.Mkdir(folder, 0o700)) // root's
	t.Cleanup(func() { os.RemoveAll(folder) })
	runs()
	if kept, _ := filepath.Glob(folder + "/*"); len(kept) != 0 {
		t.Errorf("%v is kept", kept)
	}
}

func TestRootlessShowsTheError(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		ask    []string
		change func(t *testing.T)
		want   string
	}{
		"module's reason": {goodConfig, probe("reason"), nil, "mode probe: /dev/probe0: is asleep; wake it up"},
		"unknown key": {"runtmes = [\"runc\"]\n", asking[2:], nil,
			configFile + `:1: no such key "runtmes"; did you mean "runtimes"`},
		"configuration closed to the user": {goodConfig, asking[2:], func(t *testing.T) { chmod(t, configFile, 0o600) },
			configFile + ": access refused"},
		"engine open to others": {goodConfig, asking[2:], func(t *testing.T) { chmod(t, "/usr/bin/tenon-engine", 0o777) },
			"/usr/bin/tenon-engine: is not trusted: others may write it (mode 0777); chmod go-w /usr/bin/tenon-engine"},
		"hook open to others": {goodConfig, asking[2:], func(t *testing.T) { chmod(t, "/usr/bin/tenon-hook", 0o777) },
			"/usr/bin/tenon-hook: is not trusted: others may write it (mode 0777); chmod go-w /usr/bin/tenon-hook"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, rootlessReady())
			configure(t, c.config)
			if c.change != nil {
				c.change(t)
			}
			must(t, os.RemoveAll(rootlessRuntime+"/tenon"))
			out, code := rootlessRun(t, args(asking[:2], c.ask, []string{"image", "true"})...)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if want := "Error: OCI runtime error: tenon: tenon: " + c.want; lines[len(lines)-1] != want || code != 126 {
				t.Errorf("exit code %d, and podman says\n%s\nwant\n%s", code, out, want)
			}
		})
	}
}

func TestRootlessLifeOfAContainer(t *testing.T) {
	do := func(words string, more ...string) string {
		t.Helper()
		out, code := rootlessPodman(t, slices.Concat(strings.Fields(words), more)...)
		if code != 0 {
			t.Fatalf("podman %s: exit code %d\n%s", words, code, out)
		}
		return out
	}
	t.Cleanup(func() { rootlessPodman(t, "rm", "-f", "-i", "life") })
	do("--runtime tenon run -d --name life --network none -e NVIDIA_VISIBLE_DEVICES=all image",
		"sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
	has(t, do("exec life /load"), "loaded by soname")
	if records, _ := filepath.Glob(rootlessRuntime + "/tenon/containers/*"); len(records) != 1 {
		t.Errorf("records: %v", records)
	}
	configure(t, "mode = [[[\n")
	has(t, do("exec life /load"), "loaded by soname")
	do("stop -t 5 life")
	do("rm life")
	if records, _ := filepath.Glob(rootlessRuntime + "/tenon/containers/*"); len(records) != 0 {
		t.Errorf("records are left: %v", records)
	}
}
