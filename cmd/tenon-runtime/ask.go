// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/tenon-runtime/tenon/host"
)

// settingsFor returns the configuration: as it was kept, where it still holds,
// else as tenon-engine reads it. Where even that cannot be had, the settings say
// so, and are the defaults: a create fails then, and nothing else does.
func settingsFor(program string, env []string) host.Settings {
	if s, ok := host.LoadSettings(host.StateFolder(env), program, env); ok {
		return s
	}
	reply, err := engine(env, nil, settingsSeconds*time.Second, "settings", program)
	if err == nil {
		var s host.Settings
		if s, err = host.DecodeSettings(reply); err == nil {
			return s
		}
	}
	return host.Settings{Config: host.DefaultConfig(), Problem: err.Error()}
}

// settingsSeconds is how long reading the configuration may take. It takes
// milliseconds; this is for a file system that does not answer, and leaves a
// machine on which many containers start at once its time.
const settingsSeconds = 60

// An answer is what the module of one mode emits.
type answer struct {
	host.Answer
	hit bool // a trace told it
}

// ask returns what each mode answers for the container in b, in the order of
// modes. A mode whose module has nothing to do with the container is not among
// them. Where a trace tells what the module would emit, the module is not run;
// the others are run by tenon-engine.
func ask(program string, config host.Config, modes []string, b *bundle, env []string, log *slog.Logger) ([]answer, error) {
	req := b.spec.Request()
	answers := make(map[string]answer)
	var unknown []string
	for _, mode := range modes {
		applies, err := config.Applies(mode, req)
		if err != nil {
			return nil, err
		}
		if !applies {
			log.Debug("the container does not ask for this", "mode", mode)
			continue
		}
		run, err := host.NewRun(config, mode, req, b.root(req), log)
		if err != nil {
			return nil, fmt.Errorf("mode %s: %w", mode, err)
		}
		walk := host.Replay(config, host.StateFolder(env), mode, run)
		run.Close()
		if walk.Leaf == nil {
			log.Debug("the module has to run", "mode", mode, "why", walk.Miss)
			unknown = append(unknown, mode)
			continue
		}
		log.Debug("a trace answers", "mode", mode, "queries", walk.Asked)
		answers[mode] = answer{host.Answer{Mode: mode, TraceLeaf: *walk.Leaf}, true}
	}
	if len(unknown) > 0 {
		fresh, err := discovered(program, config, unknown, b, env, log)
		if err != nil {
			return nil, err
		}
		for _, a := range fresh {
			answers[a.Mode] = answer{a, false}
		}
	}
	var list []answer
	for _, mode := range modes {
		if a, ok := answers[mode]; ok {
			list = append(list, a)
		}
	}
	return list, nil
}

// discovered lets tenon-engine run the modules of modes.
func discovered(program string, config host.Config, modes []string, b *bundle, env []string, log *slog.Logger) ([]host.Answer, error) {
	started := time.Now()
	// tenon-engine keeps the time of each module itself, and says so in better
	// words; this is for one that hangs.
	limit := time.Duration(len(modes))*config.Limits.Longest() + settingsSeconds*time.Second
	args := append([]string{"discover", program, b.root(b.spec.Request())}, modes...)
	reply, err := engine(env, b.spec.Bytes(), limit, args...)
	if err != nil {
		return nil, err
	}
	answers, err := host.DecodeAnswers(reply)
	log.Debug("tenon-engine has answered", "modes", modes, "took", time.Since(started), "err", err)
	return answers, err
}

// engine starts tenon-engine, gives it input and returns its reply. It ends with
// us, and after limit.
func engine(env []string, input []byte, limit time.Duration, args ...string) ([]byte, error) {
	file, err := host.Program(host.OwnFolder(), "tenon-engine", "")
	if err != nil {
		return nil, err
	}
	// The signal that ends it with us comes when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("%s: %w", file, err) }
	stdin, toStdin, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	fromStdout, stdout, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fail(err)
	}
	// Its standard error is nobody's: ours is the container's.
	process, err := os.StartProcess(file, append([]string{file}, args...), &os.ProcAttr{
		Dir:   "/",
		Env:   host.EngineVariables(env),
		Files: []*os.File{stdin, stdout, null},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	stdin.Close()
	stdout.Close()
	null.Close()
	if err != nil {
		return fail(host.Bare(err))
	}
	timer := time.AfterFunc(limit, func() { _ = process.Kill() })
	defer timer.Stop()
	go func() {
		_, _ = toStdin.Write(input) // where it fails, tenon-engine says so
		toStdin.Close()
	}()
	reply, err := io.ReadAll(io.LimitReader(fromStdout, maxReply))
	fromStdout.Close()
	state, waitErr := process.Wait()
	switch {
	case err != nil:
		return fail(err)
	case waitErr != nil:
		return fail(waitErr)
	case !timer.Stop():
		return fail(fmt.Errorf("did not answer within %v; if the machine is slow, raise wall_ms in [limits] of the config", limit))
	case !state.Success():
		return fail(fmt.Errorf("ended without an answer (%v); this is a bug of tenon, please report", state))
	}
	return reply, nil
}

// maxReply bounds a reply, in bytes: the edits of many modes, and their reasons.
const maxReply = 64 << 20
