// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
)

// record keeps what a create did for "tenon ps" and "tenon explain". What goes
// wrong with it is for the log: the container has what it asks for.
func record(c call, program string, config host.Config, b *bundle, answers []answer, edits discover.Edits, began time.Time, env []string, log *slog.Logger) {
	if !host.IsContainerID(c.id) {
		return // the low-level runtime will refuse it
	}
	r := host.ContainerRecord{ID: c.id, Program: program, Created: began.UTC(), TookMicros: time.Since(began).Microseconds()}
	r.SetEdits(edits)
	for _, a := range answers {
		mode := host.ContainerMode{Mode: a.Mode, Hit: a.hit}
		if module, err := config.ModuleOf(a.Mode); err == nil {
			mode.Digest = module.Digest
		}
		r.Modes = append(r.Modes, mode)
	}
	bundle, err := filepath.Abs(b.base)
	if err == nil {
		r.Bundle = bundle
		r.Config, err = filepath.Abs(b.path)
	}
	if err == nil {
		err = host.StoreContainer(host.StateFolder(env), c.id, r.JSON())
	}
	if err != nil {
		log.Debug("the create is not recorded", "err", err)
	}
}
