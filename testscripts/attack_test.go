// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/ldcache"
)

// The attack_*_test.go files are images, and configurations of containers, that
// attack the hook: those of published bulletins on hooks of other device
// runtimes, and what else a hook that runs as root in a hostile file system can
// meet. Each container is made by real runc. A canary, a folder of the machine
// outside the container, must be after each of them what it was before.
//
// TENON_ATTACK_RUNS says how often a race is run; 25 times without it.

// attack is one container to come, and the canary.
type attack struct {
	t      *testing.T
	dir    string
	rootfs string
	canary string
	config map[string]any
	hook   string // the program
	seal   string // of the canary
	starts int
}

// attackHook is tenon-hook as it is shipped.
func attackHook() (string, error) {
	programs, err := builtPrograms()
	return programs + "/tenon-hook", err
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programsFolder != "" {
		os.RemoveAll(programsFolder)
	}
	os.Exit(code)
}

// newAttack makes a container with a small glibc image: a loader, busybox, one
// library that the hook is to find.
func newAttack(t *testing.T) *attack {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root: real containers are made")
	}
	for _, program := range []string{"runc", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "%s is not installed", program)
		}
	}
	hook, err := attackHook()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/lib", "tenon-test-")
	if err != nil {
		t.Fatal(err)
	}
	a := &attack{t: t, dir: dir, rootfs: filepath.Join(dir, "bundle/rootfs"), canary: filepath.Join(dir, "canary"), hook: hook}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a.must(os.Chmod(dir, 0o755))
	a.files(a.canary, map[string]string{"secret": "canary", "ld.so.cache": "canary", "ld.so.conf": "canary\n", "lib/libacc.so.1": "canary", "x": "canary"})
	a.files(a.rootfs, map[string]string{
		"etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n", "etc/ld.so.conf.d/": "",
		"usr/lib/vendor/libacc.so.1.2.3": library("libacc.so.1"),
		"proc/":                          "", "dev/": "", "run/": "", "tmp/": "", "sys/": "",
	})
	a.copy("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2")
	a.busybox()
	a.config = map[string]any{
		"ociVersion": "1.0.2",
		"root":       map[string]any{"path": "rootfs"},
		"process": map[string]any{"args": []string{"/bin/true"}, "cwd": "/", "env": []string{"PATH=/bin"}, "noNewPrivileges": true,
			"user": map[string]any{"uid": 0, "gid": 0}, "capabilities": map[string]any{}},
		"mounts": []any{mount("proc", "proc", "/proc"), mount("tmpfs", "tmpfs", "/dev", "mode=755")},
		"linux":  map[string]any{"namespaces": namespaces("pid", "network", "ipc", "uts", "mount")},
	}
	a.edits(discover.Edits{ABI: 1, LdCache: discover.LdCache{Dirs: []string{"/usr/lib/vendor"}}})
	a.seal = a.hash(a.canary)
	return a
}

func (a *attack) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// files makes files in dir: "name": content, "name -> target": "" a link,
// "name/": "" a folder, "name|": "" a FIFO.
func (a *attack) files(dir string, files map[string]string) {
	a.t.Helper()
	for name, content := range files {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, strings.TrimSuffix(link, "|"))
		parent := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			parent = path
		}
		a.must(os.MkdirAll(parent, 0o755))
		switch {
		case strings.HasSuffix(name, "/"):
		case isLink:
			a.must(os.Symlink(target, path))
		case strings.HasSuffix(name, "|"):
			a.must(syscall.Mkfifo(path, 0o644))
		default:
			a.must(os.WriteFile(path, []byte(content), 0o644))
		}
	}
}

func (a *attack) copy(from, to string) {
	a.t.Helper()
	data, err := os.ReadFile(from)
	a.must(err)
	to = filepath.Join(a.rootfs, to)
	a.must(os.MkdirAll(filepath.Dir(to), 0o755))
	a.must(os.WriteFile(to, data, 0o755))
	a.must(os.Chmod(to, 0o755))
}

func (a *attack) busybox() {
	a.t.Helper()
	path, err := exec.LookPath("busybox")
	a.must(err)
	a.copy(path, "bin/busybox")
	for _, name := range []string{"sh", "ls", "cat", "true", "sleep", "readlink"} {
		a.must(os.Symlink("busybox", filepath.Join(a.rootfs, "bin", name)))
	}
}

// release makes the root that of a distribution, as testscripts/roots.sh made it.
func (a *attack) release(name string) {
	a.t.Helper()
	from := filepath.Join("..", "build", "roots", name)
	if _, err := os.Stat(from); err != nil {
		missing(a.t, "%v; run testscripts/roots.sh", err)
	}
	a.must(os.RemoveAll(a.rootfs))
	a.must(os.MkdirAll(a.rootfs, 0o755))
	if out, err := exec.Command("cp", "-a", from+"/.", a.rootfs).CombinedOutput(); err != nil {
		a.t.Fatalf("%v\n%s", err, out)
	}
	a.files(a.rootfs, map[string]string{"usr/lib/vendor/libacc.so.1.2.3": library("libacc.so.1"), "proc/": "", "dev/": "", "run/": "", "tmp/": "", "sys/": ""})
}

// edits puts the hooks into the configuration that the runtime would.
func (a *attack) edits(e discover.Edits) {
	a.t.Helper()
	e, err := discover.Lower(e, discover.Programs{TenonHook: a.hook, HookTimeout: 10})
	a.must(err)
	delete(a.config, "hooks")
	before, err := json.Marshal(a.config)
	a.must(err)
	spec, err := discover.Parse(before)
	a.must(err)
	after, err := discover.Apply(spec, e)
	a.must(err)
	a.must(json.Unmarshal(after, &a.config))
}

func mount(kind, source, destination string, options ...string) map[string]any {
	return map[string]any{"type": kind, "source": source, "destination": destination, "options": options}
}

func (a *attack) mount(m map[string]any) { a.config["mounts"] = append(a.config["mounts"].([]any), m) }

func namespaces(kinds ...string) []any {
	var list []any
	for _, kind := range kinds {
		list = append(list, map[string]any{"type": kind})
	}
	return list
}

// result is how a container ended, or a hook.
type result struct {
	status int
	out    string
	took   time.Duration
	memory int64 // bytes, at most
}

func finish(cmd *exec.Cmd) result {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	r := result{out: out.String(), took: time.Since(start), status: -1}
	if cmd.ProcessState != nil {
		r.status = cmd.ProcessState.ExitCode()
		r.memory = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
	} else {
		r.out += err.Error()
	}
	return r
}

// run starts a container with a command, waits for it, and checks what must hold
// after every attack.
func (a *attack) run(args ...string) result {
	a.t.Helper()
	if len(args) > 0 {
		a.config["process"].(map[string]any)["args"] = args
	}
	data, err := json.Marshal(a.config)
	a.must(err)
	bundle := filepath.Join(a.dir, "bundle")
	a.must(os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o644))
	a.starts++
	ctx, cancel := context.WithTimeout(a.t.Context(), 60*time.Second)
	defer cancel()
	id := fmt.Sprintf("%s-%d", filepath.Base(a.dir), a.starts)
	cmd := exec.CommandContext(ctx, "runc", "--root", filepath.Join(a.dir, "state"), "run", "-b", bundle, id)
	r := finish(cmd)
	if ctx.Err() != nil {
		exec.Command("runc", "--root", filepath.Join(a.dir, "state"), "delete", "-f", id).Run()
		a.t.Fatalf("the container did not end\n%s", r.out)
	}
	a.unharmed()
	return r
}

// mustRun runs a container that has to start and end well.
func (a *attack) mustRun(args ...string) result {
	a.t.Helper()
	r := a.run(args...)
	if r.status != 0 {
		a.t.Fatalf("status %d\n%s", r.status, r.out)
	}
	return r
}

// unharmed checks the canary, mounts and processes.
func (a *attack) unharmed() {
	a.t.Helper()
	if got := a.hash(a.canary); got != a.seal {
		a.t.Error("the canary is not what it was")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	a.must(err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, a.dir+"/bundle/rootfs/") {
			a.t.Errorf("a mount is left: %s", line)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/exe")
	a.must(err)
	for _, p := range processes {
		if exe, err := os.Readlink(p); err == nil && exe == a.hook {
			a.t.Errorf("a process of the hook is left: %s", p)
		}
	}
}

// hash is of all names, modes, times and contents below dir.
func (a *attack) hash(dir string) string {
	a.t.Helper()
	h := sha256.New()
	a.must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data := []byte(nil)
		if info.Mode().IsRegular() {
			data, err = os.ReadFile(path)
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(h, "%s %v %d %d %d %v %q\n", path, info.Mode(), st.Uid, st.Gid, st.Ino, info.ModTime(), data)
		return err
	}))
	return fmt.Sprintf("%x", h.Sum(nil))
}

// command is the hook itself, without a runtime, in a mount namespace of its
// own.
func (a *attack) command(args ...string) *exec.Cmd {
	a.t.Helper()
	bundle := filepath.Join(a.dir, "bundle")
	if _, err := os.Stat(filepath.Join(bundle, "config.json")); err != nil {
		a.must(os.WriteFile(filepath.Join(bundle, "config.json"), []byte(`{"root":{"path":"rootfs"}}`), 0o644))
	}
	cmd := exec.Command(a.hook, args...)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"ociVersion":"1.0.2","id":"x","status":"creating","pid":1,"bundle":%q}`, bundle))
	cmd.Env = []string{"PATH=/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

func (a *attack) update(args ...string) result {
	a.t.Helper()
	return finish(a.command(append([]string{"update-ldcache", "--verbose", "--required", "--folder", "/usr/lib/vendor"}, args...)...))
}

// finds checks that a cache, as text, leads libacc.so.1 to the vendor's folder.
func (a *attack) finds(cache string) {
	a.t.Helper()
	c, err := ldcache.Decode([]byte(cache))
	if err != nil {
		a.t.Fatalf("%v: %q", err, cache)
	}
	if got := c.Lookup("libacc.so.1"); len(got) == 0 || got[0] != "/usr/lib/vendor/libacc.so.1.2.3" {
		a.t.Errorf("libacc.so.1 is at %q", got)
	}
}

func (a *attack) inRoot(name string) string {
	a.t.Helper()
	data, err := os.ReadFile(filepath.Join(a.rootfs, name))
	a.must(err)
	return string(data)
}

// races says how often to run a race.
func races(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("TENON_ATTACK_RUNS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("TENON_ATTACK_RUNS is %q", text)
		}
		return n
	}
	return 25
}

// library returns a small shared library for x86-64 that the loader can load.
func library(soname string) string {
	const headers, segments = 64, 56
	symbols := uint64(headers + 2*segments)
	dynamic := symbols + 24
	table := "\x00" + soname + "\x00"
	tags := [6][2]uint64{{uint64(elf.DT_STRTAB)}, {uint64(elf.DT_STRSZ), uint64(len(table))}, {uint64(elf.DT_SYMTAB), symbols},
		{uint64(elf.DT_SYMENT), 24}, {uint64(elf.DT_SONAME), 1}, {uint64(elf.DT_NULL)}}
	size := uint64(len(tags)) * 16
	tags[0][1] = dynamic + size
	end := tags[0][1] + uint64(len(table))
	flags := uint32(elf.PF_R | elf.PF_W)
	var b bytes.Buffer
	for _, v := range []any{
		elf.Header64{Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
			Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: headers, Ehsize: headers, Phentsize: segments, Phnum: 2, Shentsize: 64},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: flags, Filesz: end, Memsz: end, Align: 4096},
		elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Flags: flags, Off: dynamic, Vaddr: dynamic, Paddr: dynamic, Filesz: size, Memsz: size, Align: 8},
		make([]byte, 24), tags, []byte(table),
	} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	return b.String()
}
