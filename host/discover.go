// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/ldcache"
)

// Result is what a mode discovered for one container.
type Result struct {
	// Edits are decoded, valid, and empty where the mode has nothing to change.
	// Device numbers in them are still the mode's word; see [Resolve].
	Edits discover.Edits
	// Applicable is false where the mode says that this machine or container is
	// not its own. Edits are empty then.
	Applicable bool
	// Explain are the mode's lines on why its edits are what they are.
	Explain []string
}

// Discover runs the module of a mode, NAME.wasm in c.ModuleDir, for the
// container that req describes, and returns what it found. containerRoot is the
// absolute path of the container's root file system; it need not exist. The
// module's log goes to log, which may be nil.
//
// Errors begin with "mode NAME: ". Where one wraps
// [discover.ErrInvalidEdits], or names the module's file, the module is at
// fault. After an error of a run that took longer than c.Limits.WallMS, or
// where ctx ended first, the module may still be computing on another thread:
// end the process.
func Discover(ctx context.Context, c Config, mode string, req *discover.Request, containerRoot string, log *slog.Logger) (Result, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if !IsModeName(mode) {
		return Result{}, fmt.Errorf("mode %q: is not a name of small letters, digits, dots and dashes; set mode in the config", mode)
	}
	result, err := discoverMode(ctx, c, mode, req, containerRoot, log)
	if err != nil {
		return Result{}, fmt.Errorf("mode %s: %w", mode, err)
	}
	return result, nil
}

func discoverMode(ctx context.Context, c Config, mode string, req *discover.Request, containerRoot string, log *slog.Logger) (Result, error) {
	start := time.Now()
	file := filepath.Join(c.ModuleDir, mode+".wasm")
	code, err := readModule(file)
	if err != nil {
		return Result{}, err
	}
	r, err := newRun(c, mode, req, containerRoot, log)
	if err != nil {
		return Result{}, err
	}
	g := &guest{run: r, random: newRandom()}
	var answer uint32
	err = g.watch(ctx, func() error {
		defer r.close()
		shape, err := scan(code)
		if err == nil {
			err = checkShape(shape)
		}
		if err == nil {
			answer, err = g.execute(ctx, code, shape)
		}
		return err
	})
	if errors.Is(err, errTooLong) {
		return Result{}, fmt.Errorf("%s: did not finish within %v; if the machine is slow, raise wall_ms in [limits] of the config", file, time.Duration(c.Limits.WallMS)*time.Millisecond)
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", file, err)
	}
	if g.dropped > 0 {
		log.Warn("lines of the module's log were dropped", "mode", mode, "lines", g.dropped, "limit", c.Limits.LogBytes)
	}
	log.Debug("the module has run, interpreted", "mode", mode, "result", answer, "queries", len(r.memo), "took", time.Since(start))
	return g.conclude(file, answer)
}

// readModule reads the file of a module, once: what is read is what is run.
func readModule(file string) ([]byte, error) {
	f, err := OpenTrusted(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: does not exist; %s", file, modulesBeside(file))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	code, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return code, nil
}

// modulesBeside says what to do where the module file is missing.
func modulesBeside(file string) string {
	var names []string
	entries, _ := os.ReadDir(filepath.Dir(file)) // no folder, no names
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".wasm"); ok && IsModeName(name) && len(names) < 10 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "install the module, or set module_dir in the config"
	}
	return "install the module, or set mode in the config to one that is there: " + strings.Join(names, ", ")
}

func newRun(c Config, mode string, req *discover.Request, containerRoot string, log *slog.Logger) (*run, error) {
	r := &run{config: c, mode: mode, request: req, log: log, memo: map[question]reply{}}
	folders := [rootCount]string{rootHost: "/", rootContainer: containerRoot, rootDriver: c.DriverRoot}
	for i, folder := range folders {
		root, err := openRoot(folder)
		if err != nil {
			r.close()
			return nil, err
		}
		r.roots[i] = root
		r.caches[i] = sync.OnceValue(func() *ldcache.Cache { return r.readCache(uint32(i)) })
	}
	return r, nil
}

func (r *run) close() {
	for _, root := range r.roots {
		if root != nil {
			root.close()
		}
	}
}

// conclude makes a result of what the module returned and emitted.
func (g *guest) conclude(file string, answer uint32) (Result, error) {
	if over := cmp.Or(g.spent, g.over); over != "" {
		return Result{}, fmt.Errorf("%s: %s", file, over)
	}
	switch answer {
	case resultDone:
	case resultFailed:
		if g.reason == "" {
			return Result{}, fmt.Errorf("%s: failed, and gave no reason", file)
		}
		return Result{}, errors.New(OneLine(g.reason))
	case resultNotApplicable:
		if len(g.documents) > 0 {
			return Result{}, fmt.Errorf("%s: emitted edits, and then said that it does not apply", file)
		}
		return Result{Edits: discover.Edits{ABI: discover.ABI}, Explain: g.explain}, nil
	default:
		return Result{}, fmt.Errorf("%s: returned %d, which is no result of the ABI", file, int32(answer))
	}
	edits, err := g.decode()
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", file, err)
	}
	return Result{Edits: edits, Applicable: true, Explain: g.explain}, nil
}

// decode joins the edits documents in the order in which they were emitted.
func (g *guest) decode() (discover.Edits, error) {
	var parts []discover.ModeEdits
	for _, document := range g.documents {
		edits, err := discover.DecodeEdits(document)
		if err != nil {
			return discover.Edits{}, err
		}
		if err := edits.Validate(); err != nil {
			return discover.Edits{}, err
		}
		parts = append(parts, discover.ModeEdits{Mode: g.mode, Edits: edits})
	}
	switch len(parts) {
	case 0:
		return discover.Edits{ABI: discover.ABI}, nil
	case 1:
		return parts[0].Edits, nil
	}
	edits, err := discover.Merge(parts)
	if err != nil {
		return discover.Edits{}, err
	}
	return edits, edits.Validate()
}
