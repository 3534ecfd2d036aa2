// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
)

// A point is one thing that doctor has looked at.
type point struct {
	Point string `json:"point"` // what was looked at
	State state  `json:"state"`
	What  string `json:"what"`         // how it is
	Do    string `json:"do,omitempty"` // what to do about it; "" for nothing
}

// state is how a point stands.
type state string

const (
	isGood  state = "ok"
	isNote  state = "note"  // worth knowing; nothing is wrong
	isWrong state = "wrong" // containers do not get what they ask for, or may lose it
)

// A checkup collects points.
type checkup struct {
	config host.Config
	state  string // the folder of traces and records
	folder string // the one that tenon-runtime is in
	list   []point
}

// add notes one point. An error of ours says what to do after a semicolon.
func (d *checkup) add(name string, s state, what string) {
	what, do, _ := strings.Cut(host.Reported(errors.New(what)), "; ")
	d.list = append(d.list, point{name, s, host.OneLine(what), host.OneLine(do)})
}

func (d *checkup) good(name, format string, args ...any) {
	d.add(name, isGood, fmt.Sprintf(format, args...))
}
func (d *checkup) note(name, format string, args ...any) {
	d.add(name, isNote, fmt.Sprintf(format, args...))
}
func (d *checkup) wrong(name, format string, args ...any) {
	d.add(name, isWrong, fmt.Sprintf(format, args...))
}

func doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look at all that containers with devices need, and say what to do",
		Long: `Look at all that a container needs to get its devices, one line a point: tenon's
programs, the low-level runtime, the configuration, the modules and their compiled
code, the folders that tenon keeps things in, the engines, the kernel, and NVIDIA's
driver where it is loaded. Nothing is changed.

  ok     all is well
  note   worth knowing; nothing is wrong
  wrong  containers do not get what they ask for, or may lose it

Exit code 4 where something is wrong.`,
		Example: "  tenon doctor\n  tenon doctor --format json",
		Args:    noArgs,
	}
	f := formatFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		d := &checkup{
			config: config.ReadSettings("tenon-runtime", os.Environ()).Config, // the defaults where it is broken
			state:  host.StateFolder(os.Environ()), folder: host.OwnFolder(),
		}
		d.all()
		bad := 0
		for _, p := range d.list {
			if p.State == isWrong {
				bad++
			}
		}
		var err error
		if *f == "json" {
			err = printJSON(c.OutOrStdout(), d.list)
		} else {
			err = d.print(c)
		}
		if err == nil && bad > 0 {
			err = exitError{exitCheck, fmt.Errorf("doctor: %s wrong; see standard output", map[bool]string{true: "1 point is", false: fmt.Sprintf("%d points are", bad)}[bad == 1])}
		}
		return err
	}
	return c
}

// all looks at everything, what others rest on first.
func (d *checkup) all() {
	d.programs()
	d.configuration()
	d.lowLevelRuntime()
	d.modules()
	d.folders()
	d.traces()
	d.engines()
	d.kernel()
	m := machine{"/"}
	m.cgroup(d)
	m.nvidia(d)
	m.deviceLinks(d, d.devices(), m.systemd())
}

func (d *checkup) print(c *cobra.Command) error {
	colours := inColour(c.OutOrStdout())
	var text strings.Builder
	for _, p := range d.list {
		word := fmt.Sprintf("%-5s", p.State)
		if colours {
			word = "\x1b[" + map[state]string{isGood: green, isNote: yellow, isWrong: red}[p.State] + "m" + word + "\x1b[0m"
		}
		fmt.Fprintf(&text, "%s  %s: %s", word, p.Point, p.What)
		if p.Do != "" {
			fmt.Fprintf(&text, "; %s", p.Do)
		}
		text.WriteByte('\n')
	}
	_, err := fmt.Fprint(c.OutOrStdout(), text.String())
	return err
}

// programs looks for those of tenon, and whether they are of one build.
func (d *checkup) programs() {
	for _, name := range []string{"tenon-runtime", "tenon-engine", "tenon-hook"} {
		configured := ""
		if name == "tenon-hook" {
			configured = d.config.Hook
		}
		file, err := host.Program(d.folder, name, configured)
		if err != nil {
			d.wrong(name, "%s", strings.TrimPrefix(err.Error(), name+": "))
			continue
		}
		switch why, err := otherBuild(file, name); {
		case err != nil:
			d.wrong(name, "%s", err)
		case why != "":
			d.wrong(name, "%s: is of another build than tenon (%s); install tenon anew, all programs from one package", file, why)
		default:
			d.good(name, "%s", file)
		}
	}
}

// configuration tells what "tenon config check" would, for each name that
// tenon-runtime is installed under.
func (d *checkup) configuration() {
	names := []string{"tenon-runtime"}
	if st, err := os.Stat(filepath.Join(d.folder, "nvidia-container-runtime")); err == nil {
		if ours, err := os.Stat(filepath.Join(d.folder, "tenon-runtime")); err == nil && os.SameFile(st, ours) {
			names = append(names, "nvidia-container-runtime")
		}
	}
	for _, name := range names {
		point := "configuration"
		if name != "tenon-runtime" {
			point += " of " + name
		}
		files, problems := config.Check(name, os.Environ())
		clean := true
		for _, p := range problems {
			switch p.Level {
			case config.Unused:
				d.note(point, "%s", p)
			default:
				d.wrong(point, "%s", p)
				clean = false
			}
		}
		switch {
		case !clean:
		case len(files) == 0:
			d.good(point, "there is no file, and the defaults hold")
		default:
			d.good(point, "%s", strings.Join(files, ", "))
		}
	}
	if d.config.AcceptEnvWhenUnprivileged {
		d.note("accept_env_when_unprivileged", "is true: every container may ask for devices by its environment, and so may every image; "+
			"to keep that to privileged containers, set it to false")
	} else {
		d.note("accept_env_when_unprivileged", "is false: only privileged containers may ask for devices by their environment")
	}
}

func (d *checkup) lowLevelRuntime() {
	file, err := host.LowLevelRuntime(d.config.Runtimes, os.Getenv("PATH"), filepath.Join(d.folder, "tenon-runtime"))
	if err != nil {
		d.wrong("low-level runtime", "%s", strings.TrimPrefix(err.Error(), "low-level runtime "))
		return
	}
	d.good("low-level runtime", "%s", file)
}

// modules looks at the modes that would be asked, and at each module.
func (d *checkup) modules() {
	modes, err := d.config.Modes()
	switch {
	case err != nil:
		d.wrong("modes", "%s", err)
	case len(modes) == 0:
		d.note("modes", "none is asked on this machine: mode is %q; set mode in the configuration to the modes that you want", strings.Join(d.config.Mode, ", "))
	default:
		d.good("modes", "asked, in this order: %s", strings.Join(modes, ", "))
	}
	if slices.Contains(modes, "legacy") {
		switch hook, _, err := d.config.NVIDIAHook(); {
		case err != nil:
			d.wrong("NVIDIA's hook", "%s", err)
		case hook == "":
			d.wrong("NVIDIA's hook", "%q is not installed, and mode legacy adds it; install it, or set hook_path in [modes.legacy]", d.config.ModeTables["legacy"]["hook_path"])
		default:
			d.good("NVIDIA's hook", "%s", hook)
		}
	}
	p := place{root: "/", config: d.config}
	all, err := p.modules()
	if err != nil {
		d.wrong("modules", "%s", err)
		return
	}
	trust, err := p.readTrust()
	if err != nil {
		d.wrong("trust_d", "%s", err)
	}
	have := map[string]bool{}
	for _, m := range all {
		have[m.Name] = true
		d.module(p, m)
		if len(trust.keys) > 0 && m.Problem == "" && len(m.SignedBy) == 0 {
			d.note("mode "+m.Name, "is not signed, though %s has keys: it came with a package, before the keys, or with --allow-unsigned; "+
				"to hold it to them, \"tenon module sign\" it and run \"tenon module install\" again", trust.dir)
		}
	}
	for _, mode := range modes {
		if !have[mode] {
			d.wrong("mode "+mode, `is asked, and not installed; run "tenon module install FILE"`)
		}
	}
}

func (d *checkup) module(p place, m config.Module) {
	name := "mode " + m.Name
	r, err := p.report(m)
	if err != nil {
		d.wrong(name, "%s", err)
		return
	}
	for _, problem := range r.Problems {
		d.wrong(name, "%s", problem)
	}
	about := fmt.Sprintf("%s %s, %s", r.Name, r.Version, shortDigest(r.Digest))
	switch {
	case len(r.Problems) > 0:
	case r.Compiled:
		d.good(name, "%s, compiled", about)
	case host.BuildID() == "":
		d.note(name, "%s, not compiled: this build of tenon has no id; build it with make", about)
	default:
		d.wrong(name, `%s, not compiled, so that its creates are slow; run "tenon module warm"`, about)
	}
}

// folders looks whether those that tenon trusts are such that only root can change
// what is in them.
func (d *checkup) folders() {
	for _, f := range []struct{ name, path string }{
		{"modules_d", d.config.ModulesD}, {"module_dir", d.config.ModuleDir}, {"cache_dir", d.config.CacheDir}, {"trust_d", d.config.TrustD},
	} {
		// A file that is not there shows what is wrong on the way to it.
		const none = ".tenon-doctor"
		_, err := host.OpenTrusted(filepath.Join(f.path, none))
		switch {
		case err == nil:
		case !errors.Is(err, fs.ErrNotExist):
			d.wrong(f.name, "%s", strings.ReplaceAll(err.Error(), "/"+none, ""))
		case !isFolder(f.path):
			d.good(f.name, "%s: is not there yet", f.path)
		default:
			d.good(f.name, "%s", f.path)
		}
	}
	wrongs := len(d.list)
	for _, name := range []string{"settings", "traces", "containers"} {
		folder, err := host.OpenFolder(filepath.Join(d.state, name), false)
		switch {
		case err == nil:
			folder.Close()
		case !errors.Is(err, fs.ErrNotExist):
			d.wrong("state", "%s", err)
		}
	}
	if len(d.list) == wrongs {
		d.good("state", "%s", d.state)
	}
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// traces tells of modules that answered differently after the same questions.
func (d *checkup) traces() {
	list, err := host.Traces{Folder: filepath.Join(d.state, "traces")}.List()
	if err != nil {
		return // told by folders
	}
	modes := map[string]string{}
	for _, m := range d.config.Installed {
		if key, err := d.config.TraceKeyOf(m.Name); err == nil {
			modes[key.String()] = m.Name
		}
	}
	runs, marked := 0, 0
	for _, f := range list {
		runs += f.Leaves
		if f.Marked == "" {
			continue
		}
		marked++
		who := "a module that is no longer installed, or had another configuration"
		if mode := modes[f.Key]; mode != "" {
			who = "the module of mode " + mode
		}
		d.wrong("traces", "%s is not deterministic, so that it has to run each time (%s); tell its author",
			who, strings.ReplaceAll(strings.TrimPrefix(f.Marked, host.ErrNotDeterministic.Error()+": "), "; ", ", "))
	}
	switch {
	case d.config.Traces == host.TracesOff:
		d.note("traces", `are off, so that every module runs each time; set traces = "on" in the configuration`)
	case marked == 0:
		d.good("traces", "%s of %s", counted(runs, "run"), counted(len(list), "module"))
	}
}

// engines asks "tenon runtime status".
func (d *checkup) engines() {
	var all target
	all.root = "/"
	t, chosen, err := all.choose(io.Discard, nil)
	if err != nil {
		d.note("engines", "%s", err)
		return
	}
	for _, e := range chosen {
		s := e.status(view{tree: t}, e.files(""))
		for _, problem := range s.Problems {
			d.wrong(e.name, "%s", problem)
		}
		switch {
		case len(s.Problems) > 0:
		case !s.Configured:
			d.note(e.name, `does not know tenon-runtime; run "tenon runtime configure %s"`, e.name)
		default:
			text := s.String()
			d.good(e.name, "%s", strings.ReplaceAll(strings.TrimPrefix(text, e.name+": "), "; ", ", "))
		}
	}
}

// devices are those that containers were given, by their numbers.
func (d *checkup) devices() map[string]string {
	all, err := readContainers()
	if err != nil {
		return nil // told by folders
	}
	devices := map[string]string{}
	for _, r := range all {
		for _, dev := range r.Devices {
			if dev.Type == "c" {
				devices[fmt.Sprintf("%d:%d", dev.Major, dev.Minor)] = dev.Path
			}
		}
	}
	return devices
}

// sortedNumbers are the keys of a map of devices.
func sortedNumbers(devices map[string]string) []string { return slices.Sorted(maps.Keys(devices)) }
