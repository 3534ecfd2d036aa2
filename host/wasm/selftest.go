// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tenon-runtime/tenon/host"
)

// CheckCode holds a module against what must be so before wazero sees it: its
// size and structure, its imports and its exports. Nothing of it is run. Errors
// say what is wrong with the module, without its name.
func CheckCode(code []byte) error {
	shape, err := scan(code)
	if err != nil {
		return err
	}
	return checkShape(shape)
}

// selfTestMS is how long a module may take to start when it is installed: longer
// than a create may, as it may have no compiled code, and the machine be busy.
const selfTestMS = 30_000

// SelfTest starts a module as a create does, with its compiled code where there is
// some, and stops before tenon_discover: what can be known of it without a
// container. It asks the machine nothing. Errors are as those of CheckCode.
func SelfTest(ctx context.Context, c host.Config, code []byte) error {
	c.Limits.WallMS = max(c.Limits.WallMS, selfTestMS) // nobody waits for it
	g := &guest{config: c, log: slog.New(slog.DiscardHandler), random: newRandom(0)}
	err := g.watch(ctx, func() (err error) {
		defer func() {
			if p := recover(); p != nil { // as in execute
				err = g.explainTrap(fmt.Errorf("%v", p))
			}
		}()
		shape, err := scan(code)
		if err == nil {
			err = checkShape(shape)
		}
		if err != nil {
			return err
		}
		engine, compiled, err := g.prepare(ctx, code)
		if err != nil {
			return err
		}
		defer engine.Close(ctx)
		if err := g.offer(ctx, engine, shape.imports); err != nil {
			return err
		}
		instance, err := instantiate(ctx, engine, compiled)
		if err != nil {
			return g.explainTrap(err)
		}
		if f := instance.ExportedFunction(exportInitialize); f != nil {
			if _, err := f.Call(ctx); err != nil {
				return g.explainTrap(err)
			}
		}
		return nil
	})
	if errors.Is(err, errTooLong) {
		return fmt.Errorf("did not start within %v", time.Duration(c.Limits.WallMS)*time.Millisecond)
	}
	return err
}
