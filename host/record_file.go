// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// WriteMachine writes a recorded machine of what was asked into dir, which is
// made, or is an empty folder. sameDriver says that root 2 is root 0. Where
// redact is true, values of the container's environment and annotations, and
// parts of its config.json, are left out. readme is the text of README.md.
//
// Errors begin with the file or folder; the machine or its user is at fault.
func WriteMachine(dir string, asked []Asked, sameDriver, redact bool, readme string) error {
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%s: is not empty; name a new folder", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	m := machineWriter{sameDriver: sameDriver, redact: redact, files: map[string][]byte{}, taken: map[string]string{}, folders: map[string]bool{}, devices: map[string][]string{}}
	queries := "# What a mode asked, and was told. A question that is not here was not asked.\n"
	for _, a := range asked {
		queries += a.String() + m.answer(a) + "\n"
	}
	m.files["README.md"], m.files["queries"] = []byte(readme), []byte(queries)
	for name, lines := range m.devices {
		slices.Sort(lines)
		m.files[name] = []byte("# type major minor mode uid gid path\n" + strings.Join(lines, ""))
	}
	for name, content := range m.files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

type machineWriter struct {
	sameDriver, redact bool
	files              map[string][]byte
	taken              map[string]string   // what stands under a path: a content, or the line of a device
	folders            map[string]bool     // those that something stands in
	devices            map[string][]string // lines, by the name of the file they are for
}

// codeNames are the words for codes in the file queries.
var codeNames = map[int32]string{
	CodeNotFound: "not-found", CodeDenied: "denied", CodeWrongType: "wrong-type", CodeTooLarge: "too-large", CodeInvalid: "invalid",
	CodeUnsupported: "unsupported", CodeIO: "io-error", CodeWrongState: "wrong-state", CodeSpent: "spent",
}

// answer writes what stands behind a question: a word for a code, "in" and where
// the answer is, or the answer itself.
func (m *machineWriter) answer(a Asked) string {
	if a.Code != CodeOK {
		return " " + codeNames[a.Code]
	}
	switch a.Op {
	case opEnv, opAnnotation, opSpec:
		if m.redact {
			return " redacted"
		}
	case opStat:
		return m.stat(a)
	case opRead:
		return " in " + strconv.Quote(m.content(a))
	case opMounts, opReadDir, opGlob, opLdLookup, opRequest:
		if m.redact && a.Op == opRequest {
			return " redacted"
		}
		text := ""
		for s := range strings.SplitAfterSeq(string(a.Answer), "\x00") {
			if s != "" {
				text += " " + strconv.Quote(strings.TrimSuffix(s, "\x00"))
			}
		}
		return text
	}
	return " " + strconv.Quote(string(a.Answer))
}

// folder is the name of a root in the folder.
func (m *machineWriter) folder(root uint32) string {
	switch {
	case root == rootContainer:
		return "container"
	case root == rootDriver && !m.sameDriver:
		return "driver"
	}
	return "root"
}

// take lets something stand under a path of the folder, if it can: links may lead
// two paths to one file, or one through what is a file by its other name, and
// things change while a mode runs.
func (m *machineWriter) take(name, what string) bool {
	if m.folders[name] {
		return false
	}
	if there, taken := m.taken[name]; taken {
		return there == what
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, taken := m.taken[dir]; taken {
			return false
		}
	}
	m.taken[name] = what
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		m.folders[dir] = true
	}
	return true
}

// content puts the answer of a read into a file, under its own path if it can.
func (m *machineWriter) content(a Asked) string {
	name := m.folder(a.Root) + a.Key
	if !cleanAbs(a.Key) || a.Key == "/" || !m.take(name, "content "+string(a.Answer)) {
		name = fmt.Sprintf("answers/%d", len(m.files))
	}
	m.files[name] = a.Answer
	return name
}

// stat writes a record: the line of a device in its own file, others in place.
func (m *machineWriter) stat(a Asked) string {
	if len(a.Answer) != statSize {
		return " " + strconv.Quote(string(a.Answer)) // it would not be read as one
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(a.Answer[at:]) }
	kind := string(a.Answer[:1])
	line := fmt.Sprintf("%s %d %d %04o %d %d", kind, u32(16), u32(20), u32(4), u32(8), u32(12))
	unwritable := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if kind != "c" && kind != "b" || a.Root == rootContainer || !cleanAbs(a.Key) || a.Key == "/" || strings.ContainsFunc(a.Key, unwritable) ||
		!m.take(m.folder(a.Root)+a.Key, line) {
		return fmt.Sprintf(" %s %d", line, binary.LittleEndian.Uint64(a.Answer[24:]))
	}
	file := "devices"
	if m.folder(a.Root) == "driver" {
		file = "driver_devices"
	}
	if line += " " + a.Key + "\n"; !slices.Contains(m.devices[file], line) {
		m.devices[file] = append(m.devices[file], line)
	}
	return " in " + strconv.Quote(file)
}
