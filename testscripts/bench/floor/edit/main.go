// SPDX-License-Identifier: Apache-2.0

// Edit is the floor of a create: a Go program that reads config.json, adds one
// variable to the container's environment with encoding/json, writes the file in
// one step, and becomes another program. It asks no machine anything.
//
//	edit BUNDLE PROGRAM [ARG …]
package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	if len(os.Args) < 3 || edit(filepath.Join(os.Args[1], "config.json")) != nil ||
		syscall.Exec(os.Args[2], os.Args[2:], os.Environ()) != nil {
		os.Exit(1)
	}
}

func edit(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	process := spec["process"].(map[string]any)
	process["env"] = append(process["env"].([]any), "FLOOR=1")
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
