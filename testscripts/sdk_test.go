// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
	"github.com/tenon-runtime/tenon/host/wasm"
)

// trustedDir makes a folder for modules in which nobody but root can change
// anything; tenon uses no other. It goes when the test ends.
func trustedDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root: modules are run from a folder that only root may change, and device nodes are made")
	}
	dir, err := os.MkdirTemp("/var/lib", "tenon-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

func buildGo(t *testing.T, out, pkg string) {
	t.Helper()
	command(t, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, pkg)
}

// rustc finds a compiler that has the standard library for target: where two
// are installed, often only the distribution's has it.
func rustc(t *testing.T, target string) string {
	t.Helper()
	for _, name := range []string{"rustc", "/usr/bin/rustc"} {
		out, err := exec.Command(name, "--print", "target-libdir", "--target", target).Output()
		if err != nil {
			continue
		}
		if libs, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "libstd-*.rlib")); len(libs) > 0 {
			return name
		}
	}
	missing(t, "no rustc with the standard library for %s is installed (apt-get install rustc libstd-rust-dev-wasm32)", target)
	return ""
}

func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing(t, "%s is not installed", p)
		}
	}
}

// samples builds the sample mode in every language into dir, named by language.
var samples = map[string]func(t *testing.T, out string){
	"go": func(t *testing.T, out string) { buildGo(t, out, "../sdk/sample") },
	"c": func(t *testing.T, out string) {
		needs(t, "make", "clang-16", "wasm-ld-16")
		build := t.TempDir()
		command(t, nil, "make", "-C", "../sdk/c/sample", "OUT="+build)
		copyFile(t, filepath.Join(build, "acme.wasm"), out)
	},
	"rust": func(t *testing.T, out string) { buildRust(t, "wasm32-unknown-unknown", out) },
	"rust-wasi": func(t *testing.T, out string) {
		buildRust(t, "wasm32-wasi", out)
	},
}

func buildRust(t *testing.T, target, out string) {
	t.Helper()
	needs(t, "make", "wasm-ld-16")
	build := t.TempDir()
	command(t, nil, "make", "-C", "../sdk/rust/sample", "OUT="+build, "TARGET="+target, "RUSTC="+rustc(t, target))
	copyFile(t, filepath.Join(build, "acme.wasm"), out)
}

// asInstalled puts a manifest of the project into the module MODE.wasm, and is what
// is then installed: with all that the manifest asks for.
func asInstalled(t *testing.T, file, manifest string) host.Installed {
	t.Helper()
	code, err := os.ReadFile(file)
	if err == nil {
		code, err = host.WithManifest(code, []byte(read(t, manifest)))
	}
	if err == nil {
		err = os.WriteFile(file, code, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := host.ParseManifest([]byte(read(t, manifest)))
	if err != nil {
		t.Fatal(err)
	}
	mode := strings.TrimSuffix(filepath.Base(file), ".wasm")
	return host.Installed{Name: mode, Digest: host.DigestOf(code), File: file, Manifest: m.Text, Accepted: m.GrantsText, Entry: filepath.Join(filepath.Dir(file), mode+".toml")}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func request(t *testing.T, spec string) *discover.Request {
	t.Helper()
	s, err := discover.Parse([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	return s.Request()
}

// TestSamples runs the three sample modes (four builds) over one machine: they
// must give the same bytes of edits, explanations and errors, and each the same
// with less memory. Rules M-16, M-19 and M-20 are theirs.
func TestSamples(t *testing.T) {
	dir := trustedDir(t)
	for language, build := range samples {
		build(t, filepath.Join(dir, language+".wasm"))
	}
	machine := filepath.Join(dir, "machine")
	if err := os.MkdirAll(machine+"/dev", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, minor := range map[string]int{"acme0": 0, "acme0ctl": 128, "acme1": 1, "acme10": 10} {
		if err := syscall.Mknod(machine+"/dev/"+name, syscall.S_IFCHR|0o660, 240<<8|minor); err != nil { // 240 to 254 are for local use: devices.txt of Linux
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(machine+"/dev/acme2", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	settings := host.DefaultConfig()
	for language := range samples {
		settings.Installed = append(settings.Installed, asInstalled(t, filepath.Join(dir, language+".wasm"), "sdk/sample/manifest.json"))
	}
	settings.DriverRoot = machine
	settings.Limits.WallMS = 60_000

	device := func(index string) string {
		return `{"path":"/dev/acme` + index + `","hostPath":"` + machine + `/dev/acme` + index + `"}`
	}
	doc := func(devices ...string) string {
		return `{"abi":1,"containerEdits":{"deviceNodes":[` + strings.Join(devices, ",") + `]}}`
	}
	const noEdits = "none"
	for _, c := range []struct {
		rule, env  string
		edits, err string // both empty: not applicable
	}{
		{rule: "no variable", env: `"A=b"`},
		{rule: "an empty variable", env: `"ACME_VISIBLE_DEVICES="`},
		{rule: "void", env: `"ACME_VISIBLE_DEVICES=void"`},
		{rule: "commas", env: `"ACME_VISIBLE_DEVICES=,,"`},
		{rule: "all", env: `"ACME_VISIBLE_DEVICES=all"`, edits: doc(device("0"), device("1"), device("10"))},
		{rule: "indexes", env: `"ACME_VISIBLE_DEVICES=10,,0,10"`, edits: doc(device("0"), device("10"))},
		{rule: "the last value counts", env: `"ACME_VISIBLE_DEVICES=all","ACME_VISIBLE_DEVICES=1"`, edits: doc(device("1"))},
		{rule: "an unknown index", env: `"ACME_VISIBLE_DEVICES=0,7"`, err: `ACME_VISIBLE_DEVICES: "7" is not a device of this machine; ask for all, none or some of 0,1,10`},
		{rule: "a file", env: `"ACME_VISIBLE_DEVICES=2"`, err: `ACME_VISIBLE_DEVICES: "2" is not a device of this machine; ask for all, none or some of 0,1,10`},
		{rule: "a range", env: `"ACME_VISIBLE_DEVICES=0-1"`, edits: doc(device("0"), device("1"))},
		{rule: "all wins", env: `"ACME_VISIBLE_DEVICES=7,all"`, edits: doc(device("0"), device("1"), device("10"))},
		{rule: "none", env: `"ACME_VISIBLE_DEVICES=0,none"`, edits: noEdits},
	} {
		t.Run(c.rule, func(t *testing.T) {
			req := request(t, `{"ociVersion":"1.2.0","process":{"env":[`+c.env+`]},"root":{"path":"rootfs"}}`)
			var explained []string
			for language := range samples {
				for run := range 2 {
					settings.Limits.MemoryPages = 1024 >> run
					result, err := wasm.Discover(t.Context(), settings, language, req, filepath.Join(dir, "rootfs"), nil)
					if c.err != "" {
						if want := "mode " + language + ": " + c.err; err == nil || err.Error() != want {
							t.Errorf("got %v, want %s", err, want)
						}
						continue
					}
					if err != nil {
						t.Error(err)
						continue
					}
					if applicable := c.edits != ""; result.Applicable != applicable {
						t.Errorf("%s: applicable is %v, want %v", language, result.Applicable, applicable)
						continue
					}
					if explained == nil {
						explained = result.Explain
					}
					if !slices.Equal(result.Explain, explained) {
						t.Errorf("%s explains\n%q\nand another\n%q", language, result.Explain, explained)
					}
					if c.edits == "" {
						continue
					}
					if got := cmp.Or(string(bytes.Join(result.Documents, []byte("\n"))), noEdits); got != c.edits {
						t.Errorf("%s: got\n%s\nwant\n%s", language, got, c.edits)
					}
					if n := len(result.Edits.ContainerEdits.DeviceNodes); n != strings.Count(c.edits, `"path"`) {
						t.Errorf("%s: %d devices are decoded of %s", language, n, c.edits)
					}
				}
			}
		})
	}
}

func decode(t *testing.T, doc string) discover.Edits {
	t.Helper()
	e, err := discover.DecodeEdits([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSDKsNatively runs the tests of the C and Rust SDKs and samples as a vendor
// does, without wasm. Those of Go are run by go test.
func TestSDKsNatively(t *testing.T) {
	t.Run("c", func(t *testing.T) {
		needs(t, "make", "cc")
		build := t.TempDir()
		command(t, nil, "make", "-C", "../sdk/c/sample", "OUT="+build, "test")
		binary := filepath.Join(build, "tenon_test")
		command(t, nil, "cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-o", binary, "../sdk/c/tenon_test.c")
		command(t, nil, binary, "../sdk/kit/edits.json")
	})
	t.Run("rust", func(t *testing.T) {
		needs(t, "make")
		rustc := rustc(t, "wasm32-unknown-unknown")
		build := t.TempDir()
		command(t, nil, "make", "-C", "../sdk/rust/sample", "OUT="+build, "RUSTC="+rustc, "test")
		binary := filepath.Join(build, "tenon_test")
		command(t, nil, rustc, "--edition", "2021", "-D", "warnings", "--test", "--crate-name", "tenon_test",
			"--extern", "tenon="+build+"/libtenon.rlib", "-o", binary, "../sdk/rust/tests/tenon.rs")
		command(t, nil, binary, "--quiet")
	})
}

// TestEveryWriterOfEditsIsRead holds the document that the three SDKs write,
// with each member once, against what the host takes.
func TestEveryWriterOfEditsIsRead(t *testing.T) {
	edits := decode(t, strings.TrimSuffix(read(t, "sdk/kit/edits.json"), "\n"))
	if err := edits.Validate(); err == nil || !strings.Contains(err.Error(), "containerEdits.hooks") {
		t.Errorf("got %v, want the hook with a path refused: H-62", err)
	}
	edits.ContainerEdits.Hooks = nil
	if err := edits.Validate(); err != nil {
		t.Error(err)
	}
	if back := decode(t, string(asJSON(t, edits))); !bytes.Equal(asJSON(t, back), asJSON(t, edits)) {
		t.Error("the document does not survive decoding")
	}
}

// A kit is the conformance kit, built, with all that it looks at.
type kit struct {
	dir       string
	table     string // the mode's own table, as TOML
	request   *discover.Request
	installed []host.Installed
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{dir: trustedDir(t)}
	needs(t, "sh", "mkfifo", "mknod")
	buildGo(t, filepath.Join(k.dir, "kit.wasm"), "../sdk/kit")
	command(t, nil, "sh", "../sdk/kit/machine.sh", k.dir)
	k.installed = []host.Installed{asInstalled(t, filepath.Join(k.dir, "kit.wasm"), "sdk/kit/manifest.json")}
	k.request = request(t, read(t, "sdk/kit/config.json"))
	k.table = read(t, "sdk/kit/config.toml")
	return k
}

// run runs one case, as a config file says it, and returns what came of it and
// the kit's log.
func (k *kit) run(t *testing.T, name string) (host.Result, string, error) {
	t.Helper()
	wall := 60_000
	if name == "endless" {
		wall = 1000
	}
	table := strings.Replace(k.table, `case = "all"`, `case = "`+name+`"`, 1)
	if !strings.Contains(table, `"`+name+`"`) {
		t.Fatal("config.toml of the kit has no case")
	}
	file := filepath.Join(k.dir, "config.toml")
	text := fmt.Sprintf("driver_root = %q\n[limits]\nwall_ms = %d\n[modes.kit]\n%s", k.dir+"/driver", wall, table)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Read("tenon-runtime", func(name string) string { return map[string]string{"TENON_CONFIG": file}[name] })
	if err != nil {
		t.Fatal(err)
	}
	c.Installed = k.installed // whatever is installed here
	var log bytes.Buffer
	result, err := wasm.Discover(t.Context(), c, "kit", k.request, k.dir+"/container", slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if strings.Contains(log.String(), "msg=\"FAIL") {
		t.Errorf("case %s: the kit has logged\n%s", name, log.String())
	}
	return result, log.String(), err
}

// TestKit runs the conformance kit on tenon's own host: one run for all that a
// run can check, and one for each case of the table in the kit's README.
func TestKit(t *testing.T) {
	k := newKit(t)
	t.Run("all", func(t *testing.T) {
		result, _, err := k.run(t, "all")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Join(result.Explain, "\n")
		for _, want := range []string{"kit: copied when emit was called", "kit: control ", "kit: random ", "ok H-10: ", "ok H-69: "} {
			if !strings.Contains(lines, want) {
				t.Errorf("no line says %q:\n%s", want, lines)
			}
		}
		if strings.ContainsFunc(strings.ReplaceAll(lines, "\n", ""), func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			t.Errorf("a control character comes through: %q", lines)
		}
		if !result.Applicable || !result.Edits.Empty() {
			t.Errorf("want no edits and result 0: %+v", result)
		}
		again, _, err := k.run(t, "all")
		if err != nil || !slices.Equal(again.Explain, result.Explain) {
			t.Errorf("the second run differs (%v):\n%s\n\n%s", err, lines, strings.Join(again.Explain, "\n"))
		}
	})

	cases := kitCases(t)
	t.Run("list", func(t *testing.T) {
		result, _, err := k.run(t, "list")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range cases {
			names = append(names, c.name)
		}
		slices.Sort(names)
		if got := strings.Join(result.Explain, " "); got != strings.Join(names, " ") {
			t.Errorf("the kit has the cases\n%s\nand its README\n%s", got, strings.Join(names, " "))
		}
	})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			result, log, err := k.run(t, c.name)
			if c.run == "fails" {
				switch {
				case err == nil:
					t.Errorf("%s is broken: want an error, got %+v", c.rules, result)
				case !strings.HasPrefix(c.name, "result-1") && !strings.HasPrefix(err.Error(), "mode kit: "+k.dir+"/kit.wasm: "):
					t.Errorf("got %q, which does not blame the module's file", err)
				case !strings.HasPrefix(err.Error(), "mode kit: ") || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < 0x20 }):
					t.Errorf("got %q, want one line that begins with the mode", err)
				default:
					for _, word := range c.words {
						if !strings.Contains(err.Error(), word) {
							t.Errorf("%s: got %q, which does not say %q", c.rules, err, word)
						}
					}
				}
				return
			}
			if err != nil {
				t.Fatalf("%s is broken: %v", c.rules, err)
			}
			got := "is not applicable"
			if result.Applicable {
				got = "is done, no edits"
				if !result.Edits.Empty() {
					got = "is done, with edits"
				}
			}
			if got != c.run {
				t.Errorf("%s is broken: it %s, and not: it %s", c.rules, got, c.run)
			}
			if c.name == "log-flood" {
				if n := strings.Count(log, "k"); n > host.DefaultConfig().Limits.LogBytes+1000 || !strings.Contains(log, "dropped") {
					t.Errorf("H-20 is broken: %d bytes of log are kept, or the dropped ones not counted", n)
				}
			}
		})
	}
}

type kitCase struct {
	name, rules, run string
	words            []string
}

// kitCases reads the table of the kit's README.
func kitCases(t *testing.T) []kitCase {
	t.Helper()
	text := read(t, "sdk/kit/README.md")
	var cases []kitCase
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| ([MH0-9 -]+) \\| ([a-z ,]+) \\| (.*)\\|$").FindAllStringSubmatch(text, -1) {
		c := kitCase{name: row[1], rules: row[2], run: row[3]}
		words := strings.TrimSpace(row[4])
		if quoted := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(words, -1); quoted != nil {
			for _, q := range quoted {
				c.words = append(c.words, q[1])
			}
		} else if words != "" {
			c.words = []string{words}
		}
		cases = append(cases, c)
	}
	if len(cases) < 40 {
		t.Fatalf("only %d cases were read from the README: its table is broken", len(cases))
	}
	return cases
}
