// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-runtime/tenon/host"
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

// trustedDir makes a folder that host.OpenTrusted accepts. t.TempDir is none: it
// lies in /tmp, which everybody may write. So folders that usually belong to
// root or to the user alone are tried, the checkout's build folder first.
func trustedDir(t *testing.T) string {
	t.Helper()
	build, err := filepath.Abs("../../build")
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
		if f, err := host.OpenTrusted(filepath.Join(dir, "probe")); err == nil {
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

// openManifest is of a module that may ask and edit whatever can be granted here.
const openManifest = `{"abi":{"major":1,"minor":0},"name":"acme.example/m","version":"1.0.0","grants":{"env":["**"],"annotations":["**"],"mounts":["/"],"config":true,` +
	`"fs":[{"root":"host","ops":["stat","readdir","read","readlink","glob","realpath","which"],"paths":["/**"]},` +
	`{"root":"container","ops":["stat","readdir","read","readlink","glob","realpath"],"paths":["/**"]}]},"edits":{}}`

// asInstalled is c with what lies in its ModuleDir as MODE.wasm being installed as
// the module of the mode, with all that its manifest asks for.
func asInstalled(t testing.TB, c host.Config, mode string) host.Config {
	t.Helper()
	file := filepath.Join(c.ModuleDir, mode+".wasm")
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := host.ManifestOf(code)
	if err != nil {
		t.Fatal(err)
	}
	m, err := host.ParseManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	c.Installed = []host.Installed{{Name: mode, Digest: host.DigestOf(code), File: file, Manifest: m.Text, Accepted: m.GrantsText, Entry: "/etc/tenon/modules.d/" + mode + ".toml"}}
	return c
}

// withManifest adds openManifest to a module.
func withManifest(t testing.TB, module []byte) []byte {
	t.Helper()
	module, err := host.WithManifest(module, []byte(openManifest))
	if err != nil {
		t.Fatal(err)
	}
	return module
}
