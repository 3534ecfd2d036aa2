// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MachineNotes says in words what machine this is, for the README of a recorded
// one: its model, the drivers of the devices that a run has looked at, and its
// kernel. What the machine does not tell is said to be unknown.
func MachineNotes(asked []Asked) (model, drivers, kernel string) {
	model = noted("/proc/device-tree/model") // Documentation/ABI/testing/procfs-devicetree of Linux
	if model == "" {
		// Documentation/ABI/testing/sysfs-class-dmi of Linux
		model = strings.TrimSpace(noted("/sys/class/dmi/id/sys_vendor") + " " + noted("/sys/class/dmi/id/product_name"))
	}
	var list []string
	for _, a := range asked {
		if a.Op != opStat || a.Code != CodeOK || len(a.Answer) < statSize || a.Answer[0] != 'c' && a.Answer[0] != 'b' {
			continue
		}
		name := driverOf(a.Answer[0], binary.LittleEndian.Uint32(a.Answer[16:]))
		if name == "" {
			continue
		}
		if version := noted("/sys/module/" + name + "/version"); version != "" {
			name += " " + version
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = fmt.Sprintf("%s %s %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
	}
	return known(model), known(strings.Join(list, ", ")), known(kernel)
}

func known(s string) string {
	if s == "" {
		return "unknown; write it here"
	}
	return OneLine(s)
}

// noted is the first line of a small file of procfs or sysfs; "" for none.
func noted(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimRight(string(text), "\x00\n"), "\n")
	return OneLine(strings.TrimSpace(line[:min(len(line), 200)]))
}

// driverOf is the name under which a driver has taken a major number: proc_devices(5).
func driverOf(kind byte, major uint32) string {
	text, err := os.ReadFile("/proc/devices")
	if err != nil {
		return ""
	}
	characters, blocks, _ := strings.Cut(string(text), "Block devices:")
	if kind == 'b' {
		characters = blocks
	}
	for line := range strings.Lines(characters) {
		var n uint32
		var name string
		if _, err := fmt.Sscan(line, &n, &name); err == nil && n == major && !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}
