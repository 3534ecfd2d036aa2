// SPDX-License-Identifier: Apache-2.0

// Command guest is a mode for the tests of package host: it asks a little of
// everything, and gives the devices of /dev that GUEST_DEVICES names.
package main

import (
	"strings"

	"github.com/tenon-runtime/tenon/sdk"
)

func init() { sdk.Register(discover) }

func main() {}

func discover(c *sdk.Context) (*sdk.Edits, error) {
	names, ok, err := c.Env("GUEST_DEVICES")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, sdk.NotApplicable
	}
	c.Log(sdk.Warn, "a word of warning")
	println("to stderr")
	if names == "panic" {
		var none []string
		println(none[len(names)])
	}
	e := &sdk.Edits{}
	greeting, _, err := c.Config("greeting")
	if err != nil {
		return nil, err
	}
	annotation, _, err := c.Annotation("a/b")
	if err != nil {
		return nil, err
	}
	mounts, err := c.Mounts("/data")
	if err != nil {
		return nil, err
	}
	env := "MOUNTS="
	for _, m := range mounts {
		env += m.Destination + " " + m.Source + " " + m.Type + " " + strings.Join(m.Options, "+")
	}
	e.ContainerEdits.Env = []string{"GREETING=" + greeting, "ANNOTATION=" + annotation, env}
	count := 0
	for name := range strings.SplitSeq(names, ",") {
		found, err := c.Glob(sdk.Host, "/dev/"+name)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			st, ok, err := c.Stat(sdk.Host, path)
			if err != nil {
				return nil, err
			}
			if ok && st.Type == 'c' {
				count++
				e.ContainerEdits.DeviceNodes = append(e.ContainerEdits.DeviceNodes, &sdk.DeviceNode{Path: path})
			}
		}
	}
	c.Explain(string(rune('0'+count)) + " devices asked for")
	return e, nil
}
