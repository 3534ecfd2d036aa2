// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// traceStore makes a store below a folder that is trusted. Its own folders are
// not there yet.
func traceStore(t *testing.T) Traces {
	t.Helper()
	return Traces{trustedDir(t) + "/tenon/traces"}
}

func (t Traces) file(key TraceKey) string { return filepath.Join(t.Folder, key.String()) }

// keep inserts a run of a module that asks for keys, and fails the test where it
// is not stored.
func keep(t *testing.T, store Traces, key TraceKey, w world, leaf TraceLeaf, keys ...string) {
	t.Helper()
	if err := store.Insert(key, recorded(w, keys...), leaf); err != nil {
		t.Fatal(err)
	}
}

func text(s string) TraceLeaf { return TraceLeaf{Documents: [][]byte{[]byte(s)}} }

func TestTraceStoreNoHitIsStale(t *testing.T) {
	store := traceStore(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	hits := play(t, rand.New(rand.NewPCG(seed, 2)), 3000, 20,
		func(module int, ask Ask) TraceWalk { return lookup(store, TraceKey{byte(module)}, ask) },
		func(module int, run *Recording, leaf TraceLeaf) error {
			return store.Insert(TraceKey{byte(module)}, run, leaf)
		})
	t.Logf("%d hits", hits)
	if hits < 1000 {
		t.Errorf("%d hits of 3000 runs", hits)
	}
}

func TestTraceStoreIsMadePrivate(t *testing.T) {
	store := traceStore(t)
	old := unix.Umask(0)
	defer unix.Umask(old)
	if walk := store.Lookup(TraceKey{}, world{}.ask); !errors.Is(walk.Miss, fs.ErrNotExist) || walk.Leaf != nil {
		t.Errorf("%+v", walk)
	}
	if _, err := os.Stat(filepath.Dir(store.Folder)); err == nil {
		t.Error("a lookup made a folder")
	}
	keep(t, store, TraceKey{}, world{}, text("x"), "/a")
	for name, want := range map[string]fs.FileMode{
		filepath.Dir(store.Folder): fs.ModeDir | 0o700, store.Folder: fs.ModeDir | 0o700, store.file(TraceKey{}): 0o600,
	} {
		if fi, err := os.Stat(name); err != nil || fi.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, fi.Mode(), err, want)
		}
	}
	if walk := store.Lookup(TraceKey{}, world{}.ask); walk.Leaf == nil || !walk.Leaf.equal(text("x")) || walk.Miss != nil {
		t.Errorf("%+v", walk)
	}
}

// lookup is Lookup with the steps, as they were asked.
func lookup(store Traces, key TraceKey, ask Ask) TraceWalk {
	asked := Record(ask)
	walk := store.Lookup(key, asked.Query)
	walk.Steps = asked.Steps()
	return walk
}

func TestTraceWalkTellsWhatDiffers(t *testing.T) {
	store := traceStore(t)
	a1 := world{"/a": {[]byte("1"), CodeOK}}
	a22 := world{"/a": {[]byte("22"), CodeOK}}
	keep(t, store, TraceKey{}, world{}, text("none"), "/b", "/a", "/c")
	keep(t, store, TraceKey{}, a1, text("one"), "/b", "/a")
	walk := lookup(store, TraceKey{}, a22.ask)
	if walk.Leaf != nil || walk.Miss == nil || walk.Miss.Error() != `stat(0, "/a") has an answer that it did not have before` {
		t.Fatalf("%+v", walk)
	}
	if got := fmt.Sprint(walk.Steps); got != `[stat(0, "/b") not found stat(0, "/a") 2 bytes]` {
		t.Errorf("asked %s", got)
	}
	slices.SortFunc(walk.Before, func(a, b TraceAnswer) int { return int(b.Code) - int(a.Code) })
	if got := fmt.Sprint(walk.Before); got != "[1 bytes not found]" {
		t.Errorf("before: %s", got)
	}
	if walk := lookup(store, TraceKey{}, a1.ask); walk.Leaf == nil || string(walk.Leaf.Documents[0]) != "one" || len(walk.Steps) != 2 || walk.Before != nil {
		t.Errorf("%+v", walk)
	}
}

func TestTraceStoreKeepsRunsThatAskNothing(t *testing.T) {
	store := traceStore(t)
	leaf := TraceLeaf{Result: ResultNotApplicable, Explain: []string{"", "no such machine"}}
	keep(t, store, TraceKey{9}, world{}, leaf)
	if walk := store.Lookup(TraceKey{9}, world{}.ask); walk.Leaf == nil || !walk.Leaf.equal(leaf) || walk.Asked != 0 {
		t.Errorf("%+v", walk)
	}
}

func TestTraceInsertRefuses(t *testing.T) {
	store := traceStore(t)
	for _, c := range []struct {
		w    world
		leaf TraceLeaf
		want string
	}{
		{world{"/a": {nil, CodeIO}}, text("x"), `the run leaves no trace: stat(0, "/a") was answered with -7, which may pass`},
		{nil, TraceLeaf{Result: ResultFailed}, "the run leaves no trace: its result is 1"},
		{nil, TraceLeaf{Result: 3}, "the run leaves no trace: its result is 3"},
		{nil, text(strings.Repeat("x", maxTraceFile)), "the run leaves no trace: it is larger than 4194304 bytes"},
	} {
		if err := store.Insert(TraceKey{}, recorded(c.w, "/a"), c.leaf); !errors.Is(err, ErrNoTrace) || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if _, err := os.Stat(store.Folder); err == nil {
		t.Error("a refused run made a folder")
	}
}

// H-55: edits of a run that met an answer of the moment are not another run's, and no
// trace is followed past such an answer.
func TestTraceOfTheMomentIsNoOther(t *testing.T) {
	for _, code := range []int32{CodeTooLarge, CodeIO, CodeSpent} {
		store, good, moment := traceStore(t), world{"/a": {[]byte("x"), CodeOK}}, world{"/a": {nil, code}}
		if err := store.Insert(TraceKey{}, recorded(moment, "/a", "/b"), text("moment")); !errors.Is(err, ErrNoTrace) {
			t.Errorf("code %d: %v", code, err)
		}
		for _, w := range []world{good, moment} {
			if walk := store.Lookup(TraceKey{}, w.ask); walk.Leaf != nil {
				t.Errorf("code %d: a hit in an empty store: %+v", code, walk)
			}
		}
		keep(t, store, TraceKey{}, good, text("good"), "/a", "/b")
		if walk := store.Lookup(TraceKey{}, moment.ask); walk.Leaf != nil {
			t.Errorf("code %d: a hit over it: %+v", code, walk)
		}
		if walk := store.Lookup(TraceKey{}, good.ask); walk.Leaf == nil || string(walk.Leaf.Documents[0]) != "good" {
			t.Errorf("code %d: the good run is not there: %+v", code, walk)
		}
	}
}

func TestTraceHitAndAuditWriteNothing(t *testing.T) {
	store := traceStore(t)
	keep(t, store, TraceKey{}, world{}, text("x"), "/a")
	before, err := os.Stat(store.file(TraceKey{}))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(store.Folder, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil { // nobody can write now
		t.Fatal(err)
	}
	if walk := store.Lookup(TraceKey{}, world{}.ask); walk.Leaf == nil {
		t.Errorf("%+v", walk)
	}
	keep(t, store, TraceKey{}, world{}, text("x"), "/a")
	after, err := os.Stat(store.file(TraceKey{}))
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the file is another: %v", err)
	}
	// What would have to be written is not, and nobody waits.
	if err := store.Insert(TraceKey{}, recorded(nil, "/a", "/b"), text("x")); !errors.Is(err, ErrNotDeterministic) {
		t.Errorf("a contradiction while the store is busy: %v", err)
	}
	err = store.Insert(TraceKey{1}, recorded(nil), text("x"))
	if want := store.Folder + ": is being written by another create"; !errors.Is(err, ErrTraceBusy) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestTraceMarkEndsAKey(t *testing.T) {
	store := traceStore(t)
	keep(t, store, TraceKey{}, world{}, text("x"), "/a")
	keep(t, store, TraceKey{1}, world{}, text("x"), "/a")
	err := store.Insert(TraceKey{}, recorded(nil, "/a"), text("y"))
	why := "is not deterministic: after the same 1 answers it once emitted this, and now emits that"
	if !errors.Is(err, ErrNotDeterministic) || err.Error() != why {
		t.Fatalf("%v", err)
	}
	if _, err := os.Lstat(store.file(TraceKey{})); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the traces are still there: %v", err)
	}
	marked := store.file(TraceKey{}) + ".marked"
	err = store.Insert(TraceKey{}, recorded(nil, "/a"), text("x"))
	if want := marked + ": the run leaves no trace: its module is marked as not deterministic"; !errors.Is(err, ErrNoTrace) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	// A writer that read before the mark was set may put the file there again.
	data, err := os.ReadFile(store.file(TraceKey{1}))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := decodeTraces(TraceKey{1}, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store.file(TraceKey{}), encodeTraces(TraceKey{}, tree), 0o600); err != nil {
		t.Fatal(err)
	}
	walk := store.Lookup(TraceKey{}, world{}.ask)
	if want := marked + ": the module is not deterministic"; walk.Leaf != nil || !errors.Is(walk.Miss, ErrNotDeterministic) || walk.Miss.Error() != want {
		t.Errorf("%+v, want %s", walk, want)
	}
	if walk := store.Lookup(TraceKey{1}, world{}.ask); walk.Leaf == nil {
		t.Errorf("another module lost its traces: %+v", walk)
	}
	os.Remove(store.file(TraceKey{}))
	list, err := store.List()
	if err != nil || len(list) != 2 || list[0].Marked != why || list[1].Marked != "" || list[1].Leaves != 1 || list[1].Key != (TraceKey{1}).String() {
		t.Errorf("%+v, %v", list, err)
	}
	if err := store.Drop(); err != nil {
		t.Fatal(err)
	}
	if list, err := store.List(); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	keep(t, store, TraceKey{}, world{}, text("y"), "/a")
}

func TestTraceStoreThatIsNotThereIsEmpty(t *testing.T) {
	store := traceStore(t)
	if list, err := store.List(); err != nil || list != nil {
		t.Errorf("%v, %v", list, err)
	}
	if err := store.Drop(); err != nil {
		t.Error(err)
	}
}

// Whatever is wrong with the folders, no trace is used or stored, and the
// message names the one at fault.
func TestTraceFolderIsChecked(t *testing.T) {
	for _, c := range []struct {
		name  string
		root  bool
		spoil func(run string) error
		want  string // FOLDER is the one of the store, RUN the one that it is in
	}{
		{"group may enter", false, func(run string) error { return os.Chmod(run+"/traces", 0o710) }, "FOLDER: is not trusted: others may enter it (mode 0710); chmod 700 FOLDER"},
		{"others may read", false, func(run string) error { return os.Chmod(run+"/traces", 0o704) }, "FOLDER: is not trusted: others may enter it (mode 0704); chmod 700 FOLDER"},
		{"others may write", false, func(run string) error { return os.Chmod(run+"/traces", 0o702) }, "FOLDER: is not trusted: others may write it (mode 0702); chmod go-w FOLDER"},
		{"sticky", false, func(run string) error { return unix.Chmod(run+"/traces", 0o1777) }, "FOLDER: is not trusted: others may write it (mode 1777); chmod go-w FOLDER"},
		{"parent may be entered", false, func(run string) error { return os.Chmod(run, 0o755) }, "RUN: is not trusted: others may enter it (mode 0755); chmod 700 RUN"},
		{"parent may be written", false, func(run string) error { return os.Chmod(run, 0o777) }, "RUN: leads to FOLDER and is not trusted: others may write it (mode 0777); chmod go-w RUN"},
		{"foreign owner", true, func(run string) error { return os.Chown(run+"/traces", 1000, 0) }, "FOLDER: is not trusted: it belongs to uid 1000; chown it to root"},
		{"foreign owner of the parent", true, func(run string) error { return os.Chown(run, 1000, 0) }, "RUN: leads to FOLDER and is not trusted: it belongs to uid 1000; chown it to root"},
		{"link", false, func(run string) error {
			return errors.Join(os.Rename(run+"/traces", run+"/t"), os.Symlink("t", run+"/traces"))
		}, "FOLDER: not a directory"},
		{"link in place of the parent", false, func(run string) error {
			return errors.Join(os.Rename(run, run+"2"), os.Symlink(run+"2", run))
		}, "RUN: not a directory"},
		{"file", false, func(run string) error {
			return errors.Join(os.RemoveAll(run+"/traces"), os.WriteFile(run+"/traces", nil, 0o600))
		}, "FOLDER: not a directory"},
		{"FIFO", false, func(run string) error {
			return errors.Join(os.RemoveAll(run+"/traces"), unix.Mkfifo(run+"/traces", 0o600))
		}, "FOLDER: not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				needRoot(t)
			}
			store := traceStore(t)
			keep(t, store, TraceKey{}, world{}, text("x"), "/a")
			run := filepath.Dir(store.Folder)
			if err := c.spoil(run); err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer("FOLDER", store.Folder, "RUN", run).Replace(c.want)
			walk := store.Lookup(TraceKey{}, world{}.ask)
			if walk.Leaf != nil || walk.Asked != 0 || walk.Miss == nil || walk.Miss.Error() != want {
				t.Errorf("%+v, want %s", walk, want)
			}
			if err := store.Insert(TraceKey{}, recorded(nil, "/a"), text("x")); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
			if _, err := store.List(); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
	for _, folder := range []string{"", "traces", "/traces", "/run/../traces/x", "/run/tenon/"} {
		walk := Traces{folder}.Lookup(TraceKey{}, world{}.ask)
		if want := fmt.Sprintf("%q: is no place for state; write an absolute path of two folders or more", folder); walk.Miss == nil || walk.Miss.Error() != want {
			t.Errorf("%v, want %s", walk.Miss, want)
		}
	}
}

// What is no good in the place of a file is a miss and goes away, and the next
// run is stored.
func TestTraceFileIsChecked(t *testing.T) {
	for _, c := range []struct {
		name    string
		root    bool
		replace func(file string) error
		want    string
	}{
		{"FIFO", false, func(file string) error { return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)) }, "it is not a regular file of one name"},
		{"device", true, func(file string) error {
			return errors.Join(os.Remove(file), unix.Mknod(file, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
		}, "it is not a regular file of one name"},
		{"link", false, func(file string) error { return errors.Join(os.Rename(file, file+"2"), os.Symlink(file+"2", file)) }, "it is a symbolic link"},
		{"link to nothing", false, func(file string) error { return errors.Join(os.Remove(file), os.Symlink("gone", file)) }, "it is a symbolic link"},
		{"second name", false, func(file string) error { return os.Link(file, file+"2") }, "it is not a regular file of one name"},
		{"foreign owner", true, func(file string) error { return os.Chown(file, 1000, 0) }, "it is not private (uid 1000, mode 0600)"},
		{"others may read", false, func(file string) error { return os.Chmod(file, 0o604) }, "it is not private (uid UID, mode 0604)"},
		{"group may write", false, func(file string) error { return os.Chmod(file, 0o620) }, "it is not private (uid UID, mode 0620)"},
		{"empty", false, func(file string) error { return os.Truncate(file, 0) }, "it has 0 bytes"},
		{"too long", false, func(file string) error { return os.Truncate(file, maxTraceFile+1) }, "it has 4194305 bytes"},
		{"longer", false, func(file string) error { return os.Truncate(file, 1000) }, "the checksum is another"},
		{"another key's", false, func(file string) error {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			tree, err := decodeTraces(TraceKey{}, data)
			if err != nil {
				return err
			}
			return os.WriteFile(file, encodeTraces(TraceKey{1}, tree), 0o600)
		}, "it is of another key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				needRoot(t)
			}
			store := traceStore(t)
			keep(t, store, TraceKey{}, world{}, text("x"), "/a")
			file := store.file(TraceKey{})
			if err := c.replace(file); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(file+": is damaged: "+c.want, "UID", fmt.Sprint(os.Geteuid()))
			if walk := store.Lookup(TraceKey{}, world{}.ask); walk.Leaf != nil || walk.Asked != 0 || walk.Miss == nil || walk.Miss.Error() != want {
				t.Errorf("%+v, want %s", walk, want)
			}
			if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
			keep(t, store, TraceKey{}, world{}, text("x"), "/a")
			if walk := store.Lookup(TraceKey{}, world{}.ask); walk.Leaf == nil {
				t.Errorf("%+v", walk)
			}
		})
	}
}

// A folder in the place of a file cannot be removed, and still fails nothing.
func TestTraceFolderInPlaceOfFile(t *testing.T) {
	store := traceStore(t)
	keep(t, store, TraceKey{1}, world{}, text("x"), "/a")
	if err := os.MkdirAll(store.file(TraceKey{})+"/x", 0o700); err != nil {
		t.Fatal(err)
	}
	if walk := store.Lookup(TraceKey{}, world{}.ask); walk.Leaf != nil || !errors.Is(walk.Miss, errDamaged) {
		t.Errorf("%+v", walk)
	}
	if err := store.Insert(TraceKey{}, recorded(nil), text("x")); !errors.Is(err, unix.EISDIR) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(store.Folder + "/new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the new file was left: %v", err)
	}
}

func TestTraceDamageIsAMiss(t *testing.T) {
	store := traceStore(t)
	var key TraceKey
	rng := rand.New(rand.NewPCG(5, 6))
	w := world{}
	for range 100 {
		w.change(rng, 20)
		run := Record(w.ask)
		leaf := randomModule(4, 20, run.Query)
		if err := store.Insert(key, run, leaf); err != nil && !errors.Is(err, ErrNoTrace) {
			t.Fatal(err)
		}
	}
	file := store.file(key)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		bad := slices.Clone(good)
		switch at := rng.IntN(len(bad)); rng.IntN(4) {
		case 0:
			bad = bad[:at]
		case 1:
			bad[at] ^= byte(1 + rng.IntN(255))
		case 2:
			n := min(1+rng.IntN(64), len(bad)-at)
			for i := range n {
				bad[at+i] = byte(rng.Uint32())
			}
		case 3:
			bad = slices.Insert(bad, at, make([]byte, 1+rng.IntN(64))...)
		}
		if bytes.Equal(bad, good) {
			continue
		}
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if walk := store.Lookup(key, w.ask); walk.Leaf != nil || walk.Asked != 0 || !errors.Is(walk.Miss, errDamaged) {
			t.Fatalf("%+v", walk)
		}
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("it is still there: %v", err)
		}
	}
}

func TestTraceLeavesAreCapped(t *testing.T) {
	store := traceStore(t)
	number := func(n int) world { return world{"/n": {fmt.Appendf(nil, "%d", n), CodeOK}} }
	const runs = maxLeaves + 40
	for n := range runs {
		keep(t, store, TraceKey{}, number(n), text(fmt.Sprint(n)), "/n")
	}
	for n := range runs {
		walk := store.Lookup(TraceKey{}, number(n).ask)
		if kept := walk.Leaf != nil; kept != (n >= runs-maxLeaves) {
			t.Errorf("run %d of %d: kept %v", n, runs, kept)
		} else if kept && string(walk.Leaf.Documents[0]) != fmt.Sprint(n) {
			t.Errorf("run %d has the leaf of another", n)
		}
	}
}

func TestTraceFileIsCapped(t *testing.T) {
	store := traceStore(t)
	number := func(n int) world { return world{"/n": {fmt.Appendf(nil, "%d", n), CodeOK}} }
	big := strings.Repeat("x", 1<<20-100)
	for n := range 7 {
		keep(t, store, TraceKey{}, number(n), text(big), "/n", fmt.Sprint("/long", strings.Repeat("y", 4000), n))
		if fi, err := os.Stat(store.file(TraceKey{})); err != nil || fi.Size() > maxTraceFile {
			t.Fatalf("%d bytes, %v", fi.Size(), err)
		}
	}
	for n := range 7 {
		if kept := store.Lookup(TraceKey{}, number(n).ask).Leaf != nil; kept != (n >= 4) {
			t.Errorf("run %d: kept %v", n, kept)
		}
	}
	// One run as large as a file may be drives out all others.
	huge := text(strings.Repeat("x", maxTraceFile-traceSize(recorded(nil, "/n").steps, text(""))))
	keep(t, store, TraceKey{}, world{}, huge, "/n")
	if list, err := store.List(); err != nil || len(list) != 1 || list[0].Leaves != 1 || list[0].Bytes != maxTraceFile {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestTraceStoreIsCapped(t *testing.T) {
	store := traceStore(t)
	huge := text(strings.Repeat("x", maxTraceFile-traceSize(nil, text(""))))
	start := time.Now().Add(-time.Hour)
	for n := range 20 {
		key := TraceKey{byte(n)}
		keep(t, store, key, world{}, huge)
		// As if they were written a second apart.
		if err := os.Chtimes(store.file(key), time.Time{}, start.Add(time.Duration(n)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 20 {
		if kept := store.Lookup(TraceKey{byte(n)}, world{}.ask).Leaf != nil; kept != (n >= 4) {
			t.Errorf("key %d: kept %v", n, kept)
		}
	}
}

// A writer that died leaves its file, which is in nobody's way.
func TestTraceWriterThatDied(t *testing.T) {
	store := traceStore(t)
	keep(t, store, TraceKey{}, world{}, text("x"), "/a")
	if err := os.WriteFile(store.Folder+"/new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	keep(t, store, TraceKey{1}, world{}, text("x"), "/a")
	if _, err := os.Lstat(store.Folder + "/new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// writeTraces runs random modules over a world of its own, against a store that
// others write too.
func writeTraces(store Traces, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := world{}
	for range 300 {
		w.change(rng, 15)
		module := rng.IntN(3)
		walk := store.Lookup(TraceKey{byte(module)}, w.ask)
		run := Record(w.ask)
		leaf := randomModule(uint64(module), 15, run.Query)
		if walk.Leaf != nil && !walk.Leaf.equal(leaf) {
			return fmt.Errorf("a stale hit: %+v after %v, want %+v", walk.Leaf, walk.Steps, leaf)
		}
		if errors.Is(walk.Miss, errDamaged) {
			return walk.Miss
		}
		err := store.Insert(TraceKey{byte(module)}, run, leaf)
		if err != nil && !errors.Is(err, ErrNoTrace) && !errors.Is(err, ErrTraceBusy) {
			return err
		}
	}
	return nil
}

const writerVariable = "TENON_TEST_TRACE_WRITER" // FOLDER SEED

// TestTraceWriterProcess is one of the processes of the next test.
func TestTraceWriterProcess(t *testing.T) {
	folder, number, ok := strings.Cut(os.Getenv(writerVariable), " ")
	if !ok {
		return
	}
	var seed uint64
	if _, err := fmt.Sscan(number, &seed); err != nil {
		t.Fatal(err)
	}
	if err := writeTraces(Traces{folder}, seed); err != nil {
		t.Fatal(err)
	}
}

func TestTraceManyWriters(t *testing.T) {
	store := traceStore(t)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			if err := writeTraces(store, uint64(n)); err != nil {
				t.Error(err)
			}
		})
	}
	for n := range 8 {
		wg.Go(func() {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestTraceWriterProcess$", "-test.count=1")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", writerVariable, store.Folder, 100+n))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	list, err := store.List()
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, f := range list {
		if f.Leaves == 0 || f.Marked != "" {
			t.Errorf("%+v", f)
		}
	}
	if _, err := os.Lstat(store.Folder + "/new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file under the lock was left: %v", err)
	}
}

func TestTraceLeavesNoDescriptorOpen(t *testing.T) {
	store := traceStore(t)
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := count()
	for n := range 50 {
		w := world{"/n": {fmt.Appendf(nil, "%d", n), CodeOK}}
		keep(t, store, TraceKey{}, w, text("x"), "/n")
		store.Lookup(TraceKey{}, w.ask)
		store.Lookup(TraceKey{1}, w.ask)
		if _, err := store.List(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	if after := count(); after > before+5 {
		t.Errorf("%d descriptors were open, and %d are now", before, after)
	}
}

// BenchmarkTraceHit is a hit of 300 queries: 260 stats, 60 of them of what is not
// there, 20 files and 20 folders. "walk" answers from a map, and so is what
// traces cost by themselves, "machine" asks the machine.
func BenchmarkTraceHit(b *testing.B) {
	files := map[string]string{}
	type asks struct {
		op  uint32
		key string
	}
	var list []asks
	for i := range 260 {
		p := fmt.Sprintf("/usr/lib/aarch64-linux-gnu/nvidia/libnvidia-thing%d.so.540.4.0", i)
		if i < 200 {
			files[p] = "x"
		}
		list = append(list, asks{opStat, p})
	}
	for i := range 20 {
		files[fmt.Sprintf("/sys/class/thing%d/uevent", i)] = strings.Repeat("KEY=value\n", 20)
		list = append(list, asks{opRead, fmt.Sprintf("/sys/class/thing%d/uevent", i)}, asks{opReadDir, fmt.Sprintf("/sys/class/thing%d", i)})
	}
	leaf := TraceLeaf{Documents: [][]byte{bytes.Repeat([]byte("edits"), 2000)}}
	dir := tree(b, files)
	measure := func(b *testing.B, variants int, ask func() (Ask, func())) {
		store := Traces{"/run/tenon-bench-" + fmt.Sprint(os.Getpid()) + "/traces"}
		defer os.RemoveAll(filepath.Dir(store.Folder))
		first, done := ask()
		defer done()
		for v := range variants {
			run := Record(func(op, root uint32, key string) ([]byte, int32) {
				if key == "variant" {
					return fmt.Append(nil, v), CodeOK
				}
				return first(op, root, key)
			})
			run.Query(opEnv, 0, "variant")
			for _, a := range list {
				run.Query(a.op, 2, a.key)
			}
			if err := store.Insert(TraceKey{}, run, leaf); err != nil {
				b.Fatal(err)
			}
		}
		if files, err := store.List(); err != nil || len(files) != 1 {
			b.Fatal(err)
		} else {
			b.ReportMetric(float64(files[0].Bytes), "file-bytes")
		}
		b.ReportAllocs()
		for b.Loop() {
			now, done := ask()
			walk := store.Lookup(TraceKey{}, func(op, root uint32, key string) ([]byte, int32) {
				if key == "variant" {
					return []byte("0"), CodeOK
				}
				return now(op, root, key)
			})
			done()
			if walk.Leaf == nil || len(walk.Steps) != 301 {
				b.Fatal(walk.Miss)
			}
		}
	}
	machine := func() (Ask, func()) {
		c := granting(b, "{}")
		c.DriverRoot = dir
		r, err := NewRun(c, "m", nil, dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		return r.Query, r.Close
	}
	answers := map[question]reply{}
	r, done := machine()
	for _, a := range list {
		answer, code := r(a.op, 2, a.key)
		answers[question{a.op, 2, a.key}] = reply{answer, code}
	}
	done()
	walk := func() (Ask, func()) {
		return func(op, root uint32, key string) ([]byte, int32) {
			r := answers[question{op, root, key}]
			return r.answer, r.code
		}, func() {}
	}
	b.Run("walk", func(b *testing.B) { measure(b, 1, walk) })
	b.Run("walk/of 20", func(b *testing.B) { measure(b, 20, walk) })
	b.Run("machine", func(b *testing.B) { measure(b, 1, machine) })
}
