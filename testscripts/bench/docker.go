// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// daemons are a dockerd and a containerd of our own, with sockets, state and
// cgroups apart from the machine's.
type daemons struct {
	dir     string
	started []*exec.Cmd
}

// docker measures docker run through tenon against plain runc.
func (s *stage) docker(out io.Writer, build string, rounds int) (err error) {
	var missing []string
	for _, program := range []string{"dockerd", "containerd", "docker", "runc", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(out, "\ndocker run: not measured; %s is not installed\n", strings.Join(missing, ", "))
		return nil
	}
	m, err := s.dockerMachine(build)
	if err != nil {
		return err
	}
	d, err := startDaemons(filepath.Join(s.bin, "tenon-runtime"), m)
	defer func() { err = errors.Join(err, d.stop()) }()
	if err != nil {
		return err
	}
	if err := d.importImage(); err != nil {
		return err
	}
	docker := func(name string, args ...string) *subject {
		args = append([]string{"run", "--rm", "--network", "none"}, args...)
		return &subject{name: name, args: append(append([]string{which("docker"), "-H", d.socket()}, args...), "bench", "/bin/true")}
	}
	plain := docker("docker run, runc", "--runtime", "runc")
	nothing := docker("docker run, tenon, nothing asked", "--runtime", "tenon")
	hit := docker(fmt.Sprintf("docker run, tenon, %d entries", standardSize), "--runtime", "tenon", "-e", "NVIDIA_VISIBLE_DEVICES=all")
	if err := s.measure(max(rounds/2, 2), plain, nothing, hit); err != nil {
		return fmt.Errorf("%w\n%s", err, d.log())
	}
	fmt.Fprintf(out, "\n%s\n%-36s %8s %8s\n", "docker run --rm --network none bench /bin/true, real runc", "", "median", "least")
	for _, x := range []*subject{plain, nothing, hit} {
		fmt.Fprintf(out, "%-36s %8.1f %8.1f\n", x.name, x.wall(), x.least())
	}
	// The processor time is that of docker alone, so only the time counts.
	less, _ := ratio(nothing, plain)
	more, _ := ratio(hit, plain)
	fmt.Fprintf(out, "%-36s %8.2f\n%-36s %8.2f\n", "nothing asked / runc", less, fmt.Sprintf("%d entries / runc", standardSize), more)
	return nil
}

func which(program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		return program
	}
	return path
}

// dockerMachine is a machine whose low-level runtime is runc.
func (s *stage) dockerMachine(build string) (*machine, error) {
	m, err := s.newMachine(build, standardSize, true, "on-docker")
	if err != nil {
		return nil, err
	}
	file := strings.TrimPrefix(m.env[0], "TENON_CONFIG=")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte(s.noop()), []byte(which("runc")))
	return m, os.WriteFile(file, text, 0o644)
}

// startDaemons starts both and waits until they answer. What it returns is to be
// stopped after an error too.
func startDaemons(tenon string, m *machine) (*daemons, error) {
	dir, err := os.MkdirTemp("", "bench-") // short: a socket's path has 107 bytes at most
	d := &daemons{dir: dir}
	if err != nil {
		return d, err
	}
	containerd := fmt.Sprintf(`version = 2
root = "%[1]s/ctrd-root"
state = "%[1]s/ctrd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "%[1]s/containerd.sock"
[ttrpc]
  address = "%[1]s/containerd.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
`, dir)
	config, err := json.Marshal(object{"runtimes": object{"tenon": object{"path": tenon}}})
	if err != nil {
		return d, err
	}
	for name, content := range map[string][]byte{"containerd.toml": []byte(containerd), "daemon.json": config} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return d, err
		}
	}
	if err := d.start(m.env, "containerd", "--config", dir+"/containerd.toml"); err != nil {
		return d, err
	}
	if err := d.start(m.env, "dockerd", "--config-file", dir+"/daemon.json", "--host", d.socket(), "--containerd", dir+"/containerd.sock",
		"--data-root", dir+"/docker", "--exec-root", dir+"/exec", "--pidfile", dir+"/dockerd.pid", "--cgroup-parent", "/"+filepath.Base(dir),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"); err != nil {
		return d, err
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if exec.Command("docker", "-H", d.socket(), "version").Run() == nil {
			return d, nil
		}
	}
	return d, fmt.Errorf("dockerd does not answer: %s", d.log())
}

func (d *daemons) socket() string { return "unix://" + d.dir + "/docker.sock" }

func (d *daemons) start(env []string, program string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(d.dir, program+".log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(program, args...)
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return err
	}
	d.started = append(d.started, c)
	return nil
}

// log is the end of what dockerd said.
func (d *daemons) log() string {
	text, _ := os.ReadFile(filepath.Join(d.dir, "dockerd.log"))
	return string(text[max(0, len(text)-2000):])
}

// stop ends both, the one that was started last first, and removes what they
// leave behind.
func (d *daemons) stop() error {
	for i := len(d.started) - 1; i >= 0; i-- {
		c := d.started[i]
		_ = c.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(20*time.Second, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		timer.Stop()
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 4 && strings.HasPrefix(f[4], d.dir+"/") {
			_ = syscall.Unmount(f[4], syscall.MNT_DETACH)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		groups, _ := filepath.Glob(pattern + filepath.Base(d.dir))
		for _, group := range groups {
			_ = os.Remove(group) // a cgroup goes as an empty folder does
		}
	}
	return os.RemoveAll(d.dir)
}

// importImage makes an image of a static busybox.
func (d *daemons) importImage() error {
	program, err := os.ReadFile(which("busybox"))
	if err != nil {
		return err
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))},
		{Typeflag: tar.TypeSymlink, Name: "bin/true", Linkname: "busybox"},
		{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "usr/lib/bench/", Mode: 0o755},
	} {
		err = errors.Join(err, w.WriteHeader(h))
		if h.Size > 0 {
			_, writeErr := w.Write(program)
			err = errors.Join(err, writeErr)
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	c := exec.Command("docker", "-H", d.socket(), "import", "-", "bench")
	c.Stdin = &image
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import: %w: %s", err, out)
	}
	return nil
}
