// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
)

// hookSeconds is how long the low-level runtime lets one of our hooks run.
// tenon-hook ends itself before that.
const hookSeconds = 10

// programs says what the hooks that tenon adds start. A program that is not
// there stays empty: Lower refuses the edits that need it.
func programs(config host.Config) (discover.Programs, error) {
	nvidiaHook, seconds, err := config.NVIDIAHook()
	return discover.Programs{
		TenonHook:         tenonProgram("tenon-hook", config.Hook),
		HookTimeout:       hookSeconds,
		NVIDIAHook:        nvidiaHook,
		NVIDIAHookTimeout: seconds,
		LdCacheRequired:   config.LdCache.Required,
	}, err
}

// tenonProgram returns the path of a program of tenon's: the configured one, else
// the one beside our own program, else the one that packages install; "" where
// there is none. It will run as root, so it must be a file that only root can
// change.
func tenonProgram(name, configured string) string {
	candidates := []string{configured}
	if configured == "" {
		candidates = []string{"/usr/bin/" + name}
		if self, err := os.Readlink("/proc/self/exe"); err == nil {
			candidates = []string{filepath.Join(filepath.Dir(self), name), "/usr/bin/" + name}
		}
	}
	for _, file := range candidates {
		f, err := host.OpenTrusted(file)
		if err != nil {
			continue
		}
		st, err := f.Stat()
		f.Close()
		if err == nil && st.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}
