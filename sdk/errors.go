// SPDX-License-Identifier: Apache-2.0

package sdk

import "strconv"

// Code is an error that the host answered with. Find one in an error of this
// package with errors.Is(err, sdk.Denied). The numbers are those of ABI.md,
// "Errors".
type Code int32

const (
	NotFound        Code = -1 // not there; the methods of Context say ok = false instead
	Denied          Code = -2 // the mode's manifest or the administrator does not grant it
	WrongType       Code = -3 // a folder where a file was asked for, a FIFO, a socket, not a link
	TooLarge        Code = -4 // the answer is over the limit
	InvalidArgument Code = -5 // the key is not UTF-8, not absolute, not a pattern; the mode is at fault
	Unsupported     Code = -6 // this host does not know the query, the root or the kind
	IOError         Code = -7 // the machine would not say
	WrongState      Code = -8 // asked outside tenon_discover
	OverBudget      Code = -9 // this run has asked too much; every later query fails likewise

	// notRecorded is what a recording, see [Machine], has for a question that is
	// not in it. It is no code of the ABI, and no guest meets it.
	notRecorded Code = -1000
)

// Error says what c means, without the thing that was asked for.
func (c Code) Error() string {
	switch c {
	case NotFound:
		return "does not exist"
	case Denied:
		return "not granted to this mode"
	case WrongType:
		return "has the wrong file type"
	case TooLarge:
		return "over the size limit"
	case InvalidArgument:
		return "not a valid argument; this is a bug of the mode"
	case Unsupported:
		return "this version of tenon cannot answer that"
	case IOError:
		return "not readable on this machine"
	case WrongState:
		return "asked outside tenon_discover; this is a bug of the mode"
	case OverBudget:
		return "the mode has asked more than its limits allow"
	case notRecorded:
		return "not in this recorded machine; record it anew"
	}
	return "unknown error " + strconv.Itoa(int(c))
}

// QueryError is a query that had no answer. Its text begins with the key, so
// that a mode can return it as it is.
type QueryError struct {
	Op   Op
	Root Root
	Key  string
	Err  error // a Code, or what is wrong with the answer's framing
}

// Error is the key, quoted where it is not readable as it is, and what is wrong.
func (e *QueryError) Error() string {
	thing := strconv.Quote(e.Key)
	switch e.Op {
	case OpEnv:
		thing = "variable " + thing
	case OpAnnotation:
		thing = "annotation " + thing
	case OpSpec:
		thing = "config.json " + thing
	case OpConfig:
		thing = "config key " + thing
	case OpRequest:
		thing = "request " + thing
	case OpStat, OpReadDir, OpRead, OpReadLink, OpGlob, OpRealPath:
		if strconv.Quote(e.Key) == `"`+e.Key+`"` {
			thing = e.Key
		}
		switch e.Root {
		case Container:
			thing += " in the container"
		case Driver:
			thing += " in the driver root"
		}
	}
	if e.Op == OpRequest && e.Err == InvalidArgument { // over a recorded machine only
		return thing + ": is malformed, and a host would have refused the container"
	}
	return thing + ": " + e.Err.Error()
}

// Unwrap returns the [Code], if the host answered with one.
func (e *QueryError) Unwrap() error { return e.Err }
