// SPDX-License-Identifier: Apache-2.0

// Package config reads the configuration: files and variables, laid over the
// defaults by koanf, each key checked with its file and line. Start with Read.
// The values themselves are host.Config; this package is apart from host so that
// a program that only needs to know them is not slowed by what it takes to read
// them.
//
// It never looks at the machine beyond its own files, and it never writes one; what
// a file of modules_d is to say is Module.TOML, and who installs a module writes it.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"github.com/tenon-runtime/tenon/host"
)

const (
	configFolder = "/etc/tenon"
	configParts  = "config.d" // in it
	// configVariable names another file. It stands alone: config.d is not read.
	configVariable = "TENON_CONFIG"
)

// Problem is one thing in the configuration that is wrong or does nothing.
type Problem struct {
	// Place is FILE:LINE, FILE, or the name of an environment variable.
	Place string `json:"place"`
	// What is one line. It never holds the value of an environment variable.
	What  string `json:"what"`
	Level Level  `json:"level"`

	line int // of Place; 0 where it has none
}

// Level says how much a Problem matters.
type Level string

const (
	// Wrong makes every create fail.
	Wrong Level = "error"
	// Ignored was not understood, and the runtime goes on without it.
	Ignored Level = "warning"
	// Unused is known and does nothing here, or is an old way to say something.
	Unused Level = "note"
)

// Error makes the line that people see.
func (p Problem) Error() string { return p.Place + ": " + p.What }

// Read reads the files and variables that hold for program, the base name
// of argv[0]: under a name of NVIDIA's runtime that is NVIDIA's file. An error
// is the administrator's, names the file and line or the variable, and comes
// with the defaults.
func Read(program string, getenv func(string) string) (host.Config, error) {
	l := load(program, getenv)
	for _, p := range l.problems {
		if p.Level == Wrong {
			return newLoader(program).mustConfig(), p
		}
	}
	return l.mustConfig(), nil
}

// ReadSettings reads as Read does, and tells all that was looked at. environ is
// as os.Environ gives it.
func ReadSettings(program string, environ []string) host.Settings {
	getenv := getenvOf(environ)
	l := load(program, getenv)
	s := host.Settings{Config: l.mustConfig(), Sources: l.sources}
	for _, p := range l.problems {
		if p.Level == Wrong {
			s.Config, s.Problem = newLoader(program).mustConfig(), p.Error()
			s.Config.Runtimes = Runtimes(program, getenv)
			break
		}
	}
	return s
}

// getenvOf is os.Getenv over a list as os.Environ gives it: the first one counts.
func getenvOf(environ []string) func(string) string {
	return func(name string) string {
		for _, e := range environ {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				return v
			}
		}
		return ""
	}
}

// Check reads as Read does and tells everything that is wrong or
// does nothing, in the order of the files, with the files that it read. environ
// is as os.Environ gives it.
func Check(program string, environ []string) (files []string, problems []Problem) {
	l := load(program, getenvOf(environ))
	l.unknownVariables(environ)
	l.checkModules()
	return l.files, l.problems
}

// loader lays the sources over each other. It goes on after a problem, without
// the source that has it, so that a check can tell them all.
type loader struct {
	k        *koanf.Koanf
	keys     []configKey
	from     map[string]string // where a value comes from, by its joined path; the defaults are not in it
	files    []string
	sources  []string // files and folders that were looked at, there or not
	problems []Problem

	installed []host.Installed // never nil: no other module is run
}

// pathSep joins the parts of a path for koanf. It is a control character, which no
// key may have, so a dot in a key is nothing special to koanf.
const pathSep = "\x1f"

func newLoader(program string) *loader {
	l := &loader{k: koanf.New(pathSep), keys: configKeys(), from: map[string]string{}, installed: []host.Installed{}}
	defaults := map[string]any{}
	for _, k := range l.keys {
		defaults[k.path] = k.def
	}
	if isNVIDIA(program) {
		defaults["device_access"] = nvidiaDeviceAccess
	}
	l.merge(confmap.Provider(defaults, pathSep))
	return l
}

func load(program string, getenv func(string) string) *loader {
	l := newLoader(program)
	if isNVIDIA(program) {
		l.nvidia(program, getenv)
	} else {
		l.tenonFiles(configFolder, getenv(configVariable))
	}
	l.variables(getenv)
	l.readModules()
	return l
}

func (l *loader) merge(p koanf.Provider) {
	if err := l.k.Load(p, nil); err != nil {
		panic("koanf: " + err.Error()) // it only merges maps; a bug of ours
	}
}

func (l *loader) problem(level Level, place, what string) {
	l.problems = append(l.problems, Problem{Place: host.OneLine(place), What: what, Level: level})
}

// problemAt puts the problems of one file in the order of their lines.
func (l *loader) problemAt(level Level, f tomlFile, path, what string) {
	line := f.lines[path]
	at := len(l.problems)
	for at > 0 && l.problems[at-1].line > line && strings.HasPrefix(l.problems[at-1].Place, f.name+":") {
		at--
	}
	l.problems = slices.Insert(l.problems, at, Problem{Place: f.place(path), What: what, Level: level, line: line})
}

// mustConfig is config for values that have all been checked.
func (l *loader) mustConfig() host.Config {
	c, err := l.config()
	if err != nil {
		panic("a checked configuration does not fit Config: " + err.Error()) // a bug of ours; FuzzConfig looks for it
	}
	return c
}

// config decodes what was loaded. koanf would convert on the way ("010" is 8 and
// "" is false to it), match keys whatever their case, and pass over unknown ones;
// check and parse let nothing come here that would need it.
func (l *loader) config() (host.Config, error) {
	var c host.Config
	if err := l.k.Unmarshal("", &c); err != nil {
		return c, err
	}
	c.Installed, c.ModeFrom = l.installed, l.from["mode"]
	c.ModeTables = map[string]map[string]string{}
	tables, _ := l.k.Get("modes").(map[string]any)
	for mode, table := range tables {
		c.ModeTables[mode] = map[string]string{}
		answers(c.ModeTables[mode], "", table.(map[string]any))
	}
	return c, nil
}

// answers adds what the query config says of each key of a table, and of the
// tables in it. A key with a dot in its own name comes before a path that reads
// the same.
func answers(all map[string]string, prefix string, table map[string]any) {
	for name, value := range table {
		if _, taken := all[prefix+name]; !taken || strings.Contains(name, ".") {
			if text, ok := answer(value); ok {
				all[prefix+name] = text
			}
		}
	}
	for name, value := range table {
		if inner, ok := value.(map[string]any); ok {
			answers(all, prefix+name+".", inner)
		}
	}
}

// answer is a string as it is, and anything else as compact JSON; TOML's inf and
// nan have none.
func answer(value any) (string, bool) {
	if s, ok := value.(string); ok {
		return s, true
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "", false
	}
	return strings.TrimSuffix(b.String(), "\n"), true
}

// tenonFiles loads config.toml and then config.d/*.toml by name, or else the one
// file that TENON_CONFIG names, which has to be there.
func (l *loader) tenonFiles(folder, named string) {
	if named != "" {
		if !filepath.IsAbs(named) {
			l.problem(Wrong, configVariable, "must be an absolute path")
		} else if !l.layer(named) {
			l.problem(Wrong, named, "does not exist; make the file or unset "+configVariable)
		}
		return
	}
	l.sources = append(l.sources, filepath.Join(folder, configParts))
	names, err := configNames(folder)
	if err != nil {
		l.problem(Wrong, filepath.Join(folder, configParts), host.OneLine(host.Bare(err).Error()))
	}
	for _, name := range names {
		l.layer(name)
	}
}

// configNames lists the files to read. The first need not exist.
func configNames(folder string) ([]string, error) {
	names := []string{filepath.Join(folder, "config.toml")}
	parts := filepath.Join(folder, configParts)
	entries, err := os.ReadDir(parts) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return names, nil
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".toml") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(parts, e.Name()))
		}
	}
	return names, err
}

// layer lays a file of ours over what is there. It is false where there is none.
func (l *loader) layer(name string) bool {
	f, found := l.open(name)
	l.lay(f)
	return found
}

// lay does so if nothing is wrong in the file.
func (l *loader) lay(f tomlFile) {
	before := len(l.problems)
	l.check(f, "", f.values)
	if len(l.problems) > before {
		return
	}
	l.merge(confmap.Provider(f.values, ""))
	for path := range f.lines {
		l.from[path] = f.place(path)
	}
}

// open reads and parses a file; false where there is none. What cannot be used
// is a problem, and an empty file.
func (l *loader) open(name string) (tomlFile, bool) {
	l.sources = append(l.sources, name)
	data, err := readConfigFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return tomlFile{}, false
	}
	if err != nil {
		place, what, _ := strings.Cut(host.OneLine(err.Error()), ": ") // the file, or a folder on the way to it
		l.problem(Wrong, place, what)
		return tomlFile{}, true
	}
	l.files = append(l.files, name)
	f, p := parseTOML(name, data)
	if p != nil {
		l.problems = append(l.problems, *p)
		return tomlFile{}, true
	}
	return f, true
}
