// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
)

func trialOf(t *testing.T, manifest string) *Run {
	t.Helper()
	m, err := ParseManifest([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := discover.Parse([]byte(`{"process":{"env":["ACME=1","OTHER=2"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := NewTrial(DefaultConfig(), "acme", m, spec.Request(), "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

const trialManifest = `{"abi":{"major":1,"minor":0},"name":"acme.example/acme","version":"1.0.0","limits":{"queries":3},"edits":{},
	"grants":{"env":["ACME"],"fs":[{"root":"host","ops":["glob","stat"],"paths":["/dev/acme*"]},{"root":"container","ops":["read"],"paths":["/etc/**"]}]}}`

// TestGrantedIsWhatAQueryIsDeniedBy: a recorded machine is asked no more than
// this one.
func TestGrantedIsWhatAQueryIsDeniedBy(t *testing.T) {
	r := trialOf(t, trialManifest)
	for _, test := range []struct {
		op, root uint32
		key      string
		want     bool
	}{
		{opEnv, rootHost, "ACME", true},
		{opEnv, rootHost, "OTHER", false},
		{opConfig, rootHost, "strict", true},
		{opConfig, rootHost, "x", false},
		{opFeature, rootHost, "op.15", true},
		{opSpec, rootHost, "", false},
		{opStat, rootHost, "/dev/acme0", true},
		{opStat, rootHost, "/dev/null", false},
		{opStat, rootDriver, "/dev/acme0", false},
		{opRead, rootHost, "/dev/acme0", false},
		{opRead, rootContainer, "/etc/os-release", true},
		{opRead, rootContainer, "/etc/shadow", false}, // the floor
		{opGlob, rootHost, "/dev/acme*", true},
		{opGlob, rootHost, "/dev/acme0", true},
		{opGlob, rootHost, "/dev/null", false},
		{opGlob, rootHost, "/sys/*", false},
	} {
		if got := r.Granted(test.op, test.root, test.key); got != test.want {
			t.Errorf("%v: %v", Asked{Op: test.op, Root: test.root, Key: test.key}, got)
		}
		r.config.Limits.Queries = 100
		_, code := r.Query(test.op, test.root, test.key)
		if denied := code == CodeDenied; denied == test.want {
			t.Errorf("%v: on this machine the code is %d", Asked{Op: test.op, Root: test.root, Key: test.key}, code)
		}
	}
	// Another code is for the query to give.
	for _, a := range []Asked{{Op: 99}, {Op: opEnv, Root: rootDriver, Key: "OTHER"}, {Op: opStat, Key: "dev"}, {Op: opGlob, Key: "/"}} {
		if !r.Granted(a.Op, a.Root, a.Key) {
			t.Errorf("%v: is called denied", a)
		}
	}
}

func TestWithinKeepsAGlobToWhatIsGranted(t *testing.T) {
	r := trialOf(t, trialManifest)
	got := r.Within(opGlob, rootHost, []byte("/dev/acme0\x00/dev/null\x00/dev/acme1\x00"))
	if string(got) != "/dev/acme0\x00/dev/acme1\x00" {
		t.Errorf("%q", got)
	}
	if got := r.Within(opRead, rootHost, []byte("/dev/null\x00")); string(got) != "/dev/null\x00" {
		t.Errorf("of another query: %q", got)
	}
}

func TestTrialHasTheLimitsOfItsManifest(t *testing.T) {
	r := trialOf(t, trialManifest)
	for _, key := range []string{"a", "b", "c"} {
		r.Query(opEnv, rootHost, key)
	}
	if _, code := r.Query(opEnv, rootHost, "d"); code != CodeSpent {
		t.Errorf("the fourth of three queries: %d", code)
	}
}

func TestNotesKeepEachQuestionOnce(t *testing.T) {
	asked := 0
	n := NewNotes(func(op, _ uint32, key string) ([]byte, int32) { asked++; return []byte(key), int32(-(op % 2)) })
	for _, key := range []string{"b", "a", "b"} {
		n.Query(opRead, rootHost, key)
		n.Query(opStat, rootHost, key)
	}
	var list []string
	for _, a := range n.Asked() {
		list = append(list, a.String())
	}
	want := []string{`stat host "a"`, `stat host "b"`, `read host "a"`, `read host "b"`}
	if !slices.Equal(list, want) || asked != 4 {
		t.Errorf("%d questions: %q", asked, list)
	}
}

// TestWhatClashesStandsElsewhere: one path through two links may be a file and a
// folder.
func TestWhatClashesStandsElsewhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	device := make([]byte, statSize)
	device[0] = 'c'
	binary.LittleEndian.PutUint32(device[16:], 240)
	err := WriteMachine(dir, []Asked{
		{Op: opStat, Key: "/dev/x", Answer: device},
		{Op: opStat, Root: rootContainer, Key: "/dev/x", Answer: device},
		{Op: opStat, Root: rootDriver, Key: "/dev/y", Answer: device},
		{Op: opRead, Key: "/a", Answer: []byte("file")},
		{Op: opRead, Key: "/a/b", Answer: []byte("below")},
		{Op: opRead, Key: "/dev/x/z", Answer: []byte("below a device")},
	}, false, false, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "queries"))
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(string(got), "\n")
	want := `stat host "/dev/x" in "devices"
stat container "/dev/x" c 240 0 0000 0 0 0
stat driver "/dev/y" in "driver_devices"
read host "/a" in "root/a"
read host "/a/b" in "answers/1"
read host "/dev/x/z" in "answers/2"
`
	if lines != want {
		t.Errorf("got\n%swant\n%s", lines, want)
	}
}

func TestMachineNotesNameTheKernel(t *testing.T) {
	model, drivers, kernel := MachineNotes(nil)
	if !strings.HasPrefix(kernel, "Linux ") || model == "" || drivers != "unknown; write it here" {
		t.Errorf("%q, %q, %q", model, drivers, kernel)
	}
	null := make([]byte, statSize) // /dev/null: devices.txt of Linux
	null[0] = 'c'
	binary.LittleEndian.PutUint32(null[16:], memMajor)
	if _, drivers, _ = MachineNotes([]Asked{{Op: opStat, Key: "/dev/null", Answer: null}}); drivers != "mem" {
		t.Errorf("the driver of /dev/null: %q", drivers)
	}
}
