// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// TestResults: what the host is told for each way that a mode can end.
func TestResults(t *testing.T) {
	for _, tt := range []struct {
		name     string
		discover func(*Context) (*Edits, error)
		result   int32
		emitted  []emission
	}{
		{"edits", func(*Context) (*Edits, error) { return &Edits{}, nil }, 0, []emission{{0, `{"abi":1}`}}},
		{"no edits", func(*Context) (*Edits, error) { return nil, nil }, 0, nil},
		{"not applicable", func(c *Context) (*Edits, error) { c.Explain("why"); return &Edits{}, NotApplicable }, 2, []emission{{2, "why"}}},
		{"an error", func(*Context) (*Edits, error) { return &Edits{}, errors.New("/dev/x: is not there") }, 1, []emission{{1, "/dev/x: is not there"}}},
		{"an error that is not text", func(*Context) (*Edits, error) { return nil, errors.New("\xff: x") }, 1, []emission{{1, "?: x"}}},
		{"a long error", func(*Context) (*Edits, error) { return nil, errors.New(strings.Repeat("x", 4095) + "é") }, 1, []emission{{1, strings.Repeat("x", 4095) + "?"}}},
		{"nothing registered", nil, 1, []emission{{1, "the module has registered no function; call sdk.Register from init"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := (&Machine{}).Context(Request{})
			Register(tt.discover)
			if got := run(c); got != tt.result {
				t.Errorf("result %d, want %d", got, tt.result)
			}
			if !reflect.DeepEqual(c.emitted, tt.emitted) {
				t.Errorf("emitted %q, want %q", c.emitted, tt.emitted)
			}
		})
	}
}

func TestEditsThatTheHostRefusesFail(t *testing.T) {
	c := (&Machine{}).Context(Request{})
	keep := c.emit
	c.emit = func(kind int32, text string) Code {
		if kind == emitEdits {
			return TooLarge
		}
		return keep(kind, text)
	}
	Register(func(*Context) (*Edits, error) { return &Edits{}, nil })
	if got := run(c); got != 1 {
		t.Errorf("result %d, want 1", got)
	}
	if want := []emission{{1, "edits: over the size limit"}}; !reflect.DeepEqual(c.emitted, want) {
		t.Errorf("emitted %q, want %q", c.emitted, want)
	}
}

// TestMalformedAnswersAreErrors: a host that frames an answer wrongly is named.
func TestMalformedAnswersAreErrors(t *testing.T) {
	var answer []byte
	c := &Context{ask: func(Op, Root, string) ([]byte, Code) { return answer, 0 }}
	const bug = ": the answer is malformed; this is a bug of tenon, please report"
	for _, tt := range []struct {
		answer, want string
		ask          func() error
	}{
		{"/a\x00/b", "/*" + bug, func() error { _, err := c.Glob(Host, "/*"); return err }},
		{"f\x00", "/ in the container" + bug, func() error { _, _, err := c.ReadDir(Container, "/"); return err }},
		{"fa", "/x" + bug, func() error { _, _, err := c.ReadDir(Host, "/x"); return err }},
		{"a\x00b\x00c\x00", `"/"` + bug, func() error { _, err := c.Mounts("/"); return err }},
		{"f\x00\x00\x00", "/x in the driver root" + bug, func() error { _, _, err := c.Stat(Driver, "/x"); return err }},
	} {
		answer = []byte(tt.answer)
		if err := tt.ask(); err == nil || err.Error() != tt.want {
			t.Errorf("%q: error %v, want %s", tt.answer, err, tt.want)
		}
	}
	answer = make([]byte, 40) // a longer record is a newer host's
	answer[0], answer[4], answer[24] = 'c', 0o60, 9
	if st, ok, err := c.Stat(Host, "/x"); err != nil || !ok || st != (Stat{Type: 'c', Mode: 0o60, Size: 9}) {
		t.Errorf("%+v, %v, %v", st, ok, err)
	}
}

func TestErrorsNameWhatWasAsked(t *testing.T) {
	code := Denied
	c := &Context{ask: func(Op, Root, string) ([]byte, Code) { return nil, code }}
	_, _, err := c.Env("SECRET")
	if !errors.Is(err, Denied) || err.Error() != `variable "SECRET": not granted to this mode` {
		t.Error(err)
	}
	_, _, err = c.Spec("/root")
	if err.Error() != `config.json "/root": not granted to this mode` {
		t.Error(err)
	}
	code = OverBudget
	if _, _, err = c.ReadFile(Driver, "/a\nb"); err.Error() != `"/a\nb" in the driver root: the mode has asked more than its limits allow` {
		t.Error(err)
	}
	code = -77
	if _, _, err = c.Config("x"); err.Error() != `config key "x": unknown error -77` {
		t.Error(err)
	}
	if c.Feature("op.15") {
		t.Error("an error must mean no")
	}
}
