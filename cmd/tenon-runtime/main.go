// SPDX-License-Identifier: Apache-2.0

// Command tenon-runtime is the OCI runtime that dockerd, containerd, Podman or
// CRI-O starts in place of runc. When a container is created it asks the modes
// what this machine has for it, writes their edits into the bundle's
// config.json, and becomes runc. For everything else it becomes runc at once.
//
// Usage is that of runc: nothing is taken away and nothing added. Two rules
// stand over all of it. Only create and run can fail because of us: a broken
// configuration must never keep a container from being started, killed, deleted
// or asked for its state. And either all edits are in config.json, or none.
//
// Read main.go first: create is the whole story. call.go is the command line,
// bundle.go the config.json, ask.go the way to the modes, record.go what is kept
// for people, report.go the one door for errors. What would slow every start
// down, the reader of the configuration and the WebAssembly engine, is in a
// program of its own, tenon-engine.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
)

func main() {
	os.Exit(run(os.Args, os.Environ(), os.Stderr))
}

// run is main without the process. If all goes well it does not return, since
// the low-level runtime takes over the process. Otherwise it reports why and
// returns the exit status.
func run(args, env []string, stderr io.Writer) int {
	c := parseCall(args[1:])
	report(stderr, c, serve(c, filepath.Base(args[0]), args[1:], env))
	return 1
}

// serve carries out one call. It returns only to say why it could not.
func serve(c call, program string, args, env []string) error {
	stages := host.NewStages(os.Getenv(host.StagesVariable))
	settings := settingsFor(program, env)
	stages.Mark("settings")
	switch {
	case c.creates():
		if settings.Problem != "" {
			return errors.New(settings.Problem)
		}
		if err := create(c, program, settings.Config, env, stages); err != nil {
			return err
		}
		stages.End(program)
	case c.command == "delete":
		_ = host.RemoveContainer(host.StateFolder(env), c.id) // it is for people only
	}
	return become(settings.Config.Runtimes, args, env, os.Getenv("PATH"))
}

// create does what tenon is for: bundle, request, modes, edits, bundle.
func create(c call, program string, config host.Config, env []string, stages *host.Stages) error {
	began := time.Now()
	modes, err := config.Modes()
	if err != nil || len(modes) == 0 {
		return err
	}
	b, err := openBundle(c.bundle, c.config)
	if err != nil {
		return err
	}
	stages.Mark("bundle")
	log := host.OpenLog(config).With("bundle", b.base)
	answers, err := ask(program, config, modes, b, env, log)
	if err != nil {
		return err
	}
	stages.Mark("ask")
	var parts []discover.ModeEdits
	for _, answer := range answers {
		edits, err := checked(config, answer.Answer)
		if err != nil {
			return err
		}
		parts = append(parts, discover.ModeEdits{Mode: answer.Mode, Edits: edits})
	}
	stages.Mark("check")
	edits, err := discover.Merge(parts)
	if err == nil && !edits.Empty() {
		err = apply(config, b, edits, stages)
	}
	if err == nil && len(answers) > 0 {
		record(c, program, config, b, answers, edits, began, env, log)
		stages.Mark("record")
	}
	return err
}

// apply writes edits into the bundle.
func apply(config host.Config, b *bundle, edits discover.Edits, stages *host.Stages) error {
	hooks, err := config.Programs(host.OwnFolder(), &edits)
	if err != nil {
		return err
	}
	if edits, err = discover.Lower(edits, hooks); err != nil {
		return err
	}
	content, err := discover.Apply(b.spec, edits)
	if err != nil {
		return err
	}
	stages.Mark("apply")
	defer stages.Mark("write")
	return b.write(content)
}

// checked returns the edits of one mode as they may be applied. An answer is as
// little trusted when it comes from a trace as when the module has just run.
func checked(config host.Config, answer host.Answer) (discover.Edits, error) {
	result, err := host.Conclude(answer.Mode, answer.TraceLeaf)
	if err != nil {
		return discover.Edits{}, fmt.Errorf("mode %s: %w", answer.Mode, err)
	}
	err = host.Resolve(config, answer.Mode, &result.Edits)
	return result.Edits, err
}
