// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/discover"
)

// version is set by the linker for a release: -ldflags "-X main.version=1.2.3".
var version string

func versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  tenon version --format json",
		Args:    noArgs,
	}
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		v := built()
		if *f == "json" {
			return printJSON(c.OutOrStdout(), v)
		}
		line := "tenon " + v.Version
		if v.Commit != "" {
			line += ", commit " + v.Commit
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "%s, ABI %d, %s\n", line, v.ABI, v.Go)
		return err
	}
	return c
}

// build is what this program was made of.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	ABI     int    `json:"abi"`
	Go      string `json:"go"`
}

func built() build {
	b := build{Version: version, ABI: discover.ABI, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if b.Commit != "" {
		b.Commit += dirty
	}
	return b
}
