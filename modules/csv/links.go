// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path"
	"strings"

	"github.com/tenon-runtime/tenon/sdk"
)

// maxChain is how many links in a row Linux follows: MAXSYMLINKS in
// include/linux/namei.h. A longer chain has no real path and is skipped anyway.
const maxChain = 40

// chain returns the links from p to what it leads to, each with the text that
// it has on the machine, so that the container's are the same.
func (f *finder) chain(p string) ([]sdk.Symlink, error) {
	var links []sdk.Symlink
	for range maxChain {
		text, ok, err := f.ReadLink(sdk.Driver, p)
		if errors.Is(err, sdk.WrongType) {
			return links, nil // not a link: the end
		}
		if err != nil || !ok {
			return nil, err
		}
		links = append(links, sdk.Symlink{Target: text, Link: p})
		if path.IsAbs(text) {
			p = path.Clean(text)
			continue
		}
		// A folder on the way may itself be a link, and then .. in the text is
		// not what it looks like.
		dir, ok, err := f.RealPath(sdk.Driver, path.Dir(p))
		if err != nil || !ok {
			return nil, err
		}
		p = path.Join(dir, text)
	}
	return links, nil
}

// driverLinks are links that programs open and that no CSV file names: for a
// mounted library whose name is base and two more suffixes, link in its folder.
// An empty target is the library's own name. From NVIDIA's
// internal/discover/symlinks.go, additionalSymlinks.
var driverLinks = []struct{ base, link, target string }{
	{"libcuda.so", "libcuda.so", "libcuda.so.1"},
	{"libGLX_nvidia.so", "libGLX_indirect.so.0", ""},
	{"libnvidia-opticalflow.so", "libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1"},
}

// addDriverLinks adds them for the libraries that the other steps mounted. A
// link that a CSV file names keeps the text that it has on the machine.
func (f *finder) addDriverLinks() error {
	for _, m := range f.edits.ContainerEdits.Mounts {
		dir, name := path.Split(m.ContainerPath)
		for _, l := range driverLinks {
			version, ok := strings.CutPrefix(name, l.base+".")
			if !ok || !strings.Contains(version, ".") {
				continue
			}
			target := l.target
			if target == "" {
				target = name
			}
			f.addLink(sdk.Symlink{Target: target, Link: dir + l.link})
		}
	}
	return nil
}
