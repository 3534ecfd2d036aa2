// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// lowLevel is a low-level runtime that says what it was given.
const lowLevel = `#!/bin/sh
echo "args $*"
echo "fds $(ls /proc/$$/fd | sort -n | tr '\n' ' ')"
echo "env $(env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= | sort | tr '\n' ' ')"
echo "limits $(ulimit -S -n) $(ulimit -H -n) $(ulimit -S -v) $(ulimit -S -c) $(ulimit -S -t)"
echo "umask $(umask) ignored $(grep SigIgn /proc/self/status)"
`

// The low-level runtime gets what the caller gave: descriptors 0 to 2 and those
// that were passed on purpose, the environment, the limits, the arguments. It is
// so whether a module had to run, a trace answered, or the call is none of ours.
func TestR14T26TheLowLevelRuntimeGetsWhatTheCallerGave(t *testing.T) {
	s := newStage(t)
	s.root("c", false)
	s.file("bin/lowlevel", lowLevel)
	s.must(os.Chmod(s.dir+"/bin/lowlevel", 0o755))
	config, err := os.ReadFile(s.dir + "/config.toml")
	s.must(err)
	s.file("config.toml", fmt.Sprintf("runtimes = [%q]\n%s", s.dir+"/bin/lowlevel", config))
	passed, err := os.Open(s.dir)
	s.must(err)
	defer passed.Close()
	call := func(program string, args ...string) string {
		t.Helper()
		// A shell sets the limits.
		cmd := exec.Command("sh", append([]string{"-c", `ulimit -S -n 100 && ulimit -S -c 0 && exec "$@"`, "sh", program}, args...)...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "KEPT=a b", "TENON_CONFIG=" + s.dir + "/config.toml", "TENON_STATE=" + s.dir + "/run"}
		cmd.ExtraFiles = []*os.File{passed} // descriptor 3, as --preserve-fds has it
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
		return string(out)
	}
	create := []string{"--root", "/r", "create", "--bundle", s.dir + "/c", "--preserve-fds", "1", "c1"}
	want := call(s.dir+"/bin/lowlevel", create...)
	if !strings.Contains(want, "fds 0 1 2 3 ") {
		t.Fatalf("the caller itself does not give what this test is about:\n%s", want)
	}
	for _, what := range []string{"a module runs", "a trace answers"} {
		s.bundle("c", container{script: "true", env: []string{"NVIDIA_VISIBLE_DEVICES=all"}})
		if got := call(s.dir+"/bin/tenon-runtime", create...); got != want {
			t.Errorf("%s: the low-level runtime sees\n%s\nand from the caller itself\n%s", what, got, want)
		}
	}
	state := []string{"state", "c1"}
	if got, want := call(s.dir+"/bin/tenon-runtime", state...), call(s.dir+"/bin/lowlevel", state...); got != want {
		t.Errorf("state: the low-level runtime sees\n%s\nand from the caller itself\n%s", got, want)
	}
}

// Annotations and labels of an image ask for nothing: no mode that is installed
// looks at them.
func TestR15AnnotationsAskForNothing(t *testing.T) {
	s := newStage(t)
	s.root("c", false)
	s.bundle("c", container{script: "busybox ls /dev/demo0; true"})
	data, err := os.ReadFile(s.dir + "/c/config.json")
	s.must(err)
	s.file("c/config.json", strings.Replace(string(data), "{", `{"annotations":{"cdi.k8s.io/x":"nvidia.com/gpu=all","nvidia.com/gpu":"all","NVIDIA_VISIBLE_DEVICES":"all"},`, 1))
	before := fileIdentity(t, s.dir+"/c/config.json")
	s.run("c", "ls: /dev/demo0: No such file or directory")
	if after := fileIdentity(t, s.dir+"/c/config.json"); after != before {
		t.Errorf("config.json was %s and is %s", before, after)
	}
}
