// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The tests here are about what koanf, its decoding and its neighbours would do
// by themselves, each seen with the versions of go.mod.

func TestKoanfUnknownKeyHasFileAndLine(t *testing.T) {
	folder := configFolderOf(t, map[string]string{
		"config.toml":         "strict = true\n",
		"config.d/a.toml":     "# one\n\nlog_level = \"warn\"\nrumtimes = [\"x\"]\n",
		"config.d/b.toml":     "[modes.csv]\nenv_viod = \"keep\"\n",
		"config.d/c/not.toml": "never = \"read\"\n",
	})
	var got []string
	for _, p := range loaded(folder).problems {
		got = append(got, p.Error())
	}
	want := []string{
		folder + `/config.d/a.toml:4: no such key "rumtimes"; did you mean "runtimes"`,
		folder + `/config.d/b.toml:2: no such key "modes.csv.env_viod"; did you mean "modes.csv.env_void"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestKoanfKeyWithADotStaysOneKey(t *testing.T) {
	c := good(t, parsed(`
[modes."amd.gpu"]
"vendor.id" = "0x1002"
plain = 1
["modes"."amd.gpu"."sub.table"]
x = true
`, "TENON_MODES__AMD_GPU__VENDOR_ID=0x1022", "TENON_MODES__AMD_GPU__SUB_TABLE__X=false"))
	want := map[string]string{"vendor.id": "0x1022", "plain": "1", "sub.table": `{"x":false}`, "sub.table.x": "false"}
	if !reflect.DeepEqual(c.ModeTables["amd.gpu"], want) {
		t.Errorf("[modes.\"amd.gpu\"] is %v", c.ModeTables["amd.gpu"])
	}
	if len(c.ModeTables) != 3 {
		t.Errorf("a second table came up: %v", c.ModeTables)
	}
}

func TestKoanfConvertsNothing(t *testing.T) {
	for _, text := range []string{
		`limits.wall_ms = "010"`, `limits.wall_ms = true`, `limits.wall_ms = 3.0`, `strict = ""`, `strict = "true"`, `strict = 0`,
		`log_level = 1`, `log_level = ["info"]`, `runtimes = [true]`, `ldcache = [{required = true}]`, `hook = {}`,
	} {
		if l := parsed(text); len(l.problems) != 1 || !strings.Contains(l.problems[0].What, "; it must be ") {
			t.Errorf("%s: got %v", text, l.problems)
		}
	}
	for _, variable := range []string{"TENON_STRICT=1", "TENON_STRICT=TRUE", "TENON_LIMITS__QUERIES=0x10", "TENON_LIMITS__QUERIES=1e3", "TENON_LIMITS__QUERIES= 7"} {
		if l := parsed("", variable); len(l.problems) != 1 {
			t.Errorf("%s: got %v", variable, l.problems)
		}
	}
	c := good(t, parsed("[modes.acme]\ntext = \"1\"\nn = 1\nwait = \"2s\"\nlist = []", "TENON_LIMITS__QUERIES=010", "TENON_RUNTIMES=a, b"))
	if c.Limits.Queries != 10 {
		t.Errorf("010 is %d, want ten", c.Limits.Queries)
	}
	if !slices.Equal(c.Runtimes, []string{"a", "b"}) {
		t.Errorf("runtimes %q, want two", c.Runtimes)
	}
	// An empty variable is none; it is not false, and not [""].
	c = good(t, parsed("strict = true", "TENON_STRICT=", "TENON_RUNTIMES="))
	if !c.Strict || !slices.Equal(c.Runtimes, []string{"runc", "crun"}) {
		t.Errorf("strict %v, runtimes %q", c.Strict, c.Runtimes)
	}
	want := map[string]string{"text": "1", "n": "1", "wait": "2s", "list": "[]"}
	c = good(t, parsed("[modes.acme]\ntext = \"1\"\nn = 1\nwait = \"2s\"\nlist = []"))
	if !reflect.DeepEqual(c.ModeTables["acme"], want) {
		t.Errorf("[modes.acme] is %#v", c.ModeTables["acme"])
	}
}

func TestKoanfKeysMatchInTheirOwnCaseOnly(t *testing.T) {
	for text, want := range map[string]string{
		"Strict = true":                `no such key "Strict"; did you mean "strict"`,
		"[Limits]\nqueries = 1":        `no such key "Limits"; did you mean "limits"`,
		"[limits]\nQueries = 1":        `no such key "limits.Queries"; did you mean "limits.queries"`,
		"[modes.CSV]\nenv_void = true": `"CSV" cannot be the name of a mode`,
		"DebugLog = \"/x\"":            `no such key "DebugLog"; did you mean "debug_log"`,
	} {
		if l := parsed(text); len(l.problems) != 1 || !strings.Contains(l.problems[0].Error(), want) {
			t.Errorf("%q: got %v", text, l.problems)
		}
	}
	// Two keys of a mode's table that differ by case are two keys.
	c := good(t, parsed("[modes.acme]\nPin = 1\npin = 2"))
	if want := map[string]string{"Pin": "1", "pin": "2"}; !reflect.DeepEqual(c.ModeTables["acme"], want) {
		t.Errorf("got %v", c.ModeTables["acme"])
	}
}

func TestKoanfListsReplaceAndTypesMayChangeInFreeTablesOnly(t *testing.T) {
	c := good(t, loaded(configFolderOf(t, map[string]string{
		"config.toml":     "runtimes = [\"a\", \"b\"]\nmodes.acme.x = \"text\"\nmodes.acme.y = { z = 1 }\n",
		"config.d/1.toml": "runtimes = [\"c\"]\nmodes.acme.x = { z = 1 }\nmodes.acme.y = \"text\"\n",
	})))
	if !slices.Equal(c.Runtimes, []string{"c"}) {
		t.Errorf("runtimes %q", c.Runtimes)
	}
	want := map[string]string{"x": `{"z":1}`, "x.z": "1", "y": "text"}
	if !reflect.DeepEqual(c.ModeTables["acme"], want) {
		t.Errorf("got %v", c.ModeTables["acme"])
	}
	// koanf's StrictMerge does not object to a table over a string; check does.
	l := loaded(configFolderOf(t, map[string]string{"config.toml": "log_level = \"warn\"\n", "config.d/1.toml": "[log_level]\nx = 1\n"}))
	if len(l.problems) != 1 || !strings.Contains(l.problems[0].Error(), `config.d/1.toml:1: "log_level" is a table`) {
		t.Errorf("got %v", l.problems)
	}
}

func TestKoanfFileProviderAndItsWatcherAreNotLinked(t *testing.T) {
	list, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(list), "koanf/v2\n") {
		t.Fatalf("the list of packages has no koanf: %s", list)
	}
	for line := range strings.Lines(string(list)) {
		if strings.Contains(line, "fsnotify") || strings.Contains(line, "koanf/providers/file") {
			t.Errorf("linked: %s", line)
		}
	}
}

func TestKoanfDropInKeepsTheRestOfATable(t *testing.T) {
	c := good(t, loaded(configFolderOf(t, map[string]string{
		"config.toml":     "[modes.acme]\npath = \"/dev/acme\"\ntimeout = 1\n[modes.legacy]\nhook_path = \"/opt/hook\"\n",
		"config.d/1.toml": "[modes.acme]\ntimeout = 2\n[modes.legacy]\nhook_timeout = 3\n",
	})))
	if want := map[string]string{"path": "/dev/acme", "timeout": "2"}; !reflect.DeepEqual(c.ModeTables["acme"], want) {
		t.Errorf("[modes.acme] is %v", c.ModeTables["acme"])
	}
	if want := map[string]string{"hook_path": "/opt/hook", "hook_timeout": "3"}; !reflect.DeepEqual(c.ModeTables["legacy"], want) {
		t.Errorf("[modes.legacy] is %v", c.ModeTables["legacy"])
	}
}

func TestKoanfStrayVariablesStopNothing(t *testing.T) {
	c, err := Read("tenon-runtime", func(name string) string {
		switch name {
		case "TENON_CONFIG":
			return ""
		case "TENON_CI", "TENON_RUNTIME", "TENON_MODES", "TENON_LIMITS", "TENON_LIMITS_QUERIES", "TENON_MODES__ACME__X":
			return "stray"
		}
		return ""
	})
	if err != nil || !reflect.DeepEqual(c, defaultConfig()) {
		t.Errorf("error %v, configuration %+v", err, c)
	}
}
