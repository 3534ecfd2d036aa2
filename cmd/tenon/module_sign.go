// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

func moduleKeygenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keygen NAME",
		Short: "Make a key to sign modules with",
		Long: `Make an Ed25519 key and write it to NAME.key, for its owner's eyes only, and the
public part of it to NAME.pub, for those who install the modules: they put that
file into /etc/tenon/trust.d. NAME says whose key it is, as vendor.example does;
it stands in every signature.

Each of the two files is one line, as https://c2sp.org/signed-note has it. To
revoke a key, rename its file in trust.d to end in .revoked.`,
		Example: "  tenon module keygen vendor.example\n  tenon module keygen vendor.example --out /root/keys/2025",
		Args:    one("NAME"),
	}
	out := c.Flags().String("out", "", "write PATH.key and PATH.pub instead")
	c.RunE = func(c *cobra.Command, args []string) error {
		name := args[0]
		private, public, err := note.GenerateKey(rand.Reader, name)
		if err == nil {
			_, err = note.NewSigner(private)
		}
		if err != nil || host.OneLine(name) != name {
			return usage("%q: cannot be the name of a key; leave out spaces and plus signs", name)
		}
		if *out == "" {
			if filepath.Base(name) != name {
				return usage("%q: is no name of a file; say with --out where the key shall be", name)
			}
			*out = name
		}
		if err := writeNew(*out+".key", private+"\n", 0o600); err != nil {
			return err
		}
		if err := writeNew(*out+".pub", public+"\n", 0o644); err != nil {
			os.Remove(*out + ".key")
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s.key: keep it secret\n%s.pub: give it to those who install your modules\n%s\n", printable(*out), printable(*out), public)
		return nil
	}
	return c
}

// one is the Args of a command that takes one argument.
func one(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s: wants one %s; see %q", where(c), what, c.CommandPath()+" --help")
		}
		return nil
	}
}

// writeNew makes a file that must not be there yet.
func writeNew(path, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: is there already; remove it first", printable(path))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}

func moduleSignCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sign --key KEY FILE",
		Short: "Sign a module",
		Long: `Sign a module with a key that "tenon module keygen" has made, and write the
signature to FILE.sig. It covers the digest of the file and the name and version
in its manifest. Where FILE.sig has signatures of others for the same module,
they stay; a module may have up to 16.

The file is a signed note (https://c2sp.org/signed-note) of four lines: "tenon
module v1", the digest, the name, the version.`,
		Example: "  tenon module sign --key vendor.example.key npu.wasm",
		Args:    one("FILE"),
	}
	c.ValidArgsFunction = wasmFiles
	key := c.Flags().String("key", "", "the file with the key")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *key == "" {
			return usage("%s: wants --key; %q makes one", where(c), "tenon module keygen")
		}
		signer, err := readSigner(*key)
		if err != nil {
			return err
		}
		file := args[0]
		code, err := readBounded(file, maxModuleFile)
		if err != nil {
			return err
		}
		manifest, _, err := manifestIn(file, code)
		if err != nil {
			return err
		}
		n := &note.Note{Text: noteText(host.DigestOf(code), manifest)}
		if n.UnverifiedSigs, err = otherSignatures(file+".sig", n.Text, signer); err != nil {
			return err
		}
		signed, err := note.Sign(n, signer)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := replaceFile(file+".sig", signed, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s.sig: signed %s %s as %s\n", printable(file), manifest.Name, manifest.Version, keyID(signer.Name(), signer.KeyHash()))
		return nil
	}
	return c
}

// readSigner reads a private key. The file must be closed to others, as ssh asks
// of its keys.
func readSigner(file string) (note.Signer, error) {
	data, err := readBounded(file, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: does not exist; \"tenon module keygen\" makes a key", printable(file))
	}
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it; chmod 600 %s", file, file)
	}
	for _, line := range keyLines(data) {
		if line != "" {
			signer, err := note.NewSigner(line)
			if err != nil {
				return nil, fmt.Errorf("%s: is not a private key: %w", file, err)
			}
			return signer, nil
		}
	}
	return nil, fmt.Errorf("%s: is not a private key", file)
}

// otherSignatures are those in a file of signatures that others made of the same
// text; none where the file is not there, or is of an older module.
func otherSignatures(file, text string, signer note.Signer) ([]note.Signature, error) {
	data, err := readBounded(file, maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := openNote(data, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it first", file, err)
	}
	if n.Text != text {
		return nil, nil
	}
	var others []note.Signature
	for _, s := range n.UnverifiedSigs {
		if s.Name != signer.Name() || s.Hash != signer.KeyHash() {
			others = append(others, s)
		}
	}
	if len(others) >= maxSignatures {
		return nil, fmt.Errorf("%s: has %d signatures, and %d is the most", file, len(others), maxSignatures)
	}
	return others, nil
}

// replaceFile writes a file of the person who runs tenon, in one step.
func replaceFile(file string, data []byte, mode fs.FileMode) error {
	before, err := readBounded(file, maxModuleFile)
	if err == nil && bytes.Equal(before, data) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.tenon-tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // once it is renamed, there is nothing of that name
	defer f.Close()
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// manifestIn returns the manifest of a module, and its text.
func manifestIn(file string, code []byte) (host.Manifest, []byte, error) {
	text, err := host.ManifestOf(code)
	if err != nil {
		return host.Manifest{}, nil, fmt.Errorf("%s: %w", file, err)
	}
	m, err := host.ParseManifest(text)
	if err != nil {
		return host.Manifest{}, nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, text, nil
}
