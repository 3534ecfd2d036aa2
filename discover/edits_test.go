// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"tags.cncf.io/container-device-interface/pkg/cdi"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/tenon-runtime/tenon/discover"
)

// full has every field of the edits document.
const full = `{"abi":1,"containerEdits":{"env":["A=1","PATH=/opt/bin"],
"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/y","type":"c","major":195,"minor":2,"fileMode":438,"permissions":"rwm","uid":1,"gid":2}],
"netDevices":[{"hostInterfaceName":"eth0","name":"e0"}],
"mounts":[{"hostPath":"/h/libx.so.1","containerPath":"/usr/lib/libx.so.1","options":["ro","nosuid","nodev","rbind","rprivate"],"type":"bind"}],
"intelRdt":{"closID":"a","l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=10","schemata":["L3:0=f"],"enableMonitoring":true},"additionalGids":[44]},
"remove":{"env":["B"],"mounts":["/m"],"devices":["/dev/z"],"hooks":[{"hookName":"prestart","base":"nvidia-container-runtime-hook"}]},
"envMode":{"PATH":"append:","A":"unset-only"},"symlinks":[{"target":"libx.so.1","link":"/usr/lib/libx.so"}],"ldcache":{"dirs":["/opt/lib"]},
"deviceRules":[{"type":"c","major":195,"minor":-1,"access":"rw"}],
"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/dev/dri"}},{"name":"disable-device-node-modification"},{"name":"nvidia-container-runtime-hook","args":{}}],
"annotations":{"acme.com/injected":"2"}}`

var editSeeds = []string{
	full,
	`{"abi":1}`,
	`{"abi":1,"containerEdits":{"env":["A=1","A=1"],"deviceNodes":[{"path":"/dev/x","permissions":"none"}]}}`,
	`{"abi":1,"containerEdits":{"env":["PATH=/a","PATH=/b"],"mounts":[{"hostPath":"/a","containerPath":"/usr/lib"},{"hostPath":"/b","containerPath":"/usr"}]},"envMode":{"PATH":"prepend:"},"remove":{"env":["PATH"],"mounts":["/usr/lib/x/y"]}}`,
	`{"abi":1,"remove":{"hooks":[{"hookName":"prestart","base":"nvidia-container-runtime-hook"}]},"builtinHooks":[{"name":"nvidia-container-runtime-hook"}]}`,
	`{"abi":2,"containerEdits":{"env":["\ud83d\ude00=1"]}}`,
}

func TestDecodeEditsReadsEveryField(t *testing.T) {
	e := edits(t, full)
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	// What is decoded is what stands there: nothing is lost on the way back.
	doc, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("\n", "", `,"args":{}`, "").Replace(full)
	if got, want := decode(t, doc), decode(t, []byte(want)); !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%v\nwant:\n%v", got, want)
	}
	if e.Empty() || !(discover.Edits{ABI: 1}).Empty() {
		t.Error("Empty")
	}
}

func TestT37DecodeEditsIsStrict(t *testing.T) {
	for name, test := range map[string]struct{ doc, want string }{
		"empty":            {``, `the edits document: it is empty`},
		"trailing":         {`{"abi":1}x`, `the edits document: line 1: there is more after the end of the document`},
		"array":            {`[]`, `the edits document: it is an array, not an object`},
		"null":             {`null`, `the edits document: it is null, not an object`},
		"not UTF-8":        {"{\"abi\":1,\"annotations\":{\"a\":\"\xff\"}}", `the edits document is not UTF-8`},
		"half surrogate":   {`{"annotations":{"a":"\ud800"}}`, `the edits document: line 1: half a surrogate pair`},
		"low surrogate":    {`{"annotations":{"a":"\udc00"}}`, `the edits document: line 1: half a surrogate pair`},
		"two high ones":    {`{"annotations":{"a":"\ud800\ud800"}}`, `the edits document: line 1: half a surrogate pair`},
		"unknown":          {`{"abi":1,"edits":{}}`, `the edits document: "edits" on line 1 is not a field of the edits document`},
		"unknown inside":   {"{\n\"containerEdits\":{\"mounts\":[{\"hostpath\":\"/\"}]}}", `the edits document: "containerEdits.mounts[0].hostpath" on line 2 is not a field of the edits document`},
		"other case":       {`{"ABI":1}`, `the edits document: "ABI" on line 1 is not a field of the edits document`},
		"twice":            {`{"abi":1,"abi":1}`, `the edits document: "abi" stands twice, again on line 1`},
		"twice in a map":   {`{"envMode":{"A":"x","A":"y"}}`, `the edits document: "envMode.A" stands twice, again on line 1`},
		"null device":      {`{"containerEdits":{"deviceNodes":[null]}}`, `the edits document: "containerEdits.deviceNodes[0]" on line 1 is null, not an object`},
		"1e400":            {`{"abi":1e400}`, `the edits document: "abi" on line 1 is 1e400, not a whole number in range`},
		"number as string": {`{"deviceRules":[{"major":"1"}]}`, `the edits document: "deviceRules[0].major" on line 1 is a string, not a number`},
		"uid 2^32":         {`{"containerEdits":{"deviceNodes":[{"uid":4294967296}]}}`, `the edits document: "containerEdits.deviceNodes[0].uid" on line 1 is 4294967296, not a whole number in range`},
		"depth 100":        {`{"abi":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, `the edits document: line 1: nested deeper than 16`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := discover.DecodeEdits([]byte(test.doc))
			if err == nil || err.Error() != test.want || !errors.Is(err, discover.ErrInvalidEdits) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestValidateNamesTheField(t *testing.T) {
	device := func(s string) string { return `{"abi":1,"containerEdits":{"deviceNodes":[` + s + `]}}` }
	mount := func(s string) string { return `{"abi":1,"containerEdits":{"mounts":[` + s + `]}}` }
	source := func(p string) string { return mount(`{"hostPath":"` + p + `","containerPath":"/a"}`) }
	dest := func(p string) string { return mount(`{"hostPath":"/a","containerPath":"` + p + `"}`) }
	env := func(s string) string { return `{"abi":1,"containerEdits":{"env":["` + s + `"]}}` }
	for _, test := range []struct{ doc, want string }{
		{`{}`, `abi: 0 is not 1`},
		{`{"abi":2}`, `abi: 2 is not 1`},
		{`{"abi":1,"remove":{"env":[` + strings.Repeat(`"A",`, 10_000) + `"A"]}}`, `edits: there are 10001, more than 10000`},

		{env(`A`), `containerEdits.env[0]: it is not NAME=value`},
		{env(`=1`), `containerEdits.env[0]: it is not NAME=value`},
		{env(`A\u0000B=1`), `containerEdits.env[0]: it is not NAME=value`},
		{env(`A=secret\u0000`), `containerEdits.env[0]: the value of "A" holds a NUL, a line break or what is not UTF-8`},
		{env(`A=secret\n`), `containerEdits.env[0]: the value of "A" holds a NUL, a line break or what is not UTF-8`},
		{env(`LD_PRELOAD=/a`), `containerEdits.env[0]: "LD_PRELOAD" is not for modes to set`},
		{env(`LD_X=/a`), `containerEdits.env[0]: "LD_X" is not for modes to set`},
		{env(`GCONV_PATH=/a`), `containerEdits.env[0]: "GCONV_PATH" is not for modes to set`},
		{env(`GLIBC_TUNABLES=a`), `containerEdits.env[0]: "GLIBC_TUNABLES" is not for modes to set`},
		{env(`BASH_ENV=/a`), `containerEdits.env[0]: "BASH_ENV" is not for modes to set`},
		{env(`ENV=/a`), `containerEdits.env[0]: "ENV" is not for modes to set`},
		{env(`IFS=/`), `containerEdits.env[0]: "IFS" is not for modes to set`},
		{env(`PYTHONPATH=/`), `containerEdits.env[0]: "PYTHONPATH" is not for modes to set`},
		{`{"abi":1,"containerEdits":{"env":["A=1","B=1","A=2"]}}`, `env "A": it is set twice, differently`},
		{`{"abi":1,"envMode":{"A":"append:"}}`, `envMode: "A" is not in containerEdits.env`},
		{`{"abi":1,"containerEdits":{"env":["A=1"]},"envMode":{"A":"set"}}`, `envMode: "set" of "A" is not unset-only, or append or prepend with a separator`},
		{`{"abi":1,"containerEdits":{"env":["A=1"]},"envMode":{"A":"append\n"}}`, `envMode: "append\n" of "A" is not unset-only, or append or prepend with a separator`},

		{device(`{"path":"dev/x"}`), `containerEdits.deviceNodes[0].path: "dev/x" does not start with /`},
		{device(`{"path":""}`), `containerEdits.deviceNodes[0].path: "" does not start with /`},
		{device(`{"path":"/dev/../x"}`), `containerEdits.deviceNodes[0].path: "/dev/../x" is not in its shortest form "/x"`},
		{device(`{"path":"/dev/x/"}`), `containerEdits.deviceNodes[0].path: "/dev/x/" is not in its shortest form "/dev/x"`},
		{device(`{"path":"/dev/\u0000"}`), `containerEdits.deviceNodes[0].path: "/dev/\x00" holds control characters or what is not UTF-8, or is longer than 4096`},
		{device(`{"path":"/proc/x"}`), `containerEdits.deviceNodes[0].path: "/proc/x" is not for modes to change`},
		{device(`{"path":"/dev/x","hostPath":"x"}`), `containerEdits.deviceNodes[0].hostPath: "x" does not start with /`},
		{device(`{"path":"/dev/x","type":"a"}`), `containerEdits.deviceNodes[0].type: "a" is not one of b, c, p, u`},
		{device(`{"path":"/dev/x","major":-1}`), `containerEdits.deviceNodes[0]: device number -1:0 is negative`},
		{device(`{"path":"/dev/x","fileMode":4096}`), `containerEdits.deviceNodes[0].fileMode: 4096 is more than 4095 (octal 7777)`},
		{device(`{"path":"/dev/x","permissions":"rr"}`), `containerEdits.deviceNodes[0].permissions: "rr" is not none and not some of r, w, m, each once`},
		{device(`{"path":"/dev/x","permissions":"rx"}`), `containerEdits.deviceNodes[0].permissions: "rx" is not none and not some of r, w, m, each once`},
		{device(`{"path":"/dev/x"},{"path":"/dev/x","type":"c"}`), `path "/dev/x": it is set twice, differently`},
		{`{"abi":1,"deviceRules":[{"type":"a","major":1,"minor":1,"access":"r"}]}`, `deviceRules[0].type: "a" is not one of b, c`},
		{`{"abi":1,"deviceRules":[{"type":"c","major":-1,"minor":1,"access":"r"}]}`, `deviceRules[0].major: -1 is negative`},
		{`{"abi":1,"deviceRules":[{"type":"c","major":1,"minor":-2,"access":"r"}]}`, `deviceRules[0].minor: -2 is less than -1`},
		{`{"abi":1,"deviceRules":[{"type":"c","major":1,"minor":1}]}`, `deviceRules[0].access: "" is not some of r, w, m, each once`},

		{source(`a`), `containerEdits.mounts[0].hostPath: "a" does not start with /`},
		{source(`/`), `containerEdits.mounts[0].hostPath: "/" is not for modes to mount`},
		{source(`/etc`), `containerEdits.mounts[0].hostPath: "/etc" is not for modes to mount`},
		{source(`/var/run`), `containerEdits.mounts[0].hostPath: "/var/run" is not for modes to mount`},
		{source(`/proc/self/root`), `containerEdits.mounts[0].hostPath: "/proc/self/root" is not for modes to mount`},
		{source(`/proc/1/ns/mnt`), `containerEdits.mounts[0].hostPath: "/proc/1/ns/mnt" is not for modes to mount`},
		{source(`/var/run/docker.sock`), `containerEdits.mounts[0].hostPath: "/var/run/docker.sock" is not for modes to mount`},
		{source(`/run/containerd/containerd.sock`), `containerEdits.mounts[0].hostPath: "/run/containerd/containerd.sock" is not for modes to mount`},
		{source(`/run/crio`), `containerEdits.mounts[0].hostPath: "/run/crio" is not for modes to mount`},
		{source(`/srv/docker.sock`), `containerEdits.mounts[0].hostPath: "/srv/docker.sock" is not for modes to mount`},
		{dest(`/`), `containerEdits.mounts[0].containerPath: "/" is not for modes to change`},
		{dest(`/dev`), `containerEdits.mounts[0].containerPath: "/dev" is not for modes to change`},
		{dest(`/sys/class`), `containerEdits.mounts[0].containerPath: "/sys/class" is not for modes to change`},
		{dest(`/etc/passwd`), `containerEdits.mounts[0].containerPath: "/etc/passwd" is not for modes to change`},
		{dest(`/etc/ld.so.preload`), `containerEdits.mounts[0].containerPath: "/etc/ld.so.preload" is not for modes to change`},
		{dest(`/a//b`), `containerEdits.mounts[0].containerPath: "/a//b" is not in its shortest form "/a/b"`},
		{mount(`{"hostPath":"/a","containerPath":"/b","type":"tmpfs"}`), `containerEdits.mounts[0].type: "tmpfs" is not bind`},
		{mount(`{"hostPath":"/a","containerPath":"/b","options":["bind","rshared"]}`),
			`containerEdits.mounts[0].options[1]: "rshared" is not one of bind, rbind, ro, rro, rw, nosuid, nodev, noexec, nosymfollow, private, rprivate, noatime, nodiratime, relatime`},
		{mount(`{"hostPath":"/a","containerPath":"/b","options":["ro"]}`), `containerEdits.mounts[0].options: neither bind nor rbind is among them`},
		{mount(`{"hostPath":"/a","containerPath":"/b"},{"hostPath":"/c","containerPath":"/b"}`), `path "/b": it is set twice, differently`},

		{`{"abi":1,"containerEdits":{"hooks":[{"hookName":"prestart","path":"/h"}]}}`,
			`containerEdits.hooks: a hook with a path of its own needs a grant; use symlinks, ldcache or builtinHooks`},
		{`{"abi":1,"containerEdits":{"netDevices":[{"name":"a"}]}}`, `containerEdits.netDevices[0].hostInterfaceName: "" is not the name of an interface`},
		{`{"abi":1,"containerEdits":{"netDevices":[{"hostInterfaceName":"a","name":"abcdefghijklmnop"}]}}`, `containerEdits.netDevices[0].name: "abcdefghijklmnop" is not the name of an interface`},
		{`{"abi":1,"containerEdits":{"netDevices":[{"hostInterfaceName":"a","name":"b"},{"hostInterfaceName":"c","name":"b"}]}}`, `containerEdits.netDevices[1]: "c" or "b" stands twice`},
		{`{"abi":1,"containerEdits":{"intelRdt":{"closID":"../a"}}}`, `containerEdits.intelRdt.closID: "../a" is not a name of a folder`},
		{`{"abi":1,"containerEdits":{"intelRdt":{"schemata":["a\nb"]}}}`, `containerEdits.intelRdt: "a\nb" holds control characters`},
		{`{"abi":1,"annotations":{"":"1"}}`, `annotations: "" is not a key`},
		{`{"abi":1,"annotations":{"a":"\u0000"}}`, `annotations: the value of "a" holds a NUL or what is not UTF-8`},

		{`{"abi":1,"remove":{"env":["A=1"]}}`, `remove.env[0]: "A=1" is not a name`},
		{`{"abi":1,"remove":{"mounts":["a"]}}`, `remove.mounts[0]: "a" does not start with /`},
		{`{"abi":1,"remove":{"mounts":["/proc"]}}`, `remove.mounts[0]: "/proc" is not for modes to change`},
		{`{"abi":1,"remove":{"devices":["/a/"]}}`, `remove.devices[0]: "/a/" is not in its shortest form "/a"`},
		{`{"abi":1,"remove":{"hooks":[{"hookName":"start","base":"a"}]}}`,
			`remove.hooks[0].hookName: "start" is not one of prestart, createRuntime, createContainer, startContainer, poststart, poststop`},
		{`{"abi":1,"remove":{"hooks":[{"hookName":"prestart","base":"/a"}]}}`, `remove.hooks[0].base: "/a" is not a base name`},
		{`{"abi":1,"remove":{"hooks":[{"hookName":"prestart","base":""}]}}`, `remove.hooks[0].base: "" is not a base name`},

		{`{"abi":1,"symlinks":[{"target":"","link":"/a"}]}`, `symlinks[0].target: "" is empty, holds "::" or control characters, or ends with ":"`},
		{`{"abi":1,"symlinks":[{"target":"a::b","link":"/a"}]}`, `symlinks[0].target: "a::b" is empty, holds "::" or control characters, or ends with ":"`},
		{`{"abi":1,"symlinks":[{"target":"a\u0000","link":"/a"}]}`, `symlinks[0].target: "a\x00" is empty, holds "::" or control characters, or ends with ":"`},
		{`{"abi":1,"symlinks":[{"target":"a","link":"a"}]}`, `symlinks[0].link: "a" does not start with /`},
		{`{"abi":1,"symlinks":[{"target":"a","link":"/etc/ld.so.preload"}]}`, `symlinks[0].link: "/etc/ld.so.preload" is not for modes to change`},
		{`{"abi":1,"symlinks":[{"target":"a","link":"/l"},{"target":"b","link":"/l"}]}`, `path "/l": it is set twice, differently`},
		{`{"abi":1,"ldcache":{"dirs":["/a","b"]}}`, `ldcache.dirs[1]: "b" does not start with /`},
		{`{"abi":1,"ldcache":{"dirs":["/a\nb"]}}`, `ldcache.dirs[0]: "/a\nb" holds control characters or what is not UTF-8, or is longer than 4096`},
		{`{"abi":1,"builtinHooks":[{"name":"sh"}]}`, `builtinHooks[0].name: "sh" is not one of chmod, disable-device-node-modification, nvidia-container-runtime-hook`},
		{`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"755"}}]}`, `builtinHooks[0].args: chmod takes these: [mode path]`},
		{`{"abi":1,"builtinHooks":[{"name":"nvidia-container-runtime-hook","args":{"path":"/x"}}]}`, `builtinHooks[0].args: nvidia-container-runtime-hook takes these: []`},
		{`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"4755","path":"/a"}}]}`, `builtinHooks[0].args.mode: "4755" is not an octal mode up to 1777`},
		{`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"","path":"/a"}}]}`, `builtinHooks[0].args.mode: "" is not an octal mode up to 1777`},
		{`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"a"}}]}`, `builtinHooks[0].args.path: "a" does not start with /`},
		{`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/etc"}}]}`, `builtinHooks[0].args.path: "/etc" is not for modes to change`},
	} {
		err := edits(t, test.doc).Validate()
		if err == nil || err.Error() != test.want || !errors.Is(err, discover.ErrInvalidEdits) {
			t.Errorf("%.200s:\ngot  %v\nwant %s", test.doc, err, test.want)
		}
		if err != nil {
			oneLine(t, err)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("an error shows a value: %v", err)
			}
		}
	}
}

// TestValidateAllows is what the rules must not catch.
func TestValidateAllows(t *testing.T) {
	for _, doc := range []string{
		`{"abi":1,"containerEdits":{"env":["A=","B=x=y","PATH=/a","NVIDIA_VISIBLE_DEVICES=void"]}}`,
		`{"abi":1,"containerEdits":{"env":["A=1","A=2"]},"envMode":{"A":"append,"}}`,
		`{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/x","permissions":"none"},{"path":"/dev/x","permissions":"none"}]}}`,
		`{"abi":1,"containerEdits":{"mounts":[{"hostPath":"/run/nvidia/driver/usr/lib/libcuda.so.1","containerPath":"/usr/lib/libcuda.so.1","options":["ro","nosuid","nodev","rbind","rprivate"]}]}}`,
		`{"abi":1,"containerEdits":{"mounts":[{"hostPath":"/run/nvidia-persistenced/socket","containerPath":"/run/nvidia-persistenced/socket","options":["nosuid","nodev","rbind","rprivate","noexec"]}]}}`,
		`{"abi":1,"containerEdits":{"mounts":[{"hostPath":"/dev/dri/by-path/x","containerPath":"/dev/dri/by-path/x"},{"hostPath":"/etc/vulkan/icd.d/nvidia_icd.json","containerPath":"/etc/vulkan/icd.d/nvidia_icd.json"}]}}`,
		`{"abi":1,"symlinks":[{"target":"../card0","link":"/dev/dri/by-path/pci-0000:00:01.0-card"}]}`,
	} {
		if err := edits(t, doc).Validate(); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestValidateRefusesNil(t *testing.T) {
	for want, c := range map[string]cdispecs.ContainerEdits{
		"containerEdits.deviceNodes[0]: it is null": {DeviceNodes: []*cdispecs.DeviceNode{nil}},
		"containerEdits.mounts[0]: it is null":      {Mounts: []*cdispecs.Mount{nil}},
		"containerEdits.netDevices[0]: it is null":  {NetDevices: []*cdispecs.LinuxNetDevice{nil}},
	} {
		if err := (discover.Edits{ABI: 1, ContainerEdits: c}).Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// FuzzEditsDecode: what is accepted encoding/json accepts in its strict way, is
// stable when written again, and where it is valid CDI's library finds it valid
// too; what is refused is the mode's fault, in one line.
func FuzzEditsDecode(f *testing.F) {
	for _, doc := range editSeeds {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		e, err := discover.DecodeEdits(doc)
		if err != nil {
			oneLine(t, err)
			if !errors.Is(err, discover.ErrInvalidEdits) {
				t.Fatalf("whose fault is it: %v", err)
			}
			return
		}
		d := json.NewDecoder(strings.NewReader(string(doc)))
		d.DisallowUnknownFields()
		var strict discover.Edits
		if err := d.Decode(&strict); err != nil {
			t.Fatalf("encoding/json refuses: %v", err)
		}
		// Written again, since an empty list is as good as none.
		want, err := json.Marshal(strict)
		if err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(e)
		if err != nil || string(written) != string(want) {
			t.Fatalf("%v\nwe read            %s\nencoding/json reads %s", err, written, want)
		}
		again, err := discover.DecodeEdits(written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if rewritten, err := json.Marshal(again); err != nil || string(rewritten) != string(written) {
			t.Fatalf("%v\n%s\n%s", err, written, rewritten)
		}
		if err := e.Validate(); err != nil {
			oneLine(t, err)
			if !errors.Is(err, discover.ErrInvalidEdits) {
				t.Fatalf("whose fault is it: %v", err)
			}
			return
		}
		if err := (&cdi.ContainerEdits{ContainerEdits: &e.ContainerEdits}).Validate(); err != nil {
			t.Fatalf("we accept, CDI refuses: %v", err)
		}
	})
}
