// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bytes"
	"errors"
	"strings"
)

// Root is the tree that a path is looked up in. Every link is resolved inside
// its root, and every path in an answer is relative to it.
type Root uint32

const (
	Host      Root = 0 // the machine's own /
	Container Root = 1 // the container's root file system: the image is hostile
	Driver    Root = 2 // where the driver is installed: driver_root of the config, mostly /
)

// Op is the number of a query; ABI.md, "Queries".
type Op uint32

const (
	OpEnv        Op = 1  // the value of a variable
	OpAnnotation Op = 2  // the value of an annotation
	OpSpec       Op = 3  // a part of config.json
	OpMounts     Op = 4  // the mounts at or below a folder
	OpConfig     Op = 5  // a value of the mode's config
	OpStat       Op = 6  // what a path is
	OpReadDir    Op = 7  // the names in a folder
	OpRead       Op = 8  // the content of a file
	OpReadLink   Op = 9  // the text of a link
	OpGlob       Op = 10 // the paths that match a pattern
	OpLdLookup   Op = 11 // a library by its soname
	OpRealPath   Op = 12 // a path without links
	OpFeature    Op = 13 // whether the host can do something
	OpWhich      Op = 15 // a program
	OpRequest    Op = 16 // what the container asks for
)

// Level is how much a log line matters.
type Level int32

const (
	Debug Level = 0 // for the author
	Info  Level = 1 // for who looks how it went
	Warn  Level = 2 // something is not as it should be
	Error Level = 3 // something failed
)

// Context asks the host for one container. It is good until the mode's function
// returns, and for one goroutine. What is not there is ok = false, never an
// error; an error is a [*QueryError], and a mode mostly returns it as it is.
//
// Within one run the same question has the same answer.
type Context struct {
	ask  func(op Op, root Root, key string) ([]byte, Code) // the bytes are good until the next call
	emit func(kind int32, text string) Code
	log  func(level Level, text string)
	recording
}

// Stat is what lstat says, without what differs from boot to boot.
type Stat struct {
	Type         byte   // 'f' file, 'd' folder, 'l' link, 'c' or 'b' device, 'p' FIFO, 's' socket
	Mode         uint32 // the bits 07777
	UID, GID     uint32
	Major, Minor uint32 // of a device, else 0
	Size         uint64 // bytes, of a file or link outside procfs and sysfs, else 0
}

// DirEntry is one name of a folder, its Type as in [Stat].
type DirEntry struct {
	Type byte
	Name string
}

// Mount is a mount of the container's config.json, as it stands there.
type Mount struct {
	Destination, Source, Type string
	Options                   []string
}

var errFraming = errors.New("the answer is malformed; this is a bug of tenon, please report")

// bytes asks one query. What it returns is good until the next one.
func (c *Context) bytes(op Op, root Root, key string) ([]byte, bool, error) {
	answer, code := c.ask(op, root, key)
	switch {
	case code == 0:
		return answer, true, nil
	case code == NotFound:
		return nil, false, nil
	}
	return nil, false, &QueryError{Op: op, Root: root, Key: key, Err: code}
}

func (c *Context) text(op Op, root Root, key string) (string, bool, error) {
	answer, ok, err := c.bytes(op, root, key)
	return string(answer), ok, err
}

func (c *Context) list(op Op, root Root, key string) ([]string, error) {
	answer, ok, err := c.bytes(op, root, key)
	if err != nil || !ok {
		return nil, err
	}
	list, ok := split(answer)
	if !ok {
		return nil, &QueryError{Op: op, Root: root, Key: key, Err: errFraming}
	}
	return list, nil
}

// split takes a list of strings that each end in a zero byte apart.
func split(answer []byte) ([]string, bool) {
	if len(answer) == 0 {
		return nil, true
	}
	if answer[len(answer)-1] != 0 {
		return nil, false
	}
	return strings.Split(string(answer[:len(answer)-1]), "\x00"), true
}

// Env returns the value of the container's last NAME=. A variable that policy
// hides from an unprivileged container is not there.
func (c *Context) Env(name string) (string, bool, error) { return c.text(OpEnv, Host, name) }

// Annotation returns the value of one annotation of the container.
func (c *Context) Annotation(key string) (string, bool, error) {
	return c.text(OpAnnotation, Host, key)
}

// Spec returns the part of config.json that an RFC 6901 pointer names, as
// compact JSON. Ask for little: an answer that differs from container to
// container makes the host run the mode again for each. See [Unquote].
func (c *Context) Spec(pointer string) ([]byte, bool, error) {
	answer, ok, err := c.bytes(OpSpec, Host, pointer)
	return bytes.Clone(answer), ok, err
}

// Mounts returns the container's mounts at or below an absolute folder, in the
// order of config.json.
func (c *Context) Mounts(prefix string) ([]Mount, error) {
	fields, err := c.list(OpMounts, Host, prefix)
	if err != nil {
		return nil, err
	}
	if len(fields)%4 != 0 {
		return nil, &QueryError{Op: OpMounts, Key: prefix, Err: errFraming}
	}
	var mounts []Mount
	for ; len(fields) > 0; fields = fields[4:] {
		m := Mount{Destination: fields[0], Source: fields[1], Type: fields[2]}
		if fields[3] != "" {
			m.Options = strings.Split(fields[3], ",")
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// Config returns a value of the mode's own table in the administrator's config:
// a string as it is, anything else as JSON. The keys "strict" ("true" or
// "false") and "driver_root" (the host's path of root [Driver]) are the core's.
func (c *Context) Config(key string) (string, bool, error) { return c.text(OpConfig, Host, key) }

// Stat says what path is; a link at its end is not followed.
func (c *Context) Stat(root Root, path string) (Stat, bool, error) {
	b, ok, err := c.bytes(OpStat, root, path)
	if err != nil || !ok {
		return Stat{}, false, err
	}
	if len(b) < 32 { // a longer record is a newer host's
		return Stat{}, false, &QueryError{Op: OpStat, Root: root, Key: path, Err: errFraming}
	}
	return Stat{
		Type: b[0], Mode: u32(b[4:]), UID: u32(b[8:]), GID: u32(b[12:]),
		Major: u32(b[16:]), Minor: u32(b[20:]), Size: uint64(u32(b[24:])) | uint64(u32(b[28:]))<<32,
	}, true, nil
}

// u32 reads four bytes, little-endian. encoding/binary would do the same and
// link reflect into the guest.
func u32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// ReadDir lists a folder, sorted by name.
func (c *Context) ReadDir(root Root, path string) ([]DirEntry, bool, error) {
	b, ok, err := c.bytes(OpReadDir, root, path)
	if err != nil || !ok {
		return nil, false, err
	}
	records, framed := split(b)
	var list []DirEntry
	for _, r := range records {
		if len(r) < 2 {
			framed = false
			break
		}
		list = append(list, DirEntry{Type: r[0], Name: r[1:]})
	}
	if !framed {
		return nil, false, &QueryError{Op: OpReadDir, Root: root, Key: path, Err: errFraming}
	}
	return list, true, nil
}

// ReadFile returns the content of a regular file, links followed; at most 1 MiB.
func (c *Context) ReadFile(root Root, path string) ([]byte, bool, error) {
	answer, ok, err := c.bytes(OpRead, root, path)
	return bytes.Clone(answer), ok, err
}

// ReadLink returns the text of a link. What is not a link is [WrongType].
func (c *Context) ReadLink(root Root, path string) (string, bool, error) {
	return c.text(OpReadLink, root, path)
}

// Glob returns the sorted paths that match a pattern of path.Match, segment by
// segment. None is an empty list.
func (c *Context) Glob(root Root, pattern string) ([]string, error) {
	return c.list(OpGlob, root, pattern)
}

// LdLookup returns the sorted real paths of a library by its soname, which may
// hold a * behind ".so". It asks the root's ld.so.cache; root is Host or Driver.
func (c *Context) LdLookup(root Root, soname string) ([]string, error) {
	return c.list(OpLdLookup, root, soname)
}

// RealPath resolves every link of path inside the root.
func (c *Context) RealPath(root Root, path string) (string, bool, error) {
	return c.text(OpRealPath, root, path)
}

// Which finds a program: an absolute path, or a name in the six standard
// folders of the root, which is Host or Driver.
func (c *Context) Which(root Root, name string) (string, bool, error) {
	return c.text(OpWhich, root, name)
}

// Feature reports whether the host has something newer than version 1.0 of the
// ABI, such as "op.17". Any doubt is no.
func (c *Context) Feature(name string) bool {
	_, ok, err := c.bytes(OpFeature, Host, name)
	return ok && err == nil
}

// Log writes a line to the host's debug log. It changes nothing else.
func (c *Context) Log(level Level, text string) { c.log(level, text) }

// Explain keeps a line for who asks why the edits are as they are. It is kept
// with the edits, so it must follow from the answers alone.
func (c *Context) Explain(text string) { c.emit(emitExplain, strings.ToValidUTF8(text, "?")) }
