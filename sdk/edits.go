// SPDX-License-Identifier: Apache-2.0

package sdk

// Edits are what a mode wants changed: containerEdits of CDI 1.1.0, and what
// CDI lacks. The zero value changes nothing. ABI.md, "Edits", says what each
// member does; the names here and there are the same.
//
// https://github.com/cncf-tags/container-device-interface/blob/v1.1.0/SPEC.md
type Edits struct {
	ABI            int               `json:"abi"` // always written as 1
	ContainerEdits ContainerEdits    `json:"containerEdits"`
	Remove         Remove            `json:"remove"`
	EnvMode        map[string]string `json:"envMode,omitempty"` // by NAME: "unset-only", "append"+SEP or "prepend"+SEP
	Symlinks       []Symlink         `json:"symlinks,omitempty"`
	LdCache        LdCache           `json:"ldcache"`
	DeviceRules    []DeviceRule      `json:"deviceRules,omitempty"`
	BuiltinHooks   []BuiltinHook     `json:"builtinHooks,omitempty"`
	Annotations    map[string]string `json:"annotations,omitempty"`
}

// ContainerEdits are those of CDI.
type ContainerEdits struct {
	Env            []string      `json:"env,omitempty"` // "NAME=value"
	DeviceNodes    []*DeviceNode `json:"deviceNodes,omitempty"`
	NetDevices     []*NetDevice  `json:"netDevices,omitempty"`
	Hooks          []*Hook       `json:"hooks,omitempty"` // needs a grant of its own: a hook is a program run as root
	Mounts         []*MountEdit  `json:"mounts,omitempty"`
	IntelRdt       *IntelRdt     `json:"intelRdt,omitempty"`
	AdditionalGIDs []uint32      `json:"additionalGids,omitempty"`
}

// DeviceNode is a device that the container gets. Type, numbers, mode and group
// are the host's to fill in: it looks at the device itself and believes nobody.
type DeviceNode struct {
	Path        string  `json:"path"`               // in the container; absolute
	HostPath    string  `json:"hostPath,omitempty"` // on the host, if it differs
	Type        string  `json:"type,omitempty"`     // "c"; "b" must be said
	Major       int64   `json:"major,omitempty"`
	Minor       int64   `json:"minor,omitempty"`
	FileMode    *uint32 `json:"fileMode,omitempty"`    // permission bits
	Permissions string  `json:"permissions,omitempty"` // cgroup access, of r, w, m; "" is the host's default
	UID         *uint32 `json:"uid,omitempty"`
	GID         *uint32 `json:"gid,omitempty"`
}

// NetDevice is a network interface that moves into the container.
type NetDevice struct {
	HostInterfaceName string `json:"hostInterfaceName"`
	Name              string `json:"name"` // in the container
}

// Hook is a program of the host that the low-level runtime starts.
type Hook struct {
	HookName string   `json:"hookName"` // a stage of the runtime-spec, such as "createContainer"
	Path     string   `json:"path"`     // on the host; absolute
	Args     []string `json:"args,omitempty"`
	Env      []string `json:"env,omitempty"`
	Timeout  *int     `json:"timeout,omitempty"` // seconds, more than 0
}

// MountEdit is a mount that the container gets. It is called Mount in CDI; the
// mounts that a container already has are [Mount].
type MountEdit struct {
	HostPath      string   `json:"hostPath"`
	ContainerPath string   `json:"containerPath"`
	Options       []string `json:"options,omitempty"` // none means the host's default, a read-only bind mount
	Type          string   `json:"type,omitempty"`    // "" is a bind mount
}

// IntelRdt is linux.intelRdt of the runtime-spec.
type IntelRdt struct {
	ClosID           string   `json:"closID,omitempty"`
	L3CacheSchema    string   `json:"l3CacheSchema,omitempty"`
	MemBwSchema      string   `json:"memBwSchema,omitempty"`
	Schemata         []string `json:"schemata,omitempty"`
	EnableMonitoring bool     `json:"enableMonitoring,omitempty"`
}

// Remove names what the container must no longer have.
type Remove struct {
	Env     []string     `json:"env,omitempty"`     // names
	Mounts  []string     `json:"mounts,omitempty"`  // destinations
	Devices []string     `json:"devices,omitempty"` // paths in the container
	Hooks   []RemoveHook `json:"hooks,omitempty"`
}

// RemoveHook names hooks of one stage by the base name of their program.
type RemoveHook struct {
	HookName string `json:"hookName"`
	Base     string `json:"base"`
}

// Symlink is a link to create in the container.
type Symlink struct {
	Target string `json:"target"` // the link's text
	Link   string `json:"link"`   // absolute
}

// LdCache names folders to add to the container's ld.so.cache. The folders of
// mounted libraries need not be named.
type LdCache struct {
	Dirs []string `json:"dirs,omitempty"`
}

// DeviceRule allows devices without creating a node.
type DeviceRule struct {
	Type   string `json:"type"` // "c" or "b"
	Major  int64  `json:"major"`
	Minor  int64  `json:"minor"`  // -1 is any
	Access string `json:"access"` // of r, w, m, each once
}

// BuiltinHook names one of the hooks that the host knows how to build.
type BuiltinHook struct {
	Name string            `json:"name"`
	Args map[string]string `json:"args,omitempty"`
}

// AddDevice gives the container the device at path, under the same path. Fill
// in what is returned only where the host's own look must not decide.
func (e *Edits) AddDevice(path string) *DeviceNode {
	d := &DeviceNode{Path: path}
	e.ContainerEdits.DeviceNodes = append(e.ContainerEdits.DeviceNodes, d)
	return d
}

// AddMount mounts a path of the host. Without options it is a read-only bind
// mount that follows no set-uid bit and no device.
func (e *Edits) AddMount(hostPath, containerPath string, options ...string) *MountEdit {
	m := &MountEdit{HostPath: hostPath, ContainerPath: containerPath, Options: options}
	e.ContainerEdits.Mounts = append(e.ContainerEdits.Mounts, m)
	return m
}

// AddSymlink creates link in the container; target is the link's text.
func (e *Edits) AddSymlink(target, link string) {
	e.Symlinks = append(e.Symlinks, Symlink{Target: target, Link: link})
}

// SetEnv sets a variable of the container, in the place of one that is there.
func (e *Edits) SetEnv(name, value string) {
	e.ContainerEdits.Env = append(e.ContainerEdits.Env, name+"="+value)
}

// AddLdCacheDir adds a folder to the container's ld.so.cache.
func (e *Edits) AddLdCacheDir(dir string) { e.LdCache.Dirs = append(e.LdCache.Dirs, dir) }

// AddDeviceRule allows the container devices without creating a node.
func (e *Edits) AddDeviceRule(r DeviceRule) { e.DeviceRules = append(e.DeviceRules, r) }

// AddBuiltinHook asks for a hook that the host builds; args may be nil.
func (e *Edits) AddBuiltinHook(name string, args map[string]string) {
	e.BuiltinHooks = append(e.BuiltinHooks, BuiltinHook{Name: name, Args: args})
}

// RemoveHook removes the container's hooks of one stage, such as "prestart",
// whose program has this base name.
func (e *Edits) RemoveHook(stage, base string) {
	e.Remove.Hooks = append(e.Remove.Hooks, RemoveHook{HookName: stage, Base: base})
}
