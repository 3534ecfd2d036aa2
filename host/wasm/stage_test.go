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
