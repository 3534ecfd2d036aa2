// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/wasm"
)

func moduleInspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Tell what is in a module, without running it",
		Long: `Tell what is in a module: what it is for, what it may ask and what it may change
by its manifest, its size and digest, what it imports and exports, whether a create
would run it from this place, and if not, why. Nothing of it is run.

Exit code 4 where it is no module that tenon can run, or has no manifest.`,
		Example:           "  tenon module inspect /usr/lib/tenon/modules/csv.wasm\n  tenon module inspect --format json ./acme.wasm",
		Args:              oneFile,
		ValidArgsFunction: wasmFiles,
	}
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		m, err := inspectFile(args[0])
		if err != nil {
			return err
		}
		if *f == "json" {
			err = printJSON(c.OutOrStdout(), m)
		} else {
			err = m.print(c.OutOrStdout())
		}
		switch {
		case err != nil:
			return err
		case m.Unusable != "":
			return exitError{exitCheck, fmt.Errorf("%s: %s", printable(m.Path), m.Unusable)}
		case m.NoManifest != "":
			return exitError{exitCheck, fmt.Errorf("%s: %s", printable(m.Path), m.NoManifest)}
		}
		return nil
	}
	return c
}

// inspected is what can be told of a module without running it.
type inspected struct {
	wasm.Module
	Manifest *host.Manifest `json:"manifest,omitempty"`
	// Words are what the manifest says, for people.
	Words []string `json:"words,omitempty"`
	// NoManifest says why there is no manifest.
	NoManifest string `json:"noManifest,omitempty"`
}

func inspectFile(file string) (inspected, error) {
	var m inspected
	var err error
	if m.Module, err = wasm.InspectModule(file); err != nil {
		return m, err
	}
	code, err := readBounded(file, maxModuleFile)
	if err != nil {
		m.NoManifest = "has no manifest"
		return m, nil // it is too large: Unusable says so
	}
	section, err := host.ManifestOf(code)
	if err == nil {
		var manifest host.Manifest
		if manifest, err = host.ParseManifest(section); err == nil {
			m.Manifest, m.Words = &manifest, manifest.Words()
			return m, nil
		}
	}
	m.NoManifest = host.OneLine(err.Error())
	return m, nil
}

func (m *inspected) print(out io.Writer) error {
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
	switch {
	case m.Manifest != nil:
		fmt.Fprintf(w, "module\t%s %s\n", m.Manifest.Name, m.Manifest.Version)
		for _, part := range []struct{ name, value string }{{"license", m.Manifest.License}, {"source", m.Manifest.Source}} {
			if part.value != "" {
				fmt.Fprintf(w, "%s\t%s\n", part.name, part.value)
			}
		}
		for _, line := range m.Words {
			fmt.Fprintf(w, "manifest\t%s\n", printable(line))
		}
	case m.NoManifest != "":
		fmt.Fprintf(w, "manifest\t%s\n", printable(m.NoManifest))
	}
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
