// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// An engineStatus is how one engine is, as --format json shows it.
type engineStatus struct {
	Engine     string          `json:"engine"`
	Config     string          `json:"config"`           // the main file
	DropIn     string          `json:"dropIn,omitempty"` // our own file beside it
	Configured bool            `json:"configured"`
	Imported   bool            `json:"imported"` // the engine reads our file; false where it is not configured
	Runtimes   []runtimeStatus `json:"runtimes"`
	Problems   []string        `json:"problems"` // empty if all is well
}

type runtimeStatus struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Default bool   `json:"default"`
	Trusted bool   `json:"trusted"` // it is there, and only root can change it
}

func statusCommand() *cobra.Command {
	var g target
	c := &cobra.Command{
		Use:   "status [ENGINE]...",
		Short: "Say which engines know tenon-runtime, and whether all is well",
		Long: `Say which engines know tenon-runtime, one line for each, and whether the program
is there, is safe from others, and whether the engine reads what was written.
Ends with 4 if something is wrong, with 3 if there is no engine.`,
		Example: "  tenon runtime status\n  tenon runtime status docker --format json",
	}
	g.flags(c)
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		out := c.OutOrStdout()
		notes := out
		if *f == "json" {
			notes = io.Discard
		}
		t, chosen, err := g.choose(notes, args)
		if err != nil {
			return err
		}
		all := []engineStatus{}
		var wrong []string
		for _, e := range chosen {
			s := e.status(view{tree: t}, e.files(g.config))
			if len(s.Problems) > 0 {
				wrong = append(wrong, e.name)
			}
			all = append(all, s)
		}
		if *f == "json" {
			if err := printJSON(out, all); err != nil {
				return err
			}
		} else {
			for _, s := range all {
				fmt.Fprintln(out, s)
			}
		}
		if len(wrong) > 0 {
			return exitError{exitCheck, fmt.Errorf("runtime status: not all is well with %s; see standard output", strings.Join(wrong, ", "))}
		}
		return nil
	}
	return c
}

// status looks at everything of one engine; what it cannot read is a problem.
func (e engine) status(v view, f files) engineStatus {
	s := engineStatus{Engine: e.name, Config: f.main, DropIn: f.dropIn, Runtimes: []runtimeStatus{}, Problems: []string{}}
	problem := func(err error) engineStatus {
		s.Problems = append(s.Problems, err.Error())
		return s
	}
	have, err := e.installed(v, f)
	if err != nil {
		return problem(err)
	}
	all, err := e.reads(v, f)
	if err != nil {
		return problem(err)
	}
	s.Configured = len(have.runtimes) > 0
	if !s.Configured {
		return s
	}
	s.Imported = true
	for _, name := range have.names() {
		path := have.runtimes[name]
		err := v.runnable(path)
		s.Runtimes = append(s.Runtimes, runtimeStatus{name, path, all.def == name, err == nil})
		if err != nil {
			problem(err)
		}
		if all.runtimes[name] != path {
			s.Imported = false
		}
	}
	changes, err := e.configure(v, f, have)
	if err != nil {
		return problem(err)
	}
	again := fmt.Sprintf(`run "tenon runtime configure %s" again`, e.name)
	for _, c := range changes {
		switch {
		case c.path == f.main && f.dropIn != "":
			problem(fmt.Errorf("%s: does not import %s; %s", f.main, f.dropIn, again))
		default:
			problem(fmt.Errorf("%s: is not what configure would write now, since another file was changed; %s", c.path, again))
		}
	}
	return s
}

// String is the one line for people.
func (s engineStatus) String() string {
	if len(s.Problems) > 0 {
		return s.Engine + ": wrong: " + strings.Join(s.Problems, "; ")
	}
	if !s.Configured {
		return s.Engine + ": is not configured"
	}
	var all []string
	for _, r := range s.Runtimes {
		text := "runtime " + r.Name + " is " + r.Path
		if r.Default {
			text += ", the default"
		}
		all = append(all, text)
	}
	file := s.DropIn
	if file == "" {
		file = s.Config
	}
	return s.Engine + ": " + strings.Join(all, "; ") + ", in " + file
}
