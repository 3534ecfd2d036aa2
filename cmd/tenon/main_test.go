// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tenon": main})
}

// TestScripts runs testscripts/tenon.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testscripts/tenon",
		WorkdirRoot:         scriptFolder(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               goEnv,
		Condition:           builds,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":      exits,
			"unhex":      unhex,
			"substitute": substitute,
			"manifest":   withManifest,
			"spoil":      spoil,
		},
	})
}

// scriptFolder makes a folder in which tenon trusts files: on the way to it, only
// root and the user may be able to change anything.
func scriptFolder(t *testing.T) string {
	t.Helper()
	build, err := filepath.Abs("../../build")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(build, 0o755); err != nil {
		t.Fatal(err)
	}
	parent := build
	for dir := build; ; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if err := unix.Lstat(dir, &st); err != nil {
			t.Fatal(err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK || st.Mode&0o022 != 0 || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			parent = "/var/lib"
			break
		}
		if dir == "/" {
			break
		}
	}
	if parent != build && os.Geteuid() != 0 {
		if os.Getenv("TENON_CI") != "" {
			t.Fatal("needs root, or a checkout that only its user can write to")
		}
		t.Skip("needs root, or a checkout that only its user can write to")
	}
	dir, err := os.MkdirTemp(parent, "_tenon-scripts-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// exits CODE PROGRAM ARG… runs the program, which must exit with that code. Its
// output is there for the commands after it.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// unhex FILE.hex FILE makes bytes of hex digits; the rest of a line after "#" is a
// comment.
func unhex(ts *testscript.TestScript, _ bool, args []string) {
	var digits strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	data, err := hex.DecodeString(digits.String())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o644))
}

// substitute FILE… puts variables of the script in the place of $NAME.
func substitute(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o644))
	}
}

func TestColoursAreForTerminalsOnly(t *testing.T) {
	t.Setenv("TENON_CONFIG", "")
	folder := scriptFolder(t)
	file := filepath.Join(folder, "config.toml")
	if err := os.WriteFile(file, []byte("strict = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TENON_CONFIG", file)
	for _, test := range []struct {
		name     string
		noColor  string
		terminal bool
		want     bool
	}{
		{"terminal", "", true, true},
		{"terminal with NO_COLOR", "1", true, false},
		{"no terminal", "", false, false},
	} {
		t.Setenv("NO_COLOR", test.noColor)
		var text string
		if test.terminal {
			text = onTerminal(t, "", func(tty *os.File) { run([]string{"config", "check", "-v"}, io.Discard, tty) })
		} else {
			var stderr bytes.Buffer
			run([]string{"config", "check", "-v"}, io.Discard, &stderr)
			text = stderr.String()
		}
		if !strings.Contains(text, file) {
			t.Errorf("%s: the file is not named in %q", test.name, text)
		}
		if got := strings.Contains(text, "\x1b["); got != test.want {
			t.Errorf("%s: colours %v in %q", test.name, got, text)
		}
	}
}

// onTerminal gives f a new pseudo-terminal (pts(4)) at which typed has been typed,
// and returns what can be read there: typed, and what f wrote.
func onTerminal(t *testing.T, typed string, f func(tty *os.File)) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := master.WriteString(typed); err != nil {
		t.Fatal(err)
	}
	f(tty)
	tty.Close()
	var text bytes.Buffer
	_, _ = io.Copy(&text, master) // ends with EIO, as nobody has the other side open
	return text.String()
}
