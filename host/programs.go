// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
)

// hookSeconds is how long the low-level runtime lets one of our hooks run.
// tenon-hook ends itself before that, counted from where it begins to work: with
// 64 containers started at once on two processors, up to 6 s were seen to pass
// from its start to there, and more on a busier machine.
const hookSeconds = 60

// Programs says what the hooks of edits start. folder is the one that
// tenon-runtime is in. A program that is not there stays empty: [Lower] refuses
// the edits that need it. NVIDIA's hook is looked for, in all the folders where
// programs are, for edits that want it only. Errors are the machine's.
//
// [Lower]: discover.Lower
func (c Config) Programs(folder string, edits *discover.Edits) (discover.Programs, error) {
	hook, why := Program(folder, "tenon-hook", c.Hook)
	p := discover.Programs{TenonHook: hook, NoTenonHook: why, HookTimeout: hookSeconds, LdCacheRequired: c.LdCache.Required}
	var err error
	if edits.WantsNVIDIAHook() {
		p.NVIDIAHook, p.NVIDIAHookTimeout, err = c.NVIDIAHook()
	}
	return p, err
}

// Program returns the path of a program of tenon's: the configured one, else the
// one in folder, which tenon-runtime is in, else the one that packages install.
// It will run as root, so it must be a file that only root can change. The error
// is for the administrator: the program is not there, or what is wrong with the
// first one that is.
func Program(folder, name, configured string) (string, error) {
	candidates := []string{configured}
	if configured == "" {
		candidates = []string{path.Join(folder, name), "/usr/bin/" + name}
	}
	var wrong error
	for _, file := range candidates {
		err := CheckProgram(file)
		if err == nil {
			return file, nil
		}
		if wrong == nil && !errors.Is(err, fs.ErrNotExist) {
			wrong = err
		}
	}
	switch {
	case wrong != nil:
		return "", wrong
	case configured != "":
		return "", fmt.Errorf("%s: does not exist; correct hook in the configuration", configured)
	}
	return "", fmt.Errorf("%s: is not installed beside tenon-runtime; install tenon anew", name)
}

// CheckProgram says why tenon would not start a program of its own. Errors begin
// with the file or folder at fault.
func CheckProgram(file string) error {
	f, err := OpenTrusted(file)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && st.Mode()&0o111 == 0 {
		return fmt.Errorf("%s: is not executable; chmod +x it", file)
	}
	return err
}

// OwnFolder is the folder of the program that this process runs; "" where /proc
// does not tell.
func OwnFolder() string {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return ""
	}
	return path.Dir(self)
}

// standardFolders are searched after PATH: engines are often started with an
// empty one.
var standardFolders = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// LowLevelRuntime returns the absolute path of the first candidate that is
// installed. A candidate is an absolute path, or a name that is looked for in
// the folders of path (as in PATH) and then in the standard folders. The program
// own, under whatever name, is passed over: it is tenon-runtime, and would start
// itself for ever.
func LowLevelRuntime(candidates []string, path, own string) (string, error) {
	for _, candidate := range candidates {
		if strings.Contains(candidate, "/") {
			if filepath.IsAbs(candidate) && startable(candidate, own) {
				return candidate, nil
			}
			continue
		}
		for _, folder := range append(filepath.SplitList(path), standardFolders...) {
			// A relative folder in PATH means the caller's working directory,
			// which is the bundle: nothing is started from there.
			if file := filepath.Join(folder, candidate); filepath.IsAbs(file) && startable(file, own) {
				return file, nil
			}
		}
	}
	quoted := make([]string, len(candidates))
	for i, name := range candidates {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return "", errors.New("low-level runtime " + strings.Join(quoted, ", ") +
		": is not installed; install runc, or set runtimes in the configuration to an absolute path")
}

// startable reports whether file is a program that is not own.
func startable(file, own string) bool {
	st, err := os.Stat(file)
	if err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return false
	}
	return !sameProgram(file, st, own)
}

// sameProgram reports whether file is own or a copy of it. Two copies that took
// each other for runc would start each other for ever.
func sameProgram(file string, st os.FileInfo, own string) bool {
	self, err := os.Stat(own)
	if err != nil || st.Size() != self.Size() {
		return false
	}
	if os.SameFile(st, self) {
		return true
	}
	ours, err := os.ReadFile(own)
	if err != nil {
		return false
	}
	theirs, err := os.ReadFile(file)
	return err == nil && bytes.Equal(ours, theirs)
}
