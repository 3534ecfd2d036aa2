// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/tenon-runtime/tenon/sdk"
)

// mountOptions are those that NVIDIA's runtime gives files and folders.
var mountOptions = []string{"ro", "nosuid", "nodev", "rbind", "rprivate"}

// release tells software in the container which L4T release the machine has.
const release = "/etc/nv_tegra_release"

// addEntry adds what one entry names; where is the entry for messages.
func (f *finder) addEntry(where string, e entry) error {
	var err error
	switch {
	case e.kind != "dev":
		err = f.addPaths(where, e)
	case f.withDevices:
		err = f.addDevice(where, e.path)
	}
	switch {
	case errors.Is(err, sdk.InvalidArgument):
		return f.skip(where, "not a path or a pattern")
	case errors.Is(err, sdk.Denied):
		return f.skip(where, "in a place that this mode may not look at")
	}
	return err
}

func (f *finder) addPaths(where string, e entry) error {
	paths, err := f.match(sdk.Driver, path.Join("/", e.path))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return f.skip(where, "does not exist")
	}
	for _, p := range paths {
		thing := where
		if len(paths) > 1 {
			thing += " (" + quoteIfOdd(p) + ")"
		}
		if err := f.addPath(thing, e.kind, p); err != nil {
			return err
		}
	}
	return nil
}

// addPath mounts one path of the driver root, without its links: a library or
// what a link leads to under the path that it really has, a folder where it is.
func (f *finder) addPath(where, kind, p string) error {
	var links []sdk.Symlink
	if kind == "sym" {
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
		return f.skip(where, "does not exist, or is a link to what does not")
	}
	st, ok, err := f.Stat(sdk.Driver, real)
	if err != nil {
		return err
	}
	switch {
	case !ok:
		return f.skip(where, "does not exist")
	case kind == "dir" && st.Type != 'd':
		return f.skip(where, "not a folder")
	case kind == "lib" && st.Type != 'f', kind == "sym" && st.Type != 'f' && st.Type != 'd':
		return f.skip(where, "not a file")
	}
	if kind == "dir" {
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
// driver root is /.
func (f *finder) addMount(real, containerPath string) {
	if f.mounted[containerPath] {
		return
	}
	f.mounted[containerPath] = true
	f.edits.AddMount(path.Join(f.driverRoot, real), containerPath, mountOptions...)
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
func (f *finder) addDevice(where, written string) error {
	reason := "does not exist"
	patterns := []string{path.Join("/", written), path.Join("/dev", written)}
	if !path.IsAbs(written) {
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
	return f.skip(where, reason)
}

// addNode adds a device once. Numbers, mode and group are the host's to fill in.
func (f *finder) addNode(p string) {
	for _, d := range f.edits.ContainerEdits.DeviceNodes {
		if d.Path == p {
			return
		}
	}
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
