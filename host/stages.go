// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// StagesVariable is the environment variable that names the file which gets the
// stages of each create with their times.
const StagesVariable = "TENON_TRACE_TIME"

// EngineVariables picks what tenon-engine needs out of environ, which is as
// os.Environ gives it: the variables of the configuration, and that one.
func EngineVariables(environ []string) []string {
	list := SettingsVariables(environ)
	for _, e := range environ {
		if strings.HasPrefix(e, StagesVariable+"=") {
			list = append(list, e)
		}
	}
	return list
}

// Stages measures the stages of one create. A nil *Stages measures nothing, and
// costs nothing: that is what there is where nobody asked. It may be used by many
// goroutines.
type Stages struct {
	file  string
	began time.Time

	mu   sync.Mutex // of what follows
	last time.Time
	line []byte
}

// NewStages begins to measure, for the file that is the value of
// [StagesVariable]; "" is for nobody.
func NewStages(file string) *Stages {
	if file == "" {
		return nil
	}
	now := time.Now()
	return &Stages{file: file, began: now, last: now}
}

// Mark ends a stage: what was done since the one before it.
func (s *Stages) Mark(stage string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.line = appendTime(append(s.line, ' '), stage, now.Sub(s.last))
	s.last = now
}

// Skip leaves what was done since the last stage out of the next one, but not
// out of the whole.
func (s *Stages) Skip() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
}

// End appends one line to the file, as "tenon-engine[PID] read=0.4ms load=21ms
// total=23.1ms". A file that cannot be written says nothing. Like the debug log
// it is opened without following a link, and without waiting for a reader.
func (s *Stages) End(program string) {
	if s == nil {
		return
	}
	const flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	f, err := os.OpenFile(s.file, flags, 0o640)
	if err != nil {
		return
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Appendf(nil, "%s[%d]%s", program, os.Getpid(), s.line)
	_, _ = f.Write(append(appendTime(append(line, ' '), "total", time.Since(s.began)), '\n'))
}

func appendTime(b []byte, stage string, d time.Duration) []byte {
	b = append(append(b, stage...), '=')
	return append(strconv.AppendFloat(b, float64(d.Microseconds())/1000, 'f', -1, 64), "ms"...)
}

type stagesKey struct{}

// WithStages is for a caller of functions that take a context and mark stages.
func WithStages(ctx context.Context, s *Stages) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, stagesKey{}, s)
}

// StagesOf returns what [WithStages] has put into ctx, or nil.
func StagesOf(ctx context.Context) *Stages {
	s, _ := ctx.Value(stagesKey{}).(*Stages)
	return s
}
