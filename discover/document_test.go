// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"testing"

	"github.com/tenon-runtime/tenon/discover"
)

func TestReadJSONIsStrict(t *testing.T) {
	shape := discover.JSONObject(
		discover.JSONMember{Name: "name", Shape: discover.JSONText},
		discover.JSONMember{Name: "list", Shape: discover.JSONList(discover.JSONText)},
		discover.JSONMember{Name: "in", Shape: discover.JSONList(discover.JSONObject(
			discover.JSONMember{Name: "n", Shape: discover.JSONNumber}, discover.JSONMember{Name: "b", Shape: discover.JSONBool}))},
	)
	for _, test := range []struct{ doc, want string }{
		{``, `the paper: it is empty`},
		{`[]`, `the paper: it is an array, not an object`},
		{`{"nam":""}`, `the paper: "nam" on line 1 is not a field of the paper`},
		{"{\n\"in\":[{},{\"x\":1}]}", `the paper: "in[1].x" on line 2 is not a field of the paper`},
		{`{"name":"","name":""}`, `the paper: "name" stands twice, again on line 1`},
		{`{"name":1}`, `the paper: "name" on line 1 is a number, not a string`},
		{`{"name":null}`, `the paper: "name" on line 1 is null, not a string`},
		{`{"list":["a",{}]}`, `the paper: "list[1]" on line 1 is an object, not a string`},
		{`{"in":[{"n":1.5}]}`, `the paper: "in[0].n" on line 1 is 1.5, not a whole number in range`},
		{`{"in":[{"b":"true"}]}`, `the paper: "in[0].b" on line 1 is a string, not true or false`},
		{`{} {}`, `the paper: line 1: there is more after the end of the document`},
		{"{\"name\":\"\xff\"}", `the paper is not UTF-8`},
		{`{"name":"\ud800"}`, `the paper: line 1: half a surrogate pair`},
	} {
		if _, err := discover.ReadJSON([]byte(test.doc), "the paper", shape); err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.doc, err, test.want)
		}
	}
	v, err := discover.ReadJSON([]byte(` {"in":[{"n":-7,"b":true},{}],"list":["\u00e4",""],"name":"x"} `), "the paper", shape)
	if err != nil {
		t.Fatal(err)
	}
	in := v.Member("in").Items()
	if v.Member("name").Text() != "x" || len(in) != 2 || in[0].Member("n").Int() != -7 || !in[0].Member("b").Bool() ||
		in[1].Member("b").Given() || in[1].Member("n").Int() != 0 || v.Member("list").Texts()[0] != "ä" {
		t.Errorf("read as %v %v", in, v.Member("list").Texts())
	}
}

// A mount's source shows what lies below it, so the floor holds for every folder
// above a secret as well.
func TestForbiddenSourceCoversWhatHoldsASecret(t *testing.T) {
	for p, want := range map[string]bool{
		"/": true, "/etc": true, "/etc/ssl": true, "/etc/ssl/private": true, "/etc/ssl/private/x": true, "/etc/ssl/certs": false,
		"/etc/shadow-": true, "/etc/sudoers.d": true, "/etc/vulkan": false, "/sys/fs": true, "/sys/class": false, "/sys/kernel": true,
		"/sys/devices/pci0000:00/0000:00:02.0/rom": true, "/var/lib": true, "/var/lib/docker/x": true, "/var/lib/dockerish": false,
		"/var/run/docker.sock": true, "/run/docker.sock": true, "/run/nvidia-persistenced/socket": false, "/run": true, "/var/run": true,
		"/home/a": true, "/root": true, "/rootfs": false, "/proc": true, "/proc/1": true, "/proc/driver/nvidia": false, "/opt/x/podman.sock": true,
		"/usr": false, "/usr/lib": false, "/dev/dri": false, "/tmp/x": false,
	} {
		if got := discover.ForbiddenSource(p); got != want {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
		if discover.ForbiddenQuery(p) && !want {
			t.Errorf("%s: no query may see it, and a mount may", p)
		}
	}
}
