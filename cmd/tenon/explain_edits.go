// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
)

// explainedEdit is one change of config.json.
type explainedEdit struct {
	Mode   string   `json:"mode"` // more than one for a hook that several need
	Kind   string   `json:"kind"` // "device", "mount", …
	What   string   `json:"what"` // the path, name or key that is changed
	Detail string   `json:"detail,omitempty"`
	From   []string `json:"from"` // the answers that name it; none where only all of them together tell

	secret bool // Detail has what may be a secret
}

// editList lists the edits of one mode.
type editList struct {
	mode       *explainedMode
	driverRoot string   // "" for /
	ownGroups  []uint32 // those that the mode named; others come from device nodes
	list       []explainedEdit
}

// add lists one edit. names are what an answer may call it by.
func (l *editList) add(kind, what, detail string, names ...string) *explainedEdit {
	if detail == what {
		detail = ""
	}
	l.list = append(l.list, explainedEdit{
		Mode: l.mode.Mode, Kind: kind, What: host.OneLine(what), Detail: host.OneLine(detail),
		From: l.mode.naming(append([]string{what}, names...), l.driverRoot),
	})
	return &l.list[len(l.list)-1]
}

// of lists edits in the order in which they are applied.
func (l *editList) of(e *discover.Edits) []explainedEdit {
	for _, name := range e.Remove.Env {
		l.add("remove env", name, "")
	}
	for _, destination := range e.Remove.Mounts {
		l.add("remove mount", destination, "")
	}
	for _, p := range e.Remove.Devices {
		l.add("remove device", p, "")
	}
	for _, h := range e.Remove.Hooks {
		l.add("remove hook", h.Base, h.HookName)
	}
	c := &e.ContainerEdits
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		if how := e.EnvMode[name]; how != "" {
			value += " (" + how + ")"
		}
		l.add("env", name, value, value).secret = true
	}
	groups := map[uint32]*explainedEdit{} // the device that asks for each
	for _, d := range c.DeviceNodes {
		detail := fmt.Sprintf("%s %d:%d %s", d.Type, d.Major, d.Minor, d.Permissions)
		from := cmp.Or(d.HostPath, d.Path)
		if from != d.Path {
			detail += " from " + from
		}
		device := *l.add("device", d.Path, detail, from)
		if d.GID != nil && groups[*d.GID] == nil {
			groups[*d.GID] = &device
		}
	}
	for _, r := range e.DeviceRules {
		minor := fmt.Sprint(r.Minor)
		if r.Minor < 0 {
			minor = "*"
		}
		l.add("device rule", fmt.Sprintf("%s %d:%s", r.Type, r.Major, minor), r.Access)
	}
	for _, d := range c.NetDevices {
		l.add("network interface", d.Name, "from "+d.HostInterfaceName, d.HostInterfaceName)
	}
	for _, m := range c.Mounts {
		detail := strings.Join(discover.MountOptions(m), ",")
		if m.HostPath != m.ContainerPath {
			detail = strings.TrimSuffix("from "+m.HostPath+" "+detail, " ")
		}
		l.add("mount", m.ContainerPath, detail, m.HostPath)
	}
	for _, gid := range c.AdditionalGIDs {
		group := l.add("group", fmt.Sprint(gid), "")
		if device := groups[gid]; device != nil && !slices.Contains(l.ownGroups, gid) {
			group.Detail, group.From = "the group of "+device.What+", which not everybody may open", device.From
		}
	}
	if c.IntelRdt != nil {
		l.add("intelRdt", cmp.Or(c.IntelRdt.ClosID, "its own class"), "")
	}
	for _, s := range e.Symlinks {
		target := s.Target
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(s.Link), target)
		}
		l.add("link", s.Link, "to "+s.Target, target)
	}
	for _, dir := range e.LdCache.Dirs {
		l.add("folder of libraries", dir, "")
	}
	for _, h := range e.BuiltinHooks {
		var args []string
		for _, key := range slices.Sorted(maps.Keys(h.Args)) {
			args = append(args, key+" "+h.Args[key])
		}
		l.add("built-in hook", h.Name, strings.Join(args, ", "), h.Args["path"])
	}
	for _, key := range slices.Sorted(maps.Keys(e.Annotations)) {
		l.add("annotation", key, e.Annotations[key]).secret = true
	}
	return l.list
}

// hookCauses say which of the edits of modes each hook of tenon's carries out, by
// its command.
var hookCauses = map[string]string{
	"create-symlinks": "the links above",
	"update-ldcache":  "the libraries and folders of libraries above",
}

// hookCause says why there is a hook with these arguments.
func hookCause(args []string) []string {
	if len(args) > 1 && hookCauses[args[1]] != "" {
		return []string{hookCauses[args[1]]}
	}
	return []string{"the built-in hooks above"}
}
