// SPDX-License-Identifier: Apache-2.0

package ldcache_test

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/ldcache"
)

func FuzzLdCacheDecode(f *testing.F) {
	if data, err := os.ReadFile("/etc/ld.so.cache"); err == nil {
		f.Add(data)
	}
	f.Add(oldCache("libb.so.5", "/lib/libb.so.5", "liba.so.5", "/lib/liba.so.5"))
	small := &ldcache.Cache{Generator: "x", Entries: []ldcache.Entry{
		{Key: "libx.so.1", Value: "/lib/glibc-hwcaps/x86-64-v3/libx.so.1", Flags: 0x303, HWCaps: "x86-64-v3", ISALevel: 2},
		{Key: "libx.so.1", Value: "/lib/libx.so.1", Flags: 0x303, OSVersion: 0x30200, Legacy: 1 << 63}}}
	data, err := small.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(append(oldCache("a", "/a", "b", "/b"), data...))
	f.Add([]byte("glibc-ld.so.cache1.1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		measured := len(data)%8 == 0 // it stops the world
		var before, after runtime.MemStats
		if measured {
			runtime.ReadMemStats(&before)
		}
		c, err := ldcache.Decode(data)
		if measured {
			runtime.ReadMemStats(&after)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(8*len(data))+64<<10 {
			t.Errorf("%d bytes of memory for %d of a cache", used, len(data))
		}
		if err != nil {
			if c != nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, with %v", err, c)
			}
			return
		}
		again, err := c.Encode()
		if err != nil {
			return // strings that overlap in the file may need more room than a cache has
		}
		back, err := ldcache.Decode(again)
		if err != nil || !slices.Equal(back.Entries, c.Entries) || back.Generator != c.Generator {
			t.Errorf("decoded, encoded, decoded: %v", err)
		}
		c.Lookup("libx.so*")
		_ = ldcache.Check(data)
	})
}

// find is the loader's search of a cache (search_cache of glibc's
// elf/dl-cache.c): by halves, then back to the first of equal keys, then on
// until the flags are right.
func find(entries []ldcache.Entry, name string, flags uint32, hwcaps []string) string {
	left, right := 0, len(entries)-1
	for left <= right {
		middle := (left + right) / 2
		order := ldcache.CompareKeys(name, entries[middle].Key)
		if order == 0 {
			for middle > 0 && ldcache.CompareKeys(name, entries[middle-1].Key) == 0 {
				middle--
			}
			best, rank := "", len(hwcaps)
			for ; middle < len(entries) && ldcache.CompareKeys(name, entries[middle].Key) == 0; middle++ {
				e := entries[middle]
				if e.Flags != flags {
					continue
				}
				if e.HWCaps == "" {
					if best == "" {
						best = e.Value
					}
					break
				}
				if i := slices.Index(hwcaps, e.HWCaps); i >= 0 && i < rank {
					best, rank = e.Value, i
				}
			}
			return best
		}
		if order < 0 {
			left = middle + 1
		} else {
			right = middle - 1
		}
	}
	return ""
}

// The input is lines of: key, folder, flags as a byte, name of a hwcaps folder.
func FuzzLdCacheEncode(f *testing.F) {
	f.Add("libx.so.1 /lib 3\nlibx.so.10 /lib 3\nlibx.so.9 /usr/lib 3\nlibx.so.1 /a 3 x86-64-v3\nlibx.so.1 /b 4 x86-64-v2")
	f.Add("a /a 1\n0 /0 1\n00 /00 1\n09 /9 1\n9 /9 1\n~ /t 1\na0b /1 1\na00b /2 1")
	f.Add("tail.so /x 3\nil.so /x 3\nl.so /tail.so 3\nx.so /x.so 3 il.so")
	f.Fuzz(func(t *testing.T, text string) {
		c := &ldcache.Cache{Generator: "fuzz"}
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) < 3 || len(c.Entries) == 100 || !ldcache.ValidKey(fields[0]) || !path.IsAbs(fields[1]) || strings.ContainsAny(fields[1], "\x00\x7f") || len(line) > 2000 || !printable(fields[1]) {
				continue
			}
			e := ldcache.Entry{Key: fields[0], Value: strings.TrimRight(fields[1], "/") + "/" + fields[0], Flags: uint32(fields[2][0])}
			if len(fields) > 3 && ldcache.ValidKey(fields[3]) {
				e.HWCaps, e.ISALevel = fields[3], uint16(len(fields[3])%32)
			}
			if !slices.Contains(c.Entries, e) {
				c.Entries = append(c.Entries, e)
			}
		}
		for i, a := range c.Entries {
			for j, b := range c.Entries {
				ab, ba := ldcache.CompareKeys(a.Key, b.Key), ldcache.CompareKeys(b.Key, a.Key)
				if sign(ab) != -sign(ba) || i == j && ab != 0 {
					t.Fatalf("%q, %q: %d one way, %d the other", a.Key, b.Key, ab, ba)
				}
				for _, d := range c.Entries {
					if ab <= 0 && ldcache.CompareKeys(b.Key, d.Key) <= 0 && ldcache.CompareKeys(a.Key, d.Key) > 0 {
						t.Fatalf("%q, %q, %q are in no order", a.Key, b.Key, d.Key)
					}
				}
			}
		}
		slices.SortStableFunc(c.Entries, func(a, b ldcache.Entry) int { return ldcache.Compare(&a, &b) })
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := ldcache.Check(data); err != nil && !strings.Contains(err.Error(), "stands twice") {
			t.Fatal(err)
		}
		back, err := ldcache.Decode(data)
		if err != nil || !slices.Equal(back.Entries, c.Entries) {
			t.Fatalf("%v: %v, encoded %v", err, back, c)
		}
		for _, e := range c.Entries {
			hwcaps := []string{e.HWCaps}
			if e.HWCaps == "" {
				hwcaps = nil
			}
			// The loader takes the first of equal keys and flags: what it finds
			// must be such a one.
			got := find(back.Entries, e.Key, e.Flags, hwcaps)
			if !slices.ContainsFunc(c.Entries, func(o ldcache.Entry) bool {
				return o.Value == got && o.Flags == e.Flags && ldcache.CompareKeys(o.Key, e.Key) == 0
			}) {
				t.Errorf("%q: found %q", e.Key, got)
			}
		}
	})
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// plant makes a tree of lines: "name" a file, "name/" a folder, "name > target"
// a link. What cannot be made is not.
func plant(t *testing.T, text string, content func(name string) string) string {
	dir := t.TempDir()
	for i, line := range strings.Split(text, "\n") {
		name, target, link := strings.Cut(line, " > ")
		if i > 30 || strings.ContainsAny(line, "\x00") || len(line) > 300 || strings.Contains(name, "..") {
			continue
		}
		clean := filepath.Clean("/" + name)
		if clean == "/" {
			continue
		}
		at := filepath.Join(dir, "root", clean)
		// Not through links: the tree is made before there are any on the way.
		if real, err := filepath.EvalSymlinks(filepath.Dir(at)); err == nil && real != filepath.Dir(at) {
			continue
		}
		if os.MkdirAll(filepath.Dir(at), 0o755) != nil {
			continue
		}
		switch {
		case link:
			_ = os.Symlink(target, at)
		case strings.HasSuffix(name, "/"):
			_ = os.Mkdir(at, 0o755)
		default:
			_ = os.WriteFile(at, []byte(content(name)), 0o644)
		}
	}
	_ = os.MkdirAll(filepath.Join(dir, "root"), 0o755)
	return filepath.Join(dir, "root")
}

// Our own walk opens what the kernel's openat2 opens, and fails where it fails.
func FuzzRootFD(f *testing.F) {
	f.Add("a/b/c\nl > /a/b\nm > ../../../a\nn > l/c", "l/c")
	f.Add("a/b/c\nl > /a/b\nm > ../../../a\nn > l/c", "/m/b/../b/./c")
	f.Add("x > x\ny > z\nz > y", "x/y")
	f.Add("d/\nf\nto > d/\ntof > f/\n", "to/../tof")
	f.Add("d/e/f\nup > ../..\nabs > /", "abs/up/d/e/../../d/")
	f.Add("d/e/f\nl > d/e/", "l/")
	f.Add("d/e/f\nl > d/e/", "l/f/")
	f.Add("a\nb > c", "b")
	f.Fuzz(func(t *testing.T, files, name string) {
		if len(name) > 1000 {
			return
		}
		dir := plant(t, files, func(string) string { return "" })
		for _, flags := range []int{unix.O_PATH, unix.O_RDONLY, unix.O_PATH | unix.O_NOFOLLOW, unix.O_RDONLY | unix.O_NOFOLLOW, unix.O_PATH | unix.O_DIRECTORY, unix.O_RDONLY | unix.O_DIRECTORY, unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW} {
			kernel, kernelErr := openStat(t, dir, name, flags, false)
			walk, walkErr := openStat(t, dir, name, flags, true)
			if kernel != walk || (kernelErr == nil) != (walkErr == nil) {
				t.Errorf("%q, flags %#x: the kernel has inode %d, %v; the walk %d, %v", name, flags, kernel, kernelErr, walk, walkErr)
			}
			if kernelErr != walkErr {
				t.Errorf("%q, flags %#x: %v, and %v", name, flags, kernelErr, walkErr)
			}
		}
	})
}

func openStat(t *testing.T, dir, name string, flags int, walk bool) (uint64, error) {
	root, err := ldcache.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if walk {
		root.Walk()
	}
	fd, err := root.Open(name, flags)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino, nil
}

// A survey of any tree ends, and says nothing of what is outside of it.
func FuzzLdSoConf(f *testing.F) {
	f.Add("include /etc/ld.so.conf.d/*.conf\n/opt/lib", "/usr/lib # x\n", "etc/ld.so.conf.d/a.conf\nopt/lib/libx.so.1")
	f.Add("include /etc/ld.so.conf\ninclude *\n", "include ../*/*", "etc/ld.so.conf.d/b.conf\netc/x > /etc\netc/y > ../../..")
	f.Add("/../../../..\n/opt/lib/../../..\n=libc6\nhwcap 1 x\ninclude [a-\n", "\x00/x\n", "opt/lib > ../../../../outside\nopt/libx.so > /../outside/libsecret.so.1")
	f.Fuzz(func(t *testing.T, conf, included, files string) {
		lib := string(makeELF("libx.so.1", 0))
		dir := plant(t, files, func(name string) string {
			if strings.HasSuffix(name, ".conf") {
				return included
			}
			return lib
		})
		if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err == nil {
			_ = os.WriteFile(filepath.Join(dir, "etc/ld.so.conf"), []byte(conf), 0o644)
		}
		outside := filepath.Join(filepath.Dir(dir), "outside")
		if err := os.MkdirAll(outside, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(outside, "libsecret.so.1"), makeELF("libsecret.so.1", 0), 0o644); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(files, "libsecret") && !strings.Contains(files, "outside/libsecret") {
			return // a tree may hold such a name itself
		}
		_, c := lookAt(t, dir, ldcache.Options{})
		for _, e := range c.Entries {
			if e.Key == "libsecret.so.1" && !bytes.Contains([]byte(files), []byte("\noutside/")) && !strings.HasPrefix(files, "outside/") {
				t.Errorf("from outside of the root: %+v", e)
			}
		}
		if len(c.Entries) > 1000 {
			t.Errorf("%d entries", len(c.Entries))
		}
	})
}
