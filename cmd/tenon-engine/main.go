// SPDX-License-Identifier: Apache-2.0

// Command tenon-engine does for tenon-runtime what would slow it down: it reads
// the configuration, and it runs the modules of modes. tenon-runtime starts it
// where it has neither settings that hold nor a trace that fits; nobody else has
// to.
//
//	tenon-engine settings PROGRAM
//	tenon-engine discover PROGRAM ROOT MODE… < config.json
//
// PROGRAM is the name that tenon-runtime was started under, ROOT the container's
// root file system. The reply goes to standard output, in the format of
// host/answer.go; nothing is ever printed for people. It never changes a
// container: edits are checked and applied by tenon-runtime.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
	"github.com/tenon-runtime/tenon/host/wasm"
)

func main() {
	stages := host.NewStages(os.Getenv(host.StagesVariable))
	reply, err := answer(os.Args[1:], os.Stdin, stages)
	if err != nil {
		reply = host.EncodeError(err)
	}
	stages.End("tenon-engine")
	if _, err := os.Stdout.Write(reply); err != nil {
		os.Exit(1)
	}
	// After a time-out the module may still be computing: no waiting for it.
	os.Exit(0)
}

func answer(args []string, stdin io.Reader, stages *host.Stages) ([]byte, error) {
	switch {
	case len(args) == 2 && args[0] == "settings":
		return host.EncodeSettings(settings(args[1], stages)), nil
	case len(args) >= 3 && args[0] == "discover":
		return discovered(args[1], args[2], args[3:], stdin, stages)
	}
	return nil, errors.New("tenon-engine: is started by tenon-runtime only")
}

// settings reads the configuration, and keeps it for the next one to come.
func settings(program string, stages *host.Stages) host.Settings {
	started := time.Now()
	s := config.ReadSettings(program, os.Environ())
	stages.Mark("settings")
	if err := host.StoreSettings(host.StateFolder(os.Environ()), program, os.Environ(), s, started); err != nil {
		host.OpenLog(s.Config).Debug("the settings are not kept", "err", err)
	}
	stages.Mark("keep")
	return s
}

// discovered runs the modules of modes for one container, in order, and keeps
// traces of it.
func discovered(program, root string, modes []string, stdin io.Reader, stages *host.Stages) ([]byte, error) {
	// Mostly they were read a moment ago, for tenon-runtime.
	s, kept := host.LoadSettings(host.StateFolder(os.Environ()), program, os.Environ())
	if !kept {
		s = config.ReadSettings(program, os.Environ())
	}
	stages.Mark("settings")
	if s.Problem != "" {
		return nil, errors.New(s.Problem)
	}
	data, err := io.ReadAll(stdin)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	spec, err := discover.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	stages.Mark("config.json")
	ctx := host.WithStages(context.Background(), stages)
	log := host.OpenLog(s.Config)
	var answers []host.Answer
	for _, mode := range modes {
		result, err := wasm.Discover(ctx, s.Config, mode, spec.Request(), root, log)
		if err != nil {
			return nil, err
		}
		if err := host.Keep(s.Config, host.StateFolder(os.Environ()), mode, result.Recording, result.TraceLeaf); err != nil {
			log.Debug("the trace is not kept", "mode", mode, "err", err)
		}
		stages.Mark("keep")
		answers = append(answers, host.Answer{Mode: mode, TraceLeaf: result.TraceLeaf})
	}
	return host.EncodeAnswers(answers), nil
}
