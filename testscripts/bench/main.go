// SPDX-License-Identifier: Apache-2.0

// Bench measures what tenon costs a container: whole processes, side by side in
// one run, in turns, so that whatever else the machine does hits all of them. It
// prints medians, and what they are to the floors: a Go program that only becomes
// another one (floor/exec), and one that reads, edits and writes config.json with
// encoding/json before (floor/edit). The low-level runtime is a static program
// that ends at once. Ratios hold on a machine that is busy; times do not.
//
//	go run ./testscripts/bench [-runs N] BUILD
//
// BUILD is the folder that make has built into. It needs root, for device nodes.
// "make bench" runs it; BENCH_RUNS=5 is its quick form. BASELINE=PATH measures
// another runtime on the same bundles. Where dockerd, containerd and runc are
// installed, docker run through tenon is held against plain runc, with daemons
// of its own. The results are written into the folder bench too.
//
// Start at bench; stage.go makes what is measured, measure.go measures it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	rounds := flag.Int("runs", 40, "how often each command is measured")
	keep := flag.Bool("keep", false, "leave the folder with what was measured")
	flag.Parse()
	if flag.NArg() != 1 || *rounds < 1 {
		fmt.Fprintln(os.Stderr, "Usage: bench [-runs N] [-keep] BUILD")
		os.Exit(64)
	}
	// Whoever stops us finds no daemons and no mounts left behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, flag.Arg(0), *rounds, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sizes are the numbers of CSV entries; the ratios are those of standardSize.
var sizes = []int{10, 200, 1000, 5000}

const (
	standardSize = 200
	atOnce       = 64 // creates at once
)

func bench(ctx context.Context, build string, rounds int, keep bool) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for device nodes")
	}
	build, err := filepath.Abs(build)
	if err != nil {
		return err
	}
	s, err := newStage(ctx, build)
	if s != nil && !keep {
		defer os.RemoveAll(s.dir)
	}
	if err != nil {
		return err
	}
	commit := output("git", "describe", "--always", "--dirty", "--abbrev=12")
	name := fmt.Sprintf("RESULTS-%s-%s.txt", time.Now().UTC().Format("2006-01-02"), commit)
	var report bytes.Buffer
	out := io.MultiWriter(os.Stdout, &report)
	describe(out, commit, rounds)
	for _, part := range []func(io.Writer, string, int) error{s.single, s.growth, s.crowd, s.hook, s.docker} {
		if err := part(out, build, rounds); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("bench", 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("bench", name), report.Bytes(), 0o644)
}

// output is what a command prints, "unknown" where it does not.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func describe(out io.Writer, commit string, rounds int) {
	cpu := "unknown"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(out, "tenon %s, %s, %s\n", commit, runtime.Version(), time.Now().UTC().Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(out, "%s, %d processors, Linux %s %s, load %s\n", cpu, runtime.NumCPU(), output("uname", "-r"), runtime.GOARCH, strings.Join(strings.Fields(string(load))[:3], " "))
	fmt.Fprintf(out, "%d processes each, in turns; times are medians in ms, peak memory is the largest in MB of the largest process\n", rounds)
}

// tenon is a subject that creates a container.
func (s *stage) tenon(name string, m *machine, b *bundle, changed bool) *subject {
	return &subject{name: name, env: m.env, bundle: b, changed: changed,
		args: []string{filepath.Join(s.bin, "tenon-runtime"), "--root", "/run/bench", "create", "--bundle", b.dir, "c1"}}
}

// single measures one container at a time, with standardSize entries.
func (s *stage) single(out io.Writer, build string, rounds int) error {
	hits, err := s.newMachine(build, standardSize, true, "on")
	if err != nil {
		return err
	}
	misses, err := s.newMachine(build, standardSize, true, "off")
	if err != nil {
		return err
	}
	cold, err := s.newMachine(build, standardSize, false, "off")
	if err != nil {
		return err
	}
	plain, err := s.newBundle("plain")
	if err != nil {
		return err
	}
	asks, err := s.newBundle("asks", "NVIDIA_VISIBLE_DEVICES=all")
	if err != nil {
		return err
	}
	start := []string{"--root", "/run/bench", "start", "c1"}
	floorExec := &subject{name: "floor: exec", args: append([]string{filepath.Join(s.bin, "floor-exec"), s.noop()}, start...)}
	floorEdit := &subject{name: "floor: read, edit, write, exec", bundle: asks, changed: true,
		args: append([]string{filepath.Join(s.bin, "floor-edit"), asks.dir, s.noop()}, start...)}
	pass := &subject{name: "pass-through (start)", env: hits.env, args: append([]string{filepath.Join(s.bin, "tenon-runtime")}, start...)}
	nothing := s.tenon("create, nothing asked", hits, plain, false)
	hit := s.tenon("create, hit", hits, asks, true)
	miss := s.tenon("create, miss", misses, asks, true)
	interpreted := s.tenon("create, miss, interpreted", cold, asks, true)
	subjects := []*subject{floorExec, floorEdit, pass, nothing, hit, miss, interpreted}
	var basePass, baseCreate *subject
	if baseline := os.Getenv("BASELINE"); baseline != "" {
		basePass = &subject{name: "baseline, start", args: append([]string{baseline}, start...), env: hits.env}
		baseCreate = &subject{name: "baseline, create", env: hits.env, bundle: asks, changed: true,
			args: []string{baseline, "--root", "/run/bench", "create", "--bundle", asks.dir, "c1"}}
		subjects = append(subjects, basePass, baseCreate)
	}
	if err := s.measure(rounds, subjects...); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOne container, %d CSV entries and %d devices, config.json of %d bytes\n", standardSize, devices, len(asks.config))
	table(out, subjects)
	note := ""
	if err := s.isHit(hit); err != nil {
		note = fmt.Sprintf("  (NO HIT: %v)", err)
	}
	fmt.Fprintf(out, "\n%-48s %6s %10s   target\n", "Ratios", "time", "processor")
	for _, r := range []struct {
		name   string
		a, b   *subject
		target string
	}{
		{"passthrough / go-exec floor", pass, floorExec, "1.25"},
		{"create, nothing asked / go-exec floor", nothing, floorExec, "1.4"},
		{"create hit / read-edit-write floor", hit, floorEdit, "1.6" + note},
		{"create miss / read-edit-write floor", miss, floorEdit, "12"},
		{"create miss interpreted / read-edit-write floor", interpreted, floorEdit, ""},
		{"passthrough / baseline start", pass, basePass, ""},
		{"create hit / baseline create", hit, baseCreate, ""},
		{"create miss / baseline create", miss, baseCreate, ""},
	} {
		if r.b != nil {
			wall, cpu := ratio(r.a, r.b)
			fmt.Fprintf(out, "%-48s %6.2f %10.2f   %s\n", r.name, wall, cpu, r.target)
		}
	}
	fmt.Fprintf(out, "%-48s %6.1f              24\n%-48s %6.1f              110\n", "peak memory of a hit, MB", hit.peak(), "peak memory of a miss, MB", miss.peak())
	return nil
}

func table(out io.Writer, subjects []*subject) {
	fmt.Fprintf(out, "%-36s %8s %8s %9s %8s\n", "", "median", "least", "processor", "peak")
	for _, x := range subjects {
		fmt.Fprintf(out, "%-36s %8.2f %8.2f %9.2f %8.1f\n", x.name, x.wall(), x.least(), x.cpu(), x.peak())
	}
}

// isHit makes sure that a subject needs no engine: with tenon-engine away it must
// do the same.
func (s *stage) isHit(x *subject) error {
	engine := filepath.Join(s.bin, "tenon-engine")
	if err := os.Rename(engine, engine+".away"); err != nil {
		return err
	}
	_, err := s.once(x)
	return errors.Join(err, os.Rename(engine+".away", engine))
}

// growth measures how the cost grows with what the machine has.
func (s *stage) growth(out io.Writer, build string, rounds int) error {
	asks, err := s.newBundle("growth", "NVIDIA_VISIBLE_DEVICES=all")
	if err != nil {
		return err
	}
	var subjects []*subject
	for _, n := range sizes {
		for _, traces := range []string{"on", "off"} {
			m, err := s.newMachine(build, n, true, traces+"-growth")
			if err != nil {
				return err
			}
			name := map[string]string{"on": "hit", "off": "miss"}[traces]
			x := s.tenon(fmt.Sprintf("create, %s, %d entries", name, n), m, asks, true)
			if _, err := s.once(x); err != nil {
				fmt.Fprintf(out, "\n%s: %v\n", x.name, err)
				continue
			}
			subjects = append(subjects, x)
		}
	}
	if err := s.measure(rounds, subjects...); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nGrowth with the number of CSV entries\n")
	table(out, subjects)
	return nil
}

// crowd measures many creates at once.
func (s *stage) crowd(out io.Writer, build string, _ int) error {
	fmt.Fprintf(out, "\n%d creates at once, %d CSV entries each\n", atOnce, standardSize)
	for _, traces := range []string{"on", "off"} {
		m, err := s.newMachine(build, standardSize, true, traces+"-crowd")
		if err != nil {
			return err
		}
		subjects := make([]*subject, atOnce)
		for i := range subjects {
			b, err := s.newBundle(fmt.Sprintf("crowd-%s-%d", traces, i), "NVIDIA_VISIBLE_DEVICES=all")
			if err != nil {
				return err
			}
			subjects[i] = s.tenon("", m, b, true)
		}
		alone, err := s.once(subjects[0]) // leaves the trace, too
		if err != nil {
			return err
		}
		if alone, err = s.once(subjects[0]); err != nil {
			return err
		}
		all := &subject{runs: make([]run, atOnce)}
		failed := make([]error, atOnce)
		began := time.Now()
		var group sync.WaitGroup
		for i, x := range subjects {
			x.result = subjects[0].result
			group.Go(func() { all.runs[i], failed[i] = s.once(x) })
		}
		group.Wait()
		wall := time.Since(began)
		if err := errors.Join(failed...); err != nil {
			return fmt.Errorf("%d creates at once: %w", atOnce, err)
		}
		var cpu, longest time.Duration
		for _, r := range all.runs {
			cpu += r.cpu
			longest = max(longest, r.wall)
		}
		name := map[string]string{"on": "hit", "off": "miss"}[traces]
		// Where none waits for another, all are done when the processors have
		// done their work.
		fmt.Fprintf(out, "%-5s all succeed; one alone %.1f ms, all %.1f ms, the longest %.1f ms, processor time / processors %.1f ms\n",
			name, ms(alone.wall), ms(wall), ms(longest), ms(cpu)/float64(runtime.NumCPU()))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// hook measures the hook that updates ld.so.cache.
func (s *stage) hook(out io.Writer, _ string, rounds int) error {
	fmt.Fprintf(out, "\nHook update-ldcache against ldconfig, by number of libraries of the image\n")
	c := exec.Command("go", "run", "./testscripts/hookbench", "-rounds", fmt.Sprint(rounds), filepath.Join(s.bin, "tenon-hook"))
	c.Stdout, c.Stderr = out, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("hookbench: %w", err)
	}
	return nil
}
