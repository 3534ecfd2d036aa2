// SPDX-License-Identifier: Apache-2.0

package host

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
)

// A trace is the questions and answers of one run of a module, with what the
// module emitted then. A module sees nothing but answers, so where the same
// questions have the same answers again it would emit the same again, and need
// not run. Every question is asked anew each time; a trace only saves the
// module. trace_tree.go has the structure, trace_file.go the file, and
// trace_store.go the folder.

// Ask answers one question of a module with the answer, or with a code below
// zero, as [Run.Query] does. A question that was asked before has the same
// answer again.
type Ask func(op, root uint32, key string) (answer []byte, code int32)

// TraceLeaf is what a module emitted at the end of a run.
type TraceLeaf struct {
	// Result is what tenon_discover returned, [ResultDone] or
	// [ResultNotApplicable]. A module that failed leaves no trace.
	Result uint32
	// Documents are the edits documents as emitted, in order. They are as little
	// trusted as those of a module that has just run.
	Documents [][]byte
	// Explain are the lines for explain, in order.
	Explain []string
}

func (l TraceLeaf) equal(m TraceLeaf) bool {
	return l.Result == m.Result && slices.EqualFunc(l.Documents, m.Documents, slices.Equal) && slices.Equal(l.Explain, m.Explain)
}

// TraceAnswer is what a trace keeps of an answer: not its bytes, which may be
// secret, but whether they are the same.
type TraceAnswer struct {
	Code int32  // 0, or the code below zero
	Size uint32 // bytes of the answer
	hash answerHash
}

// answerHash is the first half of the SHA-256 of a code and an answer. 128 bits
// are more than a container can find two answers for.
type answerHash [16]byte

// answerHasher hashes answers. Its zero value is ready.
type answerHasher struct {
	sum hash.Hash
	buf [sha256.Size]byte // here, so that it is made once
}

func (h *answerHasher) answer(answer []byte, code int32) TraceAnswer {
	if h.sum == nil {
		h.sum = sha256.New()
	}
	h.sum.Reset()
	h.sum.Write(binary.LittleEndian.AppendUint32(h.buf[:0], uint32(code)))
	h.sum.Write(answer)
	return TraceAnswer{code, uint32(len(answer)), answerHash(h.sum.Sum(h.buf[:0]))}
}

// TraceStep is one question of a run and its answer.
type TraceStep struct {
	Op, Root uint32
	Key      string
	TraceAnswer
}

func (s *TraceStep) question() question { return question{s.Op, s.Root, s.Key} }

// Recording notes the questions of a run in the order in which they were first
// asked. It is used by one goroutine.
type Recording struct {
	ask      Ask
	seen     map[question]bool
	steps    []TraceStep
	hasher   answerHasher
	unstable string
}

// Record makes a recording of the questions that will be asked by its Query.
func Record(ask Ask) *Recording { return &Recording{ask: ask, seen: map[question]bool{}} }

// Query asks, and notes the question. It is an [Ask] itself.
func (r *Recording) Query(op, root uint32, key string) ([]byte, int32) {
	answer, code := r.ask(op, root, key)
	q := question{op, root, key}
	if r.seen[q] {
		return answer, code
	}
	r.seen[q] = true
	if r.unstable == "" {
		r.unstable = unstable(q, code)
	}
	r.steps = append(r.steps, TraceStep{op, root, key, r.hasher.answer(answer, code)})
	return answer, code
}

// Steps are the questions so far. Nobody may change them.
func (r *Recording) Steps() []TraceStep { return r.steps }

// Asked are the questions so far, in their order, with their answers: those of the
// run, which has not forgotten them.
func (r *Recording) Asked() []Asked { return AskedOf(r.ask, r.steps) }

// AskedOf asks the questions of steps once more, of whoever answered them.
func AskedOf(ask Ask, steps []TraceStep) []Asked {
	list := make([]Asked, len(steps))
	for i, s := range steps {
		answer, code := ask(s.Op, s.Root, s.Key)
		list[i] = Asked{s.Op, s.Root, s.Key, answer, code}
	}
	return list
}

// unstable says why an answer cannot be in a trace; "" where it can. A code
// that tells of a limit, or of an error of the machine, may be another one the
// next time for reasons that no question shows.
func unstable(q question, code int32) string {
	switch code {
	case CodeOK, CodeNotFound, CodeDenied, CodeWrongType, CodeInvalid, CodeUnsupported:
	default:
		return fmt.Sprintf("%s was answered with %d, which may pass", q, code)
	}
	if q.op > 0xff || q.root > 0xff || len(q.key) > MaxKey {
		return fmt.Sprintf("%.100s is no question of the ABI", q)
	}
	return ""
}

// String writes a question for people.
func (q question) String() string { return fmt.Sprintf("%s(%d, %q)", opName(q.op), q.root, q.key) }

// String writes the question of a step, and what kind of answer it had.
func (s TraceStep) String() string { return s.question().String() + " " + s.TraceAnswer.String() }

// String writes the kind of an answer: its size, or its code.
func (a TraceAnswer) String() string {
	switch a.Code {
	case CodeOK:
		return fmt.Sprintf("%d bytes", a.Size)
	case CodeNotFound:
		return "not found"
	case CodeDenied:
		return "denied"
	case CodeWrongType:
		return "wrong type"
	case CodeTooLarge:
		return "too large"
	case CodeInvalid:
		return "invalid"
	case CodeUnsupported:
		return "unsupported"
	case CodeIO:
		return "i/o error"
	case CodeSpent:
		return "limit reached"
	}
	return fmt.Sprintf("code %d", a.Code)
}

// opName is the name of an op, as sdk/ABI.md has it.
func opName(op uint32) string {
	names := [...]string{
		opEnv: "env", opAnnotation: "annotation", opSpec: "spec", opMounts: "mounts", opConfig: "config",
		opStat: "stat", opReadDir: "readdir", opRead: "read", opReadLink: "readlink", opGlob: "glob",
		opLdLookup: "ldlookup", opRealPath: "realpath", opFeature: "feature", opWhich: "which", opRequest: "request",
	}
	if op < uint32(len(names)) && names[op] != "" {
		return names[op]
	}
	return fmt.Sprintf("op %d", op)
}

// TraceKey names the traces of one module under one set of rules.
type TraceKey [sha256.Size]byte

// String is the key in hexadecimal, as in the names of files.
func (k TraceKey) String() string { return hex.EncodeToString(k[:]) }

// TraceInputs are all that a run depends on beside its answers.
type TraceInputs struct {
	Build  string            // [BuildID]
	Module [sha256.Size]byte // digest of the module
	Grants [sha256.Size]byte // digest of what the module may ask, as it is enforced
	Mode   string
	Config Config
}

// answersRevision counts the corrections of what an answer of ABI v1 means.
const answersRevision = 1

// Key is the key of the traces that were left by runs with the same inputs. An
// error tells that this build has no id; it can have no traces then.
//
// Most of the config is seen by a module through answers, which are compared
// anyway. It is part of the key all the same, so that a trace never outlives a
// change of the rules that it was made under.
func (in TraceInputs) Key() (TraceKey, error) {
	if in.Build == "" {
		return TraceKey{}, errors.New("this build of tenon has no id; build it with make, or from a version")
	}
	h := keyHash{sha256.New()}
	h.text("tenon trace")
	h.number(traceVersion)
	h.number(answersRevision)
	h.text(in.Build)
	h.Write(in.Module[:])
	h.Write(in.Grants[:])
	h.text(in.Mode)
	for _, f := range in.Config.fields().flags {
		h.flag(*f)
	}
	h.text(in.Config.DriverRoot)
	for _, n := range in.Config.Limits.values() {
		h.number(*n)
	}
	table := in.Config.ModeTables[in.Mode]
	h.number(len(table))
	for _, key := range slices.Sorted(maps.Keys(table)) {
		h.text(key)
		h.text(table[key])
	}
	return TraceKey(h.Sum(nil)), nil
}

// keyHash hashes values so that no two lists of values look alike.
type keyHash struct{ hash.Hash }

func (h keyHash) number(n int) { h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))) }

func (h keyHash) flag(f bool) {
	if f {
		h.number(1)
	} else {
		h.number(0)
	}
}

func (h keyHash) text(s string) {
	h.number(len(s))
	h.Write([]byte(s))
}

// build is set by the Makefile, -ldflags "-X PACKAGE.build=ID", to a digest of
// the sources. All programs of one build have the same.
var build string

// BuildID names what all programs of this build share: their sources. "" where
// it is not known: two builds that answer differently could not be told apart.
func BuildID() string {
	if build != "" {
		return build
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return versionID(info)
}

// versionID is the id of a build that go made by itself. It has none where the
// sources are not those of a commit or a version.
func versionID(info *debug.BuildInfo) string {
	v := info.Main.Version // https://go.dev/doc/modules/version-numbers
	if v == "" || v == "(devel)" || strings.HasSuffix(v, "+dirty") {
		return ""
	}
	return strings.Join([]string{info.Main.Path, v, info.Main.Sum, info.GoVersion}, " ")
}
