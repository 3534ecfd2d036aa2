// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"slices"
	"strconv"
)

// JSON writes the edits document of ABI.md, "Edits". Members that say nothing
// are left out and maps are sorted, so the same edits are the same bytes. Text
// that is not UTF-8 is written as it is, for the host to refuse: a path that
// was silently changed would be another path.
func (e *Edits) JSON() []byte {
	w := &writer{out: make([]byte, 0, 4096)}
	w.byte('{')
	w.name("abi")
	w.int(1)
	w.containerEdits(&e.ContainerEdits)
	w.remove(&e.Remove)
	w.stringMap("envMode", e.EnvMode)
	w.objects("symlinks", len(e.Symlinks), func(i int) {
		s := &e.Symlinks[i]
		w.member("target", s.Target)
		w.member("link", s.Link)
	})
	if len(e.LdCache.Dirs) > 0 {
		w.name("ldcache")
		w.byte('{')
		w.strings("dirs", e.LdCache.Dirs)
		w.byte('}')
	}
	w.objects("deviceRules", len(e.DeviceRules), func(i int) {
		r := &e.DeviceRules[i]
		w.member("type", r.Type)
		w.name("major")
		w.int(r.Major)
		w.name("minor")
		w.int(r.Minor)
		w.member("access", r.Access)
	})
	w.objects("builtinHooks", len(e.BuiltinHooks), func(i int) {
		h := &e.BuiltinHooks[i]
		w.member("name", h.Name)
		w.stringMap("args", h.Args)
	})
	w.stringMap("annotations", e.Annotations)
	w.byte('}')
	return w.out
}

func (w *writer) containerEdits(c *ContainerEdits) {
	if len(c.Env)+len(c.DeviceNodes)+len(c.NetDevices)+len(c.Hooks)+len(c.Mounts)+len(c.AdditionalGIDs) == 0 && c.IntelRdt == nil {
		return
	}
	w.name("containerEdits")
	w.byte('{')
	w.strings("env", c.Env)
	w.objects("deviceNodes", len(c.DeviceNodes), func(i int) { w.deviceNode(c.DeviceNodes[i]) })
	w.objects("netDevices", len(c.NetDevices), func(i int) {
		d := c.NetDevices[i]
		w.member("hostInterfaceName", d.HostInterfaceName)
		w.member("name", d.Name)
	})
	w.objects("hooks", len(c.Hooks), func(i int) {
		h := c.Hooks[i]
		w.member("hookName", h.HookName)
		w.member("path", h.Path)
		w.strings("args", h.Args)
		w.strings("env", h.Env)
		if h.Timeout != nil {
			w.name("timeout")
			w.int(int64(*h.Timeout))
		}
	})
	w.objects("mounts", len(c.Mounts), func(i int) {
		m := c.Mounts[i]
		w.member("hostPath", m.HostPath)
		w.member("containerPath", m.ContainerPath)
		w.strings("options", m.Options)
		w.optional("type", m.Type)
	})
	if r := c.IntelRdt; r != nil {
		w.name("intelRdt")
		w.byte('{')
		w.optional("closID", r.ClosID)
		w.optional("l3CacheSchema", r.L3CacheSchema)
		w.optional("memBwSchema", r.MemBwSchema)
		w.strings("schemata", r.Schemata)
		if r.EnableMonitoring {
			w.name("enableMonitoring")
			w.raw("true")
		}
		w.byte('}')
	}
	if len(c.AdditionalGIDs) > 0 {
		w.name("additionalGids")
		w.byte('[')
		for _, g := range c.AdditionalGIDs {
			w.comma()
			w.int(int64(g))
		}
		w.byte(']')
	}
	w.byte('}')
}

func (w *writer) deviceNode(d *DeviceNode) {
	w.member("path", d.Path)
	w.optional("hostPath", d.HostPath)
	w.optional("type", d.Type)
	if d.Major != 0 {
		w.name("major")
		w.int(d.Major)
	}
	if d.Minor != 0 {
		w.name("minor")
		w.int(d.Minor)
	}
	w.number("fileMode", d.FileMode)
	w.optional("permissions", d.Permissions)
	w.number("uid", d.UID)
	w.number("gid", d.GID)
}

func (w *writer) remove(r *Remove) {
	if len(r.Env)+len(r.Mounts)+len(r.Devices)+len(r.Hooks) == 0 {
		return
	}
	w.name("remove")
	w.byte('{')
	w.strings("env", r.Env)
	w.strings("mounts", r.Mounts)
	w.strings("devices", r.Devices)
	w.objects("hooks", len(r.Hooks), func(i int) {
		h := &r.Hooks[i]
		w.member("hookName", h.HookName)
		w.member("base", h.Base)
	})
	w.byte('}')
}

// writer appends JSON. Empty members are not written.
type writer struct{ out []byte }

// byte, like all that append to out, is kept from being inlined: the copies
// would be a fiftieth of a guest.
//
//go:noinline
func (w *writer) byte(c byte) { w.out = append(w.out, c) }

// comma parts what comes from what stands before it.
func (w *writer) comma() {
	switch w.out[len(w.out)-1] {
	case '{', '[':
	default:
		w.byte(',')
	}
}

func (w *writer) name(name string) {
	w.comma()
	w.string(name)
	w.byte(':')
}

func (w *writer) int(n int64) { w.out = strconv.AppendInt(w.out, n, 10) }

func (w *writer) member(name, value string) {
	w.name(name)
	w.string(value)
}

func (w *writer) optional(name, value string) {
	if value != "" {
		w.member(name, value)
	}
}

func (w *writer) number(name string, n *uint32) {
	if n != nil {
		w.name(name)
		w.int(int64(*n))
	}
}

func (w *writer) strings(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.name(name)
	w.byte('[')
	for _, s := range list {
		w.comma()
		w.string(s)
	}
	w.byte(']')
}

func (w *writer) stringMap(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	w.name(name)
	w.byte('{')
	for _, k := range keys {
		w.comma()
		w.string(k)
		w.byte(':')
		w.string(m[k])
	}
	w.byte('}')
}

// objects writes n objects, each by one call of write. It is not generic: the
// guest would have one copy a type.
func (w *writer) objects(name string, n int, write func(i int)) {
	if n == 0 {
		return
	}
	w.name(name)
	w.byte('[')
	for i := range n {
		w.comma()
		w.byte('{')
		write(i)
		w.byte('}')
	}
	w.byte(']')
}

// string appends s as a JSON string, RFC 8259 section 7: only what must be
// escaped is.
func (w *writer) string(s string) {
	const hex = "0123456789abcdef"
	w.byte('"')
	plain := 0 // s[plain:i] waits to be copied
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		w.raw(s[plain:i])
		plain = i + 1
		if c < 0x20 {
			w.raw("\\u00")
			w.byte(hex[c>>4])
			w.byte(hex[c&15])
			continue
		}
		w.byte('\\')
		w.byte(c)
	}
	w.raw(s[plain:])
	w.byte('"')
}

//go:noinline
func (w *writer) raw(s string) { w.out = append(w.out, s...) }
