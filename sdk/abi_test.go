// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func abi(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("ABI.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEveryMustHasANumber: a conformance kit names rules by their numbers, so
// each MUST has one, each number is there once, and none is left out.
func TestEveryMustHasANumber(t *testing.T) {
	number := regexp.MustCompile(`^\* \[([MH])-(\d+)\] `)
	next := map[string]int{"M": 1, "H": 1}
	_, rules, _ := strings.Cut(abi(t), "\n## Terms\n")
	for i, line := range strings.Split(rules, "\n") {
		m := number.FindStringSubmatch(line)
		if has := strings.Contains(line, "MUST"); has != (m != nil) {
			t.Errorf("line %d behind Terms: a MUST without a number, or a number without: %s", i+1, line)
		}
		if m == nil {
			continue
		}
		if m[2] != strconv.Itoa(next[m[1]]) {
			t.Errorf("%s-%s stands where %s-%d should", m[1], m[2], m[1], next[m[1]])
		}
		next[m[1]]++
	}
	if next["M"] < 10 || next["H"] < 10 {
		t.Errorf("read %v rules: is this the right file?", next)
	}
}

// TestTablesAreThoseOfTheCode: the numbers of the page and of the code.
func TestTablesAreThoseOfTheCode(t *testing.T) {
	text := abi(t)
	ops := map[string]Op{"env": OpEnv, "annotation": OpAnnotation, "spec": OpSpec, "mounts": OpMounts, "config": OpConfig,
		"stat": OpStat, "readdir": OpReadDir, "read": OpRead, "readlink": OpReadLink, "glob": OpGlob, "ldlookup": OpLdLookup,
		"realpath": OpRealPath, "feature": OpFeature, "which": OpWhich, "request": OpRequest}
	for name, op := range ops {
		n := strconv.Itoa(int(op))
		if !strings.Contains(text, "\n| "+n+" | "+name+" | ") || !strings.Contains(text, "\n### "+name+" ("+n+")\n") {
			t.Errorf("query %s is not number %s there", name, n)
		}
	}
	codes := map[string]Code{"not found": NotFound, "denied": Denied, "wrong type": WrongType, "too large": TooLarge, "invalid argument": InvalidArgument,
		"unsupported": Unsupported, "i/o error": IOError, "wrong state": WrongState, "spent": OverBudget}
	for name, code := range codes {
		if !strings.Contains(text, "\n| "+strconv.Itoa(int(code))+" | "+name+" | ") {
			t.Errorf("%q is not %d there", name, code)
		}
	}
	for name, root := range map[string]Root{"host": Host, "container": Container, "driver": Driver} {
		if !strings.Contains(text, "\n| "+strconv.Itoa(int(root))+" | "+name+" | ") {
			t.Errorf("root %s is not %d there", name, root)
		}
	}
	for _, folder := range programFolders {
		if !strings.Contains(text, "`"+folder+"`") {
			t.Errorf("which: %s is not there", folder)
		}
	}
	for _, member := range regexp.MustCompile(`json:"([^",]+)`).FindAllStringSubmatch(source(t), -1) {
		if !strings.Contains(text, `"`+member[1]+`"`) && !strings.Contains(text, "`"+member[1]+"`") &&
			!strings.Contains("closID l3CacheSchema memBwSchema schemata enableMonitoring", member[1]) {
			t.Errorf("the member %q of the edits is not there", member[1])
		}
	}
}

func source(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("edits.go")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
