// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/tenon-runtime/tenon/host"
)

// configKey is one key of a TOML file: its default, its type and its rule are here and
// nowhere else.
type configKey struct {
	path string         // the parts, joined by pathSep
	def  any            // string, bool, int64 or []string; the key's type is the default's
	want string         // what a value must be, as a message says it after "must be"
	ok   func(any) bool // whether a value of the type is one; nil: every one is
}

// The hard maxima of the limits are those of ABI version 1, which a mode may
// count on; wall_ms alone may be raised, for slow machines.
const maxWallMS = 60_000

// configKeys are the keys of config.toml. Below "modes", tables of other names than
// these are free.
func configKeys() []configKey {
	const absolute, absoluteOrNone = "an absolute path", `an absolute path, or ""`
	d := host.DefaultConfig()
	return toPaths([]configKey{
		{"mode", d.Mode, `"auto", or the name of a mode, or a list of such names`, areModes},
		{"runtimes", d.Runtimes, "a list of names or absolute paths", arePrograms},
		{"strict", d.Strict, "", nil},
		{"debug_log", d.DebugLog, absoluteOrNone, isAbsoluteOrNone},
		{"log_level", d.LogLevel, "debug, info, warn or error", oneOf("debug", "info", "warn", "error")},
		{"module_dir", d.ModuleDir, absolute, isAbsolute},
		{"modules_d", d.ModulesD, absolute, isAbsolute},
		{"cache_dir", d.CacheDir, absolute, isAbsolute},
		{"trust_d", d.TrustD, absolute, isAbsolute},
		{"hook", d.Hook, absoluteOrNone, isAbsoluteOrNone},
		{"driver_root", d.DriverRoot, absolute, isAbsolute},
		{"device_access", d.DeviceAccess, "one or more of the letters r, w and m, each once", isAccess},
		{"traces", d.Traces, "on, off or audit", oneOf(host.TracesOn, host.TracesOff, host.TracesAudit)},
		{"accept_env_when_unprivileged", d.AcceptEnvWhenUnprivileged, "", nil},
		{"ldcache.required", d.LdCache.Required, "", nil},
		numberKey("limits.wall_ms", d.Limits.WallMS, maxWallMS),
		numberKey("limits.memory_pages", d.Limits.MemoryPages, 1024),
		numberKey("limits.queries", d.Limits.Queries, 32_768),
		numberKey("limits.answer_bytes", d.Limits.AnswerBytes, 1<<20),
		numberKey("limits.answers_bytes", d.Limits.AnswersBytes, 8<<20),
		numberKey("limits.edits_bytes", d.Limits.EditsBytes, 2<<20),
		numberKey("limits.log_bytes", d.Limits.LogBytes, 64<<10),
		numberKey("limits.glob_entries", d.Limits.GlobEntries, 20_000),
		{"modes.csv.mount_spec_path", "/etc/nvidia-container-runtime/host-files-for-container.d", absolute, isAbsolute},
		{"modes.csv.hook_conflict", "replace", "replace or error", oneOf("replace", "error")},
		{"modes.csv.env_void", "keep", "keep or replace", oneOf("keep", "replace")},
		{"modes.csv.accept_volume_mounts", false, "", nil},
		{"modes.csv.disable_require", false, "", nil},
		{"modes.legacy.hook_path", "nvidia-container-runtime-hook", "a name or an absolute path", isProgram},
		numberKey("modes.legacy.hook_timeout", 120, 3600),
	})
}

// toPaths turns names with dots into paths, and fills in what a type alone wants.
func toPaths(list []configKey) []configKey {
	for i := range list {
		list[i].path = toPath(list[i].path)
		if list[i].want == "" {
			list[i].want = wantOf(list[i].def)
		}
	}
	return list
}

func toPath(name string) string { return strings.ReplaceAll(name, ".", pathSep) }

// wantOf says what the type of a default asks for; "" for a type that no key has.
func wantOf(def any) string {
	switch def.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int64:
		return "a whole number"
	case []string:
		return "a list of strings"
	}
	return ""
}

func numberKey(name string, def, most int) configKey {
	return configKey{name, int64(def), fmt.Sprintf("a whole number from 1 to %d", most), func(v any) bool {
		n := v.(int64)
		return n >= 1 && n <= int64(most)
	}}
}

func oneOf(values ...string) func(any) bool {
	return func(v any) bool { return slices.Contains(values, v.(string)) }
}

func isAbsolute(v any) bool {
	return filepath.IsAbs(v.(string)) && !strings.ContainsFunc(v.(string), unicode.IsControl)
}

func isAbsoluteOrNone(v any) bool { return v == "" || isAbsolute(v) }

// isProgram tells a name to look for, or the absolute path of a program.
func isProgram(v any) bool {
	name := v.(string)
	return isAbsolute(v) || name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
}

func arePrograms(v any) bool {
	list := v.([]string)
	return len(list) > 0 && !slices.ContainsFunc(list, func(s string) bool { return !isProgram(s) })
}

func isAccess(v any) bool {
	letters := v.(string)
	for _, c := range letters {
		if !strings.ContainsRune("rwm", c) || strings.Count(letters, string(c)) > 1 {
			return false
		}
	}
	return letters != ""
}

// areModes: "auto" stands alone, since it may name any of the others. An empty
// list is good, and means that there is nothing to do.
func areModes(v any) bool {
	list := v.([]string)
	for i, name := range list {
		if !host.IsModeName(name) || slices.Contains(list[:i], name) || name == "auto" && len(list) > 1 {
			return false
		}
	}
	return true
}

// find gives the key of a path.
func (l *loader) find(path string) (configKey, bool) {
	i := slices.IndexFunc(l.keys, func(k configKey) bool { return k.path == path })
	if i < 0 {
		return configKey{}, false
	}
	return l.keys[i], true
}

// below lists the names that may stand in a table, sorted, each once; none where
// the path is no table of ours. Path "" is the file's top.
func below(list []configKey, path string) (names []string) {
	for _, k := range list {
		rest := k.path
		if path != "" {
			var inside bool
			if rest, inside = strings.CutPrefix(k.path, path+pathSep); !inside {
				continue
			}
		}
		name, _, _ := strings.Cut(rest, pathSep)
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// nearest gives the candidate that a slip of the hand or two makes of name; "" if
// there is none.
func nearest(name string, candidates []string) string {
	best, bestAt := "", min(3, len(name)/2+1)
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d < bestAt {
			best, bestAt = c, d
		}
	}
	return best
}

// distance counts the bytes to put in, take out or change to make b of a
// (Levenshtein). Names much longer than any key are not worth the time.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
