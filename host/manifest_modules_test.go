// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
)

// asked is what a mode asked and edited in its own tests.
type asked struct {
	file       string
	questions  []question
	edits      discover.Edits
	driverRoot string
}

// readAsked reads the goldens of a mode: testdata/asked_NAME.txt and .json.
func readAsked(t *testing.T, mode string) (list []asked) {
	t.Helper()
	files, err := filepath.Glob("../modules/" + mode + "/testdata/asked_*.txt")
	if err != nil || len(files) < 3 {
		t.Fatal("too few goldens", files, err)
	}
	for _, file := range files {
		a := asked{file: file, driverRoot: "/"}
		if strings.Contains(file, "driver_root") {
			a.driverRoot = "/run/driver"
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			op, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			root, quoted, _ := strings.Cut(rest, " ")
			key, err := strconv.Unquote(quoted)
			q := question{op: opNumber(op), root: uint32(slices.Index(rootNames[:], root)), key: key}
			if err != nil || q.op == 0 || q.root > rootDriver {
				t.Fatalf("%s: %q", file, line)
			}
			a.questions = append(a.questions, q)
		}
		edits, err := os.ReadFile(strings.TrimSuffix(file, ".txt") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if a.edits, err = discover.DecodeEdits(edits); err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

func opNumber(name string) uint32 {
	if i := slices.Index(fsOps[:], name); i > 0 {
		return uint32(i)
	}
	return map[string]uint32{"env": opEnv, "annotation": opAnnotation, "spec": opSpec, "mounts": opMounts, "config": opConfig, "ldlookup": opLdLookup, "request": opRequest}[name]
}

// refused says what of it the rights do not hold; "" for nothing.
func (a asked) refused(t *testing.T, g Grants) string {
	t.Helper()
	rights := NewRights(g, g, a.driverRoot)
	r := &Run{config: DefaultConfig(), request: requestOf(t, "{}"), rights: &rights}
	for _, q := range a.questions {
		ok := r.grantedKey(q)
		switch q.op {
		case opGlob:
			literal := literalPrefix(strings.Split(q.key[1:], "/"))
			ok = r.grantedFolder(q.op, q.root, "/"+strings.TrimPrefix(literal, "/"))
		case opWhich:
			p := q.key
			if !strings.HasPrefix(p, "/") {
				p = programFolders[0] + "/" + p
			}
			ok = r.grantedPath(q.op, q.root, p)
		case opStat, opReadDir, opRead, opReadLink, opRealPath:
			ok = r.grantedPath(q.op, q.root, q.key)
		}
		if !ok {
			return fmt.Sprintf("%s: op %d of root %d, %s", a.file, q.op, q.root, q.key)
		}
	}
	if err := rights.CheckEdits("m", a.edits); err != nil {
		return a.file + ": " + err.Error()
	}
	return ""
}

// Our own modes ask and edit what their manifests grant, and every grant is
// there because of something that they ask or edit.
func TestManifestsOfOurModesAreWhatTheyNeed(t *testing.T) {
	for _, mode := range []string{"csv", "legacy"} {
		t.Run(mode, func(t *testing.T) {
			text, err := os.ReadFile("../modules/" + mode + "/manifest.json")
			if err != nil {
				t.Fatal(err)
			}
			whole := mustManifest(t, string(text)).Grants
			goldens := readAsked(t, mode)
			for _, a := range goldens {
				if thing := a.refused(t, whole); thing != "" {
					t.Errorf("not granted: %s", thing)
				}
			}
			less := withoutOne(t, text)
			if len(less) < 8 {
				t.Fatalf("only %d grants can be taken away: the search is broken", len(less))
			}
			for what, less := range less {
				if !slices.ContainsFunc(goldens, func(a asked) bool { return a.refused(t, less) != "" }) {
					t.Errorf("%s is granted, and no golden needs it", what)
				}
			}
		})
	}
}

// withoutOne returns the grants of a manifest less one of them, for each that
// there is: a boolean, or an element of a list at any depth.
func withoutOne(t *testing.T, manifest []byte) map[string]Grants {
	t.Helper()
	all := map[string]Grants{}
	decode := func() (m map[string]any) {
		if err := json.NewDecoder(bytes.NewReader(manifest)).Decode(&m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	take := func(whole map[string]any, what string) {
		members := map[string]any{"grants": whole["grants"], "edits": whole["edits"]}
		if whole["requests"] != nil {
			members["requests"] = whole["requests"]
		}
		part, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		g, err := ParseGrants("less", part)
		if err != nil && !strings.Contains(err.Error(), "needs ops and paths") {
			t.Fatal(err)
		}
		all[what] = g
	}
	for _, part := range []string{"grants", "edits"} {
		for name, value := range decode()[part].(map[string]any) {
			list, _ := value.([]any)
			if list == nil {
				whole := decode()
				delete(whole[part].(map[string]any), name)
				take(whole, part+"."+name)
			}
			for i := range list {
				whole := decode()
				members := whole[part].(map[string]any)
				members[name] = slices.Delete(members[name].([]any), i, i+1)
				take(whole, fmt.Sprintf("%s.%s[%d]", part, name, i))
				inner, _ := list[i].(map[string]any)
				for _, key := range []string{"ops", "paths"} {
					elements, _ := inner[key].([]any)
					for j := range elements {
						whole := decode()
						in := whole[part].(map[string]any)[name].([]any)[i].(map[string]any)
						in[key] = slices.Delete(in[key].([]any), j, j+1)
						take(whole, fmt.Sprintf("%s.%s[%d].%s[%d]", part, name, i, key, j))
					}
				}
			}
		}
	}
	return all
}
