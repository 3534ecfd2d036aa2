// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/wasm"
)

func moduleBuildCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Build a module from its source",
		Long: `Build the module in DIR, or in this folder: compile it, take out of it what only
costs time when it is loaded, and add manifest.json to it. The result is held
against what a create asks of a module. The language follows from the files:

  Go    *.go, with the go command
  C     *.c but *_test.c, with clang and wasm-ld
  Rust  Cargo.toml and src/lib.rs, with cargo or, where there is none, rustc

Exit code 4 where the result is no module that tenon can run.`,
		Example: "  tenon module build\n  tenon module build modules/acme -o build/acme.wasm",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("%s: wants one DIR at most; see %q", where(c), c.CommandPath()+" --help")
			}
			return nil
		},
	}
	out := c.Flags().StringP("output", "o", "", "the file to write; else NAME.wasm in DIR, NAME being the last part of the manifest's name")
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		dir := "."
		if len(args) == 1 {
			dir = args[0]
		}
		b, err := buildModule(c, dir, *out)
		if err != nil {
			return err
		}
		if *f == "json" {
			return printJSON(c.OutOrStdout(), b)
		}
		return b.print(c.OutOrStdout())
	}
	return c
}

// builtModule is what a build has made.
type builtModule struct {
	File     string `json:"file"`
	Language string `json:"language"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	Digest   string `json:"digest"`
	Size     int    `json:"size"`    // bytes
	MaxSize  int    `json:"maxSize"` // bytes
	moduleParts
}

func (b *builtModule) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "file\t%s\n", printable(b.File))
	fmt.Fprintf(w, "module\t%s %s, in %s\n", b.Name, b.Version, b.Language)
	fmt.Fprintf(w, "digest\t%s\n", b.Digest)
	fmt.Fprintf(w, "size\t%s\n", share(b.Size, b.MaxSize, "bytes"))
	fmt.Fprintf(w, "functions\t%s, %d bytes of code\n", share(b.Functions, maxLoadFunctions, ""), b.CodeBytes)
	if b.SegmentsBefore != b.DataSegments {
		fmt.Fprintf(w, "data segments\t%d, merged from %d\n", b.DataSegments, b.SegmentsBefore)
	} else {
		fmt.Fprintf(w, "data segments\t%d\n", b.DataSegments)
	}
	return w.Flush()
}

// maxLoadFunctions is how many functions a module may have: "Limits" of
// sdk/ABI.md.
const maxLoadFunctions = 20_000

// share is how much of its limit something takes.
func share(n, limit int, unit string) string {
	return fmt.Sprintf("%s of at most %d (%d%%)", strings.TrimSpace(fmt.Sprintf("%d %s", n, unit)), limit, n*100/limit)
}

func buildModule(c *cobra.Command, dir, out string) (*builtModule, error) {
	language, compile, err := languageOf(dir)
	if err != nil {
		return nil, err
	}
	section, err := readBounded(filepath.Join(dir, "manifest.json"), host.MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: does not exist; write what the module asks and edits into it, as sdk/ABI.md says under \"Manifest\"", filepath.Join(dir, "manifest.json"))
	}
	if err != nil {
		return nil, withPath(err)
	}
	manifest, err := host.ParseManifest(section)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "manifest.json"), err)
	}
	if out == "" {
		name := manifest.Name[strings.LastIndexByte(manifest.Name, '/')+1:]
		out = filepath.Join(dir, name+".wasm")
	}
	if !host.IsModeName(strings.TrimSuffix(filepath.Base(out), ".wasm")) || !strings.HasSuffix(out, ".wasm") {
		return nil, usage("%s: is no name for a module; use small letters, digits, dots and dashes, then .wasm", out)
	}
	work, err := os.MkdirTemp("", "tenon-build-")
	if err != nil {
		return nil, withPath(err)
	}
	defer os.RemoveAll(work)
	raw := filepath.Join(work, "raw.wasm")
	if err := compile(&compiler{dir: dir, work: work, verbose: logger(c), errors: c.ErrOrStderr()}, raw); err != nil {
		return nil, err
	}
	code, err := os.ReadFile(raw)
	if err != nil {
		return nil, withPath(err)
	}
	packed, parts := packModule(code)
	if packed, err = host.WithManifest(packed, section); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	// It is looked at under its name, before it takes the place of the last one.
	trial := filepath.Join(work, filepath.Base(out))
	if err := os.WriteFile(trial, packed, 0o644); err != nil {
		return nil, withPath(err)
	}
	seen, err := wasm.InspectModule(trial)
	if err != nil {
		return nil, err
	}
	if seen.Unusable != "" {
		return nil, exitError{exitCheck, fmt.Errorf("%s: %s", dir, seen.Unusable)}
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return nil, withPath(err)
	}
	if err := replaceModule(out, packed); err != nil {
		return nil, err
	}
	return &builtModule{
		File: out, Language: language, Name: manifest.Name, Version: manifest.Version,
		Digest: "sha256:" + seen.SHA256, Size: len(packed), MaxSize: maxModuleFile, moduleParts: parts,
	}, nil
}

// replaceModule writes a file in one step.
func replaceModule(file string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".tenon-*")
	if err != nil {
		return withPath(err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = cmp.Or(err, f.Chmod(0o644), f.Close()); err != nil {
		return withPath(err)
	}
	return withPath(os.Rename(f.Name(), file))
}

// withPath puts the path of an error of package os first, and its system call
// nowhere.
func withPath(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	case errors.As(err, &l):
		return fmt.Errorf("%s: %w", l.New, l.Err)
	}
	return err
}

// languageOf tells by the files in dir what a module is written in.
func languageOf(dir string) (name string, compile func(*compiler, string) error, err error) {
	has := func(pattern string) bool {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		return err == nil && len(found) > 0
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", nil, fmt.Errorf("%s: is not a folder", dir)
	}
	switch {
	case has("Cargo.toml"):
		return "Rust", (*compiler).rust, nil
	case has("go.mod"), has("*.go"):
		return "Go", (*compiler).golang, nil
	case has("*.c"):
		return "C", (*compiler).c, nil
	}
	return "", nil, exitError{exitNothing, fmt.Errorf("%s: has no source of a module: no *.go, no *.c, no Cargo.toml; \"tenon module new\" makes one", dir)}
}

// needed is an error for a program that a build cannot do without.
func needed(program, instead string) error {
	return fmt.Errorf("%s: is not installed; %s", program, instead)
}

// runCompiler runs a compiler, whose words are for the author as they are.
func (c *compiler) run(env []string, program string, args ...string) error {
	c.verbose.Debug("running", "command", program+" "+strings.Join(args, " "), "env", strings.Join(env, " "))
	cmd := exec.Command(program, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = c.errors, c.errors
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s: does not compile: %s ended with code %d", c.dir, filepath.Base(program), exit.ExitCode())
	}
	return err
}
