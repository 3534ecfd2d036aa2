// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// How a container asks for devices, in the same way whatever mode it asks: section
// "Requests" of sdk/ABI.md. The words and their order are those of NVIDIA's
// runtime (internal/config/image of the NVIDIA Container Toolkit, devices.go);
// ranges are those of other vendors' runtimes.

// The words of a list. Of several, the one that comes first here counts.
const (
	DevicesVoid = "void" // nothing
	DevicesNone = "none" // what there is beside devices
	DevicesAll  = "all"  // every device
)

const (
	// maxDevices is how many items a list may have, those of its ranges counted.
	maxDevices = 4096
	// maxDeviceName is how long an item may be, in bytes.
	maxDeviceName = 256
)

// ParseDevices reads a list such as "0-3,GPU-5f4e": items between commas, with
// white space around them, each taken once. The result is empty where the list has
// no item, one of the words where the list has that, and else the ids in their
// order, ranges written out. An error begins with the item that is wrong, in
// quotes; whoever wrote the list is at fault.
func ParseDevices(list string) ([]string, error) {
	words := []string{DevicesVoid, DevicesNone, DevicesAll}
	best := len(words)
	for item := range strings.SplitSeq(list, ",") {
		if i := slices.Index(words, trimItem(item)); i >= 0 {
			best = min(best, i)
		}
	}
	if best < len(words) {
		return words[best : best+1], nil
	}
	var ids []string
	seen := map[string]bool{}
	left := maxDevices
	for item := range strings.SplitSeq(list, ",") {
		if item = trimItem(item); item == "" {
			continue
		}
		first, last, isRange, err := parseItem(item)
		if err != nil {
			return nil, err
		}
		if last-first >= uint64(left) {
			return nil, fmt.Errorf("%q is one too many: a list has at most %d items", item, maxDevices)
		}
		for n := first; n <= last; n++ {
			id := item
			if isRange {
				id = strconv.FormatUint(n, 10)
			}
			left--
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

func trimItem(item string) string { return strings.Trim(item, " \t\n\v\f\r") }

// parseItem checks an item. One of digits, a dash and digits is a range; every
// other one, such as a UUID or the name of a CDI device, is an id, and counts as
// the range of one number.
func parseItem(item string) (first, last uint64, isRange bool, err error) {
	if len(item) > maxDeviceName {
		return 0, 0, false, fmt.Errorf("%q… is longer than %d bytes, and no id", item[:32], maxDeviceName)
	}
	if strings.ContainsFunc(item, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return 0, 0, false, fmt.Errorf("%q holds what no id has; write visible ASCII, and commas between ids", item)
	}
	from, to, dash := strings.Cut(item, "-")
	if !dash || !isDigits(from) || !isDigits(to) {
		return 0, 0, false, nil
	}
	for _, n := range []string{from, to} {
		if len(n) > 1 && n[0] == '0' {
			return 0, 0, false, fmt.Errorf("%q is a range whose numbers begin with 0; write them without", item)
		}
	}
	first, errFirst := strconv.ParseUint(from, 10, 32)
	last, errLast := strconv.ParseUint(to, 10, 32)
	switch {
	case errFirst != nil || errLast != nil:
		return 0, 0, false, fmt.Errorf("%q is a range that ends behind all numbers of devices", item)
	case first > last:
		return 0, 0, false, fmt.Errorf("%q is a range that goes down; write %s-%s", item, to, from)
	}
	return first, last, true, nil
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Places are where a container may ask. The zero value is nowhere.
type Places struct {
	MountsUnder []string // folders of the container, absolute and clean
	Annotations []string // keys
	Env         []string // names of variables
	// Apart are folders whose mounts are a request of another kind, although they
	// may lie below one of MountsUnder.
	Apart []string
}

// Devices are what a container asks for.
type Devices struct {
	// Place is where it asks: a variable, "annotation " and a key, or the folder of
	// mounts; "" where it does not.
	Place string
	// IDs is one of the words none and all, or ids; empty where it asks for nothing.
	IDs []string
}

// Devices returns what the container asks for at the first place where it asks at
// all: mounts, which only who starts the container can make, come before
// annotations, and those before variables, which an image has too. An error begins
// with the place, which is returned too; the container is at fault.
func (r *Request) Devices(p Places) (Devices, error) {
	for _, folder := range p.MountsUnder {
		list := strings.Join(r.deviceMounts(folder, p), ",")
		if d, asked, err := devicesAt(folder, list); asked || err != nil {
			return d, err
		}
	}
	for _, key := range p.Annotations {
		list, _ := r.Annotation(key)
		if d, asked, err := devicesAt("annotation "+key, list); asked || err != nil {
			return d, err
		}
	}
	for _, name := range p.Env {
		list, _ := r.Env(name)
		if d, asked, err := devicesAt(name, list); asked || err != nil {
			return d, err
		}
	}
	return Devices{}, nil
}

func devicesAt(place, list string) (d Devices, asked bool, err error) {
	ids, err := ParseDevices(list)
	if err != nil {
		return Devices{Place: place}, false, fmt.Errorf("%s: %w", place, err)
	}
	if len(ids) == 0 {
		return d, false, nil
	}
	if ids[0] == DevicesVoid {
		ids = nil
	}
	return Devices{place, ids}, true, nil
}

// deviceMounts are the paths below folder, of mounts of /dev/null, that no other
// folder of p is nearer to.
func (r *Request) deviceMounts(folder string, p Places) (names []string) {
	for i := range r.mounts {
		m := &r.mounts[i]
		destination := clean(m.Destination)
		name, ok := below(destination, folder)
		if !ok || path.Clean(m.Source) != "/dev/null" {
			continue
		}
		nearer := func(other string) bool {
			inside, ok := below(destination, other)
			return ok && len(inside) < len(name)
		}
		if !slices.ContainsFunc(p.MountsUnder, nearer) && !slices.ContainsFunc(p.Apart, nearer) {
			names = append(names, name)
		}
	}
	return names
}

// below returns the rest of a path that lies in a folder, both absolute and clean.
func below(p, folder string) (rest string, ok bool) {
	return strings.CutPrefix(p, strings.TrimSuffix(folder, "/")+"/")
}
