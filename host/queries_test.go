// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
)

func requestOf(t testing.TB, config string) *discover.Request {
	t.Helper()
	spec, err := discover.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return spec.Request()
}

// runOver makes a run whose driver root is dir, and so is its container root.
func runOver(t testing.TB, dir string, c Config, req *discover.Request) *Run {
	t.Helper()
	c.DriverRoot = dir
	r, err := NewRun(c, "m", req, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// tree makes files below a temporary folder. A name that ends in a slash is a
// folder, content "-> x" is a link to x.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if target, ok := strings.CutPrefix(content, "-> "); ok && err == nil {
			err = os.Symlink(target, p)
		} else if strings.HasSuffix(name, "/") && err == nil {
			err = os.MkdirAll(p, 0o755)
		} else if err == nil {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// said writes an answer with "|" for NUL, or the code.
func said(answer []byte, code int32) string {
	if code != CodeOK {
		return fmt.Sprint(code)
	}
	return strings.ReplaceAll(string(answer), "\x00", "|")
}

func TestQueriesOfTheRequest(t *testing.T) {
	req := requestOf(t, `{"process":{"env":["A=1","EMPTY=","A=2","GPU_VISIBLE_DEVICES=all"]},"annotations":{"a/b":"c","":"none"},
		"mounts":[{"destination":"/data/x/","source":"/s","type":"bind","options":["ro","rbind"]},{"destination":"/database"},{"destination":"/data"}],
		"big":{"z":12345678901234567890,"a":[1.50,"\u00e4"]}}`)
	c := granting(t, "{}")
	c.DriverRoot = "/run/driver"
	c.ModeTables = map[string]map[string]string{
		"m":     {"name": "text <&>", "number": "3", "table": `{"inner":"x"}`, "table.inner": "x"},
		"other": {"secret": "x"},
	}
	r := runOver(t, "", c, req)
	r.config.DriverRoot = "/run/driver"
	for _, test := range []struct {
		op   uint32
		key  string
		want string
	}{
		{opEnv, "A", "2"}, {opEnv, "EMPTY", ""}, {opEnv, "B", "-1"}, {opEnv, "", "-5"}, {opEnv, "A=2", "-5"},
		{opEnv, "GPU_VISIBLE_DEVICES", "all"},
		{opAnnotation, "a/b", "c"}, {opAnnotation, "x", "-1"}, {opAnnotation, "a\x00", "-5"},
		{opSpec, "/big", `{"a":[1.50,"\u00e4"],"z":12345678901234567890}`}, {opSpec, "/big/a/0", "1.50"}, {opSpec, "/none", "-1"},
		{opSpec, "big", "-5"}, {opSpec, "", "-2"},
		{opMounts, "/data", "/data/x/|/s|bind|ro,rbind|/data||||"}, {opMounts, "/data/x", "/data/x/|/s|bind|ro,rbind|"},
		{opMounts, "/", "/data/x/|/s|bind|ro,rbind|/database||||/data||||"}, {opMounts, "/none", ""}, {opMounts, "data", "-5"}, {opMounts, "/data/", "-5"},
		{opConfig, "name", "text <&>"}, {opConfig, "number", "3"}, {opConfig, "table", `{"inner":"x"}`},
		{opConfig, "table.inner", "x"}, {opConfig, "table.none", "-1"}, {opConfig, "name.x", "-1"},
		{opConfig, "secret", "-1"}, {opConfig, "strict", "false"}, {opConfig, "driver_root", "/run/driver"}, {opConfig, "", "-5"},
		{opFeature, "op.15", "1"}, {opFeature, "op.1", "1"}, {opFeature, "op.14", "-1"}, {opFeature, "op.01", "-1"}, {opFeature, "op.271", "-1"},
		{opFeature, "op.-1", "-1"}, {opFeature, "edit.netDevices", "1"}, {opFeature, "edit.hooks", "-1"}, {opFeature, "nonsense", "-1"},
	} {
		if got := said(r.Query(test.op, rootHost, test.key)); got != test.want {
			t.Errorf("op %d %q: %s, want %s", test.op, test.key, got, test.want)
		}
	}
}

// Where the administrator does not let an unprivileged container ask by its
// environment, no query shows what it asked for.
func TestPrivilegeGate(t *testing.T) {
	c := granting(t, "{}")
	c.AcceptEnvWhenUnprivileged = false
	env := `"env":["NVIDIA_VISIBLE_DEVICES=all","OTHER=x"]`
	plain := runOver(t, "", c, requestOf(t, `{"process":{`+env+`}}`))
	privileged := runOver(t, "", c, requestOf(t, `{"process":{`+env+`,"capabilities":{"bounding":["CAP_SYS_ADMIN"]}}}`))
	for _, test := range []struct {
		op                          uint32
		key, wantPlain, wantTrusted string
	}{
		{opEnv, "NVIDIA_VISIBLE_DEVICES", "-1", "all"},
		{opEnv, "OTHER", "x", "x"},
		{opSpec, "/process/env/0", "-2", `"NVIDIA_VISIBLE_DEVICES=all"`},
		{opSpec, "/process/env", "-2", `["NVIDIA_VISIBLE_DEVICES=all","OTHER=x"]`},
		{opSpec, "/process/environment", "-1", "-1"},
	} {
		if got := said(plain.Query(test.op, rootHost, test.key)); got != test.wantPlain {
			t.Errorf("unprivileged %q: %s, want %s", test.key, got, test.wantPlain)
		}
		if got := said(privileged.Query(test.op, rootHost, test.key)); got != test.wantTrusted {
			t.Errorf("privileged %q: %s, want %s", test.key, got, test.wantTrusted)
		}
	}
	if got := said(plain.Query(opSpec, rootHost, "/process")); got != "-2" {
		t.Errorf("/process: %s", got)
	}
}

func machineTree(t testing.TB) string {
	dir := tree(t, map[string]string{
		"etc/shadow": "secret", "etc/hostname": "box\n", "etc/nv": "-> ../opt/nv", "opt/nv/a.csv": "lib, /x\n", "opt/nv/B.csv": "", "opt/nv/.hidden": "",
		"abs": "-> /etc/hostname", "escape": "-> ../../../../../../../etc/hostname", "leak": "-> etc/shadow", "leakdir": "-> /root", "root/key": "secret", "home/u/f": "",
		"dangling": "-> /nowhere", "circle": "-> circle", "proc/1/environ": "A=b", "proc/driver/nv/version": "1", "sys/devices/d/config": "", "sys/devices/d/vendor": "0x10de\n",
		"usr/bin/prog": "#!", "usr/bin/data": "", "bin": "-> usr/bin", "usr/local/bin/prog2": "-> /usr/bin/prog", "usr/sbin/gone": "-> /nowhere",
		"run/docker.sock": "", "bad/": "",
	})
	for _, step := range []error{
		os.Chmod(filepath.Join(dir, "usr/bin/prog"), 0o755),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o640),
		os.WriteFile(filepath.Join(dir, "bad/\xff"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "bad/ok"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "max"), make([]byte, 1<<20), 0o644),
		os.WriteFile(filepath.Join(dir, "large"), make([]byte, 1<<20+1), 0o644),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	return dir
}

// T28 and T29 of the attack cases are among these.
func TestQueriesOfTheMachine(t *testing.T) {
	r := runOver(t, machineTree(t), granting(t, "{}"), requestOf(t, "{}"))
	for _, test := range []struct {
		op   uint32
		key  string
		want string
	}{
		{opRead, "/etc/hostname", "box\n"}, {opRead, "/abs", "box\n"}, {opRead, "/escape", "box\n"}, {opRead, "/sys/devices/d/vendor", "0x10de\n"},
		{opRead, "/none", "-1"}, {opRead, "/etc/hostname/x", "-1"}, {opRead, "/dangling", "-1"}, {opRead, "/circle", "-1"}, {opRead, "/etc", "-3"}, {opRead, "/fifo", "-3"},
		{opRead, "/large", "-4"}, {opRead, "/etc/shadow", "-2"}, {opRead, "/leak", "-2"}, {opRead, "/leakdir/key", "-2"}, {opRead, "/root/none", "-2"}, {opRead, "/proc/1/environ", "-2"},
		{opRead, "/proc/self/environ", "-2"}, {opRead, "/sys/devices/d/config", "-2"}, {opRead, "/proc/driver/nv/version", "1"}, {opRead, "/etc/../etc/hostname", "-5"}, {opRead, "//etc/hostname", "-5"},
		{opRead, "/etc/./hostname", "-5"}, {opRead, "etc/hostname", "-5"}, {opRead, "", "-5"}, {opRead, "/a\x00b", "-5"}, {opRead, "/\xff", "-5"}, {opRead, "/" + strings.Repeat("a/", 2100) + "a", "-5"},
		{opRead, "/" + strings.Repeat("a", 300), "-1"},

		{opReadLink, "/abs", "/etc/hostname"}, {opReadLink, "/escape", "../../../../../../../etc/hostname"}, {opReadLink, "/dangling", "/nowhere"}, {opReadLink, "/etc/hostname", "-3"}, {opReadLink, "/none", "-1"},
		{opRealPath, "/escape", "/etc/hostname"}, {opRealPath, "/etc/nv/a.csv", "/opt/nv/a.csv"}, {opRealPath, "/", "/"}, {opRealPath, "/leak", "-2"}, {opRealPath, "/dangling", "-1"},

		{opReadDir, "/opt/nv", "f.hidden|fB.csv|fa.csv|"}, {opReadDir, "/etc/nv", "f.hidden|fB.csv|fa.csv|"}, {opReadDir, "/etc", "fhostname|lnv|"}, {opReadDir, "/sys/devices/d", "fvendor|"},
		{opReadDir, "/proc", "ddriver|"}, {opReadDir, "/run", ""}, {opReadDir, "/bad", "fok|"}, {opReadDir, "/root", "-2"}, {opReadDir, "/leakdir", "-2"}, {opReadDir, "/fifo", "-3"}, {opReadDir, "/none", "-1"},
		{opReadDir, "/", "labs|dbad|lbin|lcircle|ldangling|lescape|detc|pfifo|flarge|lleak|lleakdir|fmax|dopt|dproc|drun|dsys|dusr|"},

		{opGlob, "/opt/nv/*.csv", "/opt/nv/B.csv|/opt/nv/a.csv|"}, {opGlob, "/etc/nv/[a-z].csv", "/etc/nv/a.csv|"}, {opGlob, "/opt/*/a.csv", "/opt/nv/a.csv|"}, {opGlob, "/opt/nv/a.csv", "/opt/nv/a.csv|"},
		{opGlob, "/*/nv", "/etc/nv|/opt/nv|"}, {opGlob, "/opt/nv/?hidden", "/opt/nv/.hidden|"}, {opGlob, "/opt/nv/*", "/opt/nv/.hidden|/opt/nv/B.csv|/opt/nv/a.csv|"}, {opGlob, `/opt/nv/\a.csv`, "/opt/nv/a.csv|"},
		{opGlob, "/none/*", ""}, {opGlob, "/opt/nv/a.csv/*", ""}, {opGlob, "/dang*", "/dangling|"}, {opGlob, "/dangling", "/dangling|"}, {opGlob, "/bad/*", "/bad/ok|"},
		{opGlob, "/etc/*", "/etc/hostname|/etc/nv|"}, {opGlob, "/etc/shado[w]", ""}, {opGlob, "/ro*/key", ""}, {opGlob, "/lea*/key", ""}, {opGlob, "/etc/shadow", "-2"}, {opGlob, "/root/*", "-2"}, {opGlob, "/proc/*/environ", ""},
		{opGlob, "/opt/**", "-5"}, {opGlob, "opt/*", "-5"}, {opGlob, "/opt/../*", "-5"}, {opGlob, "/opt//*", "-5"}, {opGlob, "/opt/*/", "-5"}, {opGlob, "/", "-5"}, {opGlob, "/opt/[", "-5"},

		{opWhich, "prog", "/usr/bin/prog"}, {opWhich, "prog2", "/usr/local/bin/prog2"}, {opWhich, "/bin/prog", "/bin/prog"}, {opWhich, "data", "-1"}, {opWhich, "gone", "-1"}, {opWhich, "none", "-1"},
		{opWhich, "../bin/prog", "-5"}, {opWhich, "..", "-5"}, {opWhich, "", "-5"}, {opWhich, "/usr/bin/../bin/prog", "-5"}, {opWhich, "/home/u/f", "-2"},
	} {
		if got := said(r.Query(test.op, rootDriver, test.key)); got != test.want {
			t.Errorf("op %d %q: %s, want %s", test.op, test.key, got, test.want)
		}
	}
	if answer, code := r.Query(opRead, rootDriver, "/max"); code != CodeOK || len(answer) != 1<<20 {
		t.Errorf("a file of just the limit: %d bytes, code %d", len(answer), code)
	}
	// The same answers in the container's root; nothing in one that is not there.
	if got := said(r.Query(opRead, rootContainer, "/abs")); got != "box\n" {
		t.Errorf("in the container: %s", got)
	}
	if got := said(runOver(t, filepath.Join(t.TempDir(), "none"), granting(t, "{}"), requestOf(t, "{}")).Query(opStat, rootContainer, "/")); got != "-1" {
		t.Errorf("root of a container that is not there: %s", got)
	}
}

func TestStatRecord(t *testing.T) {
	dir := machineTree(t)
	if err := os.Chmod(filepath.Join(dir, "opt"), 0o1751); err != nil {
		t.Fatal(err)
	}
	r := runOver(t, dir, granting(t, "{}"), requestOf(t, "{}"))
	record := func(root uint32, p string) (kind byte, words [5]uint32, size uint64) {
		t.Helper()
		b, code := r.Query(opStat, root, p)
		if code != CodeOK || len(b) != 32 || b[1]|b[2]|b[3] != 0 {
			t.Fatalf("%s: %x, code %d", p, b, code)
		}
		for i := range words {
			words[i] = binary.LittleEndian.Uint32(b[4+4*i:])
		}
		return b[0], words, binary.LittleEndian.Uint64(b[24:])
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	for _, test := range []struct {
		path       string
		kind       byte
		mode, size int
	}{
		{"/etc/hostname", 'f', 0o644, 4}, {"/opt", 'd', 0o751, 0}, {"/abs", 'l', 0o777, 13}, {"/dangling", 'l', 0o777, 8}, {"/fifo", 'p', 0o640, 0},
	} {
		kind, words, size := record(rootDriver, test.path)
		if want := [5]uint32{uint32(test.mode), uid, gid, 0, 0}; kind != test.kind || words != want || size != uint64(test.size) {
			t.Errorf("%s: %c %o %d, want %c %o %d", test.path, kind, words, size, test.kind, want, test.size)
		}
	}
	kind, words, size := record(rootHost, "/dev/null")
	if kind != 'c' || words[3] != 1 || words[4] != 3 || size != 0 {
		t.Errorf("/dev/null: %c %v %d", kind, words, size)
	}
	if kind, _, size := record(rootHost, "/proc/version"); kind != 'f' || size != 0 {
		t.Errorf("/proc/version: %c %d", kind, size)
	}
	// On the real machine: devices are seen and never opened.
	for _, test := range []struct {
		op        uint32
		key, want string
	}{
		{opRead, "/dev/null", "-3"}, {opRead, "/dev/mem", "-3"}, {opRead, "/proc/kcore", "-2"}, {opRead, "/proc/1/environ", "-2"}, {opStat, "/proc/self/exe", "-2"},
		{opRead, "/etc/shadow", "-2"}, {opReadDir, "/sys/kernel/debug", "-2"}, {opGlob, "/proc/[0-9]*", ""}, {opWhich, "sh", "/usr/bin/sh"},
	} {
		got := said(r.Query(test.op, rootHost, test.key))
		if test.key == "/dev/mem" && got == "-1" || test.op == opWhich && got == "/bin/sh" {
			continue // this machine has none, or has it elsewhere
		}
		if got != test.want {
			t.Errorf("op %d %q: %s, want %s", test.op, test.key, got, test.want)
		}
	}
	if got := said(r.Query(opRead, rootHost, "/proc/version")); !strings.HasPrefix(got, "Linux version ") {
		t.Errorf("/proc/version: %q", got)
	}
}

// A link made to lead around the floor by way of procfs is a dead end.
func TestMagicLinksLeadNowhere(t *testing.T) {
	name := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/proc/1/root/etc/hostname", name); err != nil {
		t.Fatal(err)
	}
	r := runOver(t, "", granting(t, "{}"), requestOf(t, "{}"))
	if got := said(r.Query(opRead, rootHost, name)); got != "-1" && got != "-2" {
		t.Errorf("got %s", got)
	}
}

func TestAnswersDoNotChangeDuringARun(t *testing.T) {
	dir := tree(t, map[string]string{"f": "one"})
	r := runOver(t, dir, granting(t, "{}"), requestOf(t, "{}"))
	if got := said(r.Query(opRead, rootDriver, "/f")) + said(r.Query(opRead, rootDriver, "/g")); got != "one-1" {
		t.Fatal(got)
	}
	for _, name := range []string{"f", "g"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("two"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := said(r.Query(opRead, rootDriver, "/f")) + said(r.Query(opRead, rootDriver, "/g")); got != "one-1" {
		t.Errorf("got %s", got)
	}
}

func TestLimitsOfQueries(t *testing.T) {
	dir := tree(t, map[string]string{"a": "12345", "b": "12345", "d/1": "", "d/2": "", "d/3": ""})
	limited := func(change func(*Limits)) *Run {
		c := granting(t, "{}")
		change(&c.Limits)
		return runOver(t, dir, c, requestOf(t, "{}"))
	}
	ask := func(r *Run, ops string) (all []string) {
		for _, key := range strings.Fields(ops) {
			op := uint32(opRead)
			if strings.Contains(key, "*") {
				op = opGlob
			}
			all = append(all, said(r.Query(op, rootDriver, key)))
		}
		return all
	}
	// Once spent, spent: even what was answered before.
	r := limited(func(l *Limits) { l.Queries = 2 })
	if got := ask(r, "/a /a /b /c /a"); !slices.Equal(got, []string{"12345", "12345", "12345", "-9", "-9"}) || r.spent != "asked more than the 2 queries a run may ask" {
		t.Errorf("queries: %q, %q", got, r.spent)
	}
	r = limited(func(l *Limits) { l.AnswersBytes = 9 })
	if got := ask(r, "/a /b /a"); !slices.Equal(got, []string{"12345", "-9", "-9"}) || r.spent != "was answered more than the 9 bytes a run may be" {
		t.Errorf("answers: %q, %q", got, r.spent)
	}
	r = limited(func(l *Limits) { l.AnswerBytes = 4 })
	if got := ask(r, "/a /d/1 /a"); !slices.Equal(got, []string{"-4", "", "-4"}) || r.spent != "" {
		t.Errorf("answer: %q, %q", got, r.spent)
	}
	r = limited(func(l *Limits) { l.GlobEntries = 2 })
	if got := ask(r, "/d/* /d/1"); !slices.Equal(got, []string{"-4", ""}) {
		t.Errorf("entries: %q", got)
	}
	if _, code := r.Query(opReadDir, rootDriver, "/d"); code != CodeTooLarge {
		t.Errorf("readdir: code %d", code)
	}
}

// A root whose loader has no cache is searched as its loader would.
func TestLdLookupWithoutCache(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	elf := string(self[:64])
	foreign := elf[:18] + "\x00\x00" + elf[20:]
	dir := tree(t, map[string]string{
		"etc/ld.so.conf": "include ld.so.conf.d/*.conf\n# comment\n", "etc/ld.so.conf.d/nv.conf": "/opt/nv/lib # here\n\nhwcap 1 x\n",
		"opt/nv/lib/libgpu.so.1": "-> libgpu.so.1.2", "opt/nv/lib/libgpu.so.1.2": elf, "opt/nv/lib/libgpu.so": "-> libgpu.so.1",
		"usr/lib/libgpu.so.1": foreign, "lib": "-> usr/lib", "usr/lib/libtext.so.1": "GROUP ( libc.so )", "usr/lib64/libgpu.so.2": elf,
		"usr/lib/" + multiarch[runtime.GOARCH] + "/libgpu.so.3": elf,
	})
	r := runOver(t, dir, granting(t, "{}"), requestOf(t, "{}"))
	for key, want := range map[string]string{
		"libgpu.so.1": "/opt/nv/lib/libgpu.so.1.2|",
		"libgpu.so*":  "/opt/nv/lib/libgpu.so.1.2|/usr/lib/" + multiarch[runtime.GOARCH] + "/libgpu.so.3|/usr/lib64/libgpu.so.2|",
		"libtext.so*": "", "libnone.so.1": "", "lib*.so": "-5", "libgpu": "-5", "/usr/lib/libgpu.so.1": "-5", "": "-5",
	} {
		if got := said(r.Query(opLdLookup, rootDriver, key)); got != want {
			t.Errorf("%q: %s, want %s", key, got, want)
		}
	}
	if got := said(r.Query(opLdLookup, rootContainer, "libgpu.so.1")); got != "-6" {
		t.Errorf("in the container: %s", got)
	}
}

// A root with a cache is asked by the cache, and only by it.
func TestLdLookupOfThisMachine(t *testing.T) {
	if _, err := os.Stat("/etc/ld.so.cache"); err != nil {
		unavailable(t, "needs /etc/ld.so.cache")
	}
	r := runOver(t, "", granting(t, "{}"), requestOf(t, "{}"))
	got := said(r.Query(opLdLookup, rootHost, "libc.so.6"))
	p := strings.TrimSuffix(got, "|")
	if !strings.HasPrefix(p, "/") || strings.Contains(p, "|") {
		t.Fatalf("libc.so.6: %s", got)
	}
	if real, err := filepath.EvalSymlinks(p); err != nil || real != p {
		t.Errorf("%s is really %s, %v", p, real, err)
	}
	if got := said(r.Query(opLdLookup, rootHost, "libnone.so.6")); got != "" {
		t.Errorf("libnone.so.6: %s", got)
	}
}

func TestFloor(t *testing.T) {
	for p, want := range map[string]bool{
		"/proc/1": true, "/proc/12/environ": true, "/proc/driver/nvidia": false, "/proc/version": false, "/proc/kcore": true, "/proc/self": true, "/proc/selfish": false, "/proc/sys/kernel/hostname": true,
		"/sys/kernel/debug": true, "/sys/kernel/debug/x/y": true, "/sys/kernel/debugger": false, "/sys/bus/pci/devices/0000:01:00.0/resource0": true, "/sys/bus/pci/devices/0000:01:00.0/resource0_wc": true,
		"/sys/bus/pci/devices/0000:01:00.0/vendor": false, "/sys/module/nvidia/version": false, "/etc/shadow": true, "/etc/shadow-": true, "/etc/sudoers.d/x": true, "/etc/passwd": false,
		"/root": true, "/root/.ssh/id": true, "/rootfs": false, "/home/u": true, "/run/docker.sock": true, "/run/nvidia": false, "/var/lib/docker/x": true, "/": false, "/proc": false, "/sys": false,
	} {
		if got := discover.ForbiddenQuery(p); got != want {
			t.Errorf("floor(%q) = %v", p, got)
		}
	}
}

// The fallback for kernels without openat2 finds what the kernel finds.
func TestWalkAgreesWithOpenat2(t *testing.T) {
	dir := machineTree(t)
	for name, target := range map[string]string{
		"l1": "etc/..//etc/./hostname", "l2": "/../../etc", "l3": "l2/hostname", "l4": "etc/hostname/", "l5": "etc/hostname/..", "l6": "etc/nv/../nv/a.csv", "l7": "/", "l8": ".", "l9": "l7/l8/opt/nv/",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.close()
	for _, p := range []string{"/", "/abs", "/escape", "/dangling", "/circle", "/etc/nv", "/etc/nv/a.csv", "/etc/hostname/x", "/fifo", "/leakdir/key", "/none/x",
		"/l1", "/l2", "/l3", "/l4", "/l5", "/l6", "/l7", "/l8", "/l9", "/l9/a.csv", "/l2/nv/B.csv", "/bin/prog"} {
		for _, follow := range []bool{true, false} {
			sameNode(t, root, p, follow)
		}
	}
}

func sameNode(t *testing.T, root *root, p string, follow bool) {
	t.Helper()
	a, _, errA := root.open(p, follow)
	b, errB := root.walk(p, follow)
	if errA != errB {
		t.Errorf("%q follow %v: openat2 says %v, walk says %v", p, follow, errA, errB)
	}
	var statA, statB unix.Stat_t
	if errA == nil {
		unix.Fstat(a, &statA)
		unix.Close(a)
	}
	if errB == nil {
		unix.Fstat(b, &statB)
		unix.Close(b)
	}
	if statA.Ino != statB.Ino || statA.Dev != statB.Dev {
		t.Errorf("%q follow %v: openat2 and walk find different files", p, follow)
	}
}

// Queries keep no descriptor but the folders that a root holds, which are few,
// and Close gives those back.
func TestQueriesCloseWhatTheyOpen(t *testing.T) {
	dir := machineTree(t)
	r := runOver(t, dir, granting(t, "{}"), requestOf(t, "{}"))
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := count()
	for op := uint32(opStat); op <= opWhich; op++ {
		for _, key := range []string{"/", "/etc/hostname", "/abs", "/etc/shadow", "/leak", "/fifo", "/large", "/none", "/circle", "/opt/*/*", "/bin/prog", "libc.so.6"} {
			r.Query(op, rootDriver, key)
		}
	}
	for _, p := range []string{"/l", "/abs", "/circle", "/etc/nv/a.csv/x"} {
		if fd, err := r.roots[rootDriver].walk(p, true); err == nil {
			unix.Close(fd)
		}
	}
	held := 0
	for _, root := range r.roots {
		for _, fd := range root.folders {
			if fd >= 0 {
				held++
			}
		}
	}
	if after := count(); after != before+held || held == 0 {
		t.Errorf("%d descriptors before, %d after, %d folders are held", before, after, held)
	}
	r.Close()
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d when the run is closed", before, after)
	}
}

// No key, whatever it is, makes a query panic, block, answer more than it may,
// or show a secret.
func FuzzQueryKey(f *testing.F) {
	for _, key := range []string{"", "/", "/etc/hostname", "/etc/shadow", "/leak", "/fifo", "/*/*", "/opt/nv/[", "../..", "/a/../b", "A=b", "/process/env/0", "libc.so*", "op.15", "a.b.c", "\xff\x00", "/proc/1/environ", "/~0~1"} {
		for op := range uint32(17) {
			f.Add(op, uint32(rootDriver), key)
		}
		f.Add(uint32(opSpec), uint32(rootHost), key)
	}
	dir := machineTree(f)
	req := requestOf(f, `{"process":{"env":["A=b"]},"annotations":{"k":"v"}}`)
	f.Fuzz(func(t *testing.T, op, root uint32, key string) {
		if op >= opStat && root == rootHost && op != opFeature {
			root = rootDriver // the machine itself is no test data
		}
		r := runOver(t, dir, granting(t, "{}"), req)
		start := time.Now()
		answer, code := r.Query(op, root, key)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if code > 0 || code < CodeSpent || code != CodeOK && answer != nil || len(answer) > r.config.Limits.AnswerBytes {
			t.Errorf("%d bytes, code %d", len(answer), code)
		}
		if strings.Contains(string(answer), "secret") {
			t.Errorf("op %d %q answers %q", op, key, answer)
		}
		again, codeAgain := r.Query(op, root, key)
		if string(again) != string(answer) || codeAgain != code {
			t.Errorf("answers %q, then %q", said(answer, code), said(again, codeAgain))
		}
	})
}

// The glob query finds exactly the paths whose segments path.Match accepts.
func FuzzGlob(f *testing.F) {
	names := []string{"a", "ab", "b.csv", ".x", "a*b", "[a]", "ä", `a\b`, "-"}
	dir := f.TempDir()
	var all []string
	for _, outer := range names {
		all = append(all, "/"+outer)
		if err := os.Mkdir(filepath.Join(dir, outer), 0o755); err != nil {
			f.Fatal(err)
		}
		for _, inner := range names {
			all = append(all, "/"+outer+"/"+inner)
			if err := os.WriteFile(filepath.Join(dir, outer, inner), nil, 0o644); err != nil {
				f.Fatal(err)
			}
		}
	}
	for _, pattern := range []string{"/*", "/*/*", "/a/*", "/[a-b]*/?", `/a\*b/*`, "/[^a]/b.csv", "/a*b/[[]a]", "/ä", "/*/-", `/a\\b`, "/a/b/c", "/[", "/**", "//", "/[]a]"} {
		f.Add(pattern)
	}
	req := requestOf(f, "{}")
	f.Fuzz(func(t *testing.T, pattern string) {
		answer, code := runOver(t, dir, granting(t, "{}"), req).Query(opGlob, rootDriver, pattern)
		if code != CodeOK {
			if code != CodeInvalid && code != CodeDenied {
				t.Errorf("%q: code %d", pattern, code)
			}
			return
		}
		var want []string
		for _, p := range all {
			segments, parts := strings.Split(pattern, "/"), strings.Split(p, "/")
			ok := len(segments) == len(parts)
			for i := 0; ok && i < len(parts); i++ {
				match, err := path.Match(segments[i], parts[i])
				ok = match && err == nil
			}
			if ok {
				want = append(want, p+"\x00")
			}
		}
		slices.Sort(want)
		if got := string(answer); got != strings.Join(want, "") {
			t.Errorf("%q finds %q, want %q", pattern, got, want)
		}
	})
}

// A stat after a realpath of the same path needs no second look, and says what
// the first would have said.
func TestStatAfterRealPathIsTheSame(t *testing.T) {
	dir := tree(t, map[string]string{"usr/lib/libx.so.1": "12345", "lib": "-> usr/lib", "usr/lib/libx.so": "-> libx.so.1", "proc/version": "x"})
	for _, p := range []string{"/usr/lib/libx.so.1", "/lib/libx.so.1", "/usr/lib/libx.so", "/usr/lib", "/none", "/"} {
		fresh := said(runOver(t, dir, granting(t, "{}"), requestOf(t, "{}")).Query(opStat, rootDriver, p))
		r := runOver(t, dir, granting(t, "{}"), requestOf(t, "{}"))
		r.Query(opRealPath, rootDriver, p)
		if got := said(r.Query(opStat, rootDriver, p)); got != fresh {
			t.Errorf("%s: %q after realpath, %q without", p, got, fresh)
		}
	}
	for _, p := range []string{"/proc/version", "/sys/kernel/notes"} { // sizes of procfs and sysfs are 0
		r := runOver(t, "", granting(t, "{}"), requestOf(t, "{}"))
		r.Query(opRealPath, rootHost, p)
		answer, code := r.Query(opStat, rootHost, p)
		if code != CodeOK || binary.LittleEndian.Uint64(answer[24:]) != 0 {
			t.Errorf("%s: code %d, %x", p, code, answer)
		}
	}
	// What realpath may see and stat may not.
	r := runOver(t, dir, granting(t, "{}"), requestOf(t, "{}"))
	only := NewRights(Grants{Queries: QueryGrants{FS: []FSGrant{{Root: "driver", Ops: []string{"realpath"}, Paths: []string{"/**"}}}}},
		Grants{Queries: QueryGrants{FS: []FSGrant{{Root: "driver", Ops: []string{"realpath"}, Paths: []string{"/**"}}}}}, dir)
	r.rights = &only
	if got := said(r.Query(opRealPath, rootDriver, "/usr/lib/libx.so.1")); got != "/usr/lib/libx.so.1" {
		t.Errorf("realpath: %s", got)
	}
	if got := said(r.Query(opStat, rootDriver, "/usr/lib/libx.so.1")); got != "-2" {
		t.Errorf("stat without a grant: %s", got)
	}
}
