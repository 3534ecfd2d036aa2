// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/sdk"
)

//go:embed templates
var templates embed.FS

func moduleNewCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Begin a new module",
		Long: `Write a project for a new module: a mode that gives a container the devices
/dev/NAME*, its manifest, a test, recorded machines, a Makefile, and the SDK. It
builds and passes its test as it is, and nothing of it is fetched.

NAME is that of the mode, or its full name, such as vendor.example/npu.`,
		Example: "  tenon module new acme --lang go && cd acme && make test\n  tenon module new vendor.example/npu --lang c --dir npu-mode",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%s: wants one NAME; see %q", where(c), c.CommandPath()+" --help")
			}
			return nil
		},
	}
	lang := c.Flags().String("lang", "go", "the language: go, c or rust")
	dir := c.Flags().String("dir", "", "the folder to make; else NAME in this folder")
	_ = c.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(languages, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, args []string) error {
		vendor, name := path.Split(args[0])
		if vendor = strings.TrimSuffix(vendor, "/"); vendor == "" {
			vendor = name + ".example"
		}
		if !isProjectName(name) {
			return usage("%q: is no name for a module; use a small letter, then small letters, digits and dashes, and maybe a DNS name and / before it", args[0])
		}
		if !slices.Contains(languages, *lang) {
			return usage("--lang: %q is not go, c or rust", *lang)
		}
		folder := *dir
		if folder == "" {
			folder = name
		}
		if err := newProject(folder, *lang, vendor, name); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "%s: is a module in %s; run \"make test\" in it, and read its README.md\n", printable(folder), languageNames[*lang])
		return err
	}
	return c
}

var (
	languages     = []string{"go", "c", "rust"}
	languageNames = map[string]string{"go": "Go", "c": "C", "rust": "Rust"}
)

// isProjectName reports whether name can be a part of a mode's name, a device, a
// crate and, in capitals, a variable.
func isProjectName(name string) bool {
	for i, r := range name {
		if (r < 'a' || r > 'z') && (i == 0 || (r < '0' || r > '9') && r != '-') {
			return false
		}
	}
	return name != "" && len(name) <= 40 && !strings.HasSuffix(name, "-")
}

// newProject writes the project into folder, which must not hold anything yet.
func newProject(folder, lang, vendor, name string) error {
	switch entries, err := os.ReadDir(folder); {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%s: is not empty; name a new folder with --dir", folder)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return withPath(err)
	}
	words := strings.NewReplacer(
		"__NAME__", name, "__VENDOR__", vendor, "__VARIABLE__", strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"_VISIBLE_DEVICES",
		"__TENON__", ownCommand(), "__SOURCE__", map[string]string{"go": "`main.go`", "c": "`" + name + ".c`", "rust": "`src/lib.rs`"}[lang])
	files := map[string]string{}
	for _, part := range []string{"common", lang} {
		top := path.Join("templates", part)
		err := fs.WalkDir(templates, top, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := templates.ReadFile(p)
			to := strings.TrimSuffix(strings.TrimPrefix(p, top+"/"), ".tmpl")
			if to == "gitignore" {
				to = ".gitignore" // which would count in the folder of the templates
			}
			files[strings.Replace(to, "NAME", name, 1)] = words.Replace(string(text))
			return err
		})
		if err != nil {
			return err
		}
	}
	if _, err := host.ParseManifest([]byte(files["manifest.json"])); err != nil {
		return usage("%q: is no name for a module: %w", vendor+"/"+name, err)
	}
	if err := addSDK(files, lang); err != nil {
		return err
	}
	for name, text := range files {
		file := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return withPath(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return withPath(err)
		}
	}
	return nil
}

// addSDK adds what a project needs of package sdk, below tenon/.
func addSDK(files map[string]string, lang string) error {
	from := map[string]string{"go": ".", "c": "c", "rust": "rust"}[lang]
	err := fs.WalkDir(sdk.Source, from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if lang == "go" && p != "." {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(p, "_test.go") || p == "source.go" {
			return nil // they look at what only the house of tenon has
		}
		text, err := sdk.Source.ReadFile(p)
		files[path.Join("tenon", strings.TrimPrefix(p, from+"/"))] = string(text)
		return err
	})
	if err != nil {
		return err
	}
	abi, err := sdk.Source.ReadFile("ABI.md")
	if err != nil {
		return err
	}
	files["tenon/ABI.md"] = string(abi)
	switch lang {
	case "go":
		files["tenon/go.mod"] = "module github.com/tenon-runtime/tenon/sdk\n\ngo 1.24\n"
	case "rust":
		// The crate's own workspace has members that are not here.
		crate := files["tenon/Cargo.toml"]
		before, rest, _ := strings.Cut(crate, "[workspace]\n")
		if _, after, ok := strings.Cut(rest, "\n\n"); ok {
			crate = before + after
		}
		if i := strings.Index(crate, "# A mode is loaded"); i >= 0 { // a profile counts in the outermost crate only
			crate = crate[:i]
		}
		files["tenon/Cargo.toml"] = strings.TrimRight(crate, "\n") + "\n"
	}
	return nil
}

// ownCommand is what starts this program from a Makefile: its name, if that finds
// it, else its path.
func ownCommand() string {
	self, err := os.Executable()
	if err != nil {
		return "tenon"
	}
	if found, err := exec.LookPath("tenon"); err == nil {
		a, errA := os.Stat(found)
		b, errB := os.Stat(self)
		if errA == nil && errB == nil && os.SameFile(a, b) {
			return "tenon"
		}
	}
	self = strings.ReplaceAll(self, "$", "$$") // for make
	if strings.ContainsAny(self, " \t'\"\\;&|<>()*?[]#~`") {
		return "'" + strings.ReplaceAll(self, "'", `'\''`) + "'" // for its shell
	}
	return self
}
