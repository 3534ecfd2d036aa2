// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Devices are what a container asks a mode for: ABI.md, "Requests".
type Devices struct {
	// Place is where it asks, for messages: a variable, "annotation " and a key, or
	// the folder of mounts.
	Place string
	// IDs is "all" or "none", or ids in the order in which they were asked for, each
	// once. There is one at least.
	IDs []string
}

// Request returns what the container asks for by one of the requests that the
// mode's manifest has; "" is the name of the one that has none. A container that
// asks for nothing, "void" included, has ok = false. One with a malformed list was
// refused before the mode ran.
func (c *Context) Request(name string) (Devices, bool, error) {
	answer, ok, err := c.bytes(OpRequest, Host, name)
	if err != nil || !ok {
		return Devices{}, false, err
	}
	list, framed := split(answer)
	if !framed || len(list) < 2 {
		return Devices{}, false, &QueryError{Op: OpRequest, Key: name, Err: errFraming}
	}
	return Devices{Place: list[0], IDs: list[1:]}, true, nil
}

// All reports whether every device is asked for.
func (d Devices) All() bool { return len(d.IDs) == 1 && d.IDs[0] == "all" }

// None reports whether what there is beside devices is asked for, and no device.
func (d Devices) None() bool { return len(d.IDs) == 1 && d.IDs[0] == "none" }

// Choose returns those of the machine's ids that are asked for, in the machine's
// order. The error is for the user, whose list names what the machine does not
// have.
func (d Devices) Choose(machine []string) ([]string, error) {
	switch {
	case d.All():
		return machine, nil
	case d.None():
		return nil, nil
	}
	for _, id := range d.IDs {
		if !slices.Contains(machine, id) {
			return nil, errors.New(d.Place + ": " + strconv.Quote(id) + " is not a device of this machine; ask for all, none or some of " + strings.Join(machine, ","))
		}
	}
	var chosen []string
	for _, id := range machine {
		if slices.Contains(d.IDs, id) {
			chosen = append(chosen, id)
		}
	}
	return chosen, nil
}
