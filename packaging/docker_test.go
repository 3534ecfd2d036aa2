// SPDX-License-Identifier: Apache-2.0

//go:build packages

package packaging

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// lists is where NVIDIA's CSV lists are.
const lists = "/etc/nvidia-container-runtime/host-files-for-container.d/"

// ask is a container that asks, and says what it was given.
var ask = []string{"run", "--rm", "--network", "none", "--runtime", "tenon", "-e", "NVIDIA_VISIBLE_DEVICES=all", "image",
	"sh", "-c", "test -c /dev/demo0 && echo written >/dev/demo0 && /load"}

// withDocker is what README says, in a machine with a device, a library and
// Docker: install the package, configure, run; and the way back.
func withDocker(t *testing.T, deb, newer string) {
	r := newRoot(t, "docker.io", "containerd", "runc")
	makeJetson(r)
	// The administrator's, and in nobody's form but theirs.
	const daemonJSON = "{\n\t\"log-level\":   \"info\",\n  \"runtimes\": { \"mine\":{\"path\":\"/usr/sbin/runc\"} }\n}\n\n"
	r.write("/etc/docker/daemon.json", daemonJSON, 0o640)
	before := r.files()
	daemons := startDocker(r)
	r.fails(`[Uu]nknown runtime`, docker(ask)...)

	r.run("dpkg", "-i", r.bring(deb))
	r.run("tenon", "runtime", "configure", "docker")
	reload(r, daemons, `\btenon\b`)
	r.says(`^loaded by soname\n$`, docker(ask)...)
	r.says(`^loaded by soname\n$`, docker(ask)...) // by a trace
	r.says(`(?m)^nothing$`, docker([]string{"run", "--rm", "--network", "none", "image", "sh", "-c", "test -e /dev/demo0 || echo nothing"})...)

	// Containers that the old version made, in each state, are there after it.
	for _, args := range [][]string{{"run", "-d", "--name", "running"}, {"create", "--name", "created"}, {"run", "-d", "--name", "stopped"}} {
		r.run(docker(append(args, "--network", "none", "--runtime", "tenon", "-e", "NVIDIA_VISIBLE_DEVICES=all", "image", "sleep", "1000"))...)
	}
	r.run(docker([]string{"stop", "-t", "0", "stopped"})...)
	started := r.run(docker([]string{"inspect", "-f", "{{.State.StartedAt}}", "running"})...)
	old := r.run("tenon", "module", "list")
	// Until dpkg comes to configure it, which may be minutes later, the old module is
	// the one that is run, by the new programs.
	r.run("dpkg", "--unpack", r.bring(newer))
	r.says(`^loaded by soname\n$`, docker(ask)...)
	if now := r.run("tenon", "module", "list"); strings.Contains(now, "99.0.0") {
		t.Errorf("the newer module is run before its file of modules.d is there: %s", now)
	}
	r.run("dpkg", "--configure", "tenon")
	r.works("v0.2.0", "csv", "legacy")
	if now := r.run("tenon", "module", "list"); now == old || !strings.Contains(now, "99.0.0") {
		t.Errorf("the upgrade did not bring the newer module: %s", now)
	}
	if now := r.run(docker([]string{"inspect", "-f", "{{.State.StartedAt}}", "running"})...); now != started {
		t.Errorf("the upgrade restarted a container: it was started at %s, and at %s", started, now)
	}
	for name, pid := range daemons {
		if now := strings.TrimSpace(r.run("cat", pidFile(name))); now != pid {
			t.Errorf("the upgrade restarted %s: it was %s, is %s", name, pid, now)
		}
	}
	r.says(`^loaded by soname\n$`, docker([]string{"exec", "running", "/load"})...)
	for _, args := range [][]string{{"stop", "-t", "0", "running"}, {"start", "running"}, {"start", "created"}, {"start", "stopped"}} {
		r.run(docker(args)...)
	}
	for _, name := range []string{"running", "created", "stopped"} {
		r.says(`^loaded by soname\n$`, docker([]string{"exec", name, "/load"})...)
	}
	r.run(docker([]string{"rm", "-f", "running", "created", "stopped"})...)
	r.says(`^loaded by soname\n$`, docker(ask)...)

	// Who removes the package first is told.
	r.says(`(?m)^tenon: docker.*\n(.*\n)*tenon: .*"tenon runtime unconfigure"`, "/var/lib/dpkg/info/tenon.prerm", "remove")
	r.run("tenon", "runtime", "unconfigure", "docker")
	if now, err := os.ReadFile(r.dir + "/etc/docker/daemon.json"); err != nil || string(now) != daemonJSON {
		t.Errorf("daemon.json is %q after unconfigure (%v), was %q", now, err, daemonJSON)
	}
	reload(r, daemons, `^[^t]*$`)
	r.fails(`[Uu]nknown runtime`, docker(ask)...)
	r.run("dpkg", "-r", "tenon")
	r.run("dpkg", "-P", "tenon")
	r.says(`(?m)^nothing$`, docker([]string{"run", "--rm", "--network", "none", "image", "echo", "nothing"})...)
	after := r.files()
	engines := regexp.MustCompile(`^/(var/lib/(docker|containerd)|opt|etc/docker/key\.json)(/|$)`)
	maps.DeleteFunc(after, func(path, _ string) bool { return engines.MatchString(path) })
	sameFiles(t, before, after)
}

func docker(args []string) []string { return append([]string{"docker"}, args...) }

// makeJetson gives the root what mode "auto" takes for a Tegra machine, a device,
// a library and the lists of both, and an image for containers: busybox, a C
// library, and /load, which loads the library by its soname.
func makeJetson(r root) {
	t := r.t
	t.Helper()
	r.write("/etc/nv_tegra_release", "# R36 (release)\n", 0o644)
	r.run("mknod", "-m", "666", "/dev/demo0", "c", "1", "3")
	gcc(t, r.dir+"/usr/lib/demo/libdemo.so.1.2", `const char *demo(void) { return "loaded by soname"; }`, "-shared", "-fPIC", "-Wl,-soname,libdemo.so.1")
	must(t, os.Symlink("libdemo.so.1.2", r.dir+"/usr/lib/demo/libdemo.so.1"))
	r.write(lists+"devices.csv", "dev, /dev/demo0\n", 0o644)
	r.write(lists+"drivers.csv", "lib, /usr/lib/demo/libdemo.so.1.2\nsym, /usr/lib/demo/libdemo.so.1\n", 0o644)

	image := root{t: t, dir: filepath.Join(r.dir, "tmp/image")}
	for _, dir := range []string{"/bin", "/etc", "/proc", "/sys", "/dev", "/tmp"} {
		must(t, os.MkdirAll(image.dir+dir, 0o755))
	}
	gcc(t, image.dir+"/load", `
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
	void *lib = dlopen("libdemo.so.1", RTLD_NOW);
	if (!lib) { puts(dlerror()); return 1; }
	puts(((const char *(*)(void))dlsym(lib, "demo"))());
	return 0;
}`)
	busybox, err := exec.LookPath("busybox")
	must(t, err)
	copied := map[string]string{busybox: "/bin/busybox"}
	for _, word := range strings.Fields(output(t, "ldd", image.dir+"/load")) {
		if strings.HasPrefix(word, "/") {
			copied[word] = word
		}
	}
	for from, to := range copied {
		data, err := os.ReadFile(from)
		must(t, err)
		image.write(to, string(data), 0o755)
	}
	for _, applet := range []string{"sh", "sleep", "test", "echo"} {
		must(t, os.Symlink("busybox", image.dir+"/bin/"+applet))
	}
	output(t, "ldconfig", "-r", image.dir)
}

func gcc(t *testing.T, out, source string, flags ...string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(out), 0o755))
	cmd := exec.Command("gcc", append(flags, "-o", out, "-x", "c", "-", "-ldl")...)
	cmd.Stdin = strings.NewReader(source)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, text)
	}
}

func pidFile(daemon string) string { return "/run/" + daemon + ".of-the-test" }

// startDocker starts the daemons, imports the image, and returns their PIDs.
func startDocker(r root) map[string]string {
	t := r.t
	t.Helper()
	r.write("/etc/containerd/config.toml", "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n", 0o644)
	pids := map[string]string{}
	for _, d := range [][]string{
		{"containerd", "ctr version"},
		{"dockerd", "docker version", "--containerd", "/run/containerd/containerd.sock", "--cgroup-parent", "/" + r.cgroup,
			"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"},
	} {
		log, err := os.OpenFile(r.dir+"/var/log/"+d[0]+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		must(t, err)
		cmd := r.command(append([]string{"sh", "-c", `echo $$ >"$1"; shift; exec "$@"`, "sh", pidFile(d[0]), d[0]}, d[2:]...)...)
		cmd.Stdout, cmd.Stderr = log, log
		must(t, cmd.Start())
		must(t, log.Close())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		await(r, `.`, strings.Fields(d[1])...)
		pids[d[0]] = strings.TrimSpace(r.run("cat", pidFile(d[0])))
	}
	r.run("sh", "-c", "tar -C /tmp/image -c . | docker import - image")
	return pids
}

// reload makes dockerd read daemon.json again, and waits until the names of its
// runtimes match.
func reload(r root, daemons map[string]string, pattern string) {
	r.t.Helper()
	r.run("sh", "-c", "kill -HUP "+daemons["dockerd"])
	await(r, pattern, "docker", "info", "-f", "{{range $name, $_ := .Runtimes}}{{$name}} {{end}}")
}
