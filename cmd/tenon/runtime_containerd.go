// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// containerd's config.toml: containerd-config.toml(5), docs/cri/config.md. How
// files are put together changed between 1.x and 2.x:
//
//   - in 1.x, the [plugins."io.containerd.grpc.v1.cri"] of the file that is read
//     last takes the place of all before it, and a runtimes table takes the place
//     of the built-in one, with its runc (1.7.27, services/server/config/config.go,
//     mergeConfig; seen with 1.6.20);
//   - in 2.x, tables are merged (2.0.0, cmd/containerd/server/config/config.go).
//
// A file of version 2 is read by both. So for version 2 the drop-in repeats the
// whole section and adds our runtime; "tenon runtime status" sees when the
// section it was copied from has changed. From version 3 on it has our runtime
// alone.

// criSection is the name of the section that has the runtimes, by version of
// the configuration. Version 4 came with containerd 2.4 (version/version.go).
var criSection = map[int64]string{
	2: "io.containerd.grpc.v1.cri",
	3: "io.containerd.cri.v1.runtime",
	4: "io.containerd.cri.v1.runtime",
}

// runcV2 is the shim that starts runc, or what options.BinaryName names.
const runcV2 = "io.containerd.runc.v2"

const containerdRemark = `# containerd 1.x takes the section below in place of the one in the file that imports
# this. It was copied from there, and runtimes were added: after a change there, run
# "tenon runtime configure containerd" again.
`

// A loadedFile is one of the files that containerd reads.
type loadedFile struct {
	path string
	doc  map[string]any
}

// loadContainerd returns the files that containerd reads, in its order: the main
// file, then what is imported, then what that imports (LoadConfig in both).
func loadContainerd(v view, main, except string) ([]loadedFile, error) {
	var all []loadedFile
	seen := map[string]bool{except: true}
	for pending := []string{main}; len(pending) > 0; pending = pending[1:] {
		path := pending[0]
		if seen[path] {
			continue
		}
		seen[path] = true
		data, err := v.readOther(path)
		if err != nil {
			return nil, err
		}
		if !data.exists() && path != main {
			return nil, fmt.Errorf("%s: does not exist, but is imported: containerd will not start; correct imports", path)
		}
		doc, err := readTOML(data)
		if err != nil {
			return nil, inFile(path, err)
		}
		all = append(all, loadedFile{path, doc})
		for _, pattern := range imports(doc) {
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(path), pattern)
			}
			if !strings.Contains(pattern, "*") {
				pending = append(pending, filepath.Clean(pattern))
				continue
			}
			found, err := v.glob(pattern)
			if err != nil {
				return nil, inFile(path, err)
			}
			pending = append(pending, found...)
		}
	}
	return all, nil
}

// imports returns the patterns that a file imports.
func imports(doc map[string]any) []string {
	var all []string
	list, _ := doc["imports"].([]any)
	for _, v := range list {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// criOf returns the section of the CRI plugin as containerd makes it of files.
func criOf(version int64, loaded []loadedFile) map[string]any {
	var section map[string]any
	for _, f := range loaded {
		more := table(f.doc, "plugins", criSection[version])
		if version == 2 && more != nil {
			section = more
		} else {
			section = merged(section, more)
		}
	}
	return section
}

// containerdMain returns the main file, as it is and as it has to be before an
// import is added, and its version. A file that is not there, or says nothing,
// is made one of version 2, which every containerd since 1.3 reads.
func containerdMain(v view, path string) (before, main content, version int64, err error) {
	if before, err = v.read(path); err != nil {
		return nil, nil, 0, err
	}
	doc, err := readTOML(before)
	if err != nil {
		return nil, nil, 0, inFile(path, err)
	}
	if len(doc) == 0 {
		main = before
		if n := len(main); n > 0 && main[n-1] != '\n' {
			main = splice(main, n, n, newlineOf(main))
		}
		return before, splice(main, len(main), len(main), "version = 2"+newlineOf(main)), 2, nil
	}
	version, _ = doc["version"].(int64)
	switch {
	case criSection[version] != "":
		return before, before, version, nil
	case version > 2:
		return nil, nil, 0, fmt.Errorf("%s: is of version %d, and tenon knows 2 to 4; install a newer tenon", path, version)
	case criDisabled(doc):
		return nil, nil, 0, fmt.Errorf("%s: is of version 1 and disables the CRI plugin, so it serves only Docker, say; configure that, or make the file anew with \"containerd config default\"", path)
	}
	return nil, nil, 0, fmt.Errorf("%s: is of version 1, which names runtimes otherwise; make it version 2 or later, with \"containerd config migrate\" where containerd has it", path)
}

// criDisabled reports whether a file turns the plugin off that has runtimes, as
// the one in Docker's own packages does.
func criDisabled(doc map[string]any) bool {
	list, _ := doc["disabled_plugins"].([]any)
	return slices.ContainsFunc(list, func(v any) bool {
		return v == "cri" || v == criSection[2] || v == criSection[3]
	})
}

// withoutCRI says why containerd is left alone where nobody named it.
func withoutCRI(v view, f files) string {
	if doc, err := readDoc(v, f.main); err == nil && criDisabled(doc) {
		return f.main + " disables the CRI plugin, which alone has runtimes"
	}
	return ""
}

// importPattern is what we import. It matches our file alone, so that no other
// file of that folder comes to life; and it is a pattern, since containerd
// does not start if a file that is imported by its name is missing.
func importPattern(f files) string {
	return strings.TrimSuffix(f.dropIn, ".toml") + "*.toml"
}

// planContainerd writes the drop-in and then, where nothing imports it, the
// import.
func planContainerd(v view, f files, want settings) ([]change, error) {
	before, main, version, err := containerdMain(v, f.main)
	if err != nil {
		return nil, err
	}
	loaded, err := loadContainerd(v, f.main, f.dropIn)
	if err != nil {
		return nil, err
	}
	section := criOf(version, loaded)
	runtimes := map[string]any{}
	for _, name := range want.names() {
		r := merged(runtimeToCopy(section), nil)
		r["options"] = merged(table(r, "options"), map[string]any{"BinaryName": want.runtimes[name]})
		delete(r, "runtime_path") // of a shim other than the one of runcV2
		runtimes[name] = r
	}
	own := map[string]any{"runtimes": runtimes}
	if want.def != "" {
		own["default_runtime_name"] = want.def
	}
	doc := map[string]any{"containerd": own}
	remark := ""
	if version == 2 {
		remark = containerdRemark
		theirs := table(section, "containerd", "runtimes")
		def, _ := table(section, "containerd")["default_runtime_name"].(string)
		if theirs["runc"] == nil && (theirs == nil || def == "" || def == "runc") {
			runtimes["runc"] = map[string]any{"runtime_type": runcV2} // the built-in one
		}
		doc = merged(section, doc)
		// A runtime of this name that was there is replaced, not mixed with ours.
		all := table(doc, "containerd", "runtimes")
		for name, r := range runtimes {
			all[name] = r
		}
	}
	dropIn, err := dropInChange(v, f.dropIn, remark, map[string]any{
		"version": version,
		"plugins": map[string]any{criSection[version]: doc},
	})
	if err != nil {
		return nil, err
	}
	after := main
	if !imported(main, f) {
		if after, err = withImport(main, importPattern(f)); err != nil {
			return nil, inFile(f.main, err)
		}
	}
	return []change{dropIn, {f.main, before, after}}, nil
}

// imported reports whether the main file imports our drop-in.
func imported(main content, f files) bool {
	doc, err := readTOML(main)
	return err == nil && slices.ContainsFunc(imports(doc), func(pattern string) bool {
		ok, err := filepath.Match(pattern, f.dropIn)
		return err == nil && ok
	})
}

// withImport adds a pattern to what the main file imports, and checks that
// nothing else came of it: the place is found by hand, and the engine must not
// pay for a mistake.
func withImport(main content, pattern string) (content, error) {
	was, err := readTOML(main)
	if err != nil {
		return nil, err
	}
	list, isList := was["imports"].([]any)
	if !isList && was["imports"] != nil {
		return nil, errors.New(`key "imports" is not an array; make it one`)
	}
	after := addImport(main, pattern)
	now, err := readTOML(after)
	if err == nil {
		was["imports"] = append(slices.Clone(list), pattern)
		if fmt.Sprintf("%#v", was) == fmt.Sprintf("%#v", now) { // as DeepEqual, but not a number is itself
			return after, nil
		}
	}
	return nil, fmt.Errorf(`key "imports": is written in a way that tenon does not edit; add %q to it by hand`, pattern)
}

// runtimeToCopy returns the runtime whose settings ours is to have, above all
// SystemdCgroup: the default one, or another that starts runc or crun.
func runtimeToCopy(section map[string]any) map[string]any {
	containerd := table(section, "containerd")
	def, _ := containerd["default_runtime_name"].(string)
	for _, name := range []string{def, "runc", "crun"} {
		r := table(containerd, "runtimes", name)
		if kind, _ := r["runtime_type"].(string); r != nil && (kind == "" || kind == runcV2) {
			return merged(map[string]any{"runtime_type": runcV2}, r)
		}
	}
	return map[string]any{"runtime_type": runcV2}
}

func containerdReads(v view, f files) (settings, error) {
	s := settings{runtimes: map[string]string{}}
	doc, err := readDoc(v, f.main)
	if err != nil {
		return s, err
	}
	version, _ := doc["version"].(int64)
	loaded, err := loadContainerd(v, f.main, "")
	if err != nil {
		return s, err
	}
	section := table(criOf(version, loaded), "containerd")
	s.def, _ = section["default_runtime_name"].(string)
	for name := range table(section, "runtimes") {
		if path, ok := table(section, "runtimes", name, "options")["BinaryName"].(string); ok && path != "" {
			s.runtimes[name] = path
		}
	}
	return s, nil
}

// undoContainerd takes the import out of the main file again.
func undoContainerd(now, original content, f files, _ []string) (content, error) {
	if _, err := readTOML(now); err != nil {
		return nil, err
	}
	was, _ := readTOML(original)
	after := content(dropImport(now, importPattern(f), was["imports"] != nil))
	if doc, err := readTOML(after); !original.exists() && err == nil && len(doc) == 1 && doc["version"] != nil {
		return nil, nil // we made the file, and what others put in is gone
	}
	return after, nil
}
