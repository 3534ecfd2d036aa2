// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// A call is what one command line of the low-level runtime says, as far as it
// concerns us. The command line itself is never changed.
type call struct {
	command string // the first argument that is no flag, such as "create"; may be empty
	id      string // the container's name; of create, run and delete only
	bundle  string // folder of the bundle; empty: the working directory
	config  string // file in the bundle, named by crun's --config; empty: config.json
	log     string // file of --log; empty: none was given
	logJSON bool   // --log-format json
	help    bool   // the command is only asked how it is used
}

// globalValues are the flags before the command that take a value, of runc
// (runc --help, 1.1 to 1.5), crun (crun --help, 1.8 to 1.21) and youki.
// Every other flag is one word.
var globalValues = map[string]bool{
	"log": true, "log-format": true, "root": true, "rootless": true,
	"criu":           true, // runc
	"cgroup-manager": true, // crun
	"r":              true, // youki's --root
	"l":              true, // youki's --log
}

// createValues are the flags of create and run that take a value.
var createValues = map[string]bool{
	"bundle": true, "b": true, "console-socket": true, "pid-file": true,
	"preserve-fds": true,
	"pidfd-socket": true,            // runc since 1.2
	"config":       true, "f": true, // crun
}

// deleteValues are the flags of delete that take a value: none do.
var deleteValues = map[string]bool{}

// parseCall reads the arguments after the name of the program. It never fails:
// what it does not understand is for the low-level runtime to judge.
//
// A flag starts with one dash or two, and its value is the next argument or
// stands after "=" (runc's flags are those of Go's flag package). The first
// argument that is neither flag nor value is the command; flags of the command
// may stand before and after the container's name, since runc sorts them to
// the front. "--" ends the flags. The last of two equal flags counts.
func parseCall(args []string) call {
	var c call
	values := globalValues
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			if i+1 < len(args) {
				if c.command == "" {
					c.command = args[i+1]
				} else {
					c.word(args[i+1])
				}
			}
			return c
		}
		name, value, inline := flagOf(arg)
		if name == "" {
			if c.command != "" {
				c.word(arg)
				continue
			}
			c.command = arg
			switch {
			case c.creates():
				values = createValues
			case arg == "delete":
				values = deleteValues
			default:
				return c
			}
			continue
		}
		if values[name] && !inline {
			if i+1 == len(args) {
				return c // the low-level runtime will say what is missing
			}
			i++
			value = args[i]
		}
		c.set(name, value)
	}
	return c
}

// flagOf splits an argument into the name of a flag and the value after "=".
// The name is empty where the argument is no flag; "-" alone is none.
func flagOf(arg string) (name, value string, inline bool) {
	name, ok := strings.CutPrefix(arg, "-")
	if !ok {
		return "", "", false
	}
	name, _ = strings.CutPrefix(name, "-")
	return strings.Cut(name, "=")
}

// word takes note of what is neither flag nor value: the first after the command
// is the container's name.
func (c *call) word(arg string) {
	if c.id == "" {
		c.id = arg
	}
}

// set takes note of one flag. Before the command only the global flags count,
// after it only those of create and run.
func (c *call) set(name, value string) {
	if name == "help" || name == "h" || name == "?" || name == "usage" {
		c.help = true
		return
	}
	if c.command == "" {
		switch name {
		case "log", "l":
			c.log = value
		case "log-format":
			c.logJSON = value == "json"
		}
		return
	}
	switch name {
	case "bundle", "b":
		c.bundle = value
	case "config", "f":
		c.config = value
	}
}

// creates reports whether the call makes a container out of a config.json:
// these are the only calls in which we do anything. The engines use create;
// run is what people type by hand.
func (c call) creates() bool {
	return (c.command == "create" || c.command == "run") && !c.help
}
