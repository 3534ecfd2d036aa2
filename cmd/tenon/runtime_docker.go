// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// dockerd's daemon.json: runtimes.NAME.path and default-runtime (dockerd(8),
// "Daemon configuration file"; moby, daemon/config/config_linux.go).

// planDocker adds the runtimes that are wanted. features, and all else, is not
// looked at.
func planDocker(v view, f files, want settings) ([]change, error) {
	before, err := v.read(f.main)
	if err != nil {
		return nil, err
	}
	after, err := setDocker(before, want)
	if err != nil {
		return nil, inFile(f.main, err)
	}
	return []change{{f.main, before, after}}, nil
}

// setDocker returns data with the runtimes that are wanted.
func setDocker(data content, want settings) (content, error) {
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(bytes.TrimPrefix(data, utf8BOM))) == 0 {
		data = content("{}\n")
	}
	for _, name := range want.names() {
		top, runtimes, err := dockerObjects(data)
		if err != nil {
			return nil, err
		}
		path, _ := json.Marshal(want.runtimes[name]) // a string always has JSON
		value := `{"path": ` + string(path) + `}`
		if runtimes == nil {
			quoted, _ := json.Marshal(name)
			data = setMember(data, top, "runtimes", `{`+string(quoted)+`: `+value+`}`)
		} else if m := runtimes.find(name); m == nil || !samePath(data[m.from:m.to], want.runtimes[name]) {
			data = setMember(data, *runtimes, name, value)
		}
	}
	if want.def != "" {
		top := topObject(data)
		quoted, _ := json.Marshal(want.def)
		if m := top.find("default-runtime"); m == nil || !sameString(data[m.from:m.to], want.def) {
			data = setMember(data, top, "default-runtime", string(quoted))
		}
	}
	return data, nil
}

// dockerObjects returns the places of the whole object and of its runtimes, nil
// if there are none. data is not empty.
func dockerObjects(data content) (top object, runtimes *object, err error) {
	top = topObject(data)
	if err := top.twin("runtimes", "default-runtime"); err != nil {
		return top, nil, err
	}
	m := top.find("runtimes")
	if m == nil {
		return top, nil, nil
	}
	if data[m.from] != '{' {
		return top, nil, placedError{lineOf(data, m.from), errors.New(`key "runtimes" is not an object; remove it or make it { … }`)}
	}
	o := scanObject(data, m.from)
	if err := o.twin(); err != nil {
		return top, nil, placedError{lineOf(data, m.from), err}
	}
	return top, &o, nil
}

// dockerRuntime is what we have to know of a member of runtimes.
type dockerRuntime struct {
	Path        string   `json:"path"`
	Args        []string `json:"runtimeArgs"`
	RuntimeType string   `json:"runtimeType"`
}

// samePath reports whether value, that of a runtime, is no more than this path.
func samePath(value []byte, path string) bool {
	var r dockerRuntime
	return json.Unmarshal(value, &r) == nil && r.Path == path && len(r.Args) == 0 && r.RuntimeType == ""
}

func sameString(value []byte, want string) bool {
	var s string
	return json.Unmarshal(value, &s) == nil && s == want
}

// dockerReads returns the runtimes that have a path, and the default.
func dockerReads(v view, f files) (settings, error) {
	s := settings{runtimes: map[string]string{}}
	data, err := v.read(f.main)
	if err != nil {
		return s, err
	}
	if err := checkJSON(data); err != nil {
		return s, inFile(f.main, err)
	}
	if len(bytes.TrimSpace(bytes.TrimPrefix(data, utf8BOM))) == 0 {
		return s, nil
	}
	top, runtimes, err := dockerObjects(data)
	if err != nil {
		return s, inFile(f.main, err)
	}
	if m := top.find("default-runtime"); m != nil && json.Unmarshal(data[m.from:m.to], &s.def) != nil {
		return s, fmt.Errorf("%s:%d: key \"default-runtime\" is not a string; correct it", f.main, lineOf(data, m.from))
	}
	if runtimes == nil {
		return s, nil
	}
	for _, m := range runtimes.members {
		var r dockerRuntime
		if json.Unmarshal(data[m.from:m.to], &r) == nil && r.Path != "" {
			s.runtimes[m.name] = r.Path
		}
	}
	return s, nil
}

// undoDocker takes the runtimes called names out of data again: where the
// original had one of that name, that comes back, and so does the default.
func undoDocker(now, original content, _ files, names []string) (content, error) {
	if err := checkJSON(now); err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(bytes.TrimPrefix(now, utf8BOM))) == 0 {
		return now, nil
	}
	was := object{}
	wasRuntimes := &object{}
	if len(bytes.TrimSpace(bytes.TrimPrefix(original, utf8BOM))) > 0 && checkJSON(original) == nil {
		var err error
		if was, wasRuntimes, err = dockerObjects(original); err != nil {
			return nil, err
		}
	}
	restore := func(name string, o, old object) {
		if m := old.find(name); m != nil {
			now = setMember(now, o, name, string(original[m.from:m.to]))
		} else {
			now = removeMember(now, o, name)
			if len(o.members) == 1 && old.end > 0 && len(old.members) == 0 { // its own white space
				now = splice(now, o.open+1, o.open+1, string(original[old.open+1:old.end-1]))
			}
		}
	}
	top, _, err := dockerObjects(now)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if m := top.find("default-runtime"); m != nil && sameString(now[m.from:m.to], name) {
			restore("default-runtime", top, was)
			break
		}
	}
	for _, name := range names {
		_, runtimes, err := dockerObjects(now)
		if err != nil {
			return nil, err
		}
		if runtimes == nil || runtimes.find(name) == nil {
			continue
		}
		old := object{}
		if wasRuntimes != nil {
			old = *wasRuntimes
		}
		restore(name, *runtimes, old)
	}
	top, runtimes, err := dockerObjects(now)
	if err != nil {
		return nil, err
	}
	if runtimes != nil && len(runtimes.members) == 0 && was.find("runtimes") == nil {
		restore("runtimes", top, was)
	}
	if !original.exists() && len(topObject(now).members) == 0 {
		return nil, nil // we made the file, and what others put in is gone
	}
	return now, nil
}
