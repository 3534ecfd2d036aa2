// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// daemon.json belongs to somebody else: it is edited where it has to change, and
// every other byte stays. encoding/json says whether the file is JSON; the
// functions here only find places in a file of which that is known.

// A member is one "name": value of an object, as offsets into the file.
type member struct {
	name     string
	key      int // of the name's quotation mark
	from, to int // of the value
}

// An object is the place of a JSON object: open is the offset of its brace, end
// the offset behind its closing one.
type object struct {
	open, end int
	members   []member
}

// find returns the member called name, or nil.
func (o *object) find(name string) *member {
	for i := range o.members {
		if o.members[i].name == name {
			return &o.members[i]
		}
	}
	return nil
}

// twin says which name stands twice in the object, or differs from one of names
// only in case: programs disagree on which of the two counts.
func (o *object) twin(names ...string) error {
	seen := map[string]bool{}
	for _, m := range o.members {
		if seen[m.name] {
			return fmt.Errorf("key %q stands there twice; remove one", m.name)
		}
		seen[m.name] = true
		for _, name := range names {
			if m.name != name && strings.EqualFold(m.name, name) {
				return fmt.Errorf("key %q is none that the engine knows; write %q", m.name, name)
			}
		}
	}
	return nil
}

// utf8BOM may stand before the JSON: dockerd has skipped it since 23.0 (moby,
// daemon/config/config.go, getConflictFreeConfiguration).
var utf8BOM = []byte("\xef\xbb\xbf")

// checkJSON says at which line data is not a JSON object. Nothing at all is an
// empty configuration to dockerd since 23.0, and so it is here.
func checkJSON(data []byte) error {
	text := bytes.TrimPrefix(data, utf8BOM)
	skipped := len(data) - len(text)
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	at := func(offset int64) int { return lineOf(data, skipped+int(offset)) }
	var v map[string]json.RawMessage
	err := json.Unmarshal(text, &v)
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return placedError{at(syntax.Offset), fmt.Errorf("is not JSON: %w; correct it", err)}
	case errors.As(err, &typ), err == nil && v == nil:
		return placedError{lineOf(data, len(data)-len(bytes.TrimLeft(text, " \t\r\n"))), errors.New("is JSON but not an object; it must be { … }")}
	}
	return err
}

// lineOf returns the number of the line in which offset lies, from 1.
func lineOf(data []byte, offset int) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), len(data))], []byte("\n"))
}

// topObject returns the object that data is. data has passed checkJSON and is
// not empty.
func topObject(data []byte) object {
	return scanObject(data, skipJSONSpace(data, len(data)-len(bytes.TrimPrefix(data, utf8BOM))))
}

// scanObject returns the object whose brace is at open.
func scanObject(data []byte, open int) object {
	o := object{open: open}
	i := skipJSONSpace(data, open+1)
	for data[i] != '}' {
		m := member{key: i}
		i = skipJSONValue(data, i)
		// The text is known to be a JSON string.
		_ = json.Unmarshal(data[m.key:i], &m.name)
		i = skipJSONSpace(data, i)         // the colon
		m.from = skipJSONSpace(data, i+1)  //
		m.to = skipJSONValue(data, m.from) //
		if i = skipJSONSpace(data, m.to); data[i] == ',' {
			i = skipJSONSpace(data, i+1)
		}
		o.members = append(o.members, m)
	}
	o.end = i + 1
	return o
}

// skipJSONSpace returns the offset of the next byte that is no white space.
func skipJSONSpace(data []byte, i int) int {
	for i < len(data) && strings.IndexByte(" \t\r\n", data[i]) >= 0 {
		i++
	}
	return i
}

// skipJSONValue returns the offset behind the value that begins at i.
func skipJSONValue(data []byte, i int) int {
	depth := 0
	for ; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				continue
			}
			for i < len(data) && strings.IndexByte(" \t\r\n,]}", data[i]) < 0 {
				i++
			}
			return i
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

// setMember gives object o of data the member name with this value, JSON of one
// line. A value that is there is replaced where it stands, else the member comes
// last and is written as the ones before it are.
func setMember(data []byte, o object, name, value string) []byte {
	if m := o.find(name); m != nil {
		return splice(data, m.from, m.to, value)
	}
	quoted, _ := json.Marshal(name) // a string always has JSON
	if n := len(o.members); n > 0 {
		last := o.members[n-1]
		space := string(trailingSpace(data[:last.key]))
		colon := string(data[skipJSONValue(data, last.key):last.from])
		if strings.Contains(space, "\n") {
			return splice(data, last.to, last.to, ","+space+string(quoted)+": "+indented(value, space, unitOf(data)))
		}
		if n == 1 && strings.HasSuffix(colon, " ") { // { "a": 1 } tells nothing of what follows a comma
			space = " "
		}
		if colon == ":" {
			value = strings.ReplaceAll(value, `": `, `":`)
		}
		return splice(data, last.to, last.to, ","+space+string(quoted)+colon+value)
	}
	// An empty object: its own white space, if any, stays behind what is new.
	line := string(data[:o.open])
	line = line[strings.LastIndexByte(line, '\n')+1:]
	outer := newlineOf(data) + line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	inner := outer + unitOf(data)
	tail := ""
	if !bytes.Contains(data[o.open:o.end], []byte("\n")) {
		tail = outer
	}
	return splice(data, o.open+1, o.open+1, inner+string(quoted)+": "+indented(value, inner, unitOf(data))+tail)
}

// removeMember takes the member name out of object o, with the comma and the
// white space that came with it.
func removeMember(data []byte, o object, name string) []byte {
	for i, m := range o.members {
		switch {
		case m.name != name:
			continue
		case i > 0:
			return splice(data, o.members[i-1].to, m.to, "")
		case len(o.members) > 1:
			return splice(data, m.key, o.members[1].key, "")
		}
		return splice(data, o.open+1, o.end-1, "")
	}
	return data
}

// splice returns data with what lies between two offsets replaced.
func splice(data []byte, from, to int, text string) []byte {
	out := make([]byte, 0, len(data)+len(text))
	return append(append(append(out, data[:from]...), text...), data[to:]...)
}

// trailingSpace returns the white space at the end of data.
func trailingSpace(data []byte) []byte {
	return data[len(bytes.TrimRight(data, " \t\r\n")):]
}

// newlineOf returns how lines end in data.
func newlineOf(data []byte) string {
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// unitOf returns the white space by which data indents the members of its
// outermost object; four spaces, as in Docker's documentation, if it does not.
func unitOf(data []byte) string {
	if o := topObject(data); len(o.members) > 0 {
		space := trailingSpace(data[:o.members[0].key])
		if i := bytes.LastIndexByte(space, '\n'); i >= 0 && i+1 < len(space) {
			return string(space[i+1:])
		}
	}
	return "    "
}

// indented spreads JSON of one line over several, as the value of a member that
// follows space.
func indented(value, space, unit string) string {
	if value[0] != '{' {
		return value
	}
	nl := "\n"
	if strings.Contains(space, "\r\n") {
		nl = "\r\n"
	}
	var b bytes.Buffer
	// Indent cannot fail on the JSON that we made.
	_ = json.Indent(&b, []byte(value), space[strings.LastIndexByte(space, '\n')+1:], unit)
	return strings.ReplaceAll(b.String(), "\n", nl)
}
