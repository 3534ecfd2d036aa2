// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
)

// runtimeCommand is tenon runtime: it tells engines of tenon-runtime, takes that
// back, and says how things are. It never starts, stops or reloads an engine.
func runtimeCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "runtime",
		Short: "Tell Docker, containerd, CRI-O and Podman of tenon-runtime",
		Long: `Tell the engines of tenon-runtime: docker, containerd, crio, podman.

Where no engine is named, all are meant that are found on this machine.
No engine is restarted: each command says what to run next.`,
		Example: "  tenon runtime configure docker\n  tenon runtime status",
	}, configureCommand(), unconfigureCommand(), statusCommand())
}

// A target is what the flags and arguments that all three share come to.
type target struct {
	config string
	root   string
}

func (g *target) flags(c *cobra.Command) {
	c.Flags().StringVar(&g.config, "config", "", "the engine's main `file`, if it is not where it usually is; for one engine")
	c.Flags().StringVar(&g.root, "root", "/", "work on the tree below this `folder` instead of on this machine")
	c.ValidArgs = nil
	for _, e := range engines {
		c.ValidArgs = append(c.ValidArgs, e.name)
	}
}

func configureCommand() *cobra.Command {
	var g target
	var name, path string
	var def, dry bool
	c := &cobra.Command{
		Use:   "configure [ENGINE]...",
		Short: "Make tenon-runtime known to engines",
		Long: `Make tenon-runtime known to engines, as the runtime "tenon".

daemon.json of Docker gets one entry; the others get a file of their own, and
containerd's config.toml one import. Everything else stays byte for byte, and
what was there is kept in ` + backupFolder + ` until unconfigure.`,
		Example: `  tenon runtime configure docker
  tenon runtime configure --set-as-default --dry-run
  tenon runtime configure containerd --name nvidia`,
		RunE: func(c *cobra.Command, args []string) error {
			t, chosen, err := g.choose(c.OutOrStdout(), args)
			if err != nil {
				return err
			}
			if path, err = runtimePath(t, path); err != nil {
				return err
			}
			if err := checkName(name); err != nil {
				return err
			}
			return configureEngines(c.OutOrStdout(), t, chosen, g.config, name, path, def, dry)
		},
	}
	g.flags(c)
	c.Flags().StringVar(&name, "name", "tenon", "the `name` by which containers ask for it; nvidia to take that one's place")
	c.Flags().StringVar(&path, "path", "", "the absolute `path` of tenon-runtime (default: beside tenon, else /usr/bin/tenon-runtime)")
	c.Flags().BoolVar(&def, "set-as-default", false, "make it the runtime of containers that ask for none")
	c.Flags().BoolVar(&dry, "dry-run", false, "show what would change, and change nothing")
	return c
}

func unconfigureCommand() *cobra.Command {
	var g target
	var dry bool
	c := &cobra.Command{
		Use:   "unconfigure [ENGINE]...",
		Short: "Take back what configure did",
		Long: `Take back what configure did. A file that nobody else changed since is again what
it was, byte for byte; out of one that was changed, only tenon's part is taken.
Containers that were made with the runtime stay, but cannot be started without it.`,
		Example: "  tenon runtime unconfigure --dry-run\n  tenon runtime unconfigure docker",
		RunE: func(c *cobra.Command, args []string) error {
			t, chosen, err := g.choose(c.OutOrStdout(), args)
			if err != nil {
				return err
			}
			return unconfigureEngines(c.OutOrStdout(), t, chosen, g.config, dry)
		},
	}
	g.flags(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "show what would change, and change nothing")
	return c
}

// choose returns the engines that are meant.
func (g *target) choose(out io.Writer, args []string) (tree, []engine, error) {
	root, err := filepath.Abs(g.root)
	if err != nil {
		return tree{}, nil, err
	}
	t := tree{root}
	if st, err := os.Stat(root); err != nil || !st.IsDir() {
		return t, nil, usage("%q: is not a folder; name one with --root", g.root)
	}
	if g.config != "" && len(args) != 1 {
		return t, nil, usage("--config is for one engine; name that engine")
	}
	if g.config != "" && (!filepath.IsAbs(g.config) || filepath.Clean(g.config) != g.config) {
		return t, nil, usage("--config %q: is not an absolute path in its shortest form; write it in full", g.config)
	}
	var chosen []engine
	for _, e := range engines {
		f := e.files(g.config)
		switch {
		case slices.Contains(args, e.name):
			chosen = append(chosen, e)
		case len(args) > 0:
		case t.has(e.found) || f.dropIn != "" && t.has([]string{f.dropIn}):
			if e.skipped != nil && !t.has([]string{f.dropIn}) {
				if why := e.skipped(view{tree: t}, f); why != "" {
					fmt.Fprintf(out, "%s: left alone: %s\n", e.name, why)
					continue
				}
			}
			chosen = append(chosen, e)
		}
	}
	known := func(arg string) bool {
		return slices.ContainsFunc(engines, func(e engine) bool { return e.name == arg })
	}
	for _, arg := range args {
		if !known(arg) {
			return t, nil, usage("engine %q: is none that tenon knows; the engines are %s", arg, engineNames())
		}
	}
	if len(chosen) == 0 {
		return t, nil, exitError{exitNothing, fmt.Errorf("no engine was found on this machine; name one of %s", engineNames())}
	}
	return t, chosen, nil
}

func engineNames() string {
	var names []string
	for _, e := range engines {
		names = append(names, e.name)
	}
	return strings.Join(names, ", ")
}

// has reports whether one of the paths is there.
func (t tree) has(paths []string) bool {
	return slices.ContainsFunc(paths, func(path string) bool {
		_, err := os.Lstat(t.at(path))
		return err == nil
	})
}

// nameGrammar is what all four engines take as the name of a runtime, and TOML
// as a key without quotation marks.
var nameGrammar = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

func checkName(name string) error {
	if !nameGrammar.MatchString(name) {
		return usage("--name %q: is not a name; use letters, digits, - and _", name)
	}
	if slices.Contains([]string{"runc", "crun", "youki"}, name) {
		return usage("--name %q: is the low-level runtime's own name, which engines know; choose another", name)
	}
	return nil
}

// runtimePath returns the path that engines are given: given, else tenon-runtime
// beside this program, else where packages put it. In another tree, this
// program's own place says nothing.
func runtimePath(t tree, given string) (string, error) {
	path := given
	if path == "" {
		path = "/usr/bin/" + program
		if self, err := os.Executable(); err == nil && t.root == "/" {
			if beside := filepath.Join(filepath.Dir(self), program); t.has([]string{beside}) {
				path = beside
			}
		}
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "", usage("--path %q: is not an absolute path in its shortest form; write it in full", given)
	}
	return path, t.runnable(path)
}

// runnable says why engines must not run the program at path: it is not there,
// or others than root and this user can change it. Links are followed, and each
// of them must be as safe as a file.
func (t tree) runnable(path string) error {
	uid := os.Geteuid()
	at, rest := "/", strings.Split(path[1:], "/")
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		st, err := os.Lstat(t.at(next))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s: does not exist; install tenon-runtime there, or name its place with --path", path)
		case err != nil:
			return fmt.Errorf("%s: %w", path, err)
		}
		switch owner := ownerOf(st); {
		case owner != 0 && owner != uid:
			return fmt.Errorf("%s: leads over %s, which belongs to uid %d; chown it to root", path, next, owner)
		case st.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(t.at(next))
			if links++; err != nil || links > 40 { // as many as Linux follows, path_resolution(7)
				return fmt.Errorf("%s: leads over too many links", path)
			}
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(slices.DeleteFunc(strings.Split(to, "/"), func(s string) bool { return s == "" }), rest...)
			continue
		case st.Mode()&0o022 != 0:
			todo := "chmod go-w it"
			if st.Mode()&fs.ModeSticky != 0 {
				todo = "put the program elsewhere" // /tmp is meant to be so
			}
			return fmt.Errorf("%s: leads over %s, which others may write (mode %04o); %s", path, next, st.Mode().Perm(), todo)
		case len(rest) == 0 && (!st.Mode().IsRegular() || st.Mode()&0o111 == 0):
			return fmt.Errorf("%s: is not a program; name tenon-runtime with --path", path)
		}
		at = next
	}
	return nil
}

// configureEngines first works out what has to change everywhere, and only then
// changes anything.
func configureEngines(out io.Writer, t tree, chosen []engine, config, name, path string, def, dry bool) error {
	var plans [][]change
	var texts []string // what the runtime of that name was before
	v := view{tree: t}
	for _, e := range chosen {
		f := e.files(config)
		have, err := e.installed(v, f)
		if err != nil {
			return err
		}
		was, err := e.reads(v, f)
		if err != nil {
			return err
		}
		text := ""
		if old := was.runtimes[name]; old != "" && old != path {
			text = fmt.Sprintf(" (it was %s)", old)
		}
		changes, err := e.configure(v, f, have.with(name, path, def))
		if err != nil {
			return err
		}
		plans, texts = append(plans, changes), append(texts, text)
	}
	for i, e := range chosen {
		f := e.files(config)
		if len(plans[i]) == 0 {
			fmt.Fprintf(out, "%s: already configured in %s\n", e.name, f.ownFile())
			continue
		}
		if dry {
			showChanges(out, plans[i])
			continue
		}
		for _, c := range plans[i] {
			if err := t.configure(c, name, path); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "%s: runtime %s is now %s%s, in %s\n", e.name, name, path, texts[i], f.ownFile())
		for _, c := range plans[i] {
			if c.before.exists() && c.path == f.main {
				fmt.Fprintf(out, "%s: what %s was is kept in %s\n", e.name, c.path, backupOf(c.path, "original"))
			}
		}
		if e.remark != nil {
			if text := e.remark(v, f); text != "" {
				fmt.Fprintf(out, "%s: %s\n", e.name, text)
			}
		}
		e.sayNext(out, e.next)
	}
	return nil
}

func unconfigureEngines(out io.Writer, t tree, chosen []engine, config string, dry bool) error {
	var plans [][]change
	var mixed []string
	for _, e := range chosen {
		changes, more, err := e.unconfigure(view{tree: t}, e.files(config))
		if err != nil {
			return err
		}
		plans, mixed = append(plans, changes), append(mixed, more...)
	}
	for i, e := range chosen {
		if !slices.ContainsFunc(plans[i], change.real) {
			fmt.Fprintf(out, "%s: is not configured\n", e.name)
		}
		if dry {
			showChanges(out, plans[i])
			continue
		}
		for _, c := range plans[i] {
			if err := t.unconfigure(c); err != nil {
				return err
			}
			switch {
			case !c.real():
			case !c.after.exists():
				fmt.Fprintf(out, "%s: %s is removed\n", e.name, c.path)
			case slices.Contains(mixed, c.path):
				fmt.Fprintf(out, "%s: %s was changed by others since: only what tenon put in is taken out\n", e.name, c.path)
			default:
				fmt.Fprintf(out, "%s: %s is what it was before\n", e.name, c.path)
			}
		}
		if slices.ContainsFunc(plans[i], change.real) {
			e.sayNext(out, e.after)
		}
	}
	return nil
}

func (e engine) sayNext(out io.Writer, command string) {
	if command != "" {
		fmt.Fprintf(out, "%s: now run: %s\n", e.name, command)
	}
}

// showChanges writes a unified diff.
func showChanges(out io.Writer, changes []change) {
	name := func(c content, path string) string {
		if c.exists() {
			return path
		}
		return os.DevNull
	}
	for _, c := range changes {
		out.Write(diff.Diff(name(c.before, c.path), c.before, name(c.after, c.path), c.after))
	}
}
