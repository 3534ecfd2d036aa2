// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

func TestMain(m *testing.M) {
	Compile() // this test is the program that Warm starts again
	buildID = func() string { return "a test" }
	os.Exit(m.Run())
}

// cached is a config with a cache of its own.
func cached(t *testing.T) host.Config {
	t.Helper()
	c := host.DefaultConfig()
	c.ModuleDir = trustedDir(t)
	c.CacheDir = filepath.Join(c.ModuleDir, "cache")
	c.Limits.WallMS = 60000
	return c
}

// warm installs a module as mode "m" and compiles it. It returns the folder of
// its compiled code, and the path of the code in it.
func warm(t *testing.T, c host.Config, module []byte) (folder, file string) {
	t.Helper()
	writeFile(t, filepath.Join(c.ModuleDir, "m.wasm"), string(module))
	if err := Warm(t.Context(), c, module); err != nil {
		t.Fatal(err)
	}
	folder = folderOf(c, module)
	files, err := filepath.Glob(filepath.Join(folder, "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("compiled code: %v, %v", files, err)
	}
	return folder, files[0]
}

func folderOf(c host.Config, module []byte) string {
	return filepath.Join(c.CacheDir, buildFolder(), fmt.Sprintf("%x", sha256.Sum256(module)))
}

// runLogged runs mode "m", and returns what the debug log says on how it ran:
// "" where compiled code was run.
func runLogged(t *testing.T, c host.Config) (r host.Result, interpreted string, err error) {
	t.Helper()
	var log bytes.Buffer
	r, err = Discover(t.Context(), asInstalled(t, c, "m"), "m", requestOf(t, `{"process":{"env":["A=b"]}}`), "",
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for line := range strings.Lines(log.String()) {
		if _, why, ok := strings.Cut(line, `msg="the module is interpreted" mode=m why=`); ok {
			interpreted = strings.TrimSpace(why)
		}
	}
	return r, interpreted, err
}

var greeting = emitAndReturn(emitEdits, `{"abi":1,"containerEdits":{"env":["GPU=1"]}}`, host.ResultDone)

func isGreeting(r host.Result, err error) bool {
	return err == nil && slices.Equal(r.Edits.ContainerEdits.Env, []string{"GPU=1"})
}

// sameCompiled runs mode "m" once more, compiled, and holds it against what the
// interpreter made of it. A module that a create refuses is refused by Warm in
// the same words.
func sameCompiled(t *testing.T, c host.Config, module []byte, want host.Result, wantErr error) {
	t.Helper()
	c.CacheDir = filepath.Join(c.ModuleDir, "cache")
	if err := Warm(t.Context(), c, module); err != nil {
		if wantErr == nil || !strings.HasSuffix(wantErr.Error(), err.Error()) {
			t.Errorf("Warm says %q; a create says %v", err, wantErr)
		}
		return
	}
	r, interpreted, err := runLogged(t, c)
	if interpreted != "" {
		t.Errorf("compiled code was not taken: %s", interpreted)
	}
	if !reflect.DeepEqual(r.TraceLeaf, want.TraceLeaf) || !reflect.DeepEqual(r.Edits, want.Edits) || r.Applicable != want.Applicable || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("compiled:\n%+v, %v\ninterpreted:\n%+v, %v", r, err, want, wantErr)
	}
}

func TestWarmCompilesOnce(t *testing.T) {
	c := cached(t)
	writeFile(t, filepath.Join(c.ModuleDir, "m.wasm"), string(greeting))
	digest := sha256.Sum256(greeting)
	if ok, err := Compiled(c, digest); ok || err != nil {
		t.Errorf("before: %v, %v", ok, err)
	}
	if r, why, err := runLogged(t, c); !isGreeting(r, err) || !strings.Contains(why, "has not been compiled by this build") {
		t.Errorf("before: %+v, %v, interpreted because %s", r, err, why)
	}
	if _, err := os.Stat(c.CacheDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a create has made the cache: %v", err)
	}
	_, file := warm(t, c, greeting)
	if ok, err := Compiled(c, digest); !ok || err != nil {
		t.Errorf("after: %v, %v", ok, err)
	}
	if r, why, err := runLogged(t, c); !isGreeting(r, err) || why != "" {
		t.Errorf("after: %+v, %v, interpreted because %s", r, err, why)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, c, greeting)
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("good code was made again: %v", err)
	}
}

// A module of std Go does the same interpreted and compiled.
func TestGoGuestDoesTheSameCompiled(t *testing.T) {
	c := cached(t)
	module := goGuest(t)
	writeFile(t, filepath.Join(c.ModuleDir, "m.wasm"), string(module))
	requests := []string{`{}`, `{"process":{"env":["GUEST_DEVICES=null,zero"]}}`, `{"process":{"env":["GUEST_DEVICES=panic"]}}`}
	run := func(config string) string {
		r, err := Discover(t.Context(), asInstalled(t, c, "m"), "m", requestOf(t, config), t.TempDir(), nil)
		return fmt.Sprintf("%+v, %v", r.TraceLeaf, err)
	}
	var interpreted []string
	for _, config := range requests {
		interpreted = append(interpreted, run(config))
	}
	warm(t, c, module)
	for i, config := range requests {
		if compiled := run(config); compiled != interpreted[i] {
			t.Errorf("%s: compiled:\n%s\ninterpreted:\n%s", config, compiled, interpreted[i])
		}
	}
	if _, why, _ := runLogged(t, c); why != "" {
		t.Errorf("compiled code was not taken: %s", why)
	}
	if !strings.Contains(interpreted[2], "index out of range") {
		t.Errorf("the guest did not panic: %s", interpreted[2])
	}
}

// spoils are things that can be wrong with compiled code; want begins what is
// said of it, FOLDER and FILE stand for its places.
var spoils = []struct {
	name  string
	root  bool // needs root
	spoil func(t *testing.T, folder, file string)
	want  string
}{
	{"truncated", false, func(t *testing.T, _, file string) { check(t, os.Truncate(file, 100)) }, "FILE: is not the code that was recorded"},
	{"empty", false, func(t *testing.T, _, file string) { check(t, os.Truncate(file, 0)) }, "FILE: is not the code that was recorded"},
	{"a flipped byte", false, func(t *testing.T, _, file string) {
		data, err := os.ReadFile(file)
		check(t, err)
		data[len(data)/2] ^= 1
		check(t, os.WriteFile(file, data, 0o600))
	}, "FILE: is not the code that was recorded"},
	{"code of another module, whole", false, func(t *testing.T, folder, file string) {
		c := cached(t)
		_, other := warm(t, c, emitAndReturn(emitExplain, "foreign", host.ResultNotApplicable))
		check(t, os.Rename(other, file))
	}, "FILE: is not the code that was recorded"},
	{"missing", false, func(t *testing.T, _, file string) { check(t, os.Remove(file)) }, "FILE: no such file or directory"},
	{"readable by others", false, func(t *testing.T, _, file string) { check(t, os.Chmod(file, 0o604)) }, "FILE: is not trusted"},
	{"two names", false, func(t *testing.T, folder, file string) { check(t, os.Link(file, file+"2")) }, "FILE: is not trusted"},
	{"a link", false, func(t *testing.T, folder, file string) {
		check(t, os.Rename(file, folder+"/code"))
		check(t, os.Symlink(folder+"/code", file))
	}, "FILE: too many levels of symbolic links"},
	{"a FIFO", false, func(t *testing.T, _, file string) {
		check(t, os.Remove(file))
		check(t, unix.Mkfifo(file, 0o600))
	}, "FILE: is not trusted"},
	{"its folder is a link", false, func(t *testing.T, folder, file string) {
		dir := filepath.Dir(file)
		check(t, os.Rename(dir, folder+"/elsewhere"))
		check(t, os.Symlink("elsewhere", dir))
	}, "FILE: too many levels of symbolic links"},
	{"folder open to others", false, func(t *testing.T, folder, _ string) { check(t, os.Chmod(folder, 0o755)) }, "FOLDER: is not trusted: others may enter it (mode 0755); chmod 700 FOLDER"},
	{"inner folder open to others", false, func(t *testing.T, _, file string) { check(t, os.Chmod(filepath.Dir(file), 0o755)) }, "FILE: is not trusted"},
	{"no record", false, func(t *testing.T, folder, _ string) { check(t, os.Remove(folder+"/record")) }, "FOLDER/record: no such file or directory"},
	{"damaged record", false, func(t *testing.T, folder, _ string) { check(t, os.WriteFile(folder+"/record", []byte("x\n"), 0o600)) }, "FOLDER/record: is damaged"},
	{"record that leads elsewhere", false, func(t *testing.T, folder, _ string) {
		check(t, os.WriteFile(folder+"/record", []byte(record{file: "../x"}.String()), 0o600))
	}, "FOLDER/record: is damaged"},
	{"another's folder", true, func(t *testing.T, folder, _ string) { check(t, os.Chown(folder, 1000, 1000)) }, "FOLDER: "},
	{"another's file", true, func(t *testing.T, _, file string) { check(t, os.Chown(file, 1000, 1000)) }, "FILE: is not trusted"},
	{"another's record", true, func(t *testing.T, folder, _ string) { check(t, os.Chown(folder+"/record", 1000, 1000)) }, "FOLDER/record: is not trusted"},
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A create takes no code that is not the recorded file, lets it lie, and runs
// the module all the same; the next Warm makes it good.
func TestBadCompiledCodeIsNeverLoaded(t *testing.T) {
	for _, tt := range spoils {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && os.Geteuid() != 0 {
				unavailable(t, "needs root, to give files away")
			}
			c := cached(t)
			folder, file := warm(t, c, greeting)
			tt.spoil(t, folder, file)
			want := strings.NewReplacer("FOLDER", folder, "FILE", file).Replace(tt.want)
			if ok, err := Compiled(c, sha256.Sum256(greeting)); ok || err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("Compiled: %v, %v; want %s", ok, err, want)
			}
			before := tree(t, c.CacheDir)
			r, why, err := runLogged(t, c)
			if !isGreeting(r, err) || !strings.Contains(why, want) {
				t.Errorf("got %+v, %v, interpreted because %s; want %s", r, err, why, want)
			}
			if after := tree(t, c.CacheDir); after != before {
				t.Errorf("a create has changed the cache from\n%s\nto\n%s", before, after)
			}
			warm(t, c, greeting)
			if r, why, err := runLogged(t, c); !isGreeting(r, err) || why != "" {
				t.Errorf("after Warm: %+v, %v, interpreted because %s", r, err, why)
			}
		})
	}
}

// tree lists what is in a folder, with size, mode and time of change.
func tree(t *testing.T, folder string) (list string) {
	t.Helper()
	check(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		list += fmt.Sprintln(path, info.Size(), info.Mode(), info.ModTime().UnixNano())
		return nil
	}))
	return list
}

// Bytes that were recorded are good in a new file too: a cache may be copied.
func TestCopiedCompiledCodeIsLoaded(t *testing.T) {
	c := cached(t)
	_, file := warm(t, c, greeting)
	data, err := os.ReadFile(file)
	check(t, err)
	check(t, os.Remove(file))
	check(t, os.WriteFile(file, data, 0o600))
	if r, why, err := runLogged(t, c); !isGreeting(r, err) || why != "" {
		t.Errorf("got %+v, %v, interpreted because %s", r, err, why)
	}
}

// The name that wazero gives its file depends on the processor. Where it looks
// for another one, a create interprets: it must not compile.
func TestACreateNeverCompiles(t *testing.T) {
	c := cached(t)
	folder, file := warm(t, c, greeting)
	other := filepath.Join(filepath.Dir(file), strings.Repeat("ab", 32))
	check(t, os.Rename(file, other))
	data, err := os.ReadFile(folder + "/record")
	check(t, err)
	recorded := strings.Replace(string(data), filepath.Base(file), filepath.Base(other), 1)
	check(t, os.WriteFile(folder+"/record", []byte(recorded), 0o600))
	if ok, err := Compiled(c, sha256.Sum256(greeting)); !ok || err != nil {
		t.Fatalf("the record is not good: %v", err)
	}
	before := tree(t, c.CacheDir)
	r, why, err := runLogged(t, c)
	if !isGreeting(r, err) || why != `"it was compiled for another processor, or is gone"` {
		t.Errorf("got %+v, %v, interpreted because %s", r, err, why)
	}
	if after := tree(t, c.CacheDir); after != before {
		t.Errorf("a create has changed the cache from\n%s\nto\n%s", before, after)
	}
	warm(t, c, greeting) // sees that it cannot be loaded
	if _, why, _ := runLogged(t, c); why != "" {
		t.Errorf("after Warm: interpreted because %s", why)
	}
}

// T32 of the attack cases: whoever made the cache may write it.
func TestACacheOfAnotherUserIsNotUsed(t *testing.T) {
	if os.Geteuid() != 0 {
		unavailable(t, "needs root, to give files away")
	}
	c := cached(t)
	warm(t, c, greeting)
	for _, folder := range []string{c.CacheDir, filepath.Join(c.CacheDir, buildFolder())} {
		check(t, os.Chown(folder, 1000, 1000))
		want := folder + ": "
		if r, why, err := runLogged(t, c); !isGreeting(r, err) || !strings.Contains(why, want) {
			t.Errorf("got %+v, %v, interpreted because %s", r, err, why)
		}
		if err := Warm(t.Context(), c, greeting); err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "uid 1000") {
			t.Errorf("Warm: %v", err)
		}
		check(t, os.Chown(folder, 0, 0))
	}
}

// hotLocals is a module whose one function keeps the compiler busy for long: its
// time grows with locals times branches.
func hotLocals(locals, branches int) []byte {
	var body []byte
	for i := range branches {
		body = append(body, bytesOf(0x20, uleb(uint64(i%locals)), 0x04, blockEmpty, // local.get, if
			0x20, uleb(uint64((i+1)%locals)), 0x21, uleb(uint64((i+7)%locals)), opEnd)...) // local.get, local.set
	}
	body = append(body, i32Const(0)...)
	m := guestModule(nil, "")
	empty := section(10, list(sized(bytesOf(list(), opEnd))))
	full := section(10, list(sized(bytesOf(list(append(uleb(uint64(locals)), i32...)), body, opEnd))))
	return slicesReplace(m, empty, full)
}

func TestWarmEndsACompileBomb(t *testing.T) {
	c := cached(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began := time.Now()
	err := Warm(ctx, c, hotLocals(2000, 20000))
	if err == nil || err.Error() != "did not finish compiling in time: context deadline exceeded" {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
	left, err := os.ReadDir(filepath.Join(c.CacheDir, buildFolder()))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPruneKeepsWhatIsInUse(t *testing.T) {
	c := cached(t)
	other := emitAndReturn(emitExplain, "another", host.ResultNotApplicable)
	kept, _ := warm(t, c, greeting)
	gone, _ := warm(t, c, other)
	old := filepath.Join(c.CacheDir, "tenon-0123456789abcdef-wazero-v1.2.0-tenon_v1")
	strange := filepath.Join(c.CacheDir, "not-ours")
	check(t, os.MkdirAll(filepath.Join(old, "x"), 0o700))
	check(t, os.Mkdir(strange, 0o700))
	check(t, Prune(c, [][sha256.Size]byte{sha256.Sum256(greeting)}))
	for path, want := range map[string]bool{kept: true, gone: false, old: false, strange: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if r, why, err := runLogged(t, c); !isGreeting(r, err) && why == "" {
		t.Errorf("got %+v, %v, interpreted because %s", r, err, why)
	}
}

// Without an id the code of two builds could not be told apart.
func TestNoBuildIDNoCompiledCode(t *testing.T) {
	c := cached(t)
	warm(t, c, greeting)
	defer func(f func() string) { buildID = f }(buildID)
	buildID = func() string { return "" }
	if err := Warm(t.Context(), c, greeting); err == nil || !strings.HasPrefix(err.Error(), "this build of tenon has no id") {
		t.Errorf("Warm: %v", err)
	}
	writeFile(t, filepath.Join(c.ModuleDir, "m.wasm"), string(greeting))
	if r, why, err := runLogged(t, c); !isGreeting(r, err) || why == "" {
		t.Errorf("got %+v, %v, interpreted because %s", r, err, why)
	}
}
