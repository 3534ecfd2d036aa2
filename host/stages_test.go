// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/tenon-runtime/tenon/host"
)

func TestStagesAreOneLineACreate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "times")
	for range 2 {
		s := host.NewStages(file)
		ctx := host.WithStages(t.Context(), s)
		s.Mark("config")
		s.Skip()
		host.StagesOf(ctx).Mark("load")
		s.End("tenon-runtime")
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const line = `tenon-runtime\[[0-9]+\] config=[0-9.]+ms load=[0-9.]+ms total=[0-9.]+ms\n`
	if !regexp.MustCompile("^" + line + line + "$").Match(got) {
		t.Errorf("wrote %q", got)
	}
}

func TestStagesAreNothingWhereNobodyAsked(t *testing.T) {
	s := host.NewStages("")
	if s != nil {
		t.Fatal("something is measured")
	}
	s.Mark("config")
	s.Skip()
	s.End("tenon-runtime")
	if ctx := host.WithStages(t.Context(), s); ctx != t.Context() || host.StagesOf(ctx) != nil {
		t.Error("the context was changed")
	}
	if n := testing.AllocsPerRun(10, func() { s.Mark("config") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStagesFollowNoLink(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s := host.NewStages(filepath.Join(dir, "link"))
	s.End("x")
	if got, err := os.ReadFile(target); err != nil || len(got) > 0 {
		t.Errorf("wrote %q, %v", got, err)
	}
}
