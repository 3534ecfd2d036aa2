// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/ldcache"
)

// A container with nothing odd about it: the cache is there before it starts.
func TestCacheIsThereWhenTheContainerStarts(t *testing.T) {
	a := newAttack(t)
	a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
	a.config["root"].(map[string]any)["readonly"] = true
	a.must(os.Remove(filepath.Join(a.rootfs, "etc/ld.so.cache")))
	a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
}

// The loaders of four releases find an injected library by its soname and by an
// alias, and take the variant for the processor where there is one.
func TestLoaderFindsAnInjectedLibrary(t *testing.T) {
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	v3 := bytes.Contains(cpu, []byte(" avx2 ")) && bytes.Contains(cpu, []byte(" bmi2 ")) && bytes.Contains(cpu, []byte(" fma ")) && bytes.Contains(cpu, []byte(" movbe "))
	for _, release := range []string{"debian11", "debian12", "debian13", "unstable"} {
		t.Run(release, func(t *testing.T) {
			a := newAttack(t)
			a.release(release)
			load := func(name string) string {
				a.config["process"].(map[string]any)["env"] = []string{"LD_TRACE_LOADED_OBJECTS=1", "LD_PRELOAD=" + name}
				return a.mustRun("/usr/bin/getconf", "ARG_MAX").out
			}
			delete(a.config, "hooks")
			if out := load("libacc.so.1"); strings.Contains(out, "/usr/lib/vendor") {
				t.Fatalf("found without the hook\n%s", out)
			}
			a.edits(discover.Edits{ABI: 1, LdCache: discover.LdCache{Dirs: []string{"/usr/lib/vendor"}}})
			if out := load("libacc.so.1"); !strings.Contains(out, "libacc.so.1 => /usr/lib/vendor/libacc.so.1.2.3 (0x") {
				t.Errorf("not found with the hook\n%s", out)
			}
			a.files(a.rootfs, map[string]string{"usr/lib/vendor/glibc-hwcaps/x86-64-v3/libacc.so.1.2.3": library("libacc.so.1")})
			want := "libacc.so.1 => /usr/lib/vendor/libacc.so.1.2.3 (0x"
			if v3 && release != "debian11" { // glibc 2.31 knows no such folders
				want = "libacc.so.1 => /usr/lib/vendor/glibc-hwcaps/x86-64-v3/libacc.so.1.2.3 (0x"
			}
			if out := load("libacc.so.1"); !strings.Contains(out, want) {
				t.Errorf("no %q\n%s", want, out)
			}
			hooks := a.config["hooks"].(map[string]any)["createContainer"].([]any)
			hook := hooks[0].(map[string]any)
			hook["args"] = append(hook["args"].([]any), "--alias", "libzed.so=/usr/lib/vendor/libacc.so.1.2.3")
			if out := load("libzed.so"); !strings.Contains(out, "libzed.so => /usr/lib/vendor/libacc.so.1.2.3 (0x") {
				t.Errorf("alias not found\n%s", out)
			}
		})
	}
}

// T04, R07: links where the hook reads and writes, out of the root.
func TestT04R07LinksOutOfTheRoot(t *testing.T) {
	for name, c := range map[string]struct {
		remove  string
		link    string // in the root
		to      func(a *attack) string
		written string // where the cache is then, in the root; "" is nowhere
	}{
		"etc, absolute":   {"etc", "etc", func(a *attack) string { return a.canary }, ""},
		"etc, dots":       {"etc", "etc", func(a *attack) string { return "../../../../../../../../.." + a.canary }, ""},
		"etc, into root":  {"etc", "etc", func(a *attack) string { return "../../../../usr/etc" }, "usr/etc/ld.so.cache"},
		"conf.d":          {"etc/ld.so.conf.d", "etc/ld.so.conf.d", func(a *attack) string { return a.canary }, "etc/ld.so.cache"},
		"cache":           {"", "etc/ld.so.cache", func(a *attack) string { return a.canary + "/ld.so.cache" }, "etc/ld.so.cache"},
		"cache, dots":     {"", "etc/ld.so.cache", func(a *attack) string { return "../../../canary/ld.so.cache" }, "etc/ld.so.cache"},
		"conf":            {"etc/ld.so.conf", "etc/ld.so.conf", func(a *attack) string { return a.canary + "/ld.so.conf" }, "etc/ld.so.cache"},
		"vendor":          {"usr/lib/vendor", "usr/lib/vendor", func(a *attack) string { return a.canary + "/lib" }, "etc/ld.so.cache"},
		"library by link": {"", "usr/lib/vendor/libacc.so.1", func(a *attack) string { return a.canary + "/lib/libacc.so.1" }, "etc/ld.so.cache"},
	} {
		for _, walk := range []string{"", "--walk"} {
			t.Run(name+walk, func(t *testing.T) {
				a := newAttack(t)
				a.files(a.rootfs, map[string]string{"usr/etc/": ""})
				if c.remove != "" {
					a.must(os.RemoveAll(filepath.Join(a.rootfs, c.remove)))
				}
				a.must(os.Symlink(c.to(a), filepath.Join(a.rootfs, c.link)))
				if walk == "" {
					a.mustRun("/bin/true")
				} else if r := finish(a.command("update-ldcache", "--walk", "--folder", "/usr/lib/vendor")); r.status != 0 {
					t.Errorf("status %d\n%s", r.status, r.out)
				}
				a.unharmed()
				if c.written != "" {
					st, err := os.Lstat(filepath.Join(a.rootfs, c.written))
					if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != 0o644 {
						t.Errorf("%s: %v, %v", c.written, st, err)
					}
					cache, err := ldcache.Decode([]byte(a.inRoot(c.written)))
					a.must(err)
					if got := cache.Lookup("libacc.so.1"); (len(got) == 0) != (name == "vendor") {
						t.Errorf("libacc.so.1 is at %q", got)
					}
				}
			})
		}
	}
}

// R11: /etc by way of proc.
func TestR11MagicLinks(t *testing.T) {
	for _, target := range []string{"/proc/self/root/etc", "/proc/1/root/etc", "/proc/self/cwd/etc", "/proc/thread-self/root"} {
		a := newAttack(t)
		a.must(os.RemoveAll(filepath.Join(a.rootfs, "etc")))
		a.must(os.Symlink(target, filepath.Join(a.rootfs, "etc")))
		a.mustRun("/bin/true")
	}
	a := newAttack(t)
	a.must(os.Remove(filepath.Join(a.rootfs, "proc")))
	a.must(os.Symlink(a.canary, filepath.Join(a.rootfs, "proc")))
	a.run("/bin/true") // runc does not mount over a link
	if r := a.update(); r.status != 0 {
		t.Errorf("status %d\n%s", r.status, r.out)
	}
	a.unharmed()
	a.finds(a.inRoot("etc/ld.so.cache"))
}

// T05, R08: FIFOs that nobody writes to.
func TestT05R08FIFOs(t *testing.T) {
	a := newAttack(t)
	a.must(os.Remove(filepath.Join(a.rootfs, "etc/ld.so.conf")))
	a.files(a.rootfs, map[string]string{"etc/ld.so.conf|": "", "etc/ld.so.cache~|": "", "usr/lib/libf.so.1|": "", "usr/lib/vendor/libg.so.1|": "", "usr/lib/vendor/libh.so.1 -> libg.so.1": "", "etc/ld.so.cache|": ""})
	a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
}

// T06, R09: an ld.so.conf without end.
func TestT06R09EndlessConfiguration(t *testing.T) {
	many := map[string]string{}
	for i := range 600 {
		many["etc/ld.so.conf.d/"+strings.Repeat("x", i%50)+string(rune('a'+i%26))+time.Duration(i).String()+".conf"] = "/opt/none\n"
	}
	chain := map[string]string{"etc/ld.so.conf": "include c/0.conf\n"}
	for i := range 40 {
		chain["etc/c/"+string(rune('0'+i))+".conf"] = "include /etc/c/" + string(rune('1'+i)) + ".conf\n"
	}
	for name, c := range map[string]struct {
		files map[string]string
		note  string
	}{
		"includes itself twice": {map[string]string{"etc/ld.so.conf": "include /etc/ld.so.conf\ninclude /etc/*.conf\ninclude /etc/ld.so.conf\n"}, ""},
		"600 files":             {many, "the limit of 512 files"},
		"20,000 includes":       {map[string]string{"etc/ld.so.conf": strings.Repeat("include /etc/none\n", 20000)}, "the limit of 4096 included patterns"},
		"20,000 patterns":       {map[string]string{"etc/ld.so.conf": "include" + strings.Repeat(" /*/*", 20000) + "\n"}, "a line is longer"},
		"20,000 folders":        {map[string]string{"etc/ld.so.conf": strings.Repeat("/opt/none\n", 20000)}, "the limit of 4096 folders"},
		"a chain of 40":         {chain, "16 deep"},
		"2 MiB":                 {map[string]string{"etc/ld.so.conf": strings.Repeat("#", 2<<20)}, "2097152 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttack(t)
			a.files(a.rootfs, c.files)
			a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
			r := a.update()
			if r.status != 0 || !strings.Contains(r.out, c.note) {
				t.Errorf("status %d, no %q\n%s", r.status, c.note, r.out)
			}
			if r.took > 8*time.Second {
				t.Errorf("took %v", r.took)
			}
		})
	}
}

// T07: a library of 1 TB, and more names than any folder has.
func TestT07Size(t *testing.T) {
	names := 70000
	if os.Getenv("TENON_ATTACK_RUNS") != "" {
		names = 200000
	}
	a := newAttack(t)
	big := filepath.Join(a.rootfs, "usr/lib/vendor/libbig.so.1")
	a.must(os.WriteFile(big, []byte(library("libbig.so.1")), 0o644))
	if err := os.Truncate(big, 1<<40); err != nil {
		t.Logf("no file of 1 TB on this file system (%v), one of 1 GB", err)
		a.must(os.Truncate(big, 1<<30))
	}
	flat := filepath.Join(a.rootfs, "usr/lib")
	for i := range names {
		a.must(os.Symlink("none", filepath.Join(flat, "lib"+time.Duration(i).String()+".so.1")))
	}
	r := a.update()
	if r.status != 0 || !strings.Contains(r.out, "the limit of 65536 names") {
		t.Errorf("status %d\n%.500s", r.status, r.out)
	}
	a.finds(a.inRoot("etc/ld.so.cache"))
	if r.memory > 200<<20 {
		t.Errorf("%d MiB of memory", r.memory>>20)
	}
	if r.took > 8*time.Second {
		t.Errorf("took %v", r.took)
	}
}

// T09, R10: what is mounted into the container is not the container's.
func TestT09R10MountsOfTheHost(t *testing.T) {
	t.Run("etc", func(t *testing.T) {
		a := newAttack(t)
		a.mount(mount("bind", a.canary, "/etc", "bind", "rw"))
		a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
	})
	t.Run("etc without a cache", func(t *testing.T) {
		a := newAttack(t)
		a.must(os.Remove(filepath.Join(a.canary, "ld.so.cache")))
		a.seal = a.hash(a.canary)
		a.mount(mount("bind", a.canary, "/etc", "bind", "rw"))
		a.mustRun("/bin/true")
	})
	t.Run("cache", func(t *testing.T) {
		a := newAttack(t)
		a.files(a.rootfs, map[string]string{"etc/ld.so.cache": ""})
		a.mount(mount("bind", filepath.Join(a.canary, "ld.so.cache"), "/etc/ld.so.cache", "bind", "rw"))
		a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
		// It is read-only, and nothing in the container can write it.
		if r := a.run("/bin/sh", "-c", "echo x >/etc/ld.so.cache"); r.status == 0 {
			t.Error("written")
		}
	})
	t.Run("vendor", func(t *testing.T) {
		a := newAttack(t)
		a.files(a.canary, map[string]string{"lib/libven.so.1.2": library("libven.so.1")})
		a.seal = a.hash(a.canary)
		a.mount(mount("bind", filepath.Join(a.canary, "lib"), "/usr/lib/vendor", "bind", "rw"))
		c, err := ldcache.Decode([]byte(a.mustRun("/bin/cat", "/etc/ld.so.cache").out))
		a.must(err)
		if got := c.Lookup("libven.so.1"); len(got) != 1 || got[0] != "/usr/lib/vendor/libven.so.1.2" {
			t.Errorf("libven.so.1 is at %q", got)
		}
	})
}

// T10: a root that cannot be written at all.
func TestT10ReadOnlyRoot(t *testing.T) {
	for _, cache := range []string{"old", ""} {
		a := newAttack(t)
		if cache != "" {
			a.files(a.rootfs, map[string]string{"etc/ld.so.cache": cache})
		}
		lower := a.hash(a.rootfs)
		a.must(unix.Mount(a.rootfs, a.rootfs, "", unix.MS_BIND, ""))
		t.Cleanup(func() { unix.Unmount(a.rootfs, unix.MNT_DETACH) })
		a.must(unix.Mount("", a.rootfs, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
		r := a.run("/bin/cat", "/etc/ld.so.cache")
		if cache != "" {
			a.finds(r.out)
		} else if !strings.Contains(r.out, "No such file") {
			t.Errorf("no cache to lay a mount over: status %d\n%s", r.status, r.out)
		}
		a.must(unix.Unmount(a.rootfs, unix.MNT_DETACH))
		if a.hash(a.rootfs) != lower {
			t.Error("the root is not what it was")
		}
	}
}

// T11: a user namespace, whose root is not root.
func TestT11UserNamespace(t *testing.T) {
	for _, owner := range []int{100000, 0} {
		a := newAttack(t)
		a.files(a.rootfs, map[string]string{"etc/ld.so.cache": "old"})
		a.must(filepath.WalkDir(a.rootfs, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, owner, owner)
		}))
		linux := a.config["linux"].(map[string]any)
		linux["namespaces"] = namespaces("pid", "network", "ipc", "uts", "mount", "user")
		mapping := []any{map[string]any{"containerID": 0, "hostID": 100000, "size": 65536}}
		linux["uidMappings"], linux["gidMappings"] = mapping, mapping
		a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
		var st unix.Stat_t
		a.must(unix.Stat(filepath.Join(a.rootfs, "etc/ld.so.cache"), &st))
		if int(st.Uid) != owner {
			t.Errorf("owner %d of the cache, want %d", st.Uid, owner)
		}
		if below := a.inRoot("etc/ld.so.cache"); (below == "old") != (owner == 0) {
			t.Errorf("owner %d: the root's own file has %d bytes", owner, len(below))
		}
	}
}

// T12: images without glibc, without /etc, with a file in its place.
func TestT12OtherImages(t *testing.T) {
	t.Run("musl", func(t *testing.T) {
		a := newAttack(t)
		a.release("musl")
		a.busybox()
		a.must(os.Remove(filepath.Join(a.rootfs, "etc/ld-musl-x86_64.path"))) // Debian's own
		for range 2 {
			out := a.mustRun("/bin/cat", "/etc/ld-musl-x86_64.path").out
			if want := "/lib\n/usr/local/lib\n/usr/lib\n/usr/lib/vendor\n"; out != want {
				t.Fatalf("got %q, want %q", out, want)
			}
		}
		if _, err := os.Lstat(filepath.Join(a.rootfs, "etc/ld.so.cache")); err == nil {
			t.Error("a glibc cache in an image of musl")
		}
	})
	t.Run("musl with a file of its own", func(t *testing.T) {
		a := newAttack(t)
		a.release("musl")
		a.busybox()
		a.files(a.rootfs, map[string]string{"etc/ld-musl-x86_64.path": "/opt/a:/opt/b"})
		if out := a.mustRun("/bin/cat", "/etc/ld-musl-x86_64.path").out; out != "/opt/a\n/opt/b\n/usr/lib/vendor\n" {
			t.Errorf("got %q", out)
		}
	})
	t.Run("musl, link to the host", func(t *testing.T) {
		a := newAttack(t)
		a.release("musl")
		a.busybox()
		a.must(os.Remove(filepath.Join(a.rootfs, "etc/ld-musl-x86_64.path")))
		a.must(os.Symlink(filepath.Join(a.canary, "x"), filepath.Join(a.rootfs, "etc/ld-musl-x86_64.path")))
		a.mustRun("/bin/true")
	})
	for name, change := range map[string]func(a *attack){
		"static": func(a *attack) { a.must(os.RemoveAll(filepath.Join(a.rootfs, "lib64"))) },
		"no etc": func(a *attack) { a.must(os.RemoveAll(filepath.Join(a.rootfs, "etc"))) },
		"etc is a file": func(a *attack) {
			a.must(os.RemoveAll(filepath.Join(a.rootfs, "etc")))
			a.files(a.rootfs, map[string]string{"etc": "file"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttack(t)
			change(a)
			a.mustRun("/bin/true")
			_, err := os.Stat(filepath.Join(a.rootfs, "etc/ld.so.cache"))
			if (err == nil) != (name == "no etc") {
				t.Errorf("cache: %v", err)
			}
		})
	}
}

// T13: something odd in place of the cache.
func TestT13OddCacheFile(t *testing.T) {
	for name, make := range map[string]func(a *attack, path string){
		"folder":        func(a *attack, path string) { a.must(os.Mkdir(path, 0o755)) },
		"filled folder": func(a *attack, path string) { a.must(os.MkdirAll(path+"/x", 0o755)) },
		"device":        func(a *attack, path string) { a.must(unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))) },
		"socket":        func(a *attack, path string) { a.must(unix.Mknod(path, unix.S_IFSOCK|0o666, 0)) },
		"16 MiB": func(a *attack, path string) {
			a.must(os.WriteFile(path, nil, 0o644))
			a.must(os.Truncate(path, 1<<40))
		},
		"immutable": func(a *attack, path string) {
			a.must(os.WriteFile(path, nil, 0o644))
			if err := exec.Command("chattr", "+i", path).Run(); err != nil {
				a.t.Skipf("chattr: %v", err)
			}
			a.t.Cleanup(func() { exec.Command("chattr", "-i", path).Run() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttack(t)
			make(a, filepath.Join(a.rootfs, "etc/ld.so.cache"))
			r := a.mustRun("/bin/sh", "-c", "cat /etc/ld.so.cache || echo skipped")
			if strings.HasSuffix(name, "folder") {
				if !strings.Contains(r.out, "skipped") {
					t.Errorf("got %q", r.out)
				}
			} else {
				a.finds(r.out)
			}
		})
	}
}

// T15: a container that is started again and again.
func TestT15StartedAgain(t *testing.T) {
	a := newAttack(t)
	names := ""
	var entries []ldcache.Entry
	for i := range 5 {
		a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
		c, err := ldcache.Decode([]byte(a.inRoot("etc/ld.so.cache")))
		a.must(err)
		list, err := filepath.Glob(filepath.Join(a.rootfs, "etc/*"))
		a.must(err)
		hidden, err := filepath.Glob(filepath.Join(a.rootfs, "etc/.*"))
		a.must(err)
		now := strings.Join(append(list, hidden...), " ")
		if i > 0 && (now != names || len(c.Entries) != len(entries) || c.Entries[0] != entries[0]) {
			t.Errorf("start %d: %s, was %s; %v, was %v", i, now, names, c.Entries, entries)
		}
		names, entries = now, c.Entries
	}
	before, err := os.Stat(filepath.Join(a.rootfs, "etc/ld.so.cache"))
	a.must(err)
	a.mustRun("/bin/true")
	after, err := os.Stat(filepath.Join(a.rootfs, "etc/ld.so.cache"))
	a.must(err)
	if !os.SameFile(before, after) {
		t.Error("a cache that holds was written again")
	}
}

// T16: the hook dies between its new file and the rename; the disk is full.
func TestT16DeathAndFullDisk(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		if _, err := exec.LookPath("strace"); err != nil {
			missing(t, "strace is not installed")
		}
		a := newAttack(t)
		a.files(a.rootfs, map[string]string{"etc/ld.so.cache": "old"})
		cmd := a.command("update-ldcache", "--folder", "/usr/lib/vendor")
		cmd.Args = append([]string{"strace", "-f", "-o", "/dev/null", "-e", "trace=renameat2", "-e", "inject=renameat2:signal=KILL"}, cmd.Args...)
		path, err := exec.LookPath("strace")
		a.must(err)
		cmd.Path = path
		if r := finish(cmd); r.status == 0 {
			t.Fatalf("not killed\n%s", r.out)
		}
		if got := a.inRoot("etc/ld.so.cache"); got != "old" {
			t.Errorf("the old cache is %q", got)
		}
		left := func() []string {
			t.Helper()
			names, err := filepath.Glob(filepath.Join(a.rootfs, "etc/.*"))
			a.must(err)
			return names
		}
		if names := left(); len(names) != 1 {
			t.Errorf("left by one that was killed: %q", names)
		}
		a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
		if names := left(); len(names) != 0 {
			t.Errorf("left by the next one: %q", names)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		a := newAttack(t)
		fresh := filepath.Join(a.dir, "fresh")
		a.must(os.Rename(a.rootfs, fresh))
		a.must(os.Mkdir(a.rootfs, 0o755))
		a.must(unix.Mount("tmpfs", a.rootfs, "tmpfs", 0, "size=8m,mode=0755"))
		t.Cleanup(func() { unix.Unmount(a.rootfs, unix.MNT_DETACH) })
		if out, err := exec.Command("cp", "-a", fresh+"/.", a.rootfs).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		a.files(a.rootfs, map[string]string{"etc/ld.so.cache": "old"})
		if err := os.WriteFile(filepath.Join(a.rootfs, "fill"), make([]byte, 16<<20), 0o644); err == nil {
			t.Fatal("the disk is not full")
		}
		a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out) // by a mount over the file
		if got := a.inRoot("etc/ld.so.cache"); got != "old" {
			t.Errorf("the old cache is %q", got)
		}
		left, err := filepath.Glob(filepath.Join(a.rootfs, "etc/.ld*"))
		a.must(err)
		if len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// What cannot be done is an error only where it is required.
func TestRequiredCacheIsAnError(t *testing.T) {
	a := newAttack(t)
	a.must(os.RemoveAll(filepath.Join(a.rootfs, "etc")))
	a.files(a.rootfs, map[string]string{"etc": "a file"})
	r := finish(a.command("update-ldcache", "--required", "--folder", "/usr/lib/vendor"))
	if want := "tenon-hook: /etc of the container: not a folder\n"; r.status != 1 || r.out != want {
		t.Errorf("status %d, %q; want 1, %q", r.status, r.out, want)
	}
	if r := finish(a.command("update-ldcache", "--folder", "/usr/lib/vendor")); r.status != 0 || r.out != "" {
		t.Errorf("status %d, %q", r.status, r.out)
	}
	var st syscall.Stat_t
	a.must(syscall.Stat(filepath.Join(a.rootfs, "etc"), &st))
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		t.Error("etc is no file any more")
	}
}
