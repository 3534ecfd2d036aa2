// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A folder more than maxFolders is not held; what lies in it is found all the same.
func TestFoldersAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxFolders + 3 {
		p := fmt.Sprintf("%s/%d", dir, i)
		if err := errors.Join(os.Mkdir(p, 0o755), os.WriteFile(p+"/f", nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.close()
	root.hold()
	for i := range maxFolders + 3 {
		p := fmt.Sprintf("/%d/f", i)
		n, err := root.look(p, true)
		if err != nil || n.real != p || n.kind() != unix.S_IFREG || (n.fd < 0) != (i < maxFolders) {
			t.Errorf("%s: %+v, %v", p, n, err)
		}
		n.close()
	}
	if len(root.folders) != maxFolders {
		t.Errorf("%d folders are held", len(root.folders))
	}
}

// What a glance tells is what a lookup tells.
func TestGlanceIsLookup(t *testing.T) {
	dir := machineTree(t)
	root, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.close()
	root.hold()
	known := 0
	check := func(p string) {
		for _, follow := range []bool{false, true} {
			glance, ok, glanceErr := root.glance(p, follow)
			if !ok {
				continue
			}
			known++
			found, err := root.lookup(p, follow)
			if (glanceErr == nil) != (err == nil) || glanceErr != nil && codeOf(glanceErr) != codeOf(err) {
				t.Errorf("%s: glance says %v, lookup %v", p, glanceErr, err)
			}
			if err != nil {
				continue
			}
			a, b := glance.stat, found.stat
			same := a.Dev == b.Dev && a.Ino == b.Ino && a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid && a.Rdev == b.Rdev && a.Size == b.Size
			if !same || glance.real != found.real || glance.mount != found.mount {
				t.Errorf("%s: glance %+v, lookup %+v", p, glance, found)
			}
			found.close()
		}
	}
	err = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if p = strings.TrimPrefix(p, dir); err == nil && p != "" {
			check(p)
			check(p + "-none")
			check(p + "/none")
		}
		return err
	})
	for _, p := range []string{"/", "/abs/x", "/l/..", "/circle/x"} {
		check(p)
	}
	if err != nil || known < 20 {
		t.Errorf("%d were known, %v", known, err)
	}
}
