// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/tenon-runtime/tenon/host"
)

// configFolderOf makes a folder that host.OpenTrusted lets pass, with files in it by
// their paths. /tmp, where t.TempDir is, is writable by everybody.
func configFolderOf(t testing.TB, files map[string]string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("TENON_CI") != "" {
			t.Fatal("needs root, for a folder that only root can write")
		}
		t.Skip("needs root, for a folder that only root can write")
	}
	dir, err := os.MkdirTemp("/var/lib", "tenon-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// variables makes a getenv of NAME=VALUE.
func variablesOf(environ ...string) func(string) string {
	return func(name string) string {
		for _, e := range environ {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				return v
			}
		}
		return ""
	}
}

// loaded loads a whole folder, and then variables.
func loaded(folder string, environ ...string) *loader {
	l := newLoader("tenon-runtime")
	l.tenonFiles(folder, "")
	l.variables(variablesOf(environ...))
	return l
}

// good is the configuration that l came to, which nothing may be wrong with.
func good(t *testing.T, l *loader) host.Config {
	t.Helper()
	for _, p := range l.problems {
		t.Error(p)
	}
	return l.mustConfig()
}

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	want := host.Config{
		Mode: []string{"auto"}, Runtimes: []string{"runc", "crun"}, LogLevel: "info",
		ModuleDir: "/var/lib/tenon/modules", ModulesD: "/etc/tenon/modules.d", CacheDir: "/var/cache/tenon", TrustD: "/etc/tenon/trust.d",
		DriverRoot: "/", DeviceAccess: "rw", AcceptEnvWhenUnprivileged: true, Traces: "on", Installed: []host.Installed{},
		Limits: host.Limits{
			WallMS: 10_000, MemoryPages: 1024, Queries: 32768, AnswerBytes: 1048576,
			AnswersBytes: 8388608, EditsBytes: 2097152, LogBytes: 65536, GlobEntries: 20000,
		},
		ModeTables: map[string]map[string]string{
			"csv": {
				"mount_spec_path": "/etc/nvidia-container-runtime/host-files-for-container.d",
				"hook_conflict":   "replace", "env_void": "keep", "accept_volume_mounts": "false", "disable_require": "false",
			},
			"legacy": {"hook_path": "nvidia-container-runtime-hook", "hook_timeout": "120"},
		},
	}
	if got := defaultConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Nothing there at all is the defaults, too.
	folder := filepath.Join(configFolderOf(t, nil), "missing")
	if got := good(t, loaded(folder)); !reflect.DeepEqual(got, want) {
		t.Errorf("without a file: got %+v\nwant %+v", got, want)
	}
}

func TestEveryDefaultKeepsItsOwnRule(t *testing.T) {
	for _, k := range configKeys() {
		if k.ok != nil && !k.ok(k.def) {
			t.Errorf("%s: the default %v is not %s", dotted(k.path), k.def, k.want)
		}
		if k.want == "" {
			t.Errorf("%s: a message could not say what is wanted", dotted(k.path))
		}
	}
}

func TestLaterSourcesWin(t *testing.T) {
	folder := configFolderOf(t, map[string]string{
		"config.toml": `
mode = "csv"
runtimes = ["youki"]
log_level = "warn"
device_access = "r"
[limits]
wall_ms = 100
queries = 7
[modes.csv]
env_void = "replace"
`,
		"config.d/10-site.toml": `
log_level = "error"
limits.wall_ms = 200
`,
		"config.d/20-late.toml": `
runtimes = ["/opt/runc", "crun"]
limits = { wall_ms = 300 }
`,
		"config.d/30-not-read.toml.bak": `broken`,
		"config.d/.#40-editor.toml":     `broken`,
	})
	c := good(t, loaded(folder, "TENON_LIMITS__WALL_MS=400", "TENON_MODES__CSV__HOOK_CONFLICT=error", "TENON_MODE=csv, legacy"))
	if want := []string{"csv", "legacy"}; !slices.Equal(c.Mode, want) {
		t.Errorf("mode %q, want the variable's %q", c.Mode, want)
	}
	if want := []string{"/opt/runc", "crun"}; !slices.Equal(c.Runtimes, want) {
		t.Errorf("runtimes %q, want the last file's %q", c.Runtimes, want)
	}
	if c.LogLevel != "error" || c.DeviceAccess != "r" || c.Limits.WallMS != 400 || c.Limits.Queries != 7 || c.Limits.EditsBytes != 2<<20 {
		t.Errorf("got %+v", c)
	}
	want := map[string]string{
		"mount_spec_path": "/etc/nvidia-container-runtime/host-files-for-container.d",
		"hook_conflict":   "error", "env_void": "replace", "accept_volume_mounts": "false", "disable_require": "false",
	}
	if !reflect.DeepEqual(c.ModeTables["csv"], want) {
		t.Errorf("[modes.csv] is %v", c.ModeTables["csv"])
	}
}

func TestAModeIsAStringOrAList(t *testing.T) {
	for text, want := range map[string][]string{
		`mode = "acme"`:          {"acme"},
		`mode = ["csv", "acme"]`: {"csv", "acme"},
		`mode = []`:              {},
		``:                       {"auto"},
	} {
		if c := good(t, parsed(text)); !slices.Equal(c.Mode, want) {
			t.Errorf("%s: got %q", text, c.Mode)
		}
	}
}

// parsed loads one file that is not on any disk.
func parsed(text string, environ ...string) *loader {
	l := newLoader("tenon-runtime")
	f, p := parseTOML("/x/config.toml", []byte(text))
	if p != nil {
		l.problems = append(l.problems, *p)
	} else {
		l.lay(f)
	}
	l.variables(variablesOf(environ...))
	return l
}

func TestAProblemIsToldWithFileLineAndRemedy(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"\n\nruntmes = [\"runc\"]", `/x/config.toml:3: no such key "runtmes"; did you mean "runtimes"`},
		{"colour = 1", `/x/config.toml:1: no such key "colour"; the keys are accept_env_when_unprivileged, cache_dir, debug_log, device_access, driver_root, hook, ldcache, limits, log_level, mode, modes, module_dir, modules_d, runtimes, strict, traces, trust_d`},
		{"[limits]\nwal_ms = 1", `/x/config.toml:2: no such key "limits.wal_ms"; did you mean "limits.wall_ms"`},
		{"limits = { x = 1 }", `/x/config.toml:1: no such key "limits.x"; the keys of limits are answer_bytes, answers_bytes, edits_bytes, glob_entries, log_bytes, memory_pages, queries, wall_ms`},
		{"[limts]\nwall_ms = 1", `/x/config.toml:1: no such key "limts"; did you mean "limits"`},
		{"[modes.csv]\nhook_conflct = \"error\"", `/x/config.toml:2: no such key "modes.csv.hook_conflct"; did you mean "modes.csv.hook_conflict"`},
		{"[modes.legacy]\ntimeout = 1", `/x/config.toml:2: no such key "modes.legacy.timeout"; the keys of modes.legacy are hook_path, hook_timeout`},
		{`"limits.wall_ms" = 1`, `/x/config.toml:1: no such key "\"limits.wall_ms\""; the keys are`},

		{"strict = \"yes\"", `/x/config.toml:1: "strict" is "yes"; it must be true or false`},
		{"strict = 1", `/x/config.toml:1: "strict" is 1; it must be true or false`},
		{"limits = 5", `/x/config.toml:1: "limits" is 5; it must be a table`},
		{"modes = true", `/x/config.toml:1: "modes" is true; it must be a table`},
		{"[modes.acme]\naccept_volume_mounts = \"yes\"", `/x/config.toml:2: "modes.acme.accept_volume_mounts" is "yes"; it must be true or false`},
		{"modes.acme = \"x\"", `/x/config.toml:1: "modes.acme" is "x"; it must be a table`},
		{"[[limits]]\nwall_ms = 1", `/x/config.toml:1: "limits" is a list; it must be a table`},
		{"[mode]\nname = \"csv\"", `/x/config.toml:1: "mode" is a table; it must be "auto", or the name of a mode, or a list of such names`},
		{"limits.wall_ms = 1.5", `/x/config.toml:1: "limits.wall_ms" is 1.5; it must be a whole number from 1 to 60000`},
		{"limits.wall_ms = 2020-01-01", `/x/config.toml:1: "limits.wall_ms" is a date or a time; it must be a whole number from 1 to 60000`},
		{"runtimes = [1]", `/x/config.toml:1: "runtimes" is a list; it must be a list of names or absolute paths`},

		{"limits.wall_ms = 0", `"limits.wall_ms" is 0; it must be a whole number from 1 to 60000`},
		{"limits.wall_ms = -1", `"limits.wall_ms" is -1; it must be a whole number from 1 to 60000`},
		{"limits.memory_pages = 1025", `"limits.memory_pages" is 1025; it must be a whole number from 1 to 1024`},
		{"limits.answer_bytes = 1048577", `it must be a whole number from 1 to 1048576`},
		{"modes.legacy.hook_timeout = 0", `"modes.legacy.hook_timeout" is 0; it must be a whole number from 1 to 3600`},
		{"log_level = \"loud\"", `"log_level" is "loud"; it must be debug, info, warn or error`},
		{"log_level = \"INFO\"", `"log_level" is "INFO"; it must be debug, info, warn or error`},
		{"device_access = \"rx\"", `"device_access" is "rx"; it must be one or more of the letters r, w and m, each once`},
		{"device_access = \"rr\"", `it must be one or more of the letters`},
		{"device_access = \"\"", `it must be one or more of the letters`},
		{"modes.csv.hook_conflict = \"ignore\"", `"modes.csv.hook_conflict" is "ignore"; it must be replace or error`},
		{"modes.csv.env_void = \"drop\"", `it must be keep or replace`},
		{"modes.csv.mount_spec_path = \"csv.d\"", `"modes.csv.mount_spec_path" is "csv.d"; it must be an absolute path`},
		{"module_dir = \"modules\"", `"module_dir" is "modules"; it must be an absolute path`},
		{"driver_root = \"\"", `"driver_root" is ""; it must be an absolute path`},
		{"hook = \"tenon-hook\"", `"hook" is "tenon-hook"; it must be an absolute path, or ""`},
		{"debug_log = \"tenon.log\"", `it must be an absolute path, or ""`},
		{"debug_log = \"/a\\nb\"", `"debug_log" is "/a\nb"; it must be an absolute path, or ""`},
		{"runtimes = []", `"runtimes" is []; it must be a list of names or absolute paths`},
		{"runtimes = [\"bin/runc\"]", `"runtimes" is ["bin/runc"]; it must be a list of names or absolute paths`},
		{"modes.legacy.hook_path = \"./hook\"", `"modes.legacy.hook_path" is "./hook"; it must be a name or an absolute path`},
		{"mode = \"\"", `"mode" is [""]; it must be "auto"`},
		{"mode = \"../../tmp/evil\"", `"mode" is ["../../tmp/evil"]; it must be "auto", or the name of a mode`},
		{"mode = [\"auto\", \"csv\"]", `it must be "auto", or the name`},
		{"mode = [\"csv\", \"csv\"]", `it must be "auto", or the name`},
		{"mode = \"CSV\"", `it must be "auto", or the name`},
		{"[modes.\"../x\"]\na = 1", `/x/config.toml:1: "../x" cannot be the name of a mode`},
		{"[modes.acme]\n\"a\\u001fb\" = 1", `/x/config.toml:2: "a\x1fb" cannot be a key`},
		{"\"\" = { strict = true }", `/x/config.toml:1: "" cannot be a key`},

		{"strict = true\nmode = \n", `/x/config.toml:2: not TOML: `},
		{"a = 1\na = 2", `/x/config.toml:2: not TOML: `},
		{"x", `/x/config.toml:1: not TOML: `},
		{"[modes.csv", `/x/config.toml:1: not TOML: `},
		{"log_level = \"\xff\"", `/x/config.toml:1: not TOML: `},
	} {
		l := parsed(test.text)
		if len(l.problems) == 0 {
			t.Errorf("%q: accepted, want %s", test.text, test.want)
		} else if got := l.problems[0].Error(); !strings.Contains(got, test.want) {
			t.Errorf("%q:\n got %s\nwant %s", test.text, got, test.want)
		}
	}
}

func TestTheFirstProblemIsTheFirstInTheFile(t *testing.T) {
	l := parsed("zebra = 1\n[modes.csv]\nx = 1\n[limits]\nwall_ms = 0\nqueries = 0\n")
	want := []string{
		`/x/config.toml:1: no such key "zebra"`, `/x/config.toml:3: no such key "modes.csv.x"`,
		`/x/config.toml:5: "limits.wall_ms" is 0`, `/x/config.toml:6: "limits.queries" is 0`,
	}
	if len(l.problems) != len(want) {
		t.Fatalf("got %v", l.problems)
	}
	for i, p := range l.problems {
		if !strings.HasPrefix(p.Error(), want[i]) {
			t.Errorf("got %s, want %s", p, want[i])
		}
	}
}

func TestAWrongVariableIsNamedWithoutItsValue(t *testing.T) {
	for _, test := range []struct{ variable, want string }{
		{"TENON_STRICT=hunter2", "TENON_STRICT: must be true or false"},
		{"TENON_LIMITS__WALL_MS=hunter2", "TENON_LIMITS__WALL_MS: must be a whole number from 1 to 60000"},
		{"TENON_LIMITS__WALL_MS=99999", "TENON_LIMITS__WALL_MS: must be a whole number from 1 to 60000"},
		{"TENON_LOG_LEVEL=hunter2", "TENON_LOG_LEVEL: must be debug, info, warn or error"},
		{"TENON_RUNTIMES=hunter2/runc", "TENON_RUNTIMES: must be a list of names or absolute paths"},
		{"TENON_MODES__ACME__COUNT=hunter2", "TENON_MODES__ACME__COUNT: must be a whole number"},
	} {
		l := parsed("[modes.acme]\ncount = 1", test.variable)
		if len(l.problems) != 1 || l.problems[0].Error() != test.want || l.problems[0].Level != Wrong {
			t.Errorf("%s: got %v, want %s", test.variable, l.problems, test.want)
		}
	}
}

func TestReadConfigGivesTheDefaultsWithTheError(t *testing.T) {
	folder := configFolderOf(t, map[string]string{"c.toml": "strict = true\nruntmes = 1\n", "lax.toml": "strict = true"})
	lax := filepath.Join(folder, "lax.toml")
	if err := os.Chmod(lax, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ named, want string }{
		{folder + "/c.toml", folder + `/c.toml:2: no such key "runtmes"; did you mean "runtimes"`},
		{folder + "/none.toml", folder + "/none.toml: does not exist; make the file or unset TENON_CONFIG"},
		{"c.toml", "TENON_CONFIG: must be an absolute path"},
		{lax, lax + ": is not trusted: others may write it"},
		{folder, folder + ": is not a regular file"},
	} {
		c, err := Read("tenon-runtime", variablesOf("TENON_CONFIG="+test.named))
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.named, err, test.want)
		}
		if !reflect.DeepEqual(c, defaultConfig()) {
			t.Errorf("%s: the configuration is not the defaults: %+v", test.named, c)
		}
	}
}

func TestTheFileThatTENON_CONFIGNamesStandsAlone(t *testing.T) {
	folder := configFolderOf(t, map[string]string{"config.toml": "strict = true\n", "config.d/1.toml": "broken"})
	c, err := Read("tenon-runtime", variablesOf("TENON_CONFIG="+folder+"/config.toml"))
	if err != nil || !c.Strict {
		t.Errorf("strict %v, error %v", c.Strict, err)
	}
}

func TestCheckTellsEverything(t *testing.T) {
	folder := configFolderOf(t, map[string]string{"c.toml": "runtmes = 1\nstrict = 3\n[modes.acme]\nkey = \"v\"\n"})
	file := folder + "/c.toml"
	files, problems := Check("tenon-runtime", []string{
		"TENON_CONFIG=" + file, "TENON_CONFIG=/second/is/not/seen", "TENON_STRICT=x", "TENON_RUNTIME=runc", "TENON_ZZZ=1", "HOME=/root",
	})
	if !slices.Equal(files, []string{file}) {
		t.Errorf("files %q", files)
	}
	var got []string
	for _, p := range problems {
		got = append(got, string(p.Level)+" "+p.Error())
	}
	want := []string{
		"error " + file + `:1: no such key "runtmes"; did you mean "runtimes"`,
		"error " + file + `:2: "strict" is 3; it must be true or false`,
		"error TENON_STRICT: must be true or false",
		"warning TENON_RUNTIME: stands for no key; did you mean TENON_RUNTIMES",
		"warning TENON_ZZZ: stands for no key",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestShowSaysWhereAValueComesFrom(t *testing.T) {
	folder := configFolderOf(t, map[string]string{"c.toml": "\nlimits = { queries = 5,\n wall_ms = 9 }\n[modes.\"a.b\"]\n\"c.d\" = [1, \"x\"]\n"})
	settings, err := Show("tenon-runtime", variablesOf("TENON_CONFIG="+folder+"/c.toml", "TENON_STRICT=true"))
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]string{}
	var text strings.Builder
	for _, s := range settings {
		from[s.Key] = s.From
		text.WriteString(s.TOML() + "\n")
	}
	for key, want := range map[string]string{
		"limits.queries": folder + "/c.toml:2", "limits.wall_ms": folder + "/c.toml:3", "strict": "TENON_STRICT",
		`modes."a.b"."c.d"`: folder + "/c.toml:5", "mode": "default", "modes.csv.env_void": "default",
	} {
		if from[key] != want {
			t.Errorf("%s is from %q, want %q", key, from[key], want)
		}
	}
	for name, want := range map[string]string{"TENON_STRICT=true": "", "TENON_MODE=acme": "TENON_MODE"} {
		if c, err := Read("tenon-runtime", variablesOf(name)); err != nil || c.ModeFrom != want {
			t.Errorf("%s: mode is from %q, want %q; %v", name, c.ModeFrom, want, err)
		}
	}
	// What is shown can be given back as a file, and means the same.
	c, err := Read("tenon-runtime", variablesOf("TENON_CONFIG="+folder+"/c.toml", "TENON_STRICT=true"))
	if err != nil {
		t.Fatal(err)
	}
	again := good(t, parsed(text.String()))
	again.ModeFrom = c.ModeFrom // the default stands in a line now
	if !reflect.DeepEqual(again, c) {
		t.Errorf("shown\n%s\ngives %+v\nwant %+v", &text, again, c)
	}
}

func TestReadRuntimesAlwaysAnswers(t *testing.T) {
	defaults := []string{"runc", "crun"}
	for _, test := range []struct {
		name, text, variable string
		want                 []string
	}{
		{"list", `runtimes = ["/opt/runc", "youki"]`, "", []string{"/opt/runc", "youki"}},
		{"string", `runtimes = "youki"`, "", []string{"youki"}},
		{"other keys", "mode = 7\nunknown = 1\nruntimes = ['youki']", "", []string{"youki"}},
		{"broken below", "runtimes = ['youki']\n=broken", "", []string{"youki"}},
		{"broken above", "=broken\nruntimes = ['youki']", "", defaults},
		{"of a table", "[limits]\nruntimes = ['youki']", "", defaults},
		{"wrong type", "runtimes = 7", "", defaults},
		{"wrong item", "runtimes = ['youki', 7]", "", defaults},
		{"empty", "runtimes = []", "", defaults},
		{"variable", "runtimes = ['youki']", "crun", []string{"crun"}},
		{"wrong variable", "runtimes = ['youki']", "bin/crun", []string{"youki"}},
		{"nothing", "", "", defaults},
	} {
		folder := configFolderOf(t, map[string]string{"c.toml": test.text})
		got := Runtimes("tenon-runtime", variablesOf("TENON_CONFIG="+folder+"/c.toml", "TENON_RUNTIMES="+test.variable))
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	if got := Runtimes("tenon-runtime", variablesOf("TENON_CONFIG=relative")); !slices.Equal(got, defaults) {
		t.Errorf("relative: got %q", got)
	}
}

// defaultConfig is host.DefaultConfig as Read gives it: with the list of what is
// installed, which is empty.
func defaultConfig() host.Config {
	c := host.DefaultConfig()
	c.Installed = []host.Installed{}
	return c
}

func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"", "mode = 'csv'\nruntimes = ['runc']\n[limits]\nwall_ms = 1\n", "runtmes = 1", "[modes.\"a.b\".\"c\\n\"]\nx = { y = [ {z = 1} ] }",
		"[[modes.acme.list]]\nx = 1\n[[modes.acme.list]]\ny = 1979-05-27T07:32:00Z", "mode", "\"\\u0000\" = 1", "strict = \"\xff", "[modes.csv]\nenv_void=0",
		"x = \"\"\"\n\n\"\"\"\nx = 1", "[a]\n[a]", "modes.x.y = nan\nmodes.x.z = 07:32:00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := parsed(text, "TENON_MODES__X__Y=1")
		for _, p := range l.problems {
			line := p.Error()
			if !strings.HasPrefix(line, "/x/config.toml") && !strings.HasPrefix(line, "TENON_") || strings.ContainsAny(line, "\n\r") || p.What == "" {
				t.Errorf("%q", line)
			}
		}
		c := l.mustConfig()
		if len(l.problems) > 0 {
			return
		}
		list, ok := runtimesIn([]byte(text), "runtimes", l.keys[slices.IndexFunc(l.keys, func(k configKey) bool { return k.path == "runtimes" })])
		if ok && !slices.Equal(list, c.Runtimes) || !ok && !slices.Equal(c.Runtimes, defaultConfig().Runtimes) {
			t.Errorf("Runtimes %q, Read %q", list, c.Runtimes)
		}
		var again map[string]any
		for _, s := range l.settings() {
			if err := toml.Unmarshal([]byte(s.TOML()), &again); err != nil || strings.Contains(s.TOML(), "\n") {
				t.Errorf("%q: %v", s.TOML(), err)
			}
		}
	})
}

// packaging/config.toml is the file that is installed. What it shows in comments
// is true.
func TestTheInstalledFileShowsTheDefaults(t *testing.T) {
	data, err := os.ReadFile("../../packaging/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		if code, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(code, " ") && !strings.HasPrefix(code, "debug_log ") {
			line = code // a key; what is after "# " is for people
		}
		text.WriteString(line)
	}
	l := parsed(text.String())
	c := good(t, l)
	c.ModeFrom = "" // the file says it
	if !reflect.DeepEqual(c, defaultConfig()) {
		t.Errorf("got  %+v\nwant %+v", c, defaultConfig())
	}
	if len(l.from) < 10 {
		t.Errorf("only %d keys were seen: %v", len(l.from), l.from)
	}
}

func TestModeTablesAnswerEachKeyBelow(t *testing.T) {
	c := good(t, parsed(`
[modes.acme]
name = "text <&>"
number = 3
list = ["a", true]
table = {inner = "x", b = 1}
"a.b" = {"c.d" = "dots"}
a = {"b.x" = "dotted", b = {x = "nested", y = 1.5}}
nan = nan
`))
	want := map[string]string{
		"name": "text <&>", "number": "3", "list": `["a",true]`, "table": `{"b":1,"inner":"x"}`, "table.inner": "x", "table.b": "1",
		"a.b": `{"c.d":"dots"}`, "a.b.c.d": "dots", "a": `{"b":{"x":"nested","y":1.5},"b.x":"dotted"}`, "a.b.x": "dotted", "a.b.y": "1.5",
	}
	if got := c.ModeTables["acme"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
