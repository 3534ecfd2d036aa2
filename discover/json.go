// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// maxDepth is how deep encoding/json, and so runc, follows nested arrays and
// objects: maxNestingDepth in encoding/json/scanner.go.
const maxDepth = 10000

// kind is what a JSON value is. The zero value is a value that is not there.
type kind byte

const (
	absent kind = iota
	null
	object
	array
	text
	number
	boolean
)

func (k kind) String() string {
	return [...]string{"absent", "null", "an object", "an array", "a string", "a number", "true or false"}[k]
}

// shape says what a value must be for it to be read. A value without a shape
// is checked for its grammar and else left alone.
type shape struct {
	kind    kind
	members []field // of an object: the names that are known
	each    *shape  // of an array: its elements; of an object without members: its values
	bits    int     // of a number: 32 for a uint32, 64 for an int64
}

type field struct {
	name  string
	shape *shape
}

// node is one value that has a shape, and where it stands.
type node struct {
	kind       kind
	plain      bool // of a string: ASCII without escapes
	shape      *shape
	start, end int      // in the document; end is behind the last byte
	last       int      // of an object: end of its last member; 0 if it has none
	kids       []node   // known members in the order of the shape; elements; values of free keys
	keys       []string // the free keys, as long as kids
}

var nowhere node

// member returns a member of an object, or a node of kind absent; so does an
// object that is itself absent or null.
func (n *node) member(name string) *node {
	if n.kind != object {
		return &nowhere
	}
	if n.shape.members == nil {
		for i := range n.keys {
			if n.keys[i] == name {
				return &n.kids[i]
			}
		}
		return &nowhere
	}
	for i := range n.shape.members {
		if n.shape.members[i].name == name {
			return &n.kids[i]
		}
	}
	panic("discover: shape without member " + name)
}

func (n *node) raw(data []byte) []byte { return data[n.start:n.end] }

// string returns a string as encoding/json decodes it: what is not UTF-8, and
// half a surrogate pair, becomes U+FFFD. null and absent are "".
func (n *node) string(data []byte) string {
	if n.kind != text {
		return ""
	}
	return unquote(n.raw(data), n.plain)
}

func unquote(quoted []byte, plain bool) string {
	if plain {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic("discover: a string that was scanned does not decode: " + err.Error()) // a bug of ours
	}
	return s
}

// int returns a whole number that the parser has found to be in range. null
// and absent are 0.
func (n *node) int(data []byte) int64 {
	if n.kind != number {
		return 0
	}
	i, _ := strconv.ParseInt(string(n.raw(data)), 10, 64)
	return i
}

// bool returns true for true alone.
func (n *node) bool(data []byte) bool { return n.kind == boolean && data[n.start] == 't' }

// strings returns the elements of an array of strings.
func (n *node) strings(data []byte) []string {
	if n.kind != array {
		return nil
	}
	list := make([]string, len(n.kids))
	for i := range n.kids {
		list[i] = n.kids[i].string(data)
	}
	return list
}

// parser reads one document in one pass. What it accepts encoding/json accepts
// too, and reads alike: a key of a known object that stands twice, or in
// letters that encoding/json takes for it, is refused.
type parser struct {
	data   []byte
	pos    int
	depth  int
	limit  int    // of depth
	strict bool   // unknown members, null and half surrogate pairs are refused
	what   string // of a strict document: what it is, for errors
	path   []step // to the value that is being read, for errors
	stack  []node // elements of the arrays that are being read
	chunk  []node // where nodes come from
	used   int    // of chunk

	// element, if set, is given each object that stands in an array, and the
	// node of the array then does not hold it: a long list needs no memory.
	// What it returns false for stays.
	element func(*node) bool
}

type step struct {
	name  string
	index int // -1: a member
}

// document reads the whole document as one value of shape sh.
func (p *parser) document(sh *shape) (node, error) {
	p.space()
	if p.pos == len(p.data) {
		return node{}, fmt.Errorf("it is empty")
	}
	var n node
	if err := p.value(sh, &n); err != nil {
		return node{}, err
	}
	p.space()
	if p.pos < len(p.data) {
		return node{}, p.fail(p.pos, "there is more after the end of the document")
	}
	return n, nil
}

// nodes returns room for n nodes, all absent.
func (p *parser) nodes(n int) []node {
	if n > len(p.chunk)-p.used {
		// A config.json takes some 150, a manifest some 30.
		p.chunk, p.used = make([]node, max(n, 32)), 0
	}
	room := p.chunk[p.used : p.used+n : p.used+n]
	p.used += n
	clear(room)
	return room
}

// value reads a value and the space before it into n.
func (p *parser) value(sh *shape, n *node) error {
	p.space()
	if sh == nil {
		return p.skip()
	}
	n.start, n.shape = p.pos, sh
	switch c := p.peek(); c {
	case '{':
		n.kind = object
	case '[':
		n.kind = array
	case '"':
		n.kind = text
	case 't', 'f':
		n.kind = boolean
	case 'n':
		n.kind = null
	default:
		n.kind = number
	}
	if n.kind != sh.kind && (n.kind != null || p.strict) {
		at := p.pos
		if err := p.skip(); err != nil {
			return err
		}
		if len(p.path) == 0 {
			return fmt.Errorf("it is %s, not %s", n.kind, sh.kind)
		}
		return fmt.Errorf("%s on line %d is %s, not %s", p.here(), p.line(at), n.kind, sh.kind)
	}
	var err error
	switch n.kind {
	case object:
		if sh.members != nil {
			err = p.object(n)
		} else {
			err = p.free(n)
		}
	case array:
		err = p.array(n)
	case text:
		n.plain, err = p.text()
	default:
		err = p.skip()
	}
	n.end = p.pos
	if err == nil && n.kind == number {
		err = p.inRange(n)
	}
	return err
}

func (p *parser) inRange(n *node) error {
	var err error
	raw := string(n.raw(p.data))
	if n.shape.bits == 32 {
		_, err = strconv.ParseUint(raw, 10, 32)
	} else {
		_, err = strconv.ParseInt(raw, 10, 64)
	}
	if err != nil {
		return fmt.Errorf("%s on line %d is %.40s, not a whole number in range", p.here(), p.line(n.start), raw)
	}
	return nil
}

// object reads an object whose members are known.
func (p *parser) object(n *node) error {
	known := n.shape.members
	n.kids = p.nodes(len(known))
	var unknown [][]byte
	err := p.members(n, func(key []byte, at int) error {
		for i := range known {
			if string(key) != known[i].name {
				continue
			}
			if n.kids[i].kind != absent {
				return p.twice(at, known[i].name, key)
			}
			p.path = append(p.path, step{known[i].name, -1})
			err := p.value(known[i].shape, &n.kids[i])
			p.path = p.path[:len(p.path)-1]
			return err
		}
		if p.strict {
			return fmt.Errorf("%s on line %d is not a field of %s", p.there(string(key)), p.line(at), p.what)
		}
		for i := range known {
			if !bytes.EqualFold(key, []byte(known[i].name)) {
				continue
			}
			if n.kids[i].kind != absent {
				return p.twice(at, known[i].name, key)
			}
			// runc would take it for the member, crun would not.
			return fmt.Errorf("%s on line %d is misspelt; write %q", p.there(string(key)), p.line(at), known[i].name)
		}
		unknown = append(unknown, key)
		if twin := twin(unknown); twin != nil {
			return p.twice(at, string(twin), key)
		}
		return p.skipValue()
	})
	if err != nil || len(unknown) <= fewKeys {
		return err
	}
	seen := make(map[string]bool, len(unknown))
	for _, key := range unknown {
		f := fold(key)
		if seen[f] {
			return p.twice(n.start, string(key), key)
		}
		seen[f] = true
	}
	return nil
}

// free reads an object whose keys are data, such as annotations. They are
// told apart as they are, as Go's maps and encoding/json do.
func (p *parser) free(n *node) error {
	base := len(p.stack)
	err := p.members(n, func(key []byte, at int) error {
		name := string(key)
		if len(n.keys) < fewKeys {
			for _, k := range n.keys {
				if k == name {
					return p.twice(at, name, key)
				}
			}
		}
		p.path = append(p.path, step{name, -1})
		kid := &p.nodes(1)[0]
		err := p.value(n.shape.each, kid)
		p.path = p.path[:len(p.path)-1]
		n.keys = append(n.keys, name)
		p.stack = append(p.stack, *kid)
		return err
	})
	n.kids = p.nodes(len(p.stack) - base)
	copy(n.kids, p.stack[base:])
	p.stack = p.stack[:base]
	if err != nil || len(n.keys) <= fewKeys {
		return err
	}
	seen := make(map[string]bool, len(n.keys))
	for _, k := range n.keys {
		if seen[k] {
			return p.twice(n.start, k, []byte(k))
		}
		seen[k] = true
	}
	return nil
}

// members reads the braces, keys, colons and commas of an object; read reads
// the value of a key that stands at at.
func (p *parser) members(n *node, read func(key []byte, at int) error) error {
	if err := p.enter(); err != nil {
		return err
	}
	if p.space(); p.peek() == '}' {
		return p.leave()
	}
	for {
		p.space()
		at := p.pos
		if p.peek() != '"' {
			return p.unexpected("a key in quotes")
		}
		plain, err := p.text()
		if err != nil {
			return err
		}
		key := p.data[at+1 : p.pos-1]
		if !plain {
			key = []byte(unquote(p.data[at:p.pos], false))
		}
		if p.space(); p.peek() != ':' {
			return p.unexpected("a colon")
		}
		p.pos++
		if err := read(key, at); err != nil {
			return err
		}
		n.last = p.pos
		switch p.space(); p.peek() {
		case ',':
			p.pos++
		case '}':
			return p.leave()
		default:
			return p.unexpected("a comma or the end of the object")
		}
	}
}

func (p *parser) array(n *node) error {
	if err := p.enter(); err != nil {
		return err
	}
	if p.space(); p.peek() == ']' {
		return p.leave()
	}
	base := len(p.stack)
	p.path = append(p.path, step{})
	for i := 0; ; i++ {
		p.path[len(p.path)-1] = step{"", i}
		chunk, used := p.chunk, p.used
		kid := &p.nodes(1)[0]
		if err := p.value(n.shape.each, kid); err != nil {
			return err
		}
		taken := kid.kind == object && p.element != nil && p.element(kid)
		if !taken {
			p.stack = append(p.stack, *kid)
		}
		if taken || len(kid.kids) == 0 {
			// Nothing points at the nodes of this element: use them again.
			if p.used = 0; len(chunk) > 0 && &chunk[0] == &p.chunk[0] {
				p.used = used
			}
		}
		switch p.space(); p.peek() {
		case ',':
			p.pos++
		case ']':
			p.path = p.path[:len(p.path)-1]
			n.kids = p.nodes(len(p.stack) - base)
			copy(n.kids, p.stack[base:])
			p.stack = p.stack[:base]
			return p.leave()
		default:
			return p.unexpected("a comma or the end of the array")
		}
	}
}

// enter takes the bracket that opens an object or an array.
func (p *parser) enter() error {
	if p.depth++; p.depth > p.limit {
		return p.fail(p.pos, "nested deeper than "+strconv.Itoa(p.limit))
	}
	p.pos++
	return nil
}

// leave takes the bracket that closes it.
func (p *parser) leave() error {
	p.depth--
	p.pos++
	return nil
}
