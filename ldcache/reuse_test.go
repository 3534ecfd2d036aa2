// SPDX-License-Identifier: Apache-2.0

package ldcache_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/ldcache"
)

// cacheOf returns the cache of a tree as a hook would have written it some time
// after the tree was last changed.
func cacheOf(t *testing.T, dir string, options ldcache.Options) []byte {
	t.Helper()
	s, c := lookAt(t, dir, options)
	data, err := s.Encode(c, later)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// current surveys a tree again, and reports whether the cache still holds.
func current(t *testing.T, dir string, options ldcache.Options, present []byte, at time.Time) bool {
	t.Helper()
	s, _ := lookAt(t, dir, options)
	return s.Current(present, at)
}

// Whatever changes in a tree, its cache is not taken for current. Where nothing
// does, it is.
func TestCacheIsCurrentUntilAnythingChanges(t *testing.T) {
	lib, other := string(makeELF("libx.so.1", 0)), string(makeELF("liby.so.1", 0))
	if len(lib) != len(other) {
		t.Fatal("the two libraries must have one size")
	}
	stamp := time.Now().Add(-24 * time.Hour)
	options := ldcache.Options{Folders: []string{"/v"}}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change  func(dir string)
		options *ldcache.Options
		want    bool
	}{
		"nothing": {change: func(string) {}, want: true},
		"a file elsewhere": {change: func(dir string) {
			do(os.WriteFile(filepath.Join(dir, "usr/readme"), nil, 0o644))
		}, want: true},
		"replaced in place, mtime forged": {change: func(dir string) {
			path := filepath.Join(dir, "v/libx.so.1.2")
			before, err := os.Stat(path)
			do(err)
			do(os.WriteFile(path, []byte(other), 0o644))
			do(os.Chtimes(path, before.ModTime(), before.ModTime()))
			after, err := os.Stat(path)
			do(err)
			if !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
				t.Fatal("the change can be seen otherwise")
			}
		}},
		"replaced by rename, mtime of file and folder forged": {change: func(dir string) {
			path := filepath.Join(dir, "v/libx.so.1.2")
			folder, err := os.Stat(filepath.Dir(path))
			do(err)
			do(os.WriteFile(path+"~", []byte(other), 0o644))
			do(os.Chtimes(path+"~", stamp, stamp))
			do(os.Rename(path+"~", path))
			do(os.Chtimes(filepath.Dir(path), folder.ModTime(), folder.ModTime()))
		}},
		"link turned": {change: func(dir string) {
			path := filepath.Join(dir, "v/libx.so.1")
			do(os.Remove(path))
			do(os.Symlink("libx.so.1.1", path))
		}},
		"target of a link outside the folder": {change: func(dir string) {
			do(os.WriteFile(filepath.Join(dir, "w/impl"), []byte(other), 0o644))
		}},
		"library added":   {change: func(dir string) { do(os.WriteFile(filepath.Join(dir, "v/libnew.so.1"), []byte(lib), 0o644)) }},
		"library removed": {change: func(dir string) { do(os.Remove(filepath.Join(dir, "v/libx.so.1.1"))) }},
		"folder removed":  {change: func(dir string) { do(os.RemoveAll(filepath.Join(dir, "v"))) }},
		"folder renamed": {change: func(dir string) {
			do(os.Rename(filepath.Join(dir, "usr/lib"), filepath.Join(dir, "usr/lib64")))
		}},
		"system folder added": {change: func(dir string) { do(os.MkdirAll(filepath.Join(dir, "usr/lib/x86_64-linux-gnu"), 0o755)) }},
		"hwcaps added":        {change: func(dir string) { do(os.MkdirAll(filepath.Join(dir, "v/glibc-hwcaps/x86-64-v3"), 0o755)) }},
		"conf edited in place": {change: func(dir string) {
			do(os.WriteFile(filepath.Join(dir, "etc/ld.so.conf"), []byte("/usr/lib\n"), 0o644))
		}},
		"conf included": {change: func(dir string) { do(os.WriteFile(filepath.Join(dir, "etc/d/n.conf"), []byte("/w\n"), 0o644)) }},
		"other folders": {change: func(string) {}, options: &ldcache.Options{Folders: []string{"/v", "/w"}}},
		"another alias": {change: func(string) {}, options: &ldcache.Options{Folders: []string{"/v"}, Aliases: []ldcache.Alias{{Key: "libq.so", Path: "/v/libx.so.1"}}}},
	} {
		dir := tree(t, map[string]string{
			"v/libx.so.1.1": lib, "v/libx.so.1.2": lib, "v/libx.so.1 -> libx.so.1.2": "", "v/libz.so.1 -> ../w/impl": "",
			"w/impl": lib, "usr/lib/libu.so.1": lib, "etc/ld.so.conf": "/w\ninclude d/*.conf\n", "etc/d/": "",
		})
		present := cacheOf(t, dir, options)
		settle(t, dir)
		c.change(dir)
		asked := options
		if c.options != nil {
			asked = *c.options
		}
		if got := current(t, dir, asked, present, later); got != c.want {
			t.Errorf("%s: current is %v", name, got)
		}
	}
}

// settle waits until a change would get another ctime than what is there has.
func settle(t *testing.T, dir string) {
	t.Helper()
	probe := filepath.Join(dir, "probe")
	var first, st unix.Stat_t
	for deadline := time.Now().Add(5 * time.Second); ; {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(probe, &st); err != nil {
			t.Fatal(err)
		}
		if first == (unix.Stat_t{}) {
			first = st
		}
		if st.Ctim != first.Ctim {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the clock of the file system stands still")
		}
	}
}

// A ctime that is as young as a tick of the clock could hide a change to come:
// nothing is believed until it has settled.
func TestYoungTreeIsNotCurrent(t *testing.T) {
	dir := tree(t, map[string]string{"v/libx.so.1": string(makeELF("libx.so.1", 0))})
	options := ldcache.Options{Folders: []string{"/v"}}
	s, c := lookAt(t, dir, options)
	young, err := s.Encode(c, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if named, _ := ldcache.Decode(young); named.Generator != "tenon 1" {
		t.Errorf("generator %q", named.Generator)
	}
	if current(t, dir, options, young, later) {
		t.Error("a cache without a hash is current")
	}
	if present := cacheOf(t, dir, options); current(t, dir, options, present, time.Now()) {
		t.Error("current, with a ctime of just now")
	}
}

// What is no whole cache of ours is not current, whatever its generator says.
func TestDamagedCacheIsNotCurrent(t *testing.T) {
	dir := tree(t, map[string]string{"v/libx.so.1": string(makeELF("libx.so.1", 0))})
	options := ldcache.Options{Folders: []string{"/v"}}
	present := cacheOf(t, dir, options)
	if !current(t, dir, options, present, later) {
		t.Fatal("not current at all")
	}
	s, _ := lookAt(t, dir, options)
	for i := range present {
		damaged := append([]byte(nil), present...)
		damaged[i] ^= 0x20
		if s.Current(damaged, later) {
			t.Errorf("current with byte %d of %d changed", i, len(present))
		}
		if s.Current(present[:i], later) {
			t.Errorf("current with %d of %d bytes", i, len(present))
		}
	}
}

// A file system in user space or over a network may keep a ctime that says
// nothing: here proc, whose files have none.
func TestOtherFileSystemsAreNotCurrent(t *testing.T) {
	dir := tree(t, map[string]string{"v/": ""})
	if err := unix.Mount("proc", filepath.Join(dir, "v"), "proc", 0, ""); err != nil {
		need(t, "a mount of proc: "+err.Error())
	}
	defer unix.Unmount(filepath.Join(dir, "v"), unix.MNT_DETACH)
	options := ldcache.Options{Folders: []string{"/v/fs"}}
	if current(t, dir, options, cacheOf(t, dir, options), later) {
		t.Error("current, with a folder on proc")
	}
}
