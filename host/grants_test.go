// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// installed is a config in which the mode m has a manifest with these grants, and
// the administrator has accepted others; "" for the same.
func installed(t testing.TB, grants, accepted string) Config {
	t.Helper()
	c := DefaultConfig()
	m := mustManifest(t, `{"abi":{"major":1,"minor":0},"name":"a.b","version":"0.0.0",`+grants[1:])
	if accepted == "" {
		accepted = m.GrantsText
	}
	c.Installed = []Installed{{Name: "m", Digest: "sha256:" + strings.Repeat("0", 64), Manifest: m.Text, Accepted: accepted, Entry: "/etc/tenon/modules.d/m.toml"}}
	return c
}

// granting is a config in which the mode m may ask everything that can be granted,
// and has these edits.
func granting(t testing.TB, edits string) Config {
	t.Helper()
	return installed(t, strings.Replace(everything, `"edits":{}`, `"edits":`+edits, 1), "")
}

const everything = `{"grants":{"env":["**"],"annotations":["**"],"spec":["/process","/annotations","/big","/none","/b"],"mounts":["/"],"config":true,"ld":["*"],"fs":[` +
	`{"root":"host","ops":["stat","readdir","read","readlink","glob","realpath","which"],"paths":["/**"]},` +
	`{"root":"driver","ops":["stat","readdir","read","readlink","glob","realpath","which"],"paths":["/**"]},` +
	`{"root":"container","ops":["stat","readdir","read","readlink","glob","realpath"],"paths":["/**"]}]},"edits":{}}`

const nothing = `{"grants":{},"edits":{}}`

// T28: no manifest opens the floor, and no spelling of a path gets around it.
func TestT28NoManifestOpensTheFloor(t *testing.T) {
	dir := tree(t, map[string]string{"etc/shadow": "secret", "etc/hostname": "h"})
	r := runOver(t, dir, installed(t, everything, ""), requestOf(t, `{}`))
	long := "/" + strings.Repeat("a/", 2499) + "a"
	for _, root := range []uint32{rootHost, rootDriver, rootContainer} {
		for _, op := range []uint32{opStat, opReadDir, opRead, opReadLink, opRealPath} {
			for _, p := range []string{"/proc/self/environ", "/proc/1/root/etc/shadow", "/etc/shadow", "/root/.ssh/id", "/home/u", "/proc/kcore", "/sys/firmware"} {
				if answer, code := r.Query(op, root, p); code != CodeDenied {
					t.Errorf("op %d of root %d, %s: %s", op, root, p, said(answer, code))
				}
			}
			for _, p := range []string{"/etc/../etc/shadow", "//etc/shadow", "/etc/./shadow", "/etc//shadow", "/etc/shadow/", "/etc/shadow\x00", long, "/\xff", "etc/shadow", ""} {
				if answer, code := r.Query(op, root, p); code != CodeInvalid {
					t.Errorf("op %d of root %d, %.40q: %s", op, root, p, said(answer, code))
				}
			}
		}
	}
	// A device is never opened, whatever is granted.
	if answer, code := r.Query(opRead, rootHost, "/dev/null"); code != CodeWrongType {
		t.Errorf("read of a device: %s", said(answer, code))
	}
}

// T29: what a link or a mount leads to counts, and what kind of file is there.
func TestT29WhatAPathLeadsToCounts(t *testing.T) {
	dir := tree(t, map[string]string{
		"opt/acme/version": "1", "opt/acme/shadow": "-> /etc/shadow", "opt/acme/etc": "-> /etc", "opt/acme/out": "-> ../other/x", "opt/other/x": "x",
		"opt/acme/in": "-> version", "etc/shadow": "secret", "opt/acme/bound/": "", "opt/acme/file": "",
	})
	if err := unix.Mkfifo(filepath.Join(dir, "opt/acme/fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	c := installed(t, `{"grants":{"fs":[{"root":"driver","ops":["read","readdir","stat","realpath"],"paths":["/opt/acme/**"]}]},"edits":{}}`, "")
	r := runOver(t, dir, c, requestOf(t, `{}`))
	start := time.Now()
	for _, test := range []struct {
		op   uint32
		key  string
		want string
	}{
		{opRead, "/opt/acme/version", "1"}, {opRead, "/opt/acme/in", "1"}, {opRealPath, "/opt/acme/in", "/opt/acme/version"},
		{opRead, "/opt/acme/shadow", "-2"}, {opRead, "/opt/acme/etc/shadow", "-2"}, {opReadDir, "/opt/acme/etc", "-2"}, {opStat, "/opt/acme/etc/hostname", "-1"},
		{opRead, "/opt/acme/out", "-2"}, {opRealPath, "/opt/acme/out", "-2"}, {opRead, "/opt/other/x", "-2"}, {opRead, "/opt/other/none", "-2"},
		{opRead, "/opt/acme/fifo", "-3"},
	} {
		if got := said(r.Query(test.op, rootDriver, test.key)); got != test.want {
			t.Errorf("op %d %s: %s, want %s", test.op, test.key, got, test.want)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("a FIFO was waited for: %v", took)
	}
	needRoot(t)
	etc := filepath.Join(dir, "opt/acme/bound")
	if err := unix.Mount("/etc", etc, "", unix.MS_BIND, ""); err != nil {
		unavailable(t, "needs mounts: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(etc, unix.MNT_DETACH) })
	shadow := filepath.Join(dir, "opt/acme/file")
	if err := unix.Mount("/etc/shadow", shadow, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(shadow, unix.MNT_DETACH) })
	r = runOver(t, dir, c, requestOf(t, `{}`))
	for key, want := range map[string]string{"/opt/acme/bound/shadow": "-2", "/opt/acme/file": "-2"} {
		if got := said(r.Query(opRead, rootDriver, key)); got != want {
			t.Errorf("through a bind mount, %s: %.40s, want %s", key, got, want)
		}
	}
	if answer, code := r.Query(opRead, rootDriver, "/opt/acme/bound/passwd"); code != CodeOK || len(answer) == 0 {
		t.Errorf("what is no secret: %s", said(answer, code))
	}
}

// H-65: every query is denied by default, there or not; what is granted is the one
// thing that stands in the list.
func TestQueriesAreDeniedByDefault(t *testing.T) {
	dir := tree(t, map[string]string{"opt/a": "x", "opt/sub/b": "y", "usr/bin/tool": "", "opt/link": "-> a"})
	if err := os.Chmod(filepath.Join(dir, "usr/bin/tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	req := requestOf(t, `{"process":{"env":["A=1","B=2"],"args":["x"]},"annotations":{"k":"v"},"mounts":[{"destination":"/m/x"}]}`)
	for _, test := range []struct {
		op, root uint32
		key      string
		grant    string
		want     string
	}{
		{opEnv, rootHost, "A", `"env":["A"]`, "1"}, {opEnv, rootHost, "C", `"env":["[C-D]"]`, "-1"},
		{opAnnotation, rootHost, "k", `"annotations":["k"]`, "v"},
		{opSpec, rootHost, "/process/args/0", `"spec":["/process/args"]`, `"x"`}, {opSpec, rootHost, "/process/args", `"spec":["/process"]`, `["x"]`},
		{opMounts, rootHost, "/m/x", `"mounts":["/m"]`, "/m/x||||"},
		{opConfig, rootHost, "key", `"config":true`, "-1"},
		{opStat, rootDriver, "/opt/none", `"fs":[{"root":"driver","ops":["stat"],"paths":["/opt/none"]}]`, "-1"},
		{opRead, rootDriver, "/opt/a", `"fs":[{"root":"driver","ops":["read"],"paths":["/opt/?"]}]`, "x"},
		{opReadDir, rootDriver, "/opt/sub", `"fs":[{"root":"driver","ops":["readdir"],"paths":["/opt/sub"]}]`, "fb|"},
		{opReadLink, rootDriver, "/opt/link", `"fs":[{"root":"driver","ops":["readlink"],"paths":["/opt/link"]}]`, "a"},
		{opRealPath, rootDriver, "/opt/link", `"fs":[{"root":"driver","ops":["realpath"],"paths":["/opt/*"]}]`, "/opt/a"},
		{opGlob, rootDriver, "/opt/*", `"fs":[{"root":"driver","ops":["glob"],"paths":["/opt/[a-l]*"]}]`, "/opt/a|/opt/link|"},
		{opGlob, rootDriver, "/*/*/*", `"fs":[{"root":"driver","ops":["glob"],"paths":["/opt/sub/**"]}]`, "/opt/sub/b|"},
		{opGlob, rootDriver, "/opt/a", `"fs":[{"root":"driver","ops":["glob"],"paths":["/opt/a"]}]`, "/opt/a|"},
		{opWhich, rootDriver, "tool", `"fs":[{"root":"driver","ops":["which"],"paths":["/usr/bin/tool"]}]`, "/usr/bin/tool"},
		{opWhich, rootDriver, "/usr/bin/tool", `"fs":[{"root":"driver","ops":["which"],"paths":["/usr/bin/*"]}]`, "/usr/bin/tool"},
		{opLdLookup, rootDriver, "libnone.so.*", `"ld":["libnone*"]`, ""},
	} {
		grant := `{"grants":{` + test.grant + `},"edits":{}}`
		for _, c := range []struct {
			what   string
			config Config
			want   string
		}{
			{"granted", installed(t, grant, ""), test.want},
			{"not in the manifest", installed(t, nothing, grant), "-2"},
			{"not accepted", installed(t, grant, nothing), "-2"},
			{"of another root", installed(t, strings.ReplaceAll(grant, "driver", "container"), ""), map[bool]string{true: "-2", false: test.want}[strings.Contains(grant, "driver")]},
		} {
			r := runOver(t, dir, c.config, req)
			if got := said(r.Query(test.op, test.root, test.key)); got != c.want {
				t.Errorf("%s %s, %s: %s, want %s", opName(test.op), test.key, c.what, got, c.want)
			}
		}
	}
	r := runOver(t, dir, installed(t, nothing, ""), req)
	// What is malformed is so whatever is granted: H-26, H-29, H-32, H-46.
	for op, keys := range map[uint32][]string{
		opEnv: {"", "A=1"}, opSpec: {"process", "/process/~2", "/process/~"}, opMounts: {"m", "/m/"}, opConfig: {""},
		opLdLookup: {"libx", "/libx.so", "*.so", ".so"}, opRead: {"opt/a", "/opt/../opt/a"},
	} {
		for _, key := range keys {
			if got := said(r.Query(op, rootHost, key)); got != "-5" {
				t.Errorf("%s %q: %s, want -5", opName(op), key, got)
			}
		}
	}
	// What needs no grant.
	for key, want := range map[string]string{"strict": "false", "driver_root": dir} {
		if got := said(r.Query(opConfig, rootHost, key)); got != want {
			t.Errorf("config %s: %s", key, got)
		}
	}
	if got := said(r.Query(opFeature, rootHost, "op.15")); got != "1" {
		t.Errorf("feature: %s", got)
	}
}

// A soname with a star is granted only where whatever it may find is.
func TestAStarInASonameIsNoWayAround(t *testing.T) {
	rights := func(grant string) *Rights {
		g := Grants{Queries: QueryGrants{Ld: []string{grant}}}
		r := NewRights(g, g, "/")
		return &r
	}
	for _, test := range []struct {
		grant, key string
		want       bool
	}{
		{"libacme.so", "libacme.so", true}, {"libacme.so", "libacme.so*", false}, {"libacme.so.1", "libacme.so.*", false},
		{"libacme.so.*", "libacme.so.*", true}, {"libacme*", "libacme.so.*", true}, {"libacme.so.*.1", "libacme.so.*", false}, {"*", "libx.so.*", true},
	} {
		if got := rights(test.grant).key(question{opLdLookup, rootHost, test.key}); got != test.want {
			t.Errorf("%s of %s: %v", test.grant, test.key, got)
		}
	}
}

// H-64: effective rights are never wider than the manifest, nor than what was accepted:
// whatever both hold alone is exactly what both hold together.
func TestRightsAreTheIntersection(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) []string {
		var some []string
		for _, s := range list {
			if random.IntN(3) == 0 {
				some = append(some, s)
			}
		}
		return some
	}
	paths := []string{"/a", "/a/b", "/a/*", "/a/**", "/**/b", "/[a-b]/?", "/c"}
	grants := func() (g Grants) {
		g.Queries = QueryGrants{Env: pick("A", "B*", "*"), Annotations: pick("a/*", "k"), Spec: pick("/a", "/a/*/c"), Mounts: pick(paths...),
			Config: random.IntN(2) == 0, Ld: pick("lib*", "liba.so"),
			FS: []FSGrant{{pick2(random, "host", "driver"), pick("stat", "read", "glob"), pick(paths...)}, {"host", pick("read", "which"), pick(paths...)}}}
		return g
	}
	allowed := 0
	for range 3000 {
		m, a := grants(), grants()
		both, manifest, accepted := NewRights(m, a, "/"), NewRights(m, m, "/"), NewRights(a, a, "/")
		q := question{[]uint32{opEnv, opAnnotation, opSpec, opMounts, opConfig, opLdLookup}[random.IntN(6)], rootHost,
			[]string{"A", "BC", "a/x", "k", "/a", "/a/b/c", "liba.so", "/c/d"}[random.IntN(8)]}
		if got, want := both.key(q), manifest.key(q) && accepted.key(q); got != want {
			t.Fatalf("%v with %+v and %+v: %v", q, m, a, got)
		} else if got {
			allowed++
		}
		op, root, p := []uint32{opStat, opRead, opGlob, opWhich}[random.IntN(4)], uint32(random.IntN(3)), []string{"/", "/a", "/a/b", "/b/x", "/c", "/a/b/c/b"}[random.IntN(6)]
		if got, want := both.path(op, root, p), manifest.path(op, root, p) && accepted.path(op, root, p); got != want {
			t.Fatalf("op %d root %d %s with %+v and %+v: %v", op, root, p, m, a, got)
		} else if got {
			allowed++
		}
		if both.reaches(root, p) && !(manifest.reaches(root, p) && accepted.reaches(root, p)) {
			t.Fatalf("root %d %s with %+v and %+v is reached", root, p, m, a)
		}
	}
	if allowed < 300 {
		t.Errorf("only %d were allowed: the cases are no test", allowed)
	}
}

func pick2(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

// H-64, of what nobody has accepted: also where there is no list of what is installed.
func TestAModuleThatIsNotInstalledIsRefused(t *testing.T) {
	c := installed(t, nothing, "")
	for _, c := range []Config{c, DefaultConfig()} {
		const want = `is not installed; run "tenon module install FILE"`
		if _, err := NewRun(c, "other", requestOf(t, "{}"), "", slog.New(slog.DiscardHandler)); err == nil || err.Error() != want {
			t.Errorf("run: %v", err)
		}
		if _, err := c.TraceKeyOf("other"); err == nil || err.Error() != want {
			t.Errorf("trace: %v", err)
		}
		applies, err := c.Applies("other", requestOf(t, "{}"))
		_, limits := c.LimitsOf("other")
		_, rights := c.RightsDigest("other")
		for what, err := range map[string]error{"edits": Resolve(c, "other", devices()), "applies": err, "limits": limits, "rights": rights} {
			if err == nil || err.Error() != "mode other: "+want || applies {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	c.Installed[0].Accepted = `{"grants":{"env":[1]}}`
	want := `/etc/tenon/modules.d/m.toml: accepted: "grants.env[0]" on line 1 is a number, not a string`
	if _, err := NewRun(c, "m", requestOf(t, "{}"), "", slog.New(slog.DiscardHandler)); err == nil || err.Error() != want {
		t.Errorf("a broken entry: %v", err)
	}
}

// The limits of a manifest bound the run.
func TestManifestLimitsBoundTheRun(t *testing.T) {
	c := installed(t, `{"grants":{"env":["*"]},"edits":{},"limits":{"queries":2}}`, nothing)
	r := runOver(t, "", c, requestOf(t, "{}"))
	var codes []int32
	for i := range 3 {
		_, code := r.Query(opEnv, rootHost, fmt.Sprint("V", i))
		codes = append(codes, code)
	}
	if !slices.Equal(codes, []int32{CodeDenied, CodeDenied, CodeSpent}) {
		t.Errorf("codes %v", codes)
	}
}

func TestMountTable(t *testing.T) {
	table := mountTable{list: parseMounts(`22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 0:5 / /dev rw - devtmpfs x rw
30 22 8:1 /etc /opt/acme/with\040space ro - ext4 /dev/sda1 rw
31 22 8:1 /etc/shadow /opt/acme/file rw - ext4 /dev/sda1 rw
32 22 8:2 / /home rw - ext4 /dev/sda2 rw
33 22 8:2 /u /opt/u rw - ext4 /dev/sda2 rw
broken
x 1 8:1 / / rw
`)}
	for _, test := range []struct {
		id   mountID
		p    string
		want []string
	}{
		{30, "/opt/acme/with space/shadow", []string{"/etc/shadow", "/opt/acme/file"}},
		{30, "/opt/acme/with space", []string{"/etc"}},
		{31, "/opt/acme/file", []string{"/etc/shadow", "/opt/acme/with space/shadow"}},
		{33, "/opt/u/x", []string{"/home/u/x"}},
		{23, "/dev/null", nil},
		{99, "/x", nil},
	} {
		if got := table.aliases(test.id, test.p); !slices.Equal(got, test.want) {
			t.Errorf("%d %s: %q", test.id, test.p, got)
		}
	}
}
