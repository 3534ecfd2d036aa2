// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Containers that are created at once all get what they ask for, and none waits
// for another: not even for one that was stopped with a lock in its hand, which is
// what this test is. It holds every folder of tenon's state and of its compiled
// code, as flock(2) does; and one create is stopped as it is, with its engine.
func TestCreatesDoNotWaitForEachOther(t *testing.T) {
	s := newStage(t)
	s.file("noop", "#!/bin/sh\n")
	s.must(os.Chmod(s.dir+"/noop", 0o755))
	s.env = append(s.env, "TENON_RUNTIMES="+s.dir+"/noop")
	// The first one makes the folders; what it keeps goes again.
	if _, err := s.created(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	held := 0
	for _, top := range []string{"run", "cache", "modules", "modules.d"} {
		s.must(filepath.WalkDir(filepath.Join(s.dir, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if !entry.IsDir() {
				if strings.HasPrefix(path, s.dir+"/run/") {
					return os.Remove(path)
				}
				return nil
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			t.Cleanup(func() { f.Close() })
			held++
			return syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}))
	}
	if held < 6 {
		t.Fatalf("only %d folders are held; where is the state?", held)
	}
	stopped, err := s.create(t.Context(), "stopped")
	s.must(err)
	s.must(stopped.Start())
	s.must(syscall.Kill(-stopped.Process.Pid, syscall.SIGSTOP))
	defer func() {
		s.must(syscall.Kill(-stopped.Process.Pid, syscall.SIGCONT))
		s.must(stopped.Wait())
	}()

	const crowd = 63
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var group sync.WaitGroup
	results, failed := make([][]byte, crowd), make([]error, crowd)
	for i := range crowd {
		group.Go(func() { results[i], failed[i] = s.created(ctx, fmt.Sprint("c", i)) })
	}
	group.Wait()
	for i := range crowd {
		switch {
		case failed[i] != nil:
			t.Errorf("create %d: %v", i, failed[i])
		case !bytes.Contains(results[i], []byte(`"/dev/demo0"`)) || !bytes.Contains(results[i], []byte(`/usr/lib/demo/libdemo.so.1.2"`)):
			t.Errorf("create %d left %s", i, results[i])
		}
	}
}

// create is a create of a new container that asks for all, in a process group of
// its own.
func (s *stage) create(ctx context.Context, id string) (*exec.Cmd, error) {
	bundle := filepath.Join(s.dir, "bundles", id)
	if err := os.MkdirAll(bundle+"/rootfs", 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, s.dir+"/bin/tenon-runtime", "create", "--bundle", bundle, id)
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	const config = `{"ociVersion":"1.0.2","process":{"env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES=all"]},"root":{"path":"rootfs"}}`
	return cmd, os.WriteFile(bundle+"/config.json", []byte(config), 0o600)
}

// created is what is in config.json after a create.
func (s *stage) created(ctx context.Context, id string) ([]byte, error) {
	cmd, err := s.create(ctx, id)
	if err != nil {
		return nil, err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(filepath.Join(s.dir, "bundles", id, "config.json"))
}
