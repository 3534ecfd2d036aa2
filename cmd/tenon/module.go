// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host/wasm"
)

func moduleCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "module",
		Short:   "Look at modules",
		Long:    "A module is the WebAssembly file of a mode: what discovers the devices of one kind.",
		Example: "  tenon module list\n  tenon module inspect ./acme.wasm",
	}, moduleListCommand(), moduleInspectCommand())
}

func moduleListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the modules that are installed",
		Long: `List the modules in module_dir of the configuration, by the name of their mode.

A module is good where a create would open it and run it. Nothing is run here.
Exit code 3 where there is none.`,
		Example: "  tenon module list\n  tenon module list --format json",
		Args:    noArgs,
	}
	f := formatFlag(c)
	nvidia := nvidiaFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := readConfig(*nvidia)
		if err != nil {
			return err
		}
		dir := config.ModuleDir
		logger(c).Debug("looking for modules", "module_dir", dir)
		modules, err := wasm.Modules(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(modules) == 0 {
			return exitError{exitNothing, fmt.Errorf("%s: has no modules; install one, or set module_dir in the configuration", dir)}
		}
		if err != nil {
			return err
		}
		if *f == "json" {
			return printJSON(c.OutOrStdout(), modules)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "MODE\tSIZE\tSHA256\tSTATE")
		for _, m := range modules {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", printable(modeOf(m)), m.Size, m.SHA256, printable(state(m)))
		}
		return w.Flush()
	}
	return c
}

// modeOf is the name of the mode that a module's file is for.
func modeOf(m wasm.Module) string { return strings.TrimSuffix(filepath.Base(m.Path), ".wasm") }

// state says whether a create can use the module, and else why not.
func state(m wasm.Module) string {
	switch {
	case m.Untrusted != "":
		return "not trusted: " + m.Untrusted
	case m.Unusable != "":
		return m.Unusable
	}
	return "good"
}

func moduleInspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Tell what is in a module, without running it",
		Long: `Tell what is in a module: what it imports and exports, its custom sections, its
size and digest, whether a create would run it from this place, and if not, why.
Nothing of it is run. Exit code 4 where it is no module that tenon can run.`,
		Example: "  tenon module inspect /usr/lib/tenon/modules/csv.wasm\n  tenon module inspect --format json ./acme.wasm",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%s: wants one FILE; see %q", where(c), c.CommandPath()+" --help")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"wasm"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		m, err := wasm.InspectModule(args[0])
		if err != nil {
			return err
		}
		if *f == "json" {
			err = printJSON(c.OutOrStdout(), m)
		} else {
			err = printModule(c.OutOrStdout(), m)
		}
		if err == nil && m.Unusable != "" {
			err = exitError{exitCheck, fmt.Errorf("%s: %s", printable(m.Path), m.Unusable)}
		}
		return err
	}
	return c
}

func printModule(out io.Writer, m wasm.Module) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	trusted, runs := "yes", "yes"
	if m.Untrusted != "" {
		trusted = "no: " + m.Untrusted
	}
	if m.Unusable != "" {
		runs = "no: " + m.Unusable
	}
	fmt.Fprintf(w, "file\t%s\n", printable(m.Path))
	fmt.Fprintf(w, "size\t%d\n", m.Size)
	fmt.Fprintf(w, "sha256\t%s\n", m.SHA256)
	fmt.Fprintf(w, "trusted here\t%s\n", printable(trusted))
	fmt.Fprintf(w, "a mode of tenon\t%s\n", printable(runs))
	for _, i := range m.Imports {
		fmt.Fprintf(w, "import\t%s\t%s\n", i.Name, i.Type)
	}
	for _, e := range m.Exports {
		fmt.Fprintf(w, "export\t%s\t%s\n", e.Name, e.Type)
	}
	for _, s := range m.Sections {
		fmt.Fprintf(w, "custom section\t%s\t%d bytes\n", s.Name, s.Size)
	}
	return w.Flush()
}

// printable keeps control characters of a file's name off the terminal, and out
// of the columns of a table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
