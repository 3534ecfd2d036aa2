// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Generate reads the libraries of a survey, and returns the cache that
// ldconfig would make of them, its Generator empty. Where ldconfig would first
// have to make the link by which its path leads to the library, the path here
// is that of the library itself: nothing is written to the root.
func (s *Survey) Generate() *Cache {
	g := generator{Survey: s, read: map[inode]*library{}}
	for _, a := range s.options.Aliases {
		lib := g.library(-1, a.Path, item{name: a.Path, link: true})
		if lib == nil || !ValidKey(a.Key) || !validValue(a.Path) {
			s.notes.add("%q: not a library that %q could stand for", a.Path, a.Key)
			continue
		}
		g.entries = append(g.entries, Entry{Key: a.Key, Value: a.Path, Flags: lib.flags})
	}
	for _, f := range s.folders {
		g.folder(f)
	}
	return &Cache{Entries: g.sorted(), unused: s.hwcaps}
}

type generator struct {
	*Survey
	elf     elfReader
	read    map[inode]*library // nil: not a library
	entries []Entry
}

// winner is the best file so far for one soname of a folder.
type winner struct {
	item
	soname string
	lib    *library
}

// folder adds the libraries of f: for each soname the file that search_dir of
// glibc's elf/ldconfig.c takes, which is a file before a link, and then the
// one with the higher version in its name.
func (g *generator) folder(f *folder) {
	if len(f.items) == 0 {
		return
	}
	fd, err := g.root.Open(f.path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	byName := make(map[string]*winner, len(f.items))   // what each file is
	bySoname := make(map[string]*winner, len(f.items)) // and which one is taken
	winners := make([]*winner, 0, len(f.items))
	for _, link := range [...]bool{false, true} { // most links lead to a file that is read by then
		for _, it := range f.items {
			if it.link == link {
				if lib := g.library(fd, f.path+"/"+it.name, it); lib != nil {
					byName[it.name] = &winner{item: it, lib: lib}
				}
			}
		}
	}
	for _, it := range f.items {
		w := byName[it.name]
		if w == nil {
			continue
		}
		if w.soname = w.lib.soname; w.soname == "" {
			w.soname = it.name
		}
		// A link that is neither the soname nor what ld(1) opens at build time
		// is as good as a file; another one stands for its own name.
		if w.link {
			if it.name == w.soname || strings.HasSuffix(it.name, ".so") && strings.HasPrefix(w.soname, it.name) {
				w.soname = it.name
			} else {
				w.link = false
			}
		}
		if !ValidKey(w.soname) || !validValue(f.path+"/"+it.name) {
			g.notes.add("%q: a name that not every loader finds", f.path+"/"+it.name)
			continue
		}
		best := bySoname[w.soname]
		if best == nil {
			bySoname[w.soname] = w
			winners = append(winners, w)
		} else if !w.link && best.link || w.link == best.link && CompareKeys(best.name, w.name) < 0 {
			bySoname[w.soname] = w
			winners[slices.Index(winners, best)] = w
		}
	}
	for _, w := range winners {
		e := Entry{Key: w.soname, Value: f.path + "/" + w.name, Flags: w.lib.flags, HWCaps: f.hwcaps}
		if f.hwcaps != "" {
			e.ISALevel = w.lib.isaLevel
		} else if leads := byName[w.soname]; leads != nil && (leads.file == w.file || !linkOf(f, w.soname)) {
			e.Value = f.path + "/" + w.soname
		}
		g.entries = append(g.entries, e)
	}
}

// linkOf reports whether name is a link in f: one that ldconfig would turn to
// the library that it takes. A file of that name it would leave as it is.
func linkOf(f *folder, name string) bool {
	i, there := slices.BinarySearchFunc(f.items, name, func(it item, name string) int { return strings.Compare(it.name, name) })
	return there && f.items[i].link
}

// library reads one file, once; nil is "not a library". fd is its folder's.
func (g *generator) library(fd int, path string, it item) *library {
	if lib, there := g.read[it.file]; there && it.file != (inode{}) {
		return lib
	}
	var file int
	var err error
	if it.link {
		file, err = g.root.Open(path, unix.O_RDONLY)
	} else {
		file, err = unix.Openat(fd, it.name, unix.O_RDONLY|unix.O_NOFOLLOW|untrusted, 0)
	}
	if err != nil {
		return nil
	}
	defer unix.Close(file)
	var st unix.Stat_t
	if unix.Fstat(file, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	var result *library
	if lib, err := g.elf.readLibrary(fileAt(file), st.Size, g.families); err == nil {
		result = &lib
	}
	g.read[inode{st.Dev, st.Ino}] = result
	return result
}

// fileAt reads a descriptor.
type fileAt int

// ReadAt is pread(2), until the buffer is full or the file ends.
func (fd fileAt) ReadAt(p []byte, offset int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pread(int(fd), p[n:], offset+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

// sorted returns the entries in the order of a cache, none twice.
func (g *generator) sorted() []Entry {
	order := make([]int, len(g.entries))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if c := Compare(&g.entries[a], &g.entries[b]); c != 0 {
			return c
		}
		return a - b // insertion: folders that come first are found first
	})
	type same struct {
		value, hwcaps string
		flags         uint32
	}
	sorted := make([]Entry, 0, len(order))
	first := 0 // of the entries with the key of the last one
	for _, i := range order {
		e := g.entries[i]
		if len(sorted) > 0 && sorted[first].Key != e.Key {
			first = len(sorted)
		}
		id := same{e.Value, e.HWCaps, e.Flags}
		if !slices.ContainsFunc(sorted[first:], func(o Entry) bool { return same{o.Value, o.HWCaps, o.Flags} == id }) {
			sorted = append(sorted, e)
		}
	}
	return sorted
}
