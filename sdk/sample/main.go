// SPDX-License-Identifier: Apache-2.0

// Mode acme gives a container the devices of a vendor that does not exist: it is
// the sample of a mode written in Go. ../c/sample and ../rust/sample are the same
// mode in C and Rust, and all three give the same bytes.
//
// A container asks by ACME_VISIBLE_DEVICES, or by mounts below
// /var/run/acme-devices: "all", or indexes such as "0,2-3". manifest.json names
// these places, and the rules for lists are the host's. An index that the machine
// does not have fails the create: a container that asks for a device does not
// start without it.
package main

import (
	"errors"
	"strings"

	"github.com/tenon-runtime/tenon/sdk"
)

func init() { sdk.Register(discover) }
func main() {}

const prefix = "/dev/acme"

func discover(c *sdk.Context) (*sdk.Edits, error) {
	asked, ok, err := c.Request("")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, sdk.NotApplicable
	}
	// The driver, and so /dev, may be installed below a folder of its own.
	driverRoot, _, err := c.Config("driver_root")
	if err != nil {
		return nil, err
	}
	indexes, err := devices(c)
	if err != nil {
		return nil, err
	}
	chosen, err := asked.Choose(indexes)
	if err != nil || len(chosen) == 0 {
		return nil, err
	}
	edits := &sdk.Edits{}
	for _, index := range chosen {
		d := edits.AddDevice(prefix + index)
		if driverRoot != "" && driverRoot != "/" {
			d.HostPath = driverRoot + d.Path
		}
		c.Explain(d.Path + ": asked for by " + asked.Place)
	}
	return edits, nil
}

// devices returns the indexes of the machine's devices, sorted as text. Their
// numbers are for the host to find out.
func devices(c *sdk.Context) ([]string, error) {
	paths, err := c.Glob(sdk.Driver, prefix+"[0-9]*")
	if err != nil {
		return nil, err
	}
	var indexes []string
	for _, path := range paths {
		index := strings.TrimPrefix(path, prefix)
		if !digits(index) {
			continue // such as /dev/acme0ctl
		}
		st, ok, err := c.Stat(sdk.Driver, path)
		if err != nil {
			return nil, err
		}
		if ok && st.Type == 'c' {
			indexes = append(indexes, index)
		} else {
			c.Explain(path + ": left out, it is not a character device")
		}
	}
	if len(indexes) == 0 {
		return nil, errors.New(prefix + "0: this machine has no such device; load its driver")
	}
	return indexes, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
