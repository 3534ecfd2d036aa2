// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleVariable says what a process of this test program is: nothing is what go
// test started, outside of the namespaces. Variables that begin with TENON_ are
// tenon's.
const roleVariable = "E2E_ROLE"

// cgroupVariable is the name of the cgroup that all containers are below.
const cgroupVariable = "E2E_CGROUP"

// pathVariable is the PATH of go test, which finds go. The engines get the
// standard one.
const pathVariable = "E2E_PATH"

// tools are the programs that the tests start, with Debian's names of the
// packages that have them.
var tools = map[string]string{
	"dockerd": "docker.io", "docker": "docker.io", "containerd": "containerd", "runc": "runc", "podman": "podman", "crun": "crun",
	"busybox": "busybox-static", "gcc": "gcc libc6-dev", "strace": "strace", "iptables": "iptables", "unshare": "util-linux", "ldconfig": "libc-bin",
	"newuidmap": "uidmap", "useradd": "passwd",
}

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(outside())
	case "killer":
		os.Exit(killer(os.Args[1:]))
	}
	flag.Parse()
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// outside runs this program again in namespaces of its own, and clears away what
// outlives them: cgroups.
func outside() int {
	flag.Parse()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	needed := tools
	if newest() {
		needed = newestTools
	}
	for tool, packages := range needed {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, fmt.Sprintf("%s (of package %s)", tool, packages))
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		fmt.Fprintln(os.Stderr, "e2e: needs", strings.Join(missing, ", "))
		if os.Getenv("TENON_CI") != "" {
			return 1
		}
		fmt.Println("e2e: skipped")
		return 0
	}
	clearOld()
	args := os.Args[1:]
	if newest() {
		return inside("the newest engines", "", args)
	}
	skipped := func(pattern string) []string {
		pattern += "|" + newestTests
		if more := flag.Lookup("test.skip").Value.String(); more != "" {
			pattern += "|" + more
		}
		return append(slices.Clone(args), "-test.skip="+pattern)
	}
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return inside("cgroup v2", "", skipped("^$"))
	}
	// crun refuses a machine that has some controllers in v1 and others in v2.
	status := inside("the machine's own cgroups", "", skipped("^TestCrun"))
	run := flag.Lookup("test.run").Value.String()
	if status == stopped || run != "" && !strings.Contains(run, "Docker") && !strings.Contains(run, "Crun") {
		return status
	}
	// The containers again, where nothing but their cgroups differs. The controllers
	// that are in v1 are not to be had, and ctr and podman do not do without.
	return max(status, inside("cgroup v2", "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup",
		skipped("^Test(Containerd|Podman|Rootless|Killed|Validation|Docker(Config|Second|Life|ContainerOutlives|Many|NVIDIA|Default|Shows|Broken|ContainerThatDoesNotAskSees))")))
}

// stopped is the exit status after a signal.
const stopped = 130

// inside runs the tests in new mount and PID namespaces. When they end, in
// whatever way, the kernel ends every process in there.
func inside(name, cgroups string, args []string) int {
	fmt.Printf("=== %s\n", name)
	cgroup := cgroupPrefix + strconv.Itoa(os.Getpid())
	defer removeCgroups(cgroup)
	defer func() {
		// The validation suite names its cgroups itself; it leaves none if it ends.
		for _, dir := range cgroupsBelow("cgrouptest") {
			_ = unix.Rmdir(dir)
		}
	}()
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	// The shell is the init of the namespace, and reaps what is left to it.
	script := strings.ReplaceAll(namespaces, "@CGROUPS@", cgroups)
	cmd := exec.Command("unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
		"sh", "-c", script, self}, args...)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "TENON_")
	}), roleVariable+"=inside", cgroupVariable+"="+cgroup, pathVariable+"="+os.Getenv("PATH"),
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT) // go test sends the last one after its time-out
	defer signal.Stop(signals)
	// A signal from the terminal is for this process alone, and all ends with it.
	// What ends is the thread that started it: it must be one that stays.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case s := <-signals:
		_ = cmd.Process.Kill()
		<-ended
		fmt.Fprintln(os.Stderr, "e2e:", s)
		return stopped
	case err = <-ended:
	}
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() < 0 {
			fmt.Fprintln(os.Stderr, "e2e:", err)
		}
		return 1
	}
	return 0
}

// namespaces makes the private machine, and starts the tests in it. A device
// node of the tests must be below /dev, since runc binds nodes by their path
// where a container has a user namespace.
const namespaces = `
set -e
@CGROUPS@
mount -t tmpfs -o mode=755,nosuid tmpfs /run
mount -t proc proc /proc
for tree in etc usr var; do
	mkdir -p /run/e2e/$tree /run/e2e/work-$tree
	mount -t overlay -o lowerdir=/$tree,upperdir=/run/e2e/$tree,workdir=/run/e2e/work-$tree overlay /$tree
done
mkdir /run/e2e/dev
mount -t tmpfs -o mode=755,nosuid tmpfs /run/e2e/dev
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
	name=${node%%:*} number=${node#*:}
	mknod -m 666 /run/e2e/dev/$name c ${number%:*} ${number#*:}
done
mkdir /run/e2e/dev/pts /run/e2e/dev/shm /run/e2e/dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /run/e2e/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /run/e2e/dev/shm
ln -s pts/ptmx /run/e2e/dev/ptmx
ln -s /proc/self/fd /run/e2e/dev/fd
mount --move /run/e2e/dev /dev
rm -rf /etc/tenon /var/lib/tenon /var/cache/tenon /etc/docker /etc/nvidia-container-runtime /etc/containers/containers.conf*
set +e
"$0" "$@"
exit $?
`

// clearOld removes the cgroups of earlier tests that could not do it themselves,
// since they were killed.
func clearOld() {
	old, _ := filepath.Glob("/sys/fs/cgroup/*/" + cgroupPrefix + "*")
	more, _ := filepath.Glob("/sys/fs/cgroup/" + cgroupPrefix + "*")
	for _, dir := range append(old, more...) {
		name := filepath.Base(dir)
		if _, err := os.Stat("/proc/" + strings.TrimPrefix(name, cgroupPrefix)); errors.Is(err, os.ErrNotExist) {
			removeCgroups(name)
		}
	}
}

// cgroupPrefix is the name of a cgroup of these tests, without the process.
const cgroupPrefix = "tenon-e2e-"

// removeCgroups removes the cgroup of the tests from every hierarchy, when the
// last process in it is gone.
func removeCgroups(name string) {
	for try := 0; try < 50; try++ {
		left := cgroupsBelow(name)
		if len(left) == 0 {
			return
		}
		for _, dir := range left {
			_ = unix.Rmdir(dir)
		}
		if try > 0 {
			time.Sleep(100 * time.Millisecond) // killed processes take a moment to leave
		}
	}
	fmt.Fprintln(os.Stderr, "e2e: left behind:", cgroupsBelow(name))
}

// cgroupsBelow lists the cgroups of that name and those below, the innermost
// first.
func cgroupsBelow(name string) []string {
	var list []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		tops, _ := filepath.Glob(pattern)
		for _, top := range tops {
			_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					list = append(list, path)
				}
				return nil
			})
		}
	}
	slices.Reverse(list)
	return list
}
