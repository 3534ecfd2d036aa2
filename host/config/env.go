// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"

	"github.com/tenon-runtime/tenon/host"
)

const variablePrefix = "TENON_"

// variables lays the TENON_ variables over the files; an empty one counts as
// unset. Only names that stand for a key are looked at: a stray TENON_ variable
// of somebody else must not stop a container.
func (l *loader) variables(getenv func(string) string) {
	byName := map[string]configKey{}
	var environ []string
	for _, k := range l.variableKeys() {
		name := variable(k.path)
		byName[name] = k
		if v := getenv(name); v != "" {
			environ = append(environ, name+"="+v)
		}
	}
	l.merge(env.Provider(pathSep, env.Opt{
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, text string) (string, any) {
			k := byName[name]
			v, ok := k.parse(text)
			if !ok {
				l.problem(Wrong, name, "must be "+k.want)
				return "", nil
			}
			l.from[k.path] = name
			return k.path, v
		},
	}))
}

// unknownVariables tells the variables with our prefix that nobody reads.
func (l *loader) unknownVariables(environ []string) {
	known := map[string]bool{configVariable: true, host.StateVariable: true, host.StagesVariable: true}
	var names []string // without the prefix, which would make all of them alike
	for _, k := range l.variableKeys() {
		known[variable(k.path)] = true
	}
	for name := range known {
		names = append(names, strings.TrimPrefix(name, variablePrefix))
	}
	slices.Sort(names)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, variablePrefix) || known[name] || value == "" {
			continue
		}
		what := "stands for no key"
		if near := nearest(strings.TrimPrefix(name, variablePrefix), names); near != "" {
			what += "; did you mean " + variablePrefix + near
		}
		l.problem(Ignored, host.OneLine(name), what)
	}
}

// variableKeys are the keys that a variable can set: all of ours, and in the
// free table of a mode those that a file sets, so that their type is known.
func (l *loader) variableKeys() []configKey {
	all := l.keys
	for _, path := range l.k.Keys() {
		if _, ours := l.find(path); ours {
			continue
		}
		v := l.k.Get(path)
		k := configKey{path: path, def: v, want: wantOf(v)}
		if list, ok := v.([]any); ok {
			strs, ok := stringsOf(list)
			if !ok {
				continue
			}
			k.def, k.want = strs, "a list, separated by commas"
		}
		if k.want != "" {
			all = append(all, k)
		}
	}
	return all
}

// variable is the name of the environment variable for a path: TENON_, the parts
// in upper case with "__" between them, "_" for what a shell's name cannot have.
func variable(path string) string {
	name := []byte(variablePrefix)
	for _, c := range []byte(strings.ToUpper(path)) {
		switch {
		case c == pathSep[0]:
			name = append(name, "__"...)
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			name = append(name, c)
		default:
			name = append(name, '_')
		}
	}
	return string(name)
}

// parse reads the text of a variable as a value of the key; false if it is none.
func (k configKey) parse(text string) (any, bool) {
	var v any
	switch k.def.(type) {
	case string:
		v = text
	case bool:
		if text != "true" && text != "false" {
			return nil, false
		}
		v = text == "true"
	case int64:
		n, err := strconv.ParseInt(text, 10, 64) // "010" is ten
		if err != nil {
			return nil, false
		}
		v = n
	case []string:
		list := []string{}
		for _, s := range strings.Split(text, ",") {
			list = append(list, strings.TrimSpace(s))
		}
		v = list
	}
	return v, k.ok == nil || k.ok(v)
}
