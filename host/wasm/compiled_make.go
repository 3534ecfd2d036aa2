// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

// What compiling one module may take. wazero's compiler has no bound of its own,
// and does not look at its context: 236 KB of one function with 2,000 locals and
// 20,000 branches keep it busy for more than a minute. 2 MB of std Go take a
// second.
const (
	compileSeconds = 60      // of processor time
	compileMemory  = 1 << 30 // bytes of data
	compileWait    = 5 * time.Minute
)

// newFolder is where compiled code is made. The name is always the same, so that
// what a killed process left behind is cleared away by the next one.
const newFolder = ".new"

// Warm makes the compiled code of a module, for creates to load; code is the
// whole module. It does nothing where good code of it is there. What is bad is
// removed and made again.
//
// The work is done by a child process with limits, which is this program again:
// its main must call [Compile] as soon as it starts. The module is not run.
//
// Errors are about the module, without its name; or they begin with the folder or
// file of the cache that is at fault.
func Warm(ctx context.Context, c host.Config, code []byte) error {
	shape, err := scan(code)
	if err == nil {
		err = checkShape(shape)
	}
	if err != nil {
		return err
	}
	dir, root, err := lockCache(c)
	if err != nil {
		return err
	}
	defer dir.Close()
	defer root.Close()
	digest := sha256.Sum256(code)
	name := fmt.Sprintf("%x", digest)
	if old, err := openCompiled(c.CacheDir, digest); err == nil {
		err = compileIn(ctx, compileVerify, old.dir, code, c.Limits.MemoryPages)
		old.close()
		if err == nil {
			return nil
		}
	}
	if err := root.RemoveAll(newFolder); err != nil {
		return fmt.Errorf("%s/%s: %w", dir.Name(), newFolder, cause(err))
	}
	err = makeCompiled(ctx, c, dir, root, code)
	if err == nil {
		err = root.RemoveAll(name)
	}
	if err == nil {
		err = root.Rename(newFolder, name)
	}
	if err != nil {
		_ = root.RemoveAll(newFolder)
		return err
	}
	return nil
}

// Compiled reports whether a create would take the compiled code of the module
// with a digest. The error says what is wrong with code that is there and would
// not be taken, beginning with the file or folder at fault. That it is for
// another processor is seen only when it is loaded, by a create or by Warm.
func Compiled(c host.Config, digest [sha256.Size]byte) (bool, error) {
	code, err := openCompiled(c.CacheDir, digest)
	if errors.Is(err, errNotCompiled) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	code.close()
	return true, nil
}

// isBuildFolder tells a name that a buildFolder may have.
func isBuildFolder(name string) bool {
	return strings.HasPrefix(name, "tenon-") && strings.Contains(name, "-wazero-")
}

// Prune removes the compiled code of other builds of tenon, and that of modules
// whose digest is not in keep.
func Prune(c host.Config, keep [][sha256.Size]byte) error {
	dir, root, err := lockCache(c)
	if err != nil {
		return err
	}
	defer dir.Close()
	defer root.Close()
	kept := map[string]bool{}
	for _, digest := range keep {
		kept[fmt.Sprintf("%x", digest)] = true
	}
	if err := removeExcept(root, func(name string) bool { return kept[name] }); err != nil {
		return fmt.Errorf("%s: %w", dir.Name(), cause(err))
	}
	above, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d/..", dir.Fd()))
	if err != nil {
		return fmt.Errorf("%s: %w", c.CacheDir, cause(err))
	}
	defer above.Close()
	own := filepath.Base(dir.Name())
	if err := removeExcept(above, func(name string) bool { return name == own || !isBuildFolder(name) }); err != nil {
		return fmt.Errorf("%s: %w", c.CacheDir, cause(err))
	}
	return nil
}

func removeExcept(root *os.Root, keep func(name string) bool) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !keep(name) {
			if err := root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// lockCache opens the folder of this build, makes it where it is missing, and
// waits for whoever else writes there. Creates take no lock: they find a
// module's folder whole or not at all.
func lockCache(c host.Config) (*os.File, *os.Root, error) {
	build := buildFolder()
	if build == "" {
		return nil, nil, errors.New("this build of tenon has no id, so its compiled code cannot be told from another's; build it with make, or from a version")
	}
	dir, err := host.OpenFolder(filepath.Join(c.CacheDir, build), true)
	if err != nil {
		return nil, nil, err
	}
	for {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	var root *os.Root
	if err == nil {
		root, err = os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	}
	if err != nil {
		dir.Close()
		return nil, nil, fmt.Errorf("%s: %w", dir.Name(), cause(err))
	}
	return dir, root, nil
}

// makeCompiled fills newFolder: code and record.
func makeCompiled(ctx context.Context, c host.Config, dir *os.File, root *os.Root, code []byte) error {
	at := func(name string, err error) error {
		return fmt.Errorf("%s: %w", path.Join(dir.Name(), newFolder, name), cause(err))
	}
	if err := root.Mkdir(newFolder, 0o700); err != nil {
		return at("", err)
	}
	f, err := root.Open(newFolder)
	if err != nil {
		return at("", err)
	}
	defer f.Close()
	if err := compileIn(ctx, compileMake, f, code, c.Limits.MemoryPages); err != nil {
		return err
	}
	made := &compiledCode{f, path.Join(dir.Name(), newFolder)}
	name, err := onlyFile(root)
	if err != nil {
		return at("", err)
	}
	r := record{file: name}
	file, st, err := made.open(name, maxCode)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return at(name, err)
	}
	r.sum, r.seen = [sha256.Size]byte(sum.Sum(nil)), identityOf(st)
	w, err := root.OpenFile(path.Join(newFolder, recordName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return at(recordName, err)
	}
	defer w.Close()
	if _, err = w.WriteString(r.String()); err == nil {
		err = w.Sync()
	}
	if err != nil {
		return at(recordName, err)
	}
	return made.check()
}

// onlyFile finds the file that wazero has written.
func onlyFile(root *os.Root) (string, error) {
	names, err := filepath.Glob(filepath.Join(root.Name(), newFolder, "*", "*"))
	if err != nil || len(names) != 1 {
		return "", fmt.Errorf("has %d files where wazero writes one; this is a bug of tenon, please report", len(names))
	}
	return filepath.Rel(filepath.Join(root.Name(), newFolder), names[0])
}

// cause takes the path and the name of the system call off an error.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// compilerName is the name that the child is started under, and what the first
// of its arguments says.
const (
	compilerName  = "tenon-compiler"
	compileMake   = "make"   // compile, then load what was made
	compileVerify = "verify" // load what is there
)

// compileIn lets a child work on the compiled code of a module in dir.
func compileIn(ctx context.Context, what string, dir *os.File, code []byte, memoryPages int) error {
	ctx, cancel := context.WithTimeout(ctx, compileWait)
	defer cancel()
	var said bytes.Buffer
	child := exec.CommandContext(ctx, "/proc/self/exe")
	child.Args = []string{compilerName, what, fmt.Sprint(memoryPages)}
	child.Env = []string{}
	child.Dir = "/"
	child.Stdin = bytes.NewReader(code)
	child.Stderr = &said
	child.ExtraFiles = []*os.File{dir} // its descriptor 3
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := child.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("did not finish compiling in time: %w", ctx.Err())
	}
	state := child.ProcessState
	line, _, _ := strings.Cut(said.String(), "\n")
	switch {
	case state == nil:
		return fmt.Errorf("%s: %w", child.Path, err)
	case state.ExitCode() == 1:
		return errors.New(host.OneLine(line))
	case state.UserTime()+state.SystemTime() >= compileSeconds*time.Second:
		return fmt.Errorf("takes more than %d seconds of processor time to compile", compileSeconds)
	case strings.Contains(line, "out of memory") || strings.Contains(line, "cannot allocate memory"):
		return fmt.Errorf("takes more than %d MiB to compile", compileMemory>>20)
	}
	return fmt.Errorf("compiling it ended with %v (%s); this is a bug of tenon, please report", state, host.OneLine(line))
}

// Compile is the whole program where it was started as the child of [Warm]; it
// then does not return. Call it first in main.
func Compile() {
	if os.Args[0] != compilerName {
		return
	}
	if err := compileHere(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// compileHere works on the module in standard input and the folder that is
// descriptor 3.
func compileHere(args []string) error {
	limits := map[int]uint64{unix.RLIMIT_CPU: compileSeconds, unix.RLIMIT_DATA: compileMemory, unix.RLIMIT_FSIZE: maxCode, unix.RLIMIT_CORE: 0}
	for resource, limit := range limits {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("resource limit %d: %w", resource, err)
		}
	}
	unix.Umask(0o077)
	var memoryPages int
	if len(args) != 2 {
		return errors.New("tenon-compiler: is started by tenon only")
	}
	if _, err := fmt.Sscan(args[1], &memoryPages); err != nil {
		return fmt.Errorf("%q: %w", args[1], err)
	}
	code, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	ctx, dir := context.Background(), os.NewFile(3, "compiled code")
	defer dir.Close()
	if args[0] == compileMake {
		config, err := compilerConfig(dir, memoryPages)
		if err != nil {
			return err
		}
		engine := wazero.NewRuntimeWithConfig(ctx, config)
		defer engine.Close(ctx)
		if _, err := engine.CompileModule(ctx, code); err != nil {
			return fmt.Errorf("is not valid WebAssembly for tenon: %s", firstLine(err))
		}
	}
	engine, _, err := load(ctx, dir, code, memoryPages)
	if err != nil {
		return fmt.Errorf("its compiled code cannot be loaded: %s", firstLine(err))
	}
	return engine.Close(ctx)
}
