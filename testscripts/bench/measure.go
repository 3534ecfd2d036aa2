// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A run is what one process took.
type run struct {
	wall, cpu time.Duration
	peak      int // KiB, of the largest process
}

// A subject is one command that is measured.
type subject struct {
	name string
	args []string
	env  []string
	// bundle is put back to what it was before each run; nil for a command that
	// changes none. With result, each run must leave the same config.json as the
	// first one, and with changed it must be another one than before.
	bundle  *bundle
	changed bool
	result  []byte
	runs    []run
}

// measure runs all subjects in turns, so that whatever else the machine does hits
// all of them. The first round is not counted.
func (s *stage) measure(rounds int, subjects ...*subject) error {
	for round := range rounds + 1 {
		for _, x := range subjects {
			r, err := s.once(x)
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			if round > 0 {
				x.runs = append(x.runs, r)
			}
		}
	}
	return nil
}

// once runs a subject and holds what it did against what it should do.
func (s *stage) once(x *subject) (run, error) {
	if err := s.ctx.Err(); err != nil {
		return run{}, err
	}
	if x.bundle != nil {
		if err := x.bundle.reset(); err != nil {
			return run{}, err
		}
	}
	r, err := s.launch(x)
	if err != nil || x.bundle == nil {
		return r, err
	}
	got, err := x.bundle.read()
	if err != nil {
		return r, err
	}
	if x.changed == bytes.Equal(got, x.bundle.config) {
		return r, fmt.Errorf("config.json was changed: %v, but it should be: %v", !x.changed, x.changed)
	}
	if x.result == nil {
		x.result = got
	}
	if !bytes.Equal(got, x.result) {
		return r, errors.New("left another config.json than before")
	}
	return r, nil
}

func (s *stage) launch(x *subject) (run, error) {
	c := exec.Command(filepath.Join(s.bin, "launch"), x.args...)
	c.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, x.env...)
	out, err := c.Output()
	first, said, _ := strings.Cut(string(out), "\n")
	if err != nil {
		return run{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(said))
	}
	var r run
	if _, err := fmt.Sscan(first, &r.wall, &r.cpu, &r.peak); err != nil {
		return run{}, fmt.Errorf("launch said %q", first)
	}
	return r, nil
}

// wall is the median of the time of a subject, in milliseconds.
func (x *subject) wall() float64 {
	return median(x.runs, func(r run) float64 { return float64(r.wall.Microseconds()) / 1000 })
}

func (x *subject) cpu() float64 {
	return median(x.runs, func(r run) float64 { return float64(r.cpu.Microseconds()) / 1000 })
}

// least is the shortest of the times: what it takes where nothing comes between.
func (x *subject) least() float64 {
	if len(x.runs) == 0 {
		return 0
	}
	r := slices.MinFunc(x.runs, func(a, b run) int { return int(a.wall - b.wall) })
	return float64(r.wall.Microseconds()) / 1000
}

// peak is the largest peak memory of a subject, in MB of 1,000,000 bytes.
func (x *subject) peak() (mb float64) {
	for _, r := range x.runs {
		mb = max(mb, float64(r.peak)*1024/1e6)
	}
	return mb
}

func median(runs []run, of func(run) float64) float64 {
	var values []float64
	for _, r := range runs {
		values = append(values, of(r))
	}
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// ratio is the median of the ratios of two subjects, round by round, of their
// time and of their processor time: what slows one round slows both.
func ratio(a, b *subject) (wall, cpu float64) {
	var walls, cpus []float64
	for i := range min(len(a.runs), len(b.runs)) {
		walls = append(walls, float64(a.runs[i].wall)/float64(b.runs[i].wall))
		cpus = append(cpus, float64(a.runs[i].cpu)/float64(b.runs[i].cpu))
	}
	if len(walls) == 0 {
		return 0, 0
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	return walls[len(walls)/2], cpus[len(cpus)/2]
}

// A bundle is a container that is created again and again.
type bundle struct {
	dir    string
	config []byte // config.json as the engine wrote it
}

func (b *bundle) file() string { return filepath.Join(b.dir, "config.json") }

func (b *bundle) reset() error {
	if err := os.Remove(b.file()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(b.file(), b.config, 0o600)
}

func (b *bundle) read() ([]byte, error) { return os.ReadFile(b.file()) }
