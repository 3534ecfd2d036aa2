// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Limits of the process. The numbers that a container can reach are bounded
// where they are read (package ldcache); these hold where something was
// forgotten there.
const (
	maxSeconds   = 10 // of processor time
	maxFiles     = 256
	maxFileBytes = 16 << 20  // ldcache.MaxSize
	maxMemory    = 128 << 20 // above which the garbage collector works
)

// confine takes from the process what its work does not need: the environment,
// which a runtime may have filled with that of the image; the working
// directory, which is the root of the container; inherited descriptors; core
// files; and other processes' sight of it. None of this can fail in a way that
// makes the work unsafe.
func confine() {
	os.Clearenv()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(maxMemory)
	unix.Umask(0o022)
	_ = os.Chdir("/")
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_CPU:    maxSeconds,
		unix.RLIMIT_NOFILE: maxFiles,
		unix.RLIMIT_FSIZE:  maxFileBytes,
		unix.RLIMIT_CORE:   0,
	} {
		_ = unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit})
	}
}
