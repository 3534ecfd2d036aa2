// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// instantiate makes an instance of a module, with a memory of ours. It has no
// name, which would be the module's to choose, and no start functions: _start is
// refused, and _initialize is called by us.
func instantiate(ctx context.Context, engine wazero.Runtime, module wazero.CompiledModule) (api.Module, error) {
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(reserve))
	return engine.InstantiateModule(ctx, module, wazero.NewModuleConfig().WithName("").WithStartFunctions())
}

// linearMemory is the memory of an instance: address space for all that it may
// ever have, of which the first part can be used. wazero's own is a slice, which
// is copied each time that the module grows it: for std Go that was a seventh of
// the time of a run, and a module that grows page by page copies without end.
type linearMemory struct{ space []byte }

// reserve is called by wazero; limit is what the module, or else the config,
// allows, in bytes.
func reserve(_, limit uint64) experimental.LinearMemory {
	space, err := unix.Mmap(-1, 0, int(max(limit, 1<<16)), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Errorf("no room for the %d bytes that its memory may have: %w", limit, err))
	}
	_ = unix.Madvise(space, unix.MADV_HUGEPAGE) // without, it is only slower
	return &linearMemory{space}
}

// Reallocate lets the first size bytes be used; new ones are 0. nil tells the
// module that it gets no more.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.space)) {
		return nil
	}
	if size > 0 && unix.Mprotect(m.space[:size], unix.PROT_READ|unix.PROT_WRITE) != nil {
		return nil
	}
	return m.space[:size:size]
}

// Free gives all of it back.
func (m *linearMemory) Free() {
	_ = unix.Munmap(m.space) // what Mmap gave
	m.space = nil
}
