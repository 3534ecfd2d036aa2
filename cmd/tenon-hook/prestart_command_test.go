// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestCommandLineInFull(t *testing.T) {
	c := testConfig(t, `
[nvidia-container-cli]
root = "/run/nvidia/driver"
debug = "/var/log/cli.log"
ldcache = "/etc/ld.so.cache"
load-kmods = true
no-pivot = true
no-cgroups = true
user = "root:video"
ldconfig = "@/sbin/ldconfig"
[nvidia-container-runtime.modes.legacy]
cuda-compat-mode = "mount"
[features]
disable-imex-channel-creation = true
`)
	r := &nvidiaRequest{devices: []string{"0", "-1"}, migConfig: "all", migMonitor: "1", imex: []string{"2", "3"},
		capabilities: []string{"compute", "utility"}, requirements: []string{"cuda>=12.4 brand=tesla", "", "--pid=1"}}
	want := []string{"/usr/bin/nvidia-container-cli", "--root=/run/nvidia/driver", "--load-kmods", "--no-create-imex-channels", "--no-pivot",
		"--debug=/var/log/cli.log", "--ldcache=/etc/ld.so.cache", "--user=root:video", "configure", "--cuda-compat-mode=mount",
		"--ldconfig=@/sbin/ldconfig", "--no-cgroups", "--device=0,-1", "--mig-config=all", "--mig-monitor=1", "--imex-channel=2,3",
		"--compute", "--utility", "--require=cuda>=12.4 brand=tesla", "--require=", "--require=--pid=1", "--pid=42", "/b/rootfs"}
	if got := c.command("/usr/bin/nvidia-container-cli", false, r, 42, "/b/rootfs"); !slices.Equal(got, want) {
		t.Errorf("the command is\n%q\nwant\n%q", got, want)
	}
	want[5] = "--debug=/dev/stderr"
	if got := c.command("/usr/bin/nvidia-container-cli", true, r, 42, "/b/rootfs"); !slices.Equal(got, want) {
		t.Errorf("with -debug the command is\n%q\nwant\n%q", got, want)
	}
}

func TestCUDACompatMode(t *testing.T) {
	const key = "nvidia-container-runtime.modes.legacy.cuda-compat-mode = "
	const allow = "\nfeatures.allow-cuda-compat-libs-from-container = true"
	for text, want := range map[string]string{
		"": "ldconfig", allow: "ldconfig",
		key + "'ldconfig'": "ldconfig", key + "'mount'": "mount", key + "'disabled'": "disabled", key + "'hook'": "disabled",
		key + "''": "disabled", key + "'other'": "disabled", key + "''" + allow: "", key + "'disabled'" + allow: "disabled",
	} {
		if got := testConfig(t, text).cudaCompatMode(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestEnvironmentOfTheCLI(t *testing.T) {
	for text, want := range map[string][]string{
		"": {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		"nvidia-container-cli.environment = ['A=1', 'PATH=/x', 'AB=2', 'A=3=4', 'C=']": {"PATH=/x", "AB=2", "A=3=4", "C="},
	} {
		if got := testConfig(t, text).commandEnv(); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWhichCLIIsStarted(t *testing.T) {
	machine := nvidiaFolder(t)
	driver, bundle := machine+"/driver", machine+"/bundle"
	const cli = "/nvidia-container-cli"
	find := func(text string) string {
		t.Helper()
		c := testConfig(t, "nvidia-container-cli.root = '"+driver+"'\n"+text)
		path, err := c.findCLI(machine, bundle+"/rootfs")
		if err != nil {
			return nvidiaLine(err)
		}
		return path
	}
	expect := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	const missing = `tenon: nvidia-container-cli: is not installed; install libnvidia-container-tools, or set "nvidia-container-cli.path" in /etc/nvidia/config.toml`
	expect(find(""), missing)
	t.Setenv("PATH", machine+"/path")
	nvidiaFile(t, machine+"/path"+cli, "", 0o755)
	expect(find(""), missing)
	nvidiaFile(t, machine+"/bin"+cli, "", 0o644)
	expect(find(""), "tenon: "+machine+"/bin"+cli+": is not a program; make it a file with mode 0755")
	nvidiaFile(t, machine+"/bin"+cli, "", 0o755)
	expect(find(""), machine+"/bin"+cli)
	nvidiaFile(t, machine+"/usr/bin"+cli, "", 0o775)
	expect(find(""), machine+"/bin"+cli)
	nvidiaFile(t, machine+"/usr/bin"+cli, "", 0o755)
	expect(find(""), machine+"/usr/bin"+cli)
	nvidiaFile(t, driver+"/sbin"+cli, "", 0o755)
	expect(find(""), driver+"/sbin"+cli)

	nvidiaFile(t, bundle+"/rootfs/bin"+cli, "", 0o755)
	if err := os.Symlink(bundle+"/rootfs/bin"+cli, machine+"/link"); err != nil {
		t.Fatal(err)
	}
	nvidiaFile(t, machine+"/open/cli", "", 0o755)
	if err := os.Chmod(machine+"/open", 0o777); err != nil {
		t.Fatal(err)
	}
	const key = `tenon: /etc/nvidia/config.toml: "nvidia-container-cli.path": `
	for path, want := range map[string]string{
		machine + "/path" + cli:           machine + "/path" + cli,
		machine + "/path/../path/." + cli: machine + "/path/../path/." + cli,
		"nvidia-container-cli":            key + `"nvidia-container-cli": is not an absolute path; write it in full`,
		machine + "/none":                 key + machine + "/none: does not exist",
		machine + "/path":                 key + machine + "/path: is not a program; make it a file with mode 0755",
		machine + "/link":                 key + machine + "/link: is a file of the container; name a program of the host",
		machine + "/open/cli":             key + machine + "/open: leads to " + machine + "/open/cli and is not trusted: others may write it (mode 0777); chmod go-w " + machine + "/open",
	} {
		expect(find("nvidia-container-cli.path = '"+path+"'"), want)
	}
}

func TestTrustedPathFollowsWhatItTrusts(t *testing.T) {
	dir := nvidiaFolder(t)
	nvidiaFile(t, dir+"/a/b/file", "text", 0o644)
	for name, target := range map[string]string{"rel": "a/b", "abs": dir + "/a", "a/up": "../rel/../b/file", "loop": "loop", "out": "/tmp/x"} {
		if err := os.Symlink(target, dir+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"/a/b/file": "/a/b/file", "//a/./b//file": "/a/b/file", "/rel/file": "/a/b/file", "/abs/b/file": "/a/b/file", "/a/up": "/a/b/file", "/rel/../b/file": "/a/b/file",
	} {
		got, err := trustedPath(dir + name)
		if err != nil || got != dir+want {
			t.Errorf("%s leads to %s (%v), want %s", name, got, err, want)
		}
	}
	for name, want := range map[string]string{
		"/loop":         dir + "/loop: leads through more than 40 symbolic links",
		"/a/b/file/x":   dir + "/a/b/file/x: not a directory",
		"/a/none":       dir + "/a/none: no such file or directory",
		"/rel/file/../": dir + "/a/b",
	} {
		got, err := trustedPath(dir + name)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if _, err := trustedPath(dir + "/out"); err == nil || !strings.HasPrefix(err.Error(), "/tmp: leads to ") {
		t.Errorf("a link into the folder for temporary files: %v", err)
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(dir+"/rel", 12345, 0); err != nil {
			t.Fatal(err)
		}
		want := dir + "/rel: leads to " + dir + "/rel/file and is not trusted: it belongs to uid 12345; chown it to root"
		if _, err := trustedPath(dir + "/rel/file"); err == nil || err.Error() != want {
			t.Errorf("another user's link: %v", err)
		}
	}
}

func TestStateOnStandardInput(t *testing.T) {
	for text, want := range map[string]string{
		`{"pid":7,"bundle":"/b"}`:                     "/b",
		`{"pid":7,"bundlePath":"/old"}`:               "/old",
		`{"pid":7,"bundle":"/b","bundlePath":"/old"}`: "/b",
		`{"pid":7}`:                 `"bundle" is not an absolute path; start this hook by an OCI runtime`,
		`{"bundle":"b"}`:            `"bundle" is not an absolute path; start this hook by an OCI runtime`,
		``:                          `is not JSON: unexpected end of JSON input`,
		`{"pid":"7","bundle":"/b"}`: `"pid" is of the wrong type: string`,
		`{"bundle":"/` + strings.Repeat("b", 8<<20) + `"}`: "is longer than 8388608 bytes",
	} {
		s, err := readHookState(bytes.NewReader([]byte(text)))
		got := s.bundle()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.60s: got\n%s\nwant\n%s", text, got, want)
		}
	}
}

func TestContainerFromItsConfig(t *testing.T) {
	const head, tail = `{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{`, `}}`
	tests := []struct {
		name, text, rootfs string
		privileged         bool
		err                string
	}{
		{name: "relative root is below the bundle", text: head + tail, rootfs: "/b/rootfs"},
		{name: "absolute root", text: `{"ociVersion":"1","root":{"path":"/r"},"process":{}}`, rootfs: "/r"},
		{name: "bounding", text: head + `"capabilities":{"bounding":["CAP_KILL","CAP_SYS_ADMIN"]}` + tail, rootfs: "/b/rootfs", privileged: true},
		{name: "effective is not enough", text: head + `"capabilities":{"effective":["CAP_SYS_ADMIN"]}` + tail, rootfs: "/b/rootfs"},
		{name: "one list, of 1.0.0-rc1", text: head + `"capabilities":["CAP_SYS_ADMIN"]` + tail, rootfs: "/b/rootfs", privileged: true},
		{name: "null", text: head + `"capabilities":null` + tail, rootfs: "/b/rootfs"},
		{name: "an entry without =", text: head + `"env":["NVIDIA_VISIBLE_DEVICES","=x",""]` + tail, rootfs: "/b/rootfs"},
		{name: "no version", text: `{"root":{"path":"r"},"process":{}}`, err: `has no "ociVersion"`},
		{name: "no process", text: `{"ociVersion":"1","root":{"path":"r"}}`, err: `has no "process"`},
		{name: "no root", text: `{"ociVersion":"1","process":{}}`, err: `has no "root.path"`},
		{name: "empty root", text: `{"ociVersion":"1","process":{},"root":{}}`, err: `has no "root.path"`},
		{name: "NUL", text: `{"ociVersion":"1","process":{},"root":{"path":"a\u0000"}}`, err: `"root.path" holds a NUL character`},
		{name: "type", text: `{"ociVersion":"1","process":{"env":[1]},"root":{}}`, err: `"process.env" is of the wrong type: number`},
		{name: "truncated", text: `{"ociVersion":`, err: "is not JSON: unexpected end of JSON input"},
		{name: "trailing", text: head + tail + `{}`, err: "is not JSON: invalid character '{' after top-level value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ct, err := parseNVIDIAContainer([]byte(tt.text), "/b")
			if err != nil || tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("the error is %v, want %s", err, tt.err)
				}
				return
			}
			if _, ok := ct.env[envVisibleDevices]; ok || ct.rootfs != tt.rootfs || ct.privileged != tt.privileged {
				t.Errorf("%+v", ct)
			}
		})
	}
}

func TestNamesAndCommandsOfNVIDIAsHook(t *testing.T) {
	for argv, want := range map[string]bool{
		"tenon-hook": false, "tenon-hook update-ldcache": false, "tenon-hook version": false, "": false,
		"tenon-hook prestart": true, "/usr/bin/tenon-hook poststart -debug": true, "x poststop": true,
		"/usr/bin/nvidia-container-runtime-hook": true, "nvidia-container-toolkit -version": true, "nvidia-container-runtime-hook-wrapper x": false,
	} {
		if got := isNVIDIAHook(strings.Fields(argv)); got != want {
			t.Errorf("%q: %v", argv, got)
		}
	}
}
