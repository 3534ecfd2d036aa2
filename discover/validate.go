// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// maxEdits is how many single edits one mode may ask for. A server with eight
// GPUs needs about 200; the lists of a whole system are some thousand.
const maxEdits = 10_000

// hookNames are the hooks of the runtime-spec, in the order of its config.md.
var hookNames = []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}

// safeMountOptions may stand in a mode's mount (mount(8); rro is runc's and
// crun's). None of them lets a mount reach back to the host, and none takes a
// restriction away but rw.
var safeMountOptions = []string{"bind", "rbind", "ro", "rro", "rw", "nosuid", "nodev", "noexec", "nosymfollow",
	"private", "rprivate", "noatime", "nodiratime", "relatime"}

// Validate returns the first rule that e breaks, naming the field by its JSON
// path, or nil. It is for the answer of a mode, before [Lower]: hooks with a
// path of their own are refused. Its error wraps [ErrInvalidEdits]: the mode is
// at fault.
//
// What it accepts the Validate of CDI's library accepts too. Whether a path is
// what the mode says, and whether the mode may touch it, only the host knows.
func (e Edits) Validate() error {
	if e.ABI != ABI {
		return invalid("abi: %d is not %d", e.ABI, ABI)
	}
	if n := e.count(); n > maxEdits {
		return invalid("edits: there are %d, more than %d", n, maxEdits)
	}
	for _, check := range []func() error{e.checkEnv, e.checkDevices, e.checkMounts, e.checkOthers, e.checkRemove, e.checkDeclared} {
		if err := check(); err != nil {
			return err
		}
	}
	return e.consistent()
}

func (e Edits) checkEnv() error {
	names := make(map[string]bool, len(e.ContainerEdits.Env))
	for i, kv := range e.ContainerEdits.Env {
		name, value, ok := strings.Cut(kv, "=")
		// The value is not shown: it may be a secret.
		if !ok || name == "" || !printable(name) {
			return invalid("containerEdits.env[%d]: it is not NAME=value", i)
		}
		if strings.ContainsAny(value, "\x00\n") || !utf8.ValidString(value) {
			return invalid("containerEdits.env[%d]: the value of %s holds a NUL, a line break or what is not UTF-8", i, quote(name))
		}
		if forbiddenEnv(name) {
			return invalid("containerEdits.env[%d]: %s is not for modes to set", i, quote(name))
		}
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(e.EnvMode)) {
		if !names[name] {
			return invalid("envMode: %s is not in containerEdits.env", quote(name))
		}
		mode := e.EnvMode[name]
		if mode != "unset-only" && !strings.HasPrefix(mode, "append") && !strings.HasPrefix(mode, "prepend") || !printable(mode) {
			return invalid("envMode: %s of %s is not unset-only, or append or prepend with a separator", quote(mode), quote(name))
		}
	}
	return nil
}

func (e Edits) checkDevices() error {
	for i, d := range e.ContainerEdits.DeviceNodes {
		if err := checkDevice(d); err != nil {
			return invalid("containerEdits.deviceNodes[%d]%w", i, err)
		}
	}
	for i, r := range e.DeviceRules {
		if err := checkRule(r); err != nil {
			return invalid("deviceRules[%d]%w", i, err)
		}
	}
	return nil
}

// checkDevice's error goes on where the path of the element ends; so do those
// of checkRule and checkMount.
func checkDevice(d *cdi.DeviceNode) error {
	if d == nil {
		return errors.New(": it is null")
	}
	if err := absolute(d.Path); err != nil {
		return fmt.Errorf(".path: %w", err)
	}
	if forbiddenDestination(d.Path) {
		return fmt.Errorf(".path: %s is not for modes to change", quote(d.Path))
	}
	if d.HostPath != "" {
		if err := absolute(d.HostPath); err != nil {
			return fmt.Errorf(".hostPath: %w", err)
		}
	}
	if !slices.Contains([]string{"", "b", "c", "p", "u"}, d.Type) {
		return fmt.Errorf(".type: %s is not one of b, c, p, u", quote(d.Type))
	}
	if d.Major < 0 || d.Minor < 0 {
		return fmt.Errorf(": device number %d:%d is negative", d.Major, d.Minor)
	}
	if d.FileMode != nil && *d.FileMode > 0o7777 {
		return fmt.Errorf(".fileMode: %d is more than 4095 (octal 7777)", uint32(*d.FileMode))
	}
	if d.Permissions != "" && d.Permissions != "none" && !access(d.Permissions) {
		return fmt.Errorf(".permissions: %s is not none and not some of r, w, m, each once", quote(d.Permissions))
	}
	return nil
}

func checkRule(r DeviceRule) error {
	switch {
	case r.Type != "c" && r.Type != "b":
		return fmt.Errorf(".type: %s is not one of b, c", quote(r.Type))
	case r.Major < 0:
		return fmt.Errorf(".major: %d is negative", r.Major)
	case r.Minor < -1:
		return fmt.Errorf(".minor: %d is less than -1", r.Minor)
	case !access(r.Access):
		return fmt.Errorf(".access: %s is not some of r, w, m, each once", quote(r.Access))
	}
	return nil
}

func (e Edits) checkMounts() error {
	for i, m := range e.ContainerEdits.Mounts {
		if err := checkMount(m); err != nil {
			return invalid("containerEdits.mounts[%d]%w", i, err)
		}
	}
	return nil
}

func checkMount(m *cdi.Mount) error {
	if m == nil {
		return errors.New(": it is null")
	}
	if err := absolute(m.HostPath); err != nil {
		return fmt.Errorf(".hostPath: %w", err)
	}
	if ForbiddenSource(m.HostPath) {
		return fmt.Errorf(".hostPath: %s is not for modes to mount", quote(m.HostPath))
	}
	if err := absolute(m.ContainerPath); err != nil {
		return fmt.Errorf(".containerPath: %w", err)
	}
	if forbiddenDestination(m.ContainerPath) || defaultDevice(m.ContainerPath) {
		return fmt.Errorf(".containerPath: %s is not for modes to change", quote(m.ContainerPath))
	}
	if m.Type != "" && m.Type != "bind" {
		return fmt.Errorf(".type: %s is not bind", quote(m.Type))
	}
	bind := len(m.Options) == 0
	for i, o := range m.Options {
		if !slices.Contains(safeMountOptions, o) {
			return fmt.Errorf(".options[%d]: %s is not one of %s", i, quote(o), strings.Join(safeMountOptions, ", "))
		}
		bind = bind || o == "bind" || o == "rbind"
	}
	if !bind {
		return errors.New(".options: neither bind nor rbind is among them")
	}
	return nil
}

func (e Edits) checkOthers() error {
	c := &e.ContainerEdits
	if len(c.Hooks) > 0 {
		return invalid("containerEdits.hooks: a hook with a path of its own needs a grant; use symlinks, ldcache or builtinHooks")
	}
	names := make(map[string]bool)
	for i, d := range c.NetDevices {
		at := fmt.Sprintf("containerEdits.netDevices[%d]", i)
		if d == nil {
			return invalid("%s: it is null", at)
		}
		if !interfaceName(d.HostInterfaceName) {
			return invalid("%s.hostInterfaceName: %s is not the name of an interface", at, quote(d.HostInterfaceName))
		}
		if !interfaceName(d.Name) {
			return invalid("%s.name: %s is not the name of an interface", at, quote(d.Name))
		}
		host, name := "host "+d.HostInterfaceName, "name "+d.Name
		if names[host] || names[name] {
			return invalid("%s: %s or %s stands twice", at, quote(d.HostInterfaceName), quote(d.Name))
		}
		names[host], names[name] = true, true
	}
	if r := c.IntelRdt; r != nil {
		// A folder of resctrl, or "/" for the root class: CDI's IntelRdt.Validate.
		if id := r.ClosID; id != "/" && (len(id) >= 4096 || id == "." || id == ".." || strings.Contains(id, "/") || !printable(id)) {
			return invalid("containerEdits.intelRdt.closID: %s is not a name of a folder", quote(id))
		}
		for _, line := range slices.Concat(r.Schemata, []string{r.L3CacheSchema, r.MemBwSchema}) {
			if !printable(line) {
				return invalid("containerEdits.intelRdt: %s holds control characters", quote(line))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Annotations)) {
		if key == "" || !printable(key) {
			return invalid("annotations: %s is not a key", quote(key))
		}
		if v := e.Annotations[key]; strings.Contains(v, "\x00") || !utf8.ValidString(v) {
			return invalid("annotations: the value of %s holds a NUL or what is not UTF-8", quote(key))
		}
	}
	return nil
}

func (e Edits) checkRemove() error {
	for i, name := range e.Remove.Env {
		if name == "" || strings.Contains(name, "=") || !printable(name) {
			return invalid("remove.env[%d]: %s is not a name", i, quote(name))
		}
	}
	for i, p := range e.Remove.Mounts {
		if err := absolute(p); err != nil {
			return invalid("remove.mounts[%d]: %w", i, err)
		}
		if forbiddenDestination(p) {
			return invalid("remove.mounts[%d]: %s is not for modes to change", i, quote(p))
		}
	}
	for i, p := range e.Remove.Devices {
		if err := absolute(p); err != nil {
			return invalid("remove.devices[%d]: %w", i, err)
		}
	}
	for i, h := range e.Remove.Hooks {
		if !slices.Contains(hookNames, h.HookName) {
			return invalid("remove.hooks[%d].hookName: %s is not one of %s", i, quote(h.HookName), strings.Join(hookNames, ", "))
		}
		if h.Base == "." || h.Base == ".." || path.Base(h.Base) != h.Base || strings.Contains(h.Base, "/") || !printable(h.Base) {
			return invalid("remove.hooks[%d].base: %s is not a base name", i, quote(h.Base))
		}
	}
	return nil
}

func (e Edits) checkDeclared() error {
	for i, l := range e.Symlinks {
		at := fmt.Sprintf("symlinks[%d]", i)
		// The hook gets TARGET::LINK as one argument.
		if l.Target == "" || !printable(l.Target) || strings.Contains(l.Target, "::") || strings.HasSuffix(l.Target, ":") {
			return invalid(`%s.target: %s is empty, holds "::" or control characters, or ends with ":"`, at, quote(l.Target))
		}
		if err := absolute(l.Link); err != nil {
			return invalid("%s.link: %w", at, err)
		}
		if forbiddenDestination(l.Link) || strings.Contains(l.Link, "::") {
			return invalid("%s.link: %s is not for modes to change", at, quote(l.Link))
		}
	}
	for i, d := range e.LdCache.Dirs {
		if err := absolute(d); err != nil {
			return invalid("ldcache.dirs[%d]: %w", i, err)
		}
	}
	for i, h := range e.BuiltinHooks {
		at := fmt.Sprintf("builtinHooks[%d]", i)
		known, names := -1, make([]string, len(builtinHooks))
		for i := range builtinHooks {
			if names[i] = builtinHooks[i].name; names[i] == h.Name {
				known = i
			}
		}
		if known < 0 {
			return invalid("%s.name: %s is not one of %s", at, quote(h.Name), strings.Join(names, ", "))
		}
		if want := builtinHooks[known].args; !slices.Equal(slices.Sorted(maps.Keys(h.Args)), want) {
			return invalid("%s.args: %s takes these: [%s]", at, h.Name, strings.Join(want, " "))
		}
		if h.Name != chmodHook {
			continue
		}
		// No set-user-ID and set-group-ID bits.
		if m, err := strconv.ParseUint(h.Args["mode"], 8, 32); err != nil || m > 0o1777 || len(h.Args["mode"]) > 4 {
			return invalid("%s.args.mode: %s is not an octal mode up to 1777", at, quote(h.Args["mode"]))
		}
		if err := absolute(h.Args["path"]); err != nil {
			return invalid("%s.args.path: %w", at, err)
		}
		if forbiddenDestination(h.Args["path"]) {
			return invalid("%s.args.path: %s is not for modes to change", at, quote(h.Args["path"]))
		}
	}
	return nil
}

// invalid is fmt.Errorf for errors that also are [ErrInvalidEdits], whose text
// it does not repeat: the caller names the mode.
func invalid(format string, args ...any) error {
	return invalidError{fmt.Errorf(format, args...)}
}

type invalidError struct{ error }

func (e invalidError) Unwrap() []error { return []error{ErrInvalidEdits, e.error} }

// absolute refuses paths that are relative or not in their shortest form: two
// spellings of one path would defeat every rule about paths.
func absolute(p string) error {
	switch {
	case !path.IsAbs(p):
		return fmt.Errorf("%s does not start with /", quote(p))
	case path.Clean(p) != p:
		return fmt.Errorf("%s is not in its shortest form %s", quote(p), quote(path.Clean(p)))
	case !printable(p) || len(p) > 4096: // PATH_MAX, linux/limits.h
		return fmt.Errorf("%s holds control characters or what is not UTF-8, or is longer than 4096", quote(p))
	}
	return nil
}

// printable refuses control characters, NUL and line breaks among them, and
// what is not UTF-8.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// access reports whether s is some of the letters r, w and m, each once.
func access(s string) bool {
	for i, c := range s {
		if !strings.ContainsRune("rwm", c) || strings.ContainsRune(s[:i], c) {
			return false
		}
	}
	return s != ""
}

// interfaceName is dev_valid_name of net/core/dev.c in Linux, for ASCII.
func interfaceName(s string) bool {
	return s != "" && len(s) < 16 && s != "." && s != ".." && !strings.ContainsAny(s, "/: ") && printable(s)
}
