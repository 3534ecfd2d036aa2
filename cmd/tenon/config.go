// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
)

func configCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Show and check the configuration",
		Long: `The configuration is made of /etc/tenon/config.toml, then the files
/etc/tenon/config.d/*.toml by name, then the environment variables TENON_…
(TENON_LIMITS__WALL_MS is wall_ms of [limits]). A later one wins; a list replaces
a list. TENON_CONFIG names one file to read instead of all these.

Under the name nvidia-container-runtime, tenon-runtime reads NVIDIA's file
instead, and then the variables: see --nvidia. The variables that count are those
of the engine that starts tenon-runtime, not those of your shell.`,
		Example: "  tenon config check\n  tenon config show --nvidia",
	}, configShowCommand(), configCheckCommand())
}

// nvidiaFlag gives c the flag --nvidia.
func nvidiaFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("nvidia", false, "the configuration under the name nvidia-container-runtime: NVIDIA's file")
}

// programName is the name under which tenon-runtime would be started.
func programName(nvidia bool) string {
	if nvidia {
		return "nvidia-container-runtime"
	}
	return "tenon-runtime"
}

func readConfig(nvidia bool) (host.Config, error) {
	return config.Read(programName(nvidia), os.Getenv)
}

func configShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show",
		Short: "Show every value that holds, and where it comes from",
		Long: `Show every value that holds, and where it comes from: the defaults, a line of a
file, or a variable. The text can be used as a configuration file.`,
		Example: "  tenon config show\n  tenon config show --format json --nvidia",
		Args:    noArgs,
	}
	f := formatFlag(c)
	nvidia := nvidiaFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		settings, err := config.Show(programName(*nvidia), os.Getenv)
		if err != nil {
			return err
		}
		if *f == "json" {
			return printJSON(c.OutOrStdout(), settings)
		}
		width := 0
		for _, s := range settings {
			width = max(width, len(s.TOML()))
		}
		var text strings.Builder
		for _, s := range settings {
			fmt.Fprintf(&text, "%-*s  # %s\n", min(width, 60), s.TOML(), s.From)
		}
		_, err = fmt.Fprint(c.OutOrStdout(), text.String())
		return err
	}
	return c
}

func configCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "Tell what is wrong with the configuration",
		Long: `Read the configuration as a create does, and tell all of what is wrong with it:

  error    a create of a container fails
  warning  it was not understood, and is passed over
  note     it does nothing here, or is an old way to say something

Exit code 4 where there are errors or warnings.`,
		Example: "  tenon config check\n  TENON_CONFIG=/root/new.toml tenon config check\n  tenon config check --nvidia",
		Args:    noArgs,
	}
	f := formatFlag(c)
	nvidia := nvidiaFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		files, problems := config.Check(programName(*nvidia), os.Environ())
		log := logger(c)
		for _, file := range files {
			log.Debug("read", "file", file)
		}
		count := map[config.Level]int{}
		for _, p := range problems {
			count[p.Level]++
		}
		if *f == "json" {
			report := struct {
				Files    []string         `json:"files"`
				Problems []config.Problem `json:"problems"`
			}{append([]string{}, files...), append([]config.Problem{}, problems...)}
			if err := printJSON(c.OutOrStdout(), report); err != nil {
				return err
			}
		} else if err := printCheck(c, files, problems); err != nil {
			return err
		}
		if count[config.Wrong]+count[config.Ignored] > 0 {
			return exitError{exitCheck, fmt.Errorf("configuration: %s and %s",
				counted(count[config.Wrong], "error"), counted(count[config.Ignored], "warning"))}
		}
		return nil
	}
	return c
}

func printCheck(c *cobra.Command, files []string, problems []config.Problem) error {
	var text strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&text, "%s: %s: %s\n", p.Place, p.Level, p.What)
	}
	for _, file := range files {
		clean := true
		for _, p := range problems {
			clean = clean && p.Place != file && !strings.HasPrefix(p.Place, file+":")
		}
		if clean {
			fmt.Fprintf(&text, "%s: good\n", printable(file))
		}
	}
	if len(files) == 0 && len(problems) == 0 {
		text.WriteString("no configuration file; the defaults hold\n")
	}
	_, err := fmt.Fprint(c.OutOrStdout(), text.String())
	return err
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
