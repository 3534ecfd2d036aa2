// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/sdk"
)

func moduleTestCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test FILE RECORDED…",
		Short: "Hold a module to recorded machines",
		Long: `Run a module over recorded machines, and check

  load         it is small enough, and its data is merged
  edits        over each machine: the edits are those of its edits.json
  answers      all that was asked is in the recording
  grants       nothing was asked that the manifest does not grant; edits that it
               does not grant fail a run
  applies      the manifest says that a container that gets edits is for the module
  determinism  the clock and the random numbers of WASI change nothing
  native       the Go code of the project gives the same, and passes "go test"

A machine without a file queries needs config.json, the container that asks. The
Go project is the folder of FILE, or --project. Exit code 4 where a check fails.`,
		Example: "  tenon module test acme.wasm testdata/*\n  tenon module test acme.wasm testdata/two-cards --update",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("%s: wants FILE and one or more recorded machines; see %q", where(c), c.CommandPath()+" --help")
			}
			return nil
		},
	}
	update := c.Flags().Bool("update", false, "write edits.json anew; then read what changed")
	project := c.Flags().String("project", "", "the folder of the module's Go code; else that of FILE, if it has some")
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		module, err := readCandidate(args[0])
		if err != nil {
			return err
		}
		test := moduleTest{module: module, update: *update}
		if err := test.run(c.Context(), args[1:]); err != nil {
			return err
		}
		test.native(c, *project)
		if *f == "json" {
			err = printJSON(c.OutOrStdout(), test.checks)
		} else {
			err = test.print(c.OutOrStdout())
		}
		failed := 0
		for _, check := range test.checks {
			if check.State == stateFailed {
				failed++
			}
		}
		if err == nil && failed > 0 {
			err = exitError{exitCheck, fmt.Errorf("%s: %s of %d failed", args[0], counted(failed, "check"), len(test.checks))}
		}
		return err
	}
	return c
}

// checked is one check of a module, over one machine or over none.
type checked struct {
	Check   string     `json:"check"`
	Machine string     `json:"machine,omitempty"`
	State   checkState `json:"state"`
	Text    string     `json:"text,omitempty"` // what is wrong, or was seen
}

type checkState string

const (
	stateGood    checkState = "ok"
	stateFailed  checkState = "failed"
	stateSkipped checkState = "not checked"
	stateWritten checkState = "written"
)

// moduleTest holds one module to machines.
type moduleTest struct {
	module candidate
	update bool
	checks []checked
	runs   []replay
}

// replay is the run over one machine that the others are compared with.
type replay struct {
	dir     string
	request sdk.Request
	trial   trial
}

func (m *moduleTest) add(check, machine string, state checkState, format string, args ...any) {
	m.checks = append(m.checks, checked{check, machine, state, host.OneLine(fmt.Sprintf(format, args...))})
}

// verdict adds a check that passes where wrong is "".
func (m *moduleTest) verdict(check, machine, wrong, seen string) {
	if wrong != "" {
		m.add(check, machine, stateFailed, "%s", wrong)
		return
	}
	m.add(check, machine, stateGood, "%s", seen)
}

// run makes all checks but native. An error is about what was named on the
// command line.
func (m *moduleTest) run(ctx context.Context, dirs []string) error {
	m.load()
	for _, dir := range dirs {
		machine, box, err := openMachine(dir)
		if err != nil {
			return withPath(err)
		}
		if !machine.Recording() && box.doc == nil {
			return fmt.Errorf("%s: %w", dir, errNoContainer)
		}
		if err := m.over(ctx, dir, machine, box); err != nil {
			return err
		}
	}
	return nil
}

// The load budget: what a module may take of the limits of a host. A std Go
// module takes a quarter of the size, and a module of C next to nothing.
const (
	budgetSize     = maxModuleFile / 2 // bytes
	budgetSegments = 1000
)

func (m *moduleTest) load() {
	_, parts := packModule(m.module.code)
	seen := fmt.Sprintf("%s, %s", share(len(m.module.code), budgetSize, "bytes"), counted(parts.SegmentsBefore, "data segment"))
	wrong := ""
	switch {
	case len(m.module.code) > budgetSize:
		wrong = seen + "; leave out what it does not need: fmt, encoding/json and reflect are large"
	case parts.SegmentsBefore > budgetSegments:
		wrong = seen + ", each of which takes time; build it with \"tenon module build\", which merges them"
	}
	m.verdict("load", "", wrong, seen)
}

func (m *moduleTest) over(ctx context.Context, dir string, machine *sdk.Machine, box *container) error {
	config := host.DefaultConfig()
	first := m.module.try(ctx, config, machine, box, nil, 0, nil)
	_, settings := m.module.settings(config, machine, nil)
	request, err := box.request(settings)
	if err != nil {
		return err
	}
	m.runs = append(m.runs, replay{dir, request, first})

	if err := m.edits(dir, first); err != nil {
		return err
	}
	missing := ""
	if len(first.unrecorded) > 0 {
		missing = fmt.Sprintf("%s: is not in the recorded machine", first.unrecorded[0])
	}
	m.verdict("answers", dir, missing, counted(len(first.asked), "question"))
	denied := ""
	if len(first.denied) > 0 {
		denied = fmt.Sprintf("%s: is not granted by the manifest", first.denied[0])
	}
	m.verdict("grants", dir, denied, "")
	m.applies(dir, machine, box, first)

	second := m.module.try(ctx, config, machine, box, nil, 0x5eed, nil)
	m.verdict("determinism", dir, difference(&m.module, first, second), "")
	return nil
}

// edits holds a run against edits.json, or writes that.
func (m *moduleTest) edits(dir string, t trial) error {
	file := filepath.Join(dir, "edits.json")
	got := m.module.document(t)
	want, err := readBounded(file, 8<<20)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return withPath(err)
	case len(t.unrecorded) > 0:
		m.add("edits", dir, stateFailed, "%v", t.err)
	case m.update && !bytes.Equal(got, want):
		if err := os.WriteFile(file, got, 0o644); err != nil {
			return withPath(err)
		}
		m.add("edits", dir, stateWritten, "%s; read what changed", file)
	case err != nil:
		m.add("edits", dir, stateFailed, "%s: does not exist; write it with --update", file)
	case !sameJSON(got, want):
		m.add("edits", dir, stateFailed, "%s: has other edits: %s; see \"tenon module run %s --machine %s\", or write it anew with --update",
			file, firstDifference(got, want), m.module.file, dir)
	default:
		m.add("edits", dir, stateGood, "in %s, interpreted, with loading", t.took.Round(time.Millisecond))
	}
	return nil
}

// applies fails where the manifest says that no container like this one is for
// the module, and a run gave it edits: a create would not have run it. Requests and
// conditions about which the recording says nothing are let pass.
func (m *moduleTest) applies(dir string, machine *sdk.Machine, box *container, t trial) {
	manifest := &m.module.manifest
	if t.err != nil || !t.result.Applicable || len(manifest.Applies)+len(manifest.Requests) == 0 {
		return
	}
	given, err := box.request(nil)
	if err != nil {
		return // over has told
	}
	for _, r := range manifest.Requests {
		if _, code, known := machine.Ask(&given, sdk.OpRequest, sdk.Host, r.Name); !known || code == 0 {
			m.add("applies", dir, stateGood, "")
			return
		}
	}
	for _, one := range manifest.Applies {
		var answer []byte
		var code sdk.Code
		known := false
		switch {
		case one.Env != "":
			answer, code, known = machine.Ask(&given, sdk.OpEnv, sdk.Host, one.Env)
		case one.Annotation != "":
			_, code, known = machine.Ask(&given, sdk.OpAnnotation, sdk.Host, one.Annotation)
			answer = []byte{0} // an empty one counts
		default:
			answer, code, known = machine.Ask(&given, sdk.OpMounts, sdk.Host, one.MountUnder)
		}
		if !known || code == 0 && len(answer) > 0 {
			m.add("applies", dir, stateGood, "")
			return
		}
	}
	m.add("applies", dir, stateFailed, "by the manifest's requests and applies no such container is for the module, so a create would not run it")
}

// difference says how two runs differ; "" for not at all.
func difference(m *candidate, a, b trial) string {
	const but = ", with another clock and other random numbers"
	if got, want := m.document(b), m.document(a); !bytes.Equal(got, want) {
		return "other edits" + but + ": " + firstDifference(got, want)
	}
	if !slices.Equal(a.result.Explain, b.result.Explain) {
		return "other lines of explanation" + but
	}
	if !reflect.DeepEqual(a.asked, b.asked) {
		return "other questions" + but
	}
	return ""
}

// sameJSON compares documents whatever their spaces: a golden file may have been
// written by hand.
func sameJSON(a, b []byte) bool {
	a, errA := compactJSON(a)
	b, errB := compactJSON(b)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// firstDifference shows the first line in which two documents differ.
func firstDifference(got, want []byte) string {
	a, b := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(a), len(b)) {
		line := func(list []string) string {
			if i < len(list) {
				return strings.TrimSpace(list[i])
			}
			return "the end"
		}
		if line(a) != line(b) {
			return fmt.Sprintf("line %d is %s, not %s", i+1, line(a), line(b))
		}
	}
	return "spaces"
}

func (m *moduleTest) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range m.checks {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s\t%s\t%s\t%s", c.State, c.Check, printable(c.Machine), c.Text), "\t"))
	}
	return w.Flush()
}
