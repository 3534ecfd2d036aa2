// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
	"github.com/tenon-runtime/tenon/host/wasm"
)

// An explanation is what a create would do for one container, and why. It does the
// steps of create in cmd/tenon-runtime in the same order, and keeps what they say.
type explanation struct {
	Program string          `json:"program"` // the name of the runtime
	Config  string          `json:"config"`  // the container's config.json
	Record  *containerInfo  `json:"record,omitempty"`
	Modes   []explainedMode `json:"modes"`
	Edits   []explainedEdit `json:"edits"`
	// Unchanged says that config.json has all of the edits, or that there are none.
	Unchanged bool   `json:"unchanged"`
	Error     string `json:"error,omitempty"` // as a create would report it

	folder, root string // the bundle as it was named; the root file system of --root
	stdin        io.Reader
	gone         bool // the record's bundle is no more
	spec         *discover.Spec
	parts        []discover.ModeEdits
}

// explainedMode is what is told of one mode.
type explainedMode struct {
	Mode    string `json:"mode"`
	Module  string `json:"module"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	File    string `json:"file"`
	// Applies says that the container is for the mode, by the manifest; Why says
	// why it is not, or what else there is to know of the request.
	Applies bool   `json:"applies"`
	Why     string `json:"why,omitempty"`
	// Asked is what the container asks the mode for, and where.
	Asked []host.Asking `json:"asked,omitempty"`
	// Hit says that a trace tells what the module emits. Miss is why none does: the
	// module was run to explain this.
	Hit  bool   `json:"hit"`
	Miss string `json:"miss,omitempty"`
	// Result is "done", or "not applicable": the module has nothing to do with this
	// container or machine.
	Result  string              `json:"result,omitempty"`
	Explain []string            `json:"explain"` // the module's own words on what it left out
	Queries []explainedQuestion `json:"queries"`

	asked []host.Asked
	leaf  *host.TraceLeaf
}

func newExplanation(a *asRuntime, folder, file string) *explanation {
	if file == "" {
		file = filepath.Join(folder, "config.json")
	}
	return &explanation{Program: a.name, Config: file, folder: folder, root: a.root, Modes: []explainedMode{}, Edits: []explainedEdit{}}
}

// explain fills e, as far as it comes, and returns the new config.json. The error
// is the one that a create would report.
func (e *explanation) explain(ctx context.Context, log *slog.Logger) (content []byte, err error) {
	defer func() {
		if err != nil {
			e.Error = host.Reported(err)
		}
	}()
	if err := e.read(); err != nil {
		return nil, err
	}
	if content, err = e.create(ctx, log); err != nil {
		return nil, err
	}
	e.Unchanged = bytes.Equal(content, e.spec.Bytes())
	return content, nil
}

func (e *explanation) create(ctx context.Context, log *slog.Logger) ([]byte, error) {
	settings := config.ReadSettings(e.Program, os.Environ())
	if settings.Problem != "" {
		return nil, errors.New(settings.Problem)
	}
	c := settings.Config
	modes, err := c.Modes()
	if err != nil || len(modes) == 0 {
		return e.spec.Bytes(), err
	}
	if err := e.ask(ctx, c, modes, log); err != nil {
		return nil, err
	}
	for i := range e.Modes {
		if m := &e.Modes[i]; m.leaf != nil {
			if err := e.check(c, m); err != nil {
				return nil, err
			}
		}
	}
	merged, err := discover.Merge(e.parts)
	if err != nil || merged.Empty() {
		return e.spec.Bytes(), err
	}
	programs, err := c.Programs(host.OwnFolder(), &merged)
	if err != nil {
		return nil, err
	}
	lowered, err := discover.Lower(merged, programs)
	if err != nil {
		return nil, err
	}
	e.hooks(lowered, programs)
	return discover.Apply(e.spec, lowered)
}

// ask finds out what the modes answer, first those that a trace tells, as a create
// does.
func (e *explanation) ask(ctx context.Context, c host.Config, modes []string, log *slog.Logger) error {
	req := e.spec.Request()
	for _, mode := range modes {
		e.Modes = append(e.Modes, explainedMode{Mode: mode, Explain: []string{}, Queries: []explainedQuestion{}})
		m := &e.Modes[len(e.Modes)-1]
		applies, err := c.Applies(mode, req)
		if err != nil {
			return err
		}
		m.describe(c, req, applies)
		if !applies {
			continue
		}
		run, err := host.NewRun(c, mode, req, e.containerRoot(), log)
		if err != nil {
			return fmt.Errorf("mode %s: %w", mode, err)
		}
		walk := host.Peek(c, host.StateFolder(os.Environ()), mode, run)
		m.Hit, m.leaf = walk.Leaf != nil, walk.Leaf
		if m.Hit {
			m.asked = host.AskedOf(run.Query, walk.Steps)
		}
		run.Close()
		if walk.Miss != nil {
			m.Miss = missed(walk)
		}
	}
	for i := range e.Modes {
		m := &e.Modes[i]
		if !m.Applies || m.Hit {
			continue
		}
		result, err := wasm.Discover(ctx, c, m.Mode, req, e.containerRoot(), log)
		if err != nil {
			return err
		}
		m.leaf, m.asked = &result.TraceLeaf, result.Recording.Asked()
	}
	return nil
}

// missed says in words why no trace tells what the module would emit.
func missed(walk host.TraceWalk) string {
	if errors.Is(walk.Miss, fs.ErrNotExist) {
		return "there is none yet of this module under this configuration"
	}
	if len(walk.Before) == 0 {
		return host.OneLine(walk.Miss.Error())
	}
	last := walk.Steps[len(walk.Steps)-1]
	question := opOf(host.Asked{Op: last.Op, Root: last.Root, Key: last.Key}).question()
	var before []string
	for _, answer := range walk.Before {
		if text := answer.String(); !slices.Contains(before, text) {
			before = append(before, text)
		}
	}
	now := last.TraceAnswer.String()
	if slices.Contains(before, now) {
		return fmt.Sprintf("%s has another answer of %s than before", question, now)
	}
	return fmt.Sprintf("%s has the answer %s, and had %s", question, now, strings.Join(before, ", "))
}

// describe tells what the module of a mode is, and why the container is for it.
func (m *explainedMode) describe(c host.Config, req *discover.Request, applies bool) {
	m.Applies = applies
	installed, err := c.ModuleOf(m.Mode)
	if err != nil {
		return
	}
	m.Digest, m.File = installed.Digest, installed.File
	manifest, _, err := installed.Read()
	if err != nil {
		return
	}
	m.Module, m.Version = manifest.Name, manifest.Version
	list, uncounted, err := c.Askings(m.Mode, req)
	if err != nil {
		return
	}
	var void []string
	for _, a := range list {
		if len(a.IDs) > 0 {
			m.Asked = append(m.Asked, a)
		} else {
			void = append(void, "the container asks for nothing, by "+host.PlaceInWords(a.Place))
		}
	}
	for _, name := range hiddenConditions(c, req, manifest.Applies) {
		uncounted = append(uncounted, name+" does not count, since the container is not privileged and accept_env_when_unprivileged is false")
	}
	switch {
	case len(uncounted) > 0:
		m.Why = strings.Join(uncounted, "; ")
	case applies:
	case len(void) > 0:
		m.Why = strings.Join(void, "; ")
	default:
		m.Why = "the container has none of what its manifest names: " + strings.Join(waysToAsk(&manifest), ", ")
	}
}

// hiddenConditions are the variables that would make the container one for the mode,
// and that policy does not let count.
func hiddenConditions(c host.Config, req *discover.Request, list []host.Condition) (names []string) {
	for _, one := range list {
		if value, _ := req.Env(one.Env); value != "" && strings.HasSuffix(one.Env, "_VISIBLE_DEVICES") &&
			!c.AcceptEnvWhenUnprivileged && !req.Privileged() {
			names = append(names, "the variable "+one.Env)
		}
	}
	return names
}

// waysToAsk says what makes a container one for the module.
func waysToAsk(m *host.Manifest) (ways []string) {
	for _, r := range m.Requests {
		for _, place := range slices.Concat(r.Env, r.Annotations, r.MountsUnder) {
			if slices.Contains(r.Annotations, place) {
				place = "annotation " + place
			}
			ways = append(ways, host.PlaceInWords(place))
		}
	}
	for _, one := range m.Applies {
		switch {
		case one.Env != "":
			ways = append(ways, "the variable "+one.Env)
		case one.Annotation != "":
			ways = append(ways, "the annotation "+one.Annotation)
		default:
			ways = append(ways, "a mount below "+one.MountUnder)
		}
	}
	return ways
}

// check holds what a mode emitted against the rules, the rights and the machine,
// and lists its edits.
func (e *explanation) check(c host.Config, m *explainedMode) error {
	m.Explain = append(m.Explain, m.leaf.Explain...)
	for _, a := range m.asked {
		m.Queries = append(m.Queries, explainQuestion(a))
	}
	result, err := host.Conclude(m.Mode, *m.leaf)
	if err != nil {
		return fmt.Errorf("mode %s: %w", m.Mode, err)
	}
	m.Result = "done"
	if !result.Applicable {
		m.Result = "not applicable"
	}
	own := slices.Clone(result.Edits.ContainerEdits.AdditionalGIDs)
	if err := host.Resolve(c, m.Mode, &result.Edits); err != nil {
		return err
	}
	e.parts = append(e.parts, discover.ModeEdits{Mode: m.Mode, Edits: result.Edits})
	l := editList{mode: m, driverRoot: strings.TrimSuffix(c.DriverRoot, "/"), ownGroups: own}
	e.Edits = append(e.Edits, l.of(&result.Edits)...)
	return nil
}

// hooks lists the hooks that tenon builds out of what modes declare, each with the
// modes that it is for.
func (e *explanation) hooks(lowered discover.Edits, programs discover.Programs) {
	for _, h := range lowered.ContainerEdits.Hooks {
		var modes []string
		for _, part := range e.parts {
			alone, err := discover.Lower(part.Edits, programs)
			if err != nil {
				continue // it would have failed for all, too
			}
			for _, own := range alone.ContainerEdits.Hooks {
				if own.HookName == h.HookName && own.Path == h.Path && slices.Equal(own.Args[:min(2, len(own.Args))], h.Args[:min(2, len(h.Args))]) {
					modes = append(modes, part.Mode)
					break
				}
			}
		}
		e.Edits = append(e.Edits, explainedEdit{
			Mode: strings.Join(modes, ", "), Kind: "hook", What: h.Path,
			Detail: h.HookName + ": " + strings.Join(h.Args, " "), From: hookCause(h.Args),
		})
	}
}

// maxSpec is the size in bytes above which a create refuses a config.json.
const maxSpec = 8 << 20

// read reads config.json as a create does, with the same errors.
func (e *explanation) read() error {
	if e.gone {
		return fmt.Errorf("%s: does not exist any more; the container is gone", e.Config)
	}
	var data []byte
	var err error
	if e.stdin != nil {
		e.Config = "standard input"
		data, err = io.ReadAll(io.LimitReader(e.stdin, maxSpec+1))
	} else {
		if e.folder != "" {
			if st, err := os.Stat(e.folder); err != nil || !st.IsDir() {
				return fmt.Errorf("bundle %s: %w", e.folder, cmp.Or(host.Bare(err), error(unix.ENOTDIR)))
			}
		}
		data, err = readSpec(e.Config)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.Config, host.Bare(err))
	}
	if e.spec, err = discover.Parse(data); err != nil {
		return fmt.Errorf("%s: %w", e.Config, err)
	}
	return nil
}

func readSpec(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	if st.Size() > maxSpec {
		return nil, fmt.Errorf("has %d bytes, and at most %d are read", st.Size(), maxSpec)
	}
	return io.ReadAll(io.LimitReader(f, maxSpec+1))
}

// containerRoot is the root file system, as a create finds it: runtime-spec,
// config.md, "Root": a relative path is relative to the bundle.
func (e *explanation) containerRoot() string {
	if e.root != "" {
		return e.root
	}
	root := e.spec.Request().Root()
	if root == "" || filepath.IsAbs(root) {
		return root
	}
	root, err := filepath.Abs(filepath.Join(filepath.Dir(e.Config), root))
	if err != nil {
		return ""
	}
	return root
}
