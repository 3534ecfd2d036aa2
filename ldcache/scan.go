// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options say what a cache shall hold beyond what the root's own ld.so.conf
// and system folders hold.
type Options struct {
	// Folders are searched first, in this order: absolute paths. One that does
	// not exist holds nothing.
	Folders []string

	// Aliases stand before everything else that has their key.
	Aliases []Alias
}

// Alias is an entry that needs no file of its name: with Key "libx.so",
// dlopen("libx.so") opens Path, which must be a library.
type Alias struct{ Key, Path string }

// Survey is what a root holds, seen but not yet read: every folder that a
// cache is made of, and what the kernel says of every file in it.
type Survey struct {
	root     *Root
	options  Options
	families families
	folders  []*folder
	hwcaps   []string // names of glibc-hwcaps folders
	seen     map[inode]bool
	count    int // names that may be of libraries
	bytes    int // of these names
	print    fingerprint
	notes    notes
}

type inode struct{ dev, ino uint64 }

type folder struct {
	path   string
	hwcaps string // "" for a plain folder
	items  []item
}

// item is a file that may be a library.
type item struct {
	name string
	link bool
	file inode // what it leads to
}

// Look surveys root. It opens folders and links, and no library. An error is
// one of the machine, not of the image: an image can only be odd, and Notes
// says where it is.
func Look(root *Root, options Options) (*Survey, error) {
	s := &Survey{root: root, options: options, seen: map[inode]bool{}, print: newFingerprint()}
	var loaders []string
	s.families, loaders = root.loaders()
	if s.families == nil {
		s.families = native()
	}
	s.print.text(loaders...)
	s.print.text(options.Folders...)
	for _, a := range options.Aliases {
		s.print.text(a.Key, a.Path)
		s.stat(a.Path, 0)
	}
	var st unix.Stat_t
	if err := unix.Fstat(root.fd, &st); err != nil {
		return nil, fmt.Errorf("root of the container: %w", err)
	}
	for _, path := range options.Folders {
		s.addFolder(strings.TrimRight(path, "/"))
	}
	conf := confReader{root: root, note: s.notes.add, read: map[string]bool{}, print: &s.print}
	conf.readFile(confPath, 0)
	for _, path := range conf.folders {
		s.addFolder(path)
	}
	for _, path := range s.systemFolders() {
		s.addFolder(path)
	}
	for _, f := range s.folders {
		s.list(f)
	}
	return s, nil
}

// Notes returns what was left out, and why: limits met, files that could not
// be read. It is nil for an honest image.
func (s *Survey) Notes() []error { return s.notes.errors }

// HasLoader reports whether root holds a glibc loader. Without one nothing
// reads a cache.
func (r *Root) HasLoader() bool {
	for _, f := range known {
		for _, path := range f.loaders {
			if r.isFile(path) {
				return true
			}
		}
	}
	return false
}

// loaders returns the glibc loaders in the root, and the families that they
// are of.
func (r *Root) loaders() (found families, paths []string) {
	for _, f := range known {
		n := len(paths)
		for _, path := range f.loaders {
			if r.isFile(path) {
				paths = append(paths, path)
			}
		}
		if len(paths) > n {
			found = append(found, f)
		}
	}
	return found, paths
}

// Musl returns the ARCH of each /lib/ld-musl-ARCH.so.1 in the root.
func (r *Root) Musl() (archs []string) {
	for _, f := range known {
		for _, arch := range f.musl {
			if r.isFile("/lib/ld-musl-" + arch + ".so.1") {
				archs = append(archs, arch)
			}
		}
	}
	return archs
}

func (r *Root) isFile(path string) bool {
	fd, err := r.Open(path, unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// systemFolders returns the folders that ldconfig searches without being told:
// Debian's where the root has its multiarch folders, else glibc's own, with
// the order of add_system_dir in sysdeps/unix/sysv/linux/*/dl-cache.h.
func (s *Survey) systemFolders() []string {
	for _, f := range s.families {
		for _, triplet := range f.triplets {
			slib, lib := "/lib/"+triplet, "/usr/lib/"+triplet
			if s.isFolder(slib) || s.isFolder(lib) {
				return []string{slib, lib, "/lib", "/usr/lib"}
			}
		}
	}
	var paths []string
	for _, base := range []string{"/lib", "/usr/lib"} {
		paths = append(paths, base)
		for _, f := range s.families {
			if f.wide {
				paths = append(paths, base+"64")
			}
			if f.x32 {
				paths = append(paths, base+"x32")
			}
		}
	}
	return paths
}

func (s *Survey) isFolder(path string) bool {
	fd, err := s.root.Open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// stat returns what path is, and adds it to the fingerprint.
func (s *Survey) stat(path string, flags int) (st unix.Stat_t, ok bool) {
	fd, err := s.root.Open(path, unix.O_PATH|flags)
	if err != nil {
		s.print.absent(path)
		return st, false
	}
	defer unix.Close(fd)
	if unix.Fstat(fd, &st) != nil {
		s.print.absent(path)
		return st, false
	}
	s.print.add(path, fd, &st)
	return st, true
}

// addFolder adds the folder at path, unless it is there already under another
// name, and the folders in its glibc-hwcaps.
func (s *Survey) addFolder(path string) {
	if !validValue(path) || len(s.folders) >= maxFolders {
		s.notes.add("%q: not a folder for a cache, or one of more than %d", path, maxFolders)
		return
	}
	if !s.addOne(&folder{path: path}) {
		return
	}
	base := path + "/glibc-hwcaps"
	fd, err := s.root.Open(base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		s.print.absent(base)
		return
	}
	names, whole := readNames(fd)
	unix.Close(fd)
	if !whole {
		s.notes.add("%s: the limit of %d names is met", base, maxNames)
	}
	for _, n := range names {
		if n.text[0] == '.' || n.kind == unix.DT_REG || strings.Contains(n.text, ":") || !ValidKey(n.text) {
			continue
		}
		if len(s.folders) >= maxFolders || !s.isFolder(base+"/"+n.text) {
			continue
		}
		if !slices.Contains(s.hwcaps, n.text) {
			s.hwcaps = append(s.hwcaps, n.text)
		}
		s.addOne(&folder{path: base + "/" + n.text, hwcaps: n.text})
	}
}

func (s *Survey) addOne(f *folder) bool {
	st, ok := s.stat(f.path, unix.O_DIRECTORY)
	if !ok {
		return false
	}
	id := inode{st.Dev, st.Ino}
	if s.seen[id] {
		return false
	}
	s.seen[id] = true
	s.folders = append(s.folders, f)
	return true
}

// list fills in the files of f that may be libraries.
func (s *Survey) list(f *folder) {
	s.print.text(f.path)
	fd, err := s.root.Open(f.path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	names, whole := readNames(fd)
	if !whole {
		s.notes.add("%s: the limit of %d names is met", f.path, maxNames)
	}
	files := make(map[string]inode, len(names)) // regular ones of this folder
	links := map[string]string{}
	for _, n := range names {
		if !isLibraryName(n.text) {
			continue
		}
		s.count++
		s.bytes += len(f.path) + len(n.text)
		if s.count > maxLibraries || s.bytes > maxNamesBytes {
			s.notes.add("%s: the limit of %d libraries, %d bytes of names, is met", f.path, maxLibraries, maxNamesBytes)
			break
		}
		switch n.kind {
		case unix.DT_REG, unix.DT_UNKNOWN:
			var st unix.Stat_t
			if unix.Fstatat(fd, n.text, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			s.file(fd, n.text, &st)
			switch st.Mode & unix.S_IFMT {
			case unix.S_IFREG:
				files[n.text] = inode{st.Dev, st.Ino}
			case unix.S_IFLNK:
				links[n.text] = ""
			}
		case unix.DT_LNK:
			target, err := linkText(fd, n.text)
			if err == nil {
				s.print.text(n.text, target)
				links[n.text] = target
			}
		}
	}
	for _, n := range names {
		file, there := files[n.text]
		_, link := links[n.text]
		if link {
			file, there = s.follow(f, n.text, files, links)
		}
		if !there {
			continue
		}
		f.items = append(f.items, item{n.text, link, file})
	}
}

// follow returns what a link of f leads to. Most lead to a file beside them,
// which has been seen; any other one the kernel follows.
func (s *Survey) follow(f *folder, name string, files map[string]inode, links map[string]string) (inode, bool) {
	next := name
	for range maxLinks {
		target := links[next]
		if file, there := files[target]; there {
			return file, true
		}
		if _, there := links[target]; !there {
			break
		}
		next = target
	}
	st, ok := s.stat(f.path+"/"+name, 0)
	return inode{st.Dev, st.Ino}, ok && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// file adds a file of the folder of fd to the fingerprint. One that is mounted
// there is on a file system of its own.
func (s *Survey) file(fd int, name string, st *unix.Stat_t) {
	if !s.print.checked[st.Dev] {
		if own, err := unix.Openat(fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			defer unix.Close(own)
			fd = own
		}
	}
	s.print.add(name, fd, st)
}

// isLibraryName reports whether ldconfig looks into a file of this name: those
// that _dl_is_dso of glibc's elf/dl-is_dso.h takes, without what is left over
// from prelink and dpkg (skip_dso_based_on_name of elf/ldconfig.c).
func isLibraryName(name string) bool {
	switch {
	case strings.HasPrefix(name, "lib") || strings.HasPrefix(name, "ld-"):
		if !strings.Contains(name, ".so") {
			return false
		}
	case !strings.HasPrefix(name, "ld.so.") && !strings.HasPrefix(name, "ld64.so."):
		return false
	}
	const prelink = ".#prelink#"
	if strings.HasSuffix(name, prelink) {
		return false
	}
	if n := len(name) - len(prelink+".XXXXXX"); n >= 0 && strings.HasPrefix(name[n:], prelink+".") {
		return false
	}
	return !strings.Contains(name, ";") && !strings.HasSuffix(name, ".dpkg-new") && !strings.HasSuffix(name, ".dpkg-tmp")
}
