// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tenon-runtime/tenon/host"
)

// A branch is a line of a tree, and what hangs on it.
type branch struct {
	text     string
	colour   string // an SGR parameter of ECMA-48; "" for none
	children []*branch
}

// The colours of a tree.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// add hangs a line on b and returns it.
func (b *branch) add(colour, format string, args ...any) *branch {
	child := &branch{text: printable(fmt.Sprintf(format, args...)), colour: colour}
	b.children = append(b.children, child)
	return child
}

// print writes the tree.
func (b *branch) print(w io.Writer, colours bool) error {
	var text strings.Builder
	b.write(&text, "", "", colours)
	_, err := io.WriteString(w, text.String())
	return err
}

// write writes b behind own and what hangs on it behind below.
func (b *branch) write(w *strings.Builder, own, below string, colours bool) {
	if colours && b.colour != "" {
		fmt.Fprintf(w, "%s\x1b[%sm%s\x1b[0m\n", own, b.colour, b.text)
	} else {
		fmt.Fprintf(w, "%s%s\n", own, b.text)
	}
	for i, child := range b.children {
		if i < len(b.children)-1 {
			child.write(w, below+"├─ ", below+"│  ", colours)
		} else {
			child.write(w, below+"└─ ", below+"   ", colours)
		}
	}
}

// inColour reports whether colours are for what is printed to w: as those of the
// log, on a terminal only, and not where NO_COLOR is set (https://no-color.org).
func inColour(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && isTerminal(w) }

// tree shows an explanation to people.
func (e *explanation) tree(verbose bool) *branch {
	edits := counted(len(e.Edits), "edit")
	if len(e.Edits) == 0 {
		edits = "nothing is given"
	}
	top := &branch{text: printable(e.Config + ": " + edits), colour: bold}
	if e.Record != nil {
		e.Record.branch(top)
	}
	for i := range e.Modes {
		e.modeBranch(top, &e.Modes[i], verbose)
	}
	if len(e.Modes) == 0 && e.Error == "" {
		top.add(dim, `no mode is asked on this machine; see "tenon config show"`)
	}
	for _, edit := range e.Edits {
		if edit.Kind == "hook" {
			edit.branch(top, ", for mode "+edit.Mode)
		}
	}
	switch {
	case e.Error != "":
		top.add(red, "a create fails: %s", e.Error)
	case e.Unchanged && len(e.Edits) > 0:
		top.add(dim, "config.json has all of this already")
	}
	return top
}

func (e *explanation) modeBranch(top *branch, m *explainedMode, verbose bool) {
	if m.Digest == "" {
		top.add(bold, "mode %s", m.Mode)
		return
	}
	mode := top.add(bold, "mode %s: %s %s, %s", m.Mode, m.Module, m.Version, shortDigest(m.Digest))
	if verbose {
		mode.add("", "module %s, %s", m.File, m.Digest)
	}
	for _, a := range m.Asked {
		mode.add("", "asked for %s by %s", strings.Join(a.IDs, ", "), host.PlaceInWords(a.Place))
	}
	if m.Why != "" {
		mode.add(yellow, "%s", m.Why)
	}
	if !m.Applies {
		return
	}
	if m.Hit {
		mode.add(dim, "trace: hit, the module need not run")
	} else {
		mode.add(dim, "trace: miss, the module runs: %s", m.Miss)
	}
	if m.leaf == nil {
		return // the error says why
	}
	answered := 0
	for _, q := range m.Queries {
		if q.Result == "ok" {
			answered++
		}
	}
	questions := mode.add(dim, "%s, %d answered", counted(len(m.Queries), "question"), answered)
	if verbose {
		for _, q := range m.Queries {
			questions.add(map[bool]string{true: "", false: dim}[q.Result == "ok"], "%s", q)
		}
	}
	if m.Result == "not applicable" {
		mode.add(yellow, "the module says that it has nothing to do with this container or machine")
	}
	for _, line := range m.Explain {
		mode.add(yellow, "%s", line)
	}
	for _, edit := range e.Edits {
		if edit.Mode != m.Mode || edit.Kind == "hook" {
			continue
		}
		edit.branch(mode, "")
	}
}

// branch hangs the edit, with more behind it, and what names it.
func (e explainedEdit) branch(on *branch, more string) {
	b := on.add(green, "%s%s", e.text(), more)
	for _, from := range e.From {
		b.add(dim, "%s", from)
	}
}

func (e explainedEdit) text() string {
	text := e.Kind + " " + e.What
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// branch tells what a create did.
func (r *containerInfo) branch(top *branch) {
	b := top.add("", "container %s: created %s, in %s", r.ID, r.Created.Format(time.RFC3339), r.took())
	for _, m := range r.Modes {
		how := "the module ran"
		if m.Hit {
			how = "a trace told the answer"
		}
		b.add("", "mode %s, %s: %s", m.Mode, shortDigest(m.Digest), how)
	}
	b.add("", "given: %s", r.given())
}
