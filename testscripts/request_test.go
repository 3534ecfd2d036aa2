// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/sdk"
)

const askingManifest = `{"abi":{"major":1,"minor":0},"name":"acme.example/acme","version":"1.0.0","requests":[
	{"env":["ACME_VISIBLE_DEVICES","ACME_DEVICES"],"annotations":["acme.example/devices"],"mountsUnder":["/var/run/acme","/var/run/acme/more"]},
	{"name":"channels","env":["ACME_CHANNELS"],"mountsUnder":["/var/run/acme/channels"]}],"grants":{},"edits":{}}`

// FuzzRequests holds the two readers of what a container asks for against each
// other: the host's, and that of recorded machines, with which modes are tested.
// They must answer the same, and refuse with the same words.
func FuzzRequests(f *testing.F) {
	const folder = "/var/run/acme"
	for _, list := range []string{
		"", "void", "none", "all", "0", "0,1", " 0 ,\t1,", ",,", "0,all", "0,none", "0,void", "all,none,void", "0,0", "ALL", "0:1", "0000:41:00.0",
		"GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0", "nvidia.com/gpu=0-3", "0-3,5", "2-4,0-3", "3-1", "00-3",
		"0-03", "0-4294967296", "4294967295-4294967295", "0-4095", "0-4096", "0-4000,0-4000", "1-2-3", "-1", "1-", "00", "0x1-5", "a b", "\x00", "\x7f", "é",
		"0\u00a0", "99999999999999999999-1", strings.Repeat("x", 256), strings.Repeat("x", 257), strings.Repeat("0,", 4097),
	} {
		f.Add(list, "", "", "", true)
		f.Add("all", list, "", "", true)
		f.Add("all", "", list, "", false)
		f.Add("all", "", "", folder+"/"+list, true)
	}
	f.Add("0", "1", "2", folder, true)
	f.Add("0", "1", "", folder+"X/7", true)
	f.Add("0", "", "", "var/run/./x/../acme//7/", true)
	f.Add("0", "", "", folder+"/channels/7", true)
	f.Add("0", "", "", folder+"/channelsX", true)
	f.Add("0", "", "", folder+"/more/7", true)
	f.Add("0", "", "", folder+"/7", false)

	empty, err := sdk.OpenMachine("machines/empty")
	if err != nil {
		f.Fatal(err)
	}
	empty.Manifest = []byte(askingManifest)
	accepted, err := host.ParseManifest([]byte(askingManifest))
	if err != nil {
		f.Fatal(err)
	}
	sdk.Register(func(*sdk.Context) (*sdk.Edits, error) { return nil, nil })
	f.Fuzz(func(t *testing.T, first, second, annotation, destination string, accept bool) {
		for _, s := range []string{first, second, annotation, destination} {
			if !utf8.ValidString(s) {
				return // no JSON has it
			}
		}
		c := host.DefaultConfig()
		c.ModeTables = map[string]map[string]string{"acme": {}}
		request := sdk.Request{
			Env:         []string{"ACME_VISIBLE_DEVICES=" + first, "ACME_DEVICES=" + second, "ACME_CHANNELS=" + second},
			Annotations: map[string]string{"acme.example/devices": annotation},
			Mounts:      []sdk.Mount{{Destination: "/var/run/acme/channels/all", Source: "/dev/zero"}, {Destination: destination, Source: "/dev//null"}},
			Config:      map[string]string{},
		}
		if accept {
			c.ModeTables["acme"]["accept_volume_mounts"] = "true"
			request.Config["accept_volume_mounts"] = "true"
		}
		c.Installed = []host.Installed{{Name: "acme", Manifest: askingManifest, Accepted: accepted.GrantsText}}
		var mounts []map[string]string
		for _, m := range request.Mounts {
			mounts = append(mounts, map[string]string{"destination": m.Destination, "source": m.Source})
		}
		doc, err := json.Marshal(map[string]any{"process": map[string]any{"env": request.Env}, "annotations": request.Annotations, "mounts": mounts})
		if err != nil {
			t.Fatal(err)
		}
		spec, err := discover.Parse(doc)
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := c.Askings("acme", spec.Request())
		result, reason, _ := empty.Discover(request)
		if err != nil || result != 0 {
			if err == nil || result != 1 || err.Error() != "mode acme: "+reason {
				t.Fatalf("the host says %v, and the sdk %q", err, reason)
			}
			return
		}
		applies, err := c.Applies("acme", spec.Request())
		if err != nil {
			t.Fatal(err)
		}
		asks := false
		for _, name := range []string{"", "channels"} {
			want := sdk.Devices{}
			if i := slices.IndexFunc(list, func(a host.Asking) bool { return a.Request == name && len(a.IDs) > 0 }); i >= 0 {
				want = sdk.Devices{Place: list[i].Place, IDs: list[i].IDs}
			}
			got, ok, err := empty.Context(request).Request(name)
			if err != nil || ok != (want.Place != "") || got.Place != want.Place || !slices.Equal(got.IDs, want.IDs) {
				t.Fatalf("request %q: the host says %+v, and the sdk %+v, %v", name, want, got, err)
			}
			asks = asks || ok
		}
		if asks != applies {
			t.Fatalf("it asks: %v, and applies: %v", asks, applies)
		}
	})
}
