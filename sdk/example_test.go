// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk_test

import (
	"errors"
	"fmt"

	"github.com/tenon-runtime/tenon/sdk"
)

// discoverNVMap is a whole mode: /dev/nvmap for a container that asks for it.
// Its init function would hand it to [sdk.Register].
func discoverNVMap(c *sdk.Context) (*sdk.Edits, error) {
	_, asks, err := c.Env("WANT_NVMAP")
	if err != nil {
		return nil, err
	}
	if !asks {
		return nil, sdk.NotApplicable
	}
	const node = "/dev/nvmap"
	st, ok, err := c.Stat(sdk.Host, node)
	if err != nil {
		return nil, err
	}
	if !ok || st.Type != 'c' {
		return nil, errors.New(node + ": is not a device of this machine; load its driver")
	}
	edits := &sdk.Edits{}
	edits.AddDevice(node)
	return edits, nil
}

// A mode is tested over recorded machines, as any Go function is.
func ExampleOpenMachine() {
	for _, name := range []string{"jetson-orin", "empty"} {
		machine, err := sdk.OpenMachine("../testscripts/machines/" + name)
		if err != nil {
			fmt.Println(err)
			return
		}
		edits, err := discoverNVMap(machine.Context(sdk.Request{Env: []string{"WANT_NVMAP=1"}}))
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%s\n", edits.JSON())
	}
	// Output:
	// {"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/nvmap"}]}}
	// /dev/nvmap: is not a device of this machine; load its driver
}
