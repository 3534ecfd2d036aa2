// SPDX-License-Identifier: Apache-2.0

//go:build packages

package packaging

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A root is a small Debian of its own: the files of some packages of this machine
// and of what they depend on, with a dpkg that knows of nothing else. Commands in
// it run in a mount and a PID namespace that end with the test, and all that was
// started in them; the folder is the root of that namespace, as pivot_root(2)
// makes it, so that a container runtime can work in there.
type root struct {
	t   *testing.T
	dir string
	pid string // the init of the namespaces, as seen from here
	// The cgroup for what makes cgroups.
	cgroup string
}

// makeRoot copies the files of the packages, as dpkg has them listed.
const makeRoot = `set -e
root=$1
shift
umask 022
known=" " todo="base-files dpkg tar dash sed grep coreutils findutils diffutils debianutils perl-base mount init-system-helpers $*"
while [ -n "$todo" ]; do
	more=
	for p in $todo; do
		case $known in *" $p "*) continue ;; esac
		known="$known$p "
		more="$more $(dpkg-query -W -f '${db:Status-Abbrev},${Pre-Depends},${Depends}\n' "$p" 2>/dev/null |
			sed -n 's/^ii *,//p' | tr , '\n' | sed 's/^ *//; s/[ :(|].*//')"
	done
	todo=$(echo $more)
done
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/log" "$root/var/cache" "$root/var/lib/misc" \
	"$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc" "$root/run" \
	"$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
for dir in bin sbin lib lib64; do ln -s usr/$dir "$root/$dir"; done
for p in $known; do
	dpkg-query -L $p >"$root/list" 2>/dev/null || continue # of another name, or not installed
	grep -v '^diverted\|/share/\(doc\|man\|locale\|lintian\)/\|^/\.$\|^/s\?bin$\|^/lib\(64\)\?$' "$root/list" >>"$root/files"
	dpkg-query -s $p >>"$root/var/lib/dpkg/status"
	echo >>"$root/var/lib/dpkg/status"
	for f in /var/lib/dpkg/info/$p.* /var/lib/dpkg/info/$p:*; do
		case $f in *\**|*.md5sums) ;; *) cp "$f" "$root/var/lib/dpkg/info/" ;; esac
	done
done
tar --no-recursion --ignore-failed-read -cf - -C / -T "$root/files" 2>/dev/null | tar -xf - -C "$root" --keep-directory-symlink
rm "$root/files" "$root/list"
printf '%s\n' '#!/bin/sh' 'exit 0' >"$root/usr/sbin/ldconfig" # of libc-bin; dpkg asks for it
chmod +x "$root/usr/sbin/ldconfig"
[ -e "$root/usr/bin/sh" ] || ln -s dash "$root/usr/bin/sh"
echo root:x:0:0::/root:/bin/sh >"$root/etc/passwd"
echo root:x:0: >"$root/etc/group"
`

// enterRoot makes the namespaces' view, says which process this is, and stays, as
// the init that it is told. systemd gets a cgroup of its own, and may change
// nothing of the kernel's.
const enterRoot = `set -e
if [ $# -lt 4 ]; then
	read -r pid rest </proc/self/stat
	mount --bind "$1" "$1"
	cd "$1"
	mount -t proc proc proc
	if [ "$2" = systemd ]; then
		mount -t cgroup2 cgroup2 sys
		mkdir "sys/$3"
		echo 0 >"sys/$3/cgroup.procs"
		umount sys
		exec unshare --cgroup sh -c "$ENTER" sh "$@" $pid
	fi
	mount --rbind /sys sys
else
	cd "$1"
	pid=$4
	mount -t sysfs -o ro sysfs sys
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	mount --bind proc/sys proc/sys
	mount -o remount,bind,ro proc/sys
fi
mount -t tmpfs -o mode=755,nosuid tmpfs run
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do
	mknod -m 666 dev/${node%:*} c 1 ${node#*:}
done
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
pivot_root . tmp
umount -l tmp
echo $pid
if [ "$2" = systemd ]; then
	exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target >/var/log/systemd.log 2>&1
fi
sleep infinity &
wait
`

// newRoot makes a root with some packages more than dpkg needs. With systemd among
// them, that is its init, and has started all.
func newRoot(t *testing.T, packages ...string) root {
	t.Helper()
	r := root{t: t, dir: t.TempDir(), cgroup: "tenon-packages-" + strconv.Itoa(os.Getpid())}
	must(t, os.Chmod(r.dir, 0o755))
	output(t, "sh", append([]string{"-c", makeRoot, "sh", r.dir}, packages...)...)
	first := "shell"
	if slices.Contains(packages, "systemd") {
		first = "systemd"
	}
	init := exec.Command("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private",
		"sh", "-c", enterRoot, "sh", r.dir, first, r.cgroup)
	init.Env = append(os.Environ(), "ENTER="+enterRoot)
	init.Stderr = os.Stderr
	init.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal from the terminal is for go test
	stdout, err := init.StdoutPipe()
	must(t, err)
	must(t, init.Start())
	t.Cleanup(func() {
		_ = init.Process.Kill()
		_ = init.Wait()
		removeCgroups(t, r.cgroup)
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the namespaces of the root: %v", err)
	}
	r.pid = strings.TrimSpace(line)
	r.run("dpkg", "--triggers-only", "-a") // what dpkg finds to do in a database that is new to it
	if first == "systemd" {
		await(r, `^active\n$`, "systemctl", "is-active", "multi-user.target")
	}
	return r
}

// removeCgroups removes a cgroup from every hierarchy, when the last process in
// it is gone.
func removeCgroups(t *testing.T, name string) {
	var left []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = nil
		for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
			tops, _ := filepath.Glob(pattern)
			for _, top := range tops {
				_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
					if err == nil && d.IsDir() {
						left = append(left, path)
					}
					return nil
				})
			}
		}
		if len(left) == 0 {
			return
		}
		for _, dir := range slices.Backward(left) {
			_ = unix.Rmdir(dir)
		}
	}
	t.Errorf("cgroups are left behind: %q", left)
}

// command is a command in the root.
func (r root) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", r.pid, "-m", "-p", "-u", "-i", "-w", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "HOME=/root"}
	return cmd
}

func (r root) try(args ...string) (string, error) {
	cmd := r.command(args...)
	cmd.WaitDelay = time.Minute // what it started may hold the pipe
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r root) run(args ...string) string {
	r.t.Helper()
	out, err := r.try(args...)
	if err != nil {
		r.t.Fatalf("%q in the root: %v\n%s", args, err, out)
	}
	return out
}

// says runs a command whose output must match.
func (r root) says(pattern string, args ...string) {
	r.t.Helper()
	if out := r.run(args...); !regexp.MustCompile(pattern).MatchString(out) {
		r.t.Errorf("%q says %q, want a match of %q", args, out, pattern)
	}
}

// fails runs a command that must fail, with output that matches.
func (r root) fails(pattern string, args ...string) {
	r.t.Helper()
	if out, err := r.try(args...); err == nil || !regexp.MustCompile(pattern).MatchString(out) {
		r.t.Errorf("%q: %v, says %q, want a failure and a match of %q", args, err, out, pattern)
	}
}

// await runs a command until it succeeds with output that matches.
func await(r root, pattern string, args ...string) {
	r.t.Helper()
	var out string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		if out, err = r.try(args...); err == nil && regexp.MustCompile(pattern).MatchString(out) {
			return
		}
	}
	logs, _ := filepath.Glob(r.dir + "/var/log/*.log")
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		r.t.Logf("%s:\n%s", strings.TrimPrefix(log, r.dir), text)
	}
	r.t.Fatalf("%q says %q, want a match of %q", args, out, pattern)
}

// bring copies a file into the root, and gives its path there.
func (r root) bring(file string) string {
	r.t.Helper()
	data, err := os.ReadFile(file)
	must(r.t, err)
	path := "/tmp/" + filepath.Base(file)
	r.write(path, string(data), 0o644)
	return path
}

func (r root) write(path, text string, mode os.FileMode) {
	r.t.Helper()
	must(r.t, os.MkdirAll(filepath.Dir(r.dir+path), 0o755))
	must(r.t, os.WriteFile(r.dir+path, []byte(text), mode))
	must(r.t, os.Chmod(r.dir+path, mode))
}

func (r root) exists(path string) bool {
	_, err := os.Lstat(r.dir + path)
	return err == nil
}

// files are all paths of the root with their modes, without what dpkg or rpm keeps.
func (r root) files() map[string]string {
	all := map[string]string{}
	must(r.t, filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, r.dir)
		switch {
		case rel == "/var/lib/dpkg", rel == "/var/log", rel == "/tmp", rel == "/var/lib/rpm", rel == "/usr/lib/sysimage":
			return filepath.SkipDir
		}
		st, err := d.Info()
		if err == nil {
			all[rel] = fmt.Sprint(st.Mode())
		}
		return err
	}))
	return all
}

// works checks that what is installed is of a version, and good.
func (r root) works(version string, modes ...string) {
	r.t.Helper()
	r.says(`^tenon `+regexp.QuoteMeta(version)+`, `, "tenon", "version")
	r.run("tenon", "config", "check")
	list := r.run("tenon", "module", "list")
	for _, mode := range modes {
		if !regexp.MustCompile(`(?m)^` + mode + ` .* good$`).MatchString(list) {
			r.t.Errorf("mode %s is not good: %s", mode, list)
		}
	}
	r.says(`(?m)^mode csv: good, not signed, compiled$`, "tenon", "module", "verify")
}
