// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"

	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// Programs are the programs that hooks start, and how.
type Programs struct {
	TenonHook         string // absolute path of tenon-hook; "" where there is none
	NoTenonHook       error  // why there is none
	NVIDIAHook        string // absolute path of nvidia-container-runtime-hook; "" where there is none, or no edit wants it
	NVIDIAHookTimeout int    // seconds; more than 0 where NVIDIAHook is used
	HookTimeout       int    // seconds; more than 0 where TenonHook is used
	LdCacheRequired   bool   // a container whose ld.so.cache cannot be written does not start
}

const (
	chmodHook  = "chmod"
	paramsHook = "disable-device-node-modification"
	nvidiaHook = "nvidia-container-runtime-hook"
)

// builtinHooks are the names of [BuiltinHook] and their arguments, both sorted.
// This and [floored] are no maps: those would be made at every start.
var builtinHooks = [...]struct {
	name string
	args []string
}{{chmodHook, []string{"mode", "path"}}, {paramsHook, nil}, {nvidiaHook, nil}}

// hookEnv is the whole environment of the hooks that tenon adds. It may not be
// empty: without one, runc before 1.3 gives hooks the container's environment.
var hookEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// Lower turns what e declares (symlinks, folders of libraries, built-in hooks)
// into hooks of containerEdits, and clears the declarations. e itself is not
// changed. It is for the edits of all modes together, after [Merge] and
// [Edits.Validate], and for once: update-ldcache also follows from the mounts.
//
// The hooks come in this order: create-symlinks, the other built-in ones as
// they stand (those of chmod with one mode become one), update-ldcache. An
// error says which program is not there: the administrator's fault, or the
// installation's.
func Lower(e Edits, p Programs) (Edits, error) {
	var hooks []*cdi.Hook
	tenon := func(args ...string) {
		hooks = append(hooks, hook("createContainer", p.TenonHook, p.HookTimeout, args...))
	}
	if len(e.Symlinks) > 0 {
		args := []string{"create-symlinks"}
		for _, l := range e.Symlinks {
			args = append(args, "--link", l.Target+"::"+l.Link)
		}
		tenon(args...)
	}
	chmods := make(map[string]*cdi.Hook)
	for _, h := range e.BuiltinHooks {
		switch h.Name {
		case chmodHook:
			mode := h.Args["mode"]
			if chmods[mode] == nil {
				tenon(chmodHook, "--mode", mode)
				chmods[mode] = hooks[len(hooks)-1]
			}
			chmods[mode].Args = append(chmods[mode].Args, "--path", h.Args["path"])
		case paramsHook:
			tenon(paramsHook)
		case nvidiaHook:
			if p.NVIDIAHook == "" {
				return Edits{}, errors.New(nvidiaHook + ": not configured; set hook_path in [modes.legacy]")
			}
			hooks = append(hooks, hook("prestart", p.NVIDIAHook, p.NVIDIAHookTimeout, "prestart"))
		default:
			return Edits{}, fmt.Errorf("hook %q: no such hook; this is a bug of tenon, please report", h.Name)
		}
	}
	if folders := libraryFolders(&e); len(folders) > 0 {
		args := []string{"update-ldcache"}
		if p.LdCacheRequired {
			args = append(args, "--required")
		}
		for _, f := range folders {
			args = append(args, "--folder", f)
		}
		tenon(args...)
	}
	for _, h := range hooks {
		if h.Path == "" {
			return Edits{}, cmp.Or(p.NoTenonHook, errors.New("tenon-hook: is not installed; install tenon anew"))
		}
		if !path.IsAbs(h.Path) || *h.Timeout <= 0 {
			return Edits{}, fmt.Errorf("hook %q: its path is not absolute or it has no time-out; this is a bug of tenon, please report", h.Path)
		}
	}
	e.ContainerEdits.Hooks = slices.Concat(e.ContainerEdits.Hooks, hooks)
	e.Symlinks, e.LdCache, e.BuiltinHooks = nil, LdCache{}, nil
	return e, nil
}

// WantsNVIDIAHook reports whether e declares NVIDIA's hook, so that [Lower] needs to
// know where it is.
func (e *Edits) WantsNVIDIAHook() bool {
	return slices.ContainsFunc(e.BuiltinHooks, func(h BuiltinHook) bool { return h.Name == nvidiaHook })
}

// hook makes a hook as the runtime-spec has it; args are those after the
// program's name.
func hook(stage, program string, timeout int, args ...string) *cdi.Hook {
	return &cdi.Hook{
		HookName: stage,
		Path:     program,
		Args:     append([]string{path.Base(program)}, args...),
		Env:      slices.Clone(hookEnv),
		Timeout:  &timeout,
	}
}

// libraryFolders returns the folders of the container that its ld.so.cache must
// know: those named, then those of the libraries that are mounted, each once.
// A library is what its name says it is, as in NVIDIA's toolkit
// (internal/discover/ldconfig.go, getLibraryPaths).
func libraryFolders(e *Edits) []string {
	folders := union(nil, e.LdCache.Dirs)
	seen := make(map[string]bool)
	for _, f := range folders {
		seen[f] = true
	}
	for _, m := range e.ContainerEdits.Mounts {
		if ok, _ := path.Match("lib?*.so*", path.Base(m.ContainerPath)); !ok {
			continue
		}
		if f := path.Dir(m.ContainerPath); !seen[f] {
			seen[f] = true
			folders = append(folders, f)
		}
	}
	return folders
}
