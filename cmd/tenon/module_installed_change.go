// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
)

func moduleRemoveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "remove MODE",
		Short: "Remove a module",
		Long: `Remove a module: from then on no container can use the mode. What was accepted of
it is forgotten, the version before it, and its compiled code. A module that was
installed with --in-place stays where it is, and so does the table of the mode
in the configuration.`,
		Example:           "  tenon module remove npu",
		Args:              one("MODE"),
		ValidArgsFunction: modeNames,
	}
	root := rootFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		mode := args[0]
		p, unlock, err := changing(*root, mode)
		if err != nil {
			return err
		}
		defer unlock()
		// One that is broken, or that others may write, goes too.
		m, err := p.module(p.entry(mode))
		if err != nil {
			m = &config.Module{Installed: host.Installed{Name: mode, Problem: err.Error()}}
		}
		if m == nil {
			return notInstalled(mode)
		}
		previous, _ := p.module(p.previous(mode))
		for _, file := range []string{p.entry(mode), p.previous(mode)} {
			if err := p.remove(file); err != nil {
				return err
			}
		}
		fmt.Fprintf(c.OutOrStdout(), "mode %s: is removed\n", mode)
		for _, was := range []*config.Module{m, previous} {
			if was == nil || was.Problem != "" {
				continue
			}
			gone := false
			if was.File == config.StoredModule(p.config.ModuleDir, was.Digest) {
				if gone, err = p.forget(was.Digest); err != nil {
					return err
				}
			}
			if !gone {
				fmt.Fprintf(c.OutOrStdout(), "%s: stays\n", printable(p.at(was.File)))
			}
		}
		if slices.Contains(p.config.Mode, mode) {
			fmt.Fprintf(c.OutOrStdout(), "the configuration still names it, so containers will be refused: take %q out of mode\n", mode)
		}
		if err := p.prune(); err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "compiled code stays: %v\n", err)
		}
		return nil
	}
	return c
}

func moduleRollbackCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rollback MODE",
		Short: "Go back to the version that was installed before",
		Long: `Go back to the version of the module that was installed before, with what you had
granted it. Once more goes forward again.`,
		Example:           "  tenon module rollback npu",
		Args:              one("MODE"),
		ValidArgsFunction: modeNames,
	}
	root := rootFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		mode := args[0]
		p, unlock, err := changing(*root, mode)
		if err != nil {
			return err
		}
		defer unlock()
		now, err := p.module(p.entry(mode))
		if err != nil {
			return err
		}
		if now == nil {
			return notInstalled(mode)
		}
		before, err := p.module(p.previous(mode))
		if err != nil {
			return err
		}
		if before == nil {
			return exitError{exitNothing, fmt.Errorf("mode %s: has no version before this one", mode)}
		}
		if problems := p.check(*before); len(problems) > 0 {
			return exitError{exitCheck, fmt.Errorf("mode %s: %s; nothing was changed", mode, problems[0])}
		}
		if p.here() {
			if err := p.warm(c, *before); err != nil {
				fmt.Fprintf(c.ErrOrStderr(), "mode %s: is not compiled, and will start slowly: %v\n", mode, err)
			}
		}
		if err := p.exchange(p.entry(mode), p.previous(mode)); err != nil {
			return err
		}
		manifest, _, err := before.Read()
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "mode %s: %s %s is installed again\n", mode, manifest.Name, manifest.Version)
		return nil
	}
	return c
}
