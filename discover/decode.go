// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"io/fs"
	"strconv"

	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// decoder turns the nodes of an edits document into [Edits], as encoding/json
// would; a fuzz test compares the two. It is here because every create decodes
// one such document, and in a process that lives for milliseconds the first use
// of encoding/json costs more (it looks at every type) than the decoding.
type decoder struct {
	doc   []byte
	edits Edits
	last  *cdi.Mount // the mount before, whose texts are often the same
}

// element takes one element of a list.
func (d *decoder) element(n *node) bool {
	e, c := &d.edits, &d.edits.ContainerEdits
	switch n.shape {
	case deviceShape:
		c.DeviceNodes = append(c.DeviceNodes, &cdi.DeviceNode{
			Path:        d.text(n, "path"),
			HostPath:    d.text(n, "hostPath"),
			Type:        d.text(n, "type"),
			Major:       d.int(n, "major"),
			Minor:       d.int(n, "minor"),
			FileMode:    pointer[fs.FileMode](d, n, "fileMode"),
			Permissions: d.text(n, "permissions"),
			UID:         pointer[uint32](d, n, "uid"),
			GID:         pointer[uint32](d, n, "gid"),
		})
	case netDeviceShape:
		c.NetDevices = append(c.NetDevices, &cdi.LinuxNetDevice{
			HostInterfaceName: d.text(n, "hostInterfaceName"),
			Name:              d.text(n, "name"),
		})
	case hookShape:
		c.Hooks = append(c.Hooks, &cdi.Hook{
			HookName: d.text(n, "hookName"),
			Path:     d.text(n, "path"),
			Args:     d.list(n, "args"),
			Env:      d.list(n, "env"),
			Timeout:  pointer[int](d, n, "timeout"),
		})
	case mountShape:
		m := &cdi.Mount{HostPath: d.text(n, "hostPath"), Type: d.text(n, "type")}
		m.ContainerPath = d.like(m.HostPath, n.member("containerPath"))
		if d.last != nil && d.isList(d.last.Options, n.member("options")) {
			m.Options = d.last.Options
		} else {
			m.Options = d.list(n, "options")
		}
		d.last = m
		c.Mounts = append(c.Mounts, m)
	case removeHookShape:
		e.Remove.Hooks = append(e.Remove.Hooks, RemoveHook{d.text(n, "hookName"), d.text(n, "base")})
	case symlinkShape:
		e.Symlinks = append(e.Symlinks, Symlink{d.text(n, "target"), d.text(n, "link")})
	case deviceRuleShape:
		e.DeviceRules = append(e.DeviceRules, DeviceRule{d.text(n, "type"), d.int(n, "major"), d.int(n, "minor"), d.text(n, "access")})
	case builtinHookShape:
		e.BuiltinHooks = append(e.BuiltinHooks, BuiltinHook{d.text(n, "name"), d.texts(n, "args")})
	default:
		return false
	}
	return true
}

// rest takes what stands in no list, and the lists of strings and numbers.
func (d *decoder) rest(n *node) {
	e, c := &d.edits, &d.edits.ContainerEdits
	e.ABI = int(d.int(n, "abi"))
	e.EnvMode = d.texts(n, "envMode")
	e.LdCache.Dirs = d.list(n.member("ldcache"), "dirs")
	e.Annotations = d.texts(n, "annotations")
	remove := n.member("remove")
	e.Remove.Env = d.list(remove, "env")
	e.Remove.Mounts = d.list(remove, "mounts")
	e.Remove.Devices = d.list(remove, "devices")
	in := n.member("containerEdits")
	c.Env = d.list(in, "env")
	gids := in.member("additionalGids")
	for i := range gids.kids {
		c.AdditionalGIDs = append(c.AdditionalGIDs, uint32(d.number(&gids.kids[i])))
	}
	if r := in.member("intelRdt"); r.kind == object {
		c.IntelRdt = &cdi.IntelRdt{
			ClosID:           d.text(r, "closID"),
			L3CacheSchema:    d.text(r, "l3CacheSchema"),
			MemBwSchema:      d.text(r, "memBwSchema"),
			Schemata:         d.list(r, "schemata"),
			EnableMonitoring: r.member("enableMonitoring").kind == boolean && d.doc[r.member("enableMonitoring").start] == 't',
		}
	}
}

func (d *decoder) string(n *node) string {
	if n.kind != text {
		return ""
	}
	return unquote(d.doc[n.start:n.end], n.plain)
}

// like is string where what is often the same is there already.
func (d *decoder) like(known string, n *node) string {
	if n.kind == text && n.plain && string(d.doc[n.start+1:n.end-1]) == known {
		return known
	}
	return d.string(n)
}

// isList reports whether a list is known: the one that n is.
func (d *decoder) isList(known []string, n *node) bool {
	if len(known) == 0 || len(known) != len(n.kids) {
		return false
	}
	for i := range n.kids {
		if k := &n.kids[i]; !k.plain || string(d.doc[k.start+1:k.end-1]) != known[i] {
			return false
		}
	}
	return true
}

func (d *decoder) text(n *node, member string) string { return d.string(n.member(member)) }

// list returns an array of strings, nil where it is empty or absent.
func (d *decoder) list(n *node, member string) []string {
	kids := n.member(member).kids
	if len(kids) == 0 {
		return nil
	}
	list := make([]string, len(kids))
	for i := range kids {
		list[i] = d.string(&kids[i])
	}
	return list
}

// texts returns an object of strings, nil where it is empty or absent.
func (d *decoder) texts(n *node, member string) map[string]string {
	n = n.member(member)
	if len(n.keys) == 0 {
		return nil
	}
	m := make(map[string]string, len(n.keys))
	for i, key := range n.keys {
		m[key] = d.string(&n.kids[i])
	}
	return m
}

func (d *decoder) int(n *node, member string) int64 { return d.number(n.member(member)) }

func (d *decoder) number(n *node) int64 {
	if n.kind != number {
		return 0
	}
	i, _ := strconv.ParseInt(string(d.doc[n.start:n.end]), 10, 64) // the parser has found it in range
	return i
}

// pointer returns a number that may be absent.
func pointer[T ~int | ~uint32](d *decoder, n *node, member string) *T {
	if n.member(member).kind != number {
		return nil
	}
	v := T(d.int(n, member))
	return &v
}
