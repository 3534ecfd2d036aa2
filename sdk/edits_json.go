// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

// JSON writes the edits document of ABI.md, "Edits". Members that say nothing
// are left out and maps are sorted, so the same edits are the same bytes. Text
// that is not UTF-8 is written as it is, for the host to refuse: a path that
// was silently changed would be another path.
func (e *Edits) JSON() []byte {
	w := &writer{out: make([]byte, 0, 4096)}
	w.open('{')
	w.name("abi")
	w.int(1)
	w.containerEdits(&e.ContainerEdits)
	w.remove(&e.Remove)
	w.stringMap("envMode", e.EnvMode)
	objects(w, "symlinks", e.Symlinks, func(s Symlink) {
		w.member("target", s.Target)
		w.member("link", s.Link)
	})
	if len(e.LdCache.Dirs) > 0 {
		w.name("ldcache")
		w.open('{')
		w.strings("dirs", e.LdCache.Dirs)
		w.close('}')
	}
	objects(w, "deviceRules", e.DeviceRules, func(r DeviceRule) {
		w.member("type", r.Type)
		w.name("major")
		w.int(r.Major)
		w.name("minor")
		w.int(r.Minor)
		w.member("access", r.Access)
	})
	objects(w, "builtinHooks", e.BuiltinHooks, func(h BuiltinHook) {
		w.member("name", h.Name)
		w.stringMap("args", h.Args)
	})
	w.stringMap("annotations", e.Annotations)
	w.close('}')
	return w.out
}

func (w *writer) containerEdits(c *ContainerEdits) {
	if len(c.Env)+len(c.DeviceNodes)+len(c.NetDevices)+len(c.Hooks)+len(c.Mounts)+len(c.AdditionalGIDs) == 0 && c.IntelRdt == nil {
		return
	}
	w.name("containerEdits")
	w.open('{')
	w.strings("env", c.Env)
	objects(w, "deviceNodes", c.DeviceNodes, w.deviceNode)
	objects(w, "netDevices", c.NetDevices, func(d *NetDevice) {
		w.member("hostInterfaceName", d.HostInterfaceName)
		w.member("name", d.Name)
	})
	objects(w, "hooks", c.Hooks, func(h *Hook) {
		w.member("hookName", h.HookName)
		w.member("path", h.Path)
		w.strings("args", h.Args)
		w.strings("env", h.Env)
		if h.Timeout != nil {
			w.name("timeout")
			w.int(int64(*h.Timeout))
		}
	})
	objects(w, "mounts", c.Mounts, func(m *MountEdit) {
		w.member("hostPath", m.HostPath)
		w.member("containerPath", m.ContainerPath)
		w.strings("options", m.Options)
		w.optional("type", m.Type)
	})
	if r := c.IntelRdt; r != nil {
		w.name("intelRdt")
		w.open('{')
		w.optional("closID", r.ClosID)
		w.optional("l3CacheSchema", r.L3CacheSchema)
		w.optional("memBwSchema", r.MemBwSchema)
		w.strings("schemata", r.Schemata)
		if r.EnableMonitoring {
			w.name("enableMonitoring")
			w.out = append(w.out, "true"...)
		}
		w.close('}')
	}
	if len(c.AdditionalGIDs) > 0 {
		w.name("additionalGids")
		w.open('[')
		for _, g := range c.AdditionalGIDs {
			w.comma()
			w.int(int64(g))
		}
		w.close(']')
	}
	w.close('}')
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
	w.open('{')
	w.strings("env", r.Env)
	w.strings("mounts", r.Mounts)
	w.strings("devices", r.Devices)
	objects(w, "hooks", r.Hooks, func(h RemoveHook) {
		w.member("hookName", h.HookName)
		w.member("base", h.Base)
	})
	w.close('}')
}

// writer appends JSON. Empty members are not written.
type writer struct{ out []byte }

func (w *writer) open(c byte)  { w.out = append(w.out, c) }
func (w *writer) close(c byte) { w.out = append(w.out, c) }

// comma parts what comes from what stands before it.
func (w *writer) comma() {
	switch w.out[len(w.out)-1] {
	case '{', '[':
	default:
		w.out = append(w.out, ',')
	}
}

func (w *writer) name(name string) {
	w.comma()
	w.out = append(w.out, '"')
	w.out = append(w.out, name...)
	w.out = append(w.out, '"', ':')
}

func (w *writer) int(n int64) { w.out = strconv.AppendInt(w.out, n, 10) }

func (w *writer) member(name, value string) {
	w.name(name)
	w.out = appendQuoted(w.out, value)
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
	w.open('[')
	for _, s := range list {
		w.comma()
		w.out = appendQuoted(w.out, s)
	}
	w.close(']')
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
	w.open('{')
	for _, k := range keys {
		w.comma()
		w.out = appendQuoted(w.out, k)
		w.out = append(w.out, ':')
		w.out = appendQuoted(w.out, m[k])
	}
	w.close('}')
}

func objects[T any](w *writer, name string, list []T, write func(T)) {
	if len(list) == 0 {
		return
	}
	w.name(name)
	w.open('[')
	for _, v := range list {
		w.comma()
		w.open('{')
		write(v)
		w.close('}')
	}
	w.close(']')
}

// appendQuoted appends s as a JSON string, RFC 8259 section 7: only what must
// be escaped is.
func appendQuoted(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < 0x20:
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

// Unquote returns the string that a JSON answer of [Context.Spec] holds, or
// false if it holds something else.
func Unquote(doc []byte) (string, bool) {
	if len(doc) < 2 || doc[0] != '"' || doc[len(doc)-1] != '"' {
		return "", false
	}
	in := doc[1 : len(doc)-1]
	out := make([]byte, 0, len(in))
	for len(in) > 0 {
		if in[0] == '"' || in[0] < 0x20 {
			return "", false
		}
		if in[0] != '\\' {
			out, in = append(out, in[0]), in[1:]
			continue
		}
		if len(in) < 2 {
			return "", false
		}
		switch in[1] {
		case '"', '\\', '/':
			out = append(out, in[1])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, rest, ok := unescape(in)
			if !ok {
				return "", false
			}
			out, in = utf8.AppendRune(out, r), rest
			continue
		default:
			return "", false
		}
		in = in[2:]
	}
	return string(out), true
}

// unescape reads the \uXXXX, or the pair of them, that in begins with. Half a
// pair becomes U+FFFD, as encoding/json has it.
func unescape(in []byte) (rune, []byte, bool) {
	unit := func(b []byte) (rune, bool) {
		if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
		return rune(n), err == nil
	}
	r, ok := unit(in)
	if !ok {
		return 0, nil, false
	}
	in = in[6:]
	if r < 0xd800 || r > 0xdfff {
		return r, in, true
	}
	if low, ok := unit(in); ok && r < 0xdc00 && low >= 0xdc00 && low <= 0xdfff {
		return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00), in[6:], true
	}
	return utf8.RuneError, in, true
}
