// SPDX-License-Identifier: Apache-2.0

package host

import (
	"path"
	"strings"
	"testing"
)

// slowMatch is matchPattern as the ABI words it, one segment after the other,
// with every way to share a name among the "**" tried.
func slowMatch(pattern, name string, below bool) bool {
	segments := func(s string) []string { return strings.Split(s, "/") }
	p, n := segments(pattern), segments(name)
	if strings.HasPrefix(pattern, "/") {
		if !strings.HasPrefix(name, "/") {
			return false
		}
		p, n = p[1:], n[1:]
		if pattern == "/" {
			p = nil
		}
		if name == "/" {
			n = nil
		}
	}
	var match func(p, n []string) bool
	match = func(p, n []string) bool {
		if len(p) == 0 {
			return below || len(n) == 0
		}
		if p[0] == "**" {
			for i := range len(n) + 1 {
				if match(p[1:], n[i:]) {
					return true
				}
			}
			return false
		}
		ok, err := false, error(nil)
		if len(n) > 0 {
			ok, err = path.Match(p[0], n[0])
		}
		return ok && err == nil && match(p[1:], n[1:])
	}
	return match(p, n)
}

func TestGrantPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want, below   bool
	}{
		{"/dev/acme*", "/dev/acme0", true, true}, {"/dev/acme*", "/dev/acme", true, true}, {"/dev/acme*", "/dev/acme/x", false, true},
		{"/dev/acme*", "/dev/bcme", false, false}, {"/dev/acme?", "/dev/acme10", false, false}, {"/dev/acme[0-3]", "/dev/acme2", true, true},
		{"/opt/acme", "/opt/acme", true, true}, {"/opt/acme", "/opt/acme/lib/x", false, true}, {"/opt/acme", "/opt/acmeish", false, false},
		{"/opt/**", "/opt", true, true}, {"/opt/**", "/opt/a/b/c", true, true}, {"/opt/**", "/optional", false, false}, {"/**", "/", true, true},
		{"/**", "/etc/x", true, true}, {"/", "/", true, true}, {"/", "/etc", false, true}, {"/a/**/z", "/a/z", true, true}, {"/a/**/z", "/a/b/c/z", true, true},
		{"/a/**/z", "/a/b/c/zz", false, false}, {"/a/**/z", "/a/z/y", false, true}, {"/**/b/**/c", "/a/b/b/c/c", true, true}, {"/**/b/**/c", "/a/c/b", false, false},
		{"/*/x", "/a/x", true, true}, {"/*/x", "/x", false, false}, {"/*", "/", false, false}, {`/a\*`, "/a*", true, true}, {`/a\*`, "/ab", false, false},
		{"ACME_*", "ACME_X", true, true}, {"ACME_*", "XACME_", false, false}, {"acme.com/*", "acme.com/devices", true, true},
		{"*", "acme.com/devices", false, true}, {"**", "acme.com/devices", true, true}, {"**", "/usr/bin/x", true, true}, {"*", "", true, true}, {"/x", "x", false, false},
		{"libacme*", "libacme.so.*", true, true}, {"libacme.so", "libacme.so.*", false, false},
	} {
		for below, want := range map[bool]bool{false: test.want, true: test.below} {
			if got := matchPattern(test.pattern, test.name, below); got != want {
				t.Errorf("%s of %s, below %v: %v", test.pattern, test.name, below, got)
			}
			if got := slowMatch(test.pattern, test.name, below); got != want {
				t.Errorf("the reference: %s of %s, below %v: %v", test.pattern, test.name, below, got)
			}
		}
	}
}

// A glob walks a folder only where a grant may match below it, and it must not
// miss one.
func TestReachesIsTrueAboveEveryMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, folder string
		want            bool
	}{
		{"/dev/acme*", "/", true}, {"/dev/acme*", "/dev", true}, {"/dev/acme*", "/dev/acme0", true}, {"/dev/acme*", "/dev/acme0/x", false},
		{"/dev/acme*", "/etc", false}, {"/*/acme", "/x", true}, {"/**", "/x/y", true}, {"/a/**/z", "/a/b", true}, {"/a/**/z", "/b", false}, {"/", "/", true}, {"/", "/a", false},
	} {
		if got := reaches(test.pattern, test.folder); got != test.want {
			t.Errorf("%s in %s: %v", test.pattern, test.folder, got)
		}
	}
}

// FuzzGrantPath holds the matcher against the slow one, and a walk of globs
// against both: whatever matches is reached through every folder above it.
func FuzzGrantPath(f *testing.F) {
	for _, seed := range [][2]string{
		{"/dev/acme*", "/dev/acme0"}, {"/a/**/b/**/c", "/a/x/b/y/z/c"}, {"/**", "/"}, {"**/**/**/x", "a/b/c/d"}, {`/[a-z]\*`, "/q*"}, {"/", "/"}, {"a//b", "a//b"}, {"/a/", "/a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 60 || len(name) > 60 || pattern == "" || patternError(pattern) != "" {
			return // the reference takes its time
		}
		for _, below := range []bool{false, true} {
			if got, want := matchPattern(pattern, name, below), slowMatch(pattern, name, below); got != want {
				t.Fatalf("%q of %q, below %v: %v, want %v", pattern, name, below, got, want)
			}
		}
		if !strings.HasPrefix(pattern, "/") || !cleanAbs(name) || !matchPattern(pattern, name, false) {
			return
		}
		for folder := name; ; folder = path.Dir(folder) {
			if !reaches(pattern, folder) {
				t.Fatalf("%q matches %q and does not reach %q", pattern, name, folder)
			}
			if folder == "/" {
				break
			}
		}
	})
}
