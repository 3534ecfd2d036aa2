// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mutating are the system calls that change something; openat(2) only where it
// creates or truncates. Those of the same kind that nobody makes (open, rename, …)
// need not be here: one that is made and is neither here nor harmless fails the
// test.
var mutating = map[uint64]string{
	unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite64", unix.SYS_WRITEV: "writev", unix.SYS_OPENAT: "openat",
	unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_UNLINKAT: "unlinkat", unix.SYS_MKDIRAT: "mkdirat",
	unix.SYS_MKNODAT: "mknodat", unix.SYS_LINKAT: "linkat", unix.SYS_SYMLINKAT: "symlinkat",
	unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHMODAT: "fchmodat", unix.SYS_FCHOWN: "fchown", unix.SYS_FCHOWNAT: "fchownat",
	unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_TRUNCATE: "truncate", unix.SYS_FALLOCATE: "fallocate",
	unix.SYS_SETXATTR: "setxattr", unix.SYS_LSETXATTR: "lsetxattr", unix.SYS_FSETXATTR: "fsetxattr",
	unix.SYS_UTIMENSAT: "utimensat", unix.SYS_FLOCK: "flock", unix.SYS_FSYNC: "fsync",
	unix.SYS_SENDFILE: "sendfile", unix.SYS_COPY_FILE_RANGE: "copy_file_range", unix.SYS_MOUNT: "mount",
	unix.SYS_MOVE_MOUNT: "move_mount", unix.SYS_UMOUNT2: "umount2",
}

// A kill says what the killer did.
type kill struct {
	Done   bool // else the program came to its end before
	Status int  // its exit status then
}

// runKiller runs a victim and kills the process in it that is about to make a
// system call for the nth time, all its processes and threads together. point is
// the program's base name and the call, as in "tenon-runtime renameat". Each kind
// is counted for itself: threads and processes do not come in the same order each
// time. A process of its own does that, since a tracer has to wait for whatever
// ends.
func runKiller(point string, n int, v victim) (kill, error) {
	self, err := os.Executable()
	if err != nil {
		return kill{}, err
	}
	cmd := exec.Command(self, append([]string{point, strconv.Itoa(n)}, v.command...)...)
	cmd.Env = append(append(os.Environ(), v.env...), roleVariable+"=killer")
	if v.stdin != "" {
		f, err := os.Open(v.stdin)
		if err != nil {
			return kill{}, err
		}
		defer f.Close()
		cmd.Stdin = f
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return kill{}, fmt.Errorf("killer: %w", err)
	}
	var k kill
	return k, json.Unmarshal(out, &k)
}

// killer is the process that traces: its arguments are point, n and the command.
func killer(args []string) int {
	n, err := strconv.Atoi(args[1])
	if err == nil {
		var k kill
		if k, err = trace(args[0], n, args[2:]); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(k)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func trace(point string, n int, args []string) (kill, error) {
	runtime.LockOSThread() // a tracer is a thread, ptrace(2)
	os.Unsetenv(roleVariable)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return kill{}, err
	}
	first, err := os.StartProcess(args[0], args, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{os.Stdin, null, null}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return kill{}, err
	}
	var k kill
	calls := 0
	ready := map[int]bool{} // tracees that have the options
	inCall := map[int]bool{}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			return k, nil
		case err != nil:
			return k, err
		}
		if !status.Stopped() {
			if pid == first.Pid && !k.Done {
				k.Status = status.ExitStatus()
			}
			continue
		}
		signal := 0
		switch stop := status.StopSignal(); {
		case !ready[pid]:
			// The first stop: SIGTRAP after execve, SIGSTOP of a new thread or process.
			ready[pid] = true
			if pid == first.Pid {
				// EXITKILL: nothing outlives this process.
				if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEFORK|
					unix.PTRACE_O_TRACEVFORK|unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_EXITKILL); err != nil {
					return k, err
				}
			}
		case stop == unix.SIGTRAP|0x80:
			inCall[pid] = !inCall[pid]
			if !inCall[pid] || k.Done || mutatingCall(pid) != point {
				break
			}
			if calls++; calls == n {
				k.Done = true
				// The call is not carried out: the process dies on its way into it.
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					return k, err
				}
			}
		case stop == unix.SIGTRAP && status.TrapCause() > 0:
			if status.TrapCause() == unix.PTRACE_EVENT_EXEC {
				inCall[pid] = true // the end of execve is still to come
			}
		default:
			signal = int(stop)
		}
		if err := unix.PtraceSyscall(pid, signal); err != nil && err != unix.ESRCH {
			return k, err
		}
	}
}

// syscallInfo is struct ptrace_syscall_info at the entry of a call, ptrace(2).
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64
	args [6]uint64
	_    [16]byte
}

// mutatingCall returns the program of a tracee and the call that it is about to
// make; "" for a call that changes nothing.
func mutatingCall(pid int) string {
	var info syscallInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(pid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 || info.op != unix.PTRACE_SYSCALL_INFO_ENTRY {
		return ""
	}
	name := mutating[info.nr]
	if name == "" || name == "openat" && info.args[2]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
		return ""
	}
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return ""
	}
	return filepath.Base(exe) + " " + name
}
