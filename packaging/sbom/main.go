// SPDX-License-Identifier: Apache-2.0

// Command sbom writes down what is in Tenon's programs: a bill of materials and
// the licences. Both are read from the programs that are packed, not from go.mod,
// so they list what is linked and nothing else. It is run by packaging/build.sh.
//
//	go run ./packaging/sbom VERSION SECONDS SBOM LICENCES FILE...
//
// SBOM gets a CycloneDX 1.5 document in JSON (https://cyclonedx.org/docs/1.5/json/),
// LICENCES the texts that each linked module and the Go library ask to be handed
// on. SECONDS since 1970 is the time that the document bears, so that the same
// programs give the same bytes. A FILE that is no Go program, such as a module in
// WebAssembly, is listed with its digest only.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		io.WriteString(os.Stderr, "sbom: "+err.Error()+"\n")
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 5 {
		return errors.New("usage: sbom VERSION SECONDS SBOM LICENCES FILE")
	}
	seconds, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	linked, files, err := read(args[4:])
	if err != nil {
		return err
	}
	doc := document(args[0], time.Unix(seconds, 0).UTC(), linked, files)
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[2], append(text, '\n'), 0o644); err != nil {
		return err
	}
	texts, err := licences(linked)
	if err != nil {
		return err
	}
	return os.WriteFile(args[3], []byte(texts), 0o644)
}

// A library is a Go module that is linked into a program; the standard library
// has the path "stdlib" and Go's version.
type library struct{ path, version, sum string }

func (l library) purl() string { return "pkg:golang/" + l.path + "@" + l.version }

// A packed file, and what is linked into it.
type packed struct {
	name, digest string
	linked       []library
}

// read finds out what is in the files.
func read(paths []string) ([]library, []packed, error) {
	all := map[string]library{}
	var files []packed
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		sum := sha256.Sum256(data)
		f := packed{name: filepath.Base(path), digest: hex.EncodeToString(sum[:])}
		if !strings.HasSuffix(path, ".wasm") {
			info, err := buildinfo.ReadFile(path)
			if err != nil {
				return nil, nil, err
			}
			f.linked = librariesOf(info)
		}
		for _, l := range f.linked {
			all[l.purl()] = l
		}
		files = append(files, f)
	}
	if len(all) == 0 {
		return nil, nil, errors.New("no file is a Go program")
	}
	var linked []library
	for _, purl := range slices.Sorted(maps.Keys(all)) {
		linked = append(linked, all[purl])
	}
	return linked, files, nil
}

func librariesOf(info *debug.BuildInfo) []library {
	list := []library{{"stdlib", strings.TrimPrefix(info.GoVersion, "go"), ""}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		list = append(list, library{m.Path, m.Version, m.Sum})
	}
	return list
}

// What follows are the members of CycloneDX 1.5 that are used here.
type (
	bom struct {
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version,omitempty"`
		PURL       string     `json:"purl,omitempty"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn,omitempty"`
	}
)

func document(version string, at time.Time, linked []library, files []packed) bom {
	top := component{Type: "application", Ref: "tenon", Name: "tenon", Version: version}
	doc := bom{Format: "CycloneDX", Spec: "1.5", Version: 1, Metadata: metadata{at.Format(time.RFC3339), top}}
	whole := dependency{Ref: top.Ref}
	for _, f := range files {
		c := component{Type: "file", Ref: "file:" + f.name, Name: f.name, Hashes: []hash{{"SHA-256", f.digest}}}
		on := dependency{Ref: "file:" + f.name}
		for _, l := range f.linked {
			on.On = append(on.On, l.purl())
		}
		doc.Components = append(doc.Components, c)
		doc.Dependencies = append(doc.Dependencies, on)
		whole.On = append(whole.On, "file:"+f.name)
	}
	for _, l := range linked {
		c := component{Type: "library", Ref: l.purl(), Name: l.path, Version: l.version, PURL: l.purl()}
		if l.sum != "" {
			// Not a digest of a file, but of a tree (golang.org/x/mod/sumdb/dirhash).
			c.Properties = []property{{"go:sum", l.sum}}
		}
		doc.Components = append(doc.Components, c)
	}
	doc.Dependencies = append(doc.Dependencies, whole)
	return doc
}

// licences joins the texts that the modules have in their top folder: whatever is
// called LICENSE, LICENCE, COPYING, NOTICE or PATENTS.
func licences(linked []library) (string, error) {
	var b strings.Builder
	for _, l := range linked {
		where := []string{"list", "-m", "-f", "{{.Dir}}", l.path + "@" + l.version}
		if l.path == "stdlib" {
			where = []string{"env", "GOROOT"}
		}
		out, err := exec.Command("go", where...).Output()
		if err != nil {
			return "", fmt.Errorf("go %s: %w", strings.Join(where, " "), err)
		}
		folder := strings.TrimSpace(string(out))
		entries, err := os.ReadDir(folder)
		if err != nil {
			return "", err
		}
		found := false
		for _, e := range entries {
			name, _, _ := strings.Cut(strings.ToUpper(e.Name()), ".")
			if e.IsDir() || !slices.Contains([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"}, name) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folder, e.Name()))
			if err != nil {
				return "", err
			}
			found = true
			fmt.Fprintf(&b, "== %s %s: %s\n\n%s\n\n", l.path, l.version, e.Name(), strings.TrimSpace(string(text)))
		}
		if !found {
			return "", fmt.Errorf("%s %s: has no licence in %s", l.path, l.version, folder)
		}
	}
	return b.String(), nil
}
