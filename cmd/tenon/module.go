// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
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
	}, moduleListCommand(), moduleInspectCommand(), moduleNewCommand(), moduleBuildCommand(), moduleTestCommand(), moduleRunCommand())
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
