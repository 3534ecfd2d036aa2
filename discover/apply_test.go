// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"bytes"
	"encoding/json"
	"path"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tenon-runtime/tenon/discover"
)

// plain is a config.json as engines write them.
const plain = `{"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":1000,"gid":100,"additionalGids":[10]},"args":["sh"],"env":["PATH=/usr/bin:/bin","TERM=xterm"],"cwd":"/","capabilities":{"bounding":["CAP_CHOWN"]}},"root":{"path":"rootfs"},"hostname":"","mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/usr/lib/x/y","type":"bind","source":"/y","options":["rbind","ro"]}],"hooks":{"prestart":[{"path":"/usr/bin/nvidia-container-runtime-hook","args":["nvidia-container-runtime-hook","prestart"]}]},"annotations":{"a":"1"},"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"}],"memory":{"limit":18446744073709551615}},"namespaces":[{"type":"pid"}],"maskedPaths":[]}}
`

// pretty has what a round trip through any decoder loses: space of one column,
// CRLF, unknown members, a number beyond 64-bit floats, half a surrogate pair,
// bytes that are not UTF-8, and <>& in plain.
const pretty = "{\r\n \"ociVersion\": \"1.3.0\",\r\n \"process\": {\r\n  \"args\": [\"<>&\", \"\\ud800\", \"\xff\"],\r\n" +
	"  \"env\": [\r\n   \"A=<>&\",\r\n   \"B=\\ud800\" ,\r\n   \"C=\xff\"\r\n  ],\r\n  \"noNewPrivileges\": false\r\n },\r\n" +
	" \"x-vendor\": {\"n\": 18446744073709551615, \"z\": 1.50, \"a\": null},\r\n \"mounts\": null,\r\n" +
	" \"linux\": { \"x~y\": 1e400, \"devices\": [ ] }\r\n}\r\n"

func edits(t *testing.T, doc string) discover.Edits {
	t.Helper()
	e, err := discover.DecodeEdits([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func apply(t *testing.T, config, doc string) string {
	t.Helper()
	spec, err := discover.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	e := edits(t, doc)
	out, err := discover.Apply(spec, e)
	if err != nil {
		t.Fatal(err)
	}
	again, err := discover.Parse(out)
	if err != nil {
		t.Fatalf("what was written is refused: %v\n%s", err, out)
	}
	twice, err := discover.Apply(again, e)
	if err != nil {
		t.Fatal(err)
	}
	if &twice[0] != &out[0] {
		t.Errorf("the second time changes more:\n%s\n%s", out, twice)
	}
	checkOutside(t, "", []byte(config), out)
	return string(out)
}

// edited are the members that edits may change.
var edited = []string{"/process/env", "/process/user/additionalGids", "/mounts", "/annotations", "/hooks/prestart",
	"/hooks/createRuntime", "/hooks/createContainer", "/hooks/startContainer", "/hooks/poststart", "/hooks/poststop",
	"/linux/devices", "/linux/resources/devices", "/linux/netDevices", "/linux/intelRdt"}

// checkOutside checks that two documents have the same bytes in every member
// that no edit may change.
func checkOutside(t *testing.T, path string, old, new json.RawMessage) {
	t.Helper()
	leads := false
	for _, e := range edited {
		if e == path {
			return
		}
		leads = leads || strings.HasPrefix(e, path+"/")
	}
	if !leads {
		if !bytes.Equal(old, new) {
			t.Errorf("%s was %s, is %s", path, old, new)
		}
		return
	}
	var was, is map[string]json.RawMessage
	if len(old) > 0 {
		if err := json.Unmarshal(old, &was); err != nil {
			t.Fatal(err)
		}
	}
	if len(new) > 0 {
		if err := json.Unmarshal(new, &is); err != nil {
			t.Fatal(err)
		}
	}
	for key := range was {
		if _, ok := is[key]; !ok {
			t.Errorf("%s/%s is gone", path, key)
		}
	}
	for key := range is {
		checkOutside(t, path+"/"+key, was[key], is[key])
	}
}

// TestApplyKeepsBytes compares whole documents: only what is edited differs.
func TestApplyKeepsBytes(t *testing.T) {
	for name, test := range map[string]struct {
		config, edits string
		old, new      string // all of what differs
	}{
		"env appended, plain": {plain, `{"abi":1,"containerEdits":{"env":["X=<&>"]}}`,
			`"TERM=xterm"]`, `"TERM=xterm","X=<&>"]`},
		"env appended, pretty": {pretty, `{"abi":1,"containerEdits":{"env":["X=1"]}}`,
			"\"C=\xff\"\r\n  ]", "\"C=\xff\",\"X=1\"\r\n  ]"},
		"env replaced, pretty": {pretty, `{"abi":1,"containerEdits":{"env":["B=\"2\\"]}}`,
			"\"B=\\ud800\" ,", `"B=\"2\\" ,`},
		"env removed, pretty": {pretty, `{"abi":1,"remove":{"env":["B"]}}`,
			",\r\n   \"B=\\ud800\" ", ""},
		"last env removed, pretty": {pretty, `{"abi":1,"remove":{"env":["C"]}}`,
			",\r\n   \"C=\xff\"", ""},
		"null array": {pretty, `{"abi":1,"containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/b"}]}}`,
			`"mounts": null`, `"mounts": [{"destination":"/b","source":"/a","options":["ro","nosuid","nodev","rbind","rprivate"]}]`},
		"empty array": {pretty, `{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/x","type":"p"}]}}`,
			`"devices": [ ]`, `"devices": [{"path":"/dev/x","type":"p"}]`},
		"missing parents": {pretty, `{"abi":1,"containerEdits":{"additionalGids":[7],"hooks":[{"hookName":"poststop","path":"/h"}]},"deviceRules":[{"type":"c","major":5,"minor":-1,"access":"r"}]}`,
			"\"noNewPrivileges\": false\r\n },\r\n \"x-vendor\": {\"n\": 18446744073709551615, \"z\": 1.50, \"a\": null},\r\n \"mounts\": null,\r\n \"linux\": { \"x~y\": 1e400, \"devices\": [ ] }\r\n}",
			"\"noNewPrivileges\": false,\"user\":{\"additionalGids\":[7]}\r\n },\r\n \"x-vendor\": {\"n\": 18446744073709551615, \"z\": 1.50, \"a\": null},\r\n \"mounts\": null,\r\n \"linux\": { \"x~y\": 1e400, \"devices\": [ ],\"resources\":{\"devices\":[{\"allow\":true,\"type\":\"c\",\"major\":5,\"access\":\"r\"}]} },\"hooks\":{\"poststop\":[{\"path\":\"/h\"}]}\r\n}"},
		"empty document": {" {\n} \n", `{"abi":1,"containerEdits":{"env":["A=1"]}}`,
			"{\n}", "{\"process\":{\"env\":[\"A=1\"]}\n}"},
		"annotations": {plain, `{"abi":1,"annotations":{"b":"2","a":"<"}}`,
			`"annotations":{"a":"1"}`, `"annotations":{"a":"<","b":"2"}`},
		"emptied": {`{"process":{"env":[ "A=1" ]}}`, `{"abi":1,"remove":{"env":["A"]}}`, `[ "A=1" ]`, `[]`},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Count(test.config, test.old) != 1 {
				t.Fatalf("%q is not in the config once", test.old)
			}
			want := strings.Replace(test.config, test.old, test.new, 1)
			if got := apply(t, test.config, test.edits); got != want {
				t.Errorf("got:\n%q\nwant:\n%q", got, want)
			}
		})
	}
}

// TestApply has the rules of the edits one by one: config.json with only the
// member in question, the edits, and that member afterwards.
func TestApply(t *testing.T) {
	device := func(s string) string { return `{"abi":1,"containerEdits":{"deviceNodes":[` + s + `]}}` }
	mount := func(s string) string { return `{"abi":1,"containerEdits":{"mounts":[` + s + `]}}` }
	for name, test := range map[string]struct{ config, edits, want string }{
		"env replaces the first and drops the others": {
			`{"process":{"env":["A=1","B=1","A=2","C"]}}`, `{"abi":1,"containerEdits":{"env":["A=3"]}}`,
			`{"process":{"env":["A=3","B=1","C"]}}`},
		"env of the same value drops the others too": {
			`{"process":{"env":["A=3","B=1","A=2"]}}`, `{"abi":1,"containerEdits":{"env":["A=3"]}}`,
			`{"process":{"env":["A=3","B=1"]}}`},
		"env replaces a name without value": {
			`{"process":{"env":["A"]}}`, `{"abi":1,"containerEdits":{"env":["A=3"]}}`,
			`{"process":{"env":["A=3"]}}`},
		"unset-only keeps what is there": {
			`{"process":{"env":["A=1","A=2"]}}`, `{"abi":1,"containerEdits":{"env":["A=3","B=4"]},"envMode":{"A":"unset-only","B":"unset-only"}}`,
			`{"process":{"env":["A=1","A=2","B=4"]}}`},
		"append joins to the value that counts": {
			`{"process":{"env":["P=/x","P=/a"]}}`, `{"abi":1,"containerEdits":{"env":["P=/b","P=/c"]},"envMode":{"P":"append:"}}`,
			`{"process":{"env":["P=/a:/b:/c"]}}`},
		"prepend": {
			`{"process":{"env":["P=/a"]}}`, `{"abi":1,"containerEdits":{"env":["P=/b"]},"envMode":{"P":"prepend:"}}`,
			`{"process":{"env":["P=/b:/a"]}}`},
		"append what is a part already": {
			`{"process":{"env":["P=/b:/a"]}}`, `{"abi":1,"containerEdits":{"env":["P=/b"]},"envMode":{"P":"append:"}}`,
			`{"process":{"env":["P=/b:/a"]}}`},
		"append to nothing and to an empty value": {
			`{"process":{"env":["E="]}}`, `{"abi":1,"containerEdits":{"env":["E=/b","N=/b"]},"envMode":{"E":"append:","N":"append:"}}`,
			`{"process":{"env":["E=/b","N=/b"]}}`},
		"append without separator": {
			`{"process":{"env":["E=a"]}}`, `{"abi":1,"containerEdits":{"env":["E=b"]},"envMode":{"E":"append"}}`,
			`{"process":{"env":["E=ab"]}}`},
		"env removed and set stays in its place": {
			`{"process":{"env":["A=1","B=1","C=1"]}}`, `{"abi":1,"containerEdits":{"env":["A=2","B=3"]},"envMode":{"A":"append:"},"remove":{"env":["A","C"]}}`,
			`{"process":{"env":["A=2","B=3"]}}`},
		"remove what is not there": {
			`{"process":{"env":["A=1"]}}`, `{"abi":1,"remove":{"env":["B"],"mounts":["/b"],"devices":["/dev/b"],"hooks":[{"hookName":"prestart","base":"b"}]}}`,
			`{"process":{"env":["A=1"]}}`},
		"no process": {`{}`, `{"abi":1,"remove":{"env":["B"]}}`, `{}`},
		"null process": {`{"process":null}`, `{"abi":1,"containerEdits":{"env":["A=1"]}}`,
			`{"process":{"env":["A=1"]}}`},

		"device is appended with its rule and the user's ids": {
			`{"process":{"user":{"uid":1000,"gid":0}},"linux":{}}`, device(`{"path":"/dev/x","type":"c","major":195,"minor":0,"fileMode":438}`),
			`{"process":{"user":{"uid":1000,"gid":0}},"linux":{"resources":{"devices":[{"allow":true,"type":"c","major":195,"minor":0,"access":"rw"}]},"devices":[{"path":"/dev/x","type":"c","major":195,"minor":0,"fileMode":438,"uid":1000}]}}`},
		"device keeps ids of its own": {
			`{"process":{"user":{"uid":1000,"gid":5}}}`, device(`{"path":"/dev/x","type":"p","uid":0,"gid":44}`),
			`{"process":{"user":{"uid":1000,"gid":5}},"linux":{"devices":[{"path":"/dev/x","type":"p","uid":0,"gid":44}]}}`},
		"device replaces that of its path": {
			`{"linux":{"devices":[{"path":"/dev/a"},{"path":"/dev/x","x":1},{"path":"/dev/b"},{"path":"/dev//x"}]}}`, device(`{"path":"/dev/x","type":"b","major":1,"minor":2,"permissions":"none"}`),
			`{"linux":{"devices":[{"path":"/dev/a"},{"path":"/dev/x","type":"b","major":1,"minor":2},{"path":"/dev/b"}]}}`},
		"device of type u has a rule of type c": {
			`{"linux":{"devices":[],"resources":{}}}`, device(`{"path":"/dev/x","type":"u","major":1,"minor":2,"permissions":"rwm"}`),
			`{"linux":{"devices":[{"path":"/dev/x","type":"u","major":1,"minor":2}],"resources":{"devices":[{"allow":true,"type":"c","major":1,"minor":2,"access":"rwm"}]}}}`},
		"device removed and set stays in its place": {
			`{"linux":{"devices":[{"path":"/dev/x"},{"path":"/dev/y"},{"path":"/dev/z"}]}}`,
			`{"abi":1,"remove":{"devices":["/dev/x","/dev/y"]},"containerEdits":{"deviceNodes":[{"path":"/dev/x","type":"p"}]}}`,
			`{"linux":{"devices":[{"path":"/dev/x","type":"p"},{"path":"/dev/z"}]}}`},
		"rule that is there": {
			`{"linux":{"resources":{"devices":[{"allow":false},{"allow":true,"type":"c","major":5,"access":"r"}]}}}`,
			`{"abi":1,"containerEdits":{},"deviceRules":[{"type":"c","major":5,"minor":-1,"access":"r"}]}`,
			`{"linux":{"resources":{"devices":[{"allow":false},{"allow":true,"type":"c","major":5,"access":"r"}]}}}`},
		"rule that is there, but before a deny rule": {
			`{"linux":{"resources":{"devices":[{"allow":true,"type":"c","major":5,"minor":-1,"access":"r"},{"allow":false}]}}}`,
			`{"abi":1,"containerEdits":{},"deviceRules":[{"type":"c","major":5,"minor":-1,"access":"r"}]}`,
			`{"linux":{"resources":{"devices":[{"allow":true,"type":"c","major":5,"minor":-1,"access":"r"},{"allow":false},{"allow":true,"type":"c","major":5,"access":"r"}]}}}`},

		"mount replaces that of its destination": {
			`{"mounts":[{"destination":"/a/"},{"destination":"/b"},{"destination":"/a"}]}`, mount(`{"hostPath":"/h","containerPath":"/a","type":"bind","options":["rbind","rw"]}`),
			`{"mounts":[{"destination":"/a","type":"bind","source":"/h","options":["rbind","rw"]},{"destination":"/b"}]}`},
		"mount comes before those below it": {
			`{"mounts":[{"destination":"/z/y/x"},{"destination":"/a/b/c"},{"destination":"/a/b"},{"destination":"/ab"}]}`,
			mount(`{"hostPath":"/h","containerPath":"/a","options":["bind"]},{"hostPath":"/h","containerPath":"/a/d","options":["bind"]}`),
			`{"mounts":[{"destination":"/z/y/x"},{"destination":"/a","source":"/h","options":["bind"]},{"destination":"/a/b/c"},{"destination":"/a/b"},{"destination":"/ab"},{"destination":"/a/d","source":"/h","options":["bind"]}]}`},
		"new mounts: the parent comes first": {
			`{"mounts":[{"destination":"/x"}]}`, mount(`{"hostPath":"/1","containerPath":"/n/a","options":["bind"]},{"hostPath":"/2","containerPath":"/m","options":["bind"]},{"hostPath":"/3","containerPath":"/n","options":["bind"]}`),
			`{"mounts":[{"destination":"/x"},{"destination":"/n","source":"/3","options":["bind"]},{"destination":"/n/a","source":"/1","options":["bind"]},{"destination":"/m","source":"/2","options":["bind"]}]}`},
		"mount removed": {
			`{"mounts":[{"destination":"/a"},{"destination":"/b"},{"destination":"/a/"}]}`, `{"abi":1,"remove":{"mounts":["/a"]}}`,
			`{"mounts":[{"destination":"/b"}]}`},

		"hooks are appended unless they are there": {
			`{"hooks":{"createContainer":[{"path":"/h","args":["h","a"],"timeout":3}]}}`,
			`{"abi":1,"containerEdits":{"hooks":[{"hookName":"createContainer","path":"/h","args":["h","a"]},{"hookName":"createContainer","path":"/h","args":["h"],"env":["P=1"],"timeout":9},{"hookName":"prestart","path":"/p"}]}}`,
			`{"hooks":{"createContainer":[{"path":"/h","args":["h","a"],"timeout":3},{"path":"/h","args":["h"],"env":["P=1"],"timeout":9}],"prestart":[{"path":"/p"}]}}`},
		"hooks are removed by stage and base name": {
			`{"hooks":{"prestart":[{"path":"/a/nv"},{"path":"/nv2"},{"path":"nv"}],"poststop":[{"path":"/a/nv"}]}}`,
			`{"abi":1,"remove":{"hooks":[{"hookName":"prestart","base":"nv"}]}}`,
			`{"hooks":{"prestart":[{"path":"/nv2"}],"poststop":[{"path":"/a/nv"}]}}`},
		"hook removed and added": {
			`{"hooks":{"prestart":[{"path":"/a/nv"},{"path":"/z"}]}}`,
			`{"abi":1,"remove":{"hooks":[{"hookName":"prestart","base":"nv"}]},"containerEdits":{"hooks":[{"hookName":"prestart","path":"/b/nv"},{"hookName":"prestart","path":"/y"}]}}`,
			`{"hooks":{"prestart":[{"path":"/z"},{"path":"/b/nv"},{"path":"/y"}]}}`},

		"additionalGids": {
			`{"process":{"user":{"additionalGids":[10, 20]}}}`, `{"abi":1,"containerEdits":{"additionalGids":[0,20,30,30,4294967295]}}`,
			`{"process":{"user":{"additionalGids":[10, 20,30,4294967295]}}}`},
		"netDevices": {
			`{"linux":{"netDevices":{"eth0":{"name":"a","x":1},"eth1":{}}}}`, `{"abi":1,"containerEdits":{"netDevices":[{"hostInterfaceName":"eth0","name":"a"},{"hostInterfaceName":"eth1","name":"b"},{"hostInterfaceName":"eth2","name":"c"}]}}`,
			`{"linux":{"netDevices":{"eth0":{"name":"a","x":1},"eth1":{"name":"b"},"eth2":{"name":"c"}}}}`},
		"intelRdt": {
			`{"linux":{"intelRdt":{"closID":"old","x":1}}}`, `{"abi":1,"containerEdits":{"intelRdt":{"closID":"new","schemata":["L3:0=f"],"enableMonitoring":true}}}`,
			`{"linux":{"intelRdt":{"closID":"new","schemata":["L3:0=f"],"enableMonitoring":true}}}`},
		"members in any order": {
			`{"linux":{"resources":{"devices":[]},"devices":[]},"mounts":[],"process":{"env":[]}}`,
			`{"abi":1,"containerEdits":{"env":["A=1"],"deviceNodes":[{"path":"/dev/x","type":"p"}],"mounts":[{"hostPath":"/h","containerPath":"/a","options":["bind"]}]},"deviceRules":[{"type":"b","major":1,"minor":2,"access":"r"}]}`,
			`{"linux":{"resources":{"devices":[{"allow":true,"type":"b","major":1,"minor":2,"access":"r"}]},"devices":[{"path":"/dev/x","type":"p"}]},"mounts":[{"destination":"/a","source":"/h","options":["bind"]}],"process":{"env":["A=1"]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := apply(t, test.config, test.edits); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestApplyRefusesWhatIsNotReady(t *testing.T) {
	spec, err := discover.Parse([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	for doc, want := range map[string]string{
		`{"abi":1,"ldcache":{"dirs":["/a"]}}`:                                 "edits: declared hooks are not lowered; this is a bug of tenon, please report",
		`{"abi":1,"symlinks":[{"target":"a","link":"/b"}]}`:                   "edits: declared hooks are not lowered; this is a bug of tenon, please report",
		`{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/x"}]}}`:      `device "/dev/x": its type is not resolved; this is a bug of tenon, please report`,
		`{"abi":1,"containerEdits":{"hooks":[{"hookName":"h","path":"/p"}]}}`: `hook "h": no such stage; this is a bug of tenon, please report`,
	} {
		if _, err := discover.Apply(spec, edits(t, doc)); err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", doc, err, want)
		}
	}
}

// FuzzApply: for any config.json and any answer of a mode that are accepted,
// what is written is accepted again, twice is the same as once, no byte outside
// the edited members differs, what was asked for is there, and no mount that
// was there is moved.
func FuzzApply(f *testing.F) {
	for _, config := range []string{plain, pretty, "{}"} {
		for _, doc := range editSeeds {
			f.Add([]byte(config), []byte(doc))
		}
	}
	f.Fuzz(func(t *testing.T, config, doc []byte) {
		spec, err := discover.Parse(config)
		if err != nil {
			return
		}
		e, err := discover.DecodeEdits(doc)
		if err != nil || e.Validate() != nil {
			return
		}
		for _, d := range e.ContainerEdits.DeviceNodes {
			if d.Type == "" {
				d.Type = "c"
			}
		}
		e, err = discover.Lower(e, programs)
		if err != nil {
			t.Fatal(err)
		}
		out, err := discover.Apply(spec, e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := discover.Parse(out)
		if err != nil {
			t.Fatalf("what was written is refused: %v\n%s", err, out)
		}
		twice, err := discover.Apply(again, e)
		if err != nil {
			t.Fatal(err)
		}
		if &twice[0] != &out[0] {
			t.Fatalf("not the same twice:\n%s\n%s", out, twice)
		}
		checkOutside(t, "", config, out)
		checkApplied(t, spec, again, e)
	})
}

func checkApplied(t *testing.T, before, after *discover.Spec, e discover.Edits) {
	t.Helper()
	checkRead(t, after, after.Bytes())
	req := after.Request()
	for _, kv := range e.ContainerEdits.Env {
		name, value, _ := strings.Cut(kv, "=")
		got, ok := req.Env(name)
		if !ok || e.EnvMode[name] == "" && got != value {
			t.Errorf("%s is %q, %t; want %q", name, got, ok, value)
		}
	}
	var is struct {
		Linux struct{ Devices []struct{ Path, Type string } }
	}
	if err := json.Unmarshal(after.Bytes(), &is); err != nil {
		t.Fatal(err)
	}
	for _, d := range e.ContainerEdits.DeviceNodes {
		found := 0
		for _, have := range is.Linux.Devices {
			if have.Path == d.Path && have.Type == d.Type {
				found++
			}
		}
		if found != 1 {
			t.Errorf("device %s is there %d times", d.Path, found)
		}
	}
	places := make(map[string]int)
	for i, m := range req.Mounts() {
		places[m.Destination] = i
	}
	for _, m := range e.ContainerEdits.Mounts {
		if i, ok := places[m.ContainerPath]; !ok || req.Mounts()[i].Source != m.HostPath {
			t.Errorf("mount %s is not there", m.ContainerPath)
		}
	}
	// Those that no edit names stay as they were, in their order.
	touched := make(map[string]bool)
	for _, p := range e.Remove.Mounts {
		touched[p] = true
	}
	for _, m := range e.ContainerEdits.Mounts {
		touched[m.ContainerPath] = true
	}
	rest := func(r *discover.Request) (list []specs.Mount) {
		for _, m := range r.Mounts() {
			if !touched[path.Clean("/"+m.Destination)] {
				list = append(list, m)
			}
		}
		return list
	}
	if was, is := rest(before.Request()), rest(req); !reflect.DeepEqual(was, is) {
		t.Errorf("other mounts:\n%v\nwere:\n%v", is, was)
	}
}
