// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// acme is a manifest with something of everything.
const acme = `{
  "abi": {"major": 1, "minor": 0}, "name": "acme.example/npu", "version": "1.4.2-rc.1+b7", "license": "Apache-2.0", "source": "https://acme.example/npu",
  "applies": {"any": [{"env": "ACME_VISIBLE_DEVICES"}, {"annotation": "acme.example/devices"}, {"mountUnder": "/var/run/acme"}]},
  "grants": {"env": ["ACME_*"], "annotations": ["acme.example/*"], "spec": ["/process/args", "/hooks/prestart/*/path"], "mounts": ["/var/run/acme"], "config": true,
    "fs": [{"root": "host", "ops": ["stat", "glob"], "paths": ["/dev/acme*"]}, {"root": "driver", "ops": ["read", "which"], "paths": ["/opt/acme/**"]}], "ld": ["libacme*"]},
  "edits": {"env": ["ACME_*"], "annotations": ["acme.example/injected"], "devices": ["/dev/acme*"], "deviceRules": ["c 240:*", "b 8:0"],
    "mountsFrom": ["/opt/acme"], "mountsTo": ["/opt/acme", "/usr/lib"], "mountsWritable": ["/opt/acme/state"], "symlinks": true, "ldcache": true, "additionalGids": true, "intelRdt": true,
    "netDevices": ["acme*"], "builtinHooks": ["chmod"], "remove": ["env"], "removeHooks": ["acme-hook"]},
  "limits": {"memoryPages": 64, "wallMs": 500, "queries": 100}
}`

func mustManifest(t testing.TB, text string) Manifest {
	t.Helper()
	m, err := ParseManifest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestManifestInWords(t *testing.T) {
	want := `acme.example/npu 1.4.2-rc.1+b7
runs for a container with the variable ACME_VISIBLE_DEVICES
runs for a container with the annotation acme.example/devices
runs for a container with a mount at or below /var/run/acme
needs at most 64 pages of memory
needs at most 500 ms
needs at most 100 queries
may read the variable ACME_* of the container
may read the annotation acme.example/* of the container
may read /process/args of config.json, with all below it
may read /hooks/prestart/*/path of config.json, with all below it
may see the container's mounts at /var/run/acme and below
may read the mode's own table of the config
may look at, search: /dev/acme* on the machine
may read, look for the program: /opt/acme/** in the driver root
may look up the library libacme*
may set the variable ACME_* of the container
may set the annotation acme.example/injected of the container
may give the device /dev/acme*
may allow devices "c 240:*" without a node
may allow devices "b 8:0" without a node
may mount from /opt/acme of the machine and below, read-only
may mount from /opt/acme/state of the machine and below so that the container can write
may mount to /opt/acme of the container and below
may mount to /usr/lib of the container and below
may make links where it may mount to
may add folders to the container's ld.so.cache
may add groups to the container's process
may set the container's share of cache and memory bandwidth
may move the network interface acme* of the machine into the container
may add the built-in hook chmod
may take out of the container those variables that it may give
may take out of the container hooks of the program acme-hook`
	if got := mustManifest(t, acme).String(); got != want {
		t.Errorf("got\n%s", got)
	}
	small := mustManifest(t, minimal)
	if got := small.Words(); !slices.Equal(got, []string{"runs for every container"}) {
		t.Errorf("nothing granted is worded %q", got)
	}
}

const minimal = `{"abi":{"major":1,"minor":0},"name":"a.b","version":"0.0.0","grants":{},"edits":{}}`

// Each grant that is taken away or added is a line of its own.
func TestManifestDifferences(t *testing.T) {
	before := mustManifest(t, acme)
	after := mustManifest(t, strings.NewReplacer(`"/dev/acme*"]}, {`, `"/dev/acme*", "/dev/npu"]}, {`, `"symlinks": true, `, ``, `1.4.2-rc.1`, `2.0.0`).Replace(acme))
	want := []string{"- may make links where it may mount to", "+ may look at, search: /dev/npu on the machine"}
	if got := after.Differences(before); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := before.Differences(before); len(got) != 0 {
		t.Errorf("no difference is %q", got)
	}
}

// M-17, M-18: what is not described, stands twice or is missing is refused.
func TestManifestRefuses(t *testing.T) {
	with := func(old, new string) string {
		if !strings.Contains(acme, old) {
			t.Fatalf("the manifest has no %s", old)
		}
		return strings.Replace(acme, old, new, 1)
	}
	for _, test := range []struct{ text, want string }{
		{"", `the manifest: it is empty`},
		{`[]`, `the manifest: it is an array, not an object`},
		{strings.Repeat(" ", MaxManifest+1), `the manifest has 16385 bytes, more than 16384`},
		{acme + "x", `the manifest: line 10: there is more after the end of the document`},
		{with(`"limits"`, `"limit"`), `the manifest: "limit" on line 9 is not a field of the manifest`},
		{with(`"config": true`, `"files": []`), `the manifest: "grants.files" on line 4 is not a field of the manifest`},
		{with(`"config": true`, `"config": "yes"`), `the manifest: "grants.config" on line 4 is a string, not true or false`},
		{with(`"config": true`, `"config": true, "config": true`), `the manifest: "grants.config" stands twice, again on line 4`},
		{with(`"removeHooks": ["acme-hook"]`, `"hookPaths": ["/bin/sh"]`), `the manifest: "edits.hookPaths" on line 8 is not a field of the manifest`},
		{with(`["stat", "glob"]`, `"stat"`), `the manifest: "grants.fs[0].ops" on line 5 is a string, not an array`},
		{with(`["stat", "glob"]`, `["stat", "walk"]`), `the manifest: "grants.fs[0].ops[1]" is "walk", not one of stat, readdir, read, readlink, glob, realpath, which`},
		{with(`["stat", "glob"]`, `[]`), `the manifest: "grants.fs[0]" needs ops and paths`},
		{with(`"root": "host"`, `"root": "machine"`), `the manifest: "grants.fs[0].root" is "machine", not one of host, container, driver`},
		{with(`["/dev/acme*"]}, {`, `["/dev/../acme"]}, {`), `the manifest: "grants.fs[0].paths[0]" is "/dev/../acme", not an absolute path in its shortest form`},
		{with(`["/dev/acme*"]}, {`, `["dev/acme"]}, {`), `the manifest: "grants.fs[0].paths[0]" is "dev/acme", not an absolute path in its shortest form`},
		{with(`["/dev/acme*"]}, {`, `["/dev/a**"]}, {`), `the manifest: "grants.fs[0].paths[0]" is "/dev/a**", which has ** within a segment; let it be a segment of its own`},
		{with(`["/dev/acme*"]}, {`, `["/dev/[a"]}, {`), `the manifest: "grants.fs[0].paths[0]" is "/dev/[a", which is not a pattern; mind its brackets and backslashes`},
		{with(`["/dev/acme*"]}, {`, `["/etc/shadow"]}, {`), `the manifest: "grants.fs[0].paths[0]" is "/etc/shadow", which no module may see`},
		{with(`["/process/args"`, `[""`), `the manifest: "grants.spec[0]" is the whole config.json, which is granted to nobody; name a part of it`},
		{with(`["/process/args"`, `["/"`), `the manifest: "grants.spec[0]" is "/", which names no member of config.json`},
		{with(`["/process/args"`, `["/**"`), `the manifest: "grants.spec[0]" is "/**", which names no member of config.json`},
		{with(`["/process/args"`, `["process"`), `the manifest: "grants.spec[0]" is "process", not a JSON pointer`},
		{with(`"env": ["ACME_*"], "annotations": ["acme.example/*"]`, `"env": ["A=B"]`), `the manifest: "grants.env[0]" is "A=B", not a name`},
		{with(`"env": ["ACME_*"], "annotations": ["acme.example/*"]`, `"annotations": [""]`), `the manifest: "grants.annotations[0]" is "", not a name`},
		{with(`["libacme*"]`, `["/lib/libacme.so"]`), `the manifest: "grants.ld[0]" is "/lib/libacme.so", not a soname; of the signs of a pattern it may have *`},
		{with(`["libacme*"]`, `["libacme.so.?"]`), `the manifest: "grants.ld[0]" is "libacme.so.?", not a soname; of the signs of a pattern it may have *`},
		{with(`"c 240:*"`, `"c *:*"`), `the manifest: "edits.deviceRules[0]" is "c *:*", not a type and numbers such as "c 195:*"; a block device needs both numbers`},
		{with(`"b 8:0"`, `"b 8:*"`), `the manifest: "edits.deviceRules[1]" is "b 8:*", not a type and numbers such as "c 195:*"; a block device needs both numbers`},
		{with(`"b 8:0"`, `"b 08:0"`), `the manifest: "edits.deviceRules[1]" is "b 08:0", not a type and numbers such as "c 195:*"; a block device needs both numbers`},
		{with(`"remove": ["env"]`, `"remove": ["hooks"]`), `the manifest: "edits.remove[0]" is "hooks", not one of devices, env, mounts`},
		{with(`"mountsFrom": ["/opt/acme"]`, `"mountsFrom": ["/opt/acme/"]`), `the manifest: "edits.mountsFrom[0]" is "/opt/acme/", not an absolute path in its shortest form`},
		{with(`"name": "acme.example/npu"`, `"name": "npu"`), `the manifest: "name" is "npu", not a DNS name and maybe a path, such as vendor.example/npu`},
		{with(`"name": "acme.example/npu"`, `"name": "acme.example/"`), `the manifest: "name" is "acme.example/", not a DNS name and maybe a path, such as vendor.example/npu`},
		{with(`"name": "acme.example/npu", `, ``), `the manifest: "name" is missing`},
		{with(`1.4.2-rc.1+b7`, `1.4`), `the manifest: "version" is "1.4", not a version of semver 2.0.0, such as 1.4.2`},
		{with(`1.4.2-rc.1+b7`, `1.04.2`), `the manifest: "version" is "1.04.2", not a version of semver 2.0.0, such as 1.4.2`},
		{with(`https://acme.example/npu`, `file:///etc`), `the manifest: "source" is "file:///etc", not a URL of https or http`},
		{with(`{"annotation": "acme.example/devices"}`, `{"annotation": "x", "env": "Y"}`), `the manifest: "applies.any[1]" has 2 conditions; write one of env, annotation, mountUnder`},
		{with(`{"annotation": "acme.example/devices"}`, `{}`), `the manifest: "applies.any[1]" has 0 conditions; write one of env, annotation, mountUnder`},
		{with(`{"mountUnder": "/var/run/acme"}`, `{"mountUnder": "run"}`), `the manifest: "applies.any[2].mountUnder" is "run", not an absolute path in its shortest form`},
		{with(`{"any": [{"env": "ACME_VISIBLE_DEVICES"}, {"annotation": "acme.example/devices"}, {"mountUnder": "/var/run/acme"}]}`, `{"any": []}`),
			`the manifest: "applies.any" has no item, so the module would run for no container; leave applies out for every container`},
		{with(`"wallMs": 500`, `"wallMs": 0`), `the manifest: "limits.wallMs" is 0, not 1 to 600000`},
		{with(`"major": 1`, `"major": 2`), `the manifest: "abi.major" is 2; this tenon offers ABI 1.0`},
		// H-68: both numbers are named.
		{with(`"minor": 0`, `"minor": 3`), `the manifest: "abi.minor" asks for ABI 1.3, and this tenon offers 1.0; install a newer tenon`},
	} {
		_, err := ParseManifest([]byte(test.text))
		if err == nil || err.Error() != test.want {
			t.Errorf("got %v\nwant %s", err, test.want)
		}
	}
}

func TestAcceptedGrantsAreReadAsStrictly(t *testing.T) {
	m := mustManifest(t, acme)
	g, err := ParseGrants("x.toml", []byte(m.GrantsText))
	if err != nil || !slices.Equal(g.Words(), m.Grants.Words()) {
		t.Errorf("all of a manifest, accepted: %v, %q", err, g.Words())
	}
	for text, want := range map[string]string{
		`{"grants":{"env":["A"]},"name":"x"}`: `x.toml: "name" on line 1 is not a field of x.toml`,
		`{"edits":{"mountsTo":["x"]}}`:        `x.toml: "edits.mountsTo[0]" is "x", not an absolute path in its shortest form`,
	} {
		if _, err := ParseGrants("x.toml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// H-67: a container for which no condition holds is not for the module.
func TestManifestApplies(t *testing.T) {
	m := mustManifest(t, acme)
	closed := DefaultConfig()
	closed.AcceptEnvWhenUnprivileged = false
	for spec, want := range map[string][2]bool{ // with the default config, and where the environment does not count
		`{}`: {false, false},
		`{"process":{"env":["ACME_VISIBLE_DEVICES=0"]}}`:                                               {true, false},
		`{"process":{"env":["ACME_VISIBLE_DEVICES=0"],"capabilities":{"bounding":["CAP_SYS_ADMIN"]}}}`: {true, true},
		`{"process":{"env":["ACME_VISIBLE_DEVICES="]}}`:                                                {false, false},
		`{"annotations":{"acme.example/devices":""}}`:                                                  {true, true},
		`{"mounts":[{"destination":"var/run/acme/x/"}]}`:                                               {true, true},
		`{"mounts":[{"destination":"/var/run/acme-not"},{"destination":"/var/run"}]}`:                  {false, false},
	} {
		req := requestOf(t, spec)
		if got := [2]bool{m.AppliesTo(DefaultConfig(), req), m.AppliesTo(closed, req)}; got != want {
			t.Errorf("%s: %v", spec, got)
		}
	}
	every := mustManifest(t, minimal)
	if !every.AppliesTo(DefaultConfig(), requestOf(t, `{}`)) {
		t.Error("a manifest without applies is for every container")
	}
}

func TestManifestLimitsOnlyLower(t *testing.T) {
	host := DefaultConfig().Limits
	got := ManifestLimits{MemoryPages: 64, WallMS: 600_000}.Within(host)
	if got.MemoryPages != 64 || got.WallMS != host.WallMS || got.Queries != host.Queries {
		t.Errorf("got %+v", got)
	}
}

// FuzzManifest holds that nothing crashes, and that what is accepted can be
// accepted by the administrator as it is, and means the same then.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(acme))
	f.Add([]byte(minimal))
	f.Add([]byte(`{"abi":{"major":1},"grants":{"spec":["/a/**"]}}`))
	for _, file := range []string{"../modules/csv/manifest.json", "../modules/legacy/manifest.json", "../sdk/kit/manifest.json"} {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") || !strings.HasPrefix(err.Error(), "the manifest") {
				t.Fatalf("error %q", err)
			}
			return
		}
		g, err := ParseGrants("accepted", []byte(m.GrantsText))
		if err != nil || !slices.Equal(g.Words(), m.Grants.Words()) {
			t.Fatalf("%s: accepted as a whole: %v", m.GrantsText, err)
		}
		for _, line := range m.Words() {
			if strings.ContainsAny(line, "\n\r") {
				t.Fatalf("line %q", line)
			}
		}
	})
}
