// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxAnswer is the most that one answer holds, in bytes; ABI.md, "Limits".
const maxAnswer = 1 << 20

// answer answers one query as ABI.md says; the sections there have the names of
// the functions here.
func (m *Machine) answer(r *Request, op Op, root Root, key string) ([]byte, Code) {
	out, code := m.dispatch(r, op, root, key)
	if len(out) > maxAnswer {
		return nil, TooLarge
	}
	return out, code
}

func (m *Machine) dispatch(r *Request, op Op, root Root, key string) ([]byte, Code) {
	if !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return nil, InvalidArgument
	}
	switch op {
	case OpStat, OpReadDir, OpRead, OpReadLink, OpGlob, OpRealPath:
	case OpLdLookup, OpWhich:
		if root == Container {
			return nil, Unsupported
		}
	default:
		if root != Host {
			return nil, Unsupported
		}
	}
	if root > Driver {
		return nil, Unsupported
	}
	tree := m.roots[root]
	if tree == nil { // a container without a recorded file system has an empty one
		tree = newFolder()
	}
	switch op {
	case OpEnv:
		return env(r.Env, key)
	case OpAnnotation:
		return lookup(r.Annotations, key)
	case OpSpec:
		return pointer(r.Spec, key)
	case OpMounts:
		return mounts(r.Mounts, key)
	case OpRequest:
		return m.request(r, key)
	case OpConfig:
		if key == "" {
			return nil, InvalidArgument
		}
		return lookup(r.Config, key)
	case OpFeature:
		return feature(key)
	case OpLdLookup:
		return ldlookup(tree, m.ldcache, key)
	case OpWhich:
		return which(tree, key)
	case OpStat, OpReadDir, OpRead, OpReadLink, OpGlob, OpRealPath:
		if !path.IsAbs(key) || path.Clean(key) != key {
			return nil, InvalidArgument
		}
	default:
		return nil, Unsupported
	}
	if op == OpGlob {
		return glob(tree, key)
	}
	n, real, ok := tree.walk(key, op != OpStat && op != OpReadLink)
	switch {
	case !ok:
		return nil, NotFound
	case op == OpStat:
		return n.stat(), 0
	case op == OpRealPath:
		return []byte(real), 0
	case op == OpReadDir && n.kind == 'd':
		return n.readdir(), 0
	case op == OpRead && n.kind == 'f', op == OpReadLink && n.kind == 'l':
		return n.data, 0
	}
	return nil, WrongType
}

func env(list []string, name string) ([]byte, Code) {
	if name == "" || strings.Contains(name, "=") {
		return nil, InvalidArgument
	}
	for _, kv := range slices.Backward(list) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return []byte(v), 0
		}
	}
	return nil, NotFound
}

func lookup(m map[string]string, key string) ([]byte, Code) {
	if v, ok := m[key]; ok {
		return []byte(v), 0
	}
	return nil, NotFound
}

// pointer is RFC 6901.
func pointer(spec []byte, key string) ([]byte, Code) {
	switch {
	case key == "":
		return nil, Denied // the whole of config.json: no two containers have the same
	case key[0] != '/':
		return nil, InvalidArgument
	}
	if spec == nil {
		spec = []byte("{}")
	}
	decoder := json.NewDecoder(bytes.NewReader(spec))
	decoder.UseNumber()
	var at any
	if decoder.Decode(&at) != nil {
		return nil, IOError
	}
	for token := range strings.SplitSeq(key[1:], "/") {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(token), "~") {
			return nil, InvalidArgument
		}
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[token]
			if !ok {
				return nil, NotFound
			}
			at = next
		case []any:
			n, err := strconv.Atoi(token)
			if err != nil || strconv.Itoa(n) != token || n < 0 || n >= len(v) {
				return nil, NotFound
			}
			at = v[n]
		default:
			return nil, NotFound
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(at) != nil {
		return nil, IOError
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), 0
}

func mounts(list []Mount, prefix string) ([]byte, Code) {
	if !path.IsAbs(prefix) || path.Clean(prefix) != prefix {
		return nil, InvalidArgument
	}
	var fields []string
	for _, m := range list {
		d := path.Join("/", m.Destination)
		if d == prefix || strings.HasPrefix(d, strings.TrimSuffix(prefix, "/")+"/") {
			fields = append(fields, m.Destination, m.Source, m.Type, strings.Join(m.Options, ","))
		}
	}
	return join(fields), 0
}

// join ends each string in a zero byte.
func join(list []string) []byte {
	var out []byte
	for _, s := range list {
		out = append(append(out, s...), 0)
	}
	return out
}

func feature(name string) ([]byte, Code) {
	kind, what, _ := strings.Cut(name, ".")
	switch {
	case kind == "op":
		n, err := strconv.Atoi(what)
		if err == nil && strconv.Itoa(n) == what && n >= 1 && n <= 16 && n != 14 {
			return []byte("1"), 0
		}
	case kind == "edit":
		switch what {
		case "env", "deviceNodes", "netDevices", "mounts", "intelRdt", "additionalGids",
			"remove", "envMode", "symlinks", "ldcache", "deviceRules", "builtinHooks", "annotations":
			return []byte("1"), 0
		}
	}
	return nil, NotFound
}

func (n *node) stat() []byte {
	var b [32]byte
	le := binary.LittleEndian
	b[0] = n.kind
	le.PutUint32(b[4:], n.mode)
	le.PutUint32(b[8:], n.uid)
	le.PutUint32(b[12:], n.gid)
	le.PutUint32(b[16:], n.major)
	le.PutUint32(b[20:], n.minor)
	if n.kind == 'f' || n.kind == 'l' {
		le.PutUint64(b[24:], uint64(len(n.data)))
	}
	return b[:]
}

// names returns the names of a folder that a query can name, sorted by bytes.
func (n *node) names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(n.entries)), func(s string) bool { return !utf8.ValidString(s) })
}

func (n *node) readdir() []byte {
	var out []byte
	for _, name := range n.names() {
		out = append(out, n.entries[name].kind)
		out = append(append(out, name...), 0)
	}
	return out
}

func glob(root *node, pattern string) ([]byte, Code) {
	if pattern == "/" || strings.Contains(pattern, "**") {
		return nil, InvalidArgument
	}
	found := []string{""}
	segments := strings.Split(pattern[1:], "/")
	for _, segment := range segments {
		if _, err := path.Match(segment, ""); err != nil {
			return nil, InvalidArgument
		}
	}
	for _, segment := range segments {
		var next []string
		for _, dir := range found {
			folder, _, ok := root.walk("/"+dir, true)
			if !ok || folder.kind != 'd' {
				continue
			}
			for _, name := range folder.names() {
				if hit, _ := path.Match(segment, name); hit {
					next = append(next, dir+"/"+name)
				}
			}
		}
		found = next
	}
	slices.Sort(found)
	return join(found), 0
}

func ldlookup(root *node, cache []library, soname string) ([]byte, Code) {
	so, star := strings.Index(soname, ".so"), strings.Index(soname, "*")
	if so < 1 || star >= 0 && star < so || strings.Contains(soname, "/") {
		return nil, InvalidArgument
	}
	pattern := strings.NewReplacer(`\`, `\\`, "?", `\?`, "[", `\[`).Replace(soname) // only * is special
	var found []string
	for _, l := range cache {
		if hit, _ := path.Match(pattern, l.soname); !hit {
			continue
		}
		if n, real, ok := root.walk(l.path, true); ok && n.kind == 'f' {
			found = append(found, real)
		}
	}
	slices.Sort(found)
	return join(slices.Compact(found)), 0
}

// programFolders are the standard folders that which searches, in order.
var programFolders = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

func which(root *node, name string) ([]byte, Code) {
	var candidates []string
	switch {
	case path.IsAbs(name) && path.Clean(name) == name:
		candidates = []string{name}
	case name == "" || name == "." || name == ".." || strings.Contains(name, "/"):
		return nil, InvalidArgument
	default:
		for _, dir := range programFolders {
			candidates = append(candidates, dir+"/"+name)
		}
	}
	for _, c := range candidates {
		if n, _, ok := root.walk(c, true); ok && n.kind == 'f' && n.mode&0o111 != 0 {
			return []byte(c), 0
		}
	}
	return nil, NotFound
}
