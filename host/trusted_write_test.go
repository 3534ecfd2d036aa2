// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteTrustedMakesAFileThatIsTrusted(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	file := filepath.Join(trustedDir(t), "a", "b", "file")
	for _, text := range []string{"one", "", "two"} {
		if err := WriteTrusted(file, []byte(text), 0o444); err != nil {
			t.Fatal(err)
		}
		f, err := OpenTrusted(file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		f.Close()
		got, _ := os.ReadFile(file)
		if err != nil || info.Mode() != 0o444 || string(got) != text {
			t.Errorf("mode %v, content %q, %v", info.Mode(), got, err)
		}
	}
	for _, dir := range []string{filepath.Dir(file), filepath.Dir(filepath.Dir(file))} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: mode %v, %v", dir, info.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("beside it there is something left: %v, %v", entries, err)
	}
	other := filepath.Join(filepath.Dir(file), "other")
	if err := WriteTrusted(other, []byte("three"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ExchangeTrusted(file, other); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != "three" {
		t.Errorf("after the exchange: %q", got)
	}
	for range 2 { // what is not there is removed, too
		if err := RemoveTrusted(file); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("is still there: %v", err)
	}
	if err := RemoveTrusted("/no-such-folder/x/file"); err != nil {
		t.Error(err)
	}
}

func TestWriteTrustedRefusesWhatOthersMayChange(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"lax":  {func(dir string) error { return os.Chmod(dir, 0o777) }, "DIR: leads to FILE and is not trusted: others may write it (mode 0777)"},
		"file": {func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o644)) }, "DIR: leads to FILE and is not trusted: it is a symbolic link or no folder"},
		"link": {func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".real"), os.Symlink(dir+".real", dir))
		}, "DIR: leads to FILE and is not trusted: it is a symbolic link or no folder"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(trustedDir(t), "d")
			if err := errors.Join(os.Mkdir(dir, 0o755), test.spoil(dir)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "file")
			want := strings.NewReplacer("FILE", file, "DIR", dir).Replace(test.want)
			_, lockErr := LockTrusted(dir)
			for _, err := range []error{WriteTrusted(file, nil, 0o644), RemoveTrusted(file), ExchangeTrusted(file, file)} {
				if err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			}
			if lockErr == nil {
				t.Error("it can be locked")
			}
			if _, err := os.Stat(filepath.Join(dir+".real", "file")); err == nil {
				t.Error("it was written all the same")
			}
		})
	}
	for _, path := range []string{"relative", "/", "/a/../b"} {
		if err := WriteTrusted(path, nil, 0o644); err == nil || !strings.Contains(err.Error(), "is not an absolute path in its shortest form") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestLockTrustedKeepsOthersOut(t *testing.T) {
	dir := filepath.Join(trustedDir(t), "new")
	unlock, err := LockTrusted(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("another one gets it: %v", err)
	}
	unlock()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("nobody gets it afterwards: %v", err)
	}
}
