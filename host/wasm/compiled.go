// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

// This file loads the compiled code of a module while a container is created;
// compiled_make.go makes it, when a module is installed. It lies in
//
//	CACHE_DIR/BUILD/DIGEST/record
//	CACHE_DIR/BUILD/DIGEST/wazero-VERSION-ARCH-OS/KEY
//
// BUILD is buildFolder, DIGEST the SHA-256 of the module, and what is below it
// is wazero's own (internal/filecache and engine_cache.go of wazero). Whoever
// can write there can make us execute anything. wazero takes whatever folder it
// is given and checks no more than a CRC, so we check before it looks: no one
// but this user can have written folder, record and code, and the code is the
// file that was recorded when it was made.

// buildID is host.BuildID; a test has none.
var buildID = host.BuildID

// buildFolder names what compiled code is good for: this build of tenon, this
// wazero, this revision of the ABI. "" where the build has no id: its code could
// be taken for that of another.
func buildFolder() string {
	id := buildID()
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(id + " " + runtime.Version() + " " + coreFeatures.String()))
	return fmt.Sprintf("tenon-%x-wazero-%s-%s", sum[:8], wazeroVersion(), abiModule)
}

func wazeroVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				return dep.Version
			}
		}
	}
	return "unknown"
}

// record says which file has the compiled code of a module.
type record struct {
	file string // below the module's folder
	sum  [sha256.Size]byte
	seen identity
}

// identity is what fstat tells of a file. While it stays the same, so do the
// bytes: writing them changes the ctime, which nobody can set. The device is
// left out: its number may change with a restart.
type identity struct {
	size, inode  int64
	mtime, ctime int64 // nanoseconds
}

func identityOf(st *unix.Stat_t) identity {
	return identity{st.Size, int64(st.Ino), st.Mtim.Nano(), st.Ctim.Nano()}
}

const (
	recordName   = "record"
	recordFormat = "tenon compiled code 1\nfile %s\nsha256 %x\nsize %d inode %d mtime %d ctime %d\n"
	maxRecord    = 1024
	maxCode      = 256 << 20 // bytes; 8 MiB is what a mode of std Go takes
)

func (r record) String() string {
	return fmt.Sprintf(recordFormat, r.file, r.sum, r.seen.size, r.seen.inode, r.seen.mtime, r.seen.ctime)
}

func parseRecord(text string) (record, error) {
	var r record
	var sum []byte
	_, err := fmt.Sscanf(text, recordFormat, &r.file, &sum, &r.seen.size, &r.seen.inode, &r.seen.mtime, &r.seen.ctime)
	copy(r.sum[:], sum)
	if err != nil || r.String() != text || !filepath.IsLocal(r.file) || filepath.Clean(r.file) != r.file {
		return record{}, errors.New("is damaged")
	}
	return r, nil
}

// errNotCompiled is why there is nothing to be said of compiled code: nobody
// has made any.
var errNotCompiled = errors.New("it has not been compiled by this build of tenon")

// compiledCode is the checked folder with the compiled code of one module.
type compiledCode struct {
	dir  *os.File
	path string // for messages
}

// openCompiled finds the compiled code of the module with a digest, and checks
// it as far as a create has to. An error that is not errNotCompiled begins with
// the folder or file that is at fault.
func openCompiled(cacheDir string, digest [sha256.Size]byte) (*compiledCode, error) {
	build := buildFolder()
	if build == "" {
		return nil, errNotCompiled
	}
	path := filepath.Join(cacheDir, build, fmt.Sprintf("%x", digest))
	dir, err := host.OpenFolder(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotCompiled
	}
	if err != nil {
		return nil, err
	}
	c := &compiledCode{dir, path}
	if err := c.check(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *compiledCode) close() { c.dir.Close() }

// check holds the code against the record. Where the file is not the one that
// was recorded, as after a copy of the folder, its bytes have to be.
func (c *compiledCode) check() error {
	f, _, err := c.open(recordName, maxRecord)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxRecord))
	f.Close()
	if err != nil {
		return err
	}
	r, err := parseRecord(string(text))
	if err != nil {
		return fmt.Errorf("%s/%s: %w", c.path, recordName, err)
	}
	f, st, err := c.open(r.file, maxCode)
	if err != nil {
		return err
	}
	defer f.Close()
	if identityOf(st) == r.seen {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil || !bytes.Equal(sum.Sum(nil), r.sum[:]) {
		return fmt.Errorf("%s/%s: is not the code that was recorded", c.path, r.file)
	}
	return nil
}

// open opens a file below the folder and checks it and what leads to it on the
// descriptor.
func (c *compiledCode) open(name string, limit int64) (*os.File, *unix.Stat_t, error) {
	at := func(err error) (*os.File, *unix.Stat_t, error) {
		return nil, nil, fmt.Errorf("%s/%s: %w", c.path, name, err)
	}
	dir := int(c.dir.Fd())
	folder, base := filepath.Split(name)
	if folder != "" {
		fd, err := unix.Openat2(dir, folder, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
		if err != nil {
			return at(err)
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return at(err)
		}
		if !ownAlone(&st) {
			return at(errNotOurs)
		}
		dir = fd
	}
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return at(err)
	}
	f, st := os.NewFile(uintptr(fd), base), &unix.Stat_t{}
	err = unix.Fstat(fd, st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || !ownAlone(st):
		err = errNotOurs
	case st.Size > limit:
		err = fmt.Errorf("is larger than the %d bytes it may have", limit)
	}
	if err != nil {
		f.Close()
		return at(err)
	}
	return f, st, nil
}

var errNotOurs = errors.New("is not trusted: it must be this user's own, under one name, and closed to all others")

func ownAlone(st *unix.Stat_t) bool {
	return int(st.Uid) == os.Geteuid() && st.Mode&0o077 == 0
}

// engineConfig is what the interpreter and compiled code have in common, so
// that a module does the same in both.
func engineConfig(base wazero.RuntimeConfig, memoryPages int) wazero.RuntimeConfig {
	return base.WithCoreFeatures(coreFeatures).
		WithMemoryLimitPages(uint32(min(max(memoryPages, 1), 65536))).
		WithDebugInfoEnabled(false)
}

// load gives a module to wazero as the compiled code in dir, and never compiles:
// where wazero has no code there for this module and this processor, the error
// is errWouldCompile. The engine is the caller's to close.
func load(ctx context.Context, dir *os.File, code []byte, memoryPages int) (engine wazero.Runtime, module wazero.CompiledModule, err error) {
	defer func() {
		// Besides errWouldCompile, wazero panics where the kernel gives it no
		// memory to execute, or the processor lacks what its compiler takes for
		// granted.
		if p := recover(); p != nil {
			err, _ = p.(error)
			if err == nil {
				err = fmt.Errorf("%v", p)
			}
		}
		if err != nil && engine != nil {
			engine.Close(ctx)
		}
	}()
	config, err := compilerConfig(dir, memoryPages)
	if err != nil {
		return nil, nil, err
	}
	engine = wazero.NewRuntimeWithConfig(ctx, config)
	module, err = engine.CompileModule(neverCompile{ctx}, code)
	runtime.KeepAlive(dir) // its descriptor was in use without it
	return engine, module, err
}

// compilerConfig has the compiled code in dir, by way of its descriptor: it is
// the folder that was checked, wherever it is by now.
func compilerConfig(dir *os.File, memoryPages int) (wazero.RuntimeConfig, error) {
	cache, err := wazero.NewCompilationCacheWithDir(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return nil, err
	}
	return engineConfig(wazero.NewRuntimeConfigCompiler(), memoryPages).WithCompilationCache(cache), nil
}

// errWouldCompile is why compiled code that was recorded is not loaded.
var errWouldCompile = errors.New("it was compiled for another processor, or is gone")

// neverCompile is a context that wazero can load under but not compile. wazero
// has no switch for that; but when it begins to compile, and only then, it asks
// the context for the number of workers (compileModule in
// internal/engine/wazevo/engine.go). The panic is for load.
type neverCompile struct{ context.Context }

func (c neverCompile) Value(key any) any {
	if key == workersKey {
		panic(errWouldCompile)
	}
	return c.Context.Value(key)
}

// workersKey is the key of that number, learnt from who asks for it.
var workersKey = func() any {
	c := &keyCatcher{Context: context.Background()}
	experimental.GetCompilationWorkers(c)
	return c.key
}()

type keyCatcher struct {
	context.Context
	key any
}

func (c *keyCatcher) Value(key any) any {
	c.key = key
	return nil
}

// findCompiled looks for the compiled code of a module. The function returned
// gives it back.
func (g *guest) findCompiled(code []byte) (release func()) {
	if g.digest == nil {
		sum := sha256.Sum256(code)
		g.digest = sum[:]
	}
	g.stored, g.notStored = openCompiled(g.config.CacheDir, [sha256.Size]byte(g.digest))
	return func() {
		if g.stored != nil {
			g.stored.close()
		}
	}
}

// prepare gives a module to wazero: as compiled code where there is some that
// can be trusted, else to the interpreter, which starts at once whatever the
// module is. A create never compiles.
func (g *guest) prepare(ctx context.Context, code []byte) (wazero.Runtime, wazero.CompiledModule, error) {
	if g.stored == nil && g.notStored == nil {
		defer g.findCompiled(code)()
	}
	pages, why := g.config.Limits.MemoryPages, g.notStored
	if g.stored != nil {
		engine, module, err := load(ctx, g.stored.dir, code, pages)
		if err == nil {
			g.compiled = true
			return engine, module, nil
		}
		// The bodies may have been passed over as known.
		if _, err := scan(code); err != nil {
			return nil, nil, err
		}
		why = err
	}
	g.log.Debug("the module is interpreted", "mode", g.mode, "why", host.OneLine(firstLine(why)))
	engine := wazero.NewRuntimeWithConfig(ctx, engineConfig(wazero.NewRuntimeConfigInterpreter(), pages))
	module, err := engine.CompileModule(ctx, code)
	if err != nil {
		engine.Close(ctx)
		return nil, nil, fmt.Errorf("is not valid WebAssembly for tenon: %s", host.OneLine(firstLine(err)))
	}
	return engine, module, nil
}
