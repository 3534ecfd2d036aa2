// SPDX-License-Identifier: Apache-2.0

// Mode probe is a module for tests of engines: it goes wrong in the way that the
// container asks for in PROBE or in an annotation, and does no harm otherwise.
package main

import (
	"errors"

	"github.com/tenon-runtime/tenon/sdk"
)

func init() { sdk.Register(discover) }
func main() {}

// counts keeps the compiler from seeing where discover goes wrong.
var counts []int

func discover(c *sdk.Context) (*sdk.Edits, error) {
	how, ok, err := c.Env("PROBE")
	for _, key := range []string{"tenon.example/probe", "tenon.example/pod-probe"} {
		if !ok && err == nil {
			how, ok, err = c.Annotation(key)
		}
	}
	if err != nil {
		return nil, err
	}
	e := &sdk.Edits{}
	switch how {
	case "crash":
		counts[len(how)]++
	case "loop":
		for len(counts) == 0 {
			how += "."
			how = how[:1]
		}
	case "reason":
		return nil, errors.New("/dev/probe0: is asleep; wake it up")
	case "device":
		e.ContainerEdits.DeviceNodes = []*sdk.DeviceNode{{Path: "/dev/probe0"}}
	case "greed":
		e.ContainerEdits.Env = []string{"LD_PRELOAD=/tmp/evil.so"}
	case "grab":
		e.ContainerEdits.Env = []string{"OTHER=1"}
	default:
		e.ContainerEdits.Env = []string{"PROBED=" + how}
	}
	return e, nil
}
