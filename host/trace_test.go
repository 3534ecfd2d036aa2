// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is what a module can ask about: keys of the op stat in root 0. A key
// that is not there is answered with not found.
type world map[string]reply

func (w world) ask(op, root uint32, key string) ([]byte, int32) {
	r, ok := w[key]
	if !ok {
		return nil, CodeNotFound
	}
	return r.answer, r.code
}

// randomModule asks up to a dozen questions, each chosen by the seed and by all
// answers so far, and emits what they come to.
func randomModule(seed uint64, keys int, ask Ask) TraceLeaf {
	state := fnv.New64a()
	fmt.Fprint(state, seed)
	for range 12 {
		n := state.Sum64()
		if n%11 == 0 {
			break
		}
		answer, code := ask(opStat, 0, worldKey(int(n>>8)%keys))
		fmt.Fprintf(state, "%d %d %q ", n, code, answer)
	}
	sum := state.Sum64()
	if sum%5 == 0 {
		return TraceLeaf{Result: ResultNotApplicable, Explain: []string{fmt.Sprint(sum)}}
	}
	leaf := TraceLeaf{Result: ResultDone}
	for i := range sum % 4 {
		leaf.Documents = append(leaf.Documents, fmt.Appendf(nil, "edits %d of %d", i, sum))
	}
	return leaf
}

func worldKey(n int) string { return fmt.Sprintf("/dev/thing%d", n) }

// change gives one thing of the world another answer. Some answers are of the
// kind that no trace may hold.
func (w world) change(rng *rand.Rand, keys int) {
	key := worldKey(rng.IntN(keys))
	switch n := rng.IntN(80); {
	case n < 20:
		delete(w, key)
	case n < 24:
		w[key] = reply{nil, CodeDenied}
	case n == 24:
		w[key] = reply{nil, []int32{CodeIO, CodeTooLarge, CodeSpent}[rng.IntN(3)]}
	default:
		w[key] = reply{fmt.Appendf(nil, "value %d", n%3), CodeOK}
	}
}

// play runs a random module over a world that changes, looking it up first, and
// fails the test where a hit is not what the module emits and asks now.
func play(t *testing.T, rng *rand.Rand, runs, keys int, lookup func(module int, ask Ask) TraceWalk, insert func(module int, run *Recording, leaf TraceLeaf) error) (hits int) {
	t.Helper()
	w := world{}
	for range 2 * keys {
		w.change(rng, keys)
	}
	for i := range runs {
		if rng.IntN(6) == 0 {
			w.change(rng, keys)
		}
		module := rng.IntN(8)
		walk := lookup(module, w.ask)
		run := Record(w.ask)
		leaf := randomModule(uint64(module), keys, run.Query)
		if walk.Leaf == nil {
			if walk.Miss == nil {
				t.Fatalf("run %d: a miss without a reason", i)
			}
			if err := insert(module, run, leaf); err != nil && !errors.Is(err, ErrNoTrace) {
				t.Fatalf("run %d: %v", i, err)
			}
			continue
		}
		hits++
		if !walk.Leaf.equal(leaf) || !slices.Equal(walk.Steps, run.Steps()) {
			t.Fatalf("run %d: a stale hit: %+v after %v, want %+v after %v", i, walk.Leaf, walk.Steps, leaf, run.Steps())
		}
		for _, s := range walk.Steps {
			if s.Code == CodeIO || s.Code == CodeTooLarge || s.Code == CodeSpent {
				t.Fatalf("run %d: a hit over %v", i, s)
			}
		}
		if rng.IntN(20) == 0 { // an audit
			if err := insert(module, run, leaf); err != nil {
				t.Fatalf("run %d: audit of a hit: %v", i, err)
			}
		}
	}
	return hits
}

func TestTraceNoHitIsStale(t *testing.T) {
	const runs, keys = 60000, 40
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var trees [8]*traceTree
	var views [8]*traceView
	for i := range trees {
		trees[i] = &traceTree{}
	}
	stores := 0
	rng := rand.New(rand.NewPCG(seed, 1))
	hits := play(t, rng, runs, keys,
		func(module int, ask Ask) TraceWalk {
			if views[module] == nil {
				return TraceWalk{Miss: ErrNoTrace}
			}
			return views[module].walk(ask, true)
		},
		func(module int, run *Recording, leaf TraceLeaf) error {
			if run.unstable != "" {
				return ErrNoTrace
			}
			added, err := trees[module].insert(run.steps, leaf)
			if !added || err != nil {
				return err
			}
			for len(trees[module].leaves) > maxLeaves {
				trees[module].evict()
			}
			view, err := openTraces(TraceKey{1}, encodeTraces(TraceKey{1}, trees[module]))
			if err != nil {
				t.Fatal(err)
			}
			if views[module] = view; rng.IntN(8) == 0 { // go on with what was read
				checkTree(t, trees[module])
				if trees[module], err = view.tree(); err != nil {
					t.Fatal(err)
				}
				checkTree(t, trees[module])
			}
			stores++
			return nil
		})
	t.Logf("%d runs, %d hits, %d stored", runs, hits, stores)
	if hits*10 < runs*7 {
		t.Errorf("%d hits of %d runs: traces are of little use", hits, runs)
	}
}

// checkTree holds a tree to what its types promise.
func checkTree(t *testing.T, tree *traceTree) {
	t.Helper()
	left := map[*traceLeaf]bool{}
	for _, l := range tree.leaves {
		left[l] = true
	}
	var check func(end traceEnd, up *traceNode)
	check = func(end traceEnd, up *traceNode) {
		switch {
		case end.leaf != nil && end.node == nil:
			if !left[end.leaf] || end.leaf.up != up {
				t.Fatal("a leaf that is not listed once, or has another node above")
			}
			delete(left, end.leaf)
		case end.node != nil && end.leaf == nil:
			if end.node.up != up || len(end.node.edges) == 0 {
				t.Fatal("a node without an edge, or with another node above")
			}
			for i, e := range end.node.edges {
				if i > 0 && bytes.Compare(end.node.edges[i-1].hash[:], e.hash[:]) >= 0 {
					t.Fatal("edges out of order")
				}
				check(e.traceEnd, end.node)
			}
		default:
			t.Fatal("an edge that leads nowhere, or to two places")
		}
	}
	check(tree.root, nil)
	if len(left) > 0 || len(tree.leaves) > maxLeaves {
		t.Fatalf("%d leaves are not in the tree of %d", len(left), len(tree.leaves))
	}
}

// recorded makes the recording of a module that asks for keys and stops.
func recorded(w world, keys ...string) *Recording {
	run := Record(w.ask)
	for _, k := range keys {
		run.Query(opStat, 0, k)
	}
	return run
}

func TestT46TraceContradictionIsFound(t *testing.T) {
	w := world{"/a": {[]byte("1"), CodeOK}, "/b": {nil, CodeDenied}}
	done := TraceLeaf{Result: ResultDone, Documents: [][]byte{[]byte("x")}, Explain: []string{"why"}}
	for _, c := range []struct {
		name string
		keys []string
		leaf TraceLeaf
		want string
	}{
		{"another question first", []string{"/b"}, done,
			`is not deterministic: after the same 0 answers it once asked stat(0, "/a"), and now asks stat(0, "/b")`},
		{"another question later", []string{"/a", "/c"}, done,
			`is not deterministic: after the same 1 answers it once asked stat(0, "/b"), and now asks stat(0, "/c")`},
		{"done sooner", []string{"/a"}, done,
			`is not deterministic: after the same 1 answers it once asked stat(0, "/b"), and now is done`},
		{"done at once", nil, done,
			`is not deterministic: after the same 0 answers it once asked stat(0, "/a"), and now is done`},
		{"asks on", []string{"/a", "/b", "/c"}, done,
			`is not deterministic: after the same 2 answers it once was done, and now asks stat(0, "/c")`},
		{"another result", []string{"/a", "/b"}, TraceLeaf{Result: ResultNotApplicable, Explain: done.Explain},
			`is not deterministic: after the same 2 answers it once emitted this, and now emits that`},
		{"other edits", []string{"/a", "/b"}, TraceLeaf{Documents: [][]byte{[]byte("y")}, Explain: done.Explain},
			`is not deterministic: after the same 2 answers it once emitted this, and now emits that`},
		{"edits parted otherwise", []string{"/a", "/b"}, TraceLeaf{Documents: [][]byte{[]byte("x"), {}}, Explain: done.Explain},
			`is not deterministic: after the same 2 answers it once emitted this, and now emits that`},
		{"other reasons", []string{"/a", "/b"}, TraceLeaf{Documents: done.Documents, Explain: []string{"because"}},
			`is not deterministic: after the same 2 answers it once emitted this, and now emits that`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := &traceTree{}
			if added, err := tree.insert(recorded(w, "/a", "/b").steps, done); !added || err != nil {
				t.Fatalf("%v, %v", added, err)
			}
			before := encodeTraces(TraceKey{}, tree)
			added, err := tree.insert(recorded(w, c.keys...).steps, c.leaf)
			if added || !errors.Is(err, ErrNotDeterministic) || err.Error() != c.want {
				t.Errorf("%v, %v, want %s", added, err, c.want)
			}
			if !bytes.Equal(before, encodeTraces(TraceKey{}, tree)) {
				t.Error("the tree was changed")
			}
		})
	}
}

func TestTraceRecordingKeepsFirstQuestions(t *testing.T) {
	w := world{"/a": {[]byte("12"), CodeOK}}
	run := recorded(w, "/b", "/a", "/b", "/a")
	run.Query(opRead, 0, "/a")
	run.Query(opRead, 1, "/a")
	var got []string
	for _, s := range run.Steps() {
		got = append(got, s.String())
	}
	want := []string{`stat(0, "/b") not found`, `stat(0, "/a") 2 bytes`, `read(0, "/a") 2 bytes`, `read(1, "/a") 2 bytes`}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTraceUnstableRunsLeaveNone(t *testing.T) {
	for code, unstable := range map[int32]bool{
		CodeOK: false, CodeNotFound: false, CodeDenied: false, CodeWrongType: false, CodeInvalid: false, CodeUnsupported: false,
		CodeTooLarge: true, CodeIO: true, CodeWrongState: true, CodeSpent: true, -10: true, 1: true,
	} {
		run := recorded(world{"/a": {nil, code}}, "/a", "/b")
		if got := run.unstable != ""; got != unstable {
			t.Errorf("code %d: %q", code, run.unstable)
		}
	}
	for _, q := range []question{{256, 0, ""}, {1, 256, ""}, {1, 0, strings.Repeat("k", MaxKey+1)}} {
		run := Record(world{}.ask)
		run.Query(q.op, q.root, q.key)
		if run.unstable == "" {
			t.Errorf("%.40s can be in a trace", q)
		}
	}
}

func TestTraceHashCoversCode(t *testing.T) {
	var h answerHasher
	var all []answerHash
	for _, r := range []reply{{nil, 0}, {nil, -1}, {nil, -2}, {[]byte{0}, 0}, {[]byte{0xff, 0xff, 0xff, 0xff}, 0}, {[]byte{0, 0, 0, 0}, 0}} {
		hash := h.answer(r.answer, r.code).hash
		if slices.Contains(all, hash) {
			t.Errorf("%v has the hash of another", r)
		}
		all = append(all, hash)
	}
}

func TestTraceKeyCoversItsInputs(t *testing.T) {
	base := func() TraceInputs {
		c := DefaultConfig()
		c.ModeTables = map[string]map[string]string{"m": {"a": "1", "b": "2"}, "other": {}}
		return TraceInputs{Build: "b", Mode: "m", Config: c}
	}
	table := func(pairs ...string) func(*TraceInputs) {
		return func(in *TraceInputs) {
			m := map[string]string{}
			for i := 0; i < len(pairs); i += 2 {
				m[pairs[i]] = pairs[i+1]
			}
			in.Config.ModeTables["m"] = m
		}
	}
	first, err := base().Key()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[TraceKey]string{first: "base"}
	for name, change := range map[string]func(*TraceInputs){
		"build":       func(in *TraceInputs) { in.Build = "c" },
		"module":      func(in *TraceInputs) { in.Module[31] = 1 },
		"grants":      func(in *TraceInputs) { in.Grants[0] = 1 },
		"mode":        func(in *TraceInputs) { in.Mode = "other" },
		"strict":      func(in *TraceInputs) { in.Config.Strict = true },
		"driver root": func(in *TraceInputs) { in.Config.DriverRoot = "/driver" },
		"gate":        func(in *TraceInputs) { in.Config.AcceptEnvWhenUnprivileged = false },
		"limit":       func(in *TraceInputs) { in.Config.Limits.GlobEntries-- },
		"value":       table("a", "1", "b", "3"),
		"swapped":     table("a", "2", "b", "1"),
		"shifted":     table("a", "1b", "", "2"),
		"less":        table("a", "1"),
		"more":        table("a", "1", "b", "2", "c", ""),
	} {
		in := base()
		change(&in)
		key, err := in.Key()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if was, ok := seen[key]; ok {
			t.Errorf("%s: the key of %s", name, was)
		}
		seen[key] = name
	}
	in := base()
	in.Config.ModeTables["other"]["x"] = "y"
	in.Config.LogLevel = "debug"
	if key, err := in.Key(); err != nil || key != first {
		t.Errorf("what no answer depends on is in the key: %v, %v", key, err)
	}
}

// A field that is added to Config must be in the key, or stand here because a
// run does not depend on it.
func TestTraceKeyKnowsConfig(t *testing.T) {
	known := []string{
		"Strict", "DriverRoot", "AcceptEnvWhenUnprivileged", "Limits", "ModeTables", // in the key
		"Mode", "ModeFrom", "ModuleDir", "ModulesD", "Installed", // in it as the mode's name, the module's digest and its grants
		"CacheDir", "TrustD", // of how a module is run and installed
		"Installed",                                                           // in it as the digest of the grants
		"Runtimes", "DebugLog", "LogLevel", "Hook", "DeviceAccess", "LdCache", // of what comes after the edits
		"Traces", // whether there are any
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		if !slices.Contains(known, field.Name) {
			t.Errorf("Config.%s: does an answer depend on it? See TraceInputs.Key", field.Name)
		}
	}
}

func TestTraceKeyErrors(t *testing.T) {
	in := TraceInputs{Mode: "m", Config: DefaultConfig()}
	if _, err := in.Key(); err == nil || err.Error() != "this build of tenon has no id; build it with make, or from a version" {
		t.Errorf("%v", err)
	}
}

func TestTraceBuildWithoutSourcesKnownHasNoID(t *testing.T) {
	for version, want := range map[string]string{
		"": "", "(devel)": "", "v1.2.3+dirty": "", "v0.0.0-20260101000000-abcdefabcdef+dirty": "",
		"v1.2.3":                             "tenon v1.2.3 h1:x go1.26",
		"v0.0.0-20260101000000-abcdefabcdef": "tenon v0.0.0-20260101000000-abcdefabcdef h1:x go1.26",
	} {
		info := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Path: "tenon", Version: version, Sum: "h1:x"}}
		if got := versionID(info); got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}

func TestTraceEvictsOldestFirst(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tree := &traceTree{}
	var w world
	for len(tree.leaves) < 100 {
		w = world{}
		for range 60 {
			w.change(rng, 30)
		}
		run := Record(w.ask)
		leaf := randomModule(3, 30, run.Query)
		if run.unstable == "" {
			if _, err := tree.insert(run.steps, leaf); err != nil {
				t.Fatal(err)
			}
		}
	}
	var key TraceKey
	for n := 100; n > 0; n-- {
		oldest, before := tree.leaves[0], len(encodeTraces(key, tree))
		freed := tree.evict()
		if slices.Contains(tree.leaves, oldest) || len(tree.leaves) != n-1 {
			t.Fatal("another leaf went")
		}
		if n == 1 {
			break
		}
		checkTree(t, tree)
		if after := len(encodeTraces(key, tree)); after > before-freed {
			t.Fatalf("%d bytes became %d, with %d freed", before, after, freed)
		}
	}
	if tree.root != (traceEnd{}) {
		t.Error("something is left in an empty tree")
	}
}

// A tree of a hostile file may be anything that the format can say, but no
// more, and it is written again as it was read.
func FuzzTraceFile(f *testing.F) {
	seal := func(body []byte) []byte {
		return binary.LittleEndian.AppendUint64(slices.Clip(body), traceChecksum(body))
	}
	key := TraceKey{7}
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 6 {
		tree := &traceTree{}
		for len(tree.leaves) <= n*n {
			w := world{}
			for range 40 {
				w.change(rng, 20)
			}
			run := Record(w.ask)
			leaf := randomModule(uint64(n+10), 20, run.Query)
			if run.unstable != "" {
				continue
			}
			if added, err := tree.insert(run.steps, leaf); err != nil {
				f.Fatal(err)
			} else if !added {
				break
			}
		}
		data := encodeTraces(key, tree)
		f.Add(data[:len(data)-sumSize])
	}
	f.Add([]byte{})
	f.Add([]byte(traceMagic))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := decodeTraces(key, body); err != nil && !errors.Is(err, errDamaged) {
			t.Errorf("%v is not errDamaged", err)
		}
		data := seal(body)
		if view, err := openTraces(key, data); err == nil {
			view.walk(world{}.ask, true) // as a lookup does, however the rest is
		}
		tree, err := decodeTraces(key, data)
		if err != nil {
			return
		}
		checkTree(t, tree)
		again := encodeTraces(key, tree)
		tree, err = decodeTraces(key, again)
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		if !bytes.Equal(again, encodeTraces(key, tree)) {
			t.Error("written otherwise the second time")
		}
		// Keys may stand twice among the texts; all else is one way only.
		if len(again) == len(data) && !bytes.Equal(again, data) {
			t.Errorf("another file of the same size\n%q\n%q", data, again)
		}
		view, err := openTraces(key, data)
		if err != nil {
			t.Fatal(err)
		}
		if walk := view.walk(world{}.ask, true); errors.Is(walk.Miss, errDamaged) {
			t.Errorf("a walk over records that fit together: %v", walk.Miss)
		}
		for len(tree.leaves) > 0 {
			tree.evict()
		}
	})
}
