// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// This file makes the elements that [Apply] puts into the arrays of
// config.json: variables, devices and their rules, mounts, hooks.

// variable is what becomes of one name of the environment.
type variable struct {
	value string // what the container sees
	has   bool   // that there is a value
	set   bool   // it must be written
	drop  bool   // what the container has does not count
	first int    // where it stands in process.env; -1 nowhere
}

// env returns the new process.env, or nil.
func (s *Spec) env(e *Edits) []byte {
	set := e.ContainerEdits.Env
	if len(set) == 0 && len(e.Remove.Env) == 0 {
		return nil
	}
	vars := make(map[string]*variable, len(set)+len(e.Remove.Env))
	for _, name := range e.Remove.Env {
		vars[name] = &variable{first: -1, drop: true}
	}
	var order []string
	for _, kv := range set {
		name, _, _ := strings.Cut(kv, "=")
		if vars[name] == nil {
			vars[name] = &variable{first: -1}
		}
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	var texts []string
	l := s.list(s.at("process", "env"), func(n *node) string {
		kv := n.string(s.data)
		name, value, ok := strings.Cut(kv, "=")
		if v := vars[name]; v != nil {
			if v.first < 0 {
				v.first = len(texts)
			}
			if ok && !v.drop {
				v.value, v.has = value, true
			}
		}
		texts = append(texts, kv)
		return name
	})
	for _, kv := range set {
		name, value, _ := strings.Cut(kv, "=")
		vars[name].join(value, e.EnvMode[name])
	}
	for i := range l.entries {
		name := l.entries[i].key
		v := vars[name]
		switch {
		case v == nil || !v.set && !v.drop:
		case v.set && v.first == i:
			if kv := name + "=" + v.value; kv != texts[i] {
				l.entries[i].raw = AppendString(nil, kv)
			}
		default:
			l.entries[i].gone = true
		}
	}
	for _, name := range order {
		if v := vars[name]; v.set && v.first < 0 {
			l.add(name, AppendString(nil, name+"="+v.value))
		}
	}
	return l.bytes()
}

// join puts one more value into the variable, as the mode of [Edits.EnvMode]
// says.
func (v *variable) join(value, mode string) {
	joined := value
	switch sep, isAppend := strings.CutPrefix(mode, "append"); {
	case !v.has || mode == "":
	case mode == "unset-only":
		return
	default:
		if !isAppend {
			sep = strings.TrimPrefix(mode, "prepend")
		}
		// An empty part would be the working folder in a PATH.
		if value == "" || strings.Contains(sep+v.value+sep, sep+value+sep) {
			return
		}
		switch {
		case v.value == "":
		case isAppend:
			joined = v.value + sep + value
		default:
			joined = value + sep + v.value
		}
	}
	v.value, v.has, v.set = joined, true, true
}

// clean is the path that two spellings of a path in the container have in
// common. runc takes a relative destination as one below /.
func clean(p string) string {
	if !path.IsAbs(p) {
		p = "/" + p
	}
	return path.Clean(p)
}

// devices returns the new linux.devices, or nil.
func (s *Spec) devices(e *Edits) []byte {
	set := e.ContainerEdits.DeviceNodes
	if len(set) == 0 && len(e.Remove.Devices) == 0 {
		return nil
	}
	l := s.list(s.at("linux", "devices"), func(n *node) string { return clean(n.member("path").string(s.data)) })
	gone := make(map[string]bool)
	for _, p := range e.Remove.Devices {
		gone[clean(p)] = true
	}
	for _, d := range set {
		delete(gone, clean(d.Path))
	}
	l.remove(func(key string) bool { return gone[key] })
	for _, d := range set {
		o := obj().str("path", d.Path).str("type", d.Type)
		if d.Type != "p" {
			o.num("major", d.Major).num("minor", d.Minor)
		}
		if d.FileMode != nil {
			o.num("fileMode", int64(*d.FileMode))
		}
		user := s.at("process", "user")
		s.owner(o, "uid", d.UID, user)
		s.owner(o, "gid", d.GID, user)
		if key, raw := clean(d.Path), o.bytes(); !l.replace(key, raw) {
			l.add(key, raw)
		}
	}
	return l.bytes()
}

// owner gives a device the user or group of the container's process unless the
// edit names one or it is 0, as CDI's library does (ContainerEdits.Apply).
func (s *Spec) owner(o *builder, name string, given *uint32, user *node) {
	if given != nil {
		o.num(name, int64(*given))
	} else if id := user.member(name).int(s.data); id > 0 {
		o.num(name, id)
	}
}

// deviceRules returns the new linux.resources.devices, or nil.
func (s *Spec) deviceRules(e *Edits) []byte {
	var want []DeviceRule
	for _, d := range e.ContainerEdits.DeviceNodes {
		typ := d.Type
		switch typ {
		case "u": // mknod(1): a character device without buffer
			typ = "c"
		case "p": // no cgroup rule can name a FIFO
			continue
		}
		switch d.Permissions {
		case "none":
		case "":
			want = append(want, DeviceRule{typ, d.Major, d.Minor, "rw"})
		default:
			want = append(want, DeviceRule{typ, d.Major, d.Minor, d.Permissions})
		}
	}
	want = append(want, e.DeviceRules...)
	if len(want) == 0 {
		return nil
	}
	have := make(map[DeviceRule]bool)
	n := s.at("linux", "resources", "devices")
	for i := range n.kids {
		r := &n.kids[i]
		if !r.member("allow").bool(s.data) {
			clear(have) // a later deny rule wins
			continue
		}
		have[DeviceRule{r.member("type").string(s.data), s.deviceNumber(r.member("major")),
			s.deviceNumber(r.member("minor")), r.member("access").string(s.data)}] = true
	}
	l := s.list(n, func(*node) string { return "" })
	for _, r := range want {
		if have[r] {
			continue
		}
		have[r] = true
		o := obj().flag("allow", true).str("type", r.Type)
		if r.Major >= 0 {
			o.num("major", r.Major)
		}
		if r.Minor >= 0 {
			o.num("minor", r.Minor)
		}
		l.add("", o.str("access", r.Access).bytes())
	}
	return l.bytes()
}

// deviceNumber is a number of a rule; one that is not there stands for all, as
// -1 does in runc and crun.
func (s *Spec) deviceNumber(n *node) int64 {
	if n.kind != number {
		return -1
	}
	return n.int(s.data)
}

// mountOptions are the options of a mount that names none: those that NVIDIA's
// CDI specs carry.
var mountOptions = []string{"ro", "nosuid", "nodev", "rbind", "rprivate"}

// MountOptions returns the options that a mount of a mode gets: its own, or where
// it has none ro, nosuid, nodev, rbind and rprivate. They are not the caller's to
// change.
func MountOptions(m *cdi.Mount) []string {
	if len(m.Options) == 0 {
		return mountOptions
	}
	return m.Options
}

// editMounts returns the new mounts, or nil.
func (s *Spec) editMounts(e *Edits) *list {
	set := e.ContainerEdits.Mounts
	if len(set) == 0 && len(e.Remove.Mounts) == 0 {
		return nil
	}
	l := s.list(s.at("mounts"), func(n *node) string { return clean(n.member("destination").string(s.data)) })
	gone := make(map[string]bool)
	for _, p := range e.Remove.Mounts {
		gone[clean(p)] = true
	}
	for _, m := range set {
		delete(gone, clean(m.ContainerPath))
	}
	l.remove(func(key string) bool { return gone[key] })
	folders := make(map[string]bool) // those that entries stand below
	for i := range l.entries {
		addFolders(folders, l.entries[i].key)
	}
	l.grow(len(set))
	for _, m := range set {
		key := clean(m.ContainerPath)
		if l.find(key) >= 0 {
			l.replace(key, appendMount(nil, m))
			continue
		}
		below := len(l.entries)
		if folders[key] {
			folder := key + "/"
			i := slices.IndexFunc(l.entries, func(en entry) bool { return !en.gone && strings.HasPrefix(en.key, folder) })
			if i >= 0 {
				below = i
			}
		}
		l.insert(below, entry{key: key, mount: m})
		addFolders(folders, key)
	}
	return l.changed()
}

// addFolders adds the folders above p, up to the first that is there.
func addFolders(folders map[string]bool, p string) {
	for slash := strings.LastIndexByte(p, '/'); slash > 0 && !folders[p[:slash]]; slash = strings.LastIndexByte(p, '/') {
		p = p[:slash]
		folders[p] = true
	}
	folders["/"] = true
}

// appendMount appends the element that m is in mounts.
func appendMount(dst []byte, m *cdi.Mount) []byte {
	o := builder{append(dst, '{')}
	o.str("destination", m.ContainerPath)
	if m.Type != "" {
		o.str("type", m.Type)
	}
	o.str("source", m.HostPath)
	o.strs("options", MountOptions(m))
	return o.bytes()
}

// hookKey tells hooks apart by their path and arguments.
func hookKey(p string, args []string) string {
	return p + "\x00" + strings.Join(args, "\x00")
}

// hooks returns the stages of hooks, those that change with their new value.
func (s *Spec) hooks(e *Edits) ([]member, error) {
	set, remove := e.ContainerEdits.Hooks, e.Remove.Hooks
	if len(set) == 0 && len(remove) == 0 {
		return nil, nil
	}
	var stages []member
	for _, stage := range hookNames {
		l := s.list(s.at("hooks", stage), func(n *node) string {
			return hookKey(n.member("path").string(s.data), n.member("args").strings(s.data))
		})
		have := make(map[string]bool, len(l.entries))
		for _, en := range l.entries {
			have[en.key] = true
		}
		added := make(map[string]bool)
		for _, h := range set {
			if h.HookName != stage {
				continue
			}
			key := hookKey(h.Path, h.Args)
			if !have[key] && !added[key] {
				l.add(key, hookJSON(h))
			}
			added[key] = true
		}
		l.remove(func(key string) bool {
			p, _, _ := strings.Cut(key, "\x00")
			return !added[key] && slices.Contains(remove, RemoveHook{stage, path.Base(p)})
		})
		stages = append(stages, member{name: stage, raw: l.bytes()})
	}
	for _, h := range set {
		if !slices.Contains(hookNames, h.HookName) {
			return nil, fmt.Errorf("hook %q: no such stage; this is a bug of tenon, please report", h.HookName)
		}
	}
	return stages, nil
}

func hookJSON(h *cdi.Hook) []byte {
	o := obj().str("path", h.Path)
	if len(h.Args) > 0 {
		o.strs("args", h.Args)
	}
	if len(h.Env) > 0 {
		o.strs("env", h.Env)
	}
	if h.Timeout != nil {
		o.num("timeout", int64(*h.Timeout))
	}
	return o.bytes()
}

// intelRdt returns linux.intelRdt, which is replaced as a whole, as CDI does.
func intelRdt(r *cdi.IntelRdt) []byte {
	if r == nil {
		return nil
	}
	o := obj()
	for _, m := range []struct{ name, value string }{
		{"closID", r.ClosID}, {"l3CacheSchema", r.L3CacheSchema}, {"memBwSchema", r.MemBwSchema}} {
		if m.value != "" {
			o.str(m.name, m.value)
		}
	}
	if len(r.Schemata) > 0 {
		o.strs("schemata", r.Schemata)
	}
	if r.EnableMonitoring {
		o.flag("enableMonitoring", true)
	}
	return o.bytes()
}

// builder makes a JSON object without space.
type builder struct{ buf []byte }

func obj() *builder { return &builder{append(make([]byte, 0, 256), '{')} }

func (b *builder) key(name string) *builder {
	if b.buf[len(b.buf)-1] != '{' {
		b.buf = append(b.buf, ',')
	}
	b.buf = append(AppendString(b.buf, name), ':')
	return b
}

func (b *builder) str(name, v string) *builder {
	b.key(name).buf = AppendString(b.buf, v)
	return b
}

func (b *builder) num(name string, v int64) *builder {
	b.key(name).buf = strconv.AppendInt(b.buf, v, 10)
	return b
}

func (b *builder) flag(name string, v bool) *builder {
	b.key(name).buf = strconv.AppendBool(b.buf, v)
	return b
}

func (b *builder) strs(name string, v []string) *builder {
	b.key(name).buf = append(b.buf, '[')
	for i, s := range v {
		if i > 0 {
			b.buf = append(b.buf, ',')
		}
		b.buf = AppendString(b.buf, s)
	}
	b.buf = append(b.buf, ']')
	return b
}

func (b *builder) bytes() []byte { return append(b.buf, '}') }

// AppendString appends s to dst as a JSON string. Unlike encoding/json it leaves <, >
// and & as they are; what is not UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0 // what stands before it is written
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(append(dst, s[from:i]...), '\\', byte(r))
		case r < ' ':
			dst = append(append(dst, s[from:i]...), '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			dst = append(append(dst, s[from:i]...), "\ufffd"...)
		default:
			continue
		}
		from = i + 1
	}
	return append(append(dst, s[from:]...), '"')
}
