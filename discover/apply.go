// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// Apply returns the config.json of s with e in it. Where that changes nothing
// it returns [Spec.Bytes] itself, the same slice. Bytes that no edit touches
// stay as they are; applying e to what came out changes nothing more.
//
// What is removed goes first, but for what e also sets: that is replaced in
// its place. Then:
//
//   - env: NAME=value replaces the first entry of that name and drops the
//     others, or is appended; EnvMode may say otherwise.
//   - deviceNodes: one of the same path is replaced in its place, else
//     appended. uid and gid are those of process.user where the edit has none.
//     A device cgroup rule follows each; permissions "" are "rw".
//   - mounts: one of the same destination is replaced in its place, else
//     appended, but before the first mount that stands below it. No mount that
//     was there is moved. Without options they are ro, nosuid, nodev, rbind
//     and rprivate.
//   - hooks are appended to their stage unless one with the same path and the
//     same arguments is there; device cgroup rules unless an equal one is
//     there behind the last deny rule.
//   - annotations, netDevices and intelRdt are set.
//
// e must have passed [Edits.Validate], its devices must have a type (the host
// fills it in), and [Lower] must have turned what it declares into hooks: an
// error of Apply is a bug of tenon.
func Apply(s *Spec, e Edits) ([]byte, error) {
	if len(e.Symlinks) > 0 || len(e.LdCache.Dirs) > 0 || len(e.BuiltinHooks) > 0 {
		return nil, errors.New("edits: declared hooks are not lowered; this is a bug of tenon, please report")
	}
	ce := &e.ContainerEdits
	for _, d := range ce.DeviceNodes {
		if d.Type == "" {
			return nil, fmt.Errorf("device %q: its type is not resolved; this is a bug of tenon, please report", d.Path)
		}
	}
	stages, err := s.hooks(&e)
	if err != nil {
		return nil, err
	}

	resources := s.set(s.at("linux", "resources"), member{name: "devices", raw: s.deviceRules(&e)})
	linux := s.set(s.at("linux"),
		member{name: "resources", raw: resources},
		member{name: "devices", raw: s.devices(&e)},
		member{name: "netDevices", raw: s.netDevices(ce.NetDevices)},
		member{name: "intelRdt", raw: intelRdt(ce.IntelRdt)})
	user := s.set(s.at("process", "user"), member{name: "additionalGids", raw: s.additionalGids(ce.AdditionalGIDs)})
	process := s.set(s.at("process"), member{name: "user", raw: user}, member{name: "env", raw: s.env(&e)})
	// What stands around the document, a line break mostly, stays too.
	whole := s.root
	if whole.last > 0 {
		whole.start, whole.end = 0, len(s.data)
	}
	out := s.set(&whole,
		member{name: "process", raw: process},
		member{name: "mounts", list: s.editMounts(&e)},
		member{name: "hooks", raw: s.set(s.at("hooks"), stages...)},
		member{name: "annotations", raw: s.annotations(e.Annotations)},
		member{name: "linux", raw: linux})
	if out == nil {
		return s.data, nil
	}
	if whole.last == 0 { // an empty object
		out = slices.Concat(s.data[:s.root.start], out, s.data[s.root.end:])
	}
	if bytes.Equal(out, s.data) {
		return s.data, nil
	}
	return out, nil
}

// member is a member of an object and its new value: bytes, or a list that is not
// written yet. Where both are nil it stays as it is.
type member struct {
	name string
	raw  []byte
	list *list
}

func (m *member) size() int {
	if m.list != nil {
		return m.list.size()
	}
	return len(m.raw)
}

func (m *member) append(dst []byte) []byte {
	if m.list != nil {
		return m.list.append(dst)
	}
	return append(dst, m.raw...)
}

// set returns object n with the members in it, or nil if there is nothing to
// set. A member that is there is replaced in its place, others are appended in
// the order given; an object that is not there is made.
func (s *Spec) set(n *node, members ...member) []byte {
	members = slices.DeleteFunc(members, func(m member) bool { return m.raw == nil && m.list == nil })
	if len(members) == 0 {
		return nil
	}
	size := n.end - n.start + 8
	for _, m := range members {
		size += len(m.name) + m.size() + 4
	}
	var added []byte
	type splice struct {
		at *node
		member
	}
	var splices []splice
	for _, m := range members {
		if old := n.member(m.name); old.kind != absent {
			splices = append(splices, splice{old, m})
			continue
		}
		if len(added) > 0 {
			added = append(added, ',')
		}
		added = m.append(append(AppendString(added, m.name), ':'))
	}
	if n.kind != object {
		return slices.Concat([]byte("{"), added, []byte("}"))
	}
	slices.SortFunc(splices, func(a, b splice) int { return a.at.start - b.at.start })
	out := make([]byte, 0, size)
	from := n.start
	for _, sp := range splices {
		out = sp.append(append(out, s.data[from:sp.at.start]...))
		from = sp.at.end
	}
	if len(added) > 0 {
		if n.last > 0 {
			out = append(append(out, s.data[from:n.last]...), ',')
			from = n.last
		} else {
			out = append(out, '{')
			from = n.start + 1
		}
		out = append(out, added...)
	}
	return append(out, s.data[from:n.end]...)
}

// list is an array while it is edited.
type list struct {
	spec    *Spec
	node    *node // the array; kind absent or null where there is none
	entries []entry
	keys    map[string]int // where in entries to begin to look for one
	twice   bool           // some key is that of more than one
}

// entry is one element.
type entry struct {
	key   string     // what tells it apart
	old   *node      // where it stood; nil for a new one
	raw   []byte     // what it is now; nil: what it was, or mount
	mount *cdi.Mount // a new mount, which is written when its place is known
	gone  bool
}

// mountSize is about what a mount takes beside its paths, in bytes.
const mountSize = 100

// list returns the elements of an array with their keys.
func (s *Spec) list(n *node, key func(*node) string) *list {
	l := &list{spec: s, node: n, keys: make(map[string]int)}
	if n.kind == array {
		l.entries = make([]entry, len(n.kids), len(n.kids)+16)
		for i := range n.kids {
			l.entries[i] = entry{key: key(&n.kids[i]), old: &n.kids[i]}
			l.note(i)
		}
	}
	return l
}

// grow makes room for n more elements.
func (l *list) grow(n int) {
	l.entries = slices.Grow(l.entries, n)
	keys := make(map[string]int, len(l.keys)+n)
	maps.Copy(keys, l.keys)
	l.keys = keys
}

// note keeps where the entry at i is. One that is put before it can only move it
// on.
func (l *list) note(i int) {
	key := l.entries[i].key
	if first, ok := l.keys[key]; ok {
		i, l.twice = min(i, first), true
	}
	l.keys[key] = i
}

// find returns where the first element of that key is that is not gone, or -1.
func (l *list) find(key string) int {
	if first, ok := l.keys[key]; ok {
		for i := first; i < len(l.entries); i++ {
			if en := &l.entries[i]; en.key == key && !en.gone {
				return i
			}
		}
	}
	return -1
}

// replace gives the first element of that key a new value, drops the others,
// and reports whether there was one.
func (l *list) replace(key string, raw []byte) bool {
	i := l.find(key)
	if i < 0 {
		return false
	}
	if en := &l.entries[i]; en.old == nil || !bytes.Equal(en.old.raw(l.spec.data), raw) {
		en.raw, en.mount = raw, nil
	}
	if l.twice {
		for i++; i < len(l.entries); i++ {
			l.entries[i].gone = l.entries[i].gone || l.entries[i].key == key
		}
	}
	return true
}

func (l *list) add(key string, raw []byte) { l.insert(len(l.entries), entry{key: key, raw: raw}) }

func (l *list) insert(at int, en entry) {
	l.entries = slices.Insert(l.entries, at, en)
	l.note(at)
}

func (l *list) remove(gone func(key string) bool) {
	for i := range l.entries {
		if gone(l.entries[i].key) {
			l.entries[i].gone = true
		}
	}
}

// changed returns l, or nil if nothing was changed.
func (l *list) changed() *list {
	for i := range l.entries {
		if en := &l.entries[i]; en.old == nil || en.raw != nil || en.gone {
			return l
		}
	}
	return nil
}

// bytes returns the array as JSON, or nil if nothing was changed.
func (l *list) bytes() []byte {
	if l.changed() == nil {
		return nil
	}
	return l.append(make([]byte, 0, l.size()))
}

// size is at least as many bytes as append appends, or nearly.
func (l *list) size() int {
	size := l.node.end - l.node.start + 2
	for i := range l.entries {
		en := &l.entries[i]
		if size += len(en.raw) + 1; en.mount != nil {
			size += len(en.mount.ContainerPath) + len(en.mount.HostPath) + mountSize
		}
	}
	return size
}

// append appends the array as JSON. Elements that stay keep the space around
// them.
func (l *list) append(dst []byte) []byte {
	data, out, first := l.spec.data, append(dst, '['), len(dst)+1
	for i := range l.entries {
		en := &l.entries[i]
		if en.gone {
			continue
		}
		if len(out) > first {
			out = append(out, ',')
		}
		if en.mount != nil {
			out = appendMount(out, en.mount)
			continue
		}
		if en.old == nil {
			out = append(out, en.raw...)
			continue
		}
		out = append(out, data[l.before(en.old):en.old.start]...)
		if en.raw != nil {
			out = append(out, en.raw...)
		} else {
			out = append(out, en.old.raw(data)...)
		}
		out = append(out, data[en.old.end:l.behind(en.old)]...)
	}
	if n := len(l.node.kids); n > 0 && len(out) > first {
		out = append(out, data[l.node.kids[n-1].end:l.node.end-1]...)
	}
	return append(out, ']')
}

// before and behind are where the space around an element begins and ends. The
// space behind the last one belongs to the array.
func (l *list) before(n *node) int {
	for i := n.start; ; i-- {
		if c := l.spec.data[i-1]; c == ',' || c == '[' {
			return i
		}
	}
}

func (l *list) behind(n *node) int {
	for i := n.end; ; i++ {
		switch l.spec.data[i] {
		case ',':
			return i
		case ']':
			return n.end
		}
	}
}

func (s *Spec) annotations(set map[string]string) []byte {
	var members []member
	n := s.at("annotations")
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if old := n.member(key); old.kind != text || old.string(s.data) != set[key] {
			members = append(members, member{name: key, raw: AppendString(nil, set[key])})
		}
	}
	return s.set(n, members...)
}

func (s *Spec) netDevices(set []*cdi.LinuxNetDevice) []byte {
	var members []member
	n := s.at("linux", "netDevices")
	for _, d := range set {
		if n.member(d.HostInterfaceName).member("name").string(s.data) != d.Name {
			members = append(members, member{name: d.HostInterfaceName, raw: obj().str("name", d.Name).bytes()})
		}
	}
	return s.set(n, members...)
}

// additionalGids appends those that are not there; 0 is no group to add, as in
// CDI.
func (s *Spec) additionalGids(set []uint32) []byte {
	n := s.at("process", "user", "additionalGids")
	seen := map[int64]bool{0: true}
	for i := range n.kids {
		seen[n.kids[i].int(s.data)] = true
	}
	l := s.list(n, func(*node) string { return "" })
	for _, gid := range set {
		if g := int64(gid); !seen[g] {
			seen[g] = true
			l.add("", fmt.Appendf(nil, "%d", gid))
		}
	}
	return l.bytes()
}
