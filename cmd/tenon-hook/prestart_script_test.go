// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestPrestartScripts runs testscripts/prestart: the program as it is shipped,
// under its own name and as a link with that of NVIDIA's hook, with an
// nvidia-container-cli of a few lines of shell.
func TestPrestartScripts(t *testing.T) {
	dir := nvidiaFolder(t)
	bin := filepath.Join(dir, "programs")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(bin, "tenon-hook"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building tenon-hook: %v\n%s", err, out)
	}
	for _, name := range []string{"nvidia-container-runtime-hook", "nvidia-container-toolkit"} {
		if err := os.Symlink("tenon-hook", filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testscripts/prestart",
		WorkdirRoot:         dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
			// There is no configuration but what a script names.
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "xdg"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"expand": expandFiles,
		},
	})
}

// expandFiles, "expand FILE…", replaces $NAME in files by the script's variables.
func expandFiles(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o644))
	}
}
