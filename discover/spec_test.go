// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tenon-runtime/tenon/discover"
)

// TestParseRefuses is what runc would refuse, or would read differently from
// us, with the line that says so.
func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ config, want string }{
		"empty file":       {"", `it is empty`},
		"space only":       {" \n\t", `it is empty`},
		"null":             {"null", `it is null, not an object`},
		"array":            {"[]", `it is an array, not an object`},
		"number":           {"12", `it is a number, not an object`},
		"truncated":        {`{"process":{"env":["A=1"`, `line 1: it ends where a comma or the end of the array belongs`},
		"truncated string": {"{\n\"mou", `line 2: it ends where the end of a string belongs`},
		"truncated word":   {`{"root":tru`, `line 1: it ends where "true" belongs`},
		"no value":         {`{"a":}`, `line 1: '}' where a value belongs`},
		"trailing comma":   {`{"a":1,}`, `line 1: '}' where a key in quotes belongs`},
		"trailing data":    {"{}\n{}", `line 2: there is more after the end of the document`},
		"trailing NUL":     {"{}\x00", `line 1: there is more after the end of the document`},
		"BOM":              {"\ufeff{}", `line 1: '\ufeff' where a value belongs`},
		"leading zero":     {`{"a":01}`, `line 1: '1' where a comma or the end of the object belongs`},
		"bare minus":       {`{"a":-}`, `line 1: '}' where a value belongs`},
		"no fraction":      {`{"a":1.}`, `line 1: '}' where a digit belongs`},
		"no exponent":      {`{"a":1e+}`, `line 1: '}' where a digit belongs`},
		"plus":             {`{"a":+1}`, `line 1: '+' where a value belongs`},
		"tab in a string":  {"{\"a\":\"\t\"}", `line 1: '\t' where the end of a string, or an escape, belongs`},
		"bad escape":       {`{"a":"\x"}`, `line 1: 'x' where an escape belongs`},
		"bad hex":          {`{"a":"\u12g4"}`, `line 1: 'g' where a hexadecimal digit belongs`},
		"single quotes":    {`{'a':1}`, `line 1: '\'' where a key in quotes belongs`},
		"no colon":         {`{"a" 1}`, `line 1: '1' where a colon belongs`},
		"mismatched end":   {`{"a":[1}}`, `line 1: '}' where a comma or the end of the array belongs`},

		"hooks and HOOKS":   {"{\"hooks\":{},\n\n\"HOOKS\":null}", `"hooks" stands twice, as "HOOKS" on line 3`},
		"HOOKS alone":       {`{"HOOKS":null}`, `"HOOKS" on line 1 is misspelt; write "hooks"`},
		"mounts twice":      {"{\"mounts\":[],\n\"mounts\":[]}", `"mounts" stands twice, again on line 2`},
		"mounts null twice": {`{"mounts":null,"mounts":[]}`, `"mounts" stands twice, again on line 1`},
		"env twice":         {`{"process":{"env":[],"\u0065nv":[]}}`, `"process.env" stands twice, again on line 1`},
		"long s":            {`{"process":{},"proce` + "\u017f" + `s":{}}`, `"process" stands twice, as "proce\u017fs" on line 1`},
		"kelvin sign":       {`{"process":{"x":1,"k":1,"` + "\u212a" + `":2}}`, `"process.k" stands twice, as "\u212a" on line 1`},
		"unknown twins":     {`{"process":{"Args":[],"args":[]}}`, `"process.Args" stands twice, as "args" on line 1`},
		"many unknown":      {`{"linux":{` + many(40) + `,"K7":0}}`, `"linux.K7" stands twice, again on line 1`},
		"element's twins":   {`{"mounts":[{},{"destination":"/a","Destination":"/b"}]}`, `"mounts[1].destination" stands twice, as "Destination" on line 1`},
		"annotation twice":  {`{"annotations":{"a":"1","a":"2"}}`, `"annotations.a" stands twice, again on line 1`},
		"annotations many":  {`{"annotations":{` + strings.ReplaceAll(many(40), ":0", `:""`) + `,"k7":""}}`, `"annotations.k7" stands twice, again on line 1`},

		"env is a string":     {`{"process":{"env":"A=1"}}`, `"process.env" on line 1 is a string, not an array`},
		"env holds a number":  {"{\"process\":{\"env\":[\"A=1\",\n2]}}", `"process.env[1]" on line 2 is a number, not a string`},
		"mounts is an object": {`{"mounts":{}}`, `"mounts" on line 1 is an object, not an array`},
		"options hold true":   {`{"mounts":[{"options":[true]}]}`, `"mounts[0].options[0]" on line 1 is true or false, not a string`},
		"uid is negative":     {`{"process":{"user":{"uid":-1}}}`, `"process.user.uid" on line 1 is -1, not a whole number in range`},
		"uid has a fraction":  {`{"process":{"user":{"uid":1.0}}}`, `"process.user.uid" on line 1 is 1.0, not a whole number in range`},
		"uid is out of range": {`{"process":{"user":{"uid":4294967296}}}`, `"process.user.uid" on line 1 is 4294967296, not a whole number in range`},
		"major is out of range": {`{"linux":{"devices":[{"major":9223372036854775808}]}}`,
			`"linux.devices[0].major" on line 1 is 9223372036854775808, not a whole number in range`},
		"annotation is a number": {`{"annotations":{"a\nb":1}}`, `"annotations.a\nb" on line 1 is a number, not a string`},

		"depth 10,001": {nested(10001), `line 1: nested deeper than 10000`},
		"9 MiB":        {`{"a":"` + strings.Repeat("x", 9<<20) + `"}`, `it has 9437192 bytes, more than 8388608`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := discover.Parse([]byte(test.config))
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"k` + string(rune('0'+i)) + `":0`)
	}
	return strings.NewReplacer(`"""`, `"q"`, `"\"`, `"b"`).Replace(b.String())
}

// nested is a document n deep.
func nested(n int) string {
	return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
}

// TestParseKeepsItsHandsOff is what must be accepted, because runc accepts it
// and no rule of ours forbids it, and stays the same slice when nothing is
// edited.
func TestParseKeepsItsHandsOff(t *testing.T) {
	for name, config := range map[string]string{
		"smallest":            `{}`,
		"space around":        "\r\n\t {} \r\n",
		"unknown members":     `{"x-vendor":{"a":[1,{"b":null}]},"process":{"x":{}}}`,
		"all null":            `{"ociVersion":null,"process":null,"root":null,"mounts":null,"hooks":null,"annotations":null,"linux":null}`,
		"null inside":         `{"process":{"user":null,"env":null,"capabilities":{"bounding":null}},"linux":{"resources":{"devices":[{"major":null}]},"intelRdt":null}}`,
		"null elements":       `{"process":{"env":[null]},"mounts":[null],"annotations":{"a":null},"hooks":{"prestart":[null]}}`,
		"big numbers":         `{"linux":{"resources":{"pids":{"limit":18446744073709551615},"x":1e400}}}`,
		"annotation cases":    `{"annotations":{"a":"1","A":"2"}}`,
		"twins out of sight":  `{"linux":{"seccomp":{"a":1,"a":2,"A":3}}}`,
		"half surrogate":      `{"process":{"env":["A=\ud800","B=\udc00\ud800"]}}`,
		"bytes not UTF-8":     "{\"process\":{\"env\":[\"A=\xff\"]},\"\xff\":\"\xfe\"}",
		"depth 10,000":        nested(10000),
		"all escapes":         `{"process":{"env":["A=\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"]}}`,
		"wildcard rule":       `{"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":-1,"minor":-1,"access":"m"}]}}}`,
		"escaped member name": `{"\u0070rocess":{"env":["A=1"]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := discover.Parse([]byte(config))
			if err != nil {
				t.Fatal(err)
			}
			checkRead(t, spec, []byte(config))
			out, err := discover.Apply(spec, discover.Edits{ABI: 1})
			if err != nil {
				t.Fatal(err)
			}
			if &out[0] != &spec.Bytes()[0] || string(out) != config {
				t.Errorf("no edits, but another slice or other bytes")
			}
		})
	}
}

// checkRead checks that a request says what encoding/json, and so runc, reads
// in a config.json that was accepted.
func checkRead(t *testing.T, spec *discover.Spec, config []byte) {
	t.Helper()
	// Only what is read: members that are not may be of any type.
	var want struct {
		Process struct {
			Env          []string
			Capabilities struct{ Bounding []string }
		}
		Root        struct{ Path string }
		Mounts      []specs.Mount
		Annotations map[string]string
	}
	if err := json.Unmarshal(config, &want); err != nil {
		t.Fatalf("accepted, but encoding/json refuses: %v", err)
	}
	req := spec.Request()
	env := make(map[string]string)
	for _, kv := range want.Process.Env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	for name, value := range env {
		if got, ok := req.Env(name); !ok || got != value {
			t.Errorf("Env(%q) = %q, %t; want %q", name, got, ok, value)
		}
	}
	if got, ok := req.Env("no such\x00 name"); ok {
		t.Errorf("Env of a name that is not there = %q", got)
	}
	mounts := req.Mounts()
	if len(mounts) != len(want.Mounts) || len(mounts) > 0 && !reflect.DeepEqual(mounts, want.Mounts) {
		t.Errorf("mounts:\n%#v\nwant:\n%#v", mounts, want.Mounts)
	}
	for key, value := range want.Annotations {
		if got, ok := req.Annotation(key); !ok || got != value {
			t.Errorf("Annotation(%q) = %q, %t; want %q", key, got, ok, value)
		}
	}
	privileged := false
	for _, c := range want.Process.Capabilities.Bounding {
		privileged = privileged || c == "CAP_SYS_ADMIN"
	}
	if req.Privileged() != privileged {
		t.Errorf("Privileged() = %t", !privileged)
	}
	if req.Root() != want.Root.Path {
		t.Errorf("Root() = %q, want %q", req.Root(), want.Root.Path)
	}
}

func TestRequestReadsWhatTheContainerSees(t *testing.T) {
	const config = `{"process":{"env":["A=1","B","A=2=3","=x","C="],"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_ADMIN"]}},
"root":{"path":"rootfs"},"annotations":{"k":"v","empty":""},
"mounts":[{"destination":"/a","source":"/b","type":"bind","options":["ro"],"uidMappings":[{"containerID":0,"hostID":1000,"size":4294967295}]}]}`
	spec, err := discover.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	checkRead(t, spec, []byte(config))
	req := spec.Request()
	for _, test := range []struct {
		name, want string
		ok         bool
	}{{"A", "2=3", true}, {"B", "", false}, {"C", "", true}, {"D", "", false}} {
		if got, ok := req.Env(test.name); got != test.want || ok != test.ok {
			t.Errorf("Env(%q) = %q, %t", test.name, got, ok)
		}
	}
	if v, ok := req.Annotation("empty"); v != "" || !ok {
		t.Errorf("empty annotation = %q, %t", v, ok)
	}
	if _, ok := req.Annotation("K"); ok {
		t.Error("annotation keys are not told apart by case")
	}
}

// FuzzSpec: whatever is accepted, encoding/json accepts and reads alike; what
// is refused is refused in one line; without edits nothing changes.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte(pretty))
	f.Add([]byte(`{"process":{"env":["A=\ud800\u00e9"],"ENV":[]},"mounts":[null]}`))
	f.Add([]byte(`{"annotations":{"a":"1","A":null},"linux":{"devices":[{"major":1e1}]}}`))
	f.Add([]byte("{\"mounts\":[{\"destination\":\"/\xff\",\"options\":[\"ro\"]}]}\n"))
	f.Fuzz(func(t *testing.T, config []byte) {
		before := string(config)
		spec, err := discover.Parse(config)
		if err != nil {
			oneLine(t, err)
			return
		}
		checkRead(t, spec, config)
		out, err := discover.Apply(spec, discover.Edits{})
		if err != nil {
			t.Fatal(err)
		}
		if &out[0] != &config[0] || string(out) != before {
			t.Error("no edits, but another slice or other bytes")
		}
	})
}

func oneLine(t *testing.T, err error) {
	t.Helper()
	if s := err.Error(); s == "" || strings.ContainsAny(s, "\n\r") || len(s) > 1000 {
		t.Errorf("an error that is not one short line: %q", s)
	}
}
