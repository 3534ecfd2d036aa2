// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// entry is one line of a CSV file that names something.
type entry struct {
	line int    // counted from 1
	kind string // dev, dir, lib or sym
	path string // as written; not empty
}

// parse reads a CSV file. An entry is a kind, a comma and a path on one line,
// with spaces around them or not; the path goes on to the line's end, so it may
// hold commas. There is no quoting. Every other line is skipped: that is how
// comments and blank lines are written.
func parse(text string) []entry {
	var entries []entry
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		kind, path, ok := strings.Cut(line, ",")
		if !ok {
			continue
		}
		kind, path = strings.TrimSpace(kind), strings.TrimSpace(path)
		switch kind {
		case "dev", "dir", "lib", "sym":
			if path != "" {
				entries = append(entries, entry{line: n, kind: kind, path: path})
			}
		}
	}
	return entries
}
