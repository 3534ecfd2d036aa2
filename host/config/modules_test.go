// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/host"
)

const sampleManifest = `{"abi": {"major": 1, "minor": 0}, "name": "acme.example/acme", "version": "1.0.0",
 "grants": {"env": ["ACME"], "fs": [{"root": "host", "ops": ["stat"], "paths": ["/dev/acme*"]}]}, "edits": {"devices": ["/dev/acme*"]}}`

const sampleDigest = "sha256:6048a140dadfcfb97ca533a6239a9b9cafeb33c3ceb4408a6c883647d0c861b4"

func sampleModule() Module {
	return Module{SignedBy: []string{"acme.example+1a2b3c4d"}, Installed: host.Installed{
		Name: "acme", Digest: sampleDigest, Order: 7, Manifest: sampleManifest,
		Accepted: `{"edits":{"devices":["/dev/acme*"]},"grants":{"env":["ACME"],"fs":[{"ops":["stat"],"paths":["/dev/acme*"],"root":"host"}]}}`,
		File:     "/store/sha256/" + strings.TrimPrefix(sampleDigest, "sha256:") + ".wasm", Entry: "/x/acme.toml",
	}}
}

func TestAModuleIsReadAsItWasWritten(t *testing.T) {
	odd := sampleModule()
	odd.Manifest = strings.Replace(sampleManifest, `"version"`, `"license": "it''' ’s", `+"\r\n"+`"version"`, 1)
	elsewhere := sampleModule()
	elsewhere.File, elsewhere.SignedBy, elsewhere.Order = "/usr/lib/acme.wasm", nil, 0
	nothing := sampleModule()
	nothing.Accepted = `{"edits":{},"grants":{}}`
	asking := sampleModule()
	asking.Manifest = strings.Replace(sampleManifest, `"grants"`, `"requests": [{"env": ["ACME"]}, {"name": "more", "mountsUnder": ["/run/acme"]}], "grants"`, 1)
	asking.Accepted = `{"edits":{},"grants":{},"requests":[{"env":["ACME"]},{"mountsUnder":["/run/acme"],"name":"more"}]}`
	for _, want := range []Module{sampleModule(), odd, elsewhere, nothing, asking} {
		text, err := want.TOML("/store")
		if err != nil {
			t.Fatal(err)
		}
		if got := ParseModule("/x/acme.toml", text, "/store"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", text, got, want)
		}
	}
}

func TestAModulesFileIsReadStrictly(t *testing.T) {
	manifest := "manifest = '''\n" + sampleManifest + "'''\n"
	digest := "digest = '" + sampleDigest + "'\n"
	for _, test := range []struct{ text, want string }{
		{"digest = ", "/x/acme.toml:1: not TOML: "},
		{"", `/x/acme.toml: has no "digest"; run "tenon module install" again`},
		{digest, `/x/acme.toml: has no "manifest"; run "tenon module install" again`},
		{digest + manifest + "ordr = 1\n", `/x/acme.toml:5: no such key "ordr"; did you mean "order"`},
		{digest + manifest + "order = 10000\n", `/x/acme.toml:5: "order" is 10000; it must be a whole number from 0 to 9999`},
		{manifest + "digest = 'sha256:12'", `/x/acme.toml:4: "digest" is "sha256:12"; it must be "sha256:" and 64 digits in small letters`},
		{digest + manifest + "file = 'acme.wasm'\n", `/x/acme.toml:5: "file" is "acme.wasm"; it must be an absolute path`},
		{digest + manifest + "grants = 1\n", `/x/acme.toml:5: "grants" is 1; it must be a table`},
		{digest + manifest + "[requests]\nenv = ['A']\n", `/x/acme.toml:5: "requests" is a table; it must be a list of tables`},
		{digest + manifest + "[[requests]]\nenv = ['A B']\n", `/x/acme.toml:6: "requests[0].env[0]" is "A B", not the name of a variable`},
		{digest + manifest + "[[grants]]\nenv = ['A']\n", `/x/acme.toml:5: "grants" is a list; it must be a table`},
		{digest + "manifest = '{}'\n", `/x/acme.toml:2: the manifest: "abi" is missing`},
		{digest + manifest + "[grants]\nenv = ['A']\nspec = ['']\n", `/x/acme.toml:7: "grants.spec[0]" is the whole config.json, which is granted to nobody`},
		{digest + manifest + "[grants]\n[[grants.fs]]\nroot = 'moon'\nops = ['stat']\npaths = ['/x']\n", `/x/acme.toml:7: "grants.fs[0].root" is "moon", not one of host, container, driver`},
		{digest + manifest + "[edits]\nhooks = ['x']\n", `/x/acme.toml:6: "edits.hooks" is not a field of what is accepted`},
		{digest + manifest + "[edits]\nsymlinks = 'yes'\n", `/x/acme.toml:6: "edits.symlinks" is a string, not true or false`},
		{digest + manifest + "[grants]\nenv = [inf]\n", `/x/acme.toml: `},
	} {
		m := ParseModule("/x/acme.toml", []byte(test.text), "/store")
		if !strings.HasPrefix(m.Problem, test.want) || strings.Contains(m.Problem, "\n") {
			t.Errorf("%s\ngot  %s\nwant %s", test.text, m.Problem, test.want)
		}
		if m.Name != "acme" || m.Entry != "/x/acme.toml" {
			t.Errorf("name %q, entry %q", m.Name, m.Entry)
		}
	}
}

// T31, for the files of modules_d: one that others may write, or may exchange, or
// that is a link, spoils its mode and nothing else.
func TestT31AnUntrustedFileSpoilsItsModeOnly(t *testing.T) {
	good, err := sampleModule().TOML("/store")
	if err != nil {
		t.Fatal(err)
	}
	folder := configFolderOf(t, map[string]string{
		"config.toml":     "mode = 'acme'\n",
		"d/acme.toml":     string(good),
		"d/lax.toml":      strings.Replace(string(good), "order = 7", "order = 9", 1),
		"d/broken.toml":   "order = 'x'\n",
		"d/.hidden.toml":  "",
		"d/acme.previous": "nonsense",
	})
	d := filepath.Join(folder, "d")
	for name, mode := range map[string]os.FileMode{"lax.toml": 0o666} {
		if err := os.Chmod(filepath.Join(d, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("acme.toml", filepath.Join(d, "link.toml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(d, "broken.toml"), filepath.Join(d, "twice.toml")); err != nil {
		t.Fatal(err)
	}
	c, err := Read("tenon-runtime", variablesOf("TENON_CONFIG="+folder+"/config.toml", "TENON_MODULES_D="+d, "TENON_MODULE_DIR=/store"))
	if err != nil {
		t.Fatal(err)
	}
	problems := map[string]string{}
	for _, i := range c.Installed {
		problems[i.Name] = i.Problem
	}
	for name, want := range map[string]string{
		"acme": "", "lax": "is not trusted: others may write it (mode 0666)", "link": "is not trusted: it is a symbolic link",
		"broken": "has 2 names", "twice": "has 2 names",
	} {
		got, ok := problems[name]
		if !ok || (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		_, err := c.ModuleOf(name)
		if (err != nil) != (want != "") || err != nil && err.Error() != got {
			t.Errorf("%s: ModuleOf says %v", name, err)
		}
	}
	if len(problems) != 5 {
		t.Errorf("there are %v", problems)
	}
	if err := os.Chmod(d, 0o777); err != nil {
		t.Fatal(err)
	}
	c, err = Read("tenon-runtime", variablesOf("TENON_CONFIG="+folder+"/config.toml", "TENON_MODULES_D="+d))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range c.Installed {
		if want := d + ": leads to " + i.Entry + " and is not trusted: others may write it (mode 0777)"; i.Name != "link" && !strings.HasPrefix(i.Problem, want) {
			t.Errorf("%s: %q, want %q", i.Name, i.Problem, want)
		}
	}
}

func TestModulesComeInTheirOrder(t *testing.T) {
	files := map[string]string{"config.toml": ""}
	for name, order := range map[string]string{"b": "1", "a": "5", "c": "1"} {
		text, err := sampleModule().TOML("/store")
		if err != nil {
			t.Fatal(err)
		}
		files["d/"+name+".toml"] = strings.Replace(string(text), "order = 7", "order = "+order, 1)
	}
	folder := configFolderOf(t, files)
	list, err := ReadModules(host.Config{ModulesD: filepath.Join(folder, "d"), ModuleDir: "/store"})
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	if err != nil || !slices.Equal(names, []string{"b", "c", "a"}) {
		t.Errorf("got %v, %v", names, err)
	}
	if list, err := ReadModules(host.Config{ModulesD: filepath.Join(folder, "none")}); len(list) != 0 || err != nil {
		t.Errorf("no folder: got %v, %v", list, err)
	}
}

func FuzzParseModule(f *testing.F) {
	text, err := sampleModule().TOML("/store")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("digest = '" + sampleDigest + "'\nmanifest = '{}'\n[grants.fs]\nx = 1979-05-27T07:32:00Z\n[edits]\n")
	f.Add("grants = {env = ['A']}\nedits = []")
	f.Fuzz(func(t *testing.T, text string) {
		m := ParseModule("/x/acme.toml", []byte(text), "/store")
		if m.Problem != "" {
			if !strings.HasPrefix(m.Problem, "/x/acme.toml") || strings.ContainsAny(m.Problem, "\n\r") {
				t.Errorf("%q", m.Problem)
			}
			return
		}
		if _, _, err := m.Read(); err != nil || !json.Valid([]byte(m.Accepted)) {
			t.Errorf("is good, and then %v", err)
		}
		again, err := m.TOML("/store")
		if err != nil {
			t.Fatal(err)
		}
		if got := ParseModule("/x/acme.toml", again, "/store"); got.Problem != "" || got.Digest != m.Digest || got.Manifest != m.Manifest || got.File != m.File {
			t.Errorf("%+v\n%s\n%+v", m, again, got)
		}
	})
}
