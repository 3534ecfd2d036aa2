// SPDX-License-Identifier: Apache-2.0

package ldcache_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-runtime/tenon/ldcache"
)

// tree makes a folder of files: "name": content, "name -> target": "" a link,
// "name/": "" a folder.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, link)
		parent := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			parent = path
		}
		if err := os.MkdirAll(parent, 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, path)
		case !strings.HasSuffix(name, "/"):
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lookAt surveys and generates, and fails on anything that is not sound.
func lookAt(t testing.TB, dir string, options ldcache.Options) (*ldcache.Survey, *ldcache.Cache) {
	t.Helper()
	root, err := ldcache.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s, err := ldcache.Look(root, options)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Generate()
	data, err := s.Encode(c, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := ldcache.Check(data); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// ldconfig runs the program on a tree, as root of it, and returns its cache.
func ldconfig(t testing.TB, program, dir string, args ...string) []byte {
	t.Helper()
	if os.Geteuid() != 0 {
		need(t, "root, for ldconfig -r")
	}
	if _, err := os.Stat(program); err != nil {
		need(t, program)
	}
	cmd := exec.Command(program, append([]string{"-r", dir}, args...)...)
	cmd.Env = []string{"LC_ALL=C"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "etc/ld.so.cache"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sameBytes compares two caches byte by byte, the generator taken from want.
func sameBytes(t testing.TB, c *ldcache.Cache, want []byte) {
	t.Helper()
	w, err := ldcache.Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	c.Generator = w.Generator
	got, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	t.Errorf("%d bytes, ldconfig writes %d", len(got), len(want))
	for i := range max(len(c.Entries), len(w.Entries)) {
		var a, b ldcache.Entry
		if i < len(c.Entries) {
			a = c.Entries[i]
		}
		if i < len(w.Entries) {
			b = w.Entries[i]
		}
		if a != b {
			t.Fatalf("entry %d: got %+v, ldconfig has %+v", i, a, b)
		}
	}
}

// later is a time at which what a test has just written is long settled.
var later = time.Now().Add(time.Hour)

// library tree with all that ldconfig tells apart.
func libraryTree() map[string]string {
	return map[string]string{
		"etc/ld.so.conf":             "# a comment\n/opt/late\n include /etc/ld.so.conf.d/*.conf  # more\nhwcap 0 nosegneg\n  /opt/first///  \n/opt/gone\n/opt/typed=libc6\n/opt/again\nrelative/path\n",
		"etc/ld.so.conf.d/b.conf":    "/opt/b\n",
		"etc/ld.so.conf.d/a.conf":    "/opt/a\ninclude c/*.conf\n",
		"etc/ld.so.conf.d/c/x.conf":  "/opt/c\n",
		"etc/ld.so.conf.d/.hid.conf": "/opt/hidden\n",
		"etc/ld.so.conf.d/no":        "/opt/no\n",

		"opt/a/liba.so.1.2.3":                string(makeELF("liba.so.1", 0)),
		"opt/a/liba.so.1.2.10":               string(makeELF("liba.so.1", 0)),
		"opt/a/liba.so.1 -> liba.so.1.2.10":  "",
		"opt/a/liba.so -> liba.so.1":         "",
		"opt/b/liba.so.1":                    string(makeELF("liba.so.1", 0)),
		"opt/b/libplain.so":                  string(makeELF("", 0)),
		"opt/b/libx.so.10":                   string(makeELF("libx.so.10", 0)),
		"opt/b/libx.so.9":                    string(makeELF("libx.so.9", 0)),
		"opt/b/libx.so.x":                    string(makeELF("libx.so.x", 0)),
		"opt/b/libabs.so.1 -> /opt/c/labs":   "",
		"opt/b/libgone.so.1 -> /opt/c/gone":  "",
		"opt/b/libself.so.1 -> libself.so.1": "",
		"opt/c/labs":                         string(makeELF("libabs.so.1", 0)),
		"opt/c/libc.so.6":                    string(makeELF("libc.so.6", 0)),
		"opt/c/libtext.so":                   "/* GNU ld script */ GROUP ( libc.so.6 )",
		"opt/c/libempty.so":                  "",
		"opt/c/libcut.so.1":                  string(makeELF("libcut.so.1", 0)[:100]),
		"opt/c/libdir.so.1/":                 "",
		"opt/c/notalib.txt":                  string(makeELF("libno.so.1", 0)),
		"opt/c/ld.so.1":                      string(makeELF("", 0)),
		"opt/c/libpre.so.1.#prelink#":        string(makeELF("libpre.so.1", 0)),
		"opt/hidden/libhid.so.1":             string(makeELF("libhid.so.1", 0)),
		"opt/first/libf.so.1":                string(makeELF("libf.so.1", 0)),
		"opt/late/libf.so.1":                 string(makeELF("libf.so.1", 0)),
		"opt/again -> first":                 "",
		"opt/typed/libtyped.so.1":            string(makeELF("libtyped.so.1", 0)),
		"usr/lib/libu.so.1":                  string(makeELF("libu.so.1", 0)),
		"lib -> usr/lib":                     "",

		"opt/a/glibc-hwcaps/x86-64-v3/liba.so.1.2.3":              string(makeELF("liba.so.1", 2)),
		"opt/a/glibc-hwcaps/x86-64-v3/liba.so.1 -> liba.so.1.2.3": "",
		"opt/a/glibc-hwcaps/x86-64-v2/liba.so.1":                  string(makeELF("liba.so.1", 1)),
		"opt/b/glibc-hwcaps/x86-64-v2/liba.so.1":                  string(makeELF("liba.so.1", 0)),
		"opt/b/glibc-hwcaps/unused/readme":                        "",
		"opt/b/glibc-hwcaps/.hidden/liba.so.1":                    string(makeELF("liba.so.1", 0)),
		"opt/b/glibc-hwcaps/file":                                 "",
	}
}

func TestBytesAreThoseOfLdconfig(t *testing.T) {
	dir := tree(t, libraryTree())
	want := ldconfig(t, "/sbin/ldconfig", dir, "-X")
	_, c := lookAt(t, dir, ldcache.Options{})
	sameBytes(t, c, want)
	want = ldconfig(t, "/sbin/ldconfig", dir, "-X", "/opt/first", "/opt/none")
	_, c = lookAt(t, dir, ldcache.Options{Folders: []string{"/opt/first", "/opt/none"}})
	sameBytes(t, c, want)
}

// Where ldconfig -X names a path that leads nowhere, or to another library
// than the one it took, the path here is that of the library.
func TestValueLeadsToTheLibraryWithoutALink(t *testing.T) {
	lib := string(makeELF("liba.so.1", 0))
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no link":                 {map[string]string{"v/liba.so.1.2": lib}, "/v/liba.so.1.2"},
		"link to an older one":    {map[string]string{"v/liba.so.1.2": lib, "v/liba.so.1.1": lib, "v/liba.so.1 -> liba.so.1.1": ""}, "/v/liba.so.1.2"},
		"dangling link":           {map[string]string{"v/liba.so.1.2": lib, "v/liba.so.1 -> liba.so.1.0": ""}, "/v/liba.so.1.2"},
		"empty file in its place": {map[string]string{"v/liba.so.1.2": lib, "v/liba.so.1": ""}, "/v/liba.so.1.2"},
		"link to it":              {map[string]string{"v/liba.so.1.2": lib, "v/liba.so.1 -> liba.so.1.2": ""}, "/v/liba.so.1"},
		"another file":            {map[string]string{"v/liba.so.1.2": lib, "v/liba.so.1": lib}, "/v/liba.so.1"},
		"other name":              {map[string]string{"v/libz.so -> ../w/x": "", "w/x": lib}, "/v/libz.so"},
	} {
		_, cache := lookAt(t, tree(t, c.files), ldcache.Options{Folders: []string{"/v"}})
		if got := cache.Lookup("liba.so.1"); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
