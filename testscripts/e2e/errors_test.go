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

	"golang.org/x/sys/unix"
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
			`mode acme: is not installed; run "tenon module install FILE", or correct mode in ` + configFile + `:1`},
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
			`tenon-hook: is not installed beside tenon-runtime; install tenon anew`},
		"hook open to others": {"", ask, func(t *testing.T) { chmod(t, "/usr/bin/tenon-hook", 0o777) },
			`/usr/bin/tenon-hook: is not trusted: others may write it (mode 0777); chmod go-w /usr/bin/tenon-hook`},
		"engine open to others": {"", ask, func(t *testing.T) { chmod(t, "/usr/bin/tenon-engine", 0o777) },
			`/usr/bin/tenon-engine: is not trusted: others may write it (mode 0777); chmod go-w /usr/bin/tenon-engine`},
		"engine no program": {"", ask, func(t *testing.T) { change(t, "/usr/bin/tenon-engine") },
			`/usr/bin/tenon-engine: not a program of this machine`},
		"engine ends": {"", ask, func(t *testing.T) { script(t, "/usr/bin/tenon-engine", "exit 3") },
			`/usr/bin/tenon-engine: ended without an answer (exit status 3); this is a bug of tenon, please report`},
		"engine killed": {"", ask, func(t *testing.T) { script(t, "/usr/bin/tenon-engine", "kill -9 $$") },
			`/usr/bin/tenon-engine: ended without an answer (signal: killed); this is a bug of tenon, please report`},
		"engine of another kind": {"", ask, func(t *testing.T) { script(t, "/usr/bin/tenon-engine", "echo hello") }, `tenon-engine: is of another build than tenon-runtime; install tenon anew, all programs from one package`},
		"no runc named":          {csv + "runtimes = []\n", ask, nil, configFile + `:2: "runtimes" is []; it must be a list of names or absolute paths`},
		"runc no program": {csv + "runtimes = [\"" + scratch + "/text\"]\n", ask, func(t *testing.T) { must(t, write(scratch+"/text", someText, 0o755)) },
			scratch + `/text: not a program of this machine`},
		"configuration a folder": {"", ask, func(t *testing.T) {
			hide(t, configFile)
			must(t, os.Mkdir(configFile, 0o755))
			t.Cleanup(func() { os.Remove(configFile) })
		}, configFile + `: is not a regular file`},
		"configuration a link": {"", ask, func(t *testing.T) {
			must(t, os.Symlink("config.toml.hidden", configFile+".link"))
			hide(t, configFile)
			must(t, os.Rename(configFile+".link", configFile))
			t.Cleanup(func() { os.Remove(configFile) })
		}, configFile + `: is not trusted: it is a symbolic link; name the place it leads to`},
		"strict, folder of lists missing": {"strict = true\n" + csv, ask, func(t *testing.T) { hide(t, csvFolder) }, `mode csv: ` + csvFolder + `: no CSV file is there; correct it, or set strict = false`},
		"strict, list is not one":         {"strict = true\n" + csv, ask, func(t *testing.T) { change(t, csvFolder+"/devices.csv") }, `mode csv: ` + csvFolder + `/devices.csv: has no entry; correct it, or set strict = false`},
		"legacy, its hook missing":        {"mode = \"legacy\"\n", ask, nil, `mode legacy: nvidia-container-runtime-hook: not an executable file on this machine, and the container asks for devices by NVIDIA_VISIBLE_DEVICES; install nvidia-container-toolkit or set modes.legacy.hook_path`},
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

// The bundle of a container can be wrong, too: config.json is changed between
// Docker and tenon.
func TestDockerShowsWhatIsWrongWithTheBundle(t *testing.T) {
	for name, c := range map[string]struct{ do, want string }{
		"not JSON":           {`echo nonsense >config.json`, `tenon: BUNDLE/config.json: line 1: 'o' where "null" belongs`},
		"empty":              {`: >config.json`, `tenon: BUNDLE/config.json: it is empty`},
		"cut off":            {`printf '{"ociVersion":"1.0.2",\n"process":{' >config.json`, `tenon: BUNDLE/config.json: line 2: it ends where a key in quotes belongs`},
		"absent":             {`rm config.json`, `tenon: BUNDLE/config.json: does not exist`},
		"a folder":           {`rm config.json; mkdir config.json`, `tenon: BUNDLE/config.json: is not a regular file`},
		"a pipe":             {`rm config.json; mkfifo config.json`, `tenon: BUNDLE/config.json: is not a regular file`},
		"a link":             {`mv config.json other; ln -s other config.json`, `tenon: BUNDLE/config.json: is a symbolic link; name the file itself`},
		"too large":          {`truncate -s 9M config.json`, `tenon: BUNDLE/config.json: has 9437184 bytes, and at most 8388608 are read`},
		"doubled":            {`sed -i '1s/^{/{"process":{},/' config.json`, `tenon: BUNDLE/config.json: "process" stands twice, again on line 1`},
		"in two spellings":   {`sed -i '1s/^{/{"Process":{},/' config.json`, `tenon: BUNDLE/config.json: "Process" on line 1 is misspelt; write "process"`},
		"more after it":      {`printf '{}' >>config.json`, `tenon: BUNDLE/config.json: line 1: there is more after the end of the document`},
		"no process":         {`sed -i 's/"process":/"prozess":/' config.json`, `runc create failed: process property must not be empty`},
		"env no list":        {`sed -i 's/"env":\[[^]]*\]/"env":"NVIDIA_VISIBLE_DEVICES=all"/' config.json`, `tenon: BUNDLE/config.json: "process.env" on line 1 is a string, not an array`},
		"open to others":     {`chmod 666 config.json`, `tenon: BUNDLE/config.json: has mode 0666; nobody but its owner may write it`},
		"somebody else's":    {`chown 1000 config.json`, `tenon: BUNDLE/config.json: belongs to user 1000; it must belong to root or to the user of this process`},
		"not to be replaced": {`mount --bind config.json config.json`, `tenon: BUNDLE/config.json: device or resource busy`},
	} {
		t.Run(name, func(t *testing.T) {
			between(t, scratch+"/watched", c.do, "/usr/bin/tenon-runtime")
			out, code := run(t, args([]string{"--runtime", "watched"}, asking[2:], []string{"image", "echo", "ran"})...)
			saysOnly(t, bundlePath.ReplaceAllString(out, "BUNDLE"), code, c.want)
		})
	}
	// containerd cannot remove a bundle with a mount in it.
	for _, left := range mountsBelow(t, "/run/containerd/io.containerd.runtime.v2.task/moby/.") {
		must(t, unix.Unmount(left, 0))
		must(t, os.RemoveAll(filepath.Dir(left)))
	}
	nothingLeft(t)
}

// A hook that refuses says why, and runc hands it on; where the cache is not
// required, the container starts without it.
func TestDockerShowsWhatTheHookSays(t *testing.T) {
	etc := scratch + "/read-only-etc"
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		must(t, write(etc+"/"+name, "", 0o644)) // Docker mounts its own over them
	}
	ask := args(asking, []string{"-v", etc + ":/etc:ro", "image", "sh", "-c", look})
	out, code := run(t, ask...)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "libdemo.so.1: cannot open shared object file: No such file or directory", "device", "done")
	configure(t, goodConfig+"[ldcache]\nrequired = true\n")
	out, code = run(t, ask...)
	if want := "stderr: tenon-hook: /etc/ld.so.cache of the container: does not exist"; !strings.Contains(out, want) || code != 127 && code != 125 {
		t.Errorf("exit code %d, and docker says\n%s\nwant\n%s", code, out, want)
	}
	nothingLeft(t)
}

// What runc says stays as it is.
func TestDockerShowsWhatRuncSays(t *testing.T) {
	for _, flags := range [][]string{{"image", "no-such-command"}, {"--workdir", "/load", "image", "true"}, {"--user", "nobody", "image", "true"}} {
		want, wantCode := run(t, flags...)
		out, code := run(t, args(asking, flags)...)
		if out != want || code != wantCode || code == 0 {
			t.Errorf("%q: exit code %d, and docker says\n%s\nwant %d,\n%s", flags, code, out, wantCode, want)
		}
	}
}

// bundlePath is where containerd puts the bundles of Docker's containers.
var bundlePath = regexp.MustCompile(`/run/containerd/[^ ]*/moby/[0-9a-f]{64}`)

// script makes a program another one until the test ends.
func script(t *testing.T, path, text string) {
	t.Helper()
	hide(t, path)
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
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
