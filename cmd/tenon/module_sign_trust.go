// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/tenon-runtime/tenon/host"
)

// Signatures of modules. A file FILE.sig beside a module is a signed note, as the
// Go checksum database and https://c2sp.org/signed-note have it: a text, an empty
// line, and a line for each signature, of Ed25519:
//
//	tenon module v1
//	sha256:65fd7d45…              the digest of the module's file
//	vendor.example/npu            the name in its manifest
//	1.4.2                         the version in its manifest
//
//	— vendor.example Kh7ZxV9…=    key name, and in base64 4 bytes of the key's id and the signature
//
// The first line keeps a signature from being taken for one of something else.
const noteHeader = "tenon module v1\n"

const (
	maxNote       = 64 << 10 // bytes; sixteen signatures have less than a tenth of that
	maxSignatures = 16
	maxKeyFile    = 64 << 10 // bytes
)

// noteText is what is signed of a module.
func noteText(digest string, m host.Manifest) string {
	return noteHeader + digest + "\n" + m.Name + "\n" + m.Version + "\n"
}

// trust is what the folder trust_d holds.
type trust struct {
	dir     string
	keys    []note.Verifier
	revoked map[string]string // id of a key that counts no more: the file that says so
}

// keyID names a key as messages and files of modules do: NAME+ID, the ID being 8
// hexadecimal digits.
func keyID(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }

// readTrust reads the keys of trust_d: one a line in files *.pub. Those in files
// *.revoked count no more, whatever other file they are in.
func (p place) readTrust() (trust, error) {
	t := trust{dir: p.at(p.config.TrustD), revoked: map[string]string{}}
	names, err := p.list(p.config.TrustD)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	seen := map[string]bool{}
	for _, name := range names {
		ext := path.Ext(name)
		if ext != ".pub" && ext != ".revoked" || strings.HasPrefix(name, ".") {
			continue
		}
		file := path.Join(p.config.TrustD, name)
		data, err := p.read(file, maxKeyFile)
		if err != nil {
			return t, err
		}
		for i, line := range keyLines(data) {
			if line == "" {
				continue
			}
			v, err := note.NewVerifier(line)
			if err != nil {
				return t, fmt.Errorf("%s:%d: is not a public key: %w; \"tenon module keygen\" makes one", p.at(file), i+1, err)
			}
			if ext == ".revoked" {
				t.revoked[keyID(v.Name(), v.KeyHash())] = p.at(file)
			}
			if !seen[line] {
				seen[line] = true
				t.keys = append(t.keys, v)
			}
		}
	}
	return t, nil
}

// keyLines are the lines of a file of keys, without comments.
func keyLines(data []byte) (lines []string) {
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, maxKeyFile+1)
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// errUnsigned is told of a module that has no signature and needs one.
var errUnsigned = errors.New("is not signed")

// check returns the ids of the keys that have signed a module: nil where trust_d
// has no key, so that nothing can be said. One good signature will do; a bad one
// of a key that is known, or one of nobody but keys that are revoked or unknown,
// will not. signature is the content of FILE.sig, nil where there is none. Errors
// are without the module's file.
func (t trust) check(signature []byte, digest string, m host.Manifest) ([]string, error) {
	if len(t.keys) == 0 {
		return nil, nil
	}
	if signature == nil {
		return nil, fmt.Errorf("%w, and %s has keys; ask for its signature, or give --allow-unsigned", errUnsigned, t.dir)
	}
	n, err := openNote(signature, t.keys)
	if err != nil {
		return nil, err
	}
	if err := compareNote(n.Text, digest, m); err != nil {
		return nil, err
	}
	var good, revoked []string
	for _, s := range n.Sigs {
		id := keyID(s.Name, s.Hash)
		if _, gone := t.revoked[id]; gone {
			revoked = append(revoked, id)
		} else {
			good = append(good, id)
		}
	}
	if len(good) == 0 && len(revoked) > 0 {
		return nil, fmt.Errorf("is signed by %s, which %s revokes", revoked[0], t.revoked[revoked[0]])
	}
	if len(good) == 0 {
		var unknown []string
		for _, s := range n.UnverifiedSigs {
			unknown = append(unknown, host.OneLine(keyID(s.Name, s.Hash)))
		}
		return nil, fmt.Errorf("is signed by %s, which is no key in %s", strings.Join(unknown, ", "), t.dir)
	}
	slices.Sort(good)
	return good, nil
}

// openNote reads a file of signatures, and holds those of known keys against it.
func openNote(signature []byte, known []note.Verifier) (*note.Note, error) {
	if len(signature) > maxNote {
		return nil, fmt.Errorf("has a signature of %d bytes, more than %d", len(signature), maxNote)
	}
	if n := bytes.Count(signature, []byte("\n— ")); n > maxSignatures {
		return nil, fmt.Errorf("has %d signatures, more than %d", n, maxSignatures)
	}
	n, err := note.Open(signature, note.VerifierList(known...))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return unverified.Note, nil
	case errors.As(err, &invalid):
		return nil, fmt.Errorf("has a signature of %s that is wrong", host.OneLine(keyID(invalid.Name, invalid.Hash)))
	case err != nil:
		return nil, fmt.Errorf("has a signature that cannot be read: %w", err)
	}
	return n, nil
}

// compareNote says what a note signs instead of a module.
func compareNote(text, digest string, m host.Manifest) error {
	if text == noteText(digest, m) {
		return nil
	}
	rest, ok := strings.CutPrefix(text, noteHeader)
	fields := strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
	if !ok || len(fields) != 3 {
		return errors.New("has a signature of something that is no module of tenon")
	}
	for i, want := range []struct{ what, value string }{{"digest", digest}, {"name", m.Name}, {"version", m.Version}} {
		if fields[i] != want.value {
			return fmt.Errorf("has a signature of another module: its %s is %s, and this one's %s", want.what, host.Shown(fields[i]), want.value)
		}
	}
	return errors.New("has a signature of another module")
}
