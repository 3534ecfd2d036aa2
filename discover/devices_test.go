// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
)

// H-76 to H-79 of sdk/ABI.md. What NVIDIA's runtime has a meaning for means the
// same here.
func TestDeviceLists(t *testing.T) {
	for list, want := range map[string]string{
		// NVIDIA's own grammar.
		"":               "",
		"void":           "void",
		"none":           "none",
		"all":            "all",
		"0,1":            "0 1",
		" 0 ,\t1,":       "0 1",
		",,":             "",
		" , \n":          "",
		"0,all":          "all",
		"0,none":         "none",
		"0,void":         "void",
		"all,none,void":  "void",
		"all,none":       "none",
		"0,0":            "0",
		"1,0,1":          "1 0",
		"all\n":          "all",
		"ALL,None,voids": "ALL None voids",
		"3,1,2":          "3 1 2",
		"0:1,1:0":        "0:1 1:0",
		"0000:41:00.0":   "0000:41:00.0",
		"MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0": "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0",
		"GPU-8932f937-d72c-4106-c12f-20bd9faed9f6":         "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
		"MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f":         "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
		"nvidia.com/gpu=0,vendor.com/class=0-3":            "nvidia.com/gpu=0 vendor.com/class=0-3",
		// Those of other vendors.
		"0-3":                   "0 1 2 3",
		"0-3,5":                 "0 1 2 3 5",
		"2-2":                   "2",
		"2-4,0-3":               "2 3 4 0 1",
		"4294967294-4294967295": "4294967294 4294967295",
		"Ascend910-0":           "Ascend910-0",
		"0x1d2c-5,5-0x7":        "0x1d2c-5 5-0x7",
		"1-2-3,-1,1-,-":         "1-2-3 -1 1- -",
		"00,01,1":               "00 01 1",
		"12345678-1234-1234":    "12345678-1234-1234",
		// A word counts whatever stands beside it.
		"void,3-1": "void",
		"\x00,all": "all",
	} {
		ids, err := discover.ParseDevices(list)
		if got := strings.Join(ids, " "); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", list, got, err, want)
		}
	}
	for list, want := range map[string]string{
		"0,3-1":        `"3-1" is a range that goes down; write 1-3`,
		"00-3":         `"00-3" is a range whose numbers begin with 0; write them without`,
		"0-03":         `"0-03" is a range whose numbers begin with 0; write them without`,
		"0-4294967296": `"0-4294967296" is a range that ends behind all numbers of devices`,
		"99999999999999999999-99999999999999999999": `"99999999999999999999-99999999999999999999" is a range that ends behind all numbers of devices`,
		"0-4096":                   `"0-4096" is one too many: a list has at most 4096 items`,
		"0-4294967295":             `"0-4294967295" is one too many: a list has at most 4096 items`,
		"0-4000,0-4000":            `"0-4000" is one too many: a list has at most 4096 items`,
		"a b":                      `"a b" holds what no id has; write visible ASCII, and commas between ids`,
		"0,a\x1b[31m":              `"a\x1b[31m" holds what no id has; write visible ASCII, and commas between ids`,
		"0\u00a0":                  `"0\u00a0" holds what no id has; write visible ASCII, and commas between ids`,
		"\xff":                     `"\xff" holds what no id has; write visible ASCII, and commas between ids`,
		"\u0661-\u0663":            `"١-٣" holds what no id has; write visible ASCII, and commas between ids`,
		strings.Repeat("x", 257):   `"` + strings.Repeat("x", 32) + `"… is longer than 256 bytes, and no id`,
		strings.Repeat("0,", 4097): `"0" is one too many: a list has at most 4096 items`,
	} {
		if ids, err := discover.ParseDevices(list); err == nil || err.Error() != want {
			t.Errorf("%.80q: %d ids, %v\nwant %s", list, len(ids), err, want)
		}
	}
	for _, list := range []string{"0-4095", strings.Repeat("0,", 4096), strings.Repeat("x", 256)} {
		if _, err := discover.ParseDevices(list); err != nil {
			t.Errorf("%.80q: %v", list, err)
		}
	}
}

// FuzzDeviceList holds that a list is bounded whatever it says, that its ids can be
// written as a list again, and that an error is one line.
func FuzzDeviceList(f *testing.F) {
	for _, list := range []string{"", "0-3,5", "3-1", "void,0", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "0-4294967295", "a/b=c-1", "\xff,\x00", " 0 , 1-2 "} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		ids, err := discover.ParseDevices(list)
		if err != nil {
			if len(ids) > 0 || strings.ContainsAny(err.Error(), "\n\r\x1b") || err.Error()[0] != '"' || len(err.Error()) > 5*256+100 {
				t.Fatalf("%d ids, error %q", len(ids), err)
			}
			return
		}
		if len(ids) > 4096 {
			t.Fatalf("%d ids", len(ids))
		}
		for i, id := range ids {
			if id == "" || len(id) > 256 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) || i > 0 && id == ids[i-1] {
				t.Fatalf("id %q", id)
			}
		}
		if again, err := discover.ParseDevices(strings.Join(ids, ",")); err != nil || !slices.Equal(again, ids) {
			t.Fatalf("%q is read as %q: %v", ids, again, err)
		}
	})
}

// H-80 and H-81: where a container asks, and which place counts.
func TestDevicesAskedFor(t *testing.T) {
	const folder = "/var/run/acme-devices"
	places := discover.Places{
		MountsUnder: []string{folder, folder + "/more"},
		Annotations: []string{"acme.example/devices", "acme.example/other"},
		Env:         []string{"ACME_DEVICES", "ACME_VISIBLE_DEVICES"},
		Apart:       []string{folder + "/channels"},
	}
	env := func(list ...string) string { return fmt.Sprintf(`"process":{"env":%s}`, quoted(list)) }
	annotation := func(key, value string) string { return fmt.Sprintf(`"annotations":{%q:%q}`, key, value) }
	mounts := func(list ...string) string {
		var all []string
		for i := 0; i < len(list); i += 2 {
			all = append(all, fmt.Sprintf(`{"source":%q,"destination":%q}`, list[i], list[i+1]))
		}
		return `"mounts":[` + strings.Join(all, ",") + `]`
	}
	const null = "/dev/null"
	for _, test := range []struct {
		rule  string
		spec  []string
		place string
		ids   string
	}{
		{"nothing", nil, "", ""},
		{"a variable", []string{env("ACME_VISIBLE_DEVICES=0-1")}, "ACME_VISIBLE_DEVICES", "0 1"},
		{"the last value counts", []string{env("ACME_VISIBLE_DEVICES=all", "ACME_VISIBLE_DEVICES=1")}, "ACME_VISIBLE_DEVICES", "1"},
		{"the last value counts, where it is empty too", []string{env("ACME_VISIBLE_DEVICES=all", "ACME_VISIBLE_DEVICES=")}, "", ""},
		{"the first variable with an item counts", []string{env("ACME_VISIBLE_DEVICES=1", "ACME_DEVICES=0")}, "ACME_DEVICES", "0"},
		{"an empty variable is passed over", []string{env("ACME_VISIBLE_DEVICES=1", "ACME_DEVICES= ,")}, "ACME_VISIBLE_DEVICES", "1"},
		{"void is not passed over", []string{env("ACME_VISIBLE_DEVICES=1", "ACME_DEVICES=void")}, "ACME_DEVICES", ""},
		{"another variable", []string{env("ACME_VISIBLE_DEVICESX=1", "acme_devices=0", "ACME_DEVICES")}, "", ""},
		{"an annotation wins over variables", []string{env("ACME_DEVICES=0"), annotation("acme.example/devices", "1")}, "annotation acme.example/devices", "1"},
		{"an empty annotation does not", []string{env("ACME_DEVICES=0"), annotation("acme.example/devices", "")}, "ACME_DEVICES", "0"},
		{"annotations in their order", []string{annotation("acme.example/other", "2")}, "annotation acme.example/other", "2"},
		{"mounts win over all", []string{env("ACME_DEVICES=0"), annotation("acme.example/devices", "1"), mounts(null, folder+"/2")}, folder, "2"},
		{"mounts in their order, each once", []string{mounts(null, folder+"/2", null, folder+"/GPU-1", null, folder+"/2")}, folder, "2 GPU-1"},
		{"a mount may say a word", []string{env("ACME_DEVICES=0"), mounts(null, folder+"/void")}, folder, ""},
		{"a mount is a list too", []string{mounts(null, folder+"/0,2", null, folder+"/4-5")}, folder, "0 2 4 5"},
		{"the rest of the path is the id", []string{mounts(null, folder+"/MIG-GPU-1/0/0")}, folder, "MIG-GPU-1/0/0"},
		{"paths are cleaned", []string{mounts("/dev/./null", "var/run/./x/../acme-devices//0/")}, folder, "0"},
		{"the folder itself is no id", []string{mounts(null, folder)}, "", ""},
		{"the folder ends at a slash", []string{mounts(null, folder+"X/7", null, "/var/run/acme")}, "", ""},
		{"no other source", []string{mounts("/dev/zero", folder+"/0", "/dev/nullx", folder+"/1", "", folder+"/2")}, "", ""},
		{"a nearer folder of another request", []string{env("ACME_DEVICES=0"), mounts(null, folder+"/channels/3")}, "ACME_DEVICES", "0"},
		{"a nearer folder of the same", []string{mounts(null, folder+"/more/3")}, folder + "/more", "3"},
		{"what only begins like the nearer folder", []string{mounts(null, folder+"/channelsX")}, folder, "channelsX"},
	} {
		got, err := requestOf(t, "{"+strings.Join(test.spec, ",")+"}").Devices(places)
		if err != nil || got.Place != test.place || strings.Join(got.IDs, " ") != test.ids {
			t.Errorf("%s: %+v, %v, want %q by %q", test.rule, got, err, test.ids, test.place)
		}
	}
	for spec, want := range map[string]string{
		env("ACME_VISIBLE_DEVICES=3-1", "SECRET=x"):                                            `ACME_VISIBLE_DEVICES: "3-1" is a range that goes down; write 1-3`,
		annotation("acme.example/devices", "0,\u00e9"):                                         `annotation acme.example/devices: "é" holds what no id has; write visible ASCII, and commas between ids`,
		mounts(null, folder+"/a b"):                                                            folder + `: "a b" holds what no id has; write visible ASCII, and commas between ids`,
		env("ACME_VISIBLE_DEVICES=3-1", "ACME_DEVICES=0"):                                      "",
		strings.Join([]string{env("ACME_DEVICES=3-1"), mounts(null, folder+"/0")}, ","):        "",
		strings.Join([]string{env("ACME_DEVICES=3-1"), mounts("/dev/zero", folder+"/0")}, ","): `ACME_DEVICES: "3-1" is a range that goes down; write 1-3`,
	} {
		got, err := requestOf(t, "{"+spec+"}").Devices(places)
		if want == "" && err == nil && slices.Equal(got.IDs, []string{"0"}) {
			continue // the place that counts is right, and no other one is read
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %+v, %v", spec, got, err)
		}
	}
	if got, err := requestOf(t, `{"process":{"env":["ACME_DEVICES=0"]}}`).Devices(discover.Places{}); err != nil || got.Place != "" {
		t.Errorf("no place: %+v, %v", got, err)
	}
}

func quoted(list []string) string {
	var all []string
	for _, s := range list {
		all = append(all, fmt.Sprintf("%q", s))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func requestOf(t *testing.T, spec string) *discover.Request {
	t.Helper()
	s, err := discover.Parse([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	return s.Request()
}
