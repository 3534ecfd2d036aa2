// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// saysOnly checks what a user of docker run sees: the line, word for word, and the
// exit code that docker has for its own errors. It would be 126 or 127 where docker
// took the line for a fault of the container's command.
func saysOnly(t *testing.T, out string, code int, line string) {
	t.Helper()
	// What stands around it is Docker's; the client may add advice below.
	shown, ok := strings.CutPrefix(out, "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: ")
	shown, advice, more := strings.Cut(strings.TrimSpace(shown), "\n")
	if more && !strings.Contains(advice, "docker run --help") || strings.Contains(advice, "tenon") {
		ok = false
	}
	shown = strings.TrimSuffix(strings.TrimSuffix(shown, "."), ": unknown")
	if !ok || shown != line || code != 125 {
		t.Errorf("exit code %d, and docker says\n%s\nwant\n%s", code, out, line)
	}
}

func probe(how string) []string { return []string{"-e", "PROBE=" + how} }

// moduleFile is where the module of a mode is installed.
func moduleFile(t *testing.T, mode string) string {
	t.Helper()
	entry, err := os.ReadFile("/etc/tenon/modules.d/" + mode + ".toml")
	must(t, err)
	digest := regexp.MustCompile(`sha256:([0-9a-f]{64})`).FindSubmatch(entry)
	if digest == nil {
		t.Fatalf("no digest in\n%s", entry)
	}
	return "/var/lib/tenon/modules/sha256/" + string(digest[1]) + ".wasm"
}

func TestDockerShowsTheError(t *testing.T) {
	const csv = "mode = \"csv\"\n"
	csvModule, probeModule := moduleFile(t, "csv"), moduleFile(t, "probe")
	ask := []string{"-e", "NVIDIA_VISIBLE_DEVICES=all"}
	for name, c := range map[string]struct {
		config string // "" is the good one
		ask    []string
		change func(t *testing.T) // of the machine
		want   string             // the line, without "tenon: "
	}{
		"unknown key": {csv + "runtmes = [\"runc\"]\n", ask, nil,
			configFile + `:2: no such key "runtmes"; did you mean "runtimes"`},
		"malformed": {"mode = [[[\n", ask, nil,
			configFile + `:1: not TOML: array is incomplete`},
		"wrong type": {csv + "strict = \"yes\"\n", ask, nil,
			configFile + `:2: "strict" is "yes"; it must be true or false`},
		"not installed": {"mode = \"acme\"\n", ask, nil,
			`mode acme: is not installed; run "tenon module install FILE"`},
		"module file missing": {"", ask, func(t *testing.T) { hide(t, csvModule) },
			`mode csv: ` + csvModule + `: does not exist; run "tenon module install" again`},
		"module changed": {"", ask, func(t *testing.T) { change(t, csvModule) },
			`mode csv: ` + csvModule + `: is not the module that was installed: its digest is ` + digestOfText + `, and /etc/tenon/modules.d/csv.toml has sha256:` +
				strings.TrimSuffix(filepath.Base(csvModule), ".wasm") + `; run "tenon module install" again`},
		"module open to others": {"", ask, func(t *testing.T) { chmod(t, csvModule, 0o666) },
			`mode csv: ` + csvModule + `: is not trusted: others may write it (mode 0666); chmod go-w ` + csvModule},
		"entry broken": {"", ask, func(t *testing.T) { change(t, "/etc/tenon/modules.d/csv.toml") },
			`mode csv: /etc/tenon/modules.d/csv.toml:1: not TOML: invalid character at start of key: U+003D '='`},
		"crash": {"", probe("crash"), nil,
			`mode probe: ` + probeModule + `: trapped: unreachable; it wrote "panic: runtime error: index out of range [5] with length 0"`},
		"time-out": {goodConfigWith("wall_ms = 300"), probe("loop"), nil,
			`mode probe: ` + probeModule + `: did not finish within 300ms; if the machine is slow, raise wall_ms in [limits] of the config`},
		"module's reason": {"", probe("reason"), nil,
			`mode probe: /dev/probe0: is asleep; wake it up`},
		"device missing": {"", probe("device"), nil,
			`mode probe: /dev/probe0: is not a device on this machine; load its driver`},
		"what no mode may": {"", probe("greed"), nil,
			`mode probe: ` + probeModule + `: containerEdits.env[0]: "LD_PRELOAD" is not for modes to set`},
		"more than granted": {"", probe("grab"), nil,
			`mode probe: env[0]: OTHER: is not granted; its manifest allows variables PROBED`},
		"device not there": {"", []string{"-e", "NVIDIA_VISIBLE_DEVICES=7"}, nil,
			`mode csv: NVIDIA_VISIBLE_DEVICES: "7" is not a device of this machine; ask for all, 0 or none`},
		"strict, library missing": {"strict = true\n" + csv, ask, func(t *testing.T) { hide(t, "/usr/lib/demo/libdemo.so.1.2") },
			`mode csv: ` + csvFolder + `/drivers.csv:1: lib,/usr/lib/demo/libdemo.so.1.2: does not exist, or is a link to what does not; correct it, or set strict = false`},
		"strict, device missing": {"strict = true\n" + csv, ask, func(t *testing.T) { hide(t, "/dev/demo0") },
			`mode csv: ` + csvFolder + `/devices.csv:1: dev,/dev/demo0: does not exist; correct it, or set strict = false`},
		"runc missing": {csv + "runtimes = [\"no-such-runc\"]\n", ask, nil,
			`low-level runtime "no-such-runc": is not installed; install runc, or set runtimes in the configuration to an absolute path`},
		"engine missing": {"", ask, func(t *testing.T) { hide(t, "/usr/bin/tenon-engine") },
			`tenon-engine: is not installed beside tenon-runtime; install tenon anew`},
		"hook missing": {"", ask, func(t *testing.T) { hide(t, "/usr/bin/tenon-hook") },
			`tenon-hook: is not installed beside tenon-runtime, or not only root can change it; install tenon anew, or set hook in the configuration`},
		"configuration open to others": {"", ask, func(t *testing.T) { chmod(t, configFile, 0o666) },
			configFile + `: is not trusted: others may write it (mode 0666); chmod go-w ` + configFile},
	} {
		t.Run(name, func(t *testing.T) {
			if c.config != "" {
				configure(t, c.config)
			}
			if c.change != nil {
				c.change(t)
			}
			must(t, os.RemoveAll("/run/tenon"))
			out, code := run(t, args([]string{"--runtime", "tenon"}, c.ask, []string{"image", "echo", "ran"})...)
			saysOnly(t, out, code, "tenon: "+c.want)
		})
	}
	nothingLeft(t)
	// And the machine is whole again.
	out, code := run(t, args(asking, probe("well"), []string{"image", "sh", "-c", look + "; echo $PROBED"})...)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "loaded by soname", "device", "written by 0", "well")
}

// someText is what files are changed to.
const someText = "= this is text\n"

var digestOfText = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(someText)))

func goodConfigWith(limit string) string {
	return strings.Replace(goodConfig, "wall_ms = 10_000", limit, 1)
}

// change makes a file another one until the test ends.
func change(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	hide(t, path)
	must(t, os.WriteFile(path, []byte(someText), st.Mode()))
}

// chmod gives a file another mode until the test ends.
func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	must(t, os.Chmod(path, mode))
	t.Cleanup(func() { must(t, os.Chmod(path, st.Mode())) })
}

// One entry in modules.d that is broken spoils its own mode only.
func TestDockerBrokenEntrySpoilsItsOwnModeOnly(t *testing.T) {
	must(t, write("/etc/tenon/modules.d/broken.toml", "= this is text\n", 0o644))
	t.Cleanup(func() { os.Remove("/etc/tenon/modules.d/broken.toml") })
	must(t, os.RemoveAll("/run/tenon"))
	out, _ := run(t, args(asking, []string{"image", "/load"})...)
	has(t, out, "loaded by soname")
}

// An error concerns those who ask. Without a request no mode is looked at.
func TestDockerContainerThatDoesNotAskSeesNoErrorOfAModule(t *testing.T) {
	hide(t, moduleFile(t, "csv"))
	must(t, os.RemoveAll("/run/tenon"))
	if out, code := run(t, "--runtime", "tenon", "image", "echo", "ran"); out != "ran\n" || code != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
