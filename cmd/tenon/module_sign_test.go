// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/tenon-runtime/tenon/host"
)

// keyPair makes a key of that name.
func keyPair(t testing.TB, name string) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func signed(t testing.TB, text string, signers ...note.Signer) []byte {
	t.Helper()
	n, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// T44: what a signature must be to count.
func TestT44OnlyASignatureOfThisModuleByAGoodKeyCounts(t *testing.T) {
	m := host.Manifest{Name: "acme.example/npu", Version: "1.4.2"}
	digest := "sha256:" + strings.Repeat("ab", 32)
	text := noteText(digest, m)
	acme, acmeKey := keyPair(t, "acme.example")
	stranger, _ := keyPair(t, "stranger.example")
	gone, goneKey := keyPair(t, "gone.example")
	namesake, _ := keyPair(t, "acme.example") // the same name, another key
	id := keyID(acme.Name(), acme.KeyHash())
	trusted := trust{"/etc/tenon/trust.d", []note.Verifier{acmeKey, goneKey},
		map[string]string{keyID(gone.Name(), gone.KeyHash()): "/etc/tenon/trust.d/gone.revoked"}}
	var crowd []note.Signer
	for i := range maxSignatures + 1 {
		s, _ := keyPair(t, fmt.Sprintf("k%d.example", i))
		crowd = append(crowd, s)
	}
	other := func(digest, name, version string) []byte {
		return signed(t, noteText(digest, host.Manifest{Name: name, Version: version}), acme)
	}
	wrong := signed(t, text, acme)
	wrong[len(wrong)-6] ^= 1
	for name, test := range map[string]struct {
		signature []byte
		want      string // of the error; "" for a good one
	}{
		"good":                 {signed(t, text, acme), ""},
		"good among others":    {signed(t, text, stranger, acme, gone), ""},
		"sixteen":              {signed(t, text, append(crowd[:maxSignatures-1:maxSignatures-1], acme)...), ""},
		"none":                 {nil, "is not signed, and /etc/tenon/trust.d has keys; ask for its signature, or give --allow-unsigned"},
		"empty":                {[]byte{}, "has a signature that cannot be read: malformed note"},
		"seventeen":            {signed(t, text, append(crowd[:maxSignatures:maxSignatures], acme)...), "has 17 signatures, more than 16"},
		"huge":                 {append(signed(t, text, acme), make([]byte, maxNote)...), "has a signature of "},
		"unknown":              {signed(t, text, stranger), "is signed by " + keyID(stranger.Name(), stranger.KeyHash()) + ", which is no key in /etc/tenon/trust.d"},
		"same name, other key": {signed(t, text, namesake), "is signed by " + keyID(namesake.Name(), namesake.KeyHash()) + ", which is no key in "},
		"revoked":              {signed(t, text, gone, stranger), "is signed by " + keyID(gone.Name(), gone.KeyHash()) + ", which /etc/tenon/trust.d/gone.revoked revokes"},
		"wrong":                {wrong, "has a signature "},
		"other digest":         {other("sha256:"+strings.Repeat("cd", 32), m.Name, m.Version), "has a signature of another module: its digest is sha256:cdcd"},
		"other name":           {other(digest, "acme.example/gpu", m.Version), "has a signature of another module: its name is acme.example/gpu, and this one's acme.example/npu"},
		"other version":        {other(digest, m.Name, "1.4.1"), "has a signature of another module: its version is 1.4.1, and this one's 1.4.2"},
		"no domain":            {signed(t, strings.TrimPrefix(text, noteHeader), acme), "has a signature of something that is no module of tenon"},
		"more lines":           {signed(t, text+"more\n", acme), "has a signature of something that is no module of tenon"},
		"not a note":           {[]byte("tenon module v1\n"), "has a signature that cannot be read: malformed note"},
	} {
		got, err := trusted.check(test.signature, digest, m)
		if test.want == "" {
			if err != nil || len(got) != 1 || got[0] != id {
				t.Errorf("%s: got %v, %v", name, got, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "\n") || got != nil {
			t.Errorf("%s: got %v, %v, want %s", name, got, err, test.want)
		}
	}
	// Without keys nothing can be said, and nothing is.
	if got, err := (trust{}).check(signed(t, text, acme), digest, m); got != nil || err != nil {
		t.Errorf("no keys: got %v, %v", got, err)
	}
}

func FuzzSignature(f *testing.F) {
	m := host.Manifest{Name: "acme.example/npu", Version: "1.4.2"}
	digest := "sha256:" + strings.Repeat("ab", 32)
	acme, key := keyPair(f, "acme.example")
	good := signed(f, noteText(digest, m), acme)
	f.Add(good)
	f.Add([]byte(noteText(digest, m) + "\n"))
	f.Add([]byte("tenon module v1\n\n\n\n\n— a AAAAAAA=\n"))
	trusted := trust{dir: "/t", keys: []note.Verifier{key}}
	f.Fuzz(func(t *testing.T, signature []byte) {
		got, err := trusted.check(signature, digest, m)
		if err == nil && (len(got) != 1 || !strings.HasPrefix(string(signature), noteText(digest, m)+"\n")) {
			t.Errorf("%q is good for %v", signature, got)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("%q", err)
		}
	})
}
