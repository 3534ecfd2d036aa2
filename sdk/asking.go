// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// What the query request answers over a recorded machine. The host has its own
// reader of lists, and a test holds the two against each other.

// asking is one request of a manifest: "Requests" of ABI.md.
type asking struct {
	Name        string   `json:"name"`
	Env         []string `json:"env"`
	Annotations []string `json:"annotations"`
	MountsUnder []string `json:"mountsUnder"`
}

// askings are those of the mode's manifest.
func (m *Machine) askings() ([]asking, error) {
	var manifest struct {
		Requests []asking `json:"requests"`
	}
	if len(m.Manifest) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(m.Manifest, &manifest); err != nil {
		return nil, fmt.Errorf("the manifest: %w", err)
	}
	return manifest.Requests, nil
}

// request answers the query request for the container of r.
func (m *Machine) request(r *Request, name string) ([]byte, Code) {
	all, err := m.askings()
	i := slices.IndexFunc(all, func(a asking) bool { return a.Name == name })
	if err != nil || i < 0 {
		return nil, Denied
	}
	place, ids, err := r.asksFor(all, i)
	switch {
	case err != nil:
		return nil, InvalidArgument
	case len(ids) == 0:
		return nil, NotFound
	}
	return join(append([]string{place}, ids...)), 0
}

// malformed says which list of the container is none, in the words of the host; ""
// for all are good.
func (m *Machine) malformed(r *Request) string {
	all, err := m.askings()
	if err != nil {
		return err.Error()
	}
	for i := range all {
		if _, _, err := r.asksFor(all, i); err != nil {
			return err.Error()
		}
	}
	return ""
}

// asksFor finds the first place that has an item.
func (r *Request) asksFor(all []asking, i int) (place string, ids []string, err error) {
	type list struct{ place, text string }
	var lists []list
	if r.Config["accept_volume_mounts"] == "true" {
		for _, folder := range all[i].MountsUnder {
			lists = append(lists, list{folder, strings.Join(r.mountsIn(all, folder), ",")})
		}
	}
	for _, key := range all[i].Annotations {
		lists = append(lists, list{"annotation " + key, r.Annotations[key]})
	}
	for _, name := range all[i].Env {
		value, _ := env(r.Env, name)
		lists = append(lists, list{name, string(value)})
	}
	for _, l := range lists {
		ids, err := readList(l.text)
		switch {
		case err != nil:
			return l.place, nil, fmt.Errorf("%s: %w", l.place, err)
		case len(ids) > 0 && ids[0] == "void":
			return l.place, nil, nil
		case len(ids) > 0:
			return l.place, ids, nil
		}
	}
	return "", nil, nil
}

// mountsIn are the names that mounts have in a folder which is the nearest one.
func (r *Request) mountsIn(all []asking, folder string) (names []string) {
	for _, m := range r.Mounts {
		if path.Clean(m.Source) != "/dev/null" {
			continue
		}
		destination, nearest := path.Join("/", m.Destination), ""
		for _, a := range all {
			for _, f := range a.MountsUnder {
				if strings.HasPrefix(destination, f+"/") && len(f) > len(nearest) {
					nearest = f
				}
			}
		}
		if nearest == folder {
			names = append(names, destination[len(folder)+1:])
		}
	}
	return names
}

// Limits of a list: rule H-79.
const (
	maxItems     = 4096
	maxItemBytes = 256
)

// readList reads a list: rules H-76 to H-79.
func readList(text string) ([]string, error) {
	var items []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.Trim(item, " \t\n\v\f\r"); item != "" {
			items = append(items, item)
		}
	}
	for _, word := range []string{"void", "none", "all"} {
		if slices.Contains(items, word) {
			return []string{word}, nil
		}
	}
	var ids []string
	known := map[string]bool{}
	count := 0
	for _, item := range items {
		first, last, isRange, err := readRange(item)
		if err != nil {
			return nil, err
		}
		if count += last - first + 1; count > maxItems {
			return nil, fmt.Errorf("%q is one too many: a list has at most %d items", item, maxItems)
		}
		for n := first; n <= last; n++ {
			id := item
			if isRange {
				id = strconv.Itoa(n)
			}
			if !known[id] {
				ids, known[id] = append(ids, id), true
			}
		}
	}
	return ids, nil
}

// readRange takes a range apart; an item that is none counts as one number.
func readRange(item string) (first, last int, isRange bool, err error) {
	if len(item) > maxItemBytes {
		return 0, 0, false, fmt.Errorf("%q… is longer than %d bytes, and no id", item[:32], maxItemBytes)
	}
	for _, c := range []byte(item) {
		if c <= ' ' || c >= 0x7f {
			return 0, 0, false, fmt.Errorf("%q holds what no id has; write visible ASCII, and commas between ids", item)
		}
	}
	ends := strings.Split(item, "-")
	if len(ends) != 2 {
		return 0, 0, false, nil
	}
	var numbers [2]int
	for i, end := range ends {
		if end == "" || strings.Trim(end, "0123456789") != "" {
			return 0, 0, false, nil
		}
		n, err := strconv.ParseUint(end, 10, 32)
		if err != nil {
			n = 1 << 32
		}
		numbers[i] = int(n)
	}
	switch {
	case len(ends[0]) > 1 && ends[0][0] == '0' || len(ends[1]) > 1 && ends[1][0] == '0':
		err = fmt.Errorf("%q is a range whose numbers begin with 0; write them without", item)
	case max(numbers[0], numbers[1]) == 1<<32:
		err = fmt.Errorf("%q is a range that ends behind all numbers of devices", item)
	case numbers[0] > numbers[1]:
		err = fmt.Errorf("%q is a range that goes down; write %s-%s", item, ends[1], ends[0])
	}
	return numbers[0], numbers[1], true, err
}
