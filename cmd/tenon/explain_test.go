// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// Ops of ABI version 1 as the host answers them: "Queries" of sdk/ABI.md.
const (
	askEnv = 1 + iota
	_
	_
	_
	_
	askStat
	askReadDir
	askRead
	_
	askGlob
)

func askedMode(asked ...host.Asked) *explainedMode {
	m := &explainedMode{Mode: "acme", asked: asked}
	for _, a := range asked {
		m.Queries = append(m.Queries, explainQuestion(a))
	}
	return m
}

func TestEditsAreNamedByTheAnswersThatSayMost(t *testing.T) {
	m := askedMode(
		host.Asked{Op: askGlob, Key: "/dev/acme*", Answer: []byte("/dev/acme0\x00/dev/acme1\x00")},
		host.Asked{Op: askReadDir, Key: "/dev", Answer: []byte("cacme0\x00dacme10\x00")},
		host.Asked{Op: askStat, Root: 2, Key: "/dev/acme0", Answer: make([]byte, 32)},
		host.Asked{Op: askStat, Key: "/dev/acme0", Code: host.CodeNotFound},
		host.Asked{Op: askRead, Key: "/etc/list", Answer: []byte("# /dev/acme01 and /dev/acme\n\ndev, /dev/acme0\nany,/dev/acme[01]\n/dev/acme/0\n")},
	)
	want := []string{
		`read host "/etc/list" line 3: "dev, /dev/acme0"`,
		`read host "/etc/list" line 4: "any,/dev/acme[01]"`,
		`stat driver "/dev/acme0": , mode 0000, owner 0:0`,
		`glob host "/dev/acme*" lists it`,
	}
	for _, names := range [][]string{{"/dev/acme0"}, {"/driver/dev/acme0"}, {"/elsewhere", "/driver/dev/acme0"}} {
		if got := m.naming(names, "/driver"); !slices.Equal(got, want) {
			t.Errorf("%q:\n%s\nwant\n%s", names, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if got := m.naming([]string{"/driverless/dev/acme0", "/", ""}, "/driver"); len(got) != 0 || got == nil {
		t.Errorf("what nothing names is named by %q", got)
	}
}

func TestAnswersAreShownInWords(t *testing.T) {
	node := make([]byte, 32)
	node[0] = 'b'
	for at, n := range map[int]uint32{4: 0o640, 8: 1, 12: 6, 16: 8, 20: 17} {
		binary.LittleEndian.PutUint32(node[at:], n)
	}
	for _, test := range []struct {
		asked host.Asked
		want  string
	}{
		{host.Asked{Op: askStat, Key: "/dev/sdb1", Answer: node}, `stat host "/dev/sdb1": block device 8:17, mode 0640, owner 1:6`},
		{host.Asked{Op: askStat, Root: 1, Key: "/x", Code: host.CodeDenied}, `stat container "/x": denied`},
		{host.Asked{Op: askEnv, Key: "A", Answer: []byte("\x1b[31m")}, `env "A": "\x1b[31m"`},
		{host.Asked{Op: askRead, Key: "/x", Answer: []byte("a")}, `read host "/x": 1 byte`},
		{host.Asked{Op: askGlob, Key: "/x*"}, `glob host "/x*": none`},
		{host.Asked{Op: askReadDir, Key: "/x", Answer: []byte("fa\x00d\n\x00")}, `readdir host "/x": 2: a, ?`},
		{host.Asked{Op: askEnv, Key: "A", Answer: bytes.Repeat([]byte("x"), 500)}, `env "A": "` + strings.Repeat("x", maxAnswer-1) + "…"},
	} {
		if got := explainQuestion(test.asked).String(); got != test.want {
			t.Errorf("got\n%s, want\n%s", got, test.want)
		}
	}
}

func TestEveryKindOfEditIsListed(t *testing.T) {
	gid := uint32(44)
	e := discover.Edits{
		ContainerEdits: cdi.ContainerEdits{
			Env: []string{"A=1", "B=2"}, DeviceNodes: []*cdi.DeviceNode{{Path: "/dev/a", HostPath: "/h/a", Type: "c", Major: 1, Minor: 3, Permissions: "rw", GID: &gid}},
			NetDevices: []*cdi.LinuxNetDevice{{HostInterfaceName: "acme0", Name: "eth1"}}, Mounts: []*cdi.Mount{{HostPath: "/h/m", ContainerPath: "/m", Options: []string{"ro"}}},
			IntelRdt: &cdi.IntelRdt{ClosID: "gold"}, AdditionalGIDs: []uint32{7, 44},
		},
		Remove:   discover.Remove{Env: []string{"X"}, Mounts: []string{"/rm"}, Devices: []string{"/dev/d"}, Hooks: []discover.RemoveHook{{HookName: "prestart", Base: "h"}}},
		EnvMode:  map[string]string{"B": "append:"},
		Symlinks: []discover.Symlink{{Target: "m.1", Link: "/m.2"}}, LdCache: discover.LdCache{Dirs: []string{"/lib/m"}},
		DeviceRules:  []discover.DeviceRule{{Type: "c", Major: 195, Minor: -1, Access: "rw"}},
		BuiltinHooks: []discover.BuiltinHook{{Name: "chmod", Args: map[string]string{"mode": "755", "path": "/p"}}}, Annotations: map[string]string{"k": "v"},
	}
	l := editList{mode: askedMode(), ownGroups: []uint32{7}}
	var lines []string
	for _, edit := range l.of(&e) {
		lines = append(lines, edit.text())
	}
	want := []string{
		"remove env X", "remove mount /rm", "remove device /dev/d", "remove hook h: prestart",
		"env A: 1", "env B: 2 (append:)", "device /dev/a: c 1:3 rw from /h/a", "device rule c 195:*: rw", "network interface eth1: from acme0",
		"mount /m: from /h/m ro", "group 7", "group 44: the group of /dev/a, which not everybody may open", "intelRdt gold",
		"link /m.2: to m.1", "folder of libraries /lib/m", "built-in hook chmod: mode 755, path /p", "annotation k: v",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
	total := 0
	for _, n := range host.CountEdits(e) {
		total += n
	}
	if len(lines) != total {
		t.Errorf("%d are listed, and %d counted", len(lines), total)
	}
	explained := &explanation{Edits: l.list}
	explained.redact()
	for _, edit := range explained.Edits {
		if secret := edit.Kind == "env" || edit.Kind == "annotation"; secret != (edit.Detail == redacted) {
			t.Errorf("%s is shown as %q", edit.What, edit.Detail)
		}
	}
}

func TestTreeHasColoursOnATerminalOnly(t *testing.T) {
	folder := scriptFolder(t)
	file := filepath.Join(folder, "config.toml")
	spec := filepath.Join(folder, "config.json")
	for path, text := range map[string]string{file: "mode = []\n", spec: `{"ociVersion":"1.0.2"}`} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TENON_CONFIG", file)
	t.Setenv(host.StateVariable, filepath.Join(folder, "state"))
	const line = `no mode is asked on this machine; see "tenon config show"`
	for _, test := range []struct {
		name, noColor string
		terminal      bool
		want          string
	}{
		{"terminal", "", true, "└─ \x1b[2m" + line + "\x1b[0m"},
		{"terminal with NO_COLOR", "1", true, "└─ " + line},
		{"no terminal", "", false, "└─ " + line},
	} {
		t.Setenv("NO_COLOR", test.noColor)
		var text string
		if test.terminal {
			text = onTerminal(t, "", func(tty *os.File) { run([]string{"explain", "--spec", spec}, tty, tty) })
		} else {
			var stdout, stderr bytes.Buffer
			run([]string{"explain", "--spec", spec}, &stdout, &stderr)
			text = stdout.String()
		}
		if !strings.Contains(text, test.want+"\r\n") && !strings.Contains(text, test.want+"\n") {
			t.Errorf("%s: %q", test.name, text)
		}
	}
}
