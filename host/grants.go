// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
)

// This file is the one place where a query is denied: by the floor of package
// discover, which no manifest opens, or because the module's rights do not hold
// it. grants_edits.go does the same for edits.

// Rights are what one module may do on this machine: what both its manifest and
// the administrator grant. The zero value grants nothing.
type Rights struct {
	manifest, accepted Grants
	driverRoot         string // "" for /
}

// NewRights joins a module's manifest and what the administrator has accepted of
// it. driverRoot is the absolute path of root 2: what lies in it may also be
// granted by its path there.
func NewRights(manifest, accepted Grants, driverRoot string) Rights {
	return Rights{manifest, accepted, strings.TrimSuffix(driverRoot, "/")}
}

// both reports whether both grant something.
func (r *Rights) both(grants func(*QueryGrants) bool) bool {
	return grants(&r.manifest.Queries) && grants(&r.accepted.Queries)
}

// key reports whether a query that looks at no file is granted.
func (r *Rights) key(q question) bool {
	if q.op == opRequest {
		_, ok := r.request(q.key)
		return ok
	}
	return r.both(func(g *QueryGrants) bool {
		switch q.op {
		case opEnv:
			return anyMatches(g.Env, q.key, false)
		case opAnnotation:
			return anyMatches(g.Annotations, q.key, false)
		case opSpec:
			return anyMatches(g.Spec, q.key, true)
		case opMounts:
			return anyMatches(g.Mounts, q.key, true)
		case opConfig:
			return g.Config || q.key == "strict" || q.key == "driver_root"
		case opLdLookup:
			// A "*" of the key is matched by none but a "*" of the grant, which
			// has no other signs; so whatever the key finds the grant names.
			return anyMatches(g.Ld, q.key, false)
		}
		return true
	})
}

// path reports whether a query may look at p in a root.
func (r *Rights) path(op, root uint32, p string) bool {
	return r.both(func(g *QueryGrants) bool {
		return slices.ContainsFunc(g.FS, func(f FSGrant) bool { return f.opens(op, root) && anyMatches(f.Paths, p, false) })
	})
}

// reaches reports whether a glob may find anything at or below a folder.
func (r *Rights) reaches(root uint32, folder string) bool {
	return r.both(func(g *QueryGrants) bool {
		return slices.ContainsFunc(g.FS, func(f FSGrant) bool {
			return f.opens(opGlob, root) && slices.ContainsFunc(f.Paths, func(p string) bool { return reaches(p, folder) })
		})
	})
}

func (f *FSGrant) opens(op, root uint32) bool {
	return f.Root == rootNames[root] && slices.Contains(f.Ops, fsOps[op])
}

func anyMatches(patterns []string, name string, below bool) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matchPattern(p, name, below) })
}

// grantedKey reports whether the run may ask a question. Those that look at
// files are held against the path by grantedPath.
func (r *Run) grantedKey(q question) bool {
	if q.op == opSpec {
		if q.key == "" {
			return false // the whole config.json
		}
		if r.config.hidesEnv(anyVisibleDevices, r.request) {
			// The gate of the env query, kept shut here too: no pointer may
			// contain process.env, or lie in it.
			env := "/process/env"
			if q.key == "/process" || q.key == env || strings.HasPrefix(q.key, env+"/") {
				return false
			}
		}
	}
	return r.rights.key(q)
}

const anyVisibleDevices = "_VISIBLE_DEVICES"

// hidesEnv reports whether a variable of this container does not count, since
// it asks for devices and the container is not privileged.
func (c *Config) hidesEnv(name string, req *discover.Request) bool {
	return strings.HasSuffix(name, anyVisibleDevices) && !c.countsImage(req)
}

// grantedPath reports whether a query may look at a path. It is asked twice,
// for the path of the query, so that what is denied cannot be told from what
// is absent, and for the place it leads to, so that no link leads around it.
// Both are as seen from the root of the query. What ldlookup finds is granted by
// its soname.
func (r *Run) grantedPath(op, root uint32, p string) bool {
	if discover.ForbiddenQuery(p) {
		return false
	}
	return op == opLdLookup || r.rights.path(op, root, p)
}

// grantedFolder reports whether a glob may look for names in a folder.
func (r *Run) grantedFolder(op, root uint32, p string) bool {
	if discover.ForbiddenQuery(p) {
		return false
	}
	return op == opLdLookup || r.rights.reaches(root, p)
}
