// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/tenon-runtime/tenon/sdk"
)

// fill sets every field below v to something that is not zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"b": "2", "a": `1"\`, "c": "\n\x00\x1f<é"}))
	case reflect.String:
		v.SetString("x,y \"z\"\\ \t</é\u2028")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint32:
		v.SetUint(4294967295)
	default:
		panic("no value for " + v.Type().String())
	}
}

func read(t *testing.T, doc []byte) sdk.Edits {
	t.Helper()
	var got sdk.Edits
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return got
}

// TestEveryMemberIsWritten would fail for a field that JSON forgets: it reads
// back by the json tags what was written by hand.
func TestEveryMemberIsWritten(t *testing.T) {
	var e sdk.Edits
	fill(reflect.ValueOf(&e).Elem())
	e.ABI = 1
	if got := read(t, e.JSON()); !reflect.DeepEqual(got, e) {
		t.Fatalf("got  %+v\nwant %+v", got, e)
	}
}

// TestEveryMemberIsWrittenAlone sets one field at a time: a member must not
// hang on another being there.
func TestEveryMemberIsWrittenAlone(t *testing.T) {
	for _, outer := range []string{"", "ContainerEdits", "Remove", "LdCache"} {
		of := reflect.TypeFor[sdk.Edits]()
		if outer != "" {
			f, _ := of.FieldByName(outer)
			of = f.Type
		}
		for i := range of.NumField() {
			e := sdk.Edits{ABI: 1}
			v := reflect.ValueOf(&e).Elem()
			if outer != "" {
				v = v.FieldByName(outer)
			}
			if of.Field(i).Name == "ABI" {
				continue
			}
			fill(v.Field(i))
			if got := read(t, e.JSON()); !reflect.DeepEqual(got, e) {
				t.Errorf("%s.%s: got %+v\nwant %+v", outer, of.Field(i).Name, got, e)
			}
		}
	}
}

func TestWhatSaysNothingIsNotWritten(t *testing.T) {
	e := sdk.Edits{EnvMode: map[string]string{}, Symlinks: []sdk.Symlink{}}
	if got := string(e.JSON()); got != `{"abi":1}` {
		t.Fatal(got)
	}
	e.AddDevice("/dev/x")
	e.AddMount("/a", "/b")
	e.AddBuiltinHook("chmod", nil)
	e.AddDeviceRule(sdk.DeviceRule{Type: "c", Major: 195, Minor: -1, Access: "rw"})
	want := `{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/x"}],"mounts":[{"hostPath":"/a","containerPath":"/b"}]},` +
		`"deviceRules":[{"type":"c","major":195,"minor":-1,"access":"rw"}],"builtinHooks":[{"name":"chmod"}]}`
	if got := string(e.JSON()); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestHelpers(t *testing.T) {
	var e sdk.Edits
	e.AddDevice("/dev/x").Permissions = "r"
	e.AddMount("/h", "/c", "ro", "rbind").Type = "bind"
	e.AddSymlink("liba.so.1", "/l/liba.so")
	e.SetEnv("A", "b=c")
	e.AddLdCacheDir("/l")
	e.AddBuiltinHook("chmod", map[string]string{"path": "/dev/dri", "mode": "755"})
	e.RemoveHook("prestart", "x")
	want := `{"abi":1,"containerEdits":{"env":["A=b=c"],"deviceNodes":[{"path":"/dev/x","permissions":"r"}],` +
		`"mounts":[{"hostPath":"/h","containerPath":"/c","options":["ro","rbind"],"type":"bind"}]},` +
		`"remove":{"hooks":[{"hookName":"prestart","base":"x"}]},"symlinks":[{"target":"liba.so.1","link":"/l/liba.so"}],` +
		`"ldcache":{"dirs":["/l"]},"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/dev/dri"}}]}`
	if got := string(e.JSON()); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// FuzzStrings: what is written reads back as it was, if it was text at all.
func FuzzStrings(f *testing.F) {
	f.Add("plain", `"\/`)
	f.Add("\x00\x1f\x7f", "é\u2028\U0001f600")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			t.Skip()
		}
		var e sdk.Edits
		e.AddSymlink(a, b)
		e.EnvMode = map[string]string{a: b}
		got := read(t, e.JSON())
		if got.Symlinks[0] != (sdk.Symlink{Target: a, Link: b}) || got.EnvMode[a] != b {
			t.Fatalf("%q %q became %+v", a, b, got)
		}
	})
}

// FuzzUnquote holds Unquote against encoding/json, for text without bytes that
// are not UTF-8: no answer of a host has them.
func FuzzUnquote(f *testing.F) {
	for _, s := range []string{`"a"`, `"\u00e9\ud83d\ude00\ud83d"`, `"\ud83dx\ude00"`, `"\"\\\/\b\f\n\r\t"`, `"a"b"`, `"\x"`, `"\u12"`, `"\`, `1`, `"`, "\"\n\"", `"\ud83d\u0041"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !utf8.Valid(doc) || len(bytes.TrimSpace(doc)) != len(doc) {
			t.Skip()
		}
		got, ok := sdk.Unquote(doc)
		var want string
		err := json.Unmarshal(doc, &want)
		if wantOK := err == nil && doc[0] == '"'; ok != wantOK || ok && got != want {
			t.Fatalf("Unquote(%q) = %q, %v; json has %q, %v", doc, got, ok, want, err)
		}
	})
}
