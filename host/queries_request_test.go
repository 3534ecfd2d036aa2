// SPDX-License-Identifier: Apache-2.0

package host

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// asking is a module that asks by everything there is, and by a second request.
const asking = `{"requests":[
	{"env":["ACME_VISIBLE_DEVICES","ACME_DEVICES"],"annotations":["acme.example/devices"],"mountsUnder":["/var/run/acme"]},
	{"name":"channels","env":["ACME_CHANNELS"],"mountsUnder":["/var/run/acme/channels"]}],"grants":{},"edits":{}}`

// H-80, H-81, H-82, H-84 and H-85, and H-67: what the query answers, and whether the module is run at
// all, agree.
func TestRequests(t *testing.T) {
	const (
		env     = `"process":{"env":["ACME_VISIBLE_DEVICES=0-1","SECRET=x"]}`
		noted   = `"annotations":{"acme.example/devices":"2"}`
		mounted = `"mounts":[{"source":"/dev/null","destination":"/var/run/acme/3"}]`
		root    = `"process":{"env":["ACME_VISIBLE_DEVICES=0-1"],"capabilities":{"bounding":["CAP_SYS_ADMIN"]}}`
	)
	open := func(*Config) {}
	mounts := func(c *Config) { c.ModeTables = map[string]map[string]string{"m": {"accept_volume_mounts": "true"}} }
	closed := func(c *Config) { c.AcceptEnvWhenUnprivileged = false }
	both := func(c *Config) { mounts(c); closed(c) }
	for _, test := range []struct {
		rule           string
		spec           string
		policy         func(*Config)
		want, channels string
		applies        bool
	}{
		{"nothing is asked for", `{}`, open, "-1", "-1", false},
		{"a variable", `{` + env + `}`, open, "ACME_VISIBLE_DEVICES|0|1|", "-1", true},
		{"an annotation is nearer", `{` + env + `,` + noted + `}`, open, "annotation acme.example/devices|2|", "-1", true},
		{"mounts that are not accepted do not count", `{` + env + `,` + mounted + `}`, open, "ACME_VISIBLE_DEVICES|0|1|", "-1", true},
		{"and are no request alone", `{` + mounted + `}`, open, "-1", "-1", false},
		{"mounts are nearest", `{` + env + `,` + noted + `,` + mounted + `}`, mounts, "/var/run/acme|3|", "-1", true},
		{"void costs nothing", `{"process":{"env":["ACME_VISIBLE_DEVICES=void"]}}`, open, "-1", "-1", false},
		{"nor does an empty list", `{"process":{"env":["ACME_VISIBLE_DEVICES=, ,"]}}`, open, "-1", "-1", false},
		{"none is something", `{"process":{"env":["ACME_VISIBLE_DEVICES=0,none"]}}`, open, "ACME_VISIBLE_DEVICES|none|", "-1", true},
		{"all", `{"process":{"env":["ACME_VISIBLE_DEVICES=0,all"]}}`, open, "ACME_VISIBLE_DEVICES|all|", "-1", true},
		{"the image does not count", `{` + env + `,` + noted + `}`, closed, "-1", "-1", false},
		{"whatever the variable is called", `{"process":{"env":["ACME_DEVICES=0","ACME_CHANNELS=1"]}}`, closed, "-1", "-1", false},
		{"but in a privileged container", `{` + root + `}`, closed, "ACME_VISIBLE_DEVICES|0|1|", "-1", true},
		{"and mounts do", `{` + env + `,` + noted + `,` + mounted + `}`, both, "/var/run/acme|3|", "-1", true},
		{"a request of another kind", `{"process":{"env":["ACME_CHANNELS=7"]}}`, open, "-1", "ACME_CHANNELS|7|", true},
		{"whose folder is nearer", `{` + env + `,"mounts":[{"source":"/dev/null","destination":"/var/run/acme/channels/5"}]}`, mounts,
			"ACME_VISIBLE_DEVICES|0|1|", "/var/run/acme/channels|5|", true},
	} {
		c := installed(t, asking, "")
		test.policy(&c)
		req := requestOf(t, test.spec)
		applies, err := c.Applies("m", req)
		if err != nil || applies != test.applies {
			t.Errorf("%s: applies %v, %v", test.rule, applies, err)
		}
		r := runOver(t, "", c, req)
		if got := said(r.Query(opRequest, rootHost, "")); got != test.want {
			t.Errorf("%s: got %s, want %s", test.rule, got, test.want)
		}
		if got := said(r.Query(opRequest, rootHost, "channels")); got != test.channels {
			t.Errorf("%s: channels: got %s, want %s", test.rule, got, test.channels)
		}
		for key, want := range map[string]int32{"none": CodeDenied, "ACME_VISIBLE_DEVICES": CodeDenied, "\xff": CodeInvalid} {
			if _, code := r.Query(opRequest, rootHost, key); code != want {
				t.Errorf("%s: %q: %d", test.rule, key, code)
			}
		}
		if answer, code := r.Query(opEnv, rootHost, "ACME_VISIBLE_DEVICES"); code != CodeDenied {
			t.Errorf("%s: a request grants no other query: %s", test.rule, said(answer, code))
		}
	}
}

// H-83: the administrator may take places and whole requests away.
func TestRequestsAreCutDown(t *testing.T) {
	req := requestOf(t, `{"process":{"env":["ACME_VISIBLE_DEVICES=0","ACME_DEVICES=1","ACME_CHANNELS=2"]},"annotations":{"acme.example/devices":"3"},
		"mounts":[{"source":"/dev/null","destination":"/var/run/acme/channels/4"}]}`)
	for accepted, want := range map[string]string{
		`{"requests":[{"env":["ACME_DEVICES"]},{"name":"channels","env":["ACME_CHANNELS"]}]}`: "ACME_DEVICES|1|/ACME_CHANNELS|2|",
		`{"requests":[{"name":"channels","env":["ACME_DEVICES","ACME_CHANNELS"]}]}`:           "-2/ACME_CHANNELS|2|", // not of this request
		`{"requests":[{"env":["OTHER"]}]}`:                                                    "-1/-2",
		// A folder of a request that was taken away still has its mounts.
		`{"requests":[{"mountsUnder":["/var/run/acme"]}]}`: "-1/-2",
		`{}`: "-2/-2",
	} {
		c := installed(t, asking, accepted)
		c.ModeTables = map[string]map[string]string{"m": {"accept_volume_mounts": "true"}}
		r := runOver(t, "", c, req)
		if got := said(r.Query(opRequest, rootHost, "")) + "/" + said(r.Query(opRequest, rootHost, "channels")); got != want {
			t.Errorf("%s: got %s, want %s", accepted, got, want)
		}
		applies, err := c.Applies("m", req)
		if err != nil || applies != strings.Contains(want, "|") {
			t.Errorf("%s: applies %v, %v", accepted, applies, err)
		}
	}
}

// H-79: the create fails, with the item and nothing else of the container, and
// before anything is run.
func TestMalformedRequestsAreRefused(t *testing.T) {
	for spec, want := range map[string]string{
		`{"process":{"env":["SECRET=x","ACME_VISIBLE_DEVICES=secret,3-1"]}}`:    `ACME_VISIBLE_DEVICES: "3-1" is a range that goes down; write 1-3`,
		`{"process":{"env":["ACME_VISIBLE_DEVICES=0","ACME_CHANNELS=0-9999"]}}`: `ACME_CHANNELS: "0-9999" is one too many: a list has at most 4096 items`,
		`{"annotations":{"acme.example/devices":"a b"}}`:                        `annotation acme.example/devices: "a b" holds what no id has; write visible ASCII, and commas between ids`,
	} {
		c := installed(t, asking, "")
		req := requestOf(t, spec)
		if _, err := c.Applies("m", req); err == nil || err.Error() != "mode m: "+want {
			t.Errorf("applies: %v\nwant %s", err, want)
		}
		m := mustManifest(t, c.Installed[0].Manifest)
		if _, _, err := NewTrial(DefaultConfig(), "m", m, req, "", slog.New(slog.NewTextHandler(io.Discard, nil))); err == nil || err.Error() != want {
			t.Errorf("trial: %v\nwant %s", err, want)
		}
		c.AcceptEnvWhenUnprivileged = false // who does not ask is not refused
		if applies, err := c.Applies("m", req); applies || err != nil {
			t.Errorf("%s: applies %v, %v", spec, applies, err)
		}
	}
}

func TestAskingsSayWhatCounts(t *testing.T) {
	req := requestOf(t, `{"process":{"env":["ACME_VISIBLE_DEVICES=0","ACME_CHANNELS=void"]},"mounts":[{"source":"/dev/null","destination":"/var/run/acme/3"}]}`)
	c := installed(t, asking, "")
	list, uncounted, err := c.Askings("m", req)
	if err != nil || len(list) != 2 || list[0].Place != "ACME_VISIBLE_DEVICES" || !slices.Equal(list[0].IDs, []string{"0"}) ||
		list[1].Request != "channels" || len(list[1].IDs) != 0 ||
		!slices.Equal(uncounted, []string{"mounts below /var/run/acme do not count, since accept_volume_mounts in [modes.m] is not true"}) {
		t.Errorf("%+v, %q, %v", list, uncounted, err)
	}
	c.AcceptEnvWhenUnprivileged = false
	list, uncounted, err = c.Askings("m", req)
	if err != nil || len(list) != 0 || len(uncounted) != 2 ||
		uncounted[0] != "the variable ACME_VISIBLE_DEVICES does not count, since the container is not privileged and accept_env_when_unprivileged is false" {
		t.Errorf("%+v, %q, %v", list, uncounted, err)
	}
	c = installed(t, asking, `{"requests":[{"mountsUnder":["/var/run/acme"]}]}`)
	_, uncounted, err = c.Askings("m", req)
	if err != nil || len(uncounted) != 2 ||
		uncounted[0] != "the variable ACME_VISIBLE_DEVICES does not count, since the administrator has not accepted it for this module" {
		t.Errorf("%q, %v", uncounted, err)
	}
	for place, want := range map[string]string{"A": "the variable A", "annotation a/b": "the annotation a/b", "/run/x": "mounts below /run/x"} {
		if got := PlaceInWords(place); got != want {
			t.Errorf("%s: %s", place, got)
		}
	}
}

// M-21: what is not a request is no manifest.
func TestRequestsOfAManifestAreChecked(t *testing.T) {
	for requests, want := range map[string]string{
		`[{}]`:                          `"requests[0]" names no place; write one of env, annotations, mountsUnder`,
		`[{"name":"x"}]`:                `"requests[0]" names no place; write one of env, annotations, mountsUnder`,
		`[{"env":["A"]},{"env":["B"]}]`: `"requests[1].name" is "", which "requests[0].name" has already`,
		`[{"env":["A","A"]}]`:           `"requests[0].env[1]" is "A", which "requests[0].env[0]" has already`,
		`[{"env":["A_*"]}]`:             `"requests[0].env[0]" is "A_*", not the name of a variable`,
		`[{"name":"a b","env":["A"]}]`:  `"requests[0].name" is "a b", not letters, digits, dashes, dots and underscores`,
		`[{"annotations":[""]}]`:        `"requests[0].annotations[0]" is "", not the key of an annotation`,
		`[{"mountsUnder":["/a/"]}]`:     `"requests[0].mountsUnder[0]" is "/a/", not the absolute path of a folder in its shortest form`,
		`[{"mountsUnder":["/"]}]`:       `"requests[0].mountsUnder[0]" is "/", not the absolute path of a folder in its shortest form`,
		`[{"mountsUnder":["/a"]},{"name":"x","mountsUnder":["/a/b","/a"]}]`: `"requests[1].mountsUnder[1]" is "/a", which "requests[0].mountsUnder[0]" has already`,
		`[{"env":"A"}]`:        `"requests[0].env" on line 1 is a string, not an array`,
		`[{"variable":["A"]}]`: `"requests[0].variable" on line 1 is not a field of the manifest`,
	} {
		text := `{"abi":{"major":1,"minor":0},"name":"a.b","version":"0.0.0","requests":` + requests + `,"grants":{},"edits":{}}`
		if _, err := ParseManifest([]byte(text)); err == nil || err.Error() != "the manifest: "+want {
			t.Errorf("%s: %v\nwant %s", requests, err, want)
		}
	}
	m := mustManifest(t, installed(t, asking, "").Installed[0].Manifest)
	want := []string{
		"runs for a container that asks for devices by the variable ACME_VISIBLE_DEVICES, and sees its list",
		"runs for a container that asks for devices by the variable ACME_DEVICES, and sees its list",
		"runs for a container that asks for devices by the annotation acme.example/devices, and sees its list",
		"runs for a container that asks for devices by mounts below /var/run/acme, and sees its list",
		"runs for a container that asks for devices by the variable ACME_CHANNELS, and sees its list channels",
		"runs for a container that asks for devices by mounts below /var/run/acme/channels, and sees its list channels",
	}
	if got := m.Words(); !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	if g, err := ParseGrants("x", []byte(m.GrantsText)); err != nil || !slices.Equal(g.Words(), want) {
		t.Errorf("accepted as a whole: %v", err)
	}
}
