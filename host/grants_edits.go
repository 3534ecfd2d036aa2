// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// editList is one list of patterns among the edits of a manifest, and how a
// message speaks of it.
type editList struct {
	of      func(*EditGrants) []string
	plural  string // "mounts"
	between string // "from"
}

var (
	envList      = editList{func(g *EditGrants) []string { return g.Env }, "variables", ""}
	annotations  = editList{func(g *EditGrants) []string { return g.Annotations }, "annotations", ""}
	deviceList   = editList{func(g *EditGrants) []string { return g.Devices }, "devices", ""}
	ruleList     = editList{func(g *EditGrants) []string { return g.DeviceRules }, "device rules", ""}
	fromList     = editList{func(g *EditGrants) []string { return g.MountsFrom }, "mounts", "from"}
	toList       = editList{func(g *EditGrants) []string { return g.MountsTo }, "mounts", "to"}
	writableList = editList{func(g *EditGrants) []string { return g.MountsWritable }, "writable mounts", "from"}
	netList      = editList{func(g *EditGrants) []string { return g.NetDevices }, "network interfaces", ""}
	builtinList  = editList{func(g *EditGrants) []string { return g.BuiltinHooks }, "built-in hooks", ""}
	removeList   = editList{func(g *EditGrants) []string { return g.Remove }, "removal", "of"}
	hookList     = editList{func(g *EditGrants) []string { return g.RemoveHooks }, "removal of hooks", "of"}
)

// CheckEdits refuses the first edit that is not granted. Its error names the
// mode, the edit, and what is granted instead; the module is at fault, or the
// administrator, where it says so. e has passed its Validate, and stands as the
// mode gave it, before [Lower] and [Resolve].
//
// It compares what the edits say. Where a source or a device really is only the
// machine knows; Resolve holds that against the rights, too.
//
// [Lower]: discover.Lower
func (r *Rights) CheckEdits(mode string, e discover.Edits) error {
	for _, check := range []func(*discover.Edits) error{r.checkNames, r.checkDevices, r.checkMounts, r.checkOthers, r.checkRemove} {
		if err := check(&e); err != nil {
			return fmt.Errorf("mode %s: %w", mode, err)
		}
	}
	return nil
}

type editPart struct {
	who string
	g   *EditGrants
}

func (r *Rights) parts() [2]editPart {
	return [2]editPart{{"its manifest allows", &r.manifest.Edits}, {"the administrator allows", &r.accepted.Edits}}
}

// need returns an error unless both the manifest and the administrator have a
// pattern in a list that ok is true for. thing names the edit, and says at its end
// what is missing: "is not granted", with what it is about before it.
func (r *Rights) need(thing func() string, list editList, ok func(pattern string) bool) error {
	for _, part := range r.parts() {
		patterns := list.of(part.g)
		switch {
		case slices.ContainsFunc(patterns, ok):
		case len(patterns) == 0:
			return fmt.Errorf("%s is not granted; %s no %s", thing(), part.who, list.plural)
		default:
			words := strings.Fields(list.plural + " " + list.between)
			return fmt.Errorf("%s is not granted; %s %s %s", thing(), part.who, strings.Join(words, " "), few(patterns))
		}
	}
	return nil
}

// few lists patterns, the first ones where they are many.
func few(patterns []string) string {
	more := ""
	if len(patterns) > 8 {
		patterns, more = patterns[:8], ", …"
	}
	shown := make([]string, len(patterns))
	for i, p := range patterns {
		shown[i] = Shown(p)
	}
	return strings.Join(shown, ", ") + more
}

// allow returns an error unless both grant a kind of edit as a whole.
func (r *Rights) allow(thing func() string, granted func(*EditGrants) bool, plural string) error {
	for _, part := range r.parts() {
		if !granted(part.g) {
			return fmt.Errorf("%s is not granted; %s no %s", thing(), part.who, plural)
		}
	}
	return nil
}

// nth is the thing that an error is about: an edit, by its list and number, and
// what it names. It is made when there is an error.
func nth(list string, i int, name string) func() string {
	return func() string { return fmt.Sprintf("%s[%d]: %s:", list, i, Shown(name)) }
}

func (r *Rights) name(thing func() string, list editList, name string) error {
	return r.need(thing, list, func(p string) bool { return matchPattern(p, name, false) })
}

func (r *Rights) checkNames(e *discover.Edits) error {
	for i, kv := range e.ContainerEdits.Env {
		name, _, _ := strings.Cut(kv, "=")
		if err := r.name(nth("env", i, name), envList, name); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Annotations)) {
		if err := r.name(func() string { return "annotations: " + Shown(key) + ":" }, annotations, key); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rights) checkDevices(e *discover.Edits) error {
	for i, d := range e.ContainerEdits.DeviceNodes {
		if err := r.name(nth("deviceNodes", i, d.Path), deviceList, d.Path); err != nil {
			return err
		}
		hostPath := cmp.Or(d.HostPath, d.Path)
		if err := r.node(nth("deviceNodes", i, hostPath), d, hostPath); err != nil {
			return err
		}
	}
	for i, rule := range e.DeviceRules {
		thing := func() string {
			minor := fmt.Sprint(rule.Minor)
			if rule.Minor < 0 {
				minor = "*"
			}
			return fmt.Sprintf("deviceRules[%d]: %s %d:%s:", i, rule.Type, rule.Major, minor)
		}
		err := r.need(thing, ruleList, func(p string) bool {
			g, ok := parseRule(p)
			return ok && g.kind == rule.Type && g.major == rule.Major && (g.minor < 0 || g.minor == rule.Minor)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// node holds where a device is on the host against the rights. A block device
// needs a grant that is its own path, no pattern.
func (r *Rights) node(thing func() string, d *cdi.DeviceNode, hostPath string) error {
	return r.need(thing, deviceList, func(p string) bool {
		return r.onHost(hostPath, func(hostPath string) bool {
			return p == hostPath || d.Type != "b" && matchPattern(p, hostPath, false)
		})
	})
}

// onHost asks for a path of the host as it is, and as root 2 has it.
func (r *Rights) onHost(p string, ok func(string) bool) bool {
	if ok(p) {
		return true
	}
	inside, is := strings.CutPrefix(p, r.driverRoot)
	return is && r.driverRoot != "" && strings.HasPrefix(inside, "/") && ok(inside)
}

func (r *Rights) checkMounts(e *discover.Edits) error {
	for i, m := range e.ContainerEdits.Mounts {
		if err := r.source(nth("mounts", i, m.HostPath), m, m.HostPath); err != nil {
			return err
		}
		err := r.need(nth("mounts", i, m.ContainerPath), toList, func(p string) bool { return matchPattern(p, m.ContainerPath, true) })
		if err != nil {
			return err
		}
	}
	return nil
}

// source holds where a mount comes from against the rights.
func (r *Rights) source(thing func() string, m *cdi.Mount, hostPath string) error {
	within := func(p string) bool {
		return r.onHost(hostPath, func(hostPath string) bool { return matchPattern(p, hostPath, true) })
	}
	if err := r.need(thing, fromList, within); err != nil || !writable(m) {
		return err
	}
	return r.need(func() string { return thing() + " without the option ro" }, writableList, within)
}

// writable reports whether a mount lets the container write: rw takes ro back,
// wherever it stands, in one of the low-level runtimes or another.
func writable(m *cdi.Mount) bool {
	if len(m.Options) == 0 {
		return false // ro is among those that it then gets
	}
	return slices.Contains(m.Options, "rw") || !slices.Contains(m.Options, "ro") && !slices.Contains(m.Options, "rro")
}

func (r *Rights) checkOthers(e *discover.Edits) error {
	c := &e.ContainerEdits
	if len(c.Hooks) > 0 {
		return errors.New("hooks[0]: a hook with a path of its own is granted to no module; use symlinks, ldcache or builtinHooks")
	}
	for i, d := range c.NetDevices {
		if err := r.name(nth("netDevices", i, d.HostInterfaceName), netList, d.HostInterfaceName); err != nil {
			return err
		}
	}
	for i, l := range e.Symlinks {
		at := nth("symlinks", i, l.Link)
		if err := r.allow(at, func(g *EditGrants) bool { return g.Symlinks }, "links"); err != nil {
			return err
		}
		if err := r.need(at, toList, func(p string) bool { return matchPattern(p, l.Link, true) }); err != nil {
			return err
		}
	}
	for i, h := range e.BuiltinHooks {
		if err := r.name(nth("builtinHooks", i, h.Name), builtinList, h.Name); err != nil {
			return err
		}
		if p, ok := h.Args["path"]; ok {
			if err := r.hookPath(nth("builtinHooks", i, p), p); err != nil {
				return err
			}
		}
	}
	for _, kind := range []struct {
		first   string // "" where there is none
		granted func(*EditGrants) bool
		plural  string
	}{
		{first("ldcache.dirs[0]: ", e.LdCache.Dirs), func(g *EditGrants) bool { return g.LdCache }, "folders of ld.so.cache"},
		{first("additionalGids[0]: ", c.AdditionalGIDs), func(g *EditGrants) bool { return g.AdditionalGIDs }, "groups"},
		{map[bool]string{true: "intelRdt:"}[c.IntelRdt != nil], func(g *EditGrants) bool { return g.IntelRdt }, "share of cache or memory bandwidth"},
	} {
		if kind.first != "" {
			if err := r.allow(func() string { return kind.first }, kind.granted, kind.plural); err != nil {
				return err
			}
		}
	}
	return nil
}

func first[T any](at string, list []T) string {
	if len(list) == 0 {
		return ""
	}
	return at + Shown(fmt.Sprint(list[0])) + ":"
}

// hookPath holds a path that a built-in hook changes in the container against
// the rights: it is one that the module may mount to, a device that it may
// give, or a folder on the way to one.
func (r *Rights) hookPath(thing func() string, path string) error {
	onTheWay := func(g *EditGrants) bool {
		return slices.ContainsFunc(g.Devices, func(p string) bool { return reaches(p, path) })
	}
	if onTheWay(&r.manifest.Edits) && onTheWay(&r.accepted.Edits) {
		return nil
	}
	return r.need(thing, toList, func(p string) bool { return matchPattern(p, path, true) })
}

func (r *Rights) checkRemove(e *discover.Edits) error {
	for _, kind := range []struct {
		name  string
		edits []string
		list  editList
		below bool
	}{
		{"env", e.Remove.Env, envList, false},
		{"mounts", e.Remove.Mounts, toList, true},
		{"devices", e.Remove.Devices, deviceList, false},
	} {
		for i, s := range kind.edits {
			at := nth("remove."+kind.name, i, s)
			if err := r.need(at, removeList, func(p string) bool { return p == kind.name }); err != nil {
				return err
			}
			if err := r.need(at, kind.list, func(p string) bool { return matchPattern(p, s, kind.below) }); err != nil {
				return err
			}
		}
	}
	for i, h := range e.Remove.Hooks {
		if err := r.name(nth("remove.hooks", i, h.Base), hookList, h.Base); err != nil {
			return err
		}
	}
	return nil
}
