// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// standardFolders are searched after PATH: engines are often started with an
// empty one.
var standardFolders = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// become replaces this process by the low-level runtime, with the arguments and
// the environment that we were called with. It returns only to say why it could
// not.
func become(candidates, args, env []string, path string) error {
	runtime, err := findRuntime(candidates, path)
	if err != nil {
		return err
	}
	err = syscall.Exec(runtime, append([]string{runtime}, args...), env)
	return fmt.Errorf("%s: %w", runtime, err)
}

// findRuntime returns the absolute path of the first candidate that is
// installed. A candidate is an absolute path, or a name that is looked for in
// the folders of path (as in PATH) and then in the standard folders. Our own
// program, under whatever name, is passed over: it would start itself for ever.
func findRuntime(candidates []string, path string) (string, error) {
	for _, candidate := range candidates {
		if strings.Contains(candidate, "/") {
			if filepath.IsAbs(candidate) && startable(candidate) {
				return candidate, nil
			}
			continue
		}
		for _, folder := range append(filepath.SplitList(path), standardFolders...) {
			// A relative folder in PATH means the caller's working directory,
			// which is the bundle: nothing is started from there.
			if file := filepath.Join(folder, candidate); filepath.IsAbs(file) && startable(file) {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("low-level runtime %s: is not installed; install runc, or set runtimes in the configuration to an absolute path",
		quoted(candidates))
}

// startable reports whether file is a program that is not our own.
func startable(file string) bool {
	st, err := os.Stat(file)
	if err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return false
	}
	return !ourselves(file, st)
}

// ourselves reports whether file is our own program or a copy of it. Two copies
// that took each other for runc would start each other for ever.
func ourselves(file string, st os.FileInfo) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil || st.Size() != self.Size() {
		return false
	}
	if os.SameFile(st, self) {
		return true
	}
	ours, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return false
	}
	theirs, err := os.ReadFile(file)
	return err == nil && bytes.Equal(ours, theirs)
}

// quoted lists names for a message: "a", "b".
func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}
