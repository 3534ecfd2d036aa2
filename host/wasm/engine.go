// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

// Exports of a module.
const (
	exportDiscover   = "tenon_discover"
	exportInitialize = "_initialize"
)

// coreFeatures are those of core WebAssembly 2.0 without reference types,
// whose table.grow takes memory that no limit covers, and without SIMD, which
// discovery has no use for.
const coreFeatures = api.CoreFeaturesV2 &^ (api.CoreFeatureReferenceTypes | api.CoreFeatureSIMD)

// checkShape holds a module against the ABI before anything of it runs.
func checkShape(m *moduleShape) error {
	for _, i := range m.imports {
		f, ok := hostFuncs[i.module][i.name]
		name := host.Shown(i.module) + "." + host.Shown(i.name)
		switch {
		case !ok && strings.HasPrefix(i.module, "tenon_v") && i.module != abiModule:
			return fmt.Errorf("imports %s; this tenon offers the ABI %s: install a newer tenon, or an older module", name, abiModule)
		case !ok:
			return fmt.Errorf("imports %s, which tenon does not offer", name)
		case f.typ != i.typ:
			return fmt.Errorf("imports %s as %s; it is %s", name, i.typ, f.typ)
		}
	}
	if e, ok := m.exports["memory"]; !ok || e.kind != kindMemory {
		return errors.New(`does not export its memory as "memory"; it is not a module for tenon`)
	}
	if _, ok := m.exports["_start"]; ok {
		return errors.New("exports _start, so it is a program; build a reactor (Go: -buildmode=c-shared, clang: -mexec-model=reactor)")
	}
	if e, ok := m.exports[exportInitialize]; ok && (e.kind != kindFunc || e.typ != funcType{}) {
		return fmt.Errorf("exports %s as %s; it must be %s", exportInitialize, e, funcType{})
	}
	e, ok := m.exports[exportDiscover]
	if !ok {
		return fmt.Errorf("does not export %s; it is not a module for tenon", exportDiscover)
	}
	if want := (funcType{"", i32}); e.kind != kindFunc || e.typ != want {
		return fmt.Errorf("exports %s as %s; it must be %s", exportDiscover, e, want)
	}
	return nil
}

// String names what is exported, for messages.
func (e moduleExport) String() string {
	if e.kind == kindFunc {
		return e.typ.String()
	}
	return "a " + kindNames[e.kind]
}

// execute runs a module that has passed scan and checkShape, and returns the
// result of tenon_discover. Errors say what the module did, without its name.
func (g *guest) execute(ctx context.Context, code []byte, shape *moduleShape) (result uint32, err error) {
	defer func() {
		// wazero turns a panic below a call into an error; one while it
		// instantiates it lets through. The module made it, so it gets the blame.
		if p := recover(); p != nil {
			err = g.explainTrap(fmt.Errorf("%v", p))
			g.log.Debug("panic in the engine", "mode", g.mode, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	engine, compiled, err := g.prepare(ctx, code)
	if err != nil {
		return 0, err
	}
	defer engine.Close(ctx)
	stages := host.StagesOf(ctx)
	stages.Mark("load")
	if err := g.offer(ctx, engine, shape.imports); err != nil {
		return 0, err
	}
	instance, err := instantiate(ctx, engine, compiled)
	if err != nil {
		return 0, g.explainTrap(err)
	}
	if f := instance.ExportedFunction(exportInitialize); f != nil {
		if _, err := f.Call(ctx); err != nil {
			return 0, g.explainTrap(err)
		}
	}
	stages.Mark("start")
	g.discovering = true
	results, err := instance.ExportedFunction(exportDiscover).Call(ctx)
	g.discovering = false
	stages.Mark("discover")
	if err != nil {
		return 0, g.explainTrap(err)
	}
	return uint32(results[0]), nil
}

// offer instantiates host modules with the functions that are imported, and no
// others: each costs time.
func (g *guest) offer(ctx context.Context, engine wazero.Runtime, imports []moduleImport) error {
	builders := map[string]wazero.HostModuleBuilder{}
	done := map[[2]string]bool{}
	for _, i := range imports {
		if done[[2]string{i.module, i.name}] {
			continue // a module may import one function twice
		}
		done[[2]string{i.module, i.name}] = true
		if builders[i.module] == nil {
			builders[i.module] = engine.NewHostModuleBuilder(i.module)
		}
		f := hostFuncs[i.module][i.name]
		builders[i.module].NewFunctionBuilder().
			WithGoModuleFunction(g.function(f), apiTypes(f.typ.params), apiTypes(f.typ.results)).
			Export(i.name)
	}
	for _, name := range slices.Sorted(maps.Keys(builders)) {
		if _, err := builders[name].Instantiate(ctx); err != nil {
			return fmt.Errorf("%s: %w; this is a bug of tenon, please report", name, err)
		}
	}
	return nil
}

func apiTypes(types string) []api.ValueType { return []api.ValueType(types) }

// explainTrap says in one line why a call into the module ended early. The
// stack goes to the debug log.
func (g *guest) explainTrap(err error) error {
	g.log.Debug("the module ended early", "mode", g.mode, "error", err.Error())
	g.flush(1)
	g.flush(2)
	said := ""
	if g.stderr != "" {
		said = fmt.Sprintf("; it wrote %q", g.stderr)
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("exited with code %d%s", exit.ExitCode(), said)
	}
	var t trapped
	if errors.As(err, &t) {
		return fmt.Errorf("trapped: %s%s", t.text, said)
	}
	// A trap in the start function has more before this.
	text := firstLine(err)
	if _, fault, ok := strings.Cut(text, "wasm error: "); ok {
		text = fault
	}
	return fmt.Errorf("trapped: %s%s", host.OneLine(text), said)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// watch runs f on a goroutine of its own and waits for it as long as the limits
// allow, loading included. Nothing can stop a module that computes: where watch
// returns errTooLong, its goroutine goes on, and the process is to end soon.
func (g *guest) watch(ctx context.Context, f func() error) error {
	// Compiled code cannot be interrupted by Go's scheduler. On one thread, an
	// endless loop would keep this one from ever looking at the time.
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	defer holdMemory()()
	done := make(chan error, 1)
	go func() { done <- f() }()
	limits := g.config.Limits
	began, before := time.Now(), processorTime()
	timer := time.NewTimer(time.Duration(limits.WallMS) * time.Millisecond)
	defer timer.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-timer.C:
			if left := timeLeft(limits, time.Since(began), processorTime()-before); left > 0 {
				timer.Reset(left)
				continue
			}
			g.stopped.Store(true)
			return errTooLong
		case <-ctx.Done():
			g.stopped.Store(true)
			return ctx.Err()
		}
	}
}

// timeLeft is when to look again after a run that took so long on the wall's clock
// and in processor time; not more than 0 where that was too long.
func timeLeft(l host.Limits, wall, processor time.Duration) time.Duration {
	return min(time.Duration(l.WallMS)*time.Millisecond-processor, l.Longest()-wall)
}

// processorTime is that of this process so far.
func processorTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return time.Duration(time.Now().UnixNano()) // then the wall's clock counts
	}
	return time.Duration(t.Nano())
}

var errTooLong = errors.New("did not finish in time")

// memoryTarget is where the garbage collector starts all the same while it is
// held. A std Go module takes a tenth of it.
const memoryTarget = 512 << 20 // bytes

var held struct {
	sync.Mutex
	runs    int
	percent int
	limit   int64
	locked  bool
}

// holdMemory makes memory cheap until a run ends, which is when the process
// ends: the garbage collector does not run, and the kernel gives each mapping
// its pages at once (mlockall(2)). A run touches some 8,000 pages for the first
// time; one by one, their faults were a third of its processor time. The
// function returned ends it.
func holdMemory() (release func()) {
	held.Lock()
	defer held.Unlock()
	if held.runs++; held.runs == 1 {
		held.percent = debug.SetGCPercent(-1)
		held.limit = debug.SetMemoryLimit(memoryTarget)
		hugeHeap()
		held.locked = mayLockMemory() && unix.Mlockall(unix.MCL_FUTURE) == nil
	}
	return func() {
		held.Lock()
		defer held.Unlock()
		if held.runs--; held.runs == 0 {
			if held.locked {
				_ = unix.Munlockall() // there is nothing to be done
			}
			debug.SetMemoryLimit(held.limit)
			debug.SetGCPercent(held.percent)
		}
	}
}

// hugeHeap gives the heap room of hugeRoom bytes that the kernel backs with huge
// pages, where it has some: for each of them 511 faults are none. Nothing of it is
// touched before it is used. The runtime does not ask for huge pages, so a block
// is made, marked and given back.
func hugeHeap() {
	block := make([]byte, hugeRoom)
	_ = unix.Madvise(block, unix.MADV_HUGEPAGE) // without, it is as before
	runtime.KeepAlive(block)
	block = nil
	runtime.GC()
}

// hugeRoom is in bytes. Loading and running a std Go module takes about as much.
const hugeRoom = 16 << 20

// initialUserNS is the inode of the user namespace that the machine starts with:
// PROC_USER_INIT_INO in include/linux/proc_ns.h of the kernel.
const initialUserNS = 0xEFFFFFFD

// mayLockMemory reports whether no limit holds for locked memory: there is none,
// or this process has the machine's CAP_IPC_LOCK, not that of some container.
// Under a limit mlockall succeeds all the same, and the next mapping fails.
func mayLockMemory() bool {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err == nil && limit.Cur == unix.RLIM_INFINITY {
		return true
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	var namespace unix.Stat_t
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0 &&
		unix.Stat("/proc/self/ns/user", &namespace) == nil && namespace.Ino == initialUserNS
}
