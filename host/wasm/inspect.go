// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/tetratelabs/wazero"

	"github.com/tenon-runtime/tenon/host"
)

// Module is what can be told of a module's file without running it.
type Module struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // of the file, in hex
	// Untrusted says why a create would not open the file; "" where it would.
	Untrusted string `json:"untrusted,omitempty"`
	// Unusable says what is wrong with the module; "" where it would be run.
	Unusable string `json:"unusable,omitempty"`
	// What stands in the module, in its order, exports by name; all empty where
	// Unusable says that it could not be read.
	Imports  []ModuleItem    `json:"imports,omitempty"`
	Exports  []ModuleItem    `json:"exports,omitempty"`
	Sections []ModuleSection `json:"sections,omitempty"`
}

// ModuleItem is an import or an export.
type ModuleItem struct {
	Name string `json:"name"` // of an import MODULE.NAME
	Type string `json:"type"` // "(i32) -> i64", or "a memory", …
}

// ModuleSection is a custom section.
type ModuleSection struct {
	Name string `json:"name"`
	Size int    `json:"size"` // bytes, without the name
}

// InspectModule reads the module in a file and holds it against what a create
// asks of one. Nothing of it is run. Only a file that cannot be read is an
// error; it begins with path.
func InspectModule(path string) (Module, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Module{}, err
	}
	m := Module{Path: path}
	if f, err := host.OpenTrusted(path); err != nil {
		m.Untrusted = err.Error()
	} else {
		f.Close()
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, host.Bare(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return m, fmt.Errorf("%s: is not a regular file", path)
	}
	sum := sha256.New()
	code, err := io.ReadAll(io.LimitReader(io.TeeReader(f, sum), maxModule+1))
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, host.Bare(err))
	}
	rest, err := io.Copy(sum, f) // one that is too large has a digest too
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, host.Bare(err))
	}
	m.Size, m.SHA256 = int64(len(code))+rest, hex.EncodeToString(sum.Sum(nil))
	if err := m.inspect(code); err != nil {
		m.Unusable = host.OneLine(err.Error())
	}
	return m, nil
}

func (m *Module) inspect(code []byte) error {
	shape, err := scan(code)
	if err != nil {
		return err
	}
	for _, i := range shape.imports {
		m.Imports = append(m.Imports, ModuleItem{host.OneLine(i.module + "." + i.name), i.typ.String()})
	}
	for _, name := range slices.Sorted(maps.Keys(shape.exports)) {
		m.Exports = append(m.Exports, ModuleItem{host.OneLine(name), shape.exports[name].String()})
	}
	m.Sections = customSections(code)
	if !host.IsModeName(strings.TrimSuffix(filepath.Base(m.Path), ".wasm")) {
		return errors.New("has a name that no mode can have; use small letters, digits, dots and dashes, then .wasm")
	}
	if err := checkShape(shape); err != nil {
		return err
	}
	ctx := context.Background()
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().
		WithCoreFeatures(coreFeatures).WithMemoryLimitPages(uint32(host.DefaultConfig().Limits.MemoryPages)))
	defer engine.Close(ctx)
	if _, err := engine.CompileModule(ctx, code); err != nil {
		return fmt.Errorf("is not valid WebAssembly for tenon: %s", firstLine(err))
	}
	return nil
}

// customSections lists them in a module that has passed scan.
func customSections(code []byte) (list []ModuleSection) {
	r := &scanner{data: code, pos: 8, what: "module"}
	for r.more() {
		id := r.byte()
		if s := r.sub("section", maxModule); id == 0 && r.err == nil {
			name := s.name()
			list = append(list, ModuleSection{host.OneLine(name), len(s.data) - s.pos})
		}
	}
	return list
}
