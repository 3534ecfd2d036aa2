// SPDX-License-Identifier: Apache-2.0

package ldcache_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/ldcache"
)

// release returns a copy of a root that testscripts/roots.sh made, with the
// library tree laid over it.
func release(t *testing.T, name string) string {
	t.Helper()
	from := filepath.Join("..", "build", "roots", name)
	if _, err := os.Stat(from); err != nil {
		need(t, from+"; run testscripts/roots.sh")
	}
	dir := tree(t, nil)
	if out, err := exec.Command("cp", "-a", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	over := libraryTree()
	for name := range over {
		if !strings.HasPrefix(name, "opt/") && !strings.HasPrefix(name, "etc/ld.so.conf.d/") {
			delete(over, name)
		}
	}
	over["etc/ld.so.conf"] = "include /etc/ld.so.conf.d/*.conf\n"
	if out, err := exec.Command("cp", "-a", tree(t, over)+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// The bytes are those of each release's own ldconfig, on its own tree.
func TestBytesAreThoseOfEachRelease(t *testing.T) {
	for _, name := range []string{"debian12", "debian13", "unstable"} {
		t.Run(name, func(t *testing.T) {
			dir := release(t, name)
			want := ldconfig(t, first(dir+"/sbin/ldconfig", dir+"/usr/sbin/ldconfig"), dir, "-X")
			_, c := lookAt(t, dir, ldcache.Options{})
			if len(c.Entries) < 20 {
				t.Fatalf("only %d entries", len(c.Entries))
			}
			sameBytes(t, c, want)
		})
	}
}

func first(paths ...string) string {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return paths[0]
}

// glibc 2.31 writes each string twice, no extension, and the oldest kernel of
// each library. Its libraries, and their order, are the same but for those in
// glibc-hwcaps folders, which it does not know.
func TestEntriesAreThoseOfDebian11(t *testing.T) {
	for _, format := range []string{"compat", "new", "old"} {
		t.Run(format, func(t *testing.T) {
			dir := release(t, "debian11")
			for _, name := range []string{"opt/c/libc.so.6", "opt/c/ld.so.1"} { // the kernel's version goes into its order; a name it does not look at
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			if format == "old" { // with an odd number of them its offsets are wrong by 4
				if err := os.WriteFile(filepath.Join(dir, "opt/a/libeven.so.1"), makeELF("libeven.so.1", 0), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := ldcache.Decode(ldconfig(t, dir+"/sbin/ldconfig", dir, "-X", "-c", format))
			if err != nil {
				t.Fatal(err)
			}
			_, c := lookAt(t, dir, ldcache.Options{})
			plain := slices.DeleteFunc(c.Entries, func(e ldcache.Entry) bool { return e.HWCaps != "" })
			for i := range want.Entries {
				want.Entries[i].OSVersion = 0
			}
			if format != "new" && len(want.Entries) == len(plain)+1 {
				want.Entries = want.Entries[:len(plain)] // it doubles the last one, for alignment
			}
			if len(plain) < 20 || !slices.Equal(plain, want.Entries) {
				t.Errorf("got %d entries, want %d", len(plain), len(want.Entries))
				for i := range min(len(plain), len(want.Entries)) {
					if plain[i] != want.Entries[i] {
						t.Fatalf("entry %d: got %+v, want %+v", i, plain[i], want.Entries[i])
					}
				}
			}
		})
	}
}

// The machine's own tree, and its own ldconfig.
func TestBytesOnThisMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		need(t, "root")
	}
	cache := filepath.Join(t.TempDir(), "cache")
	if out, err := exec.Command("/sbin/ldconfig", "-X", "-C", cache).CombinedOutput(); err != nil {
		need(t, "ldconfig: "+string(out))
	}
	want, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	_, c := lookAt(t, "/", ldcache.Options{})
	// glibc before 2.37 marks an i386 library that needs no libc with 1, "ELF",
	// which its loaders take as they take 3; those since take only 3.
	w, err := ldcache.Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Entries {
		if i < len(w.Entries) && w.Entries[i].Flags == 1 && c.Entries[i].Flags == 3 {
			c.Entries[i].Flags = 1
		}
	}
	sameBytes(t, c, want)
}

// ldconfig -p reads what is written here, with every entry.
func TestLdconfigPrintsWhatIsWritten(t *testing.T) {
	s, c := lookAt(t, tree(t, libraryTree()), ldcache.Options{Aliases: []ldcache.Alias{{Key: "liballes.so", Path: "/opt/b/libx.so.9"}}})
	data, err := s.Encode(c, later)
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(cache, data, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/sbin/ldconfig", "-p", "-C", cache).CombinedOutput()
	if err != nil {
		need(t, "ldconfig: "+string(out))
	}
	for _, e := range c.Entries {
		line := "\t" + e.Key + " (libc6,x86-64"
		if e.HWCaps != "" {
			line += ", hwcap: \"" + e.HWCaps + "\""
		}
		if line += ") => " + e.Value + "\n"; !strings.Contains(string(out), line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if !strings.Contains(string(out), "Cache generated by: tenon 1 ") {
		t.Errorf("no generator in\n%s", out)
	}
	if got := c.Lookup("liballes.so"); len(got) != 1 || got[0] != "/opt/b/libx.so.9" {
		t.Errorf("alias: %q", got)
	}
}
