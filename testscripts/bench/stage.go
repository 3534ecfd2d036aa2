// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A stage is a folder with all that is measured: programs, floors, machines,
// configurations and bundles.
type stage struct {
	ctx context.Context // ends where we are told to stop
	dir string
	bin string // tenon's programs, the floors, and noop
	// state is tenon's, on the file system that it mostly is on, and of our own:
	// what the machine's tenon has kept is not touched.
	state string
}

// devices is how many device nodes each machine has.
const devices = 10

// newStage makes a stage of what was built into build. The folder is beside it:
// tenon takes no module from a folder that others may write to.
func newStage(ctx context.Context, build string) (*stage, error) {
	dir, err := os.MkdirTemp(build, "bench-")
	if err != nil {
		return nil, err
	}
	s := &stage{ctx: ctx, dir: dir, bin: filepath.Join(dir, "bin")}
	if s.state, err = os.MkdirTemp("/run", "tenon-bench-"); err != nil {
		return s, err
	}
	if err := os.Mkdir(s.bin, 0o755); err != nil {
		return s, err
	}
	for _, program := range []string{"tenon-runtime", "tenon-engine", "tenon-hook", "tenon"} {
		if err := copyFile(filepath.Join(build, program), filepath.Join(s.bin, program), 0o755); err != nil {
			return s, err
		}
	}
	for name, folder := range map[string]string{"launch": "launch", "floor-exec": "floor/exec", "floor-edit": "floor/edit"} {
		c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(s.bin, name), "./testscripts/bench/"+folder)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return s, fmt.Errorf("%w: %s", err, out)
		}
	}
	return s, os.WriteFile(s.noop(), noop(), 0o755)
}

// remove removes all of it.
func (s *stage) remove() { _ = errors.Join(os.RemoveAll(s.dir), os.RemoveAll(s.state)) }

// bare is what an error says without the folder of this machine that it is in:
// results are kept.
func (s *stage) bare(err error) string {
	return strings.ReplaceAll(err.Error(), s.dir+"/", "")
}

func (s *stage) noop() string { return filepath.Join(s.bin, "noop") }

func copyFile(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, mode)
}

// noop is the low-level runtime: a static ELF program of one segment that calls
// exit(0) and is done. Nothing that starts could be faster.
func noop() []byte {
	code, machine := []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}, uint16(62) // xor edi,edi; mov eax,60; syscall; EM_X86_64
	if runtime.GOARCH == "arm64" {
		code, machine = []byte{0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}, 183 // mov x0,0; mov x8,93; svc 0; EM_AARCH64
	}
	const base, header = 0x400000, 64 + 56
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	put := func(values ...any) {
		for _, v := range values {
			b, _ = binary.Append(b, binary.LittleEndian, v) // fixed sizes: no error
		}
	}
	size := uint64(header + len(code))
	put(uint16(2), machine, uint32(1), uint64(base+header), uint64(64), uint64(0), uint32(0))   // ET_EXEC, entry, program headers
	put(uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0))                     // one of them, no sections
	put(uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(65536)) // PT_LOAD, read and execute
	return append(b, code...)
}

// A machine is a driver root with libraries and device nodes, and the
// configuration for it.
type machine struct {
	dir     string
	entries int
	env     []string // for tenon-runtime
}

// root is that of the driver, lists the folder of the CSV files.
func (m *machine) root() string  { return m.dir + "/root" }
func (m *machine) lists() string { return m.dir + "/csv" }

// newMachine makes a machine with CSV files of that many libraries, and installs
// the csv mode for it. warm: compiled too. traces is the value of that key, and
// after a dash a name for the machine.
func (s *stage) newMachine(build string, entries int, warm bool, traces string) (*machine, error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("machine-%d-%v-%s", entries, warm, traces))
	root := filepath.Join(dir, "root")
	traces, _, _ = strings.Cut(traces, "-")
	for _, folder := range []string{"root/dev", "root/usr/lib/bench", "csv", "modules", "modules.d"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, err
		}
	}
	var list strings.Builder
	for i := range devices {
		path := fmt.Sprintf("/dev/bench%d", i)
		if err := unix.Mknod(root+path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			return nil, fmt.Errorf("%s%s: %w", root, path, err)
		}
		fmt.Fprintf(&list, "dev, %s\n", path)
	}
	for i := range entries {
		path := fmt.Sprintf("/usr/lib/bench/libbench%d.so.1.%d", i, i)
		if err := os.WriteFile(root+path, nil, 0o644); err != nil {
			return nil, err
		}
		fmt.Fprintf(&list, "lib, %s\n", path)
	}
	config := fmt.Sprintf(`mode = "csv"
runtimes = [%q]
hook = %q
module_dir = %q
modules_d = %q
cache_dir = %q
driver_root = %q
traces = %q
[modes.csv]
mount_spec_path = %q
`, s.noop(), s.bin+"/tenon-hook", dir+"/modules", dir+"/modules.d", dir+"/cache", root, traces, dir+"/csv")
	for name, text := range map[string]string{"csv/drivers.csv": list.String(), "config.toml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	m := &machine{dir, entries, []string{"TENON_CONFIG=" + dir + "/config.toml", "TENON_STATE=" + s.state + "/tenon"}}
	install := exec.Command(filepath.Join(s.bin, "tenon"), "module", "install", "--accept-grants", filepath.Join(build, "modules/csv.wasm"))
	install.Env = append(os.Environ(), m.env...)
	if out, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("tenon module install: %w: %s", err, out)
	}
	if !warm {
		return m, os.RemoveAll(dir + "/cache")
	}
	return m, nil
}

// newBundle makes a container as dockerd would, with these variables in its
// environment besides those that all have.
func (s *stage) newBundle(name string, env ...string) (*bundle, error) {
	b := &bundle{dir: filepath.Join(s.dir, "bundles", name)}
	if err := os.MkdirAll(filepath.Join(b.dir, "rootfs"), 0o755); err != nil {
		return nil, err
	}
	var err error
	b.config, err = json.Marshal(spec(env))
	return b, err
}

type object = map[string]any

// spec is a config.json of the size and the shape of those of dockerd: 14
// capabilities, three times, 9 mounts, 2 lists of paths, and a seccomp profile of some 350
// system calls.
func spec(env []string) object {
	var capabilities, syscalls []string
	for i := range 14 {
		capabilities = append(capabilities, fmt.Sprintf("CAP_BENCH_NUMBER_%d", i))
	}
	for i := range 350 {
		syscalls = append(syscalls, fmt.Sprintf("system_call_%d", i))
	}
	var mounts []object
	for _, at := range []string{"/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm", "/etc/resolv.conf", "/etc/hostname"} {
		mounts = append(mounts, object{"destination": at, "type": "bind", "source": "/var/lib/docker/containers/0123456789abcdef" + at,
			"options": []string{"nosuid", "noexec", "nodev", "mode=755", "size=65536k"}})
	}
	namespaces := []object{{"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}}
	return object{
		"ociVersion": "1.0.2-dev",
		"process": object{
			"user": object{"uid": 0, "gid": 0, "additionalGids": []int{0, 10}}, "args": []string{"/bin/true"}, "cwd": "/",
			"env":          append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=0123456789ab"}, env...),
			"capabilities": object{"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
		},
		"root": object{"path": "rootfs"}, "hostname": "0123456789ab", "mounts": mounts,
		"linux": object{
			"resources":   object{"devices": []object{{"allow": false, "access": "rwm"}}},
			"cgroupsPath": "system.slice:docker:0123456789abcdef", "namespaces": namespaces,
			"seccomp":     object{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []object{{"names": syscalls, "action": "SCMP_ACT_ALLOW"}}},
			"maskedPaths": []string{"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"},
		},
	}
}
