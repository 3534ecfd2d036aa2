// SPDX-License-Identifier: Apache-2.0

// Package wasm runs the module of a mode in wazero. Start with Discover, which
// reads a module, holds it against the ABI and runs it once for one container;
// scan.go is what a module must pass before wazero sees it, guest.go and wasi.go
// are the functions that it may import.
//
// It never looks at the machine itself: every query goes to a host.Run. It never
// compiles a module while a container is created.
package wasm

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
)

// Discover runs the module that is installed for a mode, for the container that
// req describes, and returns what it found. containerRoot is the absolute path of
// the container's root file system; it need not exist. The module's log goes to
// log, which may be nil.
//
// Errors begin with "mode NAME: ". Where one wraps
// [discover.ErrInvalidEdits], or names the module's file, the module is at
// fault. After an error of a run that took longer than c.Limits.WallMS, or
// where ctx ended first, the module may still be computing on another thread:
// end the process.
func Discover(ctx context.Context, c host.Config, mode string, req *discover.Request, containerRoot string, log *slog.Logger) (host.Result, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if !host.IsModeName(mode) {
		return host.Result{}, fmt.Errorf("mode %q: is not a name of small letters, digits, dots and dashes; set mode in the config", mode)
	}
	result, err := discoverMode(ctx, c, mode, req, containerRoot, log)
	if err != nil {
		return host.Result{}, fmt.Errorf("mode %s: %w", mode, err)
	}
	return result, nil
}

func discoverMode(ctx context.Context, c host.Config, mode string, req *discover.Request, containerRoot string, log *slog.Logger) (host.Result, error) {
	defer holdMemory()() // reading the module is a part of it
	installed, err := c.ModuleOf(mode)
	if err != nil {
		return host.Result{}, err
	}
	if c.Limits, err = c.LimitsOf(mode); err != nil {
		return host.Result{}, err
	}
	file := installed.File
	code, err := readModule(file)
	if err != nil {
		return host.Result{}, err
	}
	host.StagesOf(ctx).Mark("read")
	if err := installed.CheckModule(code); err != nil {
		return host.Result{}, fmt.Errorf("%s: %w", file, err)
	}
	digest, _ := hex.DecodeString(strings.TrimPrefix(installed.Digest, "sha256:")) // CheckModule has compared it
	r, err := host.NewRun(c, mode, req, containerRoot, log)
	if err != nil {
		return host.Result{}, err
	}
	host.StagesOf(ctx).Mark("open")
	return runModule(ctx, file, code, &guest{digest: digest, run: r, ask: r.Query, config: c, mode: mode, log: log, random: newRandom(0)})
}

// runModule runs code, which was read from file, and gives back the roots of its
// run.
func runModule(ctx context.Context, file string, code []byte, g *guest) (host.Result, error) {
	c, mode, log, r := g.config, g.mode, g.log, g.run
	start := time.Now()
	recording := host.Record(g.ask)
	g.ask = recording.Query
	var answer uint32
	err := g.watch(ctx, func() error {
		defer r.Close()
		defer g.findCompiled(code)()
		host.StagesOf(ctx).Mark("lookup")
		shape, err := scanAll(code, g.stored != nil)
		if err == nil {
			err = checkShape(shape)
		}
		if err == nil {
			host.StagesOf(ctx).Mark("scan")
			answer, err = g.execute(ctx, code, shape)
		}
		return err
	})
	if errors.Is(err, errTooLong) {
		return host.Result{}, fmt.Errorf("%s: did not finish within %v; if the machine is slow, raise wall_ms in [limits] of the config", file, time.Duration(c.Limits.WallMS)*time.Millisecond)
	}
	if err != nil {
		return host.Result{}, fmt.Errorf("%s: %w", file, err)
	}
	if g.dropped > 0 {
		log.Warn("lines of the module's log were dropped", "mode", mode, "lines", g.dropped, "limit", c.Limits.LogBytes)
	}
	log.Debug("the module has run", "mode", mode, "compiled", g.compiled, "result", answer, "queries", r.Asked(), "took", time.Since(start))
	result, err := g.conclude(file, answer)
	host.StagesOf(ctx).Mark("edits")
	result.Recording = recording
	return result, err
}

// readModule reads the file of a module, once: what is read is what is run.
func readModule(file string) ([]byte, error) {
	f, err := host.OpenTrusted(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: does not exist; run \"tenon module install\" again", file)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Of the right size from the start: a buffer that grows would touch three
	// times the memory. One that is too large is for scan to refuse.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	code := make([]byte, min(info.Size(), maxModule+1))
	if _, err := io.ReadFull(f, code); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return code, nil
}

// conclude makes a result of what the module returned and emitted.
func (g *guest) conclude(file string, answer uint32) (host.Result, error) {
	if over := cmp.Or(g.run.Spent(), g.over); over != "" {
		return host.Result{}, fmt.Errorf("%s: %s", file, over)
	}
	switch answer {
	case host.ResultDone:
	case host.ResultFailed:
		if g.reason == "" {
			return host.Result{}, fmt.Errorf("%s: failed, and gave no reason", file)
		}
		return host.Result{}, errors.New(host.OneLine(g.reason))
	case host.ResultNotApplicable:
		if len(g.documents) > 0 {
			return host.Result{}, fmt.Errorf("%s: emitted edits, and then said that it does not apply", file)
		}
	default:
		return host.Result{}, fmt.Errorf("%s: returned %d, which is no result of the ABI", file, int32(answer))
	}
	result, err := host.Conclude(g.mode, host.TraceLeaf{Result: answer, Documents: g.documents, Explain: g.explain})
	if err != nil {
		return host.Result{}, fmt.Errorf("%s: %w", file, err)
	}
	return result, nil
}
