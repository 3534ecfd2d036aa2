// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// changing finds the calls that change something in what strace -f prints, by
// their names alone: it knows more of them than the killer does, and the test
// fails where a create makes one that the killer would let pass.
var changing = regexp.MustCompile(`^\d+ +((?:p?write|rename|unlink|rmdir|mkdir|mknod|link|symlink|f?chmod|[fl]?chown|creat|f?truncate|fallocate|` +
	`[fl]?setxattr|[fl]?removexattr|utime|futimes|flock|f(?:data)?sync|sendfile|copy_file_range|splice|tee|vmsplice|u?mount|pivot_root|chroot)` +
	`[a-z0-9]*|open(?:at|at2)?\(.*O_(?:CREAT|TRUNC).*)\(?`)

// A create is killed before each system call by which it would change something,
// be it in tenon-runtime or in tenon-engine: config.json is the old one or the
// new one, and the next create does all of it, and leaves nothing behind.
func TestKilledAtEveryChange(t *testing.T) {
	bundle := scratch + "/kill"
	state := "/run/tenon-kill"
	old := []byte(`{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["/load"],"env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES=all"]},` +
		`"root":{"path":"` + rootfs + `"},"mounts":[],"linux":{"namespaces":[{"type":"mount"}]}}`)
	must(t, os.MkdirAll(bundle, 0o755))
	configure(t, `mode = "csv"`+"\nruntimes = [\""+scratch+"/no-runc\"]\n")
	must(t, write(scratch+"/no-runc", "#!/bin/sh\nexit 0\n", 0o755))
	env := []string{"TENON_STATE=" + state}
	create := []string{"/usr/bin/tenon-runtime", "create", "--bundle", bundle, "killed"}
	config := filepath.Join(bundle, "config.json")
	fresh := func(t *testing.T, cold bool) {
		t.Helper()
		if cold {
			must(t, os.RemoveAll(state))
		}
		must(t, write(config, string(old), 0o644))
	}
	whole := func(t *testing.T) {
		t.Helper()
		cmd := exec.Command(create[0], create[1:]...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("create: %v\n%s", err, out)
		}
	}
	// Settings are kept only where the configuration is some seconds old.
	for deadline := time.Now().Add(10 * time.Second); ; {
		fresh(t, true)
		whole(t)
		if kept, _ := filepath.Glob(state + "/settings/*"); len(kept) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no settings are ever kept")
		}
	}
	edited, err := os.ReadFile(config)
	must(t, err)
	if bytes.Equal(edited, old) {
		t.Fatal("the create changes nothing")
	}
	atRest := files(t, bundle, state)

	for name, cold := range map[string]bool{"cold": true, "warm": false} {
		t.Run(name, func(t *testing.T) {
			prepare := func() {
				t.Helper()
				fresh(t, true)
				if !cold {
					whole(t)
					fresh(t, false)
				}
			}
			prepare()
			seen := straced(t, env, create)
			points := 0
			for _, point := range slices.Sorted(maps.Keys(seen)) {
				n := 1
				for ; ; n++ {
					prepare()
					k, err := runKiller(point, n, env, create...)
					must(t, err)
					if !k.Done {
						if k.Status != 0 {
							t.Fatalf("%s: unharmed, the create ends with status %d", point, k.Status)
						}
						break
					}
					where := fmt.Sprintf("killed before %s number %d", point, n)
					now, err := os.ReadFile(config)
					if err != nil || !bytes.Equal(now, old) && !bytes.Equal(now, edited) {
						t.Fatalf("%s: config.json is neither old nor new: %v\n%s", where, err, now)
					}
					whole(t)
					if now, err = os.ReadFile(config); err != nil || !bytes.Equal(now, edited) {
						t.Fatalf("%s: after the next create, config.json is %v\n%s", where, err, now)
					}
					if left := files(t, bundle, state); !slices.Equal(left, atRest) {
						t.Fatalf("%s: after the next create there are\n%v\nwant\n%v", where, left, atRest)
					}
					if n > 100 {
						t.Fatalf("%s: the create does not end", point)
					}
				}
				t.Logf("%4d × %s", n-1, point)
				if n == 1 {
					t.Errorf("strace sees %s, at which nothing was killed", point)
				}
				points += n - 1
			}
			t.Logf("killed at %d points", points)
			for _, point := range []string{"tenon-runtime renameat", "tenon-engine renameat"} {
				if !seen[point] && (cold || !strings.HasPrefix(point, "tenon-engine")) {
					t.Errorf("strace does not see %s: it is blind", point)
				}
			}
		})
	}
}

// files lists what is in the folders, by names: no file that is there for a moment
// only may be among them.
func files(t *testing.T, folders ...string) []string {
	t.Helper()
	var list []string
	for _, folder := range folders {
		must(t, filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
			list = append(list, path)
			return err
		}))
	}
	return list
}

// straced returns the calls of a create that change something, as "PROGRAM CALL".
func straced(t *testing.T, env, create []string) map[string]bool {
	t.Helper()
	log := scratch + "/strace.log"
	cmd := exec.Command("strace", append([]string{"-f", "-o", log}, create...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("strace: %v\n%s", err, out)
	}
	text, err := os.ReadFile(log)
	must(t, err)
	seen := map[string]bool{}
	programs := map[string]string{} // by thread
	for line := range strings.Lines(string(text)) {
		pid, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if file, ok := strings.CutPrefix(rest, `execve("`); ok {
			file, _, _ = strings.Cut(file, `"`)
			programs[pid] = filepath.Base(file)
		}
		if programs[pid] == "" {
			programs[pid] = "?"
		}
		// A thread or process is the program of whoever cloned it, until it executes.
		if m := cloned.FindStringSubmatch(rest); m != nil && programs[m[1]] == "" || m != nil && programs[m[1]] == "?" {
			programs[m[1]] = programs[pid]
		}
		m := changing.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		call, _, _ := strings.Cut(m[1], "(")
		if !strings.HasPrefix(programs[pid], "tenon-") && programs[pid] != "?" {
			continue
		}
		if programs[pid] == "?" {
			t.Errorf("strace: whose is %q", line)
		}
		seen[programs[pid]+" "+call] = true
	}
	if len(seen) < 3 {
		t.Errorf("strace sees only %v", seen)
	}
	return seen
}

// cloned finds the new thread or process where strace prints the end of a call.
var cloned = regexp.MustCompile(`^(?:clone|clone3|vfork|fork|<\.\.\. (?:clone|clone3|vfork|fork) resumed>).* = (\d+)$`)
