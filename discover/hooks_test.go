// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
)

var programs = discover.Programs{
	TenonHook:         "/usr/bin/tenon-hook",
	NVIDIAHook:        "/usr/bin/nvidia-container-runtime-hook",
	NVIDIAHookTimeout: 120,
	HookTimeout:       30,
}

func TestLower(t *testing.T) {
	const env = `"env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]`
	const tenon = `{"hookName":"createContainer","path":"/usr/bin/tenon-hook","args":["tenon-hook",`
	const end = `],` + env + `,"timeout":30}`
	for name, test := range map[string]struct{ doc, want string }{
		"nothing": {`{"abi":1,"containerEdits":{"env":["A=1"]}}`, `null`},
		"order": {`{"abi":1,"ldcache":{"dirs":["/l"]},"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/a"}},{"name":"disable-device-node-modification"},{"name":"chmod","args":{"mode":"755","path":"/b"}},{"name":"chmod","args":{"mode":"700","path":"/c"}}],"symlinks":[{"target":"a","link":"/b"},{"target":"/c","link":"/d"}]}`,
			`[` + tenon + `"create-symlinks","--link","a::/b","--link","/c::/d"` + end +
				`,` + tenon + `"chmod","--mode","755","--path","/a","--path","/b"` + end +
				`,` + tenon + `"disable-device-node-modification"` + end +
				`,` + tenon + `"chmod","--mode","700","--path","/c"` + end +
				`,` + tenon + `"update-ldcache","--folder","/l"` + end + `]`},
		"the prestart hook": {`{"abi":1,"builtinHooks":[{"name":"nvidia-container-runtime-hook"}]}`,
			`[{"hookName":"prestart","path":"/usr/bin/nvidia-container-runtime-hook","args":["nvidia-container-runtime-hook","prestart"],` + env + `,"timeout":120}]`},
		"folders of libraries, in their order, once": {`{"abi":1,"ldcache":{"dirs":["/z","/a"]},"containerEdits":{"mounts":[
			{"hostPath":"/h","containerPath":"/usr/lib/libb.so.1"},{"hostPath":"/h","containerPath":"/a/liba.so"},
			{"hostPath":"/h","containerPath":"/usr/lib/libc.so"},{"hostPath":"/h","containerPath":"/opt/libd.so.1.2"},
			{"hostPath":"/h","containerPath":"/n1/lib.so"},{"hostPath":"/h","containerPath":"/n2/xliba.so"},{"hostPath":"/h","containerPath":"/n3/liba.sa"}]}}`,
			`[` + tenon + `"update-ldcache","--folder","/z","--folder","/a","--folder","/usr/lib","--folder","/opt"` + end + `]`},
	} {
		t.Run(name, func(t *testing.T) {
			e := edits(t, test.doc)
			if err := e.Validate(); err != nil {
				t.Fatal(err)
			}
			before, _ := json.Marshal(e)
			low, err := discover.Lower(e, programs)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(low.ContainerEdits.Hooks); string(got) != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
			if len(low.Symlinks)+len(low.LdCache.Dirs)+len(low.BuiltinHooks) > 0 {
				t.Error("declarations are left")
			}
			if after, _ := json.Marshal(e); string(after) != string(before) {
				t.Errorf("the edits given were changed:\n%s", after)
			}
		})
	}
}

func TestLowerRequired(t *testing.T) {
	p := programs
	p.LdCacheRequired = true
	low, err := discover.Lower(edits(t, `{"abi":1,"ldcache":{"dirs":["/l"]}}`), p)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(low.ContainerEdits.Hooks[0].Args); string(got) != `["tenon-hook","update-ldcache","--required","--folder","/l"]` {
		t.Errorf("got %s", got)
	}
}

func TestLowerNamesTheProgram(t *testing.T) {
	for _, test := range []struct {
		doc, want string
		programs  discover.Programs
	}{
		{`{"abi":1,"builtinHooks":[{"name":"nvidia-container-runtime-hook"}]}`,
			`nvidia-container-runtime-hook: not configured; set hook_path in [modes.legacy]`, discover.Programs{TenonHook: "/h", HookTimeout: 1}},
		{`{"abi":1,"ldcache":{"dirs":["/l"]}}`,
			"tenon-hook: is not installed; install tenon anew", discover.Programs{HookTimeout: 1}},
		{`{"abi":1,"ldcache":{"dirs":["/l"]}}`,
			"/opt: is not to be trusted", discover.Programs{HookTimeout: 1, NoTenonHook: errors.New("/opt: is not to be trusted")}},
		{`{"abi":1,"ldcache":{"dirs":["/l"]}}`,
			`hook "h": its path is not absolute or it has no time-out; this is a bug of tenon, please report`, discover.Programs{TenonHook: "h", HookTimeout: 1}},
		{`{"abi":1,"ldcache":{"dirs":["/l"]}}`,
			`hook "/h": its path is not absolute or it has no time-out; this is a bug of tenon, please report`, discover.Programs{TenonHook: "/h"}},
		{`{"abi":1,"builtinHooks":[{"name":"sh"}]}`,
			`hook "sh": no such hook; this is a bug of tenon, please report`, programs},
	} {
		if _, err := discover.Lower(edits(t, test.doc), test.programs); err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
}
