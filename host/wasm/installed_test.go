// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

const grantsNothing = `{"abi":{"major":1,"minor":0},"name":"acme.example/m","version":"1.0.0","grants":{},"edits":{"env":["GPU"]}}`

// installedModule writes a module that sets GPU to value, and returns the
// configuration that has it installed as mode m.
func installedModule(t *testing.T, value string) (c host.Config, code []byte) {
	t.Helper()
	doc := fmt.Sprintf(`{"abi":1,"containerEdits":{"env":["GPU=%s"]}}`, value)
	code, err := host.WithManifest(emitAndReturn(emitEdits, doc, host.ResultDone), []byte(grantsNothing))
	if err != nil {
		t.Fatal(err)
	}
	c = host.DefaultConfig()
	c.ModuleDir, c.Limits.WallMS = trustedDir(t), 60000
	file := filepath.Join(c.ModuleDir, "m.wasm")
	writeFile(t, file, string(code))
	c.Installed = []host.Installed{{
		Name: "m", Digest: host.DigestOf(code), File: file, Entry: "/etc/tenon/modules.d/m.toml",
		Manifest: grantsNothing, Accepted: `{"edits":{"env":["GPU"]},"grants":{}}`,
	}}
	return c, code
}

// T33: a module that is exchanged while containers are created is the one that was
// installed, or none.
func TestT33ASwappedModuleIsTheInstalledOneOrNone(t *testing.T) {
	c, good := installedModule(t, "good")
	_, bad := installedModule(t, "evil")
	file := c.Installed[0].File
	other := file + ".other"
	writeFile(t, other, string(bad))
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
				stopped <- err
				return
			}
		}
	}()
	req := requestOf(t, `{"process":{}}`)
	ran, refused := 0, 0
	for range 500 {
		r, err := Discover(t.Context(), c, "m", req, "", nil)
		switch {
		case err == nil && len(r.Edits.ContainerEdits.Env) == 1 && r.Edits.ContainerEdits.Env[0] == "GPU=good":
			ran++
		case err != nil && strings.HasPrefix(err.Error(), "mode m: "+file+": is not the module that was installed: its digest is "+host.DigestOf(bad)+
			", and /etc/tenon/modules.d/m.toml has "+host.DigestOf(good)):
			refused++
		default:
			t.Fatalf("got %+v, %v", r.Edits, err)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if ran == 0 || refused == 0 {
		t.Errorf("%d ran and %d were refused: nothing was exchanged meanwhile", ran, refused)
	}
}

// T33: what is written over is refused.
func TestT33AChangedModuleIsRefused(t *testing.T) {
	c, code := installedModule(t, "good")
	code[len(code)-1] ^= 1
	writeFile(t, c.Installed[0].File, string(code))
	_, err := Discover(t.Context(), c, "m", requestOf(t, `{"process":{}}`), "", nil)
	if err == nil || !strings.Contains(err.Error(), "is not the module that was installed: its digest is "+host.DigestOf(code)) {
		t.Errorf("got %v", err)
	}
}

// T31, for modules: whoever is not root must not have been able to make, change or
// exchange one.
func TestT31AModuleThatOthersMayChangeIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(file string) error
		want  string // %s is the file, %d its folder
	}{
		"writable": {func(file string) error { return os.Chmod(file, 0o666) }, "FILE: is not trusted: others may write it (mode 0666); chmod go-w FILE"},
		"foreign":  {func(file string) error { return os.Chown(file, 1000, 0) }, "FILE: is not trusted: it belongs to uid 1000; chown it to root"},
		"link": {func(file string) error {
			if err := os.Rename(file, file+".real"); err != nil {
				return err
			}
			return os.Symlink(file+".real", file)
		}, "FILE: is not trusted: it is a symbolic link"},
		"hard link": {func(file string) error { return os.Link(file, file+".too") }, "FILE: has 2 names"},
		"fifo": {func(file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return unix.Mkfifo(file, 0o600)
		}, "FILE: is not a regular file"},
		"lax folder":    {func(file string) error { return os.Chmod(filepath.Dir(file), 0o777) }, "FOLDER: leads to FILE and is not trusted: others may write it (mode 0777)"},
		"sticky folder": {func(file string) error { return os.Chmod(filepath.Dir(file), os.ModeSticky|0o777) }, "FOLDER: leads to FILE and is not trusted: others may write it (mode 1777)"},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && name == "foreign" {
				unavailable(t, "needs root, to give a file away")
			}
			c, _ := installedModule(t, "good")
			file := c.Installed[0].File
			if err := test.spoil(file); err != nil {
				t.Fatal(err)
			}
			want := "mode m: " + strings.NewReplacer("FILE", file, "FOLDER", filepath.Dir(file)).Replace(test.want)
			_, err := Discover(t.Context(), c, "m", requestOf(t, `{"process":{}}`), "", nil)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestSelfTestStartsAModule(t *testing.T) {
	c := host.DefaultConfig()
	good := guestModule(i32Const(0), "")
	if err := SelfTest(t.Context(), c, good); err != nil {
		t.Error(err)
	}
	if err := CheckCode(good); err != nil {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		code []byte
		want string
	}{
		"text":  {[]byte("this is text"), "is not a WebAssembly module"},
		"empty": {wasm(), `does not export its memory as "memory"; it is not a module for tenon`},
	} {
		for _, err := range []error{CheckCode(test.code), SelfTest(t.Context(), c, test.code)} {
			if err == nil || err.Error() != test.want {
				t.Errorf("%s: got %v, want %s", name, err, test.want)
			}
		}
	}
	// One that traps when it starts, and one that never has started.
	exports := section(7, list(bytesOf(text("memory"), 2, 0), bytesOf(text("tenon_discover"), 0, funcDiscover)))
	for name, test := range map[string]struct {
		start []byte
		want  string
	}{
		"trap": {bytesOf(opUnreachable), "trapped: unreachable"},
		"exit": {bytesOf(i32Const(3), opCall, funcExit), "exited with code 3"},
	} {
		m := slicesReplace(good, exports, section(7, list(bytesOf(text("memory"), 2, 0),
			bytesOf(text("tenon_discover"), 0, funcDiscover), bytesOf(text("_initialize"), 0, 4))))
		m = slicesReplace(m, section(3, list([]byte{typeDiscover})), section(3, list([]byte{typeDiscover}, []byte{typeNone})))
		m = slicesReplace(m, section(10, list(sized(bytesOf(list(), i32Const(0), opEnd)))),
			section(10, list(sized(bytesOf(list(), i32Const(0), opEnd)), sized(bytesOf(list(), test.start, opEnd)))))
		if err := CheckCode(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := SelfTest(t.Context(), c, m); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}
