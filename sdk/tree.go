// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// node is one file of a recorded machine.
type node struct {
	kind         byte // as Stat.Type
	mode         uint32
	uid, gid     uint32
	major, minor uint32
	data         []byte           // of a file its content, of a link its text
	entries      map[string]*node // of a folder
}

func newFolder() *node { return &node{kind: 'd', mode: 0o755, entries: map[string]*node{}} }

// readTree reads a folder and all below it, links as they are.
func readTree(dir string, budget *int64) (*node, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	n := newFolder()
	for _, entry := range list {
		name := filepath.Join(dir, entry.Name())
		var child *node
		switch entry.Type() {
		case fs.ModeDir:
			child, err = readTree(name, budget)
		case fs.ModeSymlink:
			var text string
			text, err = os.Readlink(name)
			child = &node{kind: 'l', mode: 0o777, data: []byte(text)}
		case 0:
			child, err = readRecorded(name, budget)
		default:
			err = fmt.Errorf("%s: is a %v; name devices in the file devices", name, entry.Type())
		}
		if err != nil {
			return nil, err
		}
		n.entries[entry.Name()] = child
	}
	return n, nil
}

func readRecorded(name string, budget *int64) (*node, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if *budget -= info.Size(); *budget < 0 {
		return nil, fmt.Errorf("%s: the recorded machine is over %d MiB", name, maxRecorded>>20)
	}
	data, err := os.ReadFile(name)
	n := &node{kind: 'f', mode: 0o644, data: data}
	if info.Mode()&0o100 != 0 {
		n.mode = 0o755
	}
	return n, err
}

// maxLinks is Linux's, MAXSYMLINKS in include/linux/namei.h.
const maxLinks = 40

// walk finds name, which is absolute, inside root, as openat2 with
// RESOLVE_IN_ROOT does: .. at the root is the root and absolute links begin
// there. follow says what is done with a link at the end. real is the path
// without links.
func (root *node) walk(name string, follow bool) (n *node, real string, ok bool) {
	type step struct {
		*node
		name string
	}
	at := []step{{root, ""}}
	rest := strings.Split(name, "/")
	links := 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		here := at[len(at)-1].node
		switch {
		case here.kind != 'd':
			return nil, "", false
		case part == "" || part == ".":
			continue
		case part == "..":
			if len(at) > 1 {
				at = at[:len(at)-1]
			}
			continue
		}
		next := here.entries[part]
		if next == nil {
			return nil, "", false
		}
		if next.kind != 'l' || len(rest) == 0 && !follow {
			at = append(at, step{next, part})
			continue
		}
		if links++; links > maxLinks {
			return nil, "", false
		}
		text := string(next.data)
		if path.IsAbs(text) {
			at = at[:1]
		}
		rest = append(strings.Split(text, "/"), rest...)
	}
	var b strings.Builder
	for _, s := range at[1:] {
		b.WriteString("/" + s.name)
	}
	if b.Len() == 0 {
		b.WriteByte('/')
	}
	return at[len(at)-1].node, b.String(), true
}
