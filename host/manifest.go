// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-runtime/tenon/discover"
)

// MaxManifest is how many bytes a manifest may have: "Limits" of sdk/ABI.md.
const MaxManifest = 16 << 10

// The version of the ABI that this host offers.
const (
	abiMajor = 1
	abiMinor = 0
)

// Manifest is what a module says of itself in its custom section
// tenon.manifest: what it is, for which containers, and what it asks and edits.
// "Manifest" of sdk/ABI.md describes each member. The zero value grants nothing,
// and is no manifest that ParseManifest accepts.
type Manifest struct {
	// Name is a DNS name, and maybe a slash and more: vendor.example/npu.
	Name string `json:"name"`
	// Version is as semver 2.0.0 has it.
	Version string `json:"version"`
	// License is an SPDX expression, Source a URL; "" where it does not say.
	License string `json:"license,omitempty"`
	Source  string `json:"source,omitempty"`
	// ABIMinor is the least minor version of ABI 1 that will do.
	ABIMinor int `json:"abiMinor"`
	// Applies are conditions of which one must hold for a container to be for
	// this module, where it does not ask by one of Requests; neither for every
	// container.
	Applies []Condition `json:"applies,omitempty"`
	Grants
	// Limits are those that the module can do with.
	Limits ManifestLimits `json:"limits,omitzero"`

	// Text is the JSON that it was read from, and GrantsText what ParseGrants takes
	// for accepting all of it.
	Text       string `json:"-"`
	GrantsText string `json:"-"`
}

// Condition is one thing that a container may have; one member is not "".
type Condition struct {
	Env        string `json:"env,omitempty"`        // a variable that is set and not empty
	Annotation string `json:"annotation,omitempty"` // a key
	MountUnder string `json:"mountUnder,omitempty"` // a folder with a mount at it or below
}

// ManifestLimits bound a run; 0 where the host's own limit will do.
type ManifestLimits struct {
	MemoryPages int `json:"memoryPages,omitempty"` // of 64 KiB
	WallMS      int `json:"wallMs,omitempty"`      // milliseconds
	Queries     int `json:"queries,omitempty"`     // count
}

// Grants are what a module may ask and edit. Lists hold patterns: path.Match a
// segment, and "**" as a whole segment for any number of segments. What is not
// listed is not granted; the zero value grants nothing.
type Grants struct {
	Requests []RequestGrant `json:"requests,omitempty"`

	Queries QueryGrants `json:"grants"`
	Edits   EditGrants  `json:"edits"`
}

// RequestGrant says where a container may ask the module for devices of one kind,
// with a list by the rules of "Requests" of sdk/ABI.md.
type RequestGrant struct {
	Name        string   `json:"name,omitempty"`        // the key of the query request; "" for the one that most modules have
	Env         []string `json:"env,omitempty"`         // names of variables
	Annotations []string `json:"annotations,omitempty"` // keys
	MountsUnder []string `json:"mountsUnder,omitempty"` // folders of the container
}

// QueryGrants are what a module may ask.
type QueryGrants struct {
	Env         []string  `json:"env,omitempty"`         // names of variables
	Annotations []string  `json:"annotations,omitempty"` // keys
	Spec        []string  `json:"spec,omitempty"`        // JSON pointers, each with all below it
	Mounts      []string  `json:"mounts,omitempty"`      // paths, each with all below it
	Config      bool      `json:"config,omitempty"`      // the mode's own table
	FS          []FSGrant `json:"fs,omitempty"`          // files
	Ld          []string  `json:"ld,omitempty"`          // sonames
}

// FSGrant lets queries look at files of one root.
type FSGrant struct {
	Root  string   `json:"root"`  // host, container or driver
	Ops   []string `json:"ops"`   // stat, readdir, read, readlink, glob, realpath or which
	Paths []string `json:"paths"` // as seen from the root
}

// EditGrants are what a module may change.
type EditGrants struct {
	Env            []string `json:"env,omitempty"`            // names of variables
	Annotations    []string `json:"annotations,omitempty"`    // keys
	Devices        []string `json:"devices,omitempty"`        // paths, in the container and on the host; a block device by its own name only
	DeviceRules    []string `json:"deviceRules,omitempty"`    // TYPE MAJOR:MINOR, the minor number maybe *
	MountsFrom     []string `json:"mountsFrom,omitempty"`     // paths of the host, each with all below it
	MountsTo       []string `json:"mountsTo,omitempty"`       // paths of the container, each with all below it
	MountsWritable []string `json:"mountsWritable,omitempty"` // those of mountsFrom that need not be read-only
	Symlinks       bool     `json:"symlinks,omitempty"`       // links in what mountsTo names
	LdCache        bool     `json:"ldcache,omitempty"`        // folders of the container's ld.so.cache
	AdditionalGIDs bool     `json:"additionalGids,omitempty"` // groups of the container's process
	IntelRdt       bool     `json:"intelRdt,omitempty"`       // cache and memory bandwidth
	NetDevices     []string `json:"netDevices,omitempty"`     // names of the host's network interfaces
	BuiltinHooks   []string `json:"builtinHooks,omitempty"`   // names
	Remove         []string `json:"remove,omitempty"`         // env, mounts, devices: of what the lists above name
	RemoveHooks    []string `json:"removeHooks,omitempty"`    // base names of the hooks' programs
}

// fsOps are the queries that an fs grant may name, by op; the others are "".
var fsOps = [...]string{
	opStat: "stat", opReadDir: "readdir", opRead: "read", opReadLink: "readlink", opGlob: "glob", opRealPath: "realpath", opWhich: "which",
}

var rootNames = [rootCount]string{rootHost: "host", rootContainer: "container", rootDriver: "driver"}

// manifestShapes are the two documents as they stand in JSON. They are made when
// they are first needed: most runs of a program need neither.
var manifestShapes = sync.OnceValues(func() (grants, manifest discover.JSONShape) {
	type member = discover.JSONMember
	each := func(shape discover.JSONShape, names ...string) (members []member) {
		for _, name := range names {
			members = append(members, member{Name: name, Shape: shape})
		}
		return members
	}
	object, list := discover.JSONObject, discover.JSONList
	texts := list(discover.JSONText)
	fs := append(each(texts, "ops", "paths"), each(discover.JSONText, "root")...)
	request := append(each(texts, "env", "annotations", "mountsUnder"), each(discover.JSONText, "name")...)
	both := []member{
		{Name: "requests", Shape: list(object(request...))},
		{Name: "grants", Shape: object(slices.Concat(
			each(texts, "env", "annotations", "spec", "mounts", "ld"),
			each(discover.JSONBool, "config"),
			each(list(object(fs...)), "fs"))...)},
		{Name: "edits", Shape: object(slices.Concat(
			each(texts, "env", "annotations", "devices", "deviceRules", "mountsFrom", "mountsTo", "mountsWritable", "netDevices",
				"builtinHooks", "remove", "removeHooks"),
			each(discover.JSONBool, "symlinks", "ldcache", "additionalGids", "intelRdt"))...)},
	}
	condition := object(each(discover.JSONText, "env", "annotation", "mountUnder")...)
	return object(both...), object(slices.Concat(both,
		each(discover.JSONText, "name", "version", "license", "source"),
		each(object(each(discover.JSONNumber, "major", "minor")...), "abi"),
		each(object(each(list(condition), "any")...), "applies"),
		each(object(each(discover.JSONNumber, "memoryPages", "wallMs", "queries")...), "limits"))...)
})

// ParseManifest reads the content of a tenon.manifest section. An unknown or
// duplicate member, a wrong type, a bad pattern and a required member that is
// absent are refused. Errors begin with "the manifest" and name the member; the
// module is at fault, or, where it asks for a newer minor version, nobody.
func ParseManifest(text []byte) (Manifest, error) {
	if len(text) > MaxManifest {
		return Manifest{}, fmt.Errorf("the manifest has %d bytes, more than %d", len(text), MaxManifest)
	}
	_, shape := manifestShapes()
	v, err := discover.ReadJSON(text, "the manifest", shape)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		Name: v.Member("name").Text(), Version: v.Member("version").Text(),
		License: v.Member("license").Text(), Source: v.Member("source").Text(),
		Grants: grantsOf(v), Text: string(text),
	}
	for _, item := range v.Member("applies").Member("any").Items() {
		m.Applies = append(m.Applies, Condition{item.Member("env").Text(), item.Member("annotation").Text(), item.Member("mountUnder").Text()})
	}
	c := &checker{what: "the manifest"}
	for _, name := range []string{"abi", "name", "version", "grants", "edits"} {
		if !v.Member(name).Given() {
			c.fail(name, "is missing")
		}
	}
	if v.Member("applies").Given() && len(m.Applies) == 0 {
		c.fail("applies.any", "has no item, so the module would run for no container; leave applies out for every container")
	}
	major, minor := v.Member("abi").Member("major").Int(), v.Member("abi").Member("minor").Int()
	switch {
	case major != abiMajor:
		c.fail("abi.major", "is %d; this tenon offers ABI %d.%d", major, abiMajor, abiMinor)
	case minor < 0:
		c.fail("abi.minor", "is %d, less than 0", minor)
	case minor > abiMinor:
		c.fail("abi.minor", "asks for ABI %d.%d, and this tenon offers %d.%d; install a newer tenon", major, minor, abiMajor, abiMinor)
	}
	m.ABIMinor = int(minor)
	if c.err == nil {
		requests := ""
		if given := v.Member("requests"); given.Given() {
			requests = `"requests":` + given.Raw() + `,`
		}
		m.GrantsText = `{` + requests + `"grants":` + v.Member("grants").Raw() + `,"edits":` + v.Member("edits").Raw() + `}`
	}
	for _, limit := range []struct {
		name string
		most int64
		to   *int
	}{
		// The most that a memory of core WebAssembly has, ten minutes, and what is far above the host's.
		{"memoryPages", 1 << 16, &m.Limits.MemoryPages}, {"wallMs", 600_000, &m.Limits.WallMS}, {"queries", 1 << 20, &m.Limits.Queries},
	} {
		given := v.Member("limits").Member(limit.name)
		if n := given.Int(); given.Given() && (n < 1 || n > limit.most) {
			c.fail("limits."+limit.name, "is %d, not 1 to %d", n, limit.most)
		}
		*limit.to = int(given.Int())
	}
	c.manifest(&m)
	return m, c.err
}

// ParseGrants reads what the administrator has accepted of a module's grants: an
// object of the manifest's members requests, grants and edits, read as strictly as
// there. Errors begin with what, the thing it stands in, and name the member.
func ParseGrants(what string, text []byte) (Grants, error) {
	shape, _ := manifestShapes()
	v, err := discover.ReadJSON(text, what, shape)
	if err != nil {
		return Grants{}, err
	}
	g := grantsOf(v)
	c := &checker{what: what}
	c.grants(&g)
	return g, c.err
}

// grantsOf takes the members of both documents out of v.
func grantsOf(v discover.JSONValue) Grants {
	q, e := v.Member("grants"), v.Member("edits")
	g := Grants{
		Queries: QueryGrants{
			Env: q.Member("env").Texts(), Annotations: q.Member("annotations").Texts(), Spec: q.Member("spec").Texts(),
			Mounts: q.Member("mounts").Texts(), Config: q.Member("config").Bool(), Ld: q.Member("ld").Texts(),
		},
		Edits: EditGrants{
			Env: e.Member("env").Texts(), Annotations: e.Member("annotations").Texts(), Devices: e.Member("devices").Texts(),
			DeviceRules: e.Member("deviceRules").Texts(), MountsFrom: e.Member("mountsFrom").Texts(), MountsTo: e.Member("mountsTo").Texts(),
			MountsWritable: e.Member("mountsWritable").Texts(), NetDevices: e.Member("netDevices").Texts(),
			BuiltinHooks: e.Member("builtinHooks").Texts(), Remove: e.Member("remove").Texts(), RemoveHooks: e.Member("removeHooks").Texts(),
			Symlinks: e.Member("symlinks").Bool(), LdCache: e.Member("ldcache").Bool(),
			AdditionalGIDs: e.Member("additionalGids").Bool(), IntelRdt: e.Member("intelRdt").Bool(),
		},
	}
	for _, item := range v.Member("requests").Items() {
		g.Requests = append(g.Requests, RequestGrant{item.Member("name").Text(), item.Member("env").Texts(),
			item.Member("annotations").Texts(), item.Member("mountsUnder").Texts()})
	}
	for _, item := range q.Member("fs").Items() {
		g.Queries.FS = append(g.Queries.FS, FSGrant{item.Member("root").Text(), item.Member("ops").Texts(), item.Member("paths").Texts()})
	}
	return g
}

// AppliesTo reports whether a container is for this module whatever it asks for by
// Requests: whether one of its conditions holds. A variable that c hides from the
// queries of such a container does not count.
func (m *Manifest) AppliesTo(c Config, req *discover.Request) bool {
	if len(m.Applies) == 0 {
		return len(m.Requests) == 0
	}
	for _, one := range m.Applies {
		switch {
		case one.Env != "":
			if value, _ := req.Env(one.Env); value != "" && !c.hidesEnv(one.Env, req) {
				return true
			}
		case one.Annotation != "":
			if _, ok := req.Annotation(one.Annotation); ok {
				return true
			}
		default:
			for _, mount := range req.Mounts() {
				if isBelow(path.Clean("/"+mount.Destination), one.MountUnder) {
					return true
				}
			}
		}
	}
	return false
}

// Within returns the limits of a run of the module: the lower one of each.
func (l ManifestLimits) Within(limits Limits) Limits {
	for _, pair := range []struct {
		host *int
		own  int
	}{{&limits.MemoryPages, l.MemoryPages}, {&limits.WallMS, l.WallMS}, {&limits.Queries, l.Queries}} {
		if pair.own > 0 {
			*pair.host = min(*pair.host, pair.own)
		}
	}
	return limits
}

// isBelow reports whether p is dir or below it, both absolute and clean.
func isBelow(p, dir string) bool {
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/' || dir == "/")
}
