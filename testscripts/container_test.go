// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// missing skips a test for want of something that this machine lacks. CI
// installs all of it, so there it is a failure.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("TENON_CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// A stage is a machine to look at, a tenon that looks at it, and containers that
// real runc makes. All of it is in one folder that the test removes.
type stage struct {
	t   *testing.T
	dir string
	env []string // of tenon-runtime
}

// newStage builds the programs and the csv mode and makes a machine with one
// device and one library. The folder is not one for temporary files: tenon uses
// no program and no module that others could change.
func newStage(t *testing.T) *stage {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root: real containers are made")
	}
	for _, program := range []string{"runc", "gcc", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "%s is not installed", program)
		}
	}
	dir, err := os.MkdirTemp("/var/lib", "tenon-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &stage{t: t, dir: dir, env: append(os.Environ(), "CGO_ENABLED=0", "TENON_CONFIG="+dir+"/config.toml", "TENON_STATE="+dir+"/run")}
	s.must(os.Chmod(dir, 0o755))
	programs, err := builtPrograms()
	s.must(err)
	s.command("cp", "-r", programs, dir+"/bin")
	s.file("config.toml", fmt.Sprintf(`mode = "csv"
module_dir = "%[1]s/modules"
modules_d = "%[1]s/modules.d"
cache_dir = "%[1]s/cache"
driver_root = "%[1]s/machine"
[modes.csv]
mount_spec_path = "%[1]s/csv"
`, dir))
	s.command(dir+"/bin/tenon", "module", "install", "--accept-grants", dir+"/bin/csv.wasm")
	s.file("csv/devices.csv", "dev, /dev/demo0\n")
	s.file("csv/drivers.csv", "lib, /usr/lib/demo/libdemo.so.1.2\nsym, /usr/lib/demo/libdemo.so.1\n")
	s.must(os.MkdirAll(dir+"/machine/dev", 0o755))
	s.must(syscall.Mknod(dir+"/machine/dev/demo0", syscall.S_IFCHR|0o666, 1<<8|3)) // as /dev/null, mem(4)
	s.must(os.Chmod(dir+"/machine/dev/demo0", 0o666))
	s.must(os.MkdirAll(dir+"/machine/usr/lib/demo", 0o755))
	s.gcc("machine/usr/lib/demo/libdemo.so.1.2", `const char *demo(void) { return "loaded by soname"; }`,
		"-shared", "-fPIC", "-Wl,-soname,libdemo.so.1")
	s.must(os.Symlink("libdemo.so.1.2", dir+"/machine/usr/lib/demo/libdemo.so.1"))
	return s
}

// programsFolder is what builtPrograms made; TestMain removes it.
var programsFolder string

// builtPrograms builds the programs, as one build, and the csv mode, once for all
// tests.
var builtPrograms = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("/var/lib", "tenon-test-programs-")
	if err != nil {
		return "", err
	}
	programsFolder = dir
	args := []string{"build", "-trimpath", "-ldflags", "-s -w -X github.com/tenon-runtime/tenon/host.build=test", "-o", dir + "/"}
	for _, program := range []string{"tenon-runtime", "tenon-engine", "tenon-hook", "tenon"} {
		args = append(args, "../cmd/"+program)
	}
	for _, cmd := range []*exec.Cmd{exec.Command("go", args...), exec.Command(dir+"/tenon", "module", "build", "../modules/csv", "-o", dir+"/csv.wasm")} {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
	}
	return dir, os.Chmod(dir, 0o755)
})

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// command runs a program that has to succeed.
func (s *stage) command(name string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = s.env
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// file writes a file of the stage.
func (s *stage) file(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	s.must(os.MkdirAll(filepath.Dir(path), 0o755))
	s.must(os.WriteFile(path, []byte(text), 0o644))
}

// gcc compiles a C text.
func (s *stage) gcc(out, source string, flags ...string) {
	s.t.Helper()
	cmd := exec.Command("gcc", append(flags, "-o", filepath.Join(s.dir, out), "-x", "c", "-", "-ldl")...)
	cmd.Stdin = strings.NewReader(source)
	if text, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("gcc: %v\n%s", err, text)
	}
}

// root makes a root file system with a static busybox; with libc, also the
// loader, a C library and /load, which loads libdemo.so.1.
func (s *stage) root(name string, libc bool) {
	s.t.Helper()
	dir := filepath.Join(s.dir, name, "rootfs")
	for _, d := range []string{"bin", "proc", "dev"} {
		s.must(os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	busybox, err := exec.LookPath("busybox")
	s.must(err)
	data, err := os.ReadFile(busybox)
	s.must(err)
	s.must(os.WriteFile(dir+"/bin/busybox", data, 0o755))
	s.must(os.Symlink("busybox", dir+"/bin/sh"))
	if !libc {
		return
	}
	s.must(os.MkdirAll(dir+"/etc", 0o755))
	s.gcc(name+"/rootfs/load", `
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
	void *lib = dlopen("libdemo.so.1", RTLD_NOW);
	if (!lib) { puts(dlerror()); return 1; }
	puts(((const char *(*)(void))dlsym(lib, "demo"))());
	return 0;
}`)
	needed, err := exec.Command("ldd", dir+"/load").Output()
	s.must(err)
	found := 0
	for _, word := range strings.Fields(string(needed)) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		data, err := os.ReadFile(word)
		s.must(err)
		s.must(os.MkdirAll(filepath.Dir(dir+word), 0o755))
		s.must(os.WriteFile(dir+word, data, 0o755))
		found++
	}
	if found < 2 {
		s.t.Fatalf("ldd names only %d files:\n%s", found, needed)
	}
}

// A container is what differs between the config.json files of these tests.
type container struct {
	script   string   // for sh
	env      []string // besides PATH
	uid      int
	readonly bool
}

// bundle writes the config.json of the bundle in the folder name.
func (s *stage) bundle(name string, c container) {
	s.t.Helper()
	type m = map[string]any
	config := m{
		"ociVersion": "1.0.2",
		"process": m{
			"user": m{"uid": c.uid, "gid": c.uid}, "cwd": "/", "noNewPrivileges": true,
			"args": []string{"/bin/sh", "-c", c.script}, "env": append([]string{"PATH=/bin"}, c.env...),
		},
		"root": m{"path": "rootfs", "readonly": c.readonly},
		"mounts": []m{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		},
		"linux": m{
			"namespaces": []m{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}},
			"resources":  m{"devices": []m{{"allow": false, "access": "rwm"}}},
		},
	}
	data, err := json.Marshal(config)
	s.must(err)
	s.file(name+"/config.json", string(data))
}

// tenon starts tenon-runtime and returns what it and the container print.
func (s *stage) tenon(args ...string) (string, error) {
	cmd := exec.Command(s.dir+"/bin/tenon-runtime", append([]string{"--root", s.dir + "/state"}, args...)...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run runs the bundle in the folder name to its end and wants these lines.
func (s *stage) run(name string, want ...string) {
	s.t.Helper()
	out, err := s.tenon("run", "--bundle", filepath.Join(s.dir, name), "tenon-test-"+name+"-"+fmt.Sprint(os.Getpid()))
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range want {
		if !strings.Contains(out, line+"\n") {
			s.t.Errorf("the container does not say %q but\n%s", line, out)
		}
	}
}

func TestContainerGetsWhatItAsksFor(t *testing.T) {
	s := newStage(t)
	s.root("c", true)
	// A node that is in the image, with the number of a device that was not
	// given: the cgroup has to refuse it. With a wide-open cgroup a write to the
	// other one would prove nothing.
	s.must(syscall.Mknod(s.dir+"/c/rootfs/kmsg", syscall.S_IFCHR|0o666, 1<<8|11)) // kmsg(4)
	s.must(os.Chmod(s.dir+"/c/rootfs/kmsg", 0o666))
	const script = `
busybox stat -c '%n %F %t:%T %a' /dev/demo0
echo x > /dev/demo0 && echo written by $(busybox id -u)
busybox cat /kmsg 2>&1
/load
busybox env | busybox grep NVIDIA
busybox grep -c demo /proc/self/mountinfo`
	c := container{script: script, env: []string{"NVIDIA_VISIBLE_DEVICES=all"}}
	want := []string{"/dev/demo0 character special file 1:3 666", "written by 1000",
		"cat: can't open '/kmsg': Operation not permitted", "loaded by soname", "NVIDIA_VISIBLE_DEVICES=all", "1"}

	for name, change := range map[string]func(*container){
		"plain":    func(*container) {},
		"readonly": func(c *container) { c.readonly = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			c := c
			c.uid = 1000
			change(&c)
			s.bundle("c", c)
			s.run("c", want...)
		})
	}

	t.Run("nothing asked", func(t *testing.T) {
		s := *s
		s.t = t
		// Another root: runc leaves the places of its mounts in the one above.
		s.root("n", true)
		s.bundle("n", container{script: "/load; busybox ls /dev/demo0; true"})
		before := fileIdentity(t, s.dir+"/n/config.json")
		s.run("n", "libdemo.so.1: cannot open shared object file: No such file or directory",
			"ls: /dev/demo0: No such file or directory")
		if after := fileIdentity(t, s.dir+"/n/config.json"); after != before {
			t.Errorf("config.json was %s and is %s", before, after)
		}
	})
}

// fileIdentity is what changes when a file is written or replaced.
func fileIdentity(t *testing.T, path string) string {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("inode %d, mtime %v, ctime %v", st.Ino, st.Mtim, st.Ctim)
}

// An image without a C library, without ldconfig, without /etc, or one that
// cannot be written has no use for a cache, and starts all the same.
func TestContainerWithoutLibcStarts(t *testing.T) {
	s := newStage(t)
	s.root("static", false)
	for name, readonly := range map[string]bool{"no etc": false, "no etc, read-only": true} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			s.bundle("static", container{
				script: "echo x > /dev/demo0 && echo written; busybox ls /usr/lib/demo", readonly: readonly,
				env: []string{"NVIDIA_VISIBLE_DEVICES=all"}})
			s.run("static", "written", "libdemo.so.1.2")
		})
	}
}

// The life of a container as an engine leads it, with a configuration that
// breaks after the create: it can be asked, started, killed and deleted.
func TestContainerLivesOnWithABrokenConfig(t *testing.T) {
	s := newStage(t)
	s.root("c", false)
	s.bundle("c", container{script: "busybox sleep 60", env: []string{"NVIDIA_VISIBLE_DEVICES=all"}})
	id := fmt.Sprintf("tenon-test-life-%d", os.Getpid())
	t.Cleanup(func() { _, _ = s.tenon("delete", "--force", id) })
	// The container keeps the standard streams of create: they must not be pipes
	// that this test waits for.
	create := exec.Command(s.dir+"/bin/tenon-runtime", "--root", s.dir+"/state", "create", "--bundle", s.dir+"/c", id)
	create.Env = s.env
	s.must(create.Run())
	s.file("config.toml", "mode = [[[\n")
	for _, step := range []struct{ args, want string }{
		{"state " + id, `"status": "created"`},
		{"start " + id, ""},
		{"exec " + id + " /bin/busybox ls /dev/demo0", "/dev/demo0"},
		{"state " + id, `"status": "running"`},
		{"kill " + id + " KILL", ""},
		{"delete --force " + id, ""},
	} {
		out, err := s.tenon(strings.Fields(step.args)...)
		if err != nil || !strings.Contains(out, step.want) {
			t.Fatalf("%s: %v, and not %q but\n%s", step.args, err, step.want, out)
		}
	}
	// Only the next create says what is wrong.
	out, err := s.tenon("create", "--bundle", s.dir+"/c", id)
	if err == nil || !strings.HasPrefix(out, "tenon: "+s.dir+"/config.toml:1: ") {
		t.Errorf("create with a broken configuration: %v\n%s", err, out)
	}
}

// A full disk while config.json is written: one line, the old file, no rest.
func TestFullDiskLeavesConfigAsItWas(t *testing.T) {
	s := newStage(t)
	s.root("c", false)
	s.bundle("c", container{script: "true", env: []string{"NVIDIA_VISIBLE_DEVICES=all"}})
	config, err := os.ReadFile(s.dir + "/c/config.json")
	s.must(err)
	full := s.dir + "/full"
	s.must(os.Mkdir(full, 0o755))
	s.must(syscall.Mount("tmpfs", full, "tmpfs", 0, "size=16k,mode=755"))
	t.Cleanup(func() { _ = syscall.Unmount(full, syscall.MNT_DETACH) })
	s.must(os.WriteFile(full+"/config.json", config, 0o644))
	// Fill the file system up to the last page.
	filler := make([]byte, 4096)
	f, err := os.OpenFile(full+"/filler", os.O_CREATE|os.O_WRONLY, 0o644)
	s.must(err)
	for err == nil {
		_, err = f.Write(filler)
	}
	s.must(f.Close())
	before := fileIdentity(t, full+"/config.json")
	out, err := s.tenon("create", "--bundle", full, "tenon-test-full")
	if want := "tenon: " + full + "/config.json: no space left on device\n"; err == nil || out != want {
		t.Errorf("create says %v, %q, want %q", err, out, want)
	}
	if after := fileIdentity(t, full+"/config.json"); after != before {
		t.Errorf("config.json was %s and is %s", before, after)
	}
	rest, err := fs.Glob(os.DirFS(full), "*tenon*")
	s.must(err)
	hidden, err := fs.Glob(os.DirFS(full), ".*")
	s.must(err)
	if len(rest)+len(hidden) != 0 {
		t.Errorf("left behind: %v %v", rest, hidden)
	}
}
