// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Settings are the runtimes of an engine: their paths by name, and the name of
// the one that containers get which ask for none ("" where that is not said).
type settings struct {
	runtimes map[string]string
	def      string
}

// names returns the names of the runtimes, sorted.
func (s settings) names() []string { return slices.Sorted(maps.Keys(s.runtimes)) }

// only returns what of s is about these names.
func (s settings) only(names []string) settings {
	out := settings{runtimes: map[string]string{}}
	for _, name := range names {
		if path, ok := s.runtimes[name]; ok {
			out.runtimes[name] = path
			if s.def == name {
				out.def = name
			}
		}
	}
	return out
}

// with returns s with one more runtime.
func (s settings) with(name, path string, def bool) settings {
	out := settings{runtimes: maps.Clone(s.runtimes), def: s.def}
	out.runtimes[name] = path
	if def {
		out.def = name
	}
	return out
}

// An engine is one of the callers that tenon can be configured for.
type engine struct {
	name    string
	config  string   // its main file
	next    string   // what the administrator runs after configure, "" = nothing
	after   string   // and after unconfigure
	found   []string // it is on a machine that has one of these files
	edits   bool     // whether the main file is edited
	dropIn  func(config string) string
	plan    func(v view, f files, want settings) ([]change, error)
	undo    func(now, original content, f files, names []string) (content, error) // of the main file
	reads   func(v view, f files) (settings, error)                               // what the engine makes of its files
	skipped func(v view, f files) string                                          // why it is left alone unless it is named
	remark  func(v view, f files) string                                          // what else is to be known after configure
}

// The standard folders of programs.
func inPath(program string) []string {
	var all []string
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		all = append(all, filepath.Join(dir, program))
	}
	return all
}

// engines are all that are known, in the order in which they are spoken of.
var engines = []engine{
	{
		name: "docker", config: "/etc/docker/daemon.json", next: "systemctl reload docker",
		// At a reload, dockerd keeps runtimes and default that the file no longer
		// names (moby, daemon/reload_unix.go; seen with 20.10.24).
		after: "systemctl restart docker",
		found: append(inPath("dockerd"), "/etc/docker/daemon.json"), edits: true,
		dropIn: func(string) string { return "" },
		plan:   planDocker, undo: undoDocker, reads: dockerReads,
	},
	{
		name: "containerd", config: "/etc/containerd/config.toml", next: "systemctl restart containerd", after: "systemctl restart containerd",
		found: append(inPath("containerd"), "/etc/containerd/config.toml"), edits: true,
		dropIn: func(config string) string { return filepath.Join(filepath.Dir(config), "conf.d/99-tenon.toml") },
		plan:   planContainerd, undo: undoContainerd, reads: containerdReads, skipped: withoutCRI,
	},
	{
		name: "crio", config: "/etc/crio/crio.conf", next: "systemctl restart crio", after: "systemctl restart crio",
		found:  append(inPath("crio"), "/etc/crio/crio.conf", "/etc/crio/crio.conf.d"),
		dropIn: func(config string) string { return config + ".d/99-tenon.conf" },
		plan:   planCRIO, reads: crioReads, remark: crioRemark,
	},
	{
		name: "podman", config: "/etc/containers/containers.conf", // containers.conf(5); its package has other users too
		found:  inPath("podman"),
		dropIn: func(config string) string { return config + ".d/99-tenon.conf" },
		plan:   planPodman, reads: podmanReads,
	},
}

// Files are the paths of the two files of an engine that we may touch.
type files struct{ main, dropIn string }

func (f files) both() []string {
	if f.dropIn == "" {
		return []string{f.main}
	}
	return []string{f.main, f.dropIn}
}

// ownFile returns the one in which our runtimes stand.
func (f files) ownFile() string { return f.both()[len(f.both())-1] }

func (e engine) files(config string) files {
	if config == "" {
		config = e.config
	}
	return files{config, e.dropIn(config)}
}

// A view is a tree as it would be after some changes.
type view struct {
	tree
	changes []change
}

func (v view) read(path string) (content, error) {
	for _, c := range v.changes {
		if c.path == path {
			return c.after, nil
		}
	}
	return v.tree.read(path)
}

func (v view) readOther(path string) (content, error) {
	for _, c := range v.changes {
		if c.path == path {
			return c.after, nil
		}
	}
	return v.tree.readOther(path)
}

// glob returns the files that match an absolute pattern, sorted.
func (v view) glob(pattern string) ([]string, error) {
	literal := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
	found, err := filepath.Glob(filepath.Join(literal.Replace(v.root), pattern))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", pattern, err)
	}
	for i := range found {
		found[i] = filepath.Join("/", strings.TrimPrefix(found[i], v.root))
	}
	for _, c := range v.changes {
		found = slices.DeleteFunc(found, func(p string) bool { return p == c.path })
		if ok, _ := filepath.Match(pattern, c.path); ok && c.after.exists() {
			found = append(found, c.path)
		}
	}
	slices.Sort(found)
	return found, nil
}

// program is the base name by which a runtime is known as ours.
const program = "tenon-runtime"

// installed returns the runtimes that we put into the engine's files: those that
// were recorded, and, should the record be lost, those that are tenon-runtime.
func (e engine) installed(v view, f files) (settings, error) {
	own := f.ownFile()
	now, err := v.read(own)
	if err != nil || now == nil {
		return settings{runtimes: map[string]string{}}, err
	}
	var all settings
	if f.dropIn == "" {
		all, err = e.reads(v, f)
	} else {
		if err := ourDropIn(f.dropIn, now); err != nil {
			return settings{}, err
		}
		// What the engine would make of our file alone.
		all, err = e.reads(view{v.tree, append(slices.Clone(v.changes), change{path: f.main, after: content(now)})}, files{main: f.main})
	}
	if err != nil {
		return settings{}, err
	}
	k, err := v.kept(own)
	if err != nil {
		return settings{}, err
	}
	var names []string
	for name, path := range all.runtimes {
		if filepath.Base(path) == program || k != nil && k.Runtimes[name] == path {
			names = append(names, name)
		}
	}
	return all.only(names), nil
}

// configure returns what has to change so that the engine has these runtimes,
// in the order in which it has to be written.
func (e engine) configure(v view, f files, want settings) ([]change, error) {
	changes, err := e.plan(v, f, want)
	if err != nil {
		return nil, err
	}
	after := view{v.tree, changes}
	got, err := e.reads(after, f)
	if err != nil {
		return nil, err
	}
	if what := want.missing(got); what != "" {
		return nil, fmt.Errorf("%s: %s by a file that %s reads after it; rename or remove that file", f.ownFile(), what, e.name)
	}
	return slices.DeleteFunc(changes, func(c change) bool { return !c.real() }), nil
}

// missing says which of what is wanted is not so, or "".
func (want settings) missing(got settings) string {
	for _, name := range want.names() {
		if got.runtimes[name] != want.runtimes[name] {
			return fmt.Sprintf("runtime %q is set to %q", name, got.runtimes[name])
		}
	}
	if want.def != "" && got.def != want.def {
		return fmt.Sprintf("the default is set to %q", got.def)
	}
	return ""
}

// unconfigure returns what has to change so that nothing of ours is left, in the
// order in which it has to be written, and for which files others had changed
// them, so that only our part is taken out.
func (e engine) unconfigure(v view, f files) (changes []change, mixed []string, err error) {
	if e.edits {
		now, err := v.read(f.main)
		if err != nil {
			return nil, nil, err
		}
		k, err := v.kept(f.main)
		if err != nil {
			return nil, nil, err
		}
		after, whole, err := k.restored(now, func(now, original content) (content, error) {
			if !now.exists() {
				return nil, nil
			}
			var names []string
			if f.dropIn == "" {
				have, err := e.installed(v, f)
				if err != nil {
					return nil, err
				}
				names = have.names()
			}
			after, err := e.undo(now, original, f, names)
			return after, inFile(f.main, err)
		})
		if err != nil {
			return nil, nil, err
		}
		c := change{f.main, now, after}
		if !whole && c.real() {
			mixed = append(mixed, f.main)
		}
		if c.real() || v.has([]string{backupOf(f.main, "")}) {
			changes = append(changes, c)
		}
	}
	if f.dropIn != "" {
		now, err := v.read(f.dropIn)
		if err != nil {
			return nil, nil, err
		}
		if err := ourDropIn(f.dropIn, now); err != nil {
			return nil, nil, err
		}
		if now.exists() || v.has([]string{backupOf(f.dropIn, "")}) {
			changes = append(changes, change{path: f.dropIn, before: now})
		}
	}
	return changes, mixed, nil
}
