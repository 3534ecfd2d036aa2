// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/ldcache"
)

// flip exchanges two names of the root as fast as it can, until stop is called,
// which returns how often.
func (a *attack) flip(one, other string) (stop func() int) {
	a.t.Helper()
	one, other = filepath.Join(a.rootfs, one), filepath.Join(a.rootfs, other)
	end := make(chan struct{})
	var done sync.WaitGroup
	count := 0
	done.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			if unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE) == nil {
				count++
			}
		}
	})
	return func() int {
		close(end)
		done.Wait()
		return count
	}
}

// T14, R12: while the hook works, someone exchanges what it reads and writes
// with links out of the root.
func TestT14R12Exchange(t *testing.T) {
	for name, at := range map[string]string{"etc": "etc", "conf": "etc/ld.so.conf.d", "lib": "usr/lib", "vendor": "usr/lib/vendor", "cache": "etc/ld.so.cache"} {
		for _, walk := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, walk %v", name, walk), func(t *testing.T) {
				a := newAttack(t)
				a.files(a.rootfs, map[string]string{"etc/ld.so.cache": "old"})
				a.must(os.Symlink(a.canary, filepath.Join(a.rootfs, "evil")))
				if name == "cache" {
					a.must(os.Remove(filepath.Join(a.rootfs, "evil")))
					a.must(os.Symlink(filepath.Join(a.canary, "ld.so.cache"), filepath.Join(a.rootfs, "evil")))
				}
				args := []string{"update-ldcache", "--required", "--folder", "/usr/lib/vendor"}
				if walk {
					args = append(args, "--walk")
				}
				stop := a.flip(at, "evil")
				done, skipped := 0, 0
				for range races(t) {
					switch r := finish(a.command(args...)); r.status {
					case 0:
						done++
					case 1:
						skipped++
					default:
						t.Fatalf("status %d\n%s", r.status, r.out)
					}
				}
				flips := stop()
				t.Logf("%d done, %d not done, %d exchanges", done, skipped, flips)
				if flips < done+skipped {
					t.Errorf("only %d exchanges in %d runs: no race", flips, done+skipped)
				}
				a.unharmed()
			})
		}
	}
}

// R12: the same for links.
func TestR12ExchangeWhileLinking(t *testing.T) {
	a := newAttack(t)
	a.files(a.rootfs, map[string]string{"opt/real/": ""})
	a.must(os.Symlink(a.canary, filepath.Join(a.rootfs, "evil")))
	stop := a.flip("opt/real", "evil")
	for i := range races(t) {
		r := finish(a.command("create-symlinks", "--link", fmt.Sprintf("target::/opt/real/deep/l%d", i)))
		if r.status != 0 && r.status != 1 {
			t.Fatalf("status %d\n%s", r.status, r.out)
		}
	}
	t.Logf("%d exchanges", stop())
	a.unharmed()
}

// R02: a link of the image to a file of the machine, exchanged with a library
// while containers start. Nothing of the image is mounted, and what of it ends
// up in the cache is a path of its own.
func TestR01R02NothingOfTheImageIsMounted(t *testing.T) {
	a := newAttack(t)
	a.files(a.rootfs, map[string]string{"usr/local/cuda/compat/libcuda.so.999.1": library("libcuda.so.1"), "usr/local/cuda/compat/libslash.so.1 -> /": ""})
	a.must(os.Symlink(filepath.Join(a.canary, "secret"), filepath.Join(a.rootfs, "usr/local/cuda/compat/libevil.so.1")))
	a.edits(discover.Edits{ABI: 1, LdCache: discover.LdCache{Dirs: []string{"/usr/local/cuda/compat"}}})
	stop := a.flip("usr/local/cuda/compat/libcuda.so.999.1", "usr/local/cuda/compat/libevil.so.1")
	for range max(3, races(t)/20) {
		r := a.mustRun("/bin/sh", "-c", "cat /proc/self/mountinfo; cat /etc/ld.so.cache >/dev/null")
		for line := range strings.Lines(r.out) {
			if f := strings.Fields(line); f[4] != "/" && !strings.HasPrefix(f[4], "/proc") && !strings.HasPrefix(f[4], "/dev") {
				t.Errorf("a mount: %s", line)
			}
		}
	}
	stop()
	c, err := ldcache.Decode([]byte(a.inRoot("etc/ld.so.cache")))
	a.must(err)
	for _, e := range c.Entries {
		if strings.Contains(e.Value, a.dir) {
			t.Errorf("entry %+v", e)
		}
	}
}

// R03: links on the way to a mount's destination are runc's to resolve; the hook
// makes no mount points.
func TestR03LinksOnTheWayToAMount(t *testing.T) {
	a := newAttack(t)
	a.must(os.Symlink(a.canary, filepath.Join(a.rootfs, "opt")))
	a.files(a.dir, map[string]string{"driver/libdrv.so.1": library("libdrv.so.1")})
	a.mount(mount("bind", filepath.Join(a.dir, "driver"), "/opt/driver/lib", "bind", "ro"))
	a.edits(discover.Edits{ABI: 1, LdCache: discover.LdCache{Dirs: []string{"/opt/driver/lib"}}})
	a.run("/bin/true")
}

// R05: the image's own ldconfig is never started.
func TestR05LdconfigOfTheImage(t *testing.T) {
	a := newAttack(t)
	for _, path := range []string{"sbin/ldconfig", "sbin/ldconfig.real", "usr/sbin/ldconfig", "usr/bin/ldconfig", "lib64/ld-linux-x86-64.so.2"} {
		a.files(a.rootfs, map[string]string{path: "#!/bin/sh\necho >" + a.canary + "/started\necho >/started\n"})
		a.must(os.Chmod(filepath.Join(a.rootfs, path), 0o755))
	}
	a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
	if _, err := os.Stat(filepath.Join(a.rootfs, "started")); err == nil {
		t.Error("a program of the image was started")
	}
}

// The hook is one process image from its start to its end.
func TestHookExecutesNothing(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		missing(t, "strace is not installed")
	}
	for _, args := range [][]string{
		{"update-ldcache", "--folder", "/usr/lib/vendor"},
		{"create-symlinks", "--link", "a::/opt/b"},
		{"chmod", "--mode", "755", "--path", "/opt"},
		{"disable-device-node-modification"},
	} {
		a := newAttack(t)
		cmd := a.command(args...)
		trace := filepath.Join(a.dir, "trace")
		cmd.Path, cmd.Args = strace, append([]string{"strace", "-f", "-o", trace, "-e", "trace=execve,execveat,fork,vfork,clone,clone3", a.hook}, args...)
		if r := finish(cmd); r.status != 0 {
			t.Fatalf("%q: status %d\n%s", args, r.status, r.out)
		}
		data, err := os.ReadFile(trace)
		a.must(err)
		starts := 0
		for line := range strings.Lines(string(data)) {
			switch {
			case strings.Contains(line, "exec"):
				starts++
			case strings.Contains(line, "clone") && !strings.Contains(line, "CLONE_THREAD") && !strings.Contains(line, "resumed"):
				t.Errorf("%q: a process: %s", args, line)
			}
		}
		if starts != 1 {
			t.Errorf("%q: %d programs\n%s", args, starts, data)
		}
	}
}

// T17: a hook that hangs ends by itself, and by the runtime's timeout.
func TestT17HookThatHangs(t *testing.T) {
	t.Run("state that never ends", func(t *testing.T) {
		a := newAttack(t)
		var both sync.WaitGroup
		for _, required := range []bool{true, false} {
			read, write, err := os.Pipe()
			a.must(err)
			cmd := a.command("update-ldcache", "--folder", "/usr/lib/vendor")
			want, text := 0, ""
			if required {
				cmd.Args = append(cmd.Args, "--required")
				want, text = 75, "tenon-hook: not done after 20s\n"
			}
			cmd.Stdin = read
			both.Go(func() {
				r := finish(cmd)
				write.Close()
				read.Close()
				if r.status != want || r.out != text || r.took > 55*time.Second {
					t.Errorf("required %v: status %d after %v\n%s", required, r.status, r.took, r.out)
				}
			})
		}
		both.Wait()
	})
	t.Run("timeout of the runtime", func(t *testing.T) {
		a := newAttack(t)
		hook := a.config["hooks"].(map[string]any)["createContainer"].([]any)[0].(map[string]any)
		if timeout, ok := hook["timeout"].(float64); !ok || timeout <= 0 {
			t.Fatalf("timeout %v", hook["timeout"])
		}
		busybox, err := exec.LookPath("busybox")
		a.must(err)
		hook["path"], hook["args"], hook["timeout"] = busybox, []string{"sleep", "60"}, 2
		if r := a.run("/bin/true"); r.status == 0 || r.took > 30*time.Second {
			t.Errorf("status %d after %v\n%s", r.status, r.took, r.out)
		}
	})
}

// T18, R13: another container in the same PID namespace looks for the hook.
func TestT18R13SharedProcesses(t *testing.T) {
	a := newAttack(t)
	poller := newAttack(t)
	capabilities := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"} // dockerd's default
	poller.config["process"].(map[string]any)["capabilities"] = map[string]any{"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
	delete(poller.config, "hooks")
	poller.must(os.WriteFile(filepath.Join(poller.rootfs, "poll"), []byte(`
echo ready >/ready
while [ ! -e /end ]; do
	for p in /proc/[0-9]*; do
		read -r line 2>/dev/null <$p/comm || continue
		[ "$line" = tenon-hook ] || continue
		echo seen >>/seen
		for link in exe root cwd fd/0; do
			if to=$(readlink $p/$link 2>/dev/null) && [ -n "$to" ]; then echo "$link $to" >>/found; fi
		done
		if [ -n "$(ls $p/root/ 2>/dev/null)" ]; then echo root >>/found; fi
		if (echo x >>$p/exe) 2>/dev/null; then echo exe written >>/found; fi
		if (echo x >>$p/mem) 2>/dev/null; then echo mem written >>/found; fi
	done
done
`), 0o644))
	ended := make(chan result)
	go func() { ended <- poller.run("/bin/sh", "/poll") }()
	pid := ""
	for deadline := time.Now().Add(30 * time.Second); pid == ""; {
		if time.Now().After(deadline) {
			t.Fatal("the polling container does not start")
		}
		if _, err := os.Stat(filepath.Join(poller.rootfs, "ready")); err != nil {
			continue
		}
		out, err := exec.Command("runc", "--root", filepath.Join(poller.dir, "state"), "ps", "-f", "json", filepath.Base(poller.dir)+"-1").Output()
		if err == nil {
			pid = strings.Trim(strings.TrimSpace(string(out)), "[]")
			pid, _, _ = strings.Cut(pid, ",")
		}
	}
	a.config["linux"].(map[string]any)["namespaces"] = append(namespaces("network", "ipc", "uts", "mount"), map[string]any{"type": "pid", "path": "/proc/" + pid + "/ns/pid"})
	for i := range 2000 { // so that the hook is there long enough to be seen
		a.files(a.rootfs, map[string]string{fmt.Sprintf("usr/lib/vendor/libmany%d.so.1", i): library(fmt.Sprintf("libmany%d.so.1", i))})
	}
	seen := false
	for range races(t) {
		a.must(os.RemoveAll(filepath.Join(a.rootfs, "etc/ld.so.cache")))
		a.mustRun("/bin/true")
		if _, err := os.Stat(filepath.Join(poller.rootfs, "seen")); err == nil {
			seen = true
		}
	}
	poller.files(poller.rootfs, map[string]string{"end": ""})
	<-ended
	if !seen {
		t.Error("the hook was never seen: nothing was shown")
	}
	if found, err := os.ReadFile(filepath.Join(poller.rootfs, "found")); err == nil {
		t.Errorf("found:\n%.1000s", found)
	}
}
