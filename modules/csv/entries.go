// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-runtime/tenon/sdk"
)

// release tells software in the container which L4T release the machine has.
const release = "/etc/nv_tegra_release"

// place is where an entry stands. Few are ever shown, so their text is made then.
type place struct {
	file string
	entry
	match string // the path that is meant, where the entry matches several
}

func (p place) String() string {
	text := p.file + ":" + strconv.Itoa(p.line) + ": " + p.kind + "," + quoteIfOdd(p.path)
	if p.match != "" {
		text += " (" + quoteIfOdd(p.match) + ")"
	}
	return text
}

// addEntry adds what one entry names.
func (f *finder) addEntry(at place) error {
	var err error
	switch {
	case at.kind != "dev":
		err = f.addPaths(at)
	case f.withDevices:
		err = f.addDevice(at)
	}
	switch {
	case errors.Is(err, sdk.InvalidArgument):
		return f.skip(at.String(), "not a path or a pattern")
	case errors.Is(err, sdk.Denied):
		return f.skip(at.String(), "in a place that this mode may not look at")
	}
	return err
}

func (f *finder) addPaths(at place) error {
	paths, err := f.match(sdk.Driver, path.Join("/", at.path))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return f.skip(at.String(), "does not exist")
	}
	for _, p := range paths {
		if len(paths) > 1 {
			at.match = p
		}
		if err := f.addPath(at, p); err != nil {
			return err
		}
	}
	return nil
}

// addPath mounts one path of the driver root, without its links: a library or
// what a link leads to under the path that it really has, a folder where it is.
func (f *finder) addPath(at place, p string) error {
	var links []sdk.Symlink
	if at.kind == "sym" {
		var err error
		if links, err = f.chain(p); err != nil {
			return err
		}
	}
	real, ok, err := f.RealPath(sdk.Driver, p)
	if err != nil {
		return err
	}
	if !ok {
		return f.skip(at.String(), "does not exist, or is a link to what does not")
	}
	st, ok, err := f.Stat(sdk.Driver, real)
	if err != nil {
		return err
	}
	switch {
	case !ok:
		return f.skip(at.String(), "does not exist")
	case at.kind == "dir" && st.Type != 'd':
		return f.skip(at.String(), "not a folder")
	case at.kind == "lib" && st.Type != 'f', at.kind == "sym" && st.Type != 'f' && st.Type != 'd':
		return f.skip(at.String(), "not a file")
	}
	if at.kind == "dir" {
		f.addMount(real, p)
	} else {
		f.addMount(real, real)
	}
	for _, l := range links {
		f.addLink(l)
	}
	return nil
}

// addMount mounts a real path of the driver root once. Inside the container the
// driver root is /. It has no options of its own: the host's default ones are
// those that NVIDIA's runtime gives files and folders, and a list of some thousand
// libraries stays short without them.
func (f *finder) addMount(real, containerPath string) {
	if f.mounted[containerPath] {
		return
	}
	f.mounted[containerPath] = true
	f.edits.AddMount(path.Join(f.driverRoot, real), containerPath)
}

// addLink creates a link once; the first text for it is the one.
func (f *finder) addLink(l sdk.Symlink) {
	if !f.linked[l.Link] && !f.mounted[l.Link] {
		f.linked[l.Link] = true
		f.edits.AddSymlink(l.Target, l.Link)
	}
}

// addRelease mounts the file that names the machine's L4T release, if it is there.
func (f *finder) addRelease() error {
	real, ok, err := f.RealPath(sdk.Driver, release)
	if err == nil && ok {
		f.addMount(real, release)
	}
	return err
}

// addDevice adds the device nodes that an entry names: at its path or below
// /dev, so that "dev,nvmap" is /dev/nvmap. Only a character device counts, looked
// at without following links; NVIDIA's seed took a plain file too, and the create
// failed. The manifest grants this mode a look at /dev, and the device nodes there.
func (f *finder) addDevice(at place) error {
	reason := "does not exist"
	patterns := []string{path.Join("/", at.path), path.Join("/dev", at.path)}
	if !path.IsAbs(at.path) {
		slices.Reverse(patterns)
	}
	for _, pattern := range patterns {
		paths, err := f.match(f.deviceRoot, pattern)
		if err != nil {
			return err
		}
		found := false
		for _, p := range paths {
			st, ok, err := f.Stat(f.deviceRoot, p)
			switch {
			case errors.Is(err, sdk.Denied):
				reason = "in a place that this mode may not look at"
			case err != nil:
				return err
			case ok && st.Type == 'c':
				found = true
				f.addNode(p)
			case ok:
				reason = "not a character device"
			}
		}
		if found {
			return nil
		}
	}
	return f.skip(at.String(), reason)
}

// addNode adds a device once. Numbers, mode and group are the host's to fill in.
func (f *finder) addNode(p string) {
	if f.nodes[p] {
		return
	}
	f.nodes[p] = true
	d := f.edits.AddDevice(p)
	if f.devicesAt != "/" {
		d.HostPath = path.Join(f.devicesAt, p)
	}
}

// match returns the paths that a pattern matches. A path that is no pattern is
// returned whether there is something at it or not.
func (f *finder) match(root sdk.Root, pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}, nil
	}
	// Two stars mean no more than one to NVIDIA's runtime, and are refused here.
	for strings.Contains(pattern, "**") {
		pattern = strings.ReplaceAll(pattern, "**", "*")
	}
	return f.Glob(root, pattern)
}
