// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// A drop-in is a file of our own beside an engine's, which it reads later: what
// it says is added to what others say, or wins over it.

// dropInMark begins each drop-in: without it, the file is somebody else's.
const dropInMark = "# Written by \"tenon runtime configure\"; \"tenon runtime unconfigure\" removes it.\n# Changes made here are lost.\n"

// ourDropIn refuses a file that we did not write.
func ourDropIn(path string, data content) error {
	if data.exists() && !bytes.HasPrefix(data, []byte(dropInMark)) {
		return fmt.Errorf("%s: was not written by tenon; rename or remove it", path)
	}
	return nil
}

// dropInChange returns the change that makes the drop-in say doc.
func dropInChange(v view, path, remark string, doc any) (change, error) {
	before, err := v.read(path)
	if err != nil {
		return change{}, err
	}
	if err := ourDropIn(path, before); err != nil {
		return change{}, err
	}
	var b bytes.Buffer
	b.WriteString(dropInMark + remark + "\n")
	if err := toml.NewEncoder(&b).SetIndentTables(true).Encode(doc); err != nil {
		return change{}, fmt.Errorf("%s: %w", path, err)
	}
	return change{path, before, content(b.Bytes())}, nil
}

// readDoc returns what a TOML file means; nothing if it is not there.
func readDoc(v view, path string) (map[string]any, error) {
	data, err := v.readOther(path)
	if err != nil {
		return nil, err
	}
	doc, err := readTOML(data)
	return doc, inFile(path, err)
}

// merged returns both tables in one: from wins, and tables that both have are
// merged in turn.
func merged(to, from map[string]any) map[string]any {
	out := maps.Clone(to)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range from {
		a, both := out[k].(map[string]any)
		if b, ok := v.(map[string]any); ok && both {
			v = merged(a, b)
		}
		out[k] = v
	}
	return out
}

// withFolder returns what an engine reads from its main file and then from each
// file of the folder beside it that matches pattern, in the order of names;
// except the file left out.
func withFolder(v view, main, pattern, except string) (map[string]any, error) {
	doc, err := readDoc(v, main)
	if err != nil {
		return nil, err
	}
	paths, err := v.glob(filepath.Join(main+".d", pattern))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if path == except {
			continue
		}
		more, err := readDoc(v, path)
		if err != nil {
			return nil, err
		}
		doc = merged(doc, more)
	}
	return doc, nil
}

// CRI-O: crio.conf(5) and crio.conf.d(5): every file of the folder is read.

// planCRIO copies the runtime that is the default, so that its monitor and its
// allowed annotations are the same for ours.
func planCRIO(v view, f files, want settings) ([]change, error) {
	doc, err := withFolder(v, f.main, "*", f.dropIn)
	if err != nil {
		return nil, err
	}
	copied := crioToCopy(doc)
	runtimes := map[string]any{}
	for _, name := range want.names() {
		r := merged(map[string]any{"runtime_type": "oci"}, copied)
		r["runtime_path"] = want.runtimes[name]
		// Either of these would put another program in the place of ours.
		delete(r, "platform_runtime_paths")
		delete(r, "inherit_default_runtime")
		runtimes[name] = r
	}
	own := map[string]any{"runtimes": runtimes}
	if want.def != "" {
		own["default_runtime"] = want.def
	}
	c, err := dropInChange(v, f.dropIn, "", map[string]any{"crio": map[string]any{"runtime": own}})
	return []change{c}, err
}

// crioToCopy returns the runtime whose settings ours is to have.
func crioToCopy(doc map[string]any) map[string]any {
	def, _ := table(doc, "crio", "runtime")["default_runtime"].(string)
	for _, name := range []string{def, "crun", "runc"} {
		r := table(doc, "crio", "runtime", "runtimes", name)
		if kind, _ := r["runtime_type"].(string); r != nil && slices.Contains([]string{"", "oci", "pod"}, kind) {
			return r
		}
	}
	return nil
}

// crioRemark tells of a low-level runtime that only CRI-O knows: its own
// packages have crun and runc in /usr/libexec/crio, where nothing else looks.
func crioRemark(v view, f files) string {
	doc, err := withFolder(v, f.main, "*", f.dropIn)
	path, _ := crioToCopy(doc)["runtime_path"].(string)
	if err != nil || path == "" || v.has(append(inPath("runc"), inPath("crun")...)) {
		return ""
	}
	return fmt.Sprintf("tenon-runtime finds no runc or crun in the standard folders; set runtimes = [%q] in /etc/tenon/config.toml", path)
}

func crioReads(v view, f files) (settings, error) {
	s := settings{runtimes: map[string]string{}}
	doc, err := withFolder(v, f.main, "*", "")
	if err != nil {
		return s, err
	}
	runtime := table(doc, "crio", "runtime")
	s.def, _ = runtime["default_runtime"].(string)
	for name := range table(runtime, "runtimes") {
		if path, ok := table(runtime, "runtimes", name)["runtime_path"].(string); ok {
			s.runtimes[name] = path
		}
	}
	return s, nil
}

// Podman: containers.conf(5), table [engine]: runtimes.NAME is a list of paths,
// the first that exists is used. Only *.conf of the folder is read.

func planPodman(v view, f files, want settings) ([]change, error) {
	runtimes := map[string]any{}
	for _, name := range want.names() {
		runtimes[name] = []string{want.runtimes[name]}
	}
	own := map[string]any{"runtimes": runtimes}
	if want.def != "" {
		own["runtime"] = want.def
	}
	c, err := dropInChange(v, f.dropIn, "", map[string]any{"engine": own})
	return []change{c}, err
}

func podmanReads(v view, f files) (settings, error) {
	s := settings{runtimes: map[string]string{}}
	doc, err := withFolder(v, f.main, "*.conf", "")
	if err != nil {
		return s, err
	}
	s.def, _ = table(doc, "engine")["runtime"].(string)
	runtimes := table(doc, "engine", "runtimes")
	for name := range runtimes {
		if paths, ok := runtimes[name].([]any); ok && len(paths) > 0 {
			s.runtimes[name], _ = paths[0].(string)
		}
	}
	return s, nil
}
