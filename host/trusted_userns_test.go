// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestNamespaceOf(t *testing.T) {
	for name, test := range map[string]struct {
		uids, overflow string
		ofSlash        uint32
		want           namespace
	}{
		"the first":          {"         0          0 4294967295\n", "65534\n", 0, namespace{}},
		"its / is nobody's":  {"         0          0 4294967295\n", "65534\n", 65534, namespace{}},
		"one user":           {"         0       1000          1\n", "65534\n", 65534, namespace{true, 65534, 65534, "1000"}},
		"a range of users":   {"         0       1000          1\n         1     100000      65536\n", "65534\n", 65534, namespace{true, 65534, 65534, "1000"}},
		"with a / of its":    {"         0     100000      65536\n", "65534\n", 0, namespace{true, 65534, 0, "100000"}},
		"without a map":      {"", "65534\n", 65534, namespace{true, 65534, 65534, ""}},
		"no uid 0":           {"      1000       1000          1\n", "65534\n", 65534, namespace{true, 65534, 65534, ""}},
		"another overflow":   {"         0       1000          1\n", "7\n", 7, namespace{true, 7, 7, "1000"}},
		"no overflow to see": {"         0       1000          1\n", "", 0, namespace{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := namespaceOf(test.uids, test.overflow, test.ofSlash); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// insideVariable makes this program one that looks around in a user namespace.
const insideVariable = "TENON_TEST_IN_USER_NAMESPACE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(insideVariable); dir != "" {
		lookFromInside(dir)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// lookFromInside prints what a user namespace makes of the files in dir.
func lookFromInside(dir string) {
	for _, name := range []string{"roots/f", "ours/f", "others/f", "roots/open", "sticky/f", "roots/link", "roots/program"} {
		f, err := OpenTrusted(filepath.Join(dir, name))
		if err == nil {
			f.Close()
		}
		fmt.Printf("%s: %v\n", name, err)
	}
	_, err := Program(dir+"/roots", "program", "")
	fmt.Println("program:", err)
	_, err = Program(dir+"/others", "open", "")
	fmt.Println("open program:", err)
	fmt.Println("state:", StateFolder(nil), StateFolder([]string{"XDG_RUNTIME_DIR=/x"}), StateFolder([]string{StateVariable + "=/y", "XDG_RUNTIME_DIR=/x"}))
	for _, state := range []string{"ours/state", "roots/state"} {
		folder, err := OpenFolder(filepath.Join(dir, state, "traces"), true)
		if err == nil {
			folder.Close()
		}
		fmt.Printf("%s: %v\n", state, err)
	}
}

// The same files, seen from user namespaces as rootless engines make them, and as
// containers have them. uid 1000 starts the engine, uid 2000 is another user.
func TestTrustInAUserNamespace(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("/var/lib", "_tenon-test-") // everybody can come there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o755))
	for name, owner := range map[string]int{"roots": 0, "ours": 1000, "others": 2000, "sticky": 0} {
		path := filepath.Join(dir, name)
		must(os.Mkdir(path, 0o755))
		for file, mode := range map[string]os.FileMode{"f": 0o644, "open": 0o666, "program": 0o755} {
			writeFile(t, filepath.Join(path, file), "")
			must(os.Chmod(filepath.Join(path, file), mode))
			must(os.Chown(filepath.Join(path, file), owner, owner))
		}
		must(os.Chown(path, owner, owner))
	}
	must(os.Chmod(filepath.Join(dir, "sticky"), 0o777|os.ModeSticky))
	must(os.Symlink("f", filepath.Join(dir, "roots/link")))

	const refusals = `roots/open: DIR/roots/open: is not trusted: others may write it (mode 0666); chmod go-w DIR/roots/open
sticky/f: DIR/sticky: leads to DIR/sticky/f and is not trusted: others may write it (mode 1777); put it elsewhere
roots/link: DIR/roots/link: is not trusted: it is a symbolic link; name the place it leads to
`
	const rootless = `roots/f: <nil>
ours/f: <nil>
others/f: <nil>
` + refusals + `roots/program: <nil>
program: <nil>
open program: DIR/others/open: is not trusted: others may write it (mode 0666); chmod go-w DIR/others/open
state: /run/user/1000/tenon /x/tenon /y
ours/state: <nil>
roots/state: DIR/roots/state: permission denied
`
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 1}}
	for name, test := range map[string]struct {
		uids []syscall.SysProcIDMap
		want string
	}{
		"of one user, as unshare -U -r makes it": {one, rootless},
		"with more uids, as newuidmap makes it":  {append(one, syscall.SysProcIDMap{ContainerID: 1, HostID: 100000, Size: 65536}), rootless},
		"with the machine's root": {[]syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1001}}, `roots/f: <nil>
ours/f: DIR/ours: leads to DIR/ours/f and is not trusted: it belongs to uid 1000; chown it to root
others/f: DIR/others: leads to DIR/others/f and is not trusted: it belongs to uid 65534, who may be any user that this user namespace does not know; chown it to root
` + refusals + `roots/program: <nil>
program: <nil>
open program: DIR/others: leads to DIR/others/open and is not trusted: it belongs to uid 65534, who may be any user that this user namespace does not know; chown it to root
state: /run/tenon /run/tenon /y
ours/state: DIR/ours: leads to DIR/ours/state/traces and is not trusted: it belongs to uid 1000; chown it to root
roots/state: <nil>
`},
	} {
		t.Run(name, func(t *testing.T) {
			must(os.RemoveAll(filepath.Join(dir, "roots/state")))
			must(os.RemoveAll(filepath.Join(dir, "ours/state")))
			self, err := os.Open("/proc/self/exe")
			must(err)
			defer self.Close()
			// By its descriptor: not everybody can come to where go test puts it.
			cmd := exec.Command("/proc/self/fd/3")
			cmd.ExtraFiles = []*os.File{self}
			cmd.Env = []string{insideVariable + "=" + dir}
			cmd.Dir = "/"
			cmd.Stderr = os.Stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: test.uids, GidMappings: test.uids,
				GidMappingsEnableSetgroups: true,
				Credential:                 &syscall.Credential{Uid: 0, Gid: 0},
			}
			out, err := cmd.Output()
			if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
				unavailable(t, "needs user namespaces: "+err.Error())
			}
			must(err)
			if got := strings.ReplaceAll(string(out), dir, "DIR"); got != test.want {
				t.Errorf("it says\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}
