// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"github.com/tenon-runtime/tenon/host"
)

// Module is what the file of a mode in modules_d says.
type Module struct {
	host.Installed
	// SignedBy are the ids of the keys whose signatures were good when the module
	// was installed; none where none was asked for.
	SignedBy []string
}

// DefaultOrder is the order of a mode that says none.
const DefaultOrder = 50

// The tables of a file in modules_d that are read by host.ParseGrants. The first is
// an array of tables.
var grantTables = []string{requestTables, "grants", "edits"}

const requestTables = "requests"

// moduleKeys are the keys of a file in modules_d.
func moduleKeys() []configKey {
	keys := []configKey{
		{"digest", "", `"sha256:" and 64 digits in small letters`, func(v any) bool { return host.IsDigest(v.(string)) }},
		{"file", "", "an absolute path", isAbsolute},
		{"order", int64(DefaultOrder), "a whole number from 0 to 9999", func(v any) bool { return v.(int64) >= 0 && v.(int64) <= 9999 }},
		{"manifest", "", "", nil},
		{"signed_by", []string{}, "", nil},
	}
	for _, table := range grantTables {
		keys = append(keys, configKey{path: table}) // for the list of those that there are
	}
	return toPaths(keys)
}

// ParseModule reads the content of a file of modules_d. path is where it lies, and
// names the mode; moduleDir is that of the configuration. Whatever is wrong with it
// is told in Problem.
func ParseModule(path string, data []byte, moduleDir string) Module {
	m := Module{Installed: host.Installed{
		Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), Entry: path,
	}}
	m.Problem = m.parse(data, moduleDir)
	return m
}

func (m *Module) parse(data []byte, moduleDir string) (problem string) {
	f, p := parseTOML(m.Entry, data)
	if p != nil {
		return p.Error()
	}
	granted := map[string]any{}
	for _, name := range grantTables {
		table := f.values[name]
		_, isList := table.([]any)
		_, isTable := table.(map[string]any)
		switch {
		case table == nil:
		case isTable && name != requestTables, isList && name == requestTables:
			granted[name] = table
		case name == requestTables:
			return fmt.Sprintf("%s: %q is %s; it must be a list of tables", f.place(name), name, describe(table))
		default:
			return fmt.Sprintf("%s: %q is %s; it must be a table", f.place(name), name, describe(table))
		}
		delete(f.values, name)
	}
	l := &loader{keys: moduleKeys()}
	if l.check(f, "", f.values); len(l.problems) > 0 {
		return l.problems[0].Error()
	}
	for _, name := range []string{"digest", "manifest"} {
		if f.values[name] == nil {
			return fmt.Sprintf("%s: has no %q; run \"tenon module install\" again", f.name, name)
		}
	}
	m.Digest, m.Manifest = f.values["digest"].(string), f.values["manifest"].(string)
	m.Order = DefaultOrder
	if order, ok := f.values["order"].(int64); ok {
		m.Order = int(order)
	}
	m.File = StoredModule(moduleDir, m.Digest)
	if file, ok := f.values["file"].(string); ok {
		m.File = filepath.Clean(file)
	}
	m.SignedBy, _ = f.values["signed_by"].([]string)
	if _, err := host.ParseManifest([]byte(m.Manifest)); err != nil {
		return fmt.Sprintf("%s: %s", f.place("manifest"), host.OneLine(err.Error()))
	}
	m.Accepted = compact(granted)
	const what = "what is accepted"
	if _, err := host.ParseGrants(what, []byte(m.Accepted)); err != nil {
		text := strings.Replace(strings.TrimPrefix(err.Error(), what+": "), " on line 1", "", 1) // of the JSON
		return fmt.Sprintf("%s: %s", f.place(memberPath(f, text)), host.OneLine(text))
	}
	return ""
}

// StoredModule is the place of a module in the store moduleDir.
func StoredModule(moduleDir, digest string) string {
	return filepath.Join(moduleDir, "sha256", strings.TrimPrefix(digest, "sha256:")+".wasm")
}

// quotedMember finds the member that an error is about: "grants.fs[0].paths[1]".
var quotedMember = regexp.MustCompile(`"((?:requests|grants|edits)[A-Za-z0-9_.\[\]]*)"`)

// memberPath is the path in the file, as far as it has a line, of the member that
// an error of host.ParseGrants names.
func memberPath(f tomlFile, text string) string {
	match := quotedMember.FindStringSubmatch(text)
	if match == nil {
		return ""
	}
	var path string
	for _, part := range strings.Split(match[1], ".") {
		part, _, _ = strings.Cut(part, "[")
		next := joinPath(path, part)
		if f.lines[next] == 0 {
			break
		}
		path = next
	}
	return path
}

// compact is v as JSON on one line, keys sorted.
func compact(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error() // inf and nan of TOML; ParseGrants refuses it
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// ReadModules reads the files NAME.toml of modules_d, in the order of the modes.
// A file that is broken spoils its own mode alone: see host.Installed.Problem. An
// error is about the folder, and begins with it.
func ReadModules(c host.Config) ([]Module, error) {
	entries, err := os.ReadDir(c.ModulesD)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.ModulesD, host.Bare(err))
	}
	var list []Module
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".toml"); !ok || !host.IsModeName(name) {
			continue
		}
		path := filepath.Join(c.ModulesD, e.Name())
		data, err := readConfigFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now
		}
		m := Module{Installed: host.Installed{Name: strings.TrimSuffix(e.Name(), ".toml"), Entry: path}}
		if err != nil {
			m.Problem = host.OneLine(err.Error())
		} else {
			m = ParseModule(path, data, c.ModuleDir)
		}
		list = append(list, m)
	}
	slices.SortStableFunc(list, func(a, b Module) int { return cmp.Compare(a.Order, b.Order) })
	return list, nil
}

// readModules adds them to the configuration that is being read.
func (l *loader) readModules() {
	c := l.mustConfig()
	l.sources = append(l.sources, c.ModulesD)
	modules, err := ReadModules(c)
	if err != nil {
		place, what, _ := strings.Cut(err.Error(), ": ")
		l.problem(Wrong, place, what)
	}
	for _, m := range modules {
		l.installed = append(l.installed, m.Installed)
		l.sources = append(l.sources, m.Entry)
	}
}

// checkModules tells the modes that are named and cannot be asked, which a create
// would tell too, and the files of others that are broken.
func (l *loader) checkModules() {
	if slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Level == Wrong }) {
		return // what is named is not known
	}
	c := l.mustConfig()
	for _, mode := range c.Mode {
		if mode == "auto" {
			continue
		}
		if !slices.ContainsFunc(c.Installed, func(i host.Installed) bool { return i.Name == mode }) {
			l.problem(Wrong, l.from["mode"], fmt.Sprintf("mode %q is not installed; run \"tenon module install FILE\"", mode))
		}
	}
	for _, i := range c.Installed {
		level := Ignored
		if slices.Contains(c.Mode, i.Name) {
			level = Wrong
		}
		what := i.Problem
		if what == "" {
			if _, err := os.Stat(i.File); err == nil {
				continue
			}
			what = fmt.Sprintf("%s: names the module %s, which does not exist; run \"tenon module install\" again", i.Entry, i.File)
		}
		place, what, _ := strings.Cut(what, ": ")
		l.problem(level, place, what)
	}
}

// TOML is the content of a file that says what m does, where moduleDir is the one
// of the configuration. An error is about a Manifest or Accepted that is none.
func (m Module) TOML(moduleDir string) ([]byte, error) {
	if m.File == StoredModule(moduleDir, m.Digest) {
		m.File = ""
	}
	manifest, err := host.ParseManifest([]byte(m.Manifest))
	if err != nil {
		return nil, err
	}
	granted := map[string]any{}
	d := json.NewDecoder(strings.NewReader(m.Accepted))
	if err := d.Decode(&granted); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Mode %s: %s %s. Written by "tenon module install".
#
# The tables requests, grants and edits are what you have accepted of what the
# module's manifest asks for. Take out of them what you do not want it to have;
# nothing that is not in the manifest can be added.

`, m.Name, manifest.Name, manifest.Version)
	e := toml.NewEncoder(&b)
	if err := e.Encode(struct {
		Digest   string   `toml:"digest"`
		File     string   `toml:"file,omitempty"`
		Order    int      `toml:"order"`
		SignedBy []string `toml:"signed_by,omitempty"`
	}{m.Digest, m.File, m.Order, m.SignedBy}); err != nil {
		return nil, err
	}
	if isLiteral(m.Manifest) {
		fmt.Fprintf(&b, "manifest = '''\n%s'''\n", m.Manifest)
	} else if err := e.Encode(map[string]string{"manifest": m.Manifest}); err != nil {
		return nil, err
	}
	for _, name := range grantTables {
		table := granted[name]
		switch {
		case table != nil:
		case name == requestTables:
			continue
		default:
			table = map[string]any{}
		}
		b.WriteByte('\n')
		if err := e.Encode(map[string]any{name: table}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// isLiteral reports whether s can stand as it is between three single quotes
// (https://toml.io/en/v1.0.0#string).
func isLiteral(s string) bool {
	return !strings.Contains(s, "'''") && !strings.HasSuffix(s, "'") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && (r < ' ' || r == 0x7f || r == utf8.RuneError) })
}
