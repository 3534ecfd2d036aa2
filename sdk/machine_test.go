// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// record writes a recorded machine; values that begin with -> are links, and
// those that begin with +x are executable.
func record(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, name)
		} else if script, ok := strings.CutPrefix(text, "+x"); ok {
			err = os.WriteFile(name, []byte(script), 0o755)
		} else {
			err = os.WriteFile(name, []byte(text), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestAnswers holds each query against the framing and the errors of ABI.md.
func TestAnswers(t *testing.T) {
	m, err := OpenMachine(record(t, map[string]string{
		"devices":                  "# a comment\n\nc 195 255 0666 1 2 /dev/nvidiactl\nb 8 0 0660 0 6 /dev/disk/sda\n",
		"ldcache":                  "libx.so.1 /usr/lib/libx.so.1\nlibx.so.2 /usr/lib/libx.so\nlibgone.so.1 /usr/lib/libgone.so.1\nlibxy.so.1 /usr/lib/libx.so.1\n",
		"root/etc/b":               "bb",
		"root/etc/a":               "",
		"root/etc/.hidden":         "",
		"root/etc/bad\xffname":     "no query can name it",
		"root/etc/dangling":        "->nowhere",
		"root/etc/loop":            "->loop",
		"root/etc/up":              "->../../../etc/b",
		"root/usr/lib/libx.so.1":   "->libx.so.1.2",
		"root/usr/lib/libx.so":     "->/usr/lib/libx.so.1",
		"root/usr/lib/libx.so.1.2": "elf",
		"root/lib":                 "->usr/lib",
		"root/usr/bin/tool":        "+x#!",
		"root/usr/sbin/tool":       "not executable",
		"root/bin/linked":          "->../usr/bin/tool",
		"root/big":                 strings.Repeat("x", 1<<20+1),
		"root/biggest":             strings.Repeat("x", 1<<20),
		"container/etc/os-release": "ID=x",
		"driver/usr/bin/tool2":     "+x",
	}))
	if err != nil {
		t.Fatal(err)
	}
	r := Request{
		Env:         []string{"A=1", "B", "A=2=3", "EMPTY="},
		Annotations: map[string]string{"k/x": "v"},
		Mounts: []Mount{
			{Destination: "/var/run/d", Source: "/s", Type: "bind", Options: []string{"ro", "rbind"}},
			{Destination: "/var/run/dd"}, {Destination: "var//run/d/x/", Source: "y"},
		},
		Spec:   []byte(`{"b":[1.50, {"~/":"<é>"}],"a":{"z":1e3, "y":null}}`),
		Config: map[string]string{"driver_root": "/d"},
	}
	record32 := func(kind byte, mode uint16, rest ...byte) string {
		b := make([]byte, 32)
		b[0], b[4], b[5] = kind, byte(mode), byte(mode>>8)
		copy(b[8:], rest)
		return string(b)
	}
	sized := func(kind byte, mode uint16, size byte) string {
		b := []byte(record32(kind, mode))
		b[24] = size
		return string(b)
	}
	for _, tt := range []struct {
		name string
		op   Op
		root Root
		key  string
		want string
		code Code
	}{
		{"env: the last one counts", OpEnv, Host, "A", "2=3", 0},
		{"env: empty is there", OpEnv, Host, "EMPTY", "", 0},
		{"env: without = is not there", OpEnv, Host, "B", "", NotFound},
		{"env: a name has no =", OpEnv, Host, "A=", "", InvalidArgument},
		{"env: no name", OpEnv, Host, "", "", InvalidArgument},
		{"env: another root", OpEnv, Driver, "A", "", Unsupported},
		{"a key is UTF-8", OpEnv, Host, "\xff", "", InvalidArgument},
		{"a key has no zero byte", OpEnv, Host, "A\x00", "", InvalidArgument},
		{"annotation", OpAnnotation, Host, "k/x", "v", 0},
		{"annotation: none", OpAnnotation, Host, "k", "", NotFound},
		{"spec: sorted, numbers as written", OpSpec, Host, "/a", `{"y":null,"z":1e3}`, 0},
		{"spec: compact", OpSpec, Host, "/b", `[1.50,{"~/":"<é>"}]`, 0},
		{"spec: not the whole", OpSpec, Host, "", "", Denied},
		{"spec: escapes", OpSpec, Host, "/b/1/~0~1", `"<é>"`, 0},
		{"spec: null is there", OpSpec, Host, "/a/y", "null", 0},
		{"spec: index over the end", OpSpec, Host, "/b/2", "", NotFound},
		{"spec: - is no element", OpSpec, Host, "/b/-", "", NotFound},
		{"spec: no leading zero", OpSpec, Host, "/b/00", "", NotFound},
		{"spec: below a number", OpSpec, Host, "/b/0/x", "", NotFound},
		{"spec: no slash", OpSpec, Host, "b", "", InvalidArgument},
		{"spec: bad escape", OpSpec, Host, "/b~2", "", InvalidArgument},
		{"mounts: at and below, as they stand there", OpMounts, Host, "/var/run/d", "/var/run/d\x00/s\x00bind\x00ro,rbind\x00var//run/d/x/\x00y\x00\x00\x00", 0},
		{"mounts: none", OpMounts, Host, "/x", "", 0},
		{"mounts: relative", OpMounts, Host, "x", "", InvalidArgument},
		{"config", OpConfig, Host, "driver_root", "/d", 0},
		{"config: strict is the core's", OpConfig, Host, "strict", "false", 0},
		{"config: no key", OpConfig, Host, "", "", InvalidArgument},
		{"config: none", OpConfig, Host, "x", "", NotFound},
		{"stat: device", OpStat, Host, "/dev/nvidiactl", record32('c', 0o666, 1, 0, 0, 0, 2, 0, 0, 0, 195, 0, 0, 0, 255), 0},
		{"stat: folder, no size", OpStat, Host, "/etc", record32('d', 0o755), 0},
		{"stat: file", OpStat, Host, "/etc/b", sized('f', 0o644, 2), 0},
		{"stat: executable", OpStat, Host, "/usr/bin/tool", sized('f', 0o755, 2), 0},
		{"stat: a link is not followed", OpStat, Host, "/lib", sized('l', 0o777, 7), 0},
		{"stat: links on the way are", OpStat, Host, "/lib/libx.so.1.2", sized('f', 0o644, 3), 0},
		{"stat: root", OpStat, Host, "/", record32('d', 0o755), 0},
		{"stat: below a file", OpStat, Host, "/etc/b/x", "", NotFound},
		{"stat: relative", OpStat, Host, "etc", "", InvalidArgument},
		{"stat: ..", OpStat, Host, "/etc/../etc", "", InvalidArgument},
		{"stat: not the shortest form", OpStat, Host, "/etc/", "", InvalidArgument},
		{"stat: unknown root", OpStat, 3, "/", "", Unsupported},
		{"readdir: sorted, without what no query can name", OpReadDir, Host, "/etc", "f.hidden\x00fa\x00fb\x00ldangling\x00lloop\x00lup\x00", 0},
		{"readdir: follows", OpReadDir, Host, "/lib", "llibx.so\x00llibx.so.1\x00flibx.so.1.2\x00", 0},
		{"readdir: not a folder", OpReadDir, Host, "/etc/b", "", WrongType},
		{"readdir: devices", OpReadDir, Host, "/dev", "ddisk\x00cnvidiactl\x00", 0},
		{"read", OpRead, Host, "/etc/b", "bb", 0},
		{"read: empty is there", OpRead, Host, "/etc/a", "", 0},
		{"read: .. of a link stays inside", OpRead, Host, "/etc/up", "bb", 0},
		{"read: dangling", OpRead, Host, "/etc/dangling", "", NotFound},
		{"read: loop", OpRead, Host, "/etc/loop", "", NotFound},
		{"read: folder", OpRead, Host, "/etc", "", WrongType},
		{"read: device", OpRead, Host, "/dev/nvidiactl", "", WrongType},
		{"read: over the limit", OpRead, Host, "/big", "", TooLarge},
		{"read: container", OpRead, Container, "/etc/os-release", "ID=x", 0},
		{"read: roots are apart", OpRead, Driver, "/etc/b", "", NotFound},
		{"readlink", OpReadLink, Host, "/etc/dangling", "nowhere", 0},
		{"readlink: not a link", OpReadLink, Host, "/etc/b", "", WrongType},
		{"readlink: none", OpReadLink, Host, "/etc/c", "", NotFound},
		{"glob: sorted, dots too", OpGlob, Host, "/etc/*", "/etc/.hidden\x00/etc/a\x00/etc/b\x00/etc/dangling\x00/etc/loop\x00/etc/up\x00", 0},
		{"glob: through a link, as written", OpGlob, Host, "/l*/libx.so.?", "/lib/libx.so.1\x00", 0},
		{"glob: class", OpGlob, Host, "/etc/[a-b]", "/etc/a\x00/etc/b\x00", 0},
		{"glob: escape", OpGlob, Host, `/etc/\a`, "/etc/a\x00", 0},
		{"glob: none is an empty list", OpGlob, Host, "/nowhere/*", "", 0},
		{"glob: no pattern", OpGlob, Host, "/etc/dangling", "/etc/dangling\x00", 0},
		{"glob: root", OpGlob, Host, "/", "", InvalidArgument},
		{"glob: **", OpGlob, Host, "/etc/**", "", InvalidArgument},
		{"glob: bad pattern", OpGlob, Host, "/nowhere/[", "", InvalidArgument},
		{"ldlookup: real path", OpLdLookup, Host, "libx.so.1", "/usr/lib/libx.so.1.2\x00", 0},
		{"ldlookup: each once", OpLdLookup, Host, "libx.so*", "/usr/lib/libx.so.1.2\x00", 0},
		{"ldlookup: in the cache, not on disk", OpLdLookup, Host, "libgone.so.1", "", 0},
		{"ldlookup: star before .so", OpLdLookup, Host, "lib*.so", "", InvalidArgument},
		{"ldlookup: no .so", OpLdLookup, Host, "libx", "", InvalidArgument},
		{"ldlookup: only * is special", OpLdLookup, Host, "lib?.so.1", "", 0},
		{"ldlookup: a path", OpLdLookup, Host, "/usr/lib/libx.so.1", "", InvalidArgument},
		{"ldlookup: container", OpLdLookup, Container, "libx.so.1", "", Unsupported},
		{"realpath", OpRealPath, Host, "/lib/libx.so", "/usr/lib/libx.so.1.2", 0},
		{"realpath: root", OpRealPath, Host, "/", "/", 0},
		{"realpath: loop", OpRealPath, Host, "/etc/loop", "", NotFound},
		{"feature: which", OpFeature, Host, "op.15", "1", 0},
		{"feature: provider", OpFeature, Host, "op.14", "", NotFound},
		{"feature: 0", OpFeature, Host, "op.0", "", NotFound},
		{"feature: an edit", OpFeature, Host, "edit.netDevices", "1", 0},
		{"feature: unknown", OpFeature, Host, "x", "", NotFound},
		{"which: the first that can run", OpWhich, Host, "tool", "/usr/bin/tool", 0},
		{"which: a link to one", OpWhich, Host, "linked", "/bin/linked", 0},
		{"which: absolute", OpWhich, Host, "/bin/linked", "/bin/linked", 0},
		{"which: not executable", OpWhich, Host, "/usr/sbin/tool", "", NotFound},
		{"which: a folder", OpWhich, Host, "/etc", "", NotFound},
		{"which: driver root", OpWhich, Driver, "tool2", "/usr/bin/tool2", 0},
		{"which: relative", OpWhich, Host, "bin/tool", "", InvalidArgument},
		{"which: container", OpWhich, Container, "tool", "", Unsupported},
		{"provider is reserved", 14, Host, "x", "", Unsupported},
		{"unknown op", 99, Host, "x", "", Unsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, code := m.answer(&Request{Env: r.Env, Annotations: r.Annotations, Mounts: r.Mounts, Spec: r.Spec,
				Config: map[string]string{"driver_root": "/d", "strict": "false"}}, tt.op, tt.root, tt.key)
			if string(got) != tt.want || code != tt.code {
				t.Fatalf("got %q, %v; want %q, %v", got, code, tt.want, tt.code)
			}
		})
	}
	if b, ok, err := m.Context(r).ReadFile(Host, "/biggest"); err != nil || !ok || len(b) != 1<<20 {
		t.Errorf("1 MiB: %d bytes, %v, %v", len(b), ok, err)
	}
}

func TestContextTakesAnswersApart(t *testing.T) {
	m, err := OpenMachine(record(t, map[string]string{"devices": "c 10 121 0660 0 44 /dev/nvmap\n", "root/a/b": "text", "root/a/l": "->b"}))
	if err != nil {
		t.Fatal(err)
	}
	mount := Mount{Destination: "/x", Source: "/dev/null", Type: "bind", Options: []string{"ro", "rbind"}}
	c := m.Context(Request{Env: []string{"E=1"}, Mounts: []Mount{mount, {Destination: "/x/y"}}})
	if v, ok, err := c.Env("E"); v != "1" || !ok || err != nil {
		t.Error(v, ok, err)
	}
	if v, ok, err := c.Env("F"); v != "" || ok || err != nil {
		t.Error(v, ok, err)
	}
	if st, ok, err := c.Stat(Host, "/dev/nvmap"); st != (Stat{Type: 'c', Mode: 0o660, GID: 44, Major: 10, Minor: 121}) || !ok || err != nil {
		t.Error(st, ok, err)
	}
	if list, ok, err := c.ReadDir(Host, "/a"); !reflect.DeepEqual(list, []DirEntry{{'f', "b"}, {'l', "l"}}) || !ok || err != nil {
		t.Error(list, ok, err)
	}
	if list, err := c.Glob(Host, "/a/?"); !reflect.DeepEqual(list, []string{"/a/b", "/a/l"}) || err != nil {
		t.Error(list, err)
	}
	if list, err := c.Mounts("/x"); !reflect.DeepEqual(list, []Mount{mount, {Destination: "/x/y"}}) || err != nil {
		t.Error(list, err)
	}
	if _, _, err := c.ReadLink(Host, "/a/b"); !errors.Is(err, WrongType) || err.Error() != "/a/b: has the wrong file type" {
		t.Error(err)
	}
	c.Log(Debug, "not kept")
	c.Explain("because")
	if got := c.Explained(); !reflect.DeepEqual(got, []string{"because"}) {
		t.Error(got)
	}
	if root, ok, err := c.Config("driver_root"); root != "/" || !ok || err != nil {
		t.Error(root, ok, err)
	}
}

func TestWrongRecordedMachinesNameTheLine(t *testing.T) {
	for _, tt := range []struct{ file, text, want string }{
		{"devices", "\nx 1 2 0666 0 0 /dev/x\n", `devices:2: "x 1 2 0666 0 0 /dev/x" is not: type major minor mode uid gid /path`},
		{"devices", "c 1 2 0666 0 0 dev/x\n", `devices:1: "c 1 2 0666 0 0 dev/x" is not: type major minor mode uid gid /path`},
		{"devices", "c 1 2 0999 0 0 /dev/x\n", `devices:1: "c 1 2 0999 0 0 /dev/x" is not: type major minor mode uid gid /path`},
		{"devices", "c 1 2 0666 0 0 /dev/x\nc 1 2 0666 0 0 /dev/x\n", `devices:2: /dev/x: stands twice`},
		{"devices", "c 1 2 0666 0 0 /dev/x\nc 1 2 0666 0 0 /dev/x/y\n", `devices:2: /dev/x/y: a parent is not a folder`},
		{"ldcache", "libx.so.1\n", `ldcache:1: "libx.so.1" is not: soname /path`},
	} {
		dir := record(t, map[string]string{tt.file: tt.text})
		_, err := OpenMachine(dir)
		if want := filepath.Join(dir, tt.want); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", tt.text, err, want)
		}
	}
	if _, err := OpenMachine(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
