// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"os"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestEditsShapeIsEdits: the fields that the strict reader knows and those of
// the Go type are the same, with the same types.
func TestEditsShapeIsEdits(t *testing.T) {
	compareShape(t, "edits", editsShape, reflect.TypeFor[Edits](), true)
}

// TestSpecShapeIsTheSpec: the members that are read are those of the
// runtime-spec, with its types. Others need not be known.
func TestSpecShapeIsTheSpec(t *testing.T) {
	compareShape(t, "config.json", specShape, reflect.TypeFor[specs.Spec](), false)
}

func compareShape(t *testing.T, at string, sh *shape, typ reflect.Type, whole bool) {
	t.Helper()
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	want := absent
	switch {
	case typ == reflect.TypeFor[os.FileMode](), typ.Kind() == reflect.Uint32:
		want = number
		if sh.bits != 32 {
			t.Errorf("%s: it has %d bits", at, sh.bits)
		}
	case typ.Kind() == reflect.Int64, typ.Kind() == reflect.Int:
		want = number
		if sh.bits != 64 {
			t.Errorf("%s: it has %d bits", at, sh.bits)
		}
	case typ.Kind() == reflect.String:
		want = text
	case typ.Kind() == reflect.Bool:
		want = boolean
	case typ.Kind() == reflect.Slice:
		want = array
		compareShape(t, at+"[]", sh.each, typ.Elem(), whole)
	case typ.Kind() == reflect.Map:
		want = object
		if sh.members != nil {
			t.Errorf("%s: a map with known members", at)
			return
		}
		compareShape(t, at+".*", sh.each, typ.Elem(), whole)
	case typ.Kind() == reflect.Struct:
		want = object
		fields := make(map[string]reflect.Type)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			fields[name] = typ.Field(i).Type
		}
		for _, m := range sh.members {
			field, ok := fields[m.name]
			if !ok {
				t.Errorf("%s.%s: the type has no such field", at, m.name)
				continue
			}
			delete(fields, m.name)
			compareShape(t, at+"."+m.name, m.shape, field, whole)
		}
		if whole && len(fields) > 0 {
			t.Errorf("%s: the shape lacks %v", at, fields)
		}
	}
	if sh.kind != want {
		t.Errorf("%s: the shape is %s, the type %s", at, sh.kind, typ)
	}
}
