// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"encoding/binary"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// recordedOps and recordedRoots are the words of the file queries.
var (
	recordedOps = map[string]Op{
		"env": OpEnv, "annotation": OpAnnotation, "spec": OpSpec, "mounts": OpMounts, "config": OpConfig,
		"stat": OpStat, "readdir": OpReadDir, "read": OpRead, "readlink": OpReadLink, "glob": OpGlob,
		"ldlookup": OpLdLookup, "realpath": OpRealPath, "feature": OpFeature, "which": OpWhich, "request": OpRequest,
	}
	recordedRoots = map[string]Root{"host": Host, "container": Container, "driver": Driver}
	recordedCodes = map[string]Code{
		"not-found": NotFound, "denied": Denied, "wrong-type": WrongType, "too-large": TooLarge, "invalid": InvalidArgument,
		"unsupported": Unsupported, "io-error": IOError, "wrong-state": WrongState, "spent": OverBudget,
	}
)

type asked struct {
	op   Op
	root Root
	key  string
}

type told struct {
	answer   []byte
	code     Code
	redacted bool
}

// String writes the question as the file queries does.
func (q asked) String() string {
	op, root := strconv.Itoa(int(q.op)), strconv.Itoa(int(q.root))
	for name, o := range recordedOps {
		if o == q.op {
			op = name
		}
	}
	for name, r := range recordedRoots {
		if r == q.root {
			root = name
		}
	}
	return fmt.Sprintf("%s %s %q", op, root, q.key)
}

// readQueries reads the file queries of a recorded machine, if it has one, and
// what it refers to.
func (m *Machine) readQueries(dir string, budget *int64) error {
	file := filepath.Join(dir, "queries")
	if _, err := os.Lstat(file); err != nil {
		return nil
	}
	m.recorded = map[asked]told{}
	return eachLine(file, func(line string) error {
		q, rest, ok := parseAsked(line)
		if !ok {
			return fmt.Errorf("%q is not: query root \"key\" answer", line)
		}
		if _, twice := m.recorded[q]; twice {
			return fmt.Errorf("%s: stands twice", q)
		}
		t, err := m.parseTold(dir, q, rest, budget)
		if err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
		m.recorded[q] = t
		return nil
	})
}

func parseAsked(line string) (q asked, rest string, ok bool) {
	op, rest, _ := strings.Cut(line, " ")
	root, rest, _ := strings.Cut(rest, " ")
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return q, "", false
	}
	q.key, _ = strconv.Unquote(quoted)
	known := true
	if q.op, ok = recordedOps[op]; !ok {
		n, err := strconv.ParseUint(op, 10, 32)
		q.op, known = Op(n), err == nil
	}
	if q.root, ok = recordedRoots[root]; !ok {
		n, err := strconv.ParseUint(root, 10, 32)
		q.root, known = Root(n), known && err == nil
	}
	rest, spaced := strings.CutPrefix(rest[len(quoted):], " ")
	return q, rest, known && (spaced || rest == "")
}

// parseTold reads what stands behind a question.
func (m *Machine) parseTold(dir string, q asked, rest string, budget *int64) (t told, err error) {
	if rest == "redacted" {
		return told{redacted: true}, nil
	}
	if code, ok := recordedCodes[rest]; ok {
		return told{code: code}, nil
	}
	if name, ok := strings.CutPrefix(rest, "in "); ok {
		if name, err = strconv.Unquote(name); err != nil {
			return t, fmt.Errorf("%s is not: in \"file\"", rest)
		}
		return m.toldIn(dir, q, name, budget)
	}
	if q.op == OpStat && rest != "" && rest[0] != '"' {
		n, size := &node{}, uint64(0)
		var kind string
		if c, err := fmt.Sscanf(rest, "%1s %d %d %o %d %d %d", &kind, &n.major, &n.minor, &n.mode, &n.uid, &n.gid, &size); err != nil || c != 7 {
			return t, fmt.Errorf("%q is not: type major minor mode uid gid size", rest)
		}
		n.kind = kind[0]
		t.answer = n.stat()
		binary.LittleEndian.PutUint64(t.answer[24:], size)
		return t, nil
	}
	var texts []string
	for left := rest; left != ""; {
		quoted, err := strconv.QuotedPrefix(left)
		if err != nil {
			return t, fmt.Errorf("%q is no answer: quoted texts, in \"file\", redacted, or a code such as not-found", rest)
		}
		text, _ := strconv.Unquote(quoted)
		texts = append(texts, text)
		left = strings.TrimPrefix(left[len(quoted):], " ")
	}
	switch q.op {
	case OpMounts, OpReadDir, OpGlob, OpLdLookup, OpRequest:
		return told{answer: join(texts)}, nil
	}
	if len(texts) != 1 {
		return t, fmt.Errorf("has %d answers, not one", len(texts))
	}
	return told{answer: []byte(texts[0])}, nil
}

// toldIn finds an answer in a file of the recorded machine: the line of a device
// in devices or driver_devices, or a content.
func (m *Machine) toldIn(dir string, q asked, name string, budget *int64) (told, error) {
	if name == "devices" || name == "driver_devices" {
		root := Host
		if name == "driver_devices" {
			root = Driver
		}
		if n, _, ok := m.roots[root].walk(q.key, false); ok && (n.kind == 'c' || n.kind == 'b') && q.op == OpStat {
			return told{answer: n.stat()}, nil
		}
		return told{}, fmt.Errorf("is not in %s", name)
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) || path.Clean(name) != name {
		return told{}, fmt.Errorf("%q is not a file of the recorded machine", name)
	}
	n, err := readRecorded(filepath.Join(dir, filepath.FromSlash(name)), budget)
	if err != nil {
		return told{}, err
	}
	return told{answer: n.data}, nil
}

// Recording reports whether the machine is what one run asked: a folder with a
// file queries. It then answers nothing else.
func (m *Machine) Recording() bool { return m.recorded != nil }

// Ask answers a query of a module that runs elsewhere, for the container of r,
// with the answer or a code. recorded is false for a question that is not in the
// recording; the code is [IOError] then. Nobody may change the answer.
func (m *Machine) Ask(r *Request, op Op, root Root, key string) (answer []byte, code Code, recorded bool) {
	if m.recorded == nil {
		given := *r
		given.Config = withDefaults(r.Config)
		answer, code = m.answer(&given, op, root, key)
		return answer, code, true
	}
	answer, code = m.recordedAnswer(r, op, root, key)
	if code == notRecorded {
		return nil, IOError, false
	}
	return answer, code, true
}

// recordedAnswer answers from what r has of its own, and else from the
// recording.
func (m *Machine) recordedAnswer(r *Request, op Op, root Root, key string) ([]byte, Code) {
	q := asked{op, root, key}
	t, ok := m.recorded[q]
	if root == Host && (r.gives(op, key) || op == OpRequest && m.gives(r, key)) {
		return m.answer(r, op, root, key)
	}
	if !ok || t.redacted {
		return nil, notRecorded
	}
	return t.answer, t.code
}

// gives reports whether a request itself answers a query.
func (r *Request) gives(op Op, key string) bool {
	switch op {
	case OpEnv:
		return slices.ContainsFunc(r.Env, func(kv string) bool { return strings.HasPrefix(kv, key+"=") })
	case OpAnnotation:
		_, ok := r.Annotations[key]
		return ok
	case OpConfig:
		_, ok := r.Config[key]
		return ok
	case OpMounts:
		return r.Mounts != nil
	case OpSpec:
		return r.Spec != nil
	}
	return false
}

// gives reports whether r itself says something of a place of a request.
func (m *Machine) gives(r *Request, name string) bool {
	all, _ := m.askings()
	i := slices.IndexFunc(all, func(a asking) bool { return a.Name == name })
	if i < 0 {
		return false
	}
	a := &all[i]
	return r.Spec != nil || len(a.MountsUnder) > 0 && r.gives(OpMounts, "/") ||
		slices.ContainsFunc(a.Annotations, func(key string) bool { return r.gives(OpAnnotation, key) }) ||
		slices.ContainsFunc(a.Env, func(name string) bool { return r.gives(OpEnv, name) })
}

// RecordedRequest is the container of a recording as far as the mode has asked
// about it, sorted; of a machine that is no recording it is empty. What was
// redacted is not there.
func (m *Machine) RecordedRequest() Request {
	r := Request{Annotations: map[string]string{}, Config: map[string]string{}}
	var widest string
	for q, t := range m.recorded {
		if t.code != 0 || t.redacted {
			continue
		}
		switch q.op {
		case OpEnv:
			r.Env = append(r.Env, q.key+"="+string(t.answer))
		case OpAnnotation:
			r.Annotations[q.key] = string(t.answer)
		case OpConfig:
			r.Config[q.key] = string(t.answer)
		case OpMounts:
			if len(t.answer) > 0 && (widest == "" || len(q.key) < len(widest)) {
				widest = q.key
				c := &Context{ask: func(Op, Root, string) ([]byte, Code) { return t.answer, 0 }}
				r.Mounts, _ = c.Mounts(q.key)
			}
		}
	}
	slices.Sort(r.Env)
	return r
}

// Discover runs the function that was given to [Register] over the machine, and
// returns what a host would be told: the result of the ABI, and the edits as
// JSON or, for a failure, the reason. unrecorded are the questions that a
// recording does not hold; where there are some, the rest says nothing. It is for
// tests, and is not in a guest.
func (m *Machine) Discover(r Request) (result int32, answer string, unrecorded []string) {
	if wrong := m.malformed(&r); wrong != "" {
		return resultFailed, wrong, nil // no host would run the mode
	}
	c := m.Context(r)
	result = run(c)
	for _, e := range c.emitted {
		if e.kind != emitExplain {
			answer = e.text
		}
	}
	return result, answer, c.Unrecorded()
}

// Unrecorded are the questions so far that a recording does not hold, as the file
// queries would have them. It is there for tests, and not in a guest.
func (c *Context) Unrecorded() []string { return c.missing }
