// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
	"github.com/tenon-runtime/tenon/host/wasm"
)

// moduleReport is what is told of an installed module.
type moduleReport struct {
	Mode     string   `json:"mode"`
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Digest   string   `json:"digest"`
	Order    int      `json:"order"`
	File     string   `json:"file"`
	SignedBy []string `json:"signedBy"`
	Compiled bool     `json:"compiled"`
	// Problems are why a create would refuse it, or should; none where it is good.
	Problems []string `json:"problems"`
	// Previous is the version that rollback would bring back; "" for none.
	Previous string `json:"previous,omitempty"`
}

// report tells all of a module, having looked at it.
func (p place) report(m config.Module) (moduleReport, error) {
	r := moduleReport{Mode: m.Name, Digest: m.Digest, Order: m.Order, File: m.File, SignedBy: append([]string{}, m.SignedBy...), Problems: []string{}}
	if manifest, err := host.ParseManifest([]byte(m.Manifest)); err == nil {
		r.Name, r.Version = manifest.Name, manifest.Version
	}
	r.Problems = append(r.Problems, p.check(m)...)
	var err error
	if r.Compiled, err = p.compiled(m); err != nil {
		r.Problems = append(r.Problems, host.OneLine(err.Error()))
	}
	previous, err := p.module(p.previous(m.Name))
	if err != nil {
		return r, err
	}
	if previous != nil {
		if manifest, err := host.ParseManifest([]byte(previous.Manifest)); err == nil {
			r.Previous = manifest.Version
		}
	}
	return r, nil
}

// check holds an installed module against all that was so when it was installed:
// its file and the folders on the way to it, its digest, its signatures. Each
// problem begins with the file at fault.
func (p place) check(m config.Module) (problems []string) {
	add := func(err error) { problems = append(problems, host.OneLine(err.Error())) }
	if m.Problem != "" {
		return []string{m.Problem}
	}
	code, err := p.read(m.File, maxModuleFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: does not exist; run \"tenon module install\" again", p.at(m.File))
	}
	if err != nil {
		add(err)
		return problems
	}
	manifest, _, err := m.Read()
	if err == nil {
		err = m.CheckModule(code)
	}
	if err == nil {
		err = wasm.CheckCode(code)
	}
	if err != nil {
		add(fmt.Errorf("%s: %w", p.at(m.File), err))
		return problems
	}
	if len(m.SignedBy) > 0 {
		if err := p.checkSignature(m, manifest); err != nil {
			add(fmt.Errorf("%s: %w", p.at(m.File), err))
		}
	}
	return problems
}

// compiled reports whether a create would take compiled code of the module. The
// error is about code that is there and not good.
func (p place) compiled(m config.Module) (bool, error) {
	sum, err := hex.DecodeString(strings.TrimPrefix(m.Digest, "sha256:"))
	if err != nil || len(sum) != sha256.Size || !p.here() {
		return false, nil
	}
	compiled, err := wasm.Compiled(p.config, [sha256.Size]byte(sum))
	if err != nil {
		err = fmt.Errorf("%w; run \"tenon module warm %s\"", err, m.Name)
	}
	return compiled, err
}

// checkSignature asks whether the signatures of a module still count: a key may
// have been revoked since.
func (p place) checkSignature(m config.Module, manifest host.Manifest) error {
	trust, err := p.readTrust()
	if err != nil {
		return err
	}
	signature, err := p.read(m.File+".sig", maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		signature, err = nil, nil
	}
	if err == nil {
		_, err = trust.check(signature, m.Digest, manifest)
	}
	return err
}

// chosen are the modules that are named, or else all.
func (p place) chosen(names []string) ([]config.Module, error) {
	all, err := p.modules()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		if len(all) == 0 {
			return nil, exitError{exitNothing, fmt.Errorf("%s: has no modules; install one with \"tenon module install FILE\"", p.at(p.config.ModulesD))}
		}
		return all, nil
	}
	var list []config.Module
	for _, name := range names {
		i := slices.IndexFunc(all, func(m config.Module) bool { return m.Name == name })
		if i < 0 {
			return nil, notInstalled(name)
		}
		list = append(list, all[i])
	}
	return list, nil
}

func notInstalled(mode string) error {
	return exitError{exitNothing, fmt.Errorf("mode %s: is not installed; see \"tenon module list\"", host.Shown(mode))}
}

// modeNames completes the names of the modes that are installed.
func modeNames(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	root, _ := c.Flags().GetString("root")
	p, err := placeAt(root)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := p.modules()
	var names []string
	for _, m := range all {
		names = append(names, m.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func rootFlag(c *cobra.Command) *string {
	return c.Flags().String("root", "", "the system below this folder instead of this one")
}

func moduleVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify [MODE…]",
		Short: "Check that the modules are those that were installed",
		Long: `Check that each module is the one that was installed, that nobody but root can
have changed it or what leads to it, that its signature still counts, and that
its compiled code is good. Exit code 4 where something is wrong.`,
		Example:           "  tenon module verify\n  tenon module verify npu --format json",
		ValidArgsFunction: modeNames,
	}
	f, root := formatFlag(c), rootFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		reports, err := reportsOf(*root, args)
		if err != nil {
			return noReports(c, *f, reports, err)
		}
		bad := 0
		for _, r := range reports {
			if len(r.Problems) > 0 {
				bad++
			}
		}
		if *f == "json" {
			err = printJSON(c.OutOrStdout(), reports)
		} else {
			for _, r := range reports {
				for _, problem := range r.Problems {
					fmt.Fprintf(c.OutOrStdout(), "mode %s: %s\n", r.Mode, printable(problem))
				}
				if len(r.Problems) == 0 {
					fmt.Fprintf(c.OutOrStdout(), "mode %s: good, %s%s\n", r.Mode, signedWord(r), compiledWord(r))
				}
			}
		}
		if err == nil && bad > 0 {
			err = exitError{exitCheck, fmt.Errorf("modules: %d of %d are not as they were installed", bad, len(reports))}
		}
		return err
	}
	return c
}

func signedWord(r moduleReport) string {
	if len(r.SignedBy) == 0 {
		return "not signed"
	}
	return "signed by " + printable(strings.Join(r.SignedBy, ", "))
}

func compiledWord(r moduleReport) string {
	if r.Compiled {
		return ", compiled"
	}
	return ", not compiled"
}

// noReports prints what there is instead of reports, where there is something to
// print: an empty list for a program.
func noReports(c *cobra.Command, f format, reports []moduleReport, err error) error {
	if reports != nil && f == "json" {
		return errors.Join(err, printJSON(c.OutOrStdout(), reports))
	}
	return err
}

// reportsOf are the reports of the modes that are named, or of all. Where none is
// installed at all there is an error, and the reports are not nil.
func reportsOf(root string, names []string) ([]moduleReport, error) {
	p, err := placeAt(root)
	if err != nil {
		return nil, err
	}
	reports := []moduleReport{}
	modules, err := p.chosen(names)
	var e exitError
	if errors.As(err, &e) && len(names) == 0 {
		return reports, err
	}
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		r, err := p.report(m)
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func moduleWarmCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "warm [MODE…]",
		Short: "Compile the modules, where they are not",
		Long: `Compile the modules into /var/cache/tenon, where that is not done yet: after an
upgrade of tenon, a change of the processor, or a lost cache. A module that is
not compiled runs all the same, more slowly. Without MODE, compiled code that no
module has any more is removed.`,
		Example:           "  tenon module warm\n  tenon module warm npu",
		ValidArgsFunction: modeNames,
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		p, err := placeAt("")
		if err != nil {
			return err
		}
		modules, err := p.chosen(args)
		if err != nil {
			return err
		}
		var bad error
		for _, m := range modules {
			if err := p.warm(c, m); err != nil {
				fmt.Fprintf(c.OutOrStdout(), "mode %s: %s\n", m.Name, printable(err.Error()))
				bad = exitError{exitCheck, errors.New("modules: not all could be compiled")}
				continue
			}
			fmt.Fprintf(c.OutOrStdout(), "mode %s: compiled\n", m.Name)
		}
		if bad == nil && len(args) == 0 {
			bad = p.prune()
		}
		return bad
	}
	return c
}

func (p place) warm(c *cobra.Command, m config.Module) error {
	if m.Problem != "" {
		return errors.New(m.Problem)
	}
	code, err := p.read(m.File, maxModuleFile)
	if err != nil {
		return err
	}
	if err := m.CheckModule(code); err != nil {
		return fmt.Errorf("%s: %w", m.File, err)
	}
	err = progress(c, "compiling "+m.Name, func(ctx context.Context) error { return wasm.Warm(ctx, p.config, code) })
	if err != nil {
		return fmt.Errorf("%s: %w", m.File, err)
	}
	return nil
}

// prune removes compiled code that no mode needs, now or for a rollback.
func (p place) prune() error {
	if _, err := os.Lstat(p.config.CacheDir); err != nil || !p.here() {
		return nil // nothing was ever compiled
	}
	used, err := p.used()
	if err != nil {
		return err
	}
	var keep [][sha256.Size]byte
	for digest := range used {
		if sum, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:")); err == nil && len(sum) == sha256.Size {
			keep = append(keep, [sha256.Size]byte(sum))
		}
	}
	return wasm.Prune(p.config, keep)
}
