// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/sdk"
)

type runFlags struct {
	record, machine, spec           string
	env, annotation, mount, setting []string
	redact                          bool
}

func moduleRunCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run FILE",
		Short: "Run a module for a container, and print its edits",
		Long: `Run a module once for a container that the flags describe, and print the edits
that it answers with, as JSON. Nothing is changed, and the module need not be
installed: it may ask what its manifest grants, on this machine or, with
--machine, on a recorded one. With --verbose standard error has its log and why
each edit is there.

--record DIR writes what the module asked and was told into a new folder, a
recorded machine, for "tenon module test" and for bug reports. It holds of the
container what the module asked for, and nothing else; --redact leaves out the
values of its environment and annotations, and parts of its config.json.

Exit code 3 where the module says that it does not apply.`,
		Example: `  tenon module run acme.wasm --env ACME_VISIBLE_DEVICES=all
  tenon module run acme.wasm --env ACME_VISIBLE_DEVICES=all --record testdata/two-cards
  tenon module run acme.wasm --machine testdata/two-cards --env ACME_VISIBLE_DEVICES=1 -v`,
		Args:              oneFile,
		ValidArgsFunction: wasmFiles,
	}
	c.Flags().StringVar(&f.record, "record", "", "write a recorded machine into this new folder")
	c.Flags().BoolVar(&f.redact, "redact", false, "leave values of the container out of what --record writes")
	c.Flags().StringVar(&f.machine, "machine", "", "ask this recorded machine, not this machine")
	c.Flags().StringVar(&f.spec, "spec", "", "the container's config.json")
	c.Flags().StringArrayVarP(&f.env, "env", "e", nil, "a variable of the container, NAME=VALUE")
	c.Flags().StringArrayVar(&f.annotation, "annotation", nil, "an annotation of the container, KEY=VALUE")
	c.Flags().StringArrayVar(&f.mount, "mount", nil, "a mount of the container, SOURCE:DESTINATION")
	c.Flags().StringArrayVar(&f.setting, "config", nil, "a value of the mode's own table in the configuration, KEY=VALUE")
	c.RunE = func(c *cobra.Command, args []string) error {
		if f.redact && f.record == "" {
			return usage("--redact: says what --record leaves out; name a folder with --record")
		}
		box, settings, err := f.container()
		if err != nil {
			return err
		}
		return f.run(c, args[0], box, settings)
	}
	return c
}

func oneFile(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("%s: wants one FILE; see %q", where(c), c.CommandPath()+" --help")
	}
	return nil
}

func wasmFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"wasm"}, cobra.ShellCompDirectiveFilterFileExt
}

// container is what the flags say of the container and of the configuration.
func (f *runFlags) container() (*container, map[string]string, error) {
	box := &container{}
	if f.spec != "" {
		if err := box.read(f.spec); err != nil {
			return nil, nil, err
		}
	}
	if _, err := parsePairs("env", f.env); err != nil {
		return nil, nil, err
	}
	box.env = f.env
	var err error
	if box.annotations, err = parsePairs("annotation", f.annotation); err != nil {
		return nil, nil, err
	}
	for _, m := range f.mount {
		source, destination, ok := strings.Cut(m, ":")
		if !ok || !filepath.IsAbs(destination) {
			return nil, nil, usage("--mount: %q is not SOURCE:DESTINATION", m)
		}
		box.mounts = append(box.mounts, sdk.Mount{Destination: destination, Source: source, Type: "bind", Options: []string{"rbind"}})
	}
	settings, err := parsePairs("config", f.setting)
	return box, settings, err
}

func (f *runFlags) run(c *cobra.Command, file string, box *container, settings map[string]string) error {
	module, err := readCandidate(file)
	if err != nil {
		return err
	}
	config := host.DefaultConfig()
	var machine *sdk.Machine
	if f.machine == "" {
		if config, err = readConfig(false); err != nil {
			return err
		}
	} else {
		var own *container
		if machine, own, err = openMachine(f.machine); err != nil {
			return withPath(err)
		}
		if box.doc == nil {
			box.doc, box.root = own.doc, own.root
		}
	}
	t := module.try(c.Context(), config, machine, box, settings, 0, logger(c))
	if verbose, _ := c.Flags().GetBool("verbose"); verbose {
		for _, line := range t.result.Explain {
			fmt.Fprintln(c.ErrOrStderr(), line)
		}
		for _, q := range t.denied {
			fmt.Fprintf(c.ErrOrStderr(), "%s: is denied\n", q)
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s and %s, interpreted, with loading\n", counted(len(t.asked), "question"), t.took.Round(time.Millisecond))
	}
	document := module.document(t)
	if f.record != "" && len(t.unrecorded) == 0 {
		if err := f.write(&module, config, t, document); err != nil {
			return err
		}
	}
	switch {
	case len(t.unrecorded) > 0:
		return t.err
	case t.err != nil:
		return module.named(t.err)
	case !t.result.Applicable:
		return exitError{exitNothing, fmt.Errorf("%s: says that it does not apply to this container or machine", file)}
	}
	_, err = c.OutOrStdout().Write(document)
	return err
}

// write writes the recorded machine of a run, and what is expected of the next
// one over it.
func (f *runFlags) write(m *candidate, config host.Config, t trial, document []byte) error {
	var readme strings.Builder
	model, drivers, kernel := host.MachineNotes(t.asked)
	if f.machine != "" {
		model, drivers, kernel = "that of the recorded machine "+filepath.Base(f.machine), "see there", "see there"
	}
	fmt.Fprintf(&readme, "# %s\n\n* Model: %s\n* Driver: %s\n* Kernel: %s\n* Date: %s\n* Module: %s %s, %s\n\n",
		filepath.Base(f.record), model, drivers, kernel, time.Now().UTC().Format(time.DateOnly), m.manifest.Name, m.manifest.Version, m.digest())
	readme.WriteString("Recorded by `tenon module run --record`: what the module asked, and was told.\n" +
		"`queries` has each question, and `edits.json` what the module made of the\nanswers. Look through it before you hand it on.\n")
	sameDriver := config.DriverRoot == "/"
	for _, a := range t.asked {
		if a.Code == host.CodeOK && a.String() == `config host "driver_root"` {
			sameDriver = string(a.Answer) == "/"
		}
	}
	if err := host.WriteMachine(f.record, t.asked, sameDriver, f.redact, readme.String()); err != nil {
		return err
	}
	if f.redact {
		return nil // the edits may have what was left out
	}
	return os.WriteFile(filepath.Join(f.record, "edits.json"), document, 0o644)
}
