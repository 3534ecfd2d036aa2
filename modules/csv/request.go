// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-runtime/tenon/sdk"
)

// visibleDevices is the variable that asks for devices.
// https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
const visibleDevices = "NVIDIA_VISIBLE_DEVICES"

// deviceMounts is the folder whose mounts of /dev/null ask for devices: the
// base name of the destination is a device's id. Only an orchestrator can
// make mounts, so an image cannot ask by itself.
const deviceMounts = "/var/run/nvidia-container-devices"

// request is what a container asks for. There is one GPU behind the CSV files,
// so there is no list.
type request int

const (
	nothing    request = iota // the container is left as it is
	filesOnly                 // "none": the driver's files, without device nodes
	everything                // "all" or "0"
)

// requested reads what the container asks for. Mounts, where the administrator
// accepts them, win over the environment.
func requested(c *sdk.Context) (request, error) {
	accept, _, err := c.Config("accept_volume_mounts")
	if err != nil {
		return nothing, err
	}
	if accept == "true" {
		mounts, err := c.Mounts(deviceMounts)
		if err != nil {
			return nothing, err
		}
		if ids := mountedIDs(c, mounts); len(ids) > 0 {
			return parseRequest(deviceMounts, ids)
		}
	}
	value, _, err := c.Env(visibleDevices)
	if err != nil {
		return nothing, err
	}
	return parseRequest(visibleDevices, splitList(value))
}

// splitList takes a list of ids apart: trimmed, without empty items, each once.
func splitList(value string) []string {
	var ids []string
	for id := range strings.SplitSeq(value, ",") {
		id = strings.TrimSpace(id)
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// mountedIDs returns the ids that mounts of /dev/null stand for. CDI devices
// and IMEX channels have sub-folders of their own, and are not for this mode.
func mountedIDs(c *sdk.Context, mounts []sdk.Mount) []string {
	var ids []string
	for _, m := range mounts {
		id, below := strings.CutPrefix(path.Join("/", m.Destination), deviceMounts+"/")
		if !below || path.Clean(m.Source) != "/dev/null" {
			continue
		}
		if strings.HasPrefix(id, "cdi/") || strings.HasPrefix(id, "imex/") {
			c.Explain(deviceMounts + "/" + id + ": not a request to this mode")
			continue
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// parseRequest says what a list of ids asks for. The special words win in the
// order void, none, all, wherever they stand, as in NVIDIA's runtime. An error
// names where the list was given and the first id that is no device.
func parseRequest(where string, ids []string) (request, error) {
	switch {
	case len(ids) == 0, slices.Contains(ids, "void"):
		return nothing, nil
	case slices.Contains(ids, "none"):
		return filesOnly, nil
	case slices.Contains(ids, "all"):
		return everything, nil
	}
	for _, id := range ids {
		if id != "0" {
			return nothing, errors.New(where + ": " + strconv.Quote(id) + " is not a device of this machine; ask for all, 0 or none")
		}
	}
	return everything, nil
}
