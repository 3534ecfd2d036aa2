// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strconv"

	"github.com/tenon-runtime/tenon/sdk"
)

// visibleDevices is the variable that asks for devices.
// https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
const visibleDevices = "NVIDIA_VISIBLE_DEVICES"

// request is what a container asks for. There is one GPU behind the CSV files,
// so there is no list.
type request int

const (
	nothing    request = iota // the container is left as it is
	filesOnly                 // "none": the driver's files, without device nodes
	everything                // "all" or "0"
)

// requested says what the container asks for by visibleDevices, or by mounts; the
// places and the rules for lists are the host's. An IMEX channel is a request of
// another kind, by the manifest, and not for this mode. An error names where the
// list was given and the first id that is no device.
func requested(c *sdk.Context) (request, error) {
	asked, ok, err := c.Request("")
	switch {
	case err != nil || !ok:
		return nothing, err
	case asked.None():
		return filesOnly, nil
	case asked.All():
		return everything, nil
	}
	for _, id := range asked.IDs {
		if id != "0" {
			return nothing, errors.New(asked.Place + ": " + strconv.Quote(id) + " is not a device of this machine; ask for all, 0 or none")
		}
	}
	return everything, nil
}
