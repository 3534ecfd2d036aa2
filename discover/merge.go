// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// ModeEdits are the edits of one mode, or one of several answers of it.
type ModeEdits struct {
	Mode  string // the mode's name, for errors
	Edits Edits
}

// Merge joins the edits of several modes in their order. What two ask for
// alike stands once. Where two set the same thing differently (a variable, a
// path in the container, an annotation, a network device, intelRdt) the
// error names the thing and both modes, and wraps [ErrInvalidEdits].
//
// Variables that two modes append or prepend with the same separator are no
// conflict: both values are kept.
//
// The edits of each part have passed [Edits.Validate], so those of a single one
// are returned as they are.
func Merge(parts []ModeEdits) (Edits, error) {
	if len(parts) == 1 {
		return parts[0].Edits, nil
	}
	size := 0
	for _, part := range parts {
		size += part.Edits.count()
	}
	m := merger{edits: Edits{ABI: ABI}, claims: make(map[thing]claim, size)}
	for _, part := range parts {
		m.mode = part.Mode
		if err := m.add(&part.Edits); err != nil {
			return Edits{}, err
		}
	}
	return m.edits, nil
}

// consistent returns an error where e sets the same thing twice, differently.
func (e *Edits) consistent() error {
	m := merger{claims: make(map[thing]claim, e.count())}
	return m.add(e)
}

type merger struct {
	edits  Edits
	mode   string // whose edits are being added
	claims map[thing]claim
}

// thing is what two modes can disagree about.
type thing struct{ kind, name string }

// claim is what one mode said about one thing.
type claim struct {
	mode  string
	value any
}

// claim notes what the mode says about a thing; fresh is false if the same was
// said before.
func (m *merger) claim(kind, name string, value any) (fresh bool, err error) {
	key := thing{kind, name}
	old, ok := m.claims[key]
	if !ok {
		m.claims[key] = claim{m.mode, value}
		return true, nil
	}
	if same(old.value, value) {
		return false, nil
	}
	if old.mode == m.mode {
		return false, invalid("%s %s: it is set twice, differently", kind, quote(name))
	}
	return false, invalid("%s %s: modes %s and %s set it differently; use one of them", kind, quote(name), old.mode, m.mode)
}

// same reports whether two claims say the same. A mount without options is one with
// the default ones.
func same(a, b any) bool {
	if m, ok := a.(*cdi.Mount); ok {
		if n, ok := b.(*cdi.Mount); ok {
			one, two := *m, *n
			one.Options, two.Options = MountOptions(m), MountOptions(n)
			return reflect.DeepEqual(one, two)
		}
	}
	return reflect.DeepEqual(a, b)
}

func (m *merger) add(e *Edits) error {
	if err := m.containerEdits(e); err != nil {
		return err
	}
	out := &m.edits
	for _, l := range e.Symlinks {
		fresh, err := m.claim("path", l.Link, l)
		if err != nil {
			return err
		}
		if fresh {
			out.Symlinks = append(out.Symlinks, l)
		}
	}
	for _, h := range e.BuiltinHooks {
		name := h.Name
		if h.Name == chmodHook {
			name += " " + h.Args["path"]
		}
		fresh, err := m.claim("hook", name, maps.Clone(h.Args))
		if err != nil {
			return err
		}
		if fresh {
			out.BuiltinHooks = append(out.BuiltinHooks, BuiltinHook{h.Name, maps.Clone(h.Args)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Annotations)) {
		fresh, err := m.claim("annotation", key, e.Annotations[key])
		if err != nil {
			return err
		}
		if fresh {
			if out.Annotations == nil {
				out.Annotations = make(map[string]string)
			}
			out.Annotations[key] = e.Annotations[key]
		}
	}
	out.LdCache.Dirs = union(out.LdCache.Dirs, e.LdCache.Dirs)
	out.DeviceRules = union(out.DeviceRules, e.DeviceRules)
	out.Remove.Env = union(out.Remove.Env, e.Remove.Env)
	out.Remove.Mounts = union(out.Remove.Mounts, e.Remove.Mounts)
	out.Remove.Devices = union(out.Remove.Devices, e.Remove.Devices)
	out.Remove.Hooks = union(out.Remove.Hooks, e.Remove.Hooks)
	return nil
}

func (m *merger) containerEdits(e *Edits) error {
	in, out := &e.ContainerEdits, &m.edits.ContainerEdits
	for _, kv := range in.Env {
		fresh, err := m.env(kv, e.EnvMode)
		if err != nil {
			return err
		}
		if fresh {
			out.Env = append(out.Env, kv)
		}
	}
	for _, d := range in.DeviceNodes {
		fresh, err := m.claim("path", d.Path, d)
		if err != nil {
			return err
		}
		if fresh {
			out.DeviceNodes = append(out.DeviceNodes, d)
		}
	}
	for _, mt := range in.Mounts {
		fresh, err := m.claim("path", mt.ContainerPath, mt)
		if err != nil {
			return err
		}
		if fresh {
			out.Mounts = append(out.Mounts, mt)
		}
	}
	for _, d := range in.NetDevices {
		fresh, err := m.claim("network device", d.HostInterfaceName, d)
		if err != nil {
			return err
		}
		if _, err := m.claim("network device named", d.Name, d); err != nil {
			return err
		}
		if fresh {
			out.NetDevices = append(out.NetDevices, d)
		}
	}
	if in.IntelRdt != nil {
		if _, err := m.claim("edit", "intelRdt", in.IntelRdt); err != nil {
			return err
		}
		out.IntelRdt = in.IntelRdt
	}
	for _, h := range in.Hooks {
		same := func(o *cdi.Hook) bool { return reflect.DeepEqual(o, h) }
		if !slices.ContainsFunc(out.Hooks, same) {
			out.Hooks = append(out.Hooks, h)
		}
	}
	out.AdditionalGIDs = union(out.AdditionalGIDs, in.AdditionalGIDs)
	return nil
}

// env claims a variable: its mode of joining always, and its value too where
// values cannot be joined.
func (m *merger) env(kv string, modes map[string]string) (fresh bool, err error) {
	name, _, _ := strings.Cut(kv, "=")
	mode := modes[name]
	if mode != "" && mode != "unset-only" {
		if _, err := m.claim("env", name, mode); err != nil {
			return false, err
		}
		// Each value is its own thing.
		if fresh, err = m.claim("env part", kv, true); err != nil {
			return false, err
		}
	} else if fresh, err = m.claim("env", name, [2]string{kv, mode}); err != nil {
		return false, err
	}
	if fresh && mode != "" {
		if m.edits.EnvMode == nil {
			m.edits.EnvMode = make(map[string]string)
		}
		m.edits.EnvMode[name] = mode
	}
	return fresh, nil
}

// union appends to list what it lacks of more.
func union[T comparable](list, more []T) []T {
	seen := make(map[T]bool, len(list)+len(more))
	for _, v := range list {
		seen[v] = true
	}
	for _, v := range more {
		if !seen[v] {
			seen[v] = true
			list = append(list, v)
		}
	}
	return list
}
