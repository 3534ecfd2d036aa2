// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"strings"
	"testing"
)

// customSection is one in the binary format; names and sizes are small.
func customSection(name, content string) string {
	body := string(rune(len(name))) + name + content
	return "\x00" + string(rune(len(body))) + body
}

func TestManifestSection(t *testing.T) {
	code := wasmHeader + "\x01\x01\x00" + customSection("name", "x") + customSection(ManifestSection, "old") + "\x0a\x01\x00" + customSection(ManifestSection, "older")
	got, err := WithManifest([]byte(code), []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	kept := wasmHeader + "\x01\x01\x00" + customSection("name", "x") + "\x0a\x01\x00"
	if !bytes.HasPrefix(got, []byte(kept)) || bytes.Count(got, []byte(ManifestSection)) != 1 {
		t.Errorf("got %q", got)
	}
	manifest, err := ManifestOf(got)
	if err != nil || string(manifest) != minimal {
		t.Errorf("read back: %q, %v", manifest, err)
	}
	again, err := WithManifest(got, []byte(minimal))
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("added twice: %v", err)
	}
	if _, err := WithManifest(got, []byte("{}")); err == nil || err.Error() != `the manifest: "abi" is missing` {
		t.Errorf("a manifest that is none: %v", err)
	}
	for module, want := range map[string]string{
		kept: `has no manifest; build it with "tenon module build", which adds manifest.json`,
		code: "has two manifests",
		wasmHeader + "\x00\x90\x80\x01\x0e" + ManifestSection + strings.Repeat("x", MaxManifest+1): "has a manifest of 16385 bytes, more than 16384",
		"\x00asm\x0d\x00\x01\x00":               "is not a core WebAssembly module of version 1",
		"":                                      "is not a core WebAssembly module of version 1",
		wasmHeader + "\x01":                     "has a section that is cut short",
		wasmHeader + "\x01\x05\x00":             "has a section that is cut short",
		wasmHeader + "\x01\xff\xff\xff\xff\xff": "has a section that is cut short",
		wasmHeader + "\x00\x01\x05":             "has a custom section without a name",
	} {
		if _, err := ManifestOf([]byte(module)); err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", module, err, want)
		}
	}
}

// T33: only the bytes that were installed are run.
func TestT33ModuleMustBeTheOneThatWasInstalled(t *testing.T) {
	code, err := WithManifest([]byte(wasmHeader), []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	i := Installed{Name: "m", Digest: DigestOf(code), Manifest: minimal, Entry: "/etc/tenon/modules.d/m.toml"}
	if err := i.CheckModule(code); err != nil {
		t.Error(err)
	}
	other := bytes.Clone(code)
	other[len(other)-1] ^= 1
	if err := i.CheckModule(other); err == nil || !strings.HasPrefix(err.Error(), "is not the module that was installed: its digest is "+DigestOf(other)+", and /etc/tenon/modules.d/m.toml has "+i.Digest) {
		t.Errorf("other bytes: %v", err)
	}
	i.Manifest = acme
	if err := i.CheckModule(code); err == nil || !strings.Contains(err.Error(), "has another manifest than /etc/tenon/modules.d/m.toml") {
		t.Errorf("other manifest: %v", err)
	}
	i.Digest = DigestOf([]byte(wasmHeader))
	if err := i.CheckModule([]byte(wasmHeader)); err == nil || !strings.HasPrefix(err.Error(), "has no manifest; ") {
		t.Errorf("no manifest: %v", err)
	}
	for s, want := range map[string]bool{DigestOf(code): true, strings.ToUpper(DigestOf(code)): false, "sha256:": false, "md5:" + DigestOf(code)[7:]: false, DigestOf(code) + "00": false} {
		if IsDigest(s) != want {
			t.Errorf("IsDigest(%q) is %v", s, !want)
		}
	}
}

// FuzzManifestSection: a module that gets a manifest keeps all its other sections,
// and no bytes crash the walk.
func FuzzManifestSection(f *testing.F) {
	f.Add([]byte(wasmHeader + customSection("name", "x")))
	f.Add([]byte(wasmHeader + customSection(ManifestSection, "{}") + "\x01\x01\x00"))
	f.Add([]byte(wasmHeader + "\x00\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, code []byte) {
		_, _ = ManifestOf(code)
		with, err := WithManifest(code, []byte(minimal))
		if err != nil {
			return
		}
		if got, err := ManifestOf(with); err != nil || string(got) != minimal {
			t.Fatalf("%q, %v", got, err)
		}
		rest := func(code []byte) (sections []byte) {
			_ = walkSections(code, func(section []byte, name string, _ []byte) error {
				if name != ManifestSection {
					sections = append(sections, section...)
				}
				return nil
			})
			return sections
		}
		if !bytes.Equal(rest(code), rest(with)) {
			t.Fatalf("sections changed:\n%q\n%q", code, with)
		}
	})
}
