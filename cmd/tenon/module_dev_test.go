// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/sdk"
)

// goEnv gives scripts what compilers need, and where this checkout is. They keep
// off the network.
func goEnv(env *testscript.Env) error {
	checkout, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	env.Setenv("CHECKOUT", checkout)
	tenon, err := exec.LookPath("tenon") // that of testscript
	if err != nil {
		return err
	}
	env.Setenv("TENON", tenon)
	env.Setenv("GOPROXY", "off")
	env.Setenv("GOFLAGS", "-mod=mod")
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOTOOLCHAIN"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			return err
		}
		env.Setenv(name, strings.TrimSpace(string(value)))
	}
	if home, err := os.UserHomeDir(); err == nil { // for rustup
		env.Setenv("RUSTUP_HOME", filepath.Join(home, ".rustup"))
	}
	return nil
}

// builds is the condition builds:LANGUAGE of scripts: whether the compilers of a
// language are installed. In CI they must be, so it holds there, and a script that
// lacks one fails.
func builds(condition string) (bool, error) {
	language, ok := strings.CutPrefix(condition, "builds:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	if os.Getenv("TENON_CI") != "" {
		return true, nil
	}
	switch language {
	case "c":
		return (&compiler{}).clang() != "" && len(versions("cc")) > 0, nil
	case "rust":
		return rustcFor(rustTarget) != "", nil
	}
	return false, fmt.Errorf("unknown language %q", language)
}

// TestRecordedMachinesAnswerAsTheyWereTold: what is written is read as it was,
// whatever was asked and answered.
func TestRecordedMachinesAnswerAsTheyWereTold(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		asked := someAnswers(random)
		dir := filepath.Join(t.TempDir(), fmt.Sprint(round))
		if err := host.WriteMachine(dir, asked, random.IntN(2) == 0, false, "x\n"); err != nil {
			t.Fatal(err)
		}
		machine, err := sdk.OpenMachine(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range asked {
			answer, code, recorded := machine.Ask(&sdk.Request{}, sdk.Op(a.Op), sdk.Root(a.Root), a.Key)
			if !recorded || int32(code) != a.Code || !bytes.Equal(answer, a.Answer) {
				queries, _ := os.ReadFile(filepath.Join(dir, "queries"))
				t.Fatalf("%v: told %q, %d; recorded %q, %d, %v\n%s", a, a.Answer, a.Code, answer, code, recorded, queries)
			}
		}
	}
}

// someAnswers makes questions with answers of the right frame: names that clash
// when they are made files, text that is not UTF-8, devices and other records.
func someAnswers(random *rand.Rand) []host.Asked {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	seen := map[string]bool{}
	var asked []host.Asked
	for range random.IntN(40) {
		a := host.Asked{Op: uint32(random.IntN(18)), Root: uint32(random.IntN(4)), Key: pick("/a", "/a/b", "/a/b/c", "/a b", "/dev/x", "/dev/\n", "é\"\\", "A", "")}
		if seen[a.String()] {
			continue
		}
		seen[a.String()] = true
		text := pick("", "x", "in \"devices\"", "not-found", "\xff\x00\n", strings.Repeat("long ", 100))
		switch op := sdk.Op(a.Op); {
		case random.IntN(4) == 0:
			a.Code = -1 - int32(random.IntN(9))
		case op == sdk.OpStat:
			a.Answer = make([]byte, 32)
			a.Answer[0] = pick("f", "d", "l", "c", "b", "p", "s")[0]
			for at := 4; at < 24; at += 4 {
				binary.LittleEndian.PutUint32(a.Answer[at:], random.Uint32())
			}
			binary.LittleEndian.PutUint32(a.Answer[4:], random.Uint32N(0o10000))
			if a.Answer[0] != 'c' && a.Answer[0] != 'b' {
				binary.LittleEndian.PutUint64(a.Answer[24:], random.Uint64())
			}
		case slices.Contains([]sdk.Op{sdk.OpMounts, sdk.OpReadDir, sdk.OpGlob, sdk.OpLdLookup, sdk.OpRequest}, op):
			for range random.IntN(4) {
				a.Answer = append(append(a.Answer, strings.ReplaceAll(text, "\x00", "")...), 0)
			}
		default:
			a.Answer = []byte(text)
		}
		if op := sdk.Op(a.Op); op == sdk.OpRead && !strings.HasPrefix(a.Key, "/") {
			a.Answer, a.Code = nil, host.CodeInvalid
		}
		asked = append(asked, a)
	}
	return asked
}

func TestWriteMachineLeavesNothingBehindThatWasThere(t *testing.T) {
	dir := t.TempDir()
	if err := host.WriteMachine(dir, nil, true, false, ""); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if err := host.WriteMachine(dir, nil, true, false, ""); err == nil || err.Error() != dir+": is not empty; name a new folder" {
		t.Errorf("a folder with a machine: %v", err)
	}
}

func TestRedactLeavesOutWhatTheContainerHas(t *testing.T) {
	const secret = "hunter2"
	dir := filepath.Join(t.TempDir(), "m")
	var asked []host.Asked
	for _, op := range []sdk.Op{sdk.OpEnv, sdk.OpAnnotation, sdk.OpSpec, sdk.OpRequest} {
		asked = append(asked, host.Asked{Op: uint32(op), Key: "/K", Answer: []byte(secret)})
	}
	asked = append(asked, host.Asked{Op: uint32(sdk.OpEnv), Key: "NONE", Code: host.CodeNotFound})
	if err := host.WriteMachine(dir, asked, true, true, ""); err != nil {
		t.Fatal(err)
	}
	queries, err := os.ReadFile(filepath.Join(dir, "queries"))
	if err != nil {
		t.Fatal(err)
	}
	want := "env host \"/K\" redacted\nannotation host \"/K\" redacted\nspec host \"/K\" redacted\nrequest host \"/K\" redacted\nenv host \"NONE\" not-found\n"
	if _, lines, _ := strings.Cut(string(queries), "\n"); lines != want {
		t.Errorf("got\n%swant\n%s", lines, want)
	}
}

// TestLoadBudget: a module as the compiler of Go leaves it is over it.
func TestLoadBudget(t *testing.T) {
	var list []segment
	for i := range 2000 {
		list = append(list, segment{uint32(i), []byte("x")})
	}
	for _, test := range []struct {
		code []byte
		want string
	}{
		{memoryModule(1, writeSegments(list[:1000])), ""},
		{memoryModule(1, writeSegments(list)), `, 2000 data segments, each of which takes time; build it with "tenon module build", which merges them`},
		{memoryModule(1, writeSegments([]segment{{0, make([]byte, budgetSize)}})), `; leave out what it does not need: fmt, encoding/json and reflect are large`},
	} {
		m := moduleTest{module: candidate{code: test.code}}
		m.load()
		if got := m.checks[0]; (got.State == stateFailed) != (test.want != "") || !strings.HasSuffix(got.Text, test.want) {
			t.Errorf("%+v, want %q", got, test.want)
		}
	}
}

func TestProjectNames(t *testing.T) {
	for name, want := range map[string]bool{"acme": true, "a1-b": true, "1a": false, "A": false, "": false, "a_b": false, "a.b": false, "../a": false, "a-": false, "é": false} {
		if isProjectName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
