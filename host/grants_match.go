// SPDX-License-Identifier: Apache-2.0

package host

import (
	"path"
	"strings"
)

// Patterns of a manifest. Names and paths are compared segment by segment, the
// slash between them: a segment is one of path.Match, and "**" as a whole segment
// stands for any number of segments, none included.

// matchPattern reports whether a name matches a pattern, both as they are
// checked elsewhere. Where below is true, so does all that lies below a match.
// Like a match of "*" within a word, it has to go back to the last "**" only,
// so a hostile pattern costs no more than its length times that of the name.
func matchPattern(pattern, name string, below bool) bool {
	p, n := 0, 0
	if strings.HasPrefix(pattern, "/") {
		if !strings.HasPrefix(name, "/") {
			return false
		}
		p, n = firstSegment(pattern), firstSegment(name)
	}
	backP, backN := -1, 0 // behind the last "**", and how far it has taken the name
	for {
		if p > len(pattern) {
			if below || n > len(name) {
				return true
			}
		} else {
			want, next := segmentAt(pattern, p)
			if want == "**" {
				p, backP, backN = next, next, n
				continue
			}
			if n <= len(name) {
				if have, after := segmentAt(name, n); matchSegment(want, have) {
					p, n = next, after
					continue
				}
			}
		}
		if backP < 0 || backN > len(name) {
			return false
		}
		_, backN = segmentAt(name, backN)
		p, n = backP, backN
	}
}

// reaches reports whether a pattern may match folder, an absolute path, or
// something below it.
func reaches(pattern, folder string) bool {
	p, n := firstSegment(pattern), firstSegment(folder)
	for n <= len(folder) {
		if p > len(pattern) {
			return false
		}
		want, next := segmentAt(pattern, p)
		if want == "**" {
			return true
		}
		have, after := segmentAt(folder, n)
		if !matchSegment(want, have) {
			return false
		}
		p, n = next, after
	}
	return true
}

// firstSegment is where the first segment of an absolute path begins; "/" has
// none, and this is then behind its end, as for every path that is used up.
func firstSegment(p string) int {
	if p == "/" {
		return 2
	}
	return 1
}

// segmentAt returns the segment that begins at i, and where the next begins.
func segmentAt(p string, i int) (segment string, next int) {
	if end := strings.IndexByte(p[i:], '/'); end >= 0 {
		return p[i : i+end], i + end + 1
	}
	return p[i:], len(p) + 1
}

func matchSegment(pattern, s string) bool {
	switch meta := strings.IndexAny(pattern, `*?[\`); {
	case meta < 0:
		return pattern == s
	case meta == len(pattern)-1 && pattern[meta] == '*':
		return strings.HasPrefix(s, pattern[:meta])
	}
	return matches(pattern, s)
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// patternError says what is wrong with a pattern's segments; "" for nothing.
func patternError(pattern string) string {
	for segment := range strings.SplitSeq(pattern, "/") {
		if _, err := path.Match(segment, ""); err != nil {
			return "is not a pattern; mind its brackets and backslashes"
		}
		if segment != "**" && strings.Contains(segment, "**") {
			return "has ** within a segment; let it be a segment of its own"
		}
	}
	return ""
}
