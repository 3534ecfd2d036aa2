// SPDX-License-Identifier: Apache-2.0

// Command tenon is the tool for the person who looks after a machine: it shows
// the configuration, the modules, and what is wrong with them, and it tells
// container engines about tenon-runtime.
//
// What it prints on standard output is data, for people or, with --format json,
// for programs; all else goes to standard error. It runs modules to try them and to
// explain containers. It never takes part in the creation of one: that is
// cmd/tenon-runtime.
//
// Start at main; each noun of the command line has a file.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/wasm"
)

// Exit codes. They are part of the product.
const (
	exitFailed  = 1 // something went wrong
	exitUsage   = 2 // the command line was wrong
	exitNothing = 3 // nothing of what was asked for is there
	exitCheck   = 4 // what was checked is not right
)

// exitError is an error with an exit code other than exitFailed.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	wasm.Compile() // the whole program where "module install" has started it to compile
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program; every error of it is printed here and nowhere else,
// as "tenon: THING: what is wrong[; what to do]".
func run(args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "tenon: %s\n", told(err))
	var e exitError
	if errors.As(err, &e) {
		return e.code
	}
	return exitFailed
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tenon",
		Short: "Look after tenon-runtime: its configuration and its modules",
		Long: `tenon looks after tenon-runtime, which gives containers the devices they ask for.

Exit codes: 0 all is well, 1 it failed, 2 the command line is wrong, 3 nothing
found, 4 a check found something wrong.`,
		Example: `  tenon doctor
  tenon explain CONTAINER
  tenon config check
  tenon config show
  tenon module list
  tenon module inspect ./acme.wasm`,
		Args:          subcommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		var value *pflag.InvalidValueError
		if errors.As(err, &value) {
			why := value.Unwrap()
			if errors.Is(why, strconv.ErrSyntax) || errors.Is(why, strconv.ErrRange) {
				why = errors.New("must be a number")
			}
			err = fmt.Errorf("--%s %q: %w", value.GetFlag().Name, value.GetValue(), why)
		}
		return usage("%s: %w; see %q", where(c), err, c.CommandPath()+" --help")
	})
	root.PersistentFlags().BoolP("verbose", "v", false, "say on standard error what is looked at")
	root.AddCommand(moduleCommand(), configCommand(), runtimeCommand(), explainCommand(), applyCommand(), doctorCommand(), psCommand(), versionCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() { // cobra's own, with our manners
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				if _, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return usage("%q: is no command of \"tenon\"; see \"tenon --help\"", strings.Join(args, " "))
				}
				return nil
			}
		case "completion":
			group(c)
			for _, shell := range c.Commands() {
				shell.Args = noArgs
			}
		}
	}
	return root
}

// group is a command that has commands and does nothing by itself.
func group(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.Args = subcommand
	c.RunE = func(c *cobra.Command, _ []string) error {
		return usage("%s: wants a command: %s", where(c), names(c))
	}
	c.AddCommand(children...)
	return c
}

// subcommand is the Args of a command that takes the names of others only.
func subcommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage("%q: is no command of %q; there are %s", args[0], c.CommandPath(), names(c))
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s: takes no %q; see %q", where(c), args[0], c.CommandPath()+" --help")
	}
	return nil
}

// where names a command in an error, without the program's own name.
func where(c *cobra.Command) string {
	if !c.HasParent() {
		return "command line"
	}
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
}

func names(c *cobra.Command) string {
	var list []string
	for _, child := range c.Commands() {
		if child.IsAvailableCommand() {
			list = append(list, child.Name())
		}
	}
	return strings.Join(list, ", ")
}

// told is the line that a person gets for err: its first one, since cobra and
// libraries add more, in which the kernel's words for a file and what package os puts
// before its name are ours.
func told(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	var p *fs.PathError
	if errors.As(err, &p) {
		line = strings.Replace(line, p.Error(), host.Shown(p.Path)+": "+p.Err.Error(), 1)
	}
	for kernel, ours := range map[syscall.Errno]string{syscall.ENOENT: "does not exist", syscall.ENOTDIR: "is not a folder", syscall.EISDIR: "is a folder"} {
		if before, ok := strings.CutSuffix(line, kernel.Error()); ok {
			line = before + ours
		}
	}
	if strings.HasSuffix(line, syscall.EACCES.Error()) && os.Geteuid() != 0 {
		line += "; run this as root"
	}
	if rest, ok := strings.CutPrefix(line, ": "); ok { // a thing that was given as ""
		line = `"": ` + rest
	}
	return line
}

// format is the value of --format.
type format string

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "text|json" }
func (f *format) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("must be text or json")
	}
	*f = format(s)
	return nil
}

// formatFlag gives c the flag --format.
func formatFlag(c *cobra.Command) *format {
	f := format("text")
	c.Flags().Var(&f, "format", "how to print it")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// printJSON prints one indented document.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
