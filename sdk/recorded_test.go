// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const recordedQueries = `# a comment
env host "A" "1 = \"one\"\xff"
env host "EMPTY" ""
env host "GONE" not-found
env host "SECRET" redacted
annotation host "k/x" "v"
spec host "/process/args" "[\"sh\"]"
mounts host "/" "/a" "/src" "bind" "ro,nodev" "/b" "" "" ""
config host "driver_root" "/run/x"
stat driver "/dev/x0" in "driver_devices"
stat host "/dev/y0" in "devices"
stat host "/usr/lib/liby.so" f 0 0 0755 1 2 5000000000
stat container "/etc" d 0 0 0755 0 0 0
readdir host "/dev" "cy0" "dshm"
read host "/proc/y/version" in "root/proc/y/version"
read host "/proc/y/empty" in "answers/1"
readlink host "/usr/lib/liby.so.1" "liby.so"
glob host "/none*"
glob host "/dev/y*" "/dev/y0"
ldlookup driver "liby.so.1" "/usr/lib/liby.so" "/usr/lib32/liby.so"
realpath host "/lib" "/usr/lib"
feature host "op.15" "1"
which host "y-smi" denied
read host "/big" too-large
99 7 "?" unsupported
`

func recordedFolder(t *testing.T, queries string) string {
	return record(t, map[string]string{
		"queries": queries, "devices": "c 240 7 0660 0 44 /dev/y0\n", "driver_devices": "b 8 0 0600 0 0 /dev/x0\n",
		"root/proc/y/version": "1.2\n", "answers/1": "", "driver/keep": "",
	})
}

func TestRecordingAnswersWhatWasAsked(t *testing.T) {
	m, err := OpenMachine(recordedFolder(t, recordedQueries))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Recording() {
		t.Fatal("it is no recording")
	}
	c := m.Context(Request{})
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", what, got, err, want)
		}
	}
	value, _, err := c.Env("A")
	check("a value in quotes", value, "1 = \"one\"\xff", err)
	_, ok, err := c.Env("EMPTY")
	check("an empty value is there", ok, true, err)
	_, ok, err = c.Env("GONE")
	check("not found", ok, false, err)
	spec, _, err := c.Spec("/process/args")
	check("spec", string(spec), `["sh"]`, err)
	mounts, err := c.Mounts("/")
	check("mounts", mounts, []Mount{{Destination: "/a", Source: "/src", Type: "bind", Options: []string{"ro", "nodev"}}, {Destination: "/b"}}, err)
	value, _, err = c.Config("driver_root")
	check("config", value, "/run/x", err)
	st, _, err := c.Stat(Driver, "/dev/x0")
	check("a device of the driver root", st, Stat{Type: 'b', Mode: 0o600, Major: 8}, err)
	st, _, err = c.Stat(Host, "/dev/y0")
	check("a device", st, Stat{Type: 'c', Mode: 0o660, GID: 44, Major: 240, Minor: 7}, err)
	st, _, err = c.Stat(Host, "/usr/lib/liby.so")
	check("a file is as large as it was", st, Stat{Type: 'f', Mode: 0o755, UID: 1, GID: 2, Size: 5000000000}, err)
	entries, _, err := c.ReadDir(Host, "/dev")
	check("readdir", entries, []DirEntry{{'c', "y0"}, {'d', "shm"}}, err)
	text, _, err := c.ReadFile(Host, "/proc/y/version")
	check("a file under its own path", string(text), "1.2\n", err)
	text, ok, err = c.ReadFile(Host, "/proc/y/empty")
	check("an empty file", string(text)+map[bool]string{true: "!"}[ok], "!", err)
	list, err := c.Glob(Host, "/none*")
	check("an empty list", len(list), 0, err)
	list, err = c.LdLookup(Driver, "liby.so.1")
	check("a list", list, []string{"/usr/lib/liby.so", "/usr/lib32/liby.so"}, err)
	check("feature", c.Feature("op.15"), true, nil)
	if _, _, err := c.Which(Host, "y-smi"); !errors.Is(err, Denied) {
		t.Errorf("denied: %v", err)
	}
	if _, _, err := c.ReadFile(Host, "/big"); !errors.Is(err, TooLarge) {
		t.Errorf("too large: %v", err)
	}
	if missing := c.Unrecorded(); missing != nil {
		t.Errorf("all was recorded, and %q is missing", missing)
	}
}

// TestRecordingIsStrict: what was not asked then is an error that names it, and
// is kept for who swallows the error.
func TestRecordingIsStrict(t *testing.T) {
	m, err := OpenMachine(recordedFolder(t, recordedQueries))
	if err != nil {
		t.Fatal(err)
	}
	c := m.Context(Request{Env: []string{"B=2"}})
	for _, test := range []struct {
		ask  func() error
		want string
	}{
		{func() error { _, _, err := c.Env("C"); return err }, `variable "C": not in this recorded machine; record it anew`},
		{func() error { _, _, err := c.Env("SECRET"); return err }, `variable "SECRET": not in this recorded machine; record it anew`},
		{func() error { _, _, err := c.Stat(Driver, "/dev/y0"); return err }, `/dev/y0 in the driver root: not in this recorded machine; record it anew`},
		{func() error { _, _, err := c.Config("strict"); return err }, `config key "strict": not in this recorded machine; record it anew`},
		{func() error { _, err := c.Glob(Host, "/dev/*"); return err }, `/dev/*: not in this recorded machine; record it anew`},
		{func() error { _, err := c.Glob(Host, "/dev/*"); return err }, `/dev/*: not in this recorded machine; record it anew`},
	} {
		if err := test.ask(); err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	if v, ok, err := c.Env("B"); v != "2" || !ok || err != nil {
		t.Errorf("what the request gives: %q, %v, %v", v, ok, err)
	}
	want := []string{`env host "C"`, `env host "SECRET"`, `stat driver "/dev/y0"`, `config host "strict"`, `glob host "/dev/*"`}
	if got := c.Unrecorded(); !reflect.DeepEqual(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
	if _, code, recorded := m.Ask(&Request{}, OpEnv, Host, "C"); recorded || code != IOError {
		t.Errorf("Ask: %v, %v", code, recorded)
	}
	if _, code, recorded := m.Ask(&Request{}, 99, 7, "?"); !recorded || code != Unsupported {
		t.Errorf("an unknown op that was asked: %v, %v", code, recorded)
	}
}

func TestRequestStandsBeforeTheRecording(t *testing.T) {
	m, err := OpenMachine(recordedFolder(t, recordedQueries))
	if err != nil {
		t.Fatal(err)
	}
	c := m.Context(Request{Env: []string{"A=2", "SECRET=s"}, Annotations: map[string]string{"k/x": "w"}, Mounts: []Mount{},
		Config: map[string]string{"driver_root": "/"}, Spec: []byte(`{"process":{"args":["ls"]}}`)})
	a, _, _ := c.Env("A")
	secret, _, _ := c.Env("SECRET")
	note, _, _ := c.Annotation("k/x")
	mounts, err := c.Mounts("/")
	root, _, _ := c.Config("driver_root")
	spec, _, _ := c.Spec("/process/args")
	if a != "2" || secret != "s" || note != "w" || len(mounts) != 0 || err != nil || root != "/" || string(spec) != `["ls"]` {
		t.Errorf("%q %q %q %v %v %q %s", a, secret, note, mounts, err, root, spec)
	}
	want := Request{Env: []string{"A=1 = \"one\"\xff", "EMPTY="}, Annotations: map[string]string{"k/x": "v"}, Config: map[string]string{"driver_root": "/run/x"},
		Mounts: []Mount{{Destination: "/a", Source: "/src", Type: "bind", Options: []string{"ro", "nodev"}}, {Destination: "/b"}}}
	if got := m.RecordedRequest(); !reflect.DeepEqual(got, want) {
		t.Errorf("recorded %+v\nwant     %+v", got, want)
	}
}

func TestWrongQueriesNameTheLine(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{`env host A "1"`, `"env host A \"1\"" is not: query root "key" answer`},
		{`environ host "A" "1"`, `"environ host \"A\" \"1\"" is not: query root "key" answer`},
		{`env moon "A" "1"`, `"env moon \"A\" \"1\"" is not: query root "key" answer`},
		{`env host "A""1"`, `"env host \"A\"\"1\"" is not: query root "key" answer`},
		{`env host "A" 1`, `env host "A": "1" is no answer: quoted texts, in "file", redacted, or a code such as not-found`},
		{`env host "A"`, `env host "A": has 0 answers, not one`},
		{`env host "A" "1" "2"`, `env host "A": has 2 answers, not one`},
		{`stat host "/x" f 0 0 0644`, `stat host "/x": "f 0 0 0644" is not: type major minor mode uid gid size`},
		{`stat host "/dev/z" in "devices"`, `stat host "/dev/z": is not in devices`},
		{`read host "/dev/y0" in "devices"`, `read host "/dev/y0": is not in devices`},
		{`read host "/x" in root/x`, `read host "/x": in root/x is not: in "file"`},
		{`read host "/x" in "../x"`, `read host "/x": "../x" is not a file of the recorded machine`},
		{`read host "/x" in "/etc/passwd"`, `read host "/x": "/etc/passwd" is not a file of the recorded machine`},
	} {
		dir := recordedFolder(t, test.line+"\n")
		_, err := OpenMachine(dir)
		if want := filepath.Join(dir, "queries") + ":1: " + test.want; err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", test.line, err, want)
		}
	}
	dir := recordedFolder(t, "env host \"A\" \"1\"\nenv host \"A\" not-found\n")
	if _, err := OpenMachine(dir); err == nil || !strings.HasSuffix(err.Error(), `queries:2: env host "A": stands twice`) {
		t.Error(err)
	}
	if _, err := OpenMachine(recordedFolder(t, `read host "/x" in "root/x"`)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestDiscoverTellsWhatAHostIsTold: the one call that tests of a mode need.
func TestDiscoverTellsWhatAHostIsTold(t *testing.T) {
	m, err := OpenMachine(recordedFolder(t, recordedQueries))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		discover   func(*Context) (*Edits, error)
		result     int32
		answer     string
		unrecorded []string
	}{
		{func(c *Context) (*Edits, error) {
			e := &Edits{}
			e.AddDevice("/dev/y0")
			c.Explain("why")
			return e, nil
		},
			0, `{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/y0"}]}}`, nil},
		{func(*Context) (*Edits, error) { return nil, NotApplicable }, 2, "", nil},
		{func(*Context) (*Edits, error) { return nil, errors.New("/dev/z: is not there") }, 1, "/dev/z: is not there", nil},
		{func(c *Context) (*Edits, error) { _, _, _ = c.Env("B"); return nil, nil }, 0, "", []string{`env host "B"`}},
	} {
		Register(test.discover)
		result, answer, unrecorded := m.Discover(Request{})
		if result != test.result || answer != test.answer || !reflect.DeepEqual(unrecorded, test.unrecorded) {
			t.Errorf("got %d, %s, %q; want %d, %s, %q", result, answer, unrecorded, test.result, test.answer, test.unrecorded)
		}
	}
}

// FuzzQueries: no file queries makes OpenMachine panic, and what it reads is
// answered.
func FuzzQueries(f *testing.F) {
	f.Add(recordedQueries)
	f.Add("stat host \"/x\" c 1 2 0666 0 0 3\nmounts host \"/\" \"a\"")
	f.Fuzz(func(t *testing.T, queries string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "queries"), []byte(queries), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := OpenMachine(dir)
		if err != nil {
			return
		}
		m.RecordedRequest()
		for q, told := range m.recorded {
			if _, _, recorded := m.Ask(&Request{}, q.op, q.root, q.key); recorded == told.redacted {
				t.Errorf("%s: recorded is %v", q, recorded)
			}
			if again, _, ok := parseAsked(q.String()); !ok || again != q {
				t.Errorf("%s is read as %+v", q, again)
			}
		}
	})
}

// TestSourceIsWhole: what new projects get has what the SDKs include.
func TestSourceIsWhole(t *testing.T) {
	for _, name := range []string{"sdk.go", "context.go", "guest.go", "recorded.go", "ABI.md", "c/tenon.h", "c/native.h", "rust/Cargo.toml", "rust/src/lib.rs"} {
		if _, err := fs.Stat(Source, name); err != nil {
			t.Error(err)
		}
	}
}
