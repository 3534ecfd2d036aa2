// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
)

// TestScripts runs testscripts/runtime: the programs as they are shipped and as
// their callers start them, with the real modes and a low-level runtime of two
// lines of shell.
func TestScripts(t *testing.T) {
	root := trustedFolder(t)
	bin := filepath.Join(root, "bin")
	for _, program := range []string{"tenon-runtime", "tenon-engine", "tenon-hook", "tenon"} {
		// The id makes it a build that keeps settings and traces.
		build(t, "-ldflags=-s -w -X github.com/tenon-runtime/tenon/host.build=build-of-the-scripts", "-o", bin+"/", "../"+program)
	}
	for _, name := range []string{"nvidia-container-runtime", "copy-of-tenon"} {
		data, err := os.ReadFile(bin + "/tenon-runtime")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"csv", "legacy"} {
		file := filepath.Join(root, "modules", mode+".wasm")
		build(t, "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "../../modules/"+mode)
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := os.ReadFile("../../modules/" + mode + "/manifest.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := install(file, filepath.Join(root, "modules.d"), code, manifest); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testscripts/runtime",
		WorkdirRoot:         root,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("BIN", bin)
			env.Setenv("INSTALLED", filepath.Join(root, "modules.d"))
			env.Setenv("TENON_STATE", filepath.Join(env.WorkDir, "state"))
			// The modules are interpreted here, and the machine may be busy.
			env.Setenv("TENON_LIMITS__WALL_MS", "60000")
			env.Setenv("PATH", filepath.Join(env.WorkDir, "bin")+":"+bin+":"+env.Getenv("PATH"))
			return os.MkdirAll(filepath.Join(env.WorkDir, "bin"), 0o755)
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				if os.Geteuid() != 0 && os.Getenv("TENON_CI") != "" {
					return false, fmt.Errorf("CI must run as root")
				}
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"expand": expand,
			"guest":  guest,
			"same":   same,
			"note":   note,
			"mknod":  mknod,
		},
	})
}

// build runs go build, for wasm where it makes a module.
func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if args[0] == "-buildmode=c-shared" {
		cmd.Env = append(cmd.Env, "GOOS=wasip1", "GOARCH=wasm")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %v: %v\n%s", args, err, out)
	}
}

// trustedFolder makes a folder in which tenon uses modules: nobody but root and
// the user may be able to change anything on the way to it, which rules out the
// folder for temporary files.
func trustedFolder(t *testing.T) string {
	t.Helper()
	parents := []string{"/var/lib"}
	if wd, err := filepath.Abs("../.."); err == nil {
		build := filepath.Join(wd, "build")
		if os.MkdirAll(build, 0o755) == nil && trusted(build) {
			parents = []string{build}
		}
	}
	dir, err := os.MkdirTemp(parents[0], "_tenon-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// trusted reports whether only root and this user can change what is in dir.
func trusted(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		var st syscall.Stat_t
		if syscall.Lstat(dir, &st) != nil || st.Mode&0o022 != 0 || st.Uid != 0 && int(st.Uid) != os.Geteuid() ||
			st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
			return false
		}
		if dir == "/" {
			return true
		}
	}
}

// expand FILE… replaces $NAME in files by the script's variables.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o644))
	}
}

// guest KIND FILE [DOCUMENT] writes a module by hand: one that gives the edits
// in DOCUMENT, or a bad one.
func guest(ts *testscript.TestScript, neg bool, args []string) {
	var body []byte // of tenon_discover
	var data string
	switch args[0] {
	case "edits": // emit(0, 0, len); return 0
		data = strings.TrimSpace(ts.ReadFile(args[2]))
		body = append([]byte{0x41, 0, 0x41, 0, 0x41}, sleb(len(data))...)
		body = append(body, 0x10, 0, 0x1a, 0x41, 0)
	case "fails": // emit(1, 0, len); return 1
		data = strings.TrimSpace(ts.ReadFile(args[2]))
		body = append([]byte{0x41, 1, 0x41, 0, 0x41}, sleb(len(data))...)
		body = append(body, 0x10, 0, 0x1a, 0x41, 1)
	case "trap":
		body = []byte{0x00}
	case "loop":
		body = []byte{0x03, 0x40, 0x0c, 0x00, 0x0b, 0x41, 0}
	case "nothing": // not applicable
		body = []byte{0x41, 2}
	default:
		ts.Fatalf("no such guest: %s", args[0])
	}
	export := "tenon_discover"
	section := func(id byte, content ...byte) []byte {
		return append(append([]byte{id}, uleb(len(content))...), content...)
	}
	text := func(s string) []byte { return append(uleb(len(s)), s...) }
	module := []byte("\x00asm\x01\x00\x00\x00")
	module = append(module, section(1, 2, 0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 0, 1, 0x7f)...)
	module = append(module, section(2, join([]byte{1}, text("tenon_v1"), text("emit"), []byte{0, 0})...)...)
	module = append(module, section(3, 1, 1)...)
	module = append(module, section(5, 1, 0, 1)...)
	module = append(module, section(7, join([]byte{2}, text("memory"), []byte{2, 0}, text(export), []byte{0, 1})...)...)
	code := join([]byte{0}, body, []byte{0x0b})
	module = append(module, section(10, join([]byte{1}, uleb(len(code)), code)...)...)
	if data != "" {
		module = append(module, section(11, join([]byte{1, 0, 0x41, 0, 0x0b}, text(data))...)...)
	}
	ts.Check(install(ts.MkAbs(args[1]), ts.MkAbs("modules.d"), module, []byte(guestManifest)))
}

// guestManifest is that of the modules of guest.
const guestManifest = `{"abi":{"major":1,"minor":0},"name":"acme.example/guest","version":"1.0.0","grants":{},
	"edits":{"env":["A","B"],"devices":["/dev/**"]}}`

// install writes a module with its manifest to file, and beside modules_d what
// "tenon module install" would write there, everything being accepted.
func install(file, modulesD string, code, manifest []byte) error {
	code, err := host.WithManifest(code, manifest)
	if err != nil {
		return err
	}
	manifest, err = host.ManifestOf(code)
	if err != nil {
		return err
	}
	accepted, err := host.ParseManifest(manifest)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(filepath.Base(file), ".wasm")
	entry, err := config.Module{Installed: host.Installed{
		Name: name, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(code)), File: file, Order: config.DefaultOrder,
		Manifest: string(manifest), Accepted: accepted.GrantsText,
	}}.TOML(filepath.Dir(file))
	if err != nil {
		return err
	}
	for path, data := range map[string][]byte{file: code, filepath.Join(modulesD, name+".toml"): entry} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// uleb and sleb are the two spellings of numbers in wasm, core spec 5.2.2.
func uleb(n int) []byte {
	var b []byte
	for {
		c := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func sleb(n int) []byte {
	var b []byte
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// note FILE remembers what file it is: inode, times, mode, owner.
func note(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("NOTE", identity(ts, args[0]))
}

// same FILE checks that the file is the one noted, and was not touched.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if now := identity(ts, args[0]); (now == ts.Getenv("NOTE")) == neg {
		ts.Fatalf("%s was\n%s and is\n%s", args[0], ts.Getenv("NOTE"), now)
	}
}

func identity(ts *testscript.TestScript, file string) string {
	var st syscall.Stat_t
	ts.Check(syscall.Stat(ts.MkAbs(file), &st))
	return fmt.Sprintf("inode %d mtime %v ctime %v mode %o owner %d:%d", st.Ino, st.Mtim, st.Ctim, st.Mode, st.Uid, st.Gid)
}

// mknod FILE MODE MAJOR MINOR makes a character device.
func mknod(ts *testscript.TestScript, neg bool, args []string) {
	number := func(s string, base int) int {
		n, err := strconv.ParseInt(s, base, 32)
		ts.Check(err)
		return int(n)
	}
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	mode := number(args[1], 8)
	ts.Check(syscall.Mknod(file, uint32(syscall.S_IFCHR|mode), number(args[2], 10)<<8|number(args[3], 10)))
	ts.Check(os.Chmod(file, os.FileMode(mode)))
}
