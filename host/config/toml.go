// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/tenon-runtime/tenon/host"
)

// maxConfigBytes bounds a configuration file; a long one has 10 KiB.
const maxConfigBytes = 1 << 20

// readConfigFile reads a configuration file as a whole. Errors are as those of
// host.OpenTrusted.
func readConfigFile(name string) ([]byte, error) {
	f, err := host.OpenTrusted(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, host.Bare(err))
	}
	if len(data) > maxConfigBytes {
		return nil, fmt.Errorf("%s: is longer than %d bytes", name, maxConfigBytes)
	}
	return data, nil
}

// tomlFile is a parsed file and the line of each of its keys and tables.
type tomlFile struct {
	name   string
	values map[string]any
	lines  map[string]int // by joined path
}

// place is FILE:LINE; FILE alone for a path that has no line of its own.
func (f tomlFile) place(path string) string {
	line := f.lines[path]
	if line == 0 {
		return f.name
	}
	return f.name + ":" + strconv.Itoa(line)
}

// parseTOML gives the problem instead of the file where it is not TOML.
func parseTOML(name string, data []byte) (tomlFile, *Problem) {
	name = host.OneLine(name)
	f := tomlFile{name: name, values: map[string]any{}, lines: map[string]int{}}
	if err := toml.Unmarshal(data, &f.values); err != nil {
		p := Problem{Place: name, What: "not TOML: " + host.OneLine(strings.TrimPrefix(err.Error(), "toml: ")), Level: Wrong}
		var decode *toml.DecodeError
		if errors.As(err, &decode) {
			p.line, _ = decode.Position()
			p.Place += ":" + strconv.Itoa(p.line)
		}
		return f, &p
	}
	walkTOML(data, func(path string, line int, _ *unstable.Node) {
		if f.lines[path] == 0 {
			f.lines[path] = line
		}
	})
	return f, nil
}

// walkTOML calls visit for each table and each value of a document up to its end
// or its first error; value is nil for a table. go-toml's decoder tells the
// position of its errors only, its parser that of every key.
func walkTOML(data []byte, visit func(path string, line int, value *unstable.Node)) {
	var p unstable.Parser
	p.Reset(data)
	line, at := 1, uint32(0)
	lineOf := func(key *unstable.Node) int {
		if key.Raw.Offset > at { // keys come in the order of the file
			line += bytes.Count(data[at:key.Raw.Offset], []byte("\n"))
			at = key.Raw.Offset
		}
		return line
	}
	var value func(table string, n *unstable.Node)
	value = func(table string, n *unstable.Node) {
		path, line := table, 0
		for it := n.Key(); it.Next(); {
			line = lineOf(it.Node())
			path = joinPath(path, string(it.Node().Data))
		}
		visit(path, line, n.Value())
		if n.Value().Kind == unstable.InlineTable {
			for it := n.Value().Children(); it.Next(); {
				value(path, it.Node())
			}
		}
	}
	table := ""
	for p.NextExpression() {
		switch n := p.Expression(); n.Kind {
		case unstable.KeyValue:
			value(table, n)
		case unstable.Table, unstable.ArrayTable:
			table = ""
			line := 0
			for it := n.Key(); it.Next(); {
				line = lineOf(it.Node())
				table = joinPath(table, string(it.Node().Data))
			}
			visit(table, line, nil)
		}
	}
}

func joinPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + pathSep + name
}

// check compares a table of a file of ours with keys, and makes lists of strings
// of what may be written as one string.
func (l *loader) check(f tomlFile, path string, table map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		at := joinPath(path, name)
		k, known := l.find(at)
		inside, isTable := table[name].(map[string]any)
		switch {
		case name == "" || strings.ContainsFunc(name, unicode.IsControl): // pathSep is one
			l.problemAt(Wrong, f, at, fmt.Sprintf("%q cannot be a key", name))
		case known:
			v, what := k.take(table[name])
			if what != "" {
				l.problemAt(Wrong, f, at, what)
				continue
			}
			table[name] = v
		case path == "modes" && !host.IsModeName(name):
			l.problemAt(Wrong, f, at, fmt.Sprintf("%q cannot be the name of a mode", name))
		case len(below(l.keys, at)) > 0 || path == "modes":
			if !isTable {
				l.problemAt(Wrong, f, at, fmt.Sprintf("%q is %s; it must be a table", dotted(at), describe(table[name])))
				continue
			}
			l.check(f, at, inside)
		case len(below(l.keys, path)) > 0:
			l.problemAt(Wrong, f, at, l.unknown(path, name))
		case name == host.AcceptMounts && strings.HasPrefix(path, "modes"+pathSep) && strings.Count(path, pathSep) == 1:
			if _, ok := table[name].(bool); !ok { // the host reads it, whatever the mode
				l.problemAt(Wrong, f, at, fmt.Sprintf("%q is %s; it must be true or false", dotted(at), describe(table[name])))
			}
		case isTable: // in the table of a mode that is not ours
			l.check(f, at, inside)
		}
	}
}

// unknown is the message for a key that does not exist, with the one that was
// meant or those that there are.
func (l *loader) unknown(path, name string) string {
	what := fmt.Sprintf("no such key %q", dotted(joinPath(path, name)))
	there := below(l.keys, path)
	if near := nearest(name, there); near != "" {
		return what + fmt.Sprintf("; did you mean %q", dotted(joinPath(path, near)))
	}
	if path == "" {
		return what + "; the keys are " + strings.Join(there, ", ")
	}
	return what + fmt.Sprintf("; the keys of %s are %s", dotted(path), strings.Join(there, ", "))
}

// take gives v as a value of the key, or else says what is wrong with it. A
// string where a list is wanted is a list of one.
func (k configKey) take(v any) (any, string) {
	good := false
	switch k.def.(type) {
	case string:
		_, good = v.(string)
	case bool:
		_, good = v.(bool)
	case int64:
		_, good = v.(int64)
	case []string:
		var list []string
		switch given := v.(type) {
		case string:
			list, good = []string{given}, true
		case []any:
			list, good = stringsOf(given)
		}
		if good {
			v = list
		}
	}
	if good && (k.ok == nil || k.ok(v)) {
		return v, ""
	}
	return nil, fmt.Sprintf("%q is %s; it must be %s", dotted(k.path), describe(v), k.want)
}

// stringsOf is false where not everything in the list is a string.
func stringsOf(list []any) ([]string, bool) {
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// describe says what a value is, for a message: the value where it is short.
func describe(v any) string {
	const long = 60
	switch v := v.(type) {
	case string:
		if len(v) <= long {
			return strconv.Quote(v)
		}
		return "a string"
	case bool, int64, float64:
		return fmt.Sprint(v)
	case []string:
		if s := fmt.Sprintf("%q", v); len(s) <= long {
			return s
		}
		return "a list"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or a time" // what is left of TOML's types
}

// dotted is a path as people write it in TOML.
func dotted(path string) string {
	parts := strings.Split(path, pathSep)
	for i, part := range parts {
		bare := part != "" && !strings.ContainsFunc(part, func(r rune) bool {
			return r >= unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_'
		})
		if !bare {
			parts[i] = `"` + part + `"`
		}
	}
	return strings.Join(parts, ".")
}
