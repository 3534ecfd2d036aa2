// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ManifestSection is the name of the custom section that holds the manifest.
const ManifestSection = "tenon.manifest"

// ErrNoManifest is returned by ManifestOf where the module has none.
var ErrNoManifest = errors.New("has no manifest; build it with \"tenon module build\", which adds manifest.json")

// ManifestOf returns the content of the manifest section of a module, by walking
// its sections. Nothing is run, and nothing but the section is read; the module
// may be invalid otherwise. Errors say what is wrong with the module, without
// its name.
func ManifestOf(code []byte) ([]byte, error) {
	var manifest []byte
	err := walkSections(code, func(_ []byte, name string, content []byte) error {
		switch {
		case name != ManifestSection:
		case manifest != nil:
			return errors.New("has two manifests")
		case len(content) > MaxManifest:
			return fmt.Errorf("has a manifest of %d bytes, more than %d", len(content), MaxManifest)
		default:
			manifest = content[:len(content):len(content)]
		}
		return nil
	})
	if err == nil && manifest == nil {
		err = ErrNoManifest
	}
	return manifest, err
}

// WithManifest returns the module with manifest as its manifest section, the
// last one, in place of those that it has. The module may share memory with code
// where nothing changes. manifest is one that ParseManifest accepts, or its error
// is returned.
func WithManifest(code, manifest []byte) ([]byte, error) {
	if _, err := ParseManifest(manifest); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(code)+len(manifest)+32), code[:min(len(code), len(wasmHeader))]...)
	err := walkSections(code, func(section []byte, name string, _ []byte) error {
		if name != ManifestSection {
			out = append(out, section...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	content := binary.AppendUvarint(nil, uint64(len(ManifestSection)))
	content = append(append(content, ManifestSection...), manifest...)
	out = append(out, 0) // a custom section
	out = binary.AppendUvarint(out, uint64(len(content)))
	return append(out, content...), nil
}

// wasmHeader begins a core module of version 1, and each section of one is an
// id, a size and its content; that of id 0 is a name and what is named.
// https://www.w3.org/TR/wasm-core-2/#binary-module
const wasmHeader = "\x00asm\x01\x00\x00\x00"

// walkSections calls visit for each section; name and content are those of a
// custom section, "" and nil for others.
func walkSections(code []byte, visit func(section []byte, name string, content []byte) error) error {
	if len(code) < len(wasmHeader) || string(code[:len(wasmHeader)]) != wasmHeader {
		return errors.New("is not a core WebAssembly module of version 1")
	}
	rest := code[len(wasmHeader):]
	for len(rest) > 0 {
		section := rest
		body, after, ok := sizedPart(rest[1:])
		if !ok {
			return errors.New("has a section that is cut short")
		}
		section, rest = section[:len(section)-len(after)], after
		var name, content []byte
		if section[0] == 0 {
			if name, content, ok = sizedPart(body); !ok {
				return errors.New("has a custom section without a name")
			}
		}
		if err := visit(section, string(name), content); err != nil {
			return err
		}
	}
	return nil
}

// sizedPart takes a size, an unsigned LEB128 number of 32 bits, and as many bytes.
func sizedPart(b []byte) (part, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || n > 5 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size)], b[n+int(size):], true
}
