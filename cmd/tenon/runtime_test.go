// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// daemonJSON are shapes of daemon.json that are found on machines.
var daemonJSON = map[string]string{
	"none":          "",
	"empty":         "{}",
	"empty line":    "{}\n",
	"empty spread":  "{\n}\n",
	"empty spaced":  "{ \t }\n",
	"blank":         " \n\n",
	"four spaces":   "{\n    \"log-driver\": \"json-file\",\n    \"log-opts\": {\n        \"max-size\": \"10m\"\n    }\n}\n",
	"two spaces":    "{\n  \"exec-opts\": [\"native.cgroupdriver=systemd\"],\n  \"storage-driver\": \"overlay2\"\n}\n",
	"tabs":          "{\n\t\"debug\": true\n}",
	"one line":      `{"debug": true, "features": {"containerd-snapshotter": true}}`,
	"compact":       `{"debug":true,"dns":["10.0.0.2"]}`,
	"compact one":   `{"debug":true}`,
	"crlf":          "{\r\n  \"debug\": true\r\n}\r\n",
	"bom":           "\xef\xbb\xbf{\n  \"debug\": true\n}\n",
	"no indent":     "{\n\"debug\": true,\n\"hosts\": [ \"fd://\" ]\n}\n",
	"odd":           "\n\n{ \"debug\"  :true\n,   \"a\\u0062\":{} ,\n\n\"x\" : [ { } ,[ ] ] }  \n",
	"commas first":  "{\n    \"debug\": true\n  , \"mtu\": 1450\n}\n",
	"nvidia":        "{\n    \"runtimes\": {\n        \"nvidia\": {\n            \"args\": [],\n            \"path\": \"nvidia-container-runtime\"\n        }\n    }\n}\n",
	"nvidia is def": "{\n    \"default-runtime\": \"nvidia\",\n    \"runtimes\": {\n        \"nvidia\": {\n            \"args\": [],\n            \"path\": \"nvidia-container-runtime\"\n        },\n        \"kata\": {\"runtimeType\": \"io.containerd.kata.v2\"}\n    },\n    \"features\": {\"cdi\": true}\n}\n",
	"no runtimes":   "{\n  \"runtimes\": {},\n  \"debug\": false\n}\n",
	"no runtimes 2": "{\n  \"runtimes\": {\n  }\n}\n",
	"inline":        "{ \"runtimes\": { \"a\": { \"path\": \"/a\" } }, \"default-runtime\": \"a\" }\n",
	"numbers":       "{\n  \"mtu\": 1.50e3,\n  \"max\": 12345678901234567890\n}\n",
	"escapes":       "{\n  \"labels\": [\"a=\\\"}{\\\\\", \"\\u00e9\"]\n}\n",
}

// configTOML are shapes of containerd's config.toml.
var configTOML = map[string]string{
	"none":           "",
	"comments":       "# nothing yet",
	"debian":         "version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\"\n",
	"version alone":  "version = 2",
	"version 3":      "version = 3 # of containerd 2\nroot = '/var/lib/containerd'\n\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n  SystemdCgroup = true\n",
	"version 4":      "version = 4\n[debug]\nlevel = \"info\"\n",
	"crlf":           "# x\r\nversion = 2\r\n\r\n[grpc]\r\n  uid = 0\r\n",
	"bom":            "\xef\xbb\xbfversion = 2\n",
	"version last":   "root = \"/r\"\n  version=2",
	"imports":        "version = 2\nimports = [\"/etc/containerd/other.d/*.toml\"]\n[grpc]\n",
	"imports none":   "imports = []\nversion = 2\n",
	"imports blank":  "version = 2\nimports = [ # none\n]\n",
	"imports first":  "imports = ['/etc/containerd/other.d/*.toml',]\nversion = 2\n",
	"imports spread": "version = 2\nimports = [\n  # the site's\n  \"/etc/containerd/other.d/a*.toml\",\n  \"/etc/containerd/other.d/b*.toml\" # [last], \"really\"\n]\n",
	"imports comma":  "version = 2\n\"imports\" = [\n\t\"/etc/containerd/other.d/*.toml\", # all\n]\n",
	"imports crlf":   "version = 2\r\nimports = [\r\n  \"/etc/containerd/other.d/*.toml\"\r\n]\r\n",
	"imports odd":    "version = 2\nimports = [\"/etc/containerd/other.d/a*.toml\"\n  , \"/etc/containerd/other.d/b*.toml\"\n  ,\n] # end\ntitle = '''\nimports = [\"x\"]\n'''\n",
	"imported":       "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n",
	"strings":        "title = \"\"\"\n# no [comment] \\\"\"\"\" # a comment\nversion = 2 # it's \"two\"\n[x]\n",
}

// newTree makes a tree with tenon-runtime and these files in it.
func newTree(t *testing.T, paths map[string]string) tree {
	t.Helper()
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "tenon-test-"); err == nil { // where fsync costs nothing
		t.Cleanup(func() { os.RemoveAll(shm) })
		dir = shm
	}
	tr := tree{dir}
	for path, text := range paths {
		put(t, tr, path, text)
	}
	put(t, tr, "/usr/bin/tenon-runtime", "#!/bin/sh\n")
	put(t, tr, "/var/lib/dpkg/status", "")
	if err := os.Chmod(tr.at("/usr/bin/tenon-runtime"), 0o755); err != nil {
		t.Fatal(err)
	}
	return tr
}

func put(t *testing.T, tr tree, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(tr.at(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tr.at(path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, tr tree, path string) string {
	t.Helper()
	data, err := os.ReadFile(tr.at(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// snapshot tells everything below the tree: paths, modes, owners, contents.
func snapshot(t *testing.T, tr tree) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(tr.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		sys := st.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", st.Mode(), sys.Uid, sys.Gid)
		if st.Mode().IsRegular() {
			text += " " + get(t, tree{"/"}, path)
		}
		all[path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// tenonRuntime runs tenon runtime in a tree, and returns exit code and output.
func tenonRuntime(t *testing.T, tr tree, args ...string) (int, string, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(append(append([]string{"runtime"}, args...), "--root", tr.root), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// must is tenonRuntime that goes well.
func must(t *testing.T, tr tree, args ...string) string {
	t.Helper()
	code, stdout, stderr := tenonRuntime(t, tr, args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d, %s%s", args, code, stdout, stderr)
	}
	return stdout
}

// eachShape runs f for each shape of the files of docker and containerd, with
// each way to configure.
func eachShape(t *testing.T, f func(t *testing.T, tr tree, engine, path string, flags []string)) {
	flags := [][]string{{}, {"--set-as-default"}, {"--name", "nvidia"}, {"--name", "nvidia", "--set-as-default"}}
	for engine, shapes := range map[string]map[string]string{"docker": daemonJSON, "containerd": configTOML} {
		path := map[string]string{"docker": "/etc/docker/daemon.json", "containerd": "/etc/containerd/config.toml"}[engine]
		for name, text := range shapes {
			for _, flags := range flags {
				t.Run(strings.Join(append([]string{engine, name}, flags...), " "), func(t *testing.T) {
					paths := map[string]string{"/etc/containerd/other.d/a.toml": "", "/etc/containerd/other.d/b.toml": "", path: text}
					if name == "none" {
						delete(paths, path)
					}
					f(t, newTree(t, paths), engine, path, flags)
				})
			}
		}
	}
}

func TestUnconfigureGivesEveryByteBack(t *testing.T) {
	eachShape(t, func(t *testing.T, tr tree, engine, path string, flags []string) {
		before := snapshot(t, tr)
		must(t, tr, append([]string{"configure", engine}, flags...)...)
		if after := snapshot(t, tr); reflect.DeepEqual(before, after) {
			t.Fatal("configure changed nothing")
		}
		must(t, tr, "configure", engine, "--name", "second", "--set-as-default")
		must(t, tr, "status", engine)
		must(t, tr, "unconfigure", engine)
		if after := snapshot(t, tr); !reflect.DeepEqual(before, after) {
			t.Errorf("before:\n%q\nafter:\n%q", before, after)
		}
	})
}

func TestConfigureTwiceTouchesNothing(t *testing.T) {
	eachShape(t, func(t *testing.T, tr tree, engine, path string, flags []string) {
		args := append([]string{"configure", engine}, flags...)
		must(t, tr, args...)
		id := func() string {
			st, err := os.Stat(tr.at(path))
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(st.Sys().(*syscall.Stat_t).Ino, st.ModTime())
		}
		before, identity := snapshot(t, tr), id()
		if out := must(t, tr, args...); !strings.Contains(out, "already configured") {
			t.Errorf("it said %q", out)
		}
		if after := snapshot(t, tr); !reflect.DeepEqual(before, after) || id() != identity {
			t.Error("the second time changed something")
		}
	})
}

func TestDryRunChangesNothing(t *testing.T) {
	eachShape(t, func(t *testing.T, tr tree, engine, path string, flags []string) {
		before := snapshot(t, tr)
		out := must(t, tr, append([]string{"configure", engine, "--dry-run"}, flags...)...)
		if after := snapshot(t, tr); !reflect.DeepEqual(before, after) || !strings.Contains(out, "\n+++ ") {
			t.Errorf("it changed something, or showed no diff: %q", out)
		}
	})
}

// What others do between configure and unconfigure stays, and only that.
func TestWhatOthersChangedStays(t *testing.T) {
	for name, text := range daemonJSON {
		o := object{}
		if name != "none" && strings.TrimSpace(text) != "" {
			o = topObject([]byte(text))
		}
		if len(o.members) == 0 {
			continue
		}
		for _, flags := range [][]string{{}, {"--set-as-default"}, {"--name", "nvidia", "--set-as-default"}} {
			for _, again := range []bool{false, true} {
				// Somebody writes a member before all others.
				edit := func(text string) string {
					i := strings.Index(text, "{") + 1
					return text[:i] + "\"theirs\":[1 ],  " + text[i:]
				}
				tr := newTree(t, map[string]string{"/etc/docker/daemon.json": text})
				must(t, tr, append([]string{"configure", "docker"}, flags...)...)
				put(t, tr, "/etc/docker/daemon.json", edit(get(t, tr, "/etc/docker/daemon.json")))
				if again {
					must(t, tr, "configure", "docker", "--name", "second", "--set-as-default")
				}
				if out := must(t, tr, "unconfigure", "docker"); !strings.Contains(out, "changed by others since") {
					t.Errorf("%s %v: it said %q", name, flags, out)
				}
				if got, want := get(t, tr, "/etc/docker/daemon.json"), edit(text); got != want {
					t.Errorf("%s %v again=%v:\n%q\nwant\n%q", name, flags, again, got, want)
				}
			}
		}
	}
	for name, text := range configTOML {
		if name == "none" || name == "comments" {
			continue
		}
		tr := newTree(t, map[string]string{"/etc/containerd/config.toml": text, "/etc/containerd/other.d/b.toml": "", "/etc/containerd/other.d/a.toml": ""})
		edit := func(text string) string { return text + "\n[stream_processors.x]\n" }
		must(t, tr, "configure", "containerd")
		put(t, tr, "/etc/containerd/config.toml", edit(get(t, tr, "/etc/containerd/config.toml")))
		must(t, tr, "unconfigure", "containerd")
		got, want := get(t, tr, "/etc/containerd/config.toml"), edit(text)
		if name == "version last" || name == "version alone" {
			want = strings.Replace(want, "\n\n[", "\n[", 1) // the line end that our line brought went with it
			got = strings.Replace(got, "\n\n[", "\n[", 1)
		}
		if got != want {
			t.Errorf("%s:\n%q\nwant\n%q", name, got, want)
		}
	}
}

func TestUnconfigureWithoutItsRecord(t *testing.T) {
	text := daemonJSON["nvidia is def"]
	tr := newTree(t, map[string]string{"/etc/docker/daemon.json": text, "/etc/containerd/config.toml": configTOML["imports comma"], "/etc/containerd/other.d/a.toml": ""})
	must(t, tr, "configure", "docker", "containerd")
	if err := os.RemoveAll(tr.at("/var/lib/tenon")); err != nil {
		t.Fatal(err)
	}
	must(t, tr, "unconfigure", "docker", "containerd")
	if got := get(t, tr, "/etc/docker/daemon.json"); got != text {
		t.Errorf("daemon.json is %q", got)
	}
	if got := get(t, tr, "/etc/containerd/config.toml"); got != configTOML["imports comma"] {
		t.Errorf("config.toml is %q", got)
	}
}

func TestOwnerAndModeStay(t *testing.T) {
	tr := newTree(t, map[string]string{"/etc/docker/daemon.json": "{}"})
	file := tr.at("/etc/docker/daemon.json")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = 1234
		if err := os.Chown(file, uid, 4321); err != nil {
			t.Fatal(err)
		}
	}
	must(t, tr, "configure", "docker")
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != 0o640 || ownerOf(st) != uid {
		t.Errorf("mode %v, owner %d", st.Mode(), ownerOf(st))
	}
	kept, err := os.Stat(tr.at(backupOf("/etc/docker/daemon.json", "original")))
	if err != nil || kept.Mode() != 0o600 {
		t.Errorf("the original is kept as %v, %v", kept, err)
	}
}

func TestNothingOfOthersInRuntimesIsReplaced(t *testing.T) {
	for name, text := range daemonJSON {
		tr := newTree(t, map[string]string{"/etc/docker/daemon.json": text})
		must(t, tr, "configure", "docker", "--set-as-default")
		want := decoded(t, text)
		runtimes, _ := want["runtimes"].(map[string]any)
		if runtimes == nil {
			runtimes = map[string]any{}
			want["runtimes"] = runtimes
		}
		runtimes["tenon"] = map[string]any{"path": "/usr/bin/tenon-runtime"}
		want["default-runtime"] = "tenon"
		if got := decoded(t, get(t, tr, "/etc/docker/daemon.json")); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// decoded returns what JSON means, numbers as written.
func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	v := map[string]any{}
	text = strings.TrimPrefix(text, "\xef\xbb\xbf")
	if strings.TrimSpace(text) == "" {
		return v
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

func TestErrorsNameTheFileAndTheLine(t *testing.T) {
	const docker, containerd = "/etc/docker/daemon.json", "/etc/containerd/config.toml"
	for _, test := range []struct {
		engine, path, text string
		want               string
	}{
		{"docker", docker, "{\n  \"debug\": true,\n}\n", docker + ":3: is not JSON: invalid character '}' looking for beginning of object key string; correct it"},
		{"docker", docker, "{\n  \"debug\": true\n", docker + ":3: is not JSON: unexpected end of JSON input; correct it"},
		{"docker", docker, "{} {}", docker + ":1: is not JSON: invalid character '{' after top-level value; correct it"},
		{"docker", docker, "\n[]\n", docker + ":2: is JSON but not an object; it must be { … }"},
		{"docker", docker, "null\n", docker + ":1: is JSON but not an object; it must be { … }"},
		{"docker", docker, "{\n\n\"runtimes\": []}\n", docker + `:3: key "runtimes" is not an object; remove it or make it { … }`},
		{"docker", docker, "{\"runtimes\": {}, \"runtimes\": {}}", docker + `: key "runtimes" stands there twice; remove one`},
		{"docker", docker, "{\"Runtimes\": {}}", docker + `: key "Runtimes" is none that the engine knows; write "runtimes"`},
		{"docker", docker, "{\n\"default-runtime\": 7}", docker + `:2: key "default-runtime" is not a string; correct it`},
		{"containerd", containerd, "version = 2\n[plugins\n", containerd + ":2: is not TOML: expected ']' to close table name; correct it"},
		{"containerd", containerd, "version = 2\na = 1\na = 2\n", containerd + `:3: is not TOML: key a is already defined; correct it`},
		{"containerd", containerd, "version = 1\n", containerd + `: is of version 1, which names runtimes otherwise; make it version 2 or later, with "containerd config migrate" where containerd has it`},
		{"containerd", containerd, "[plugins.cri]\n", containerd + `: is of version 1, which names runtimes otherwise; make it version 2 or later, with "containerd config migrate" where containerd has it`},
		{"containerd", containerd, "disabled_plugins = [\"cri\"]\n", containerd + `: is of version 1 and disables the CRI plugin, so it serves only Docker, say; configure that, or make the file anew with "containerd config default"`},
		{"containerd", containerd, "version = 5\n", containerd + ": is of version 5, and tenon knows 2 to 4; install a newer tenon"},
		{"containerd", containerd, "version = 2\nimports = \"x\"\n", containerd + `: key "imports" is not an array; make it one`},
		{"containerd", containerd, "version = 2\n\"import\\u0073\" = []\n", containerd + `: key "imports": is written in a way that tenon does not edit; add "/etc/containerd/conf.d/99-tenon*.toml" to it by hand`},
		{"containerd", containerd, "version = 2\nimports = [\"other.toml\"]\n", "/etc/containerd/other.toml: does not exist, but is imported: containerd will not start; correct imports"},
		{"containerd", "/etc/containerd/conf.d/99-tenon.toml", "version = 2\n", "/etc/containerd/conf.d/99-tenon.toml: was not written by tenon; rename or remove it"},
		{"crio", "/etc/crio/crio.conf.d/10-x.conf", "[crio\n", "/etc/crio/crio.conf.d/10-x.conf:1: is not TOML: expected ']' to close table name; correct it"},
		{"podman", "/etc/containers/containers.conf", "\nx\n", "/etc/containers/containers.conf:2: is not TOML: expected '=' after key; correct it"},
	} {
		tr := newTree(t, map[string]string{test.path: test.text})
		before := snapshot(t, tr)
		code, stdout, stderr := tenonRuntime(t, tr, "configure", test.engine)
		if want := "tenon: " + test.want + "\n"; code != 1 || stderr != want || stdout != "" {
			t.Errorf("%q: exit code %d, %s\n got %s\nwant %s", test.text, code, stdout, stderr, want)
		}
		if !reflect.DeepEqual(before, snapshot(t, tr)) {
			t.Errorf("%q: something was changed", test.text)
		}
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	tr := newTree(t, map[string]string{"/srv/daemon.json": "{}", "/etc/docker/key.json": ""})
	if err := os.Symlink("/srv/daemon.json", tr.at("/etc/docker/daemon.json")); err != nil {
		t.Fatal(err)
	}
	_, _, stderr := tenonRuntime(t, tr, "configure", "docker")
	if want := "tenon: /etc/docker/daemon.json: is a symbolic link to \"/srv/daemon.json\"; name the file itself with --config\n"; stderr != want {
		t.Errorf("got %s, want %s", stderr, want)
	}
	must(t, tr, "configure", "docker", "--config", "/srv/daemon.json")
	if get(t, tr, "/srv/daemon.json") == "{}" {
		t.Error("the file named was not edited")
	}

	tr = newTree(t, map[string]string{"/etc/x": ""})
	outside := t.TempDir()
	if err := os.Symlink(outside, tr.at("/etc/docker")); err != nil {
		t.Fatal(err)
	}
	_, _, stderr = tenonRuntime(t, tr, "configure", "docker")
	if want := "tenon: /etc/docker: is a symbolic link, which leads out of " + tr.root + "; name another --root\n"; stderr != want {
		t.Errorf("got %s, want %s", stderr, want)
	}
}

func TestRuntimeMustBeSafeToRun(t *testing.T) {
	for _, test := range []struct {
		name string
		prep func(at func(string) string) error
		want string
	}{
		{"a file", func(at func(string) string) error { return nil }, ""},
		{"a link", func(at func(string) string) error {
			os.Rename(at("/usr/bin/tenon-runtime"), at("/usr/bin/real"))
			return os.Symlink("../bin/real", at("/usr/bin/tenon-runtime"))
		}, ""},
		{"absent", func(at func(string) string) error { return os.Remove(at("/usr/bin/tenon-runtime")) },
			"/usr/bin/tenon-runtime: does not exist; install tenon-runtime there, or name its place with --path"},
		{"not executable", func(at func(string) string) error { return os.Chmod(at("/usr/bin/tenon-runtime"), 0o644) },
			"/usr/bin/tenon-runtime: is not a program; name tenon-runtime with --path"},
		{"others may write it", func(at func(string) string) error { return os.Chmod(at("/usr/bin/tenon-runtime"), 0o757) },
			"/usr/bin/tenon-runtime: leads over /usr/bin/tenon-runtime, which others may write (mode 0757); chmod go-w it"},
		{"others may write the folder", func(at func(string) string) error { return os.Chmod(at("/usr"), 0o775) },
			"/usr/bin/tenon-runtime: leads over /usr, which others may write (mode 0775); chmod go-w it"},
		{"a link to a place of others", func(at func(string) string) error {
			os.Remove(at("/usr/bin/tenon-runtime"))
			os.Mkdir(at("/tmp"), 0o755)
			os.Chmod(at("/tmp"), os.ModeSticky|0o777)
			os.WriteFile(at("/tmp/x"), nil, 0o755)
			return os.Symlink("/tmp/x", at("/usr/bin/tenon-runtime"))
		}, "/usr/bin/tenon-runtime: leads over /tmp, which others may write (mode 0777); put the program elsewhere"},
		{"a loop", func(at func(string) string) error {
			os.Remove(at("/usr/bin/tenon-runtime"))
			return os.Symlink("tenon-runtime", at("/usr/bin/tenon-runtime"))
		}, "/usr/bin/tenon-runtime: leads over too many links"},
	} {
		tr := newTree(t, nil)
		if err := test.prep(tr.at); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := tr.runnable("/usr/bin/tenon-runtime"); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func FuzzDaemonJSON(f *testing.F) {
	for _, text := range daemonJSON {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Add([]byte(`{"runtimes":{"tenon":{"path":"/b"},"b":{"path":"/usr/bin/tenon-runtime"}}}`), true)
	f.Fuzz(func(t *testing.T, data []byte, def bool) {
		want := settings{runtimes: map[string]string{"tenon": "/usr/bin/tenon-runtime", "b": "/b\"\\"}}
		if def {
			want.def = "b"
		}
		before := append(content{}, data...)
		after, err := setDocker(before, want)
		if err != nil {
			return
		}
		if !bytes.Equal(before, data) {
			t.Fatal("its input was changed")
		}
		meant := decoded(t, string(data))
		runtimes, _ := meant["runtimes"].(map[string]any)
		if runtimes == nil {
			runtimes = map[string]any{}
			meant["runtimes"] = runtimes
		}
		replaced := def && meant["default-runtime"] != nil
		for name, path := range want.runtimes {
			old, _ := json.Marshal(runtimes[name])
			replaced = replaced || runtimes[name] != nil
			if !samePath(old, path) {
				runtimes[name] = map[string]any{"path": path}
			}
		}
		if def {
			meant["default-runtime"] = "b"
		}
		if got := decoded(t, string(after)); !reflect.DeepEqual(got, meant) {
			t.Fatalf("%q became %q, which means %v and not %v", data, after, got, meant)
		}
		if again, err := setDocker(after, want); err != nil || !bytes.Equal(again, after) {
			t.Fatalf("a second time, %q becomes %q, %v", after, again, err)
		}
		if len(bytes.TrimSpace(bytes.TrimPrefix(data, utf8BOM))) == 0 {
			return // there was nothing to keep
		}
		if !replaced && !keepsAll(data, after) {
			t.Fatalf("a byte of %q is missing in %q", data, after)
		}
		back, err := undoDocker(after, before, files{}, want.names())
		if err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%q became %q and then %q, %v", data, after, back, err)
		}
	})
}

// keepsAll reports whether after is before with bytes put in.
func keepsAll(before, after []byte) bool {
	for _, b := range before {
		i := bytes.IndexByte(after, b)
		if i < 0 {
			return false
		}
		after = after[i+1:]
	}
	return true
}

func FuzzImports(f *testing.F) {
	for _, text := range configTOML {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const pattern = "/etc/containerd/conf.d/99-tenon*.toml"
		was, err := readTOML(data)
		if err != nil || was["version"] == nil || bytes.Contains(data, []byte("99-tenon*")) {
			return
		}
		before := append(content{}, data...)
		after, err := withImport(before, pattern)
		if !bytes.Equal(before, data) {
			t.Fatal("its input was changed")
		}
		if err != nil {
			// Only what is a table, or spelled with escapes, may be refused.
			if was["imports"] == nil && !bytes.Contains(data, []byte(`\`)) && reflect.TypeOf(was["version"]).Kind() != reflect.Map {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		if !keepsAll(data, after) {
			t.Fatalf("a byte of %q is missing in %q", data, after)
		}
		back := dropImport(after, pattern, was["imports"] != nil)
		if !bytes.Equal(back, data) {
			t.Fatalf("%q became %q and then %q", data, after, back)
		}
	})
}

// A runtime that somebody gave another path since is theirs.
func TestUnconfigureLeavesWhatIsNoLongerOurs(t *testing.T) {
	tr := newTree(t, map[string]string{"/etc/docker/daemon.json": daemonJSON["nvidia is def"]})
	must(t, tr, "configure", "docker", "--name", "nvidia")
	theirs := strings.Replace(get(t, tr, "/etc/docker/daemon.json"), "/usr/bin/tenon-runtime", "/opt/other", 1)
	put(t, tr, "/etc/docker/daemon.json", theirs)
	must(t, tr, "unconfigure", "docker")
	if got := get(t, tr, "/etc/docker/daemon.json"); got != theirs {
		t.Errorf("it became %q", got)
	}
}

// Our own file may be removed even if somebody broke it.
func TestUnconfigureRemovesABrokenDropIn(t *testing.T) {
	tr := newTree(t, map[string]string{"/etc/containerd/config.toml": configTOML["debian"]})
	before := snapshot(t, tr)
	must(t, tr, "configure", "containerd")
	put(t, tr, "/etc/containerd/conf.d/99-tenon.toml", get(t, tr, "/etc/containerd/conf.d/99-tenon.toml")+"[\n")
	code, _, stderr := tenonRuntime(t, tr, "status", "containerd")
	if code != exitCheck {
		t.Errorf("status: exit code %d, %s", code, stderr)
	}
	must(t, tr, "unconfigure", "containerd")
	if !reflect.DeepEqual(before, snapshot(t, tr)) {
		t.Error("something is left")
	}
}
