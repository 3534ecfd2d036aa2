// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"io/fs"

	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// decoder turns the nodes of an edits document into [Edits], as encoding/json
// would; a fuzz test compares the two. It is here because every create decodes
// one, and encoding/json takes four times as long, half a millisecond more for
// a server with eight GPUs.
type decoder []byte

func (d decoder) edits(n *node) Edits {
	rm := n.member("remove")
	return Edits{
		ABI:            int(n.member("abi").int(d)),
		ContainerEdits: d.containerEdits(n.member("containerEdits")),
		Remove: Remove{
			Env:     rm.member("env").strings(d),
			Mounts:  rm.member("mounts").strings(d),
			Devices: rm.member("devices").strings(d),
			Hooks: each(rm.member("hooks"), func(n *node) RemoveHook {
				return RemoveHook{d.text(n, "hookName"), d.text(n, "base")}
			}),
		},
		EnvMode: d.texts(n.member("envMode")),
		Symlinks: each(n.member("symlinks"), func(n *node) Symlink {
			return Symlink{d.text(n, "target"), d.text(n, "link")}
		}),
		LdCache: LdCache{n.member("ldcache").member("dirs").strings(d)},
		DeviceRules: each(n.member("deviceRules"), func(n *node) DeviceRule {
			return DeviceRule{d.text(n, "type"), n.member("major").int(d), n.member("minor").int(d), d.text(n, "access")}
		}),
		BuiltinHooks: each(n.member("builtinHooks"), func(n *node) BuiltinHook {
			return BuiltinHook{d.text(n, "name"), d.texts(n.member("args"))}
		}),
		Annotations: d.texts(n.member("annotations")),
	}
}

func (d decoder) containerEdits(n *node) cdi.ContainerEdits {
	e := cdi.ContainerEdits{
		Env: n.member("env").strings(d),
		DeviceNodes: each(n.member("deviceNodes"), func(n *node) *cdi.DeviceNode {
			return &cdi.DeviceNode{
				Path:        d.text(n, "path"),
				HostPath:    d.text(n, "hostPath"),
				Type:        d.text(n, "type"),
				Major:       n.member("major").int(d),
				Minor:       n.member("minor").int(d),
				FileMode:    pointer[fs.FileMode](d, n.member("fileMode")),
				Permissions: d.text(n, "permissions"),
				UID:         pointer[uint32](d, n.member("uid")),
				GID:         pointer[uint32](d, n.member("gid")),
			}
		}),
		NetDevices: each(n.member("netDevices"), func(n *node) *cdi.LinuxNetDevice {
			return &cdi.LinuxNetDevice{HostInterfaceName: d.text(n, "hostInterfaceName"), Name: d.text(n, "name")}
		}),
		Hooks: each(n.member("hooks"), func(n *node) *cdi.Hook {
			return &cdi.Hook{
				HookName: d.text(n, "hookName"),
				Path:     d.text(n, "path"),
				Args:     n.member("args").strings(d),
				Env:      n.member("env").strings(d),
				Timeout:  pointer[int](d, n.member("timeout")),
			}
		}),
		Mounts: each(n.member("mounts"), func(n *node) *cdi.Mount {
			return &cdi.Mount{
				HostPath:      d.text(n, "hostPath"),
				ContainerPath: d.text(n, "containerPath"),
				Options:       n.member("options").strings(d),
				Type:          d.text(n, "type"),
			}
		}),
		AdditionalGIDs: each(n.member("additionalGids"), func(n *node) uint32 { return uint32(n.int(d)) }),
	}
	if r := n.member("intelRdt"); r.kind == object {
		e.IntelRdt = &cdi.IntelRdt{
			ClosID:           d.text(r, "closID"),
			L3CacheSchema:    d.text(r, "l3CacheSchema"),
			MemBwSchema:      d.text(r, "memBwSchema"),
			Schemata:         r.member("schemata").strings(d),
			EnableMonitoring: r.member("enableMonitoring").bool(d),
		}
	}
	return e
}

func (d decoder) text(n *node, member string) string { return n.member(member).string(d) }

// texts returns an object of strings, nil where there is none.
func (d decoder) texts(n *node) map[string]string {
	if n.kind != object {
		return nil
	}
	m := make(map[string]string, len(n.keys))
	for i, key := range n.keys {
		m[key] = n.kids[i].string(d)
	}
	return m
}

// each returns the elements of an array, nil where there is none.
func each[T any](n *node, element func(*node) T) []T {
	if n.kind != array {
		return nil
	}
	list := make([]T, len(n.kids))
	for i := range n.kids {
		list[i] = element(&n.kids[i])
	}
	return list
}

// pointer returns a number that may be absent.
func pointer[T ~int | ~uint32](d decoder, n *node) *T {
	if n.kind != number {
		return nil
	}
	v := T(n.int(d))
	return &v
}
