// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"log/slog"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
)

// A Trial is a run of a module that no create asked for: by its author, over
// this machine or a recorded one.
type Trial struct {
	// Config is that of a create. The module is run as the one of Mode, with all
	// that Manifest, its own, asks for.
	Config   host.Config
	Mode     string
	Manifest host.Manifest
	// File names the module in errors, and Code is its content. It is run as it
	// is given, whoever can write to the file.
	File string
	Code []byte
	// Request is the container, and ContainerRoot the absolute path of its root
	// file system; "" for none.
	Request       *discover.Request
	ContainerRoot string
	// Ask makes what answers the queries of that which answers them for a create
	// on this machine; nil leaves it at that.
	Ask func(*host.Run) host.Ask
	// Variant changes the clock and the random numbers of WASI, which edits must
	// not hang on: rule M-20 of sdk/ABI.md. With 0 they are those of a create.
	Variant uint32
	// Log takes the module's log; nil for nobody.
	Log *slog.Logger
}

// Discover runs the module once, interpreted. What it emitted is held against
// the rules for edits and the rights of the module, but not against the machine.
// Errors begin with File, or, where the module failed, are its reason.
func (t Trial) Discover(ctx context.Context) (host.Result, error) {
	if t.Log == nil {
		t.Log = slog.New(slog.DiscardHandler)
	}
	r, rights, err := host.NewTrial(t.Config, t.Mode, t.Manifest, t.Request, t.ContainerRoot, t.Log)
	if err != nil {
		return host.Result{}, err
	}
	c := t.Config
	c.Limits = t.Manifest.Limits.Within(c.Limits)
	g := &guest{run: r, ask: r.Query, config: c, mode: t.Mode, log: t.Log, random: newRandom(uint64(t.Variant))}
	if t.Ask != nil {
		g.ask = t.Ask(r)
	}
	g.clock = uint64(t.Variant) * uint64(time.Minute)
	result, err := runModule(ctx, t.File, t.Code, g)
	if err == nil {
		err = rights.CheckEdits(t.Mode, result.Edits)
	}
	return result, err
}
