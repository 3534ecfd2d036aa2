// SPDX-License-Identifier: Apache-2.0

// Package sdk is what a mode written in Go imports: it asks the machine, and
// answers with edits, by the ABI of ABI.md beside this file.
//
// A mode calls [Register] from an init function. Its function gets a [Context],
// asks what it must know, and returns [Edits], or [NotApplicable], or an error
// that fails the create. Built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o NAME.wasm .
//
// the answers come from the host. Built natively they come from a recorded
// machine, [OpenMachine], so that a mode is tested by plain go test.
//
// Read sdk.go, context.go, edits.go. Nothing here reads a file, a clock, an
// environment variable or a random number in a guest, and nothing that a guest
// links imports fmt, encoding/json or reflect: they cost a third of the time
// that it takes to load one.
package sdk

import (
	"errors"
	"strings"
)

// NotApplicable is what a mode returns if it has nothing to say about this
// container or this machine: result 2 of the ABI. With mode "auto" or a list
// of modes the others go on. Edits returned beside it are dropped.
//
//lint:ignore ST1012 it is a result, not a failure: sdk.NotApplicable says so
var NotApplicable = errors.New("this mode does not apply")

// registered is the function that the mode gave to Register.
var registered func(*Context) (*Edits, error)

// Register sets the function that finds out what one container gets. Call it
// from init, once: main of a guest never runs. Nil edits change nothing. The
// text of an error is shown to the user behind "tenon: mode NAME: ", so it is
// one line that begins with the thing that is wrong.
func Register(discover func(*Context) (*Edits, error)) {
	registered = discover
}

// Results of tenon_discover, ABI.md "Results".
const (
	resultDone          = 0
	resultFailed        = 1
	resultNotApplicable = 2
)

// Kinds of emit, ABI.md "emit".
const (
	emitEdits   = 0
	emitReason  = 1
	emitExplain = 2
)

// run runs the registered function once and tells the host what came out.
func run(c *Context) int32 {
	if registered == nil {
		c.emit(emitReason, "the module has registered no function; call sdk.Register from init")
		return resultFailed
	}
	edits, err := registered(c)
	switch {
	case err != nil && errors.Is(err, NotApplicable):
		return resultNotApplicable
	case err != nil:
		c.emit(emitReason, reason(err))
		return resultFailed
	case edits == nil:
		return resultDone
	}
	if code := c.emit(emitEdits, string(edits.JSON())); code != 0 {
		c.emit(emitReason, "edits: "+code.Error())
		return resultFailed
	}
	return resultDone
}

// maxReason is how long the text of a failure may be, in bytes; ABI.md, "Limits".
const maxReason = 4096

// reason is the text of err as the host takes it: a reason that is too long, or
// not UTF-8, would be refused, and the failure be without one.
func reason(err error) string {
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxReason)], "?")
}
