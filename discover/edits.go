// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"unicode/utf8"

	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// ABI is the version of the edits document that this package reads.
const ABI = 1

// Edits are the changes that one mode asks for: the containerEdits of CDI
// 1.1.0, unchanged, and what CDI lacks. The zero value changes nothing.
//
// They are applied in this order: Remove, ContainerEdits, Symlinks, LdCache.
type Edits struct {
	// ABI is the version of this document: 1.
	ABI int `json:"abi"`

	// ContainerEdits are as in CDI 1.1.0. A mode must leave Hooks empty;
	// [Lower] fills it.
	ContainerEdits cdi.ContainerEdits `json:"containerEdits"`

	// Remove is taken out of config.json before anything is put in.
	Remove Remove `json:"remove,omitzero"`

	// EnvMode says for a name of ContainerEdits.Env what becomes of a value
	// that the container already has: no entry replaces it; "unset-only" keeps
	// it; "append" or "prepend", followed by a separator ("append:"), joins the
	// two, unless the value is already a part.
	EnvMode map[string]string `json:"envMode,omitempty"`

	// Symlinks are made in the container before its program starts.
	Symlinks []Symlink `json:"symlinks,omitempty"`

	// LdCache names folders for the container's /etc/ld.so.cache.
	LdCache LdCache `json:"ldcache,omitzero"`

	// DeviceRules allow devices in the container's device cgroup that get no
	// node.
	DeviceRules []DeviceRule `json:"deviceRules,omitempty"`

	// BuiltinHooks are hooks of a closed list, see [BuiltinHook].
	BuiltinHooks []BuiltinHook `json:"builtinHooks,omitempty"`

	// Annotations are set in config.json, replacing those of the same key.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Remove names what to take out of config.json. What is not there is no error.
type Remove struct {
	Env     []string     `json:"env,omitempty"`     // names of variables
	Mounts  []string     `json:"mounts,omitempty"`  // destinations
	Devices []string     `json:"devices,omitempty"` // paths in the container; their device cgroup rules stay
	Hooks   []RemoveHook `json:"hooks,omitempty"`
}

// IsZero reports whether r names nothing; encoding/json asks before it writes.
func (r Remove) IsZero() bool { return len(r.Env)+len(r.Mounts)+len(r.Devices)+len(r.Hooks) == 0 }

// RemoveHook names hooks of one stage by the base name of their path.
type RemoveHook struct {
	HookName string `json:"hookName"` // a hook of the runtime-spec, such as "prestart"
	Base     string `json:"base"`     // base name of the path, such as "nvidia-container-runtime-hook"
}

// Symlink is a symbolic link to make in the container.
type Symlink struct {
	Target string `json:"target"` // what the link says; relative or absolute
	Link   string `json:"link"`   // where it is in the container; absolute
}

// LdCache names folders of the container to add to its /etc/ld.so.cache. The
// folders of the libraries that ContainerEdits.Mounts brings are added without
// being named.
type LdCache struct {
	Dirs []string `json:"dirs,omitempty"` // absolute
}

// IsZero reports whether l names nothing; encoding/json asks before it writes.
func (l LdCache) IsZero() bool { return len(l.Dirs) == 0 }

// DeviceRule is an allow rule of the device cgroup, see
// https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#allowed-device-list
type DeviceRule struct {
	Type   string `json:"type"`   // "c" or "b"
	Major  int64  `json:"major"`  // 0 or more
	Minor  int64  `json:"minor"`  // 0 or more; -1 is every minor number
	Access string `json:"access"` // some of the letters r, w and m, each once
}

// BuiltinHook is a hook whose path, arguments, environment and time-out tenon
// builds. The names and their arguments, all of them needed:
//
//	chmod                             mode ("755", octal), path (absolute, in the container)
//	disable-device-node-modification  none
//	nvidia-container-runtime-hook     none; the program is named by the administrator
type BuiltinHook struct {
	Name string            `json:"name"`
	Args map[string]string `json:"args,omitempty"`
}

// maxEditsDepth is how deep the arrays and objects of an edits document may be
// nested. What it may hold needs four.
const maxEditsDepth = 16

// editsShape is the edits document; a test holds that it and [Edits] name the
// same fields.
var (
	deviceShape = &shape{kind: object, members: []field{
		{"path", aString}, {"hostPath", aString}, {"type", aString}, {"major", anInt64}, {"minor", anInt64},
		{"fileMode", aUint32}, {"permissions", aString}, {"uid", aUint32}, {"gid", aUint32}}}
	netDeviceShape = &shape{kind: object, members: []field{{"hostInterfaceName", aString}, {"name", aString}}}
	hookShape      = &shape{kind: object, members: []field{
		{"hookName", aString}, {"path", aString}, {"args", textList}, {"env", textList}, {"timeout", anInt64}}}
	mountShape = &shape{kind: object, members: []field{
		{"hostPath", aString}, {"containerPath", aString}, {"options", textList}, {"type", aString}}}
	intelRdtShape = &shape{kind: object, members: []field{
		{"closID", aString}, {"l3CacheSchema", aString}, {"memBwSchema", aString}, {"schemata", textList},
		{"enableMonitoring", aBool}}}
	removeHookShape = &shape{kind: object, members: []field{{"hookName", aString}, {"base", aString}}}
	symlinkShape    = &shape{kind: object, members: []field{{"target", aString}, {"link", aString}}}
	deviceRuleShape = &shape{kind: object, members: []field{
		{"type", aString}, {"major", anInt64}, {"minor", anInt64}, {"access", aString}}}
	builtinHookShape = &shape{kind: object, members: []field{{"name", aString}, {"args", texts}}}

	editsShape = &shape{kind: object, members: []field{
		{"abi", anInt64},
		{"containerEdits", &shape{kind: object, members: []field{
			{"env", textList},
			{"deviceNodes", listOf(deviceShape)},
			{"netDevices", listOf(netDeviceShape)},
			{"hooks", listOf(hookShape)},
			{"mounts", listOf(mountShape)},
			{"intelRdt", intelRdtShape},
			{"additionalGids", uint32s}}}},
		{"remove", &shape{kind: object, members: []field{
			{"env", textList}, {"mounts", textList}, {"devices", textList}, {"hooks", listOf(removeHookShape)}}}},
		{"envMode", texts},
		{"symlinks", listOf(symlinkShape)},
		{"ldcache", &shape{kind: object, members: []field{{"dirs", textList}}}},
		{"deviceRules", listOf(deviceRuleShape)},
		{"builtinHooks", listOf(builtinHookShape)},
		{"annotations", texts},
	}}
)

func listOf(element *shape) *shape { return &shape{kind: array, each: element} }

// DecodeEdits reads one edits document. It is strict: an unknown field, a key
// that stands twice, null, a value of another type, a number out of range,
// bytes behind the document, text that is not UTF-8 and nesting deeper than 16
// are refused. What the fields hold is for [Edits.Validate] to check. The
// caller bounds the size.
//
// Every error wraps [ErrInvalidEdits] and names the field by its JSON path.
func DecodeEdits(doc []byte) (Edits, error) {
	if !utf8.Valid(doc) {
		return Edits{}, invalid("the edits document is not UTF-8")
	}
	d := decoder{doc: doc}
	p := parser{data: doc, limit: maxEditsDepth, strict: true, what: "the edits document", element: d.element}
	root, err := p.document(editsShape)
	if err != nil {
		return Edits{}, invalid("the edits document: %w", err)
	}
	d.rest(&root)
	return d.edits, nil
}

// Empty reports whether e changes nothing, whatever its ABI.
func (e Edits) Empty() bool { return e.count() == 0 }

// count is the number of single edits in e.
func (e *Edits) count() int {
	c, r := &e.ContainerEdits, &e.Remove
	n := len(c.Env) + len(c.DeviceNodes) + len(c.NetDevices) + len(c.Hooks) + len(c.Mounts) + len(c.AdditionalGIDs) +
		len(r.Env) + len(r.Mounts) + len(r.Devices) + len(r.Hooks) +
		len(e.Symlinks) + len(e.LdCache.Dirs) + len(e.DeviceRules) + len(e.BuiltinHooks) + len(e.Annotations)
	if c.IntelRdt != nil {
		n++
	}
	return n
}
