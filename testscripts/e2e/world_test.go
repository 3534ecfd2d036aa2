// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The files of this private machine.
const (
	scratch    = "/run/e2e"
	rootfs     = scratch + "/rootfs"
	configFile = "/etc/tenon/config.toml"
	csvFolder  = "/etc/nvidia-container-runtime/host-files-for-container.d"
	debugLog   = "/var/log/tenon.log"
	dockerLog  = scratch + "/dockerd.log"
)

// goodConfig is the configuration that the containers of most tests are made
// with.
const goodConfig = `mode = ["csv", "probe"]
debug_log = "` + debugLog + `"
log_level = "debug"
[limits]
wall_ms = 10_000
`

// setUp makes the machine that the tests are about: a driver, tenon with its
// modules, a root file system for containers, Docker or the newest containerd.
func setUp() error {
	// Only root may change any of it, whatever umask this was started with.
	unix.Umask(0o022)
	type step struct {
		name string
		do   func() error
	}
	engine := step{"docker", startDocker}
	if kubernetes() {
		engine = step{"kubernetes", startKubernetes}
	} else if newest() {
		engine = step{"containerd", startContainerd2}
	}
	for _, step := range []step{{"driver", makeDriver}, {"tenon", installTenon}, {"image", makeRootfs}, engine} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// makeDriver makes a device with the number of /dev/null, mem(4), a library with
// a soname, and NVIDIA's lists of both.
func makeDriver() error {
	if err := mknod("/dev/demo0"); err != nil {
		return err
	}
	if err := gcc("/usr/lib/demo/libdemo.so.1.2", `const char *demo(void) { return "loaded by soname"; }`,
		"-shared", "-fPIC", "-Wl,-soname,libdemo.so.1"); err != nil {
		return err
	}
	return errors.Join(
		os.Symlink("libdemo.so.1.2", "/usr/lib/demo/libdemo.so.1"),
		write(csvFolder+"/devices.csv", "dev, /dev/demo0\n", 0o644),
		write(csvFolder+"/drivers.csv", "lib, /usr/lib/demo/libdemo.so.1.2\nsym, /usr/lib/demo/libdemo.so.1\n", 0o644))
}

func mknod(path string) error {
	if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Chmod(path, 0o666)
}

// installTenon puts the programs that make has built where packages put them,
// and the modules through tenon's own commands.
func installTenon() error {
	for _, program := range []string{"tenon", "tenon-runtime", "tenon-engine", "tenon-hook"} {
		data, err := os.ReadFile("../../build/" + program)
		if err != nil {
			return fmt.Errorf("%w; run make first", err)
		}
		if err := write("/usr/bin/"+program, string(data), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("tenon-runtime", "/usr/bin/nvidia-container-runtime"); err != nil {
		return err
	}
	if err := write(configFile, goodConfig, 0o644); err != nil {
		return err
	}
	for name, source := range map[string]string{"csv": "../../modules/csv", "legacy": "../../modules/legacy", "probe": "probe"} {
		file := scratch + "/modules/" + name + ".wasm"
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		for _, args := range [][]string{{"module", "build", source, "-o", file}, {"module", "install", "--accept-grants", file}} {
			// go may stand anywhere: it is where go test found it.
			cmd := exec.Command("/usr/bin/tenon", args...)
			cmd.Env = append(os.Environ(), "PATH="+os.Getenv(pathVariable))
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("tenon %s: %w\n%s", strings.Join(args, " "), err, out)
			}
		}
	}
	return nil
}

// makeRootfs makes the root file system of an image from what this machine has:
// busybox, a C library, and /load, which loads libdemo.so.1.
func makeRootfs() error {
	for _, dir := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(rootfs, dir), 0o755); err != nil {
			return err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := write(rootfs+"/bin/busybox", string(data), 0o755); err != nil {
		return err
	}
	for _, applet := range []string{"sh", "ls", "cat", "echo", "sleep", "true", "env", "id", "stat", "grep"} {
		if err := os.Symlink("busybox", rootfs+"/bin/"+applet); err != nil {
			return err
		}
	}
	if err := gcc(rootfs+"/load", `
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
	void *lib = dlopen("libdemo.so.1", RTLD_NOW);
	if (!lib) { puts(dlerror()); return 1; }
	puts(((const char *(*)(void))dlsym(lib, "demo"))());
	return 0;
}`); err != nil {
		return err
	}
	needed, err := exec.Command("ldd", rootfs+"/load").Output()
	if err != nil {
		return fmt.Errorf("ldd: %w", err)
	}
	for _, word := range strings.Fields(string(needed)) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		data, err := os.ReadFile(word)
		if err != nil {
			return err
		}
		if err := write(rootfs+word, string(data), 0o755); err != nil {
			return err
		}
	}
	return commandError("ldconfig", "-r", rootfs)
}

// startDocker starts containerd and dockerd, with the runtimes that "tenon runtime
// configure" tells them of, and imports the image. They end with the namespace.
func startDocker() error {
	// A file that is not ours: configure must keep what is in it.
	if err := write("/etc/docker/daemon.json", `{"runtimes": {"watched": {"path": "`+scratch+`/watched"}}}`+"\n", 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"docker"}, {"docker", "--name", "nvidia", "--path", "/usr/bin/nvidia-container-runtime"}} {
		if err := commandError("tenon", append([]string{"runtime", "configure"}, args...)...); err != nil {
			return err
		}
	}
	if err := write("/etc/containerd/config.toml", `version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
`, 0o644); err != nil {
		return err
	}
	if err := start(scratch+"/containerd.log", "containerd"); err != nil {
		return err
	}
	if err := await("/run/containerd/containerd.sock", scratch+"/containerd.log"); err != nil {
		return err
	}
	// overlay2 cannot stand on the overlay that /var is here.
	if err := start(dockerLog, "dockerd", "--data-root", scratch+"/docker", "--containerd", "/run/containerd/containerd.sock",
		"--cgroup-parent", "/"+os.Getenv(cgroupVariable), "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"); err != nil {
		return err
	}
	if err := await("/run/docker.sock", dockerLog); err != nil {
		return err
	}
	return importImage("docker")
}

// importImage gives an engine the image "image".
func importImage(engine ...string) error {
	tar := exec.Command("tar", "-C", rootfs, "-c", ".")
	load := exec.Command(engine[0], append(engine[1:], "import", "-", "image")...)
	var err error
	if load.Stdin, err = tar.StdoutPipe(); err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	out, err := load.CombinedOutput()
	if err = errors.Join(err, tar.Wait()); err != nil {
		return fmt.Errorf("import: %w\n%s", err, out)
	}
	return nil
}

// start starts a daemon.
func start(log, program string, args ...string) error {
	_, err := startProcess(log, program, args...)
	return err
}

// startProcess is start for a daemon that is to be ended.
func startProcess(log, program string, args ...string) (*exec.Cmd, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = f, f
	return cmd, cmd.Start()
}

// await waits until a daemon answers at its socket.
func await(socket, log string) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			return conn.Close()
		}
	}
	text, _ := os.ReadFile(log)
	return fmt.Errorf("%s: nobody answers\n%s", socket, text)
}

// write replaces a file, and makes its folders.
func write(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

func gcc(out, source string, flags ...string) error {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	cmd := exec.Command("gcc", append(slices.Clone(flags), "-o", out, "-x", "c", "-", "-ldl")...)
	cmd.Stdin = strings.NewReader(source)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, text)
	}
	return nil
}

// patience is how long one command may take: far more than it does, even where 64
// run at once on a busy machine.
const patience = 3 * time.Minute

// command runs a program to its end and returns all it prints and its exit code.
func command(t *testing.T, program string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A container that should have ended may hold the pipe.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out.String())
		return out.String(), -1
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// commandError is command for what is no test.
func commandError(program string, args ...string) error {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

// configure writes tenon's configuration, and the good one when the test ends.
func configure(t *testing.T, text string) {
	t.Helper()
	must(t, write(configFile, text, 0o644))
	t.Cleanup(func() { must(t, write(configFile, goodConfig, 0o644)) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// has checks that an output has each of the lines.
func has(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !slices.Contains(strings.Split(out, "\n"), line) {
			t.Errorf("there is no line %q in\n%s", line, out)
		}
	}
}

// tail returns what has been added to a file since it had size bytes.
func tail(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	_, err = f.Seek(size, io.SeekStart)
	must(t, err)
	text, err := io.ReadAll(f)
	must(t, err)
	return string(text)
}

func size(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}
