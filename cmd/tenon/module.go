// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func moduleCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "module",
		Short: "Make, install and look after modules",
		Long: `A module is the WebAssembly file of a mode: what discovers the devices of one kind.

Who writes one uses new, build, inspect, test, run, keygen, sign and push; who
installs one pull, inspect, install, list, verify, warm, rollback and remove.`,
		Example: "  tenon module list\n  tenon module inspect ./acme.wasm\n  tenon module install ./acme.wasm",
	},
		moduleNewCommand(), moduleBuildCommand(), moduleInspectCommand(), moduleTestCommand(), moduleRunCommand(),
		moduleKeygenCommand(), moduleSignCommand(), modulePushCommand(), modulePullCommand(),
		moduleInstallCommand(), moduleListCommand(), moduleVerifyCommand(), moduleWarmCommand(), moduleRollbackCommand(), moduleRemoveCommand())
}

func moduleListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the modules that are installed",
		Long: `List the modules that are installed, in the order of their modes.

A module is good where a create would run it. Nothing is run here. Exit code 3
where there is none.`,
		Example: "  tenon module list\n  tenon module list --format json",
		Args:    noArgs,
	}
	f, root := formatFlag(c), rootFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		reports, err := reportsOf(*root, nil)
		if err != nil {
			return noReports(c, *f, reports, err)
		}
		if *f == "json" {
			return printJSON(c.OutOrStdout(), reports)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "MODE\tMODULE\tVERSION\tORDER\tDIGEST\tSIGNED BY\tCOMPILED\tSTATE")
		for _, r := range reports {
			state, signed, compiled := "good", "-", "no"
			if len(r.Problems) > 0 {
				state = r.Problems[0]
			}
			if len(r.SignedBy) > 0 {
				signed = strings.Join(r.SignedBy, ",")
			}
			if r.Compiled {
				compiled = "yes"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.Mode, orDash(r.Name), orDash(r.Version), r.Order,
				orDash(shortDigest(r.Digest)), printable(signed), compiled, printable(state))
		}
		return w.Flush()
	}
	return c
}

// shortDigest is enough of a digest to tell modules apart at a glance.
func shortDigest(digest string) string {
	const digits = 12
	return digest[:min(len(digest), len("sha256:")+digits)]
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
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
