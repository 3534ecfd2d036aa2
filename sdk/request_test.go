// SPDX-License-Identifier: Apache-2.0

//go:build !wasm && !tinygo.wasm

package sdk

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

const askingManifest = `{"requests":[
	{"env":["ACME_VISIBLE_DEVICES"],"annotations":["acme.example/devices"],"mountsUnder":["/var/run/acme"]},
	{"name":"channels","mountsUnder":["/var/run/acme/channels"]}]}`

// The grammar of lists is in the test that holds this package and the host's against
// each other, in testscripts.
func TestRequestOfARecordedMachine(t *testing.T) {
	m, err := OpenMachine(record(t, map[string]string{"root/etc/x": ""}))
	if err != nil {
		t.Fatal(err)
	}
	m.Manifest = []byte(askingManifest)
	env := []string{"ACME_VISIBLE_DEVICES=2-3,0"}
	null := []Mount{{Destination: "/var/run/acme/7", Source: "/dev/null"}, {Destination: "/var/run/acme/channels/1", Source: "/dev/null"}}
	accept := map[string]string{"accept_volume_mounts": "true"}
	for _, test := range []struct {
		rule    string
		request Request
		name    string
		want    Devices
	}{
		{"nothing", Request{}, "", Devices{}},
		{"a variable", Request{Env: env}, "", Devices{"ACME_VISIBLE_DEVICES", []string{"2", "3", "0"}}},
		{"void", Request{Env: []string{"ACME_VISIBLE_DEVICES=0,void"}}, "", Devices{}},
		{"an annotation", Request{Env: env, Annotations: map[string]string{"acme.example/devices": "all"}}, "", Devices{"annotation acme.example/devices", []string{"all"}}},
		{"mounts that are not accepted", Request{Env: env, Mounts: null}, "", Devices{"ACME_VISIBLE_DEVICES", []string{"2", "3", "0"}}},
		{"mounts", Request{Env: env, Mounts: null, Config: accept}, "", Devices{"/var/run/acme", []string{"7"}}},
		{"mounts of another request", Request{Env: env, Mounts: null, Config: accept}, "channels", Devices{"/var/run/acme/channels", []string{"1"}}},
	} {
		got, ok, err := m.Context(test.request).Request(test.name)
		if err != nil || !reflect.DeepEqual(got, test.want) || ok != (test.want.Place != "") {
			t.Errorf("%s: %+v, %v, %v", test.rule, got, ok, err)
		}
	}
	if _, _, err := (&Machine{}).Context(Request{Env: env}).Request(""); !errors.Is(err, Denied) {
		t.Errorf("without a manifest: %v", err)
	}
	_, _, err = m.Context(Request{Env: env}).Request("other")
	if want := `request "other": not granted to this mode`; !errors.Is(err, Denied) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}

	// A malformed list is refused before the mode runs.
	Register(func(*Context) (*Edits, error) { t.Error("the mode ran"); return nil, nil })
	bad := Request{Env: []string{"ACME_VISIBLE_DEVICES=3-1"}}
	if result, reason, _ := m.Discover(bad); result != resultFailed || reason != `ACME_VISIBLE_DEVICES: "3-1" is a range that goes down; write 1-3` {
		t.Errorf("result %d, %s", result, reason)
	}
	_, _, err = m.Context(bad).Request("")
	if want := `request "": is malformed, and a host would have refused the container`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestRequestOfARecording(t *testing.T) {
	m, err := OpenMachine(record(t, map[string]string{"queries": "request host \"\" \"ACME_VISIBLE_DEVICES\" \"0\" \"1\"\nrequest host \"channels\" not-found\n"}))
	if err != nil {
		t.Fatal(err)
	}
	m.Manifest = []byte(askingManifest)
	recorded := Devices{"ACME_VISIBLE_DEVICES", []string{"0", "1"}}
	for _, test := range []struct {
		rule    string
		request Request
		want    Devices
	}{
		{"as it was", Request{}, recorded},
		{"another variable changes nothing", Request{Env: []string{"OTHER=1"}}, recorded},
		{"what is given stands before", Request{Env: []string{"ACME_VISIBLE_DEVICES=7"}}, Devices{"ACME_VISIBLE_DEVICES", []string{"7"}}},
		{"asking for nothing does too", Request{Env: []string{"ACME_VISIBLE_DEVICES="}}, Devices{}},
		{"a whole container does", Request{Spec: []byte("{}")}, Devices{}},
	} {
		if got, _, err := m.Context(test.request).Request(""); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v", test.rule, got, err)
		}
	}
	if _, ok, err := m.Context(Request{}).Request("channels"); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestAnswersOfRequestAreFramed(t *testing.T) {
	for _, answer := range []string{"", "A", "A\x00", "A\x000"} {
		c := &Context{ask: func(Op, Root, string) ([]byte, Code) { return []byte(answer), 0 }}
		if _, _, err := c.Request(""); err == nil || !strings.Contains(err.Error(), `request "": the answer is malformed`) {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

func TestChoose(t *testing.T) {
	machine := []string{"0", "1", "10"}
	for asked, want := range map[string]string{"all": "0,1,10", "none": "", "10,0": "0,10", "1": "1"} {
		got, err := Devices{"ACME_VISIBLE_DEVICES", strings.Split(asked, ",")}.Choose(machine)
		if err != nil || strings.Join(got, ",") != want {
			t.Errorf("%s: %v, %v", asked, got, err)
		}
	}
	_, err := Devices{"ACME_VISIBLE_DEVICES", []string{"0", `a"b`}}.Choose(machine)
	if want := `ACME_VISIBLE_DEVICES: "a\"b" is not a device of this machine; ask for all, none or some of 0,1,10`; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
