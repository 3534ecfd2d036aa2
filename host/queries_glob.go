// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// glob answers with the paths that match a pattern, sorted by bytes, each
// ended by NUL; none is an empty answer. Each segment of the pattern is one of
// [path.Match], so "*" also matches names that begin with a dot, and nothing
// matches a slash. Folders on the way may be links; the last segment is not
// followed, so a link that leads nowhere is found. What is denied is not there.
func (r *Run) glob(q question) ([]byte, int32) {
	if !strings.HasPrefix(q.key, "/") || len(q.key) < 2 {
		return nil, CodeInvalid
	}
	segments := strings.Split(q.key[1:], "/")
	for _, s := range segments {
		if s == "" || s == "." || s == ".." || strings.Contains(s, "**") {
			return nil, CodeInvalid
		}
		if _, err := path.Match(s, ""); err != nil {
			return nil, CodeInvalid
		}
	}
	if literal := literalPrefix(segments); literal == q.key && !r.grantedPath(q.op, q.root, literal) ||
		literal != q.key && !r.grantedFolder(q.op, q.root, cmp.Or(literal, "/")) {
		return nil, CodeDenied
	}
	g := globbing{run: r, op: q.op, root: q.root, visits: r.config.Limits.GlobEntries}
	if code := g.match("", segments); code != CodeOK {
		return nil, code
	}
	slices.Sort(g.found)
	answer := []byte{}
	for _, p := range g.found {
		answer = append(append(answer, p...), 0)
	}
	return answer, CodeOK
}

// isLiteral reports whether a segment matches its own text only.
func isLiteral(segment string) bool { return !strings.ContainsAny(segment, `*?[\`) }

func literalPrefix(segments []string) string {
	p := ""
	for _, s := range segments {
		if !isLiteral(s) {
			break
		}
		p += "/" + s
	}
	return p
}

type globbing struct {
	run    *Run
	op     uint32 // glob, or ldlookup that looks for files
	root   uint32
	visits int // how many more names may be looked at
	found  []string
}

// match finds what matches segments below the path base, "" for the root.
func (g *globbing) match(base string, segments []string) int32 {
	for len(segments) > 0 && isLiteral(segments[0]) {
		base += "/" + segments[0]
		segments = segments[1:]
	}
	if len(segments) == 0 {
		if g.visits--; g.visits < 0 {
			return CodeTooLarge
		}
		return g.keep(base)
	}
	n, code := g.run.resolve((*root).lookup, g.root, cmp.Or(base, "/"), true, func(p string) bool { return g.run.grantedFolder(g.op, g.root, p) })
	if code != CodeOK {
		return noMatch(code)
	}
	entries, code := g.run.entries(&n, &g.visits)
	n.close()
	if code == CodeWrongType {
		return CodeOK
	}
	if code != CodeOK {
		return noMatch(code)
	}
	for _, e := range entries {
		if !matches(segments[0], e.name) {
			continue
		}
		if len(segments) == 1 {
			if p := base + "/" + e.name; g.run.grantedPath(g.op, g.root, p) && g.run.grantedPath(g.op, g.root, path.Join(n.real, e.name)) {
				g.found = append(g.found, p)
			}
			continue
		}
		if code := g.match(base+"/"+e.name, segments[1:]); code != CodeOK {
			return code
		}
	}
	return CodeOK
}

// keep adds a path whose last segment is literal, if it is there.
func (g *globbing) keep(p string) int32 {
	n, code := g.run.look(g.op, g.root, p, false)
	if code != CodeOK {
		return noMatch(code)
	}
	n.close()
	g.found = append(g.found, p)
	return CodeOK
}

// noMatch turns what is not there, not a folder or denied into no match.
func noMatch(code int32) int32 {
	switch code {
	case CodeNotFound, CodeDenied, CodeWrongType, CodeInvalid:
		return CodeOK // invalid: a match that is too long to be a path
	}
	return code
}
