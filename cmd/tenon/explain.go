// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
)

// asRuntime is what explain and apply take to do what a create would do.
type asRuntime struct {
	name, spec, root string
}

func (a *asRuntime) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.name, "name", "tenon-runtime", "the `name` that the runtime is started under: tenon-runtime, or nvidia-container-runtime for NVIDIA's configuration")
	c.Flags().StringVar(&a.spec, "spec", "", "the container's config.json, a `file`")
	c.Flags().StringVar(&a.root, "root", "", "the container's root file system, a `folder` (default: what config.json says)")
	_ = c.RegisterFlagCompletionFunc("name", cobra.FixedCompletions([]string{"tenon-runtime", "nvidia-container-runtime"}, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses values of the flags that can mean nothing.
func (a *asRuntime) check() error {
	if a.name == "" || strings.Contains(a.name, "/") {
		return usage("--name %q: is not the name of a program; write tenon-runtime or nvidia-container-runtime", a.name)
	}
	if a.root != "" {
		root, err := filepath.Abs(a.root)
		if err != nil {
			return err
		}
		a.root = root
	}
	return nil
}

func explainCommand() *cobra.Command {
	var a asRuntime
	var redact bool
	c := &cobra.Command{
		Use:   "explain BUNDLE|CONTAINER|--spec FILE",
		Short: "Tell what a container would be given, by which mode, and why",
		Long: `Tell what a container would be given if it were created now: each edit of its
config.json with the mode it comes from and the answers of the machine that name
it; the module of each mode and its digest; whether a trace tells what the module
would answer, and why not; and what the mode left out, in its own words.

BUNDLE is a folder with a config.json. CONTAINER is the name of one that was
created, or the beginning of it: what its create did is told too, and then what
one would do now. Nothing is changed: no bundle, no trace, no compiled code.

With --verbose all questions of the modes are listed, with their answers. These
may be values of the container's environment; --redact leaves them out.

Exit code 3 where nothing would be given; 1 with the error of a create, if that
would fail.`,
		Example: `  tenon explain /run/containerd/io.containerd.runtime.v2.task/moby/6f1c…
  tenon explain 6f1c2a3b4d5e -v
  tenon explain --spec config.json --format json`,
		ValidArgsFunction: containerNames,
	}
	a.flags(c)
	c.Flags().BoolVar(&redact, "redact", false, "leave out values of the container's environment, annotations and config.json")
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := a.target(c, args)
		if err != nil {
			return err
		}
		_, failure := e.explain(c.Context(), logger(c))
		if redact {
			e.redact()
		}
		verbose, _ := c.Flags().GetBool("verbose")
		if *f == "json" {
			err = printJSON(c.OutOrStdout(), e)
		} else {
			err = e.tree(verbose).print(c.OutOrStdout(), inColour(c.OutOrStdout()))
		}
		switch {
		case err != nil:
			return err
		case failure != nil:
			return errors.New(host.Reported(failure))
		case len(e.Edits) == 0:
			return exitError{exitNothing, fmt.Errorf("%s: the container is given nothing", e.Config)}
		}
		return nil
	}
	return c
}

// target finds out which container is meant.
func (a *asRuntime) target(c *cobra.Command, args []string) (*explanation, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	switch {
	case a.spec == "" && len(args) != 1, a.spec != "" && len(args) != 0:
		return nil, usage("%s: wants one BUNDLE or CONTAINER, or --spec FILE; see %q", where(c), c.CommandPath()+" --help")
	case a.spec != "":
		return newExplanation(a, "", a.spec), nil
	case strings.Contains(args[0], "/") || args[0] == "." || args[0] == "..":
		return newExplanation(a, args[0], ""), nil
	}
	record, err := findContainer(args[0])
	if err == nil && record == nil {
		if _, statErr := os.Stat(filepath.Join(args[0], "config.json")); statErr == nil {
			return newExplanation(a, args[0], ""), nil
		}
		return nil, exitError{exitNothing, fmt.Errorf(`container %s: has no record, and is no bundle; see "tenon ps", or name its bundle`, host.Shown(args[0]))}
	}
	if err != nil {
		return nil, err
	}
	if !c.Flags().Changed("name") && record.Program != "" {
		a.name = record.Program
	}
	e := newExplanation(a, record.Bundle, record.Config)
	e.Record = record
	if _, err := os.Stat(record.Config); errors.Is(err, fs.ErrNotExist) {
		e.gone = true
	}
	return e, nil
}

func applyCommand() *cobra.Command {
	var a asRuntime
	c := &cobra.Command{
		Use:   "apply --spec FILE",
		Short: "Print the config.json that a create would make of one",
		Long: `Print the config.json that a create would make of one, for this machine as it is
now. Where the container is given nothing, that is what was read, byte for byte.
FILE may be - for standard input. Nothing is changed.`,
		Example: "  tenon apply --spec config.json\n  tenon apply --spec - --root /srv/rootfs < config.json | diff config.json -",
		Args:    noArgs,
	}
	a.flags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := a.check(); err != nil {
			return err
		}
		if a.spec == "" {
			return usage("apply: wants --spec FILE; see %q", c.CommandPath()+" --help")
		}
		e := newExplanation(&a, "", a.spec)
		if a.spec == "-" {
			e.stdin = c.InOrStdin()
		}
		content, err := e.explain(c.Context(), logger(c))
		if err != nil {
			return errors.New(host.Reported(err))
		}
		_, err = c.OutOrStdout().Write(content)
		return err
	}
	return c
}
