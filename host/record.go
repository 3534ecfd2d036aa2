// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
)

// A recorded machine is a folder that stands for a machine in tests: what one
// mode asked in one run, and what it was told. It is written here and in
// record_file.go, and read by package sdk, whose type Machine describes it.

// NewTrial is [NewRun] for a module that is tried by its author: it has all rights
// of its manifest, and is not installed. A container whose request is malformed is
// refused, as [Config.Applies] does.
func NewTrial(c Config, mode string, m Manifest, req *discover.Request, containerRoot string, log *slog.Logger) (*Run, Rights, error) {
	c.Limits = m.Limits.Within(c.Limits)
	rights := NewRights(m.Grants, m.Grants, c.DriverRoot)
	if _, err := rights.asks(&c, mode, req); err != nil {
		return nil, rights, err
	}
	r, err := newRun(c, mode, &rights, req, containerRoot, log)
	return r, rights, err
}

// Granted reports whether the run may ask a question, by what it says: where a
// path leads is another matter, that only an answer shows.
func (r *Run) Granted(op, root uint32, key string) bool {
	roots, _ := queryOf(op)
	if root >= rootCount || roots&(1<<root) == 0 {
		return true // it is answered with another code
	}
	q := question{op, root, key}
	switch {
	case malformed(q):
		return true
	case !r.grantedKey(q):
		return false
	case op == opStat || op == opReadDir || op == opRead || op == opReadLink || op == opRealPath:
		return !cleanAbs(key) || r.grantedPath(op, root, key)
	case op == opGlob && len(key) > 1 && key[0] == '/':
		if literal := literalPrefix(strings.Split(key[1:], "/")); literal != key {
			return r.grantedFolder(op, root, cmp.Or(literal, "/"))
		}
		return r.grantedPath(op, root, key)
	}
	return true
}

// Within keeps a glob's answer to what the run may see, as a query on this
// machine does; other answers it returns as they are.
func (r *Run) Within(op, root uint32, answer []byte) []byte {
	if op != opGlob {
		return answer
	}
	kept := []byte{}
	for rest := answer; len(rest) > 0; {
		n := slices.Index(rest, 0) + 1
		if n == 0 {
			return answer // malformed; the module will say so
		}
		if r.grantedPath(op, root, string(rest[:n-1])) {
			kept = append(kept, rest[:n]...)
		}
		rest = rest[n:]
	}
	return kept
}

// Asked is one question of a run, and what it was told: the answer, or a code
// below zero.
type Asked struct {
	Op, Root uint32
	Key      string
	Answer   []byte
	Code     int32
}

// Notes keeps the questions and answers of a run. It is used by one goroutine.
type Notes struct {
	ask   Ask
	asked map[question]Asked
}

// NewNotes notes what will be asked by its Query, which is answered by ask.
func NewNotes(ask Ask) *Notes { return &Notes{ask, map[question]Asked{}} }

// Query asks, and notes the question and its answer. It is an [Ask].
func (n *Notes) Query(op, root uint32, key string) ([]byte, int32) {
	q := question{op, root, key}
	if a, ok := n.asked[q]; ok {
		return a.Answer, a.Code
	}
	answer, code := n.ask(op, root, key)
	n.asked[q] = Asked{op, root, key, slices.Clone(answer), code}
	return answer, code
}

// Asked returns what was asked: each question once, by op, root and key.
func (n *Notes) Asked() []Asked {
	list := make([]Asked, 0, len(n.asked))
	for _, a := range n.asked {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Asked) int {
		return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.Root, b.Root), cmp.Compare(a.Key, b.Key))
	})
	return list
}

// String writes the question as the file queries of a recorded machine does. An
// op or root that the ABI does not have is a number.
func (a Asked) String() string {
	op, root := opName(a.Op), strconv.FormatUint(uint64(a.Root), 10)
	if strings.Contains(op, " ") {
		op = strconv.FormatUint(uint64(a.Op), 10)
	}
	if a.Root < rootCount {
		root = rootNames[a.Root]
	}
	return fmt.Sprintf("%s %s %q", op, root, a.Key)
}
