// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/wasm"
	"github.com/tenon-runtime/tenon/sdk"
)

// What the commands for authors of modules share: module build, run and test.

// candidate is a module that its author tries. It need not be installed, nor
// stand where a create would trust it.
type candidate struct {
	file     string
	mode     string // what its mode would be called
	code     []byte
	manifest host.Manifest
}

// maxModuleFile is what host/wasm takes, in bytes: "Limits" of sdk/ABI.md.
const maxModuleFile = 8 << 20

func readCandidate(file string) (candidate, error) {
	c := candidate{file: file, mode: strings.TrimSuffix(filepath.Base(file), ".wasm")}
	if !host.IsModeName(c.mode) {
		return c, fmt.Errorf("%s: has a name that no mode can have; use small letters, digits, dots and dashes, then .wasm", file)
	}
	var err error
	if c.code, err = readBounded(file, maxModuleFile); err != nil {
		return c, err
	}
	section, err := host.ManifestOf(c.code)
	if err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	if c.manifest, err = host.ParseManifest(section); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

func (c *candidate) digest() string {
	sum := sha256.Sum256(c.code)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, withPath(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", file)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: is larger than %d bytes", file, limit)
	}
	return data, err
}

// container is the container that a module is tried for.
type container struct {
	doc  []byte // config.json; nil for one with nothing but what follows
	root string // its root file system, absolute; "" for none

	env         []string // as in config.json; added to that of doc
	annotations map[string]string
	mounts      []sdk.Mount
}

// ociSpec is as much of config.json as a container here is made of:
// https://github.com/opencontainers/runtime-spec/blob/v1.2.1/config.md
type ociSpec map[string]any

// spec is the container as config.json.
func (c *container) spec() ([]byte, error) {
	spec := ociSpec{"ociVersion": "1.0.2"}
	if c.doc != nil {
		if _, err := discover.Parse(c.doc); err != nil {
			return nil, err
		}
		decoder := json.NewDecoder(bytes.NewReader(c.doc))
		decoder.UseNumber()
		if err := decoder.Decode(&spec); err != nil {
			return nil, err
		}
	}
	if len(c.env) > 0 {
		process, _ := spec["process"].(map[string]any)
		if process == nil {
			process = map[string]any{}
		}
		env, _ := process["env"].([]any)
		for _, kv := range c.env {
			env = append(env, kv)
		}
		process["env"] = env
		spec["process"] = process
	}
	if len(c.annotations) > 0 {
		annotations, _ := spec["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
		}
		for k, v := range c.annotations {
			annotations[k] = v
		}
		spec["annotations"] = annotations
	}
	if len(c.mounts) > 0 {
		mounts, _ := spec["mounts"].([]any)
		for _, m := range c.mounts {
			mounts = append(mounts, map[string]any{"destination": m.Destination, "source": m.Source, "type": m.Type, "options": m.Options})
		}
		spec["mounts"] = mounts
	}
	return json.Marshal(spec)
}

// request is the container for a recorded machine. Of what is nil, a recording
// answers what it has.
func (c *container) request(settings map[string]string) (sdk.Request, error) {
	r := sdk.Request{Env: c.env, Annotations: c.annotations, Mounts: c.mounts, Config: settings}
	if c.doc == nil {
		return r, nil
	}
	doc, err := c.spec()
	if err != nil {
		return r, err
	}
	var spec struct {
		Process     struct{ Env []string }
		Annotations map[string]string
		Mounts      []struct {
			Destination, Source, Type string
			Options                   []string
		}
	}
	if err := json.Unmarshal(doc, &spec); err != nil {
		return r, err
	}
	r.Spec, r.Env, r.Annotations, r.Mounts = doc, spec.Process.Env, spec.Annotations, []sdk.Mount{}
	for _, m := range spec.Mounts {
		r.Mounts = append(r.Mounts, sdk.Mount{Destination: m.Destination, Source: m.Source, Type: m.Type, Options: m.Options})
	}
	return r, nil
}

// trial is what came of one run of a module.
type trial struct {
	result     host.Result
	err        error
	asked      []host.Asked
	denied     []host.Asked // what is denied; over a recorded machine, what the manifest does not grant
	unrecorded []host.Asked // what a recording does not hold
	took       time.Duration
}

// trialMS bounds a trial. It is more than a create has, so that an author with a
// slow machine, or a test under load, sees what the module does.
const trialMS = 60_000

// try runs the module. machine is the recorded machine that answers it; nil for
// this one. Where it is nil, settings are put over the mode's table in config.
func (m *candidate) try(ctx context.Context, config host.Config, machine *sdk.Machine, box *container, settings map[string]string, variant uint32, log *slog.Logger) (t trial) {
	doc, err := box.spec()
	if err != nil {
		return trial{err: err}
	}
	spec, err := discover.Parse(doc)
	if err != nil {
		return trial{err: err}
	}
	if machine != nil {
		machine.Manifest = []byte(m.manifest.Text)
	}
	config, settings = m.settings(config, machine, settings)
	given, err := box.request(settings)
	if err != nil {
		return trial{err: err}
	}
	var notes *host.Notes
	run := wasm.Trial{
		Config: config, Mode: m.mode, Manifest: m.manifest, File: m.file, Code: m.code,
		Request: spec.Request(), ContainerRoot: box.root, Variant: variant, Log: log,
	}
	run.Manifest.Limits.WallMS = 0
	run.Ask = func(r *host.Run) host.Ask {
		ask := r.Query
		if machine != nil {
			ask = func(op, root uint32, key string) ([]byte, int32) {
				answer, code, recorded := machine.Ask(&given, sdk.Op(op), sdk.Root(root), key)
				question := host.Asked{Op: op, Root: root, Key: key}
				if !r.Granted(op, root, key) {
					if recorded && code != sdk.Denied {
						t.denied = append(t.denied, question)
					}
					return nil, host.CodeDenied
				}
				if !recorded {
					t.unrecorded = append(t.unrecorded, question)
				}
				if code != 0 {
					return nil, int32(code)
				}
				return r.Within(op, root, answer), host.CodeOK
			}
		}
		notes = host.NewNotes(ask)
		return notes.Query
	}
	start := time.Now()
	t.result, t.err = run.Discover(ctx)
	t.took = time.Since(start)
	if notes != nil {
		t.asked = notes.Asked()
	}
	for _, a := range t.asked {
		if machine == nil && a.Code == host.CodeDenied {
			t.denied = append(t.denied, a)
		}
	}
	if len(t.unrecorded) > 0 {
		t.err = fmt.Errorf("%s: is not in the recorded machine; record it anew, or add it to its file queries", t.unrecorded[0])
	}
	return t
}

// named puts the mode in front of the reason of a module that failed, as a create
// does; errors about its file or its edits have a name already.
func (m *candidate) named(err error) error {
	for _, thing := range []string{m.file + ": ", "mode " + m.mode + ": "} {
		if strings.HasPrefix(err.Error(), thing) {
			return err
		}
	}
	return fmt.Errorf("mode %s: %w", m.mode, err)
}

// settings are what the mode is told by the query config: those of a machine,
// with what was given on the command line over them.
func (m *candidate) settings(config host.Config, machine *sdk.Machine, given map[string]string) (host.Config, map[string]string) {
	table := maps.Clone(config.ModeTables[m.mode])
	if table == nil {
		table = map[string]string{}
	}
	known := given
	if machine != nil && machine.Recording() {
		known = machine.RecordedRequest().Config
		maps.Copy(known, given)
	}
	for key, value := range known {
		switch key {
		case "strict":
			config.Strict = value == "true"
		case "driver_root":
			config.DriverRoot = value
		default:
			table[key] = value
		}
	}
	config.ModeTables = map[string]map[string]string{m.mode: table}
	config.Limits.WallMS = trialMS
	if machine == nil {
		return config, nil
	}
	if machine.Recording() {
		return config, given
	}
	all := maps.Clone(table)
	maps.Copy(all, given)
	return config, all
}

// outcome stands in the place of edits, in edits.json of a recorded machine; one
// member is set.
type outcome struct {
	NotApplicable bool   `json:"notApplicable,omitempty"`
	Error         string `json:"error,omitempty"`
}

// document is the edits as one indented document, or what stands in their place.
func (m *candidate) document(t trial) []byte {
	var v any
	switch {
	case t.err != nil:
		text := strings.TrimPrefix(m.named(t.err).Error(), m.file+": ")
		v = outcome{Error: strings.TrimPrefix(text, "mode "+m.mode+": ")}
	case !t.result.Applicable:
		v = outcome{NotApplicable: true}
	default:
		v = t.result.Edits
	}
	var out bytes.Buffer
	if err := printJSON(&out, v); err != nil {
		panic(err) // it was made of JSON
	}
	return out.Bytes()
}

// parsePairs takes KEY=VALUE apart.
func parsePairs(flag string, list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	pairs := map[string]string{}
	for _, item := range list {
		k, v, ok := strings.Cut(item, "=")
		if !ok || k == "" {
			return nil, usage("--%s: %q is not KEY=VALUE", flag, item)
		}
		pairs[k] = v
	}
	return pairs, nil
}

// errNoContainer tells that nothing says what the container of a machine asks.
var errNoContainer = errors.New("has neither queries nor config.json, so nothing says what the container asks for; record it with \"tenon module run --record\"")

// openMachine opens a recorded machine, and the container in its config.json, if
// it has one.
func openMachine(dir string) (*sdk.Machine, *container, error) {
	machine, err := sdk.OpenMachine(dir)
	if err != nil {
		return nil, nil, err
	}
	box := &container{}
	if err := box.read(filepath.Join(dir, "config.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	return machine, box, nil
}

// read takes the container from a config.json, and its root file system from
// beside it.
func (c *container) read(file string) error {
	doc, err := readBounded(file, 8<<20)
	if err != nil {
		return err
	}
	spec, err := discover.Parse(doc)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	c.doc = slices.Clone(doc)
	if root := spec.Request().Root(); root != "" {
		if !filepath.IsAbs(root) {
			dir, err := filepath.Abs(filepath.Dir(file))
			if err != nil {
				return err
			}
			root = filepath.Join(dir, root)
		}
		c.root = root
	}
	return nil
}
