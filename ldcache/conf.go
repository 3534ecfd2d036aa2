// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits on what is read of a root. Each is far above any real image; where
// one is met, the rest is left out and a note says so.
const (
	maxConfFiles  = 512
	maxConfDepth  = 16
	maxConfWords  = 4096 // patterns of include lines, in all files together
	maxConfBytes  = 1 << 20
	maxLineBytes  = 64 << 10
	maxFolders    = 4096
	maxNames      = 65536 // in one folder
	maxLibraries  = 40000 // names, of files and links
	maxNamesBytes = 8 << 20
)

const confPath = "/etc/ld.so.conf"

// confReader collects the folders that ld.so.conf names, in its order.
type confReader struct {
	root    *Root
	note    func(format string, args ...any)
	read    map[string]bool // files by path
	words   int
	folders []string
	print   *fingerprint
}

// readFile reads one file of the ld.so.conf family, as parse_conf of glibc's
// elf/ldconfig.c does. What cannot be read says nothing.
func (c *confReader) readFile(name string, depth int) {
	if c.read[name] {
		return
	}
	if len(c.read) >= maxConfFiles || depth > maxConfDepth {
		c.note("%s: the limit of %d files, %d deep, is met", name, maxConfFiles, maxConfDepth)
		return
	}
	c.read[name] = true
	data, err := c.readData(name)
	if err != nil {
		c.print.absent(name)
		if err != unix.ENOENT {
			c.note("%s: %w", name, err)
		}
		return
	}
	for line := range strings.Lines(string(data)) {
		if len(line) > maxLineBytes {
			c.note("%s: a line is longer than %d bytes", name, maxLineBytes)
			return
		}
		c.readLine(line, name, depth)
	}
}

func (c *confReader) readData(name string) ([]byte, error) {
	fd, err := c.root.Open(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	data, err := readRegular(fd, maxConfBytes, &st)
	if err == nil {
		c.print.add(name, fd, &st)
	}
	return data, err
}

// space is isspace of the C locale.
const space = " \t\n\v\f\r"

func (c *confReader) readLine(line, name string, depth int) {
	line = strings.TrimSuffix(line, "\n")
	line, _, _ = strings.Cut(line, "\x00")
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimLeft(line, space)
	word, rest := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		word, rest = line[:i], line[i+1:]
	}
	switch {
	case line == "":
	case word == "include" && len(word) < len(line):
		for _, pattern := range strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '\t' }) {
			if c.words++; c.words > maxConfWords {
				c.note("%s: the limit of %d included patterns is met", name, maxConfWords)
				return
			}
			if pattern[0] != '/' {
				pattern = path.Dir(name) + "/" + pattern
			}
			for _, file := range c.glob(pattern) {
				c.readFile(file, depth+1)
			}
		}
	case strings.EqualFold(word, "hwcap") && len(word) < len(line):
		// Of glibc before 2.33; ldconfig passes it by.
	default:
		folder, _, _ := strings.Cut(line, "=") // "=libc6" says a type, which has no effect
		folder = strings.TrimRight(strings.TrimRight(folder, space), "/")
		if !validValue(folder) {
			return
		}
		if len(c.folders) >= maxFolders {
			c.note("%s: the limit of %d folders is met", name, maxFolders)
			return
		}
		c.folders = append(c.folders, folder)
	}
}

// glob returns the paths that match pattern, sorted by their bytes, as glob(3)
// does in the C locale: a leading dot must be written.
func (c *confReader) glob(pattern string) []string {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}
	}
	paths := []string{""}
	for _, part := range splitPath(pattern) {
		var next []string
		for _, base := range paths {
			if !strings.ContainsAny(part, `*?[\`) {
				next = append(next, base+"/"+part)
				continue
			}
			fd, err := c.root.Open(base+"/", unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil {
				continue
			}
			names, whole := readNames(fd)
			unix.Close(fd)
			if !whole {
				c.note("%s: the limit of %d names is met", base+"/", maxNames)
			}
			part := strings.ReplaceAll(part, "[!", "[^")
			for _, n := range names {
				if n.text[0] == '.' && part[0] != '.' {
					continue
				}
				if ok, err := path.Match(part, n.text); ok && err == nil {
					next = append(next, base+"/"+n.text)
				}
			}
			if len(next) > maxNames {
				c.note("%s: the limit of %d names is met", pattern, maxNames)
				return nil
			}
		}
		paths = next
	}
	slices.Sort(paths)
	return paths
}

// notes collects what was left out.
type notes struct {
	errors []error
}

// Most notes are about an image that attacks; a few tell all.
const maxNotes = 32

func (n *notes) add(format string, args ...any) {
	if len(n.errors) < maxNotes {
		n.errors = append(n.errors, fmt.Errorf(format, args...))
	}
}
