// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/sdk"
)

// nativeTest is put beside a project's own tests while go test runs: it runs the
// mode's function as it is compiled for this machine, over the machines in
// TENON_NATIVE, and writes what it answered. What it is given and gives is JSON.
const nativeTest = `package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/tenon-runtime/tenon/sdk"
)

func TestTenonNative(t *testing.T) {
	type answer struct {
		Result     int32
		Answer     string
		Unrecorded []string
	}
	var in struct {
		Machines []struct {
			Dir      string
			Manifest []byte
			Request  sdk.Request
		}
	}
	var out struct{ Answers []answer }
	text, err := os.ReadFile(os.Getenv("TENON_NATIVE"))
	if err == nil {
		err = json.Unmarshal(text, &in)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range in.Machines {
		machine, err := sdk.OpenMachine(m.Dir)
		if err != nil {
			t.Fatal(err)
		}
		machine.Manifest = m.Manifest
		var a answer
		a.Result, a.Answer, a.Unrecorded = machine.Discover(m.Request)
		out.Answers = append(out.Answers, a)
	}
	if text, err = json.Marshal(out); err == nil {
		err = os.WriteFile(os.Getenv("TENON_NATIVE")+".out", text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
`

type nativeMachine struct {
	Dir      string
	Manifest []byte
	Request  sdk.Request
}

type nativeAnswer struct {
	Result     int32
	Answer     string
	Unrecorded []string
}

// native compares the module with its Go code compiled for this machine, and runs
// the tests of that. Where there is no such code, nothing is checked.
func (m *moduleTest) native(c *cobra.Command, project string) {
	if project == "" {
		project = filepath.Dir(m.module.file)
		if _, err := os.Stat(filepath.Join(project, "go.mod")); err != nil {
			return // C, Rust, or built elsewhere
		}
	}
	program, err := exec.LookPath("go")
	if err != nil {
		m.add("native", "", stateSkipped, "go is not installed")
		return
	}
	answers, err := m.runNative(c, program, project)
	if err != nil {
		m.add("native", "", stateFailed, "%v", err)
		return
	}
	for i, r := range m.runs {
		m.verdict("native", r.dir, m.nativeDifference(r, answers[i]), "")
	}
}

// runNative runs go test with nativeTest among the tests.
func (m *moduleTest) runNative(c *cobra.Command, program, project string) ([]nativeAnswer, error) {
	project, err := filepath.Abs(project)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "tenon-test-")
	if err != nil {
		return nil, withPath(err)
	}
	defer os.RemoveAll(work)
	var in struct{ Machines []nativeMachine }
	for _, r := range m.runs {
		dir, err := filepath.Abs(r.dir)
		if err != nil {
			return nil, err
		}
		in.Machines = append(in.Machines, nativeMachine{dir, []byte(m.module.manifest.Text), r.request})
	}
	test, machines, overlay := filepath.Join(work, "native.go"), filepath.Join(work, "machines"), filepath.Join(work, "overlay")
	replaced := map[string]any{"Replace": map[string]string{filepath.Join(project, "tenon_native_test.go"): test}}
	for file, content := range map[string]any{test: nil, machines: in, overlay: replaced} {
		text := []byte(nativeTest)
		if content != nil {
			if text, err = json.Marshal(content); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, withPath(err)
		}
	}
	cmd := exec.Command(program, "test", "-count=1", "-overlay="+overlay, ".")
	cmd.Dir = project
	cmd.Env = append(os.Environ(), "TENON_NATIVE="+machines, "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		fmt.Fprint(c.ErrOrStderr(), said.String())
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("%s: does not pass \"go test\"", project)
		}
		return nil, err
	}
	text, err := os.ReadFile(machines + ".out")
	if err != nil {
		return nil, fmt.Errorf("%s: its package main has not run the test that compares; this is a bug of tenon, please report", project)
	}
	var out struct{ Answers []nativeAnswer }
	if err := json.Unmarshal(text, &out); err != nil || len(out.Answers) != len(m.runs) {
		return nil, fmt.Errorf("%s: answered for %d machines, not %d; this is a bug of tenon, please report", project, len(out.Answers), len(m.runs))
	}
	return out.Answers, nil
}

// nativeDifference says how the run of the module differs from that of its code;
// "" for not at all.
func (m *moduleTest) nativeDifference(r replay, a nativeAnswer) string {
	var t trial
	switch {
	case len(a.Unrecorded) > 0:
		return a.Unrecorded[0] + ": was asked by the Go code, and is not in the recorded machine"
	case a.Result == host.ResultFailed:
		t.err = errors.New(host.OneLine(a.Answer))
	case a.Result == host.ResultDone:
		t.result = host.Result{Applicable: true, Edits: discover.Edits{ABI: discover.ABI}}
		if a.Answer != "" {
			edits, err := discover.DecodeEdits([]byte(a.Answer))
			if err != nil {
				return "the Go code: " + strings.TrimSpace(err.Error())
			}
			t.result.Edits = edits
		}
	}
	if got, want := m.module.document(r.trial), m.module.document(t); !bytes.Equal(got, want) {
		return "the module and the Go code differ: " + firstDifference(got, want)
	}
	return ""
}

// compactJSON takes the spaces out.
func compactJSON(text []byte) ([]byte, error) {
	var out bytes.Buffer
	err := json.Compact(&out, text)
	return out.Bytes(), err
}
