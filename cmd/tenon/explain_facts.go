// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-runtime/tenon/host"
)

// explainedQuestion is one question of a mode, and what it was told. The words are
// those of sdk/ABI.md.
type explainedQuestion struct {
	Op     string `json:"op"`
	Root   string `json:"root"`
	Key    string `json:"key"`
	Result string `json:"result"`           // "ok", "not found", "denied", …
	Answer string `json:"answer,omitempty"` // what was answered, in words, shortened
}

// String is the question for people.
func (q explainedQuestion) String() string {
	answer := q.Result
	if q.Answer != "" {
		answer = q.Answer
	}
	return q.question() + ": " + answer
}

func (q explainedQuestion) question() string {
	if q.Op == "request" && q.Key == "" {
		return q.Op
	}
	if q.ofContainer() || q.Op == "config" || q.Op == "feature" || q.Op == "mounts" {
		return q.Op + " " + strconv.Quote(q.Key) // it has one root only
	}
	return q.Op + " " + q.Root + " " + strconv.Quote(q.Key)
}

// ofContainer reports whether the answer is a value that the container brings.
func (q explainedQuestion) ofContainer() bool {
	return q.Op == "env" || q.Op == "annotation" || q.Op == "spec" || q.Op == "request"
}

// maxAnswer is how much of an answer is shown, in bytes.
const maxAnswer = 200

func explainQuestion(a host.Asked) explainedQuestion {
	q := opOf(a)
	if a.Code != host.CodeOK {
		q.Result = host.TraceAnswer{Code: a.Code}.String()
		return q
	}
	q.Result = "ok"
	switch q.Op {
	case "stat":
		q.Answer = statText(a.Answer)
	case "read":
		q.Answer = counted(len(a.Answer), "byte")
	case "request":
		place, ids, _ := strings.Cut(strings.TrimSuffix(string(a.Answer), "\x00"), "\x00")
		q.Answer = shortened(host.OneLine(strings.ReplaceAll(ids, "\x00", ", ") + " by " + host.PlaceInWords(place)))
	case "readdir", "glob", "ldlookup", "mounts":
		q.Answer = listText(q.Op, a.Answer)
	default:
		q.Answer = shortened(strconv.Quote(string(a.Answer)))
	}
	return q
}

// opOf names the op and root of a question, which the first two words of its text
// are.
func opOf(a host.Asked) explainedQuestion {
	op, rest, _ := strings.Cut(a.String(), " ")
	root, _, _ := strings.Cut(rest, " ")
	return explainedQuestion{Op: op, Root: root, Key: a.Key}
}

func shortened(s string) string {
	if len(s) > maxAnswer {
		return strings.ToValidUTF8(s[:maxAnswer], "") + "…"
	}
	return s
}

// statTypes are the letters of a stat record: "stat" of sdk/ABI.md.
var statTypes = map[byte]string{
	'f': "file", 'd': "folder", 'l': "symbolic link", 'c': "character device", 'b': "block device", 'p': "pipe", 's': "socket",
}

// statText says what a stat record has, whose layout is that of sdk/ABI.md.
func statText(b []byte) string {
	if len(b) < 32 {
		return counted(len(b), "byte")
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	text := statTypes[b[0]]
	switch b[0] {
	case 'c', 'b':
		text += fmt.Sprintf(" %d:%d", u32(16), u32(20))
	case 'f':
		text += " of " + counted(int(binary.LittleEndian.Uint64(b[24:])), "byte")
	}
	return fmt.Sprintf("%s, mode %04o, owner %d:%d", text, u32(4), u32(8), u32(12))
}

// listOf are the strings of an answer that is a list; those of readdir without the
// letter of their type.
func listOf(op string, answer []byte) []string {
	var list []string
	for s := range strings.SplitSeq(strings.TrimSuffix(string(answer), "\x00"), "\x00") {
		if op == "readdir" && s != "" {
			s = s[1:]
		}
		if s != "" || op == "mounts" {
			list = append(list, s)
		}
	}
	return list
}

func listText(op string, answer []byte) string {
	if len(answer) == 0 {
		return "none"
	}
	list := listOf(op, answer)
	if op == "mounts" { // four strings each
		return counted(len(list)/4, "mount")
	}
	return shortened(host.OneLine(fmt.Sprintf("%d: %s", len(list), strings.Join(list, ", "))))
}

// maxNaming is how many answers are listed for one edit.
const maxNaming = 4

// naming finds the answers that name what an edit is about, those that say most
// first: lines of files, then what asks for the very name, then lists that have it.
// names begin with the one that matters most. They may be paths of the host below
// driverRoot, which root 2 has without it.
func (m *explainedMode) naming(names []string, driverRoot string) []string {
	var found [3][]string
	for _, name := range names {
		if len(name) < 2 {
			continue
		}
		called := []string{name}
		if inside, ok := strings.CutPrefix(name, driverRoot); ok && driverRoot != "" && strings.HasPrefix(inside, "/") {
			called = append(called, inside)
		}
		for i, a := range m.asked {
			if a.Code == host.CodeOK {
				rank, lines := m.Queries[i].naming(a, called)
				found[rank] = append(found[rank], lines...)
			}
		}
	}
	all := []string{}
	for _, line := range slices.Concat(found[0], found[1], found[2]) {
		if len(all) < maxNaming && !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	return all
}

// naming says how one answer has one of names, and how much that says: 0 is most.
func (q explainedQuestion) naming(a host.Asked, names []string) (rank int, lines []string) {
	switch q.Op {
	case "read":
		return 0, q.lines(string(a.Answer), names)
	case "readdir", "glob", "ldlookup":
		for _, s := range listOf(q.Op, a.Answer) {
			if q.Op == "readdir" {
				s = path.Join(q.Key, s)
			}
			if slices.Contains(names, s) {
				return 2, []string{q.question() + " lists it"}
			}
		}
	default:
		if slices.Contains(names, a.Key) || slices.Contains(names, string(a.Answer)) {
			return 1, []string{q.String()}
		}
	}
	return 0, nil
}

// lines finds the lines of an answer that have one of the names as a word, or a
// pattern (path.Match) of an absolute path that matches one.
func (q explainedQuestion) lines(text string, names []string) []string {
	var found []string
	number := 0
	for line := range strings.Lines(text) {
		number++
		for word := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;\"'=", r) }) {
			hit := slices.ContainsFunc(names, func(name string) bool {
				if word == name {
					return true
				}
				ok, err := path.Match(word, name)
				return ok && err == nil && word[0] == '/'
			})
			if hit {
				found = append(found, fmt.Sprintf("%s line %d: %s", q.question(), number, shortened(strconv.Quote(strings.TrimSpace(line)))))
				break
			}
		}
	}
	return found
}

const redacted = "redacted"

// redact takes out what the container brought.
func (e *explanation) redact() {
	for i := range e.Modes {
		m := &e.Modes[i]
		for j := range m.Asked {
			m.Asked[j].IDs = []string{redacted}
		}
		for j := range m.Queries {
			if q := &m.Queries[j]; q.ofContainer() && q.Answer != "" {
				q.Answer = redacted
			}
		}
	}
	for i := range e.Edits {
		edit := &e.Edits[i]
		if edit.secret && edit.Detail != "" {
			edit.Detail = redacted
		}
		for j, from := range edit.From {
			for _, op := range []string{"env ", "annotation ", "spec "} {
				if question, _, ok := strings.Cut(from, `": `); ok && strings.HasPrefix(from, op) {
					edit.From[j] = question + `": ` + redacted
				}
			}
		}
	}
}
