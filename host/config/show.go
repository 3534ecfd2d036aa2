// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Setting is one value that holds, and where it comes from.
type Setting struct {
	// Key is the path as TOML writes it: modes.csv.env_void.
	Key string `json:"key"`
	// Value is of a type that host.Config.ModeTables names, or []string.
	Value any `json:"value"`
	// From is "default", FILE:LINE or the name of an environment variable.
	From string `json:"from"`
}

// Show gives every value that Read would, sorted by key, the top of
// the file first. An error is Read's, and the settings are what is left
// without the source that has it.
func Show(program string, getenv func(string) string) ([]Setting, error) {
	l := load(program, getenv)
	for _, p := range l.problems {
		if p.Level == Wrong {
			return l.settings(), p
		}
	}
	return l.settings(), nil
}

func (l *loader) settings() []Setting {
	settings := []Setting{}
	for _, path := range l.k.Keys() {
		from := "default"
		if f, ok := l.from[path]; ok {
			from = f
		}
		settings = append(settings, Setting{Key: dotted(path), Value: l.k.Get(path), From: from})
	}
	slices.SortStableFunc(settings, func(a, b Setting) int {
		return min(strings.Count(a.Key, "."), 1) - min(strings.Count(b.Key, "."), 1)
	})
	return settings
}

// TOML is the setting as a line of a TOML file.
func (s Setting) TOML() string {
	// In a list of lists go-toml writes all of it inline, tables too.
	text, err := toml.Marshal(map[string]any{"v": []any{[]any{s.Value}}})
	if err != nil {
		panic("a value that came from TOML does not go back: " + err.Error()) // a bug of ours
	}
	return s.Key + " = " + strings.TrimSuffix(strings.TrimPrefix(string(text), "v = [["), "]]\n")
}

// Runtimes gives host.Config.Runtimes alone, for a command that is only passed on:
// it must go through whatever is wrong with the configuration. So it takes what
// can be had, also of a file that is broken further down, else the defaults.
func Runtimes(program string, getenv func(string) string) []string {
	var k configKey
	for _, k = range configKeys() {
		if k.path == "runtimes" {
			break
		}
	}
	if v, ok := k.parse(getenv(variable(k.path))); ok {
		return v.([]string)
	}
	path, names := k.path, []string{getenv(configVariable)}
	if isNVIDIA(program) {
		path, names = nvidiaSection+pathSep+k.path, []string{nvidiaFile(getenv)}
	} else if names[0] == "" {
		names, _ = configNames(configFolder)
	}
	runtimes := k.def.([]string)
	for _, name := range names {
		data, err := readConfigFile(name)
		if err != nil {
			continue
		}
		if list, ok := runtimesIn(data, path, k); ok {
			runtimes = list
		}
	}
	return runtimes
}

// runtimesIn finds the value at path, without decoding the rest.
func runtimesIn(data []byte, path string, k configKey) (list []string, ok bool) {
	walkTOML(data, func(at string, _ int, value *unstable.Node) {
		if at != path || value == nil {
			return
		}
		var given any
		switch value.Kind {
		case unstable.String:
			given = string(value.Data)
		case unstable.Array:
			items := []any{}
			for it := value.Children(); it.Next(); {
				if n := it.Node(); n.Kind == unstable.String {
					items = append(items, string(n.Data))
				} else {
					items = append(items, nil)
				}
			}
			given = items
		}
		if v, what := k.take(given); what == "" {
			list, ok = v.([]string), true
		}
	})
	return list, ok
}
