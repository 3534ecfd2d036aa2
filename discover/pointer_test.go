// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
)

func TestPointer(t *testing.T) {
	const config = ` { "b" : [ 1 , {"z":1.0e+2,"a":"\u00e9<>"} , [ ] , { } ] , "a/b":{"m~n":null}, "": {"":true}, "-": 18446744073709551615, "s":{"x":1,"x":2} } `
	spec, err := discover.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ pointer, want, err string }{
		{"/b", `[1,{"a":"\u00e9<>","z":1.0e+2},[],{}]`, ""},
		{"/b/0", "1", ""},
		{"/b/1/a", `"\u00e9<>"`, ""},
		{"/b/2", "[]", ""},
		{"/b/3", "{}", ""},
		{"/a~1b/m~0n", "null", ""},
		{"/a~1b", `{"m~n":null}`, ""},
		{"/", `{"":true}`, ""},
		{"//", "true", ""},
		{"/-", "18446744073709551615", ""},
		{"/b/4", "", "no such value in config.json"},
		{"/b/-", "", "no such value in config.json"},
		{"/b/00", "", "no such value in config.json"},
		{"/b/+1", "", "no such value in config.json"},
		{"/b/99999999999999999999", "", "no such value in config.json"},
		{"/b/0/x", "", "no such value in config.json"},
		{"/B", "", "no such value in config.json"},
		{"/a~1b/m~0n/x", "", "no such value in config.json"},
		{"b", "", `pointer "b": it does not start with /`},
		{"/~", "", `pointer "/~": a ~ in it is not followed by 0 or 1`},
		{"/a~2", "", `pointer "/a~2": a ~ in it is not followed by 0 or 1`},
		{"/s", "", `pointer "/s": key "x" stands twice in one object`},
		{"/s/x", "", `pointer "/s/x": key "x" stands twice in one object`},
		{"", "", `pointer "": key "x" stands twice in one object`},
	} {
		got, err := spec.Request().Pointer(test.pointer)
		if test.err != "" {
			if err == nil || err.Error() != test.err {
				t.Errorf("%q: got %s, %v; want %s", test.pointer, got, err, test.err)
			}
			if errors.Is(err, discover.ErrNotFound) != strings.HasPrefix(test.err, "no such") {
				t.Errorf("%q: is it ErrNotFound?", test.pointer)
			}
		} else if err != nil || string(got) != test.want {
			t.Errorf("%q: got %s, %v; want %s", test.pointer, got, err, test.want)
		}
	}
}

// FuzzPointer compares with encoding/json and a walk through its values.
func FuzzPointer(f *testing.F) {
	f.Add([]byte(plain), "/process/env/0")
	f.Add([]byte(pretty), "/linux/x~0y")
	f.Add([]byte(`{"a":[{"b":1,"a":[]},2.50]}`), "/a")
	f.Add([]byte(`{"a":{"b":1,"b":2}}`), "/a/b")
	f.Add([]byte("{\"\xff\":1}"), "/\ufffd")
	f.Fuzz(func(t *testing.T, config []byte, pointer string) {
		spec, err := discover.Parse(config)
		if err != nil {
			return
		}
		got, err := spec.Request().Pointer(pointer)
		if err != nil {
			oneLine(t, err)
			if !errors.Is(err, discover.ErrNotFound) {
				return
			}
		}
		want, found := walk(decode(t, config), pointer)
		if found != (err == nil) {
			t.Fatalf("%q: got %s, %v; encoding/json finds it: %t", pointer, got, err, found)
		}
		if !found {
			return
		}
		if !reflect.DeepEqual(decode(t, got), want) {
			t.Fatalf("%q: got %s, want %v", pointer, got, want)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, got); err != nil || !bytes.Equal(compact.Bytes(), got) {
			t.Fatalf("%q: %s is not compact", pointer, got)
		}
	})
}

func decode(t *testing.T, doc []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func walk(v any, pointer string) (any, bool) {
	if pointer == "" {
		return v, true
	}
	for _, token := range strings.Split(pointer[1:], "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[token]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.ParseUint(token, 10, 31)
			if err != nil || int(i) >= len(in) || strconv.FormatUint(i, 10) != token {
				return nil, false
			}
			v = in[i]
		default:
			return nil, false
		}
	}
	return v, true
}
