// SPDX-License-Identifier: Apache-2.0

package discover

import "fmt"

// maxConfig is the largest config.json that is read, in bytes. Those of
// engines have 10 to 100 KiB; with encoding/json 100 MB of empty mounts cost
// runc 15 GB of memory.
const maxConfig = 8 << 20

// Spec is one config.json as its bytes, with the places of the members that
// tenon reads or edits. Make it with [Parse]; it is not changed afterwards and
// may be used by several goroutines.
type Spec struct {
	data []byte
	root node
}

// The members of config.json that are read or edited, with the types that
// runtime-spec 1.3.0 gives them (specs-go/config.go). All else is kept unread.
var (
	aString  = &shape{kind: text}
	aBool    = &shape{kind: boolean}
	aUint32  = &shape{kind: number, bits: 32}
	anInt64  = &shape{kind: number, bits: 64}
	textList = &shape{kind: array, each: aString}
	uint32s  = &shape{kind: array, each: aUint32}
	texts    = &shape{kind: object, each: aString}

	hooksShape = &shape{kind: array, each: &shape{kind: object, members: []field{
		{"path", aString}, {"args", textList}, {"env", textList}, {"timeout", anInt64}}}}

	idMappings = &shape{kind: array, each: &shape{kind: object, members: []field{
		{"containerID", aUint32}, {"hostID", aUint32}, {"size", aUint32}}}}

	specShape = &shape{kind: object, members: []field{
		{"ociVersion", aString},
		{"process", &shape{kind: object, members: []field{
			{"user", &shape{kind: object, members: []field{
				{"uid", aUint32}, {"gid", aUint32}, {"additionalGids", uint32s}}}},
			{"env", textList},
			{"capabilities", &shape{kind: object, members: []field{{"bounding", textList}}}}}}},
		{"root", &shape{kind: object, members: []field{{"path", aString}, {"readonly", aBool}}}},
		{"mounts", &shape{kind: array, each: &shape{kind: object, members: []field{
			{"destination", aString}, {"type", aString}, {"source", aString}, {"options", textList},
			{"uidMappings", idMappings}, {"gidMappings", idMappings}}}}},
		{"hooks", &shape{kind: object, members: []field{
			{"prestart", hooksShape}, {"createRuntime", hooksShape}, {"createContainer", hooksShape},
			{"startContainer", hooksShape}, {"poststart", hooksShape}, {"poststop", hooksShape}}}},
		{"annotations", texts},
		{"linux", &shape{kind: object, members: []field{
			{"resources", &shape{kind: object, members: []field{
				{"devices", &shape{kind: array, each: &shape{kind: object, members: []field{
					{"allow", aBool}, {"type", aString}, {"major", anInt64}, {"minor", anInt64}, {"access", aString}}}}}}}},
			{"devices", &shape{kind: array, each: &shape{kind: object, members: []field{
				{"path", aString}, {"type", aString}, {"major", anInt64}, {"minor", anInt64},
				{"fileMode", aUint32}, {"uid", aUint32}, {"gid", aUint32}}}}},
			{"netDevices", &shape{kind: object, each: &shape{kind: object, members: []field{{"name", aString}}}}},
			{"intelRdt", &shape{kind: object, members: []field{
				{"closID", aString}, {"schemata", textList}, {"l3CacheSchema", aString}, {"memBwSchema", aString},
				{"enableMonitoring", aBool}}}}}}},
	}}
)

// Parse reads a config.json. It keeps config and does not change it; nor may
// the caller.
//
// It refuses what runc, which decodes with encoding/json, would not read or
// would read differently: a key that stands twice, or in other letter cases,
// in an object that holds a member tenon reads or edits (encoding/json takes
// "HOOKS" for "hooks", and the last one wins; crun does not), a member of the
// wrong type, bytes after the document, nesting deeper than 10,000, more than
// 8 MiB. An error is about the bundle, says on which line, and does not name
// the file: the caller puts its path in front.
func Parse(config []byte) (*Spec, error) {
	if len(config) > maxConfig {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(config), maxConfig)
	}
	p := parser{data: config, limit: maxDepth}
	root, err := p.document(specShape)
	if err != nil {
		return nil, err
	}
	if root.kind == null {
		return nil, fmt.Errorf("it is null, not an object")
	}
	return &Spec{data: config, root: root}, nil
}

// Bytes returns the config.json as it was given to [Parse], the same slice.
func (s *Spec) Bytes() []byte { return s.data }

// at returns the member at a path of known names, or a node of kind absent.
func (s *Spec) at(names ...string) *node {
	n := &s.root
	for _, name := range names {
		n = n.member(name)
	}
	return n
}
