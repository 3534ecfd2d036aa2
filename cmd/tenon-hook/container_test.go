// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func FuzzState(f *testing.F) {
	for _, seed := range []string{
		`{"ociVersion":"1.0.2","id":"c","status":"creating","pid":42,"bundle":"/run/c","annotations":{"bundle":"/x"}}`,
		`{"status":"created","bundle":"/run/c","root":"/run/c/rootfs"}`,
		`{"status":"created","bundle":"/run/c","Bundle":"run"}`,
		`{"status":"stopped","bundle":"/"}`, `{"bundle":"/a\u0000b","status":"creating"}`, `[]`, `null`, ``, `{`, `"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseState(data)
		if err != nil {
			if line := err.Error(); !strings.HasPrefix(line, "container state: ") || strings.ContainsAny(line, "\n") {
				t.Errorf("%q", line)
			}
			return
		}
		if !filepath.IsAbs(s.Bundle) || s.Root != "" && !filepath.IsAbs(s.Root) || s.Status != "creating" && s.Status != "created" {
			t.Errorf("%+v", s)
		}
	})
}

// The machine's own root is no container's, by whatever name.
func TestRootOfTheMachineIsRefused(t *testing.T) {
	for _, path := range []string{"/", "/.", "//", "/proc/../", "/usr/.."} {
		if c, err := openRoot(path, ""); err == nil || !strings.HasSuffix(err.Error(), "is the root of the machine; this hook is one for createContainer") {
			t.Errorf("%s: %v, %v", path, c, err)
		}
	}
	link := filepath.Join(t.TempDir(), "root")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	if c, err := openRoot(link, ""); err == nil {
		t.Errorf("%s: %v", link, c)
	}
}

func TestPrivateTmpfs(t *testing.T) {
	const info = `21 1 254:0 / / rw - ext4 /dev/vda rw
22 21 0:20 / /dev rw - devtmpfs dev rw
23 21 0:21 / /run rw shared:1 - tmpfs tmpfs rw
30 21 254:0 /b/rootfs /b/root\040fs rw - ext4 /dev/vda rw
31 30 0:40 / /b/root\040fs/dev rw - tmpfs tmpfs rw
32 30 0:21 /x /b/root\040fs/run rw - tmpfs tmpfs rw
33 30 0:41 / /b/root\040fs/sys rw - sysfs sysfs rw
34 30 0:42 / /b/root\040fs2/dev rw - tmpfs tmpfs rw
35 30 0:43 / /b/root\040fs/a rw - tmpfs tmpfs rw
36 30 0:43 / /b/root\040fs/b rw - tmpfs tmpfs rw
`
	for id, want := range map[uint64]bool{21: false, 23: false, 30: false, 31: true, 32: false, 33: false, 34: false, 35: true, 99: false} {
		if got := privateTmpfs(info, id, "/b/root fs"); got != want {
			t.Errorf("mount %d: %v", id, got)
		}
	}
	if privateTmpfs("31 30 0:40 / /b/dev rw - tmpfs\nbroken\n", 31, "/b") {
		t.Error("a mountinfo that is not understood says yes")
	}
}

// The mount over a file, as kernels before and since 6.15 make it.
func TestMountOverAFile(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("TENON_CI") != "" {
			t.Fatal("needs root, to mount")
		}
		t.Skip("needs root, to mount")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "etc/ld.so.cache")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, attach := range []bool{false, true} {
		failed := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends, and its mounts with it
			failed <- func() error {
				if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
					return err
				}
				if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
					return err
				}
				c, err := openRoot(dir, "")
				if err != nil {
					return err
				}
				defer c.root.Close()
				c.attach = attach
				if err := c.mountOver("/etc/ld.so.cache", []byte("new")); err != nil {
					return err
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
					t.Errorf("attach %v: %q, %v", attach, got, err)
				}
				if err := os.WriteFile(path, nil, 0o644); err == nil {
					t.Errorf("attach %v: it can be written", attach)
				}
				mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
				if strings.Contains(string(mounts), "/task ") || strings.Count(string(mounts), dir) != 1 {
					t.Errorf("attach %v: mounts are left, or none is there\n%s", attach, mounts)
				}
				return err
			}()
		}()
		if err := <-failed; err != nil {
			t.Errorf("attach %v: %v", attach, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
			t.Errorf("outside: %q, %v", got, err)
		}
	}
}
