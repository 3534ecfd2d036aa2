// SPDX-License-Identifier: Apache-2.0

// Launch starts a program, waits for it, and tells what it took: nanoseconds from
// the start to the end, nanoseconds of processor time, and the peak memory in KiB
// of the largest of the program and the children that it waited for (getrusage(2)).
// It is small, because a process begins with the peak memory of the one that
// started it: a large one would hide that of a small program.
//
//	launch PROGRAM [ARG …]
//
// What the program prints comes out after that line.
package main

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

func main() {
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil || len(os.Args) < 2 {
		os.Exit(125)
	}
	syscall.CloseOnExec(pipe[0])
	syscall.CloseOnExec(pipe[1])
	began := time.Now()
	pid, err := syscall.ForkExec(os.Args[1], os.Args[1:], &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, uintptr(pipe[1]), uintptr(pipe[1])},
	})
	if err != nil {
		os.Exit(126)
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		if _, err = syscall.Wait4(pid, &status, 0, &usage); err != syscall.EINTR {
			break
		}
	}
	took := time.Since(began)
	line := strconv.FormatInt(took.Nanoseconds(), 10) + " " +
		strconv.FormatInt(usage.Utime.Nano()+usage.Stime.Nano(), 10) + " " + strconv.FormatInt(usage.Maxrss, 10) + "\n"
	// A program that has much to say would wait for a reader; ours say one line.
	syscall.Close(pipe[1])
	said := make([]byte, 4096)
	n, _ := syscall.Read(pipe[0], said)
	os.Stdout.WriteString(line + string(said[:max(n, 0)]))
	if err != nil || status.ExitStatus() != 0 {
		os.Exit(1)
	}
}
