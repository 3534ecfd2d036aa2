// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxTraces bounds the files of all keys together, in bytes.
const maxTraces = 64 << 20

const (
	markSuffix = ".marked" // after a key: its module is not deterministic
)

// Errors of [Traces.Insert] that are no fault.
var (
	// ErrTraceBusy is wrapped where another create was writing.
	ErrTraceBusy = errors.New("is being written by another create")
	// ErrNoTrace is wrapped where a run cannot leave a trace.
	ErrNoTrace = errors.New("leaves no trace")
)

// Traces is a folder of traces, one file a key. The folder and the one that it
// is in belong to the user that this process runs as, who alone may enter them,
// and nobody else may change what leads there: both are checked at each use, and
// where they are not so there are no traces. Nothing that is wrong with the
// store fails a create. Traces may be used by many processes at once.
type Traces struct {
	// Folder is an absolute path in its shortest form.
	Folder string
}

// Lookup asks what the module that the key is for would ask now, and finds what
// it would emit.
func (t Traces) Lookup(key TraceKey, ask Ask) TraceWalk { return t.lookup(key, ask, false) }

// Peek finds what Lookup would, and changes nothing: a damaged file stays.
func (t Traces) Peek(key TraceKey, ask Ask) TraceWalk { return t.lookup(key, ask, true) }

func (t Traces) lookup(key TraceKey, ask Ask, lookOnly bool) TraceWalk {
	s, err := t.open(false)
	if err != nil {
		return TraceWalk{Miss: err}
	}
	defer s.close()
	s.lookOnly = lookOnly
	view, err := s.load(key)
	if err != nil {
		return TraceWalk{Miss: err}
	}
	walk := view.walk(ask, lookOnly)
	if errors.Is(walk.Miss, errDamaged) {
		walk.Miss = s.damaged(key, walk.Miss)
	}
	return walk
}

// Insert stores what a run asked and what it emitted. nil means that the store
// has the trace, now or from before. An error that wraps [ErrNotDeterministic]
// begins with it, for the name of the module to be put before: the traces of the
// key are then gone, and it gets no more until [Traces.Drop]. Others tell why the run
// was not stored.
//
// To audit a hit, run the module and Insert its run too: a run that contradicts
// the traces is found, one that they have costs no write.
func (t Traces) Insert(key TraceKey, run *Recording, leaf TraceLeaf) error {
	switch {
	case run.unstable != "":
		return fmt.Errorf("the run %w: %s", ErrNoTrace, run.unstable)
	case leaf.Result != ResultDone && leaf.Result != ResultNotApplicable:
		return fmt.Errorf("the run %w: its result is %d", ErrNoTrace, leaf.Result)
	case traceSize(run.steps, leaf) > maxTraceFile:
		return fmt.Errorf("the run %w: it is larger than %d bytes", ErrNoTrace, maxTraceFile)
	}
	s, err := t.open(true)
	if err != nil {
		return err
	}
	defer s.close()
	// First without the lock: most runs of an audit end here, and so a
	// contradiction is found however busy the store is.
	if _, added, err := s.merge(key, run, leaf); err != nil || !added {
		return err
	}
	if err := s.lock(); err != nil {
		return err
	}
	tree, added, err := s.merge(key, run, leaf)
	if err != nil || !added {
		return err
	}
	for len(tree.leaves) > maxLeaves {
		tree.evict()
	}
	data := encodeTraces(key, tree)
	if over := len(data) - maxTraceFile; over > 0 {
		// The keys of questions that only the evicted ones had count too, but
		// how many bytes they are is seen only then. This run alone fits.
		for over > 0 && len(tree.leaves) > 1 {
			over -= tree.evict()
		}
		data = encodeTraces(key, tree)
	}
	if err := s.makeRoom(key, int64(len(data))); err != nil {
		return err
	}
	return s.replace(key.String(), data)
}

// Drop removes all traces, and all marks of modules that are not deterministic.
func (t Traces) Drop() error {
	s, err := t.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	files, err := s.files()
	for _, f := range files {
		err = cmp.Or(err, s.remove(f.name))
	}
	return err
}

// TraceFile is one key of a store.
type TraceFile struct {
	Key    string // in hexadecimal
	Bytes  int64
	Leaves int    // how many different runs it has
	Marked string // why the module is not deterministic; "" where that is not known
}

// List tells what the store holds, sorted by key. A store that is not there is
// empty; one that is not trusted is an error that names the folder at fault.
func (t Traces) List() ([]TraceFile, error) {
	s, err := t.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.close()
	files, err := s.files()
	var list []TraceFile
	for _, f := range files {
		name, marked := strings.CutSuffix(f.name, markSuffix)
		entry := TraceFile{Key: name, Bytes: f.size}
		if marked {
			why, err := s.read(f.name, maxMark)
			if err != nil {
				continue // gone meanwhile
			}
			entry.Marked = cmp.Or(string(why), "no reason was written")
		} else if data, err := s.read(name, maxTraceFile); err == nil && len(data) > headerSize {
			key := TraceKey(data[len(traceMagic)+4:])
			tree, err := decodeTraces(key, data)
			if err != nil || key.String() != name {
				continue
			}
			entry.Leaves = len(tree.leaves)
		}
		list = append(list, entry)
	}
	slices.SortFunc(list, func(a, b TraceFile) int { return strings.Compare(a.Key, b.Key) })
	return list, err
}

func (t Traces) open(create bool) (*store, error) { return openStore(t.Folder, create) }

// load reads the file of a key. What cannot be one is removed.
func (s *store) load(key TraceKey) (*traceView, error) {
	name := key.String()
	data, err := s.read(name, maxTraceFile)
	var view *traceView
	if err == nil {
		view, err = openTraces(key, data)
	}
	switch {
	case errors.Is(err, errDamaged):
		return nil, s.damaged(key, err)
	case err != nil:
		return nil, s.at(name, err) // most often there is none
	case s.marked(name):
		return nil, s.at(name+markSuffix, fmt.Errorf("the module %w", ErrNotDeterministic))
	}
	return view, nil
}

// damaged removes the file of a key. A writer may have replaced it meanwhile;
// that costs one more miss.
func (s *store) damaged(key TraceKey, err error) error {
	if !s.lookOnly {
		unix.Unlinkat(s.fd, key.String(), 0)
	}
	return s.at(key.String(), err)
}

// marked reports whether the module of a key is known not to be deterministic.
func (s *store) marked(name string) bool {
	var st unix.Stat_t
	return !errors.Is(unix.Fstatat(s.fd, name+markSuffix, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT)
}

// merge adds a run to the stored tree of its key, in memory, and reports
// whether that had it not. Where the run contradicts it the key is marked.
func (s *store) merge(key TraceKey, run *Recording, leaf TraceLeaf) (*traceTree, bool, error) {
	name := key.String()
	if s.marked(name) {
		return nil, false, s.at(name+markSuffix, fmt.Errorf("the run %w: its module is marked as not deterministic", ErrNoTrace))
	}
	tree := &traceTree{} // where there is none yet, or one that is of no use
	if view, err := s.load(key); err == nil {
		if stored, err := view.tree(); err == nil {
			tree = stored
		}
	}
	added, err := tree.insert(run.steps, leaf)
	if err != nil {
		if markErr := s.mark(name, err.Error()); markErr != nil {
			return nil, false, fmt.Errorf("%w; and %w", err, markErr)
		}
		return nil, false, err
	}
	return tree, added, nil
}

const maxMark = 1024 // bytes of the reason that a mark holds

// mark keeps traces of a key from being used and stored. It needs no lock: a
// writer may put a file there once more, and no lookup will take it.
func (s *store) mark(name, why string) error {
	err := s.create(name+markSuffix, []byte(why[:min(len(why), maxMark)]))
	if errors.Is(err, unix.EEXIST) {
		err = nil
	}
	return cmp.Or(err, s.remove(name))
}

// storedFile is one file of a store.
type storedFile struct {
	name    string
	size    int64
	written unix.Timespec
}

// files lists the traces and marks.
func (s *store) files() ([]storedFile, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var files []storedFile
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(s.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && len(strings.TrimSuffix(name, markSuffix)) == 2*len(TraceKey{}) {
			files = append(files, storedFile{name, st.Size, st.Mtim})
		}
	}
	return files, nil
}

// makeRoom removes the traces of other keys that were written longest ago, until
// size bytes fit too. Marks stay: each is small, and one a module.
func (s *store) makeRoom(key TraceKey, size int64) error {
	files, err := s.files()
	slices.SortFunc(files, func(a, b storedFile) int {
		return cmp.Or(cmp.Compare(a.written.Sec, b.written.Sec), cmp.Compare(a.written.Nsec, b.written.Nsec))
	})
	total := size
	for _, f := range files {
		if f.name != key.String() {
			total += f.size
		}
	}
	for _, f := range files {
		if total > maxTraces && f.name != key.String() && !strings.HasSuffix(f.name, markSuffix) {
			err = cmp.Or(err, s.remove(f.name))
			total -= f.size
		}
	}
	return err
}
