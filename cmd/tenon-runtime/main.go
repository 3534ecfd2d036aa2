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
// bundle.go the config.json, report.go the one door for errors.
package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
	"github.com/tenon-runtime/tenon/host/wasm"
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
	var runtimes []string
	if c.creates() {
		config, err := config.Read(program, os.Getenv)
		if err != nil {
			return err
		}
		if err := create(context.Background(), c, config); err != nil {
			return err
		}
		runtimes = config.Runtimes
	} else {
		runtimes = config.Runtimes(program, os.Getenv)
	}
	return become(runtimes, args, env, os.Getenv("PATH"))
}

// create does what tenon is for: bundle, request, modes, edits, bundle.
func create(ctx context.Context, c call, config host.Config) error {
	modes, err := config.Modes()
	if err != nil || len(modes) == 0 {
		return err
	}
	b, err := openBundle(c.bundle, c.config)
	if err != nil {
		return err
	}
	log := openLog(config, b.path)
	req := b.spec.Request()
	var answers []discover.ModeEdits
	for _, mode := range modes {
		answer, err := wasm.Discover(ctx, config, mode, req, b.root(req), log)
		if err != nil {
			return err
		}
		if err := host.Resolve(config, mode, &answer.Edits); err != nil {
			return err
		}
		answers = append(answers, discover.ModeEdits{Mode: mode, Edits: answer.Edits})
	}
	edits, err := discover.Merge(answers)
	if err != nil {
		return err
	}
	if edits.Empty() {
		return nil
	}
	hooks, err := programs(config)
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
	return b.write(content)
}
