// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// unavailable skips a test that this machine cannot run, but not in CI, whose
// machine must be able to run them all.
func unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("TENON_CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "needs root")
	}
}

// trustedDir makes a folder that OpenTrusted accepts. t.TempDir is none: it
// lies in /tmp, which everybody may write. So folders that usually belong to
// root or to the user alone are tried, the checkout's build folder first.
func trustedDir(t *testing.T) string {
	t.Helper()
	build, err := filepath.Abs("../build")
	if err != nil {
		t.Fatal(err)
	}
	os.MkdirAll(build, 0o755)
	home, _ := os.UserHomeDir()
	for _, parent := range []string{build, "/var/lib", home} {
		dir, err := os.MkdirTemp(parent, "_tenon-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		writeFile(t, filepath.Join(dir, "probe"), "")
		if f, err := OpenTrusted(filepath.Join(dir, "probe")); err == nil {
			f.Close()
			return dir
		}
	}
	unavailable(t, "needs a folder that only root or this user may change, up to /")
	return ""
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o644); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

func TestOpenTrustedReads(t *testing.T) {
	name := filepath.Join(trustedDir(t), "file")
	writeFile(t, name, "content")
	f, err := OpenTrusted(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != "content" {
		t.Errorf("read %q, %v", got, err)
	}
}

// T31 of the attack cases: each refusal names the component that is at fault.
func TestOpenTrustedRefuses(t *testing.T) {
	dir := trustedDir(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"good", "open", "sticky", "alien"} {
		must(os.Mkdir(path(sub), 0o755))
		writeFile(t, path(sub+"/f"), "")
	}
	must(os.Chmod(path("open"), 0o777))
	must(os.Chmod(path("sticky"), 0o777|os.ModeSticky))
	writeFile(t, path("group"), "")
	must(os.Chmod(path("group"), 0o664))
	must(os.Symlink(path("good/f"), path("link")))
	must(os.Symlink(path("good"), path("dirlink")))
	writeFile(t, path("two"), "")
	must(os.Link(path("two"), path("names")))
	must(unix.Mkfifo(path("fifo"), 0o644))
	tests := []struct {
		path, want string
		root       bool // only root can set it up
	}{
		{"relative", `"relative": is not an absolute path in its shortest form; write it in full`, false},
		{"/", `/: is not a regular file`, false},
		{path("good") + "/../good/f", `"` + path("good") + `/../good/f": is not an absolute path in its shortest form; write it in full`, false},
		{path("group"), path("group") + ": is not trusted: others may write it (mode 0664); chmod go-w " + path("group"), false},
		{path("open/f"), path("open") + ": leads to " + path("open/f") + " and is not trusted: others may write it (mode 0777); chmod go-w " + path("open"), false},
		{path("sticky/f"), path("sticky") + ": leads to " + path("sticky/f") + " and is not trusted: others may write it (mode 1777); put it elsewhere", false},
		{path("link"), path("link") + ": is not trusted: it is a symbolic link; name the place it leads to", false},
		{path("dirlink/f"), path("dirlink") + ": leads to " + path("dirlink/f") + " and is not trusted: it is a symbolic link; name the place it leads to", false},
		{path("two"), path("two") + ": has 2 names, so others may reach it; copy it to a file of its own", false},
		{path("fifo"), path("fifo") + ": is not a regular file", false},
		{path("good"), path("good") + ": is not a regular file", false},
		{path("good/f/x"), path("good/f") + ": is not a folder", false},
		{path("alien/f"), path("alien") + ": leads to " + path("alien/f") + " and is not trusted: it belongs to uid 1000; chown it to root", true},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			if test.root {
				needRoot(t)
				must(os.Chown(path("alien"), 1000, 1000))
			}
			f, err := OpenTrusted(test.path)
			if err == nil {
				f.Close()
				t.Fatal("opened")
			}
			if err.Error() != test.want {
				t.Errorf("error is\n%s\nwant\n%s", err, test.want)
			}
		})
	}
	if _, err := OpenTrusted(path("missing/f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder gives %v", err)
	}
}
