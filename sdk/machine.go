// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Machine is a recorded machine: a folder that stands for one in tests.
//
//	README.md       model, driver, kernel, date: for people
//	root/           small files, folders and links, under their own paths
//	devices         one device node a line: c 195 0 0666 0 0 /dev/nvidia0
//	                (type, major, minor, mode in octal, uid, gid, path)
//	ldcache         one library a line: libcuda.so.1 /usr/lib/libcuda.so.1
//	driver/         the driver root, if it is not root/
//	driver_devices  its device nodes, as in devices
//	container/      the container's root file system, if it has one
//	queries         what one run asked, and was told, if it is a recording
//
// With a file queries, which "tenon module run --record" writes, the machine is a
// recording: it answers what was asked then, and a query that was not asked fails
// the test. A line of queries is a query, a root, a key in quotes and the answer:
//
//	env host "ACME_VISIBLE_DEVICES" "all"
//	config host "driver_root" "/"
//	glob driver "/dev/acme[0-9]*" "/dev/acme0" "/dev/acme1"
//	stat driver "/dev/acme0" in "devices"
//	stat driver "/usr/lib/libacme.so" f 0 0 0644 0 0 4096
//	read host "/sys/module/acme/version" in "root/sys/module/acme/version"
//	env host "ACME_MODE" not-found
//
// The answer is one text in quotes or, of a list, any number; the record of a
// stat as in devices, with the size in the place of the path; "in" and the file
// that holds it; the name of an error; or "redacted", which nobody knows any more.
// What a [Request] gives stands before what was recorded.
//
// Links may be absolute; they resolve inside their root. All files belong to
// root; a file has mode 0755 if its owner may execute it in the folder, else
// 0644, so that what a mode sees does not hang on how it was checked out. Blank
// lines and lines that begin with # are skipped in devices and ldcache.
type Machine struct {
	// Manifest is the manifest.json of the mode, for [Context.Request]: it says where
	// in a [Request] the container asks. Mounts ask only if its Config has
	// accept_volume_mounts = "true". Without a manifest there is no request but what
	// a recording has.
	Manifest []byte

	roots   [3]*node // by Root; nil if there is none
	ldcache []library

	recorded map[asked]told // of a recording
}

type library struct{ soname, path string }

// maxRecorded bounds what is read of a recorded machine, in bytes: a recorded
// machine holds only what modes ask for, and the real / named by mistake does not.
const maxRecorded = 64 << 20

// OpenMachine reads a recorded machine whole. Errors name the file, and the
// line, that is wrong.
func OpenMachine(dir string) (*Machine, error) {
	m := &Machine{}
	budget := int64(maxRecorded)
	root, err := readTree(filepath.Join(dir, "root"), &budget)
	if errors.Is(err, fs.ErrNotExist) {
		root = newFolder()
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	m.roots[Host], m.roots[Driver] = root, root
	for name, r := range map[string]Root{"driver": Driver, "container": Container} {
		tree, err := readTree(filepath.Join(dir, name), &budget)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m.roots[r] = tree
	}
	if _, err := os.Lstat(filepath.Join(dir, "driver_devices")); err == nil && m.roots[Driver] == root {
		m.roots[Driver] = newFolder() // a driver root of which nothing but devices was seen
	}
	for name, r := range map[string]Root{"devices": Host, "driver_devices": Driver} {
		err := eachLine(filepath.Join(dir, name), func(line string) error { return addDevice(m.roots[r], line) })
		if err != nil {
			return nil, err
		}
	}
	if err := m.readQueries(dir, &budget); err != nil {
		return nil, err
	}
	return m, eachLine(filepath.Join(dir, "ldcache"), func(line string) error {
		f := strings.Fields(line)
		if len(f) != 2 || !path.IsAbs(f[1]) {
			return fmt.Errorf("%q is not: soname /path", line)
		}
		m.ldcache = append(m.ldcache, library{soname: f[0], path: f[1]})
		return nil
	})
}

// eachLine calls do for each line of a file that need not be there.
func eachLine(file string, do func(line string) error) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	return lines.Err()
}

func addDevice(root *node, line string) error {
	n := &node{}
	var kind, name string
	if _, err := fmt.Sscanf(line, "%1s %d %d %o %d %d %s", &kind, &n.major, &n.minor, &n.mode, &n.uid, &n.gid, &name); err != nil ||
		kind != "c" && kind != "b" || n.mode > 0o7777 || !path.IsAbs(name) || path.Clean(name) != name {
		return fmt.Errorf("%q is not: type major minor mode uid gid /path", line)
	}
	n.kind = kind[0]
	at := root
	dir, base := path.Split(name)
	for _, step := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' }) {
		next := at.entries[step]
		if next == nil {
			next = newFolder()
			at.entries[step] = next
		}
		if next.kind != 'd' {
			return fmt.Errorf("%s: a parent is not a folder", name)
		}
		at = next
	}
	if at.entries[base] != nil {
		return fmt.Errorf("%s: stands twice", name)
	}
	at.entries[base] = n
	return nil
}

// Request is the container that a recorded machine is asked for.
type Request struct {
	Env         []string // "NAME=value"
	Annotations map[string]string
	Mounts      []Mount           // as config.json has them
	Spec        []byte            // config.json, for Context.Spec; nil is an empty object
	Config      map[string]string // the mode's own table; strict is "false" and driver_root "/" if not given
}

// Context returns a context whose answers come from the recorded machine, with
// the meaning that ABI.md gives them. Nothing limits how much is asked.
func (m *Machine) Context(r Request) *Context {
	c := &Context{}
	if m.recorded != nil {
		c.ask = func(op Op, root Root, key string) ([]byte, Code) {
			answer, code := m.recordedAnswer(&r, op, root, key)
			if q := (asked{op, root, key}).String(); code == notRecorded && !slices.Contains(c.missing, q) {
				c.missing = append(c.missing, q)
			}
			return answer, code
		}
	} else {
		r.Config = withDefaults(r.Config)
		c.ask = func(op Op, root Root, key string) ([]byte, Code) { return m.answer(&r, op, root, key) }
	}
	answer := c.ask
	c.ask = func(op Op, root Root, key string) ([]byte, Code) {
		c.asked = append(c.asked, asked{op, root, key}.String())
		return answer(op, root, key)
	}
	c.emit = func(kind int32, text string) Code {
		c.emitted = append(c.emitted, emission{kind: kind, text: text})
		return 0
	}
	c.log = func(Level, string) {}
	return c
}

func withDefaults(given map[string]string) map[string]string {
	config := map[string]string{"strict": "false", "driver_root": "/"}
	maps.Copy(config, given)
	return config
}

// recording is what a native context keeps and a guest's does not.
type recording struct {
	emitted []emission
	missing []string // questions that a recorded machine does not hold
	asked   []string // all of them
}

// Asked are the questions so far, as the file queries has them, in their order.
// It is there for tests, such as one of what a manifest must grant, and not in a
// guest.
func (c *Context) Asked() []string { return c.asked }

type emission struct {
	kind int32
	text string
}

// Explained returns the lines that the mode has given to [Context.Explain].
// It is there for tests, and not in a guest.
func (c *Context) Explained() []string {
	var lines []string
	for _, e := range c.emitted {
		if e.kind == emitExplain {
			lines = append(lines, e.text)
		}
	}
	return lines
}
