// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"slices"
	"strings"
)

// Words says in plain lines, one a grant, which containers the module is for,
// what it may ask and what it may change. Two manifests with the same lines
// grant the same.
func (m Manifest) Words() []string {
	var lines []string
	if len(m.Applies) == 0 && len(m.Requests) == 0 {
		lines = append(lines, "runs for every container")
	}
	for _, one := range m.Applies {
		switch {
		case one.Env != "":
			lines = append(lines, "runs for a container with the variable "+Shown(one.Env))
		case one.Annotation != "":
			lines = append(lines, "runs for a container with the annotation "+Shown(one.Annotation))
		default:
			lines = append(lines, "runs for a container with a mount at or below "+Shown(one.MountUnder))
		}
	}
	for _, limit := range []struct {
		n    int
		text string
	}{
		{m.Limits.MemoryPages, "needs at most %d pages of memory"},
		{m.Limits.WallMS, "needs at most %d ms"},
		{m.Limits.Queries, "needs at most %d queries"},
	} {
		if limit.n > 0 {
			lines = append(lines, fmt.Sprintf(limit.text, limit.n))
		}
	}
	return append(lines, m.Grants.Words()...)
}

// String is the name and version, and the lines of Words.
func (m Manifest) String() string {
	return m.Name + " " + m.Version + "\n" + strings.Join(m.Words(), "\n")
}

// Words says in plain lines, one a grant, what may be asked and changed.
func (g Grants) Words() []string {
	var lines []string
	each := func(before string, list []string, behind string) {
		for _, s := range list {
			lines = append(lines, before+Shown(s)+behind)
		}
	}
	one := func(granted bool, line string) {
		if granted {
			lines = append(lines, line)
		}
	}
	for _, r := range g.Requests {
		list := ", and sees its list"
		if r.Name != "" {
			list += " " + Shown(r.Name)
		}
		each("runs for a container that asks for devices by the variable ", r.Env, list)
		each("runs for a container that asks for devices by the annotation ", r.Annotations, list)
		each("runs for a container that asks for devices by mounts below ", r.MountsUnder, list)
	}
	q, e := &g.Queries, &g.Edits
	each("may read the variable ", q.Env, " of the container")
	each("may read the annotation ", q.Annotations, " of the container")
	each("may read ", q.Spec, " of config.json, with all below it")
	each("may see the container's mounts at ", q.Mounts, " and below")
	one(q.Config, "may read the mode's own table of the config")
	for _, f := range q.FS {
		var ops []string
		for op, name := range fsOps {
			if name != "" && slices.Contains(f.Ops, name) {
				ops = append(ops, opWords[op])
			}
		}
		each("may "+strings.Join(ops, ", ")+": ", f.Paths, map[string]string{
			"host": " on the machine", "container": " in the container", "driver": " in the driver root"}[f.Root])
	}
	each("may look up the library ", q.Ld, "")

	each("may set the variable ", e.Env, " of the container")
	each("may set the annotation ", e.Annotations, " of the container")
	each("may give the device ", e.Devices, "")
	each("may allow devices ", e.DeviceRules, " without a node")
	each("may mount from ", e.MountsFrom, " of the machine and below, read-only")
	each("may mount from ", e.MountsWritable, " of the machine and below so that the container can write")
	each("may mount to ", e.MountsTo, " of the container and below")
	one(e.Symlinks, "may make links where it may mount to")
	one(e.LdCache, "may add folders to the container's ld.so.cache")
	one(e.AdditionalGIDs, "may add groups to the container's process")
	one(e.IntelRdt, "may set the container's share of cache and memory bandwidth")
	each("may move the network interface ", e.NetDevices, " of the machine into the container")
	each("may add the built-in hook ", e.BuiltinHooks, "")
	for _, kind := range e.Remove {
		lines = append(lines, "may take out of the container those "+removeWords[kind]+" that it may give")
	}
	each("may take out of the container hooks of the program ", e.RemoveHooks, "")
	return lines
}

var opWords = [len(fsOps)]string{
	opStat: "look at", opReadDir: "list", opRead: "read", opReadLink: "read as a link", opGlob: "search", opRealPath: "resolve", opWhich: "look for the program",
}

var removeWords = map[string]string{"env": "variables", "mounts": "mounts", "devices": "devices"}

// Differences says in lines what changes for who has accepted the manifest
// before and is asked to accept m: a line of Words that only m has behind "+ ", one that only
// before has behind "- ", those first. None: the same rights.
func (m Manifest) Differences(before Manifest) []string {
	var lines []string
	had, has := before.Words(), m.Words()
	for _, line := range had {
		if !slices.Contains(has, line) {
			lines = append(lines, "- "+line)
		}
	}
	for _, line := range has {
		if !slices.Contains(had, line) {
			lines = append(lines, "+ "+line)
		}
	}
	return lines
}
