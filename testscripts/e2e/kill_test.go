// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"errors"
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

// A victim is a command that is killed before each system call by which it would
// change something.
type victim struct {
	command []string
	env     []string
	stdin   string                           // a file; "" for none
	prepare func(t *testing.T)               // makes everything as it is before
	killed  func(t *testing.T, where string) // looks at what a killed one leaves
	whole   func(t *testing.T, where string) // looks at what the next one, unharmed, leaves
	must    []string                         // calls that it is known to make, as "PROGRAM CALL"
}

// everywhere kills it, and returns at how many points.
func (v victim) everywhere(t *testing.T) int {
	t.Helper()
	v.prepare(t)
	seen := v.straced(t)
	points := 0
	for _, point := range slices.Sorted(maps.Keys(seen)) {
		n := 1
		for ; ; n++ {
			v.prepare(t)
			k, err := runKiller(point, n, v)
			must(t, err)
			if !k.Done {
				if k.Status != 0 {
					t.Fatalf("%s: unharmed, it ends with status %d", point, k.Status)
				}
				break
			}
			where := fmt.Sprintf("killed before %s number %d", point, n)
			v.killed(t, where)
			v.run(t)
			v.whole(t, where)
			if n > 100 {
				t.Fatalf("%s: it does not end", point)
			}
		}
		t.Logf("%4d × %s", n-1, point)
		if n == 1 {
			t.Errorf("strace sees %s, at which nothing was killed", point)
		}
		points += n - 1
	}
	for _, point := range v.must {
		if !seen[point] {
			t.Errorf("strace does not see %s: it is blind", point)
		}
	}
	t.Logf("killed at %d points, all there are", points)
	return points
}

// run runs it to its end. It has nothing to say.
func (v victim) run(t *testing.T) {
	t.Helper()
	cmd := exec.Command(v.command[0], v.command[1:]...)
	cmd.Env = append(os.Environ(), v.env...)
	if v.stdin != "" {
		f, err := os.Open(v.stdin)
		must(t, err)
		defer f.Close()
		cmd.Stdin = f
	}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s: %v\n%s", v.command[0], err, out)
	}
}

// A create is killed at every change, be it in tenon-runtime or in tenon-engine:
// config.json is the old one or the new one, and the next create does all of it,
// and leaves nothing behind.
func TestKilledCreate(t *testing.T) {
	bundle, state, kept := scratch+"/kill", "/run/tenon-kill", scratch+"/kill-state"
	old := []byte(`{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["/load"],"env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES=all"]},` +
		`"root":{"path":"` + rootfs + `"},"mounts":[],"linux":{"namespaces":[{"type":"mount"}]}}`)
	must(t, os.MkdirAll(bundle, 0o755))
	configure(t, `mode = "csv"`+"\nruntimes = [\""+scratch+"/no-runc\"]\n[limits]\nwall_ms = 60_000\n") // a traced module is slow
	must(t, write(scratch+"/no-runc", "#!/bin/sh\nexit 0\n", 0o755))
	config := filepath.Join(bundle, "config.json")
	v := victim{command: []string{"/usr/bin/tenon-runtime", "create", "--bundle", bundle, "killed"}, env: []string{"TENON_STATE=" + state}}
	cold := func(t *testing.T) {
		t.Helper()
		must(t, os.RemoveAll(state))
		must(t, write(config, string(old), 0o644))
	}
	// Settings are kept only where the configuration is some seconds old.
	for deadline := time.Now().Add(10 * time.Second); ; {
		cold(t)
		v.run(t)
		if settings, _ := filepath.Glob(state + "/settings/*"); len(settings) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no settings are ever kept")
		}
	}
	copyState := func(t *testing.T, from, to string) {
		t.Helper()
		must(t, os.RemoveAll(to))
		if out, code := command(t, "cp", "-a", from, to); code != 0 {
			t.Fatal(out)
		}
	}
	copyState(t, state, kept)
	edited, err := os.ReadFile(config)
	must(t, err)
	if bytes.Equal(edited, old) {
		t.Fatal("the create changes nothing")
	}
	atRest := files(t, bundle, state)
	v.killed = func(t *testing.T, where string) {
		t.Helper()
		if now, err := os.ReadFile(config); err != nil || !bytes.Equal(now, old) && !bytes.Equal(now, edited) {
			t.Fatalf("%s: config.json is neither old nor new: %v\n%s", where, err, now)
		}
	}
	v.whole = func(t *testing.T, where string) {
		t.Helper()
		if now, err := os.ReadFile(config); err != nil || !bytes.Equal(now, edited) {
			t.Fatalf("%s: after the next create, config.json is %v\n%s", where, err, now)
		}
		if left := files(t, bundle, state); !slices.Equal(left, atRest) {
			t.Fatalf("%s: after the next create there are\n%v\nwant\n%v", where, left, atRest)
		}
	}
	total := 0
	t.Run("cold", func(t *testing.T) {
		v := v
		v.prepare = cold
		v.must = []string{"tenon-runtime renameat", "tenon-engine renameat", "tenon-engine mkdirat", "tenon-runtime fchmod"}
		total += v.everywhere(t)
	})
	t.Run("warm", func(t *testing.T) {
		v := v
		v.prepare = func(t *testing.T) {
			t.Helper()
			cold(t)
			copyState(t, kept, state)
		}
		v.must = []string{"tenon-runtime renameat", "tenon-runtime fchmod"}
		total += v.everywhere(t)
	})
	t.Logf("a create was killed at each of its %d changes, cold and warm", total)
}

// The hooks of a create are killed at every change of the container's root: a file
// or link is the old one or the new one, and the next hook does all of it, and
// leaves nothing behind.
func TestKilledHook(t *testing.T) {
	bundle := scratch + "/kill-hook"
	root := bundle + "/rootfs"
	must(t, os.MkdirAll(bundle, 0o755))
	if out, code := command(t, "cp", "-a", rootfs, root); code != 0 {
		t.Fatal(out)
	}
	must(t, os.MkdirAll(root+"/usr/lib/demo", 0o755))
	library, err := os.ReadFile("/usr/lib/demo/libdemo.so.1.2")
	must(t, err)
	must(t, write(root+"/usr/lib/demo/libdemo.so.1.2", string(library), 0o755))
	must(t, write(bundle+"/config.json", `{"root": {"path": "rootfs"}}`, 0o644))
	must(t, write(bundle+"/state.json", fmt.Sprintf(`{"ociVersion": "1.0.2", "id": "killed", "status": "creating", "pid": 1, "bundle": %q}`, bundle), 0o644))

	cache, link := root+"/etc/ld.so.cache", root+"/usr/lib/demo/libdemo.so"
	const oldCache, oldTarget, newTarget = "an old cache", "libold.so", "libdemo.so.1"
	hooks := map[string]struct {
		args  []string
		place string
		make  func() error           // the old one
		read  func() (string, error) // what is there
		must  string
	}{
		"update-ldcache": {[]string{"--folder", "/usr/lib/demo"}, cache,
			func() error { return os.WriteFile(cache, []byte(oldCache), 0o644) },
			func() (string, error) { data, err := os.ReadFile(cache); return string(data), err }, "tenon-hook renameat2"},
		"create-symlinks": {[]string{"--link", newTarget + "::/usr/lib/demo/libdemo.so"}, link,
			func() error { return os.Symlink(oldTarget, link) },
			func() (string, error) { return os.Readlink(link) }, "tenon-hook symlinkat"},
	}
	total := 0
	for name, hook := range hooks {
		v := victim{command: slices.Concat([]string{"/usr/bin/tenon-hook", name}, hook.args), stdin: bundle + "/state.json", must: []string{hook.must}}
		remove := func(t *testing.T) {
			t.Helper()
			must(t, os.RemoveAll(hook.place))
		}
		// A cache says what it was made from as soon as nothing is quite new.
		var made string
		for last := ""; ; last = made {
			remove(t)
			v.run(t)
			made, err = hook.read()
			must(t, err)
			if made == last {
				break
			}
			time.Sleep(60 * time.Millisecond)
		}
		atRest := files(t, root)
		for _, there := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, there before %v", name, there), func(t *testing.T) {
				before := ""
				v := v
				v.prepare = func(t *testing.T) {
					t.Helper()
					remove(t)
					if there {
						must(t, hook.make())
						before, err = hook.read()
						must(t, err)
					}
				}
				v.killed = func(t *testing.T, where string) {
					t.Helper()
					now, err := hook.read()
					if err != nil && (there || !errors.Is(err, os.ErrNotExist)) || err == nil && now != made && (!there || now != before) {
						t.Fatalf("%s: %s is neither old nor new: %v\n%q", where, hook.place, err, now)
					}
				}
				v.whole = func(t *testing.T, where string) {
					t.Helper()
					if now, err := hook.read(); err != nil || now != made {
						t.Fatalf("%s: after the next hook, %s is %v\n%q", where, hook.place, err, now)
					}
					if left := files(t, root); !slices.Equal(left, atRest) {
						t.Fatalf("%s: after the next hook there are\n%v\nwant\n%v", where, left, atRest)
					}
				}
				total += v.everywhere(t)
			})
		}
	}
	t.Logf("hooks were killed at each of their %d changes", total)
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

// harmless are the system calls that change nothing but the process that makes
// them, or one of its own: by their names, and some by their arguments. Whatever
// is not among them counts as a change.
var harmless = strings.Fields(`access arch_prctl brk capget chdir clock_gettime clock_nanosleep clone clone3 close close_range dup dup2 dup3
	epoll_create1 epoll_ctl epoll_pwait eventfd2 execve exit exit_group fchdir fgetxattr fsopen fstat fstatfs futex getcwd getdents64 getegid
	geteuid getgid getpid getppid getrandom getrlimit gettid getuid getxattr lgetxattr lseek lstat madvise mincore mlock mlockall mprotect
	munlockall munmap nanosleep newfstatat open_tree pidfd_open pidfd_send_signal pipe2 poll ppoll prctl pread64 prlimit64 read readlink
	readlinkat readv restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield set_robust_list
	set_tid_address setrlimit sigaltstack stat statfs statx tgkill umask uname vfork wait4 waitid`)

// changing reports whether a call changes something, by what strace prints of it.
func changing(call, args string) bool {
	switch call {
	case "open", "openat", "openat2":
		return strings.Contains(args, "O_CREAT") || strings.Contains(args, "O_TRUNC")
	case "mmap":
		return strings.Contains(args, "MAP_SHARED") && strings.Contains(args, "PROT_WRITE")
	case "fcntl":
		return !strings.Contains(args, ", F_GET") && !strings.Contains(args, ", F_SETFL") && !strings.Contains(args, ", F_SETFD") && !strings.Contains(args, ", F_DUPFD")
	}
	return !slices.Contains(harmless, call)
}

// straced returns the calls that change something, as "PROGRAM CALL", as strace
// sees them. The killer must know each of them.
func (v victim) straced(t *testing.T) map[string]bool {
	t.Helper()
	log := scratch + "/strace.log"
	traced := v
	traced.command = append([]string{"/usr/bin/strace", "-f", "-o", log}, v.command...)
	traced.run(t)
	text, err := os.ReadFile(log)
	must(t, err)
	seen := map[string]bool{}
	programs := map[string]string{} // by thread
	known := slices.Collect(maps.Values(mutating))
	for line := range strings.Lines(string(text)) {
		thread, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if file, ok := strings.CutPrefix(rest, `execve("`); ok {
			file, _, _ = strings.Cut(file, `"`)
			programs[thread] = filepath.Base(file)
		}
		if programs[thread] == "" {
			programs[thread] = "?"
		}
		// A thread or process is the program of whoever cloned it, until it executes.
		if m := cloned.FindStringSubmatch(rest); m != nil && (programs[m[1]] == "" || programs[m[1]] == "?") {
			programs[m[1]] = programs[thread]
		}
		call, args, ok := strings.Cut(rest, "(")
		if !ok || strings.ContainsAny(call, " <+-?") || !changing(call, args) {
			continue // the end of a call, a signal, the end of a process
		}
		switch program := programs[thread]; {
		case program == "?":
			t.Errorf("strace: whose is %q", line)
		case !strings.HasPrefix(program, "tenon-"):
		case !slices.Contains(known, call):
			t.Errorf("%s makes a call that the killer does not know and that may change something: %q", program, line)
		default:
			seen[program+" "+call] = true
		}
	}
	return seen
}

// cloned finds the new thread or process where strace prints the end of a call.
var cloned = regexp.MustCompile(`^(?:clone|clone3|vfork|fork|<\.\.\. (?:clone|clone3|vfork|fork) resumed>).* = (\d+)$`)
