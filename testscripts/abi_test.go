// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rulesHeldBy says which test holds a rule of sdk/ABI.md that the conformance
// kit does not check: the file, and a name or words that stand in it. A rule is
// also held by a test whose file names its number.
var rulesHeldBy = map[string]string{
	"M-1": "host/wasm/discover_test.go TestT23BadModules",
	"M-2": "host/wasm/discover_test.go TestT23BadModules",
	"M-3": "host/wasm/discover_test.go TestT23BadModules",
	"M-4": "host/wasm/discover_test.go TestT23BadModules",
	"M-5": "host/wasm/discover_test.go TestT23BadModules",
	"M-6": "host/wasm/discover_test.go TestT23BadModules",
	"M-7": "host/wasm/discover_test.go TestT23BadModules",
	"M-8": "host/wasm/discover_test.go TestT23BadModules",
	"H-1": "host/wasm/scan_test.go TestScanRefusesBombs",
	"H-2": "host/wasm/discover_test.go TestT23BadModules",
	"H-3": "testscripts/sdk_test.go TestKit", // the second run is as the first
	"H-4": "host/wasm/discover_test.go TestQueryOutsideOfDiscover",
	"H-5": "testscripts/sdk_test.go TestKit", // cases that trap, and those after them

	"M-10": "sdk/rust/tests/tenon.rs a_stat_record_may_be_longer_and_not_shorter",
	"M-13": "sdk/c/tenon_test.c M-13",
	"M-16": "testscripts/sdk_test.go TestSamples",
	"M-19": "testscripts/sdk_test.go TestSamples",
	"M-20": "testscripts/sdk_test.go TestSamples",

	"H-54": "testscripts/runtime/error_module.txtar config.json",
	"H-58": "discover/apply_test.go FuzzApply",
	"H-59": "host/resolve_test.go TestResolveFillsFromTheNode",
	"H-60": "host/resolve_test.go TestResolveFillsFromTheNode",
	"H-61": "discover/apply_test.go TestApply",
	"H-62": "testscripts/sdk_test.go TestEveryWriterOfEditsIsRead",
	"H-70": "testscripts/sdk_test.go TestKit", // two runs, one answer
	"H-71": "testscripts/sdk_test.go TestKit", // every answer is held to its bytes
}

var ruleNumber = regexp.MustCompile(`\b[MH]-[0-9]+\b`)

// TestEveryRuleOfTheABIHasATest: a MUST that no test and no case of the kit
// names is a promise that nobody keeps.
func TestEveryRuleOfTheABIHasATest(t *testing.T) {
	text := read(t, "sdk/ABI.md")
	var rules []string
	for _, m := range regexp.MustCompile(`(?m)^\* \[([MH]-[0-9]+)\] `).FindAllStringSubmatch(text, -1) {
		rules = append(rules, m[1])
	}
	if len(rules) < 80 {
		t.Fatalf("only %d rules were read: the search is broken", len(rules))
	}

	held := map[string][]string{}
	for _, s := range sources(t) {
		if inKit := s.folder() == "sdk/kit"; !inKit && !s.test || s.path == "testscripts/abi_test.go" || s.path == "testscripts/sdk_test.go" || s.path == "sdk/abi_test.go" {
			continue
		}
		for _, rule := range ruleNumber.FindAllString(read(t, s.path), -1) {
			held[rule] = append(held[rule], s.path)
		}
	}
	for _, c := range kitCases(t) {
		for _, rule := range strings.Fields(c.rules) {
			held[rule] = append(held[rule], "case "+c.name+" of the kit")
		}
	}
	for rule, where := range rulesHeldBy {
		file, words, _ := strings.Cut(where, " ")
		if !strings.Contains(read(t, file), words) {
			t.Errorf("%s: %s does not hold %q any more", rule, file, words)
		}
		held[rule] = append(held[rule], where)
	}
	for _, rule := range rules {
		if len(held[rule]) == 0 {
			t.Errorf("%s: no test and no case of the kit names it", rule)
		}
	}
	for rule := range held {
		if !slices.Contains(rules, rule) {
			t.Errorf("%s names the rule %s, which ABI.md does not have", held[rule][0], rule)
		}
	}
}

// read returns a file of the project, by its path from the top.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
