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
// another runtime on the same bundles, with NVIDIA's configuration for the same
// machine (baseline.go). Where dockerd, containerd and runc are
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
	"io/fs"
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
	only := flag.String("only", "", "measure one part: single, growth, crowd, hook or docker; the results are printed, not kept")
	flag.Parse()
	if flag.NArg() != 1 || *rounds < 1 {
		fmt.Fprintln(os.Stderr, "Usage: bench [-runs N] [-only PART] [-keep] BUILD")
		os.Exit(64)
	}
	// Whoever stops us finds no daemons and no mounts left behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, flag.Arg(0), *rounds, *keep, *only); err != nil {
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

func bench(ctx context.Context, build string, rounds int, keep bool, only string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for device nodes")
	}
	build, err := filepath.Abs(build)
	if err != nil {
		return err
	}
	s, err := newStage(ctx, build)
	if s != nil && !keep {
		defer s.remove()
	}
	if err != nil {
		return err
	}
	commit := output("git", "describe", "--always", "--dirty", "--abbrev=12")
	name := fmt.Sprintf("RESULTS-%s-%s.txt", time.Now().UTC().Format("2006-01-02"), commit)
	var report bytes.Buffer
	out := io.MultiWriter(os.Stdout, &report)
	describe(out, commit, rounds)
	for _, part := range []struct {
		name string
		run  func(io.Writer, string, int) error
	}{{"single", s.single}, {"growth", s.growth}, {"crowd", s.crowd}, {"hook", s.hook}, {"docker", s.docker}} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(out, build, rounds); err != nil {
			return err
		}
	}
	if only != "" {
		return nil
	}
	if bytes.Contains(report.Bytes(), []byte(s.dir)) {
		return errors.New("the results name a folder of this machine, and are not kept")
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
	base, err := s.baseline(os.Getenv("BASELINE"), hits, plain, asks)
	if err != nil {
		return err
	}
	subjects = append(subjects, base.subjects()...)
	if err := s.measure(rounds, subjects...); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOne container, %d CSV entries and %d devices, config.json of %d bytes\n", standardSize, devices, len(asks.config))
	table(out, subjects)
	note := ""
	if err := s.isHit(hit); err != nil {
		note = "  (NO HIT: " + s.bare(err) + ")"
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
		{"passthrough / baseline start", pass, base.start, ""},
		{"create, nothing asked / baseline, nothing asked", nothing, base.nothing, ""},
		{"create hit / baseline create", hit, base.create, ""},
		{"create miss / baseline create", miss, base.create, ""},
	} {
		if r.b != nil {
			wall, cpu := ratio(r.a, r.b)
			fmt.Fprintf(out, "%-48s %6.2f %10.2f   %s\n", r.name, wall, cpu, r.target)
		}
	}
	fmt.Fprintf(out, "%-48s %6.1f              24\n%-48s %6.1f              110\n", "peak memory of a hit, MB", hit.peak(), "peak memory of a miss, MB", miss.peak())
	fmt.Fprint(out, base.said)
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
	bySize := map[string]*subject{}
	for _, n := range sizes {
		for _, traces := range []string{"on", "off"} {
			m, err := s.newMachine(build, n, true, traces+"-growth")
			if err != nil {
				return err
			}
			name := map[string]string{"on": "hit", "off": "miss"}[traces]
			x := s.tenon(fmt.Sprintf("create, %s, %d entries", name, n), m, asks, true)
			if _, err := s.once(x); err != nil {
				fmt.Fprintf(out, "\n%s: %s\n", x.name, s.bare(err))
				continue
			}
			subjects = append(subjects, x)
			bySize[fmt.Sprint(name, n)] = x
		}
	}
	if err := s.measure(rounds, subjects...); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nGrowth with the number of CSV entries\n")
	table(out, subjects)
	largest := sizes[len(sizes)-1]
	fmt.Fprintf(out, "\n%-48s %6s %10s   target\n", "Ratios", "time", "processor")
	for _, name := range []string{"hit", "miss"} {
		if a, b := bySize[fmt.Sprint(name, largest)], bySize[fmt.Sprint(name, standardSize)]; a != nil && b != nil {
			wall, cpu := ratio(a, b)
			fmt.Fprintf(out, "%-48s %6.2f %10.2f   %d, which is linear\n", fmt.Sprintf("create %s, %d / %d entries", name, largest, standardSize), wall, cpu, largest/standardSize)
		}
	}
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
		for _, x := range subjects {
			x.result = subjects[0].result
		}
		name := map[string]string{"on": "hit", "off": "miss"}[traces]
		wall, longest, cpu, err := s.together(subjects)
		if err != nil {
			return err
		}
		// Where none waits for another, all are done when the processors have
		// done their work.
		fmt.Fprintf(out, "%-5s all succeed; one alone %.1f ms, all %.1f ms, the longest %.1f ms, processor time / processors %.1f ms\n",
			name, ms(alone.wall), ms(wall), ms(longest), ms(cpu)/float64(runtime.NumCPU()))
		release, err := s.holdLocks()
		if err != nil {
			return err
		}
		wall, _, _, err = s.together(subjects)
		release()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-5s with every lock of the state held by another process: all succeed, all %.1f ms\n", name, ms(wall))
	}
	return nil
}

// together runs each subject once, all at the same time.
func (s *stage) together(subjects []*subject) (wall, longest, cpu time.Duration, err error) {
	runs, failed := make([]run, len(subjects)), make([]error, len(subjects))
	began := time.Now()
	var group sync.WaitGroup
	for i, x := range subjects {
		group.Go(func() { runs[i], failed[i] = s.once(x) })
	}
	group.Wait()
	wall = time.Since(began)
	for _, r := range runs {
		cpu += r.cpu
		longest = max(longest, r.wall)
	}
	if err := errors.Join(failed...); err != nil {
		return 0, 0, 0, fmt.Errorf("%d creates at once: %w", len(subjects), err)
	}
	return wall, longest, cpu, nil
}

// holdLocks takes all locks of the state, as a create would that was stopped with
// them.
func (s *stage) holdLocks() (release func(), err error) {
	var held []*os.File
	release = func() {
		for _, f := range held {
			f.Close()
		}
	}
	return release, filepath.WalkDir(s.state, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		held = append(held, f)
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	})
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
