// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tenon-runtime/tenon/discover"
)

// checker holds the values of a manifest against the rules of sdk/ABI.md, and
// keeps the first one that is broken.
type checker struct {
	what string // the document, first in the error
	err  error
}

// fail names the member by its JSON path.
func (c *checker) fail(member, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %q %s", c.what, member, fmt.Sprintf(format, args...))
	}
}

func (c *checker) manifest(m *Manifest) {
	if c.err != nil {
		return
	}
	if !isModuleName(m.Name) {
		c.fail("name", "is %s, not a DNS name and maybe a path, such as vendor.example/npu", brief(m.Name))
	}
	if !isSemver(m.Version) {
		c.fail("version", "is %s, not a version of semver 2.0.0, such as 1.4.2", brief(m.Version))
	}
	if len(m.License) > 200 || !isPrintable(m.License) {
		c.fail("license", "is %s, not an SPDX expression", brief(m.License))
	}
	scheme, _, ok := strings.Cut(m.Source, "://")
	if m.Source != "" && (!ok || scheme != "https" && scheme != "http" || !isPrintable(m.Source) || strings.Contains(m.Source, " ")) {
		c.fail("source", "is %s, not a URL of https or http", brief(m.Source))
	}
	for i, one := range m.Applies {
		at := fmt.Sprintf("applies.any[%d]", i)
		given := 0
		for _, s := range []string{one.Env, one.Annotation, one.MountUnder} {
			if s != "" {
				given++
			}
		}
		if given != 1 {
			c.fail(at, "has %d conditions; write one of env, annotation, mountUnder", given)
		}
		if !isPrintable(one.Env) || strings.Contains(one.Env, "=") {
			c.fail(at+".env", "is %s, not the name of a variable", brief(one.Env))
		}
		if !isPrintable(one.Annotation) {
			c.fail(at+".annotation", "is %s, not the key of an annotation", brief(one.Annotation))
		}
		if one.MountUnder != "" && !(cleanAbs(one.MountUnder) && isPrintable(one.MountUnder)) {
			c.fail(at+".mountUnder", "is %s, not an absolute path in its shortest form", brief(one.MountUnder))
		}
	}
	c.grants(&m.Grants)
}

func (c *checker) grants(g *Grants) {
	c.requests(g.Requests)
	q, e := &g.Queries, &g.Edits
	c.names("grants.env", q.Env, "=")
	c.names("grants.annotations", q.Annotations, "")
	for i, p := range q.Spec {
		at := fmt.Sprintf("grants.spec[%d]", i)
		switch {
		case p == "":
			c.fail(at, "is the whole config.json, which is granted to nobody; name a part of it")
		case p[0] != '/' || !isPrintable(p):
			c.fail(at, "is %s, not a JSON pointer", brief(p))
		case !isLiteral(strings.Split(p, "/")[1]) || len(p) == 1:
			c.fail(at, "is %s, which names no member of config.json", brief(p))
		}
		c.pattern(at, p)
	}
	c.paths("grants.mounts", q.Mounts)
	for i, f := range q.FS {
		at := fmt.Sprintf("grants.fs[%d]", i)
		if !slices.Contains(rootNames[:], f.Root) {
			c.fail(at+".root", "is %s, not one of %s", brief(f.Root), joined(rootNames[:]))
		}
		if len(f.Ops) == 0 || len(f.Paths) == 0 {
			c.fail(at, "needs ops and paths")
		}
		c.oneOf(at+".ops", f.Ops, fsOps[:])
		c.paths(at+".paths", f.Paths)
		for j, p := range f.Paths {
			if cleanAbs(p) && isLiteral(p) && discover.ForbiddenQuery(p) {
				c.fail(fmt.Sprintf("%s.paths[%d]", at, j), "is %s, which no module may see", brief(p))
			}
		}
	}
	for i, s := range q.Ld {
		at := fmt.Sprintf("grants.ld[%d]", i)
		if s == "" || strings.ContainsAny(s, `/?[\`) || !isPrintable(s) {
			c.fail(at, "is %s, not a soname; of the signs of a pattern it may have *", brief(s))
		}
		c.pattern(at, s)
	}

	c.names("edits.env", e.Env, "=")
	c.names("edits.annotations", e.Annotations, "")
	c.paths("edits.devices", e.Devices)
	for i, rule := range e.DeviceRules {
		if _, ok := parseRule(rule); !ok {
			c.fail(fmt.Sprintf("edits.deviceRules[%d]", i), `is %s, not a type and numbers such as "c 195:*"; a block device needs both numbers`, brief(rule))
		}
	}
	c.paths("edits.mountsFrom", e.MountsFrom)
	c.paths("edits.mountsTo", e.MountsTo)
	c.paths("edits.mountsWritable", e.MountsWritable)
	c.names("edits.netDevices", e.NetDevices, "/")
	c.names("edits.builtinHooks", e.BuiltinHooks, "/")
	c.oneOf("edits.remove", e.Remove, []string{"devices", "env", "mounts"})
	c.names("edits.removeHooks", e.RemoveHooks, "/")
}

// requests: what stands there is no pattern, since the host looks for it.
func (c *checker) requests(list []RequestGrant) {
	taken := map[string]string{} // what has each place, and each name
	once := func(at, what, s string) {
		if other := taken[what+s]; other != "" {
			c.fail(at, "is %s, which %s has already", brief(s), strconv.Quote(other))
		}
		taken[what+s] = at
	}
	for i, r := range list {
		at := fmt.Sprintf("requests[%d]", i)
		if r.Name != "" && (!isWord(r.Name, "-_.") || len(r.Name) > 64) {
			c.fail(at+".name", "is %s, not letters, digits, dashes, dots and underscores", brief(r.Name))
		}
		once(at+".name", "name ", r.Name)
		if len(r.Env)+len(r.Annotations)+len(r.MountsUnder) == 0 {
			c.fail(at, "names no place; write one of env, annotations, mountsUnder")
		}
		for j, name := range r.Env {
			at := fmt.Sprintf("%s.env[%d]", at, j)
			if !isWord(name, "_") {
				c.fail(at, "is %s, not the name of a variable", brief(name))
			}
			once(at, "variable ", name)
		}
		for j, key := range r.Annotations {
			at := fmt.Sprintf("%s.annotations[%d]", at, j)
			if key == "" || !isPrintable(key) {
				c.fail(at, "is %s, not the key of an annotation", brief(key))
			}
			once(at, "annotation ", key)
		}
		for j, folder := range r.MountsUnder {
			at := fmt.Sprintf("%s.mountsUnder[%d]", at, j)
			if !cleanAbs(folder) || folder == "/" || !isPrintable(folder) {
				c.fail(at, "is %s, not the absolute path of a folder in its shortest form", brief(folder))
			}
			once(at, "folder ", folder)
		}
	}
}

func (c *checker) names(at string, list []string, without string) {
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", at, i)
		if s == "" || !isPrintable(s) || without != "" && strings.Contains(s, without) {
			c.fail(at, "is %s, not a name", brief(s))
		}
		c.pattern(at, s)
	}
}

func (c *checker) paths(at string, list []string) {
	for i, p := range list {
		at := fmt.Sprintf("%s[%d]", at, i)
		if !cleanAbs(p) || !isPrintable(p) {
			c.fail(at, "is %s, not an absolute path in its shortest form", brief(p))
		}
		c.pattern(at, p)
	}
}

func (c *checker) pattern(at, p string) {
	if wrong := patternError(p); wrong != "" {
		c.fail(at, "is %s, which %s", brief(p), wrong)
	}
}

func (c *checker) oneOf(at string, list, known []string) {
	for i, s := range list {
		if s == "" || !slices.Contains(known, s) {
			c.fail(fmt.Sprintf("%s[%d]", at, i), "is %s, not one of %s", brief(s), joined(known))
		}
	}
}

func joined(list []string) string { // without the gaps of fsOps
	return strings.Join(slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" }), ", ")
}

// deviceRule is a grant of rules without a node: minor -1 is all.
type deviceRule struct {
	kind         string // c or b
	major, minor int64
}

// parseRule reads "c 195:*". No grant is for all major numbers, and one of a
// block device is for one device.
func parseRule(s string) (r deviceRule, ok bool) {
	kind, numbers, _ := strings.Cut(s, " ")
	major, minor, _ := strings.Cut(numbers, ":")
	r.kind, r.minor = kind, -1
	var err error
	if r.major, err = deviceNumber(major); err != nil || kind != "c" && kind != "b" {
		return r, false
	}
	if minor == "*" {
		return r, kind == "c"
	}
	r.minor, err = deviceNumber(minor)
	return r, err == nil
}

// deviceNumber reads a number in the one form that it has.
func deviceNumber(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && strconv.FormatUint(n, 10) != s {
		err = strconv.ErrSyntax
	}
	return int64(n), err
}

// isModuleName reports whether s is a DNS name (RFC 1123, section 2.1, in small
// letters), and maybe a slash and more segments.
func isModuleName(s string) bool {
	host, rest, more := strings.Cut(s, "/")
	labels := strings.Split(host, ".")
	if len(labels) < 2 || len(s) > 200 {
		return false
	}
	for _, label := range labels {
		if !isWord(label, "-") || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ToLower(label) != label {
			return false
		}
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if more && (!isWord(segment, "-._") || segment[0] == '.') {
			return false
		}
	}
	return true
}

// isSemver follows https://semver.org/spec/v2.0.0.html.
func isSemver(s string) bool {
	s, build, hasBuild := strings.Cut(s, "+")
	core, pre, hasPre := strings.Cut(s, "-")
	numbers := strings.Split(core, ".")
	if len(numbers) != 3 || len(s)+len(build) > 100 {
		return false
	}
	isNumber := func(n string) bool { return n != "" && strings.Trim(n, "0123456789") == "" }
	for _, n := range numbers {
		if !isNumber(n) || len(n) > 1 && n[0] == '0' {
			return false
		}
	}
	for part := range strings.SplitSeq(pre, ".") {
		if hasPre && (!isWord(part, "-") || isNumber(part) && len(part) > 1 && part[0] == '0') {
			return false
		}
	}
	for part := range strings.SplitSeq(build, ".") {
		if hasBuild && !isWord(part, "-") {
			return false
		}
	}
	return true
}

// isWord reports whether s has one or more ASCII letters, digits and signs of
// also, and nothing else.
func isWord(s, also string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(also, r) {
			return false
		}
	}
	return s != ""
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// brief quotes a value for a message.
func brief(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strconv.Quote(s)
}
