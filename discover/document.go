// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"fmt"
	"unicode/utf8"
)

// A Document of ours other than config.json and the edits is read here as
// strictly as they are. The manifest of a module is one.

// JSONShape says what a value must be. Make one of the names below.
type JSONShape struct{ shape *shape }

// The shapes of single values. A number is a whole one of 64 bits.
var (
	JSONText   = JSONShape{aString}
	JSONNumber = JSONShape{anInt64}
	JSONBool   = JSONShape{aBool}
)

// JSONMember is a member that an object may have.
type JSONMember struct {
	Name  string
	Shape JSONShape
}

// JSONList is an array of any length.
func JSONList(each JSONShape) JSONShape { return JSONShape{listOf(each.shape)} }

// JSONObject is an object of these members, each of which may be absent, and no
// others. There is at least one.
func JSONObject(members ...JSONMember) JSONShape {
	sh := &shape{kind: object}
	for _, m := range members {
		sh.members = append(sh.members, field{m.Name, m.Shape.shape})
	}
	return JSONShape{sh}
}

// JSONValue is a value of a document that was read. What is absent is an empty
// value of its type.
type JSONValue struct {
	n    *node
	data []byte
}

// ReadJSON reads one document of a shape. An unknown member, one that stands
// twice, null, another type, a number out of range, bytes behind the document,
// text that is not UTF-8 and nesting deeper than 16 are refused. what is the
// document in an error, such as "the manifest"; the error names the member by
// its JSON path. The caller bounds the size.
func ReadJSON(doc []byte, what string, sh JSONShape) (JSONValue, error) {
	if !utf8.Valid(doc) {
		return JSONValue{}, fmt.Errorf("%s is not UTF-8", what)
	}
	p := parser{data: doc, limit: maxEditsDepth, strict: true, what: what}
	root, err := p.document(sh.shape)
	if err != nil {
		return JSONValue{}, fmt.Errorf("%s: %w", what, err)
	}
	return JSONValue{&root, doc}, nil
}

// Given reports whether the value is there.
func (v JSONValue) Given() bool { return v.n.kind != absent }

// Member returns a member of an object. The shape has one of that name.
func (v JSONValue) Member(name string) JSONValue { return JSONValue{v.n.member(name), v.data} }

// Items returns the elements of an array.
func (v JSONValue) Items() []JSONValue {
	list := make([]JSONValue, len(v.n.kids))
	for i := range v.n.kids {
		list[i] = JSONValue{&v.n.kids[i], v.data}
	}
	return list
}

// Text returns a string, or "".
func (v JSONValue) Text() string { return v.n.string(v.data) }

// Texts returns an array of strings, or nil.
func (v JSONValue) Texts() []string { return v.n.strings(v.data) }

// Raw returns the value as it stands in the document.
func (v JSONValue) Raw() string { return string(v.n.raw(v.data)) }

// Int returns a number, or 0.
func (v JSONValue) Int() int64 { return v.n.int(v.data) }

// Bool returns true for true alone.
func (v JSONValue) Bool() bool { return v.n.bool(v.data) }
