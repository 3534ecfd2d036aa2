// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path"
	"strings"

	ocidigest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	blobs "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/tenon-runtime/tenon/host"
)

func modulePullCommand() *cobra.Command {
	var f pullFlags
	c := &cobra.Command{
		Use:   "pull REF|oci-layout:DIR",
		Short: "Fetch a module from a registry, with its signatures",
		Long: `Fetch a module from a registry, or from an OCI layout in a folder, into a file,
and its signatures into that file with .sig behind it. Nothing of it is run, and
nothing is installed. What is printed is the name by which it can be installed.`,
		Example: "  tenon module pull registry.example/vendor/npu:1.4.2\n  tenon module pull registry.example/vendor/npu@sha256:65fd7d45… --output npu.wasm",
		Args:    one("REF"),
	}
	output := c.Flags().StringP("output", "o", "", "the file (default the last part of the module's name, with .wasm)")
	f.add(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		s, name, err := f.fetch(c, args[0])
		if err != nil {
			return err
		}
		m, _, err := manifestIn(s.name, s.code)
		if err != nil {
			return err
		}
		if *output == "" {
			*output = path.Base(m.Name) + ".wasm"
		}
		if err := replaceFile(*output, s.code, 0o644); err != nil {
			return err
		}
		if s.signature != nil {
			err = replaceFile(*output+".sig", s.signature, 0o644)
		} else if err = os.Remove(*output + ".sig"); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err == nil {
			_, err = fmt.Fprintln(c.OutOrStdout(), name)
		}
		return err
	}
	return c
}

// source reads what module install is given.
func (f pullFlags) source(c *cobra.Command, arg string) (source, error) {
	if strings.HasPrefix(arg, layoutPrefix) {
		s, _, err := f.fetch(c, arg)
		return s, err
	}
	if !isRegistryName(arg) {
		return fileSource(arg)
	}
	ref, err := parseRef(arg)
	if err != nil {
		return source{}, err
	}
	if digestOf(ref) == "" {
		return source{}, usage("%s: %s: has no digest, and a tag can be moved; \"tenon module pull\" tells the digest", where(c), printable(arg))
	}
	s, _, err := f.fetch(c, arg)
	return s, err
}

// A well is where artifacts come from: a repository or a layout.
type well struct {
	name      string // for the name of what is in it
	fetch     blobs.Fetcher
	referrers func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error)
}

// fetch gets a module and the name with a digest by which it can be installed.
func (f pullFlags) fetch(c *cobra.Command, arg string) (s source, name string, err error) {
	err = progress(c, "fetching "+arg, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, registryTime)
		defer cancel()
		var w well
		var desc ocispec.Descriptor
		if dir, ok := strings.CutPrefix(arg, layoutPrefix); ok {
			w, desc, err = openLayout(ctx, dir)
		} else {
			w, desc, err = f.openRepository(ctx, arg)
		}
		if err != nil {
			return err
		}
		name = w.name + "@" + desc.Digest.String()
		s, err = w.module(ctx, desc)
		s.name = printable(arg)
		return err
	})
	var e exitError
	if err != nil && !errors.As(err, &e) {
		err = fmt.Errorf("%s: %w", printable(arg), plainError(err))
	}
	return s, name, err
}

// plainError leaves out what package http puts before an error of ours, and says in
// short what package net says of a name.
func plainError(err error) error {
	var unknown *net.DNSError
	if errors.As(err, &unknown) && unknown.IsNotFound {
		return fmt.Errorf("%s: no such host; correct the name, or the machine's DNS", printable(unknown.Name))
	}
	err = host.Bare(err)
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	if line, _, ok := strings.Cut(err.Error(), "\n"); ok {
		return errors.New(host.OneLine(line))
	}
	return err
}

func (f pullFlags) openRepository(ctx context.Context, arg string) (well, ocispec.Descriptor, error) {
	ref, err := parseRef(arg)
	if err != nil {
		return well{}, ocispec.Descriptor{}, err
	}
	if ref.Reference == "" {
		return well{}, ocispec.Descriptor{}, usage("%s: names no tag and no digest", printable(arg))
	}
	repo, err := f.repository(ref)
	if err != nil {
		return well{}, ocispec.Descriptor{}, err
	}
	desc, err := repo.Manifests().Resolve(ctx, ref.Reference)
	if err != nil {
		return well{}, desc, err
	}
	if d := digestOf(ref); d != "" && d != desc.Digest {
		return well{}, desc, fmt.Errorf("is answered with the digest %s", desc.Digest)
	}
	return well{name: ref.Registry + "/" + ref.Repository, fetch: repo, referrers: signatures(repo)}, desc, nil
}

// signatures lists the artifacts with signatures of a module, as far as there can
// be any that count.
func signatures(repo *remote.Repository) func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return func(ctx context.Context, module ocispec.Descriptor) (list []ocispec.Descriptor, err error) {
		err = repo.Referrers(ctx, module, signatureType, func(page []ocispec.Descriptor) error {
			list = append(list, page...)
			if len(list) > maxSignatures {
				return fmt.Errorf("has more than %d artifacts with signatures", maxSignatures)
			}
			return nil
		})
		return list, err
	}
}

// openLayout finds the one module of a layout: DIR, or DIR@sha256:DIGEST.
func openLayout(ctx context.Context, arg string) (well, ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	dir, wanted, _ := strings.Cut(arg, "@")
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return well{}, none, errors.New("is no OCI layout: it is not a folder")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return well{}, none, placed(dir, err)
	}
	// Closed when the process ends: what is fetched is fetched through it.
	layout, err := oci.NewFromFS(ctx, root.FS())
	if errors.Is(err, fs.ErrNotExist) {
		return well{}, none, fmt.Errorf("is no OCI layout: it has no file %s", ocispec.ImageLayoutFile)
	}
	if err != nil {
		return well{}, none, err
	}
	index, err := fs.ReadFile(root.FS(), ocispec.ImageIndexFile)
	if err != nil {
		return well{}, none, err
	}
	var list ocispec.Index
	if err := json.Unmarshal(index, &list); err != nil {
		return well{}, none, fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	w := well{name: layoutPrefix + dir, fetch: layout, referrers: layout.Predecessors}
	found := map[ocidigest.Digest]ocispec.Descriptor{}
	for _, desc := range list.Manifests {
		m, err := w.manifest(ctx, desc)
		if err != nil {
			return well{}, none, err
		}
		if m.Config.MediaType == wasmConfigType && (wanted == "" || wanted == desc.Digest.String()) {
			found[desc.Digest] = desc
		}
	}
	if len(found) != 1 {
		return well{}, none, fmt.Errorf("has %d such modules; name one with %s%s@sha256:DIGEST", len(found), layoutPrefix, dir)
	}
	for _, desc := range found {
		return w, desc, nil
	}
	return well{}, none, nil
}

// all fetches what a descriptor stands for: that many bytes with that digest, and
// no more than limit, or nothing. A size that is too large is refused before
// anything is fetched.
func (w well) all(ctx context.Context, desc ocispec.Descriptor, what string, limit int64) ([]byte, error) {
	if desc.Size < 0 || desc.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", what, desc.Size, limit)
	}
	if err := desc.Digest.Validate(); err != nil || desc.Digest.Algorithm() != ocidigest.SHA256 {
		return nil, fmt.Errorf("%s has no digest of SHA-256", what)
	}
	r, err := w.fetch.Fetch(ctx, ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := blobs.ReadAll(r, desc)
	if err != nil {
		return nil, fmt.Errorf("%s is not what its digest %s says: %w", what, desc.Digest, err)
	}
	return data, nil
}

func (w well) manifest(ctx context.Context, desc ocispec.Descriptor) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if desc.MediaType != ocispec.MediaTypeImageManifest {
		return m, fmt.Errorf("is %s, and no module", host.Shown(desc.MediaType))
	}
	data, err := w.all(ctx, desc, "the manifest", maxOCIManifest)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("the manifest: %w", err)
	}
	return m, nil
}

// module fetches a module and its signatures. Nothing is unpacked.
func (w well) module(ctx context.Context, desc ocispec.Descriptor) (source, error) {
	var s source
	m, err := w.manifest(ctx, desc)
	if err != nil {
		return s, err
	}
	switch {
	case m.Config.MediaType != wasmConfigType:
		return s, fmt.Errorf("has a config of type %s, and a module %s", host.Shown(m.Config.MediaType), wasmConfigType)
	case len(m.Layers) != 1:
		return s, fmt.Errorf("has %d layers, and a module one", len(m.Layers))
	case m.Layers[0].MediaType != wasmLayerType:
		return s, fmt.Errorf("has a layer of type %s, and a module %s", host.Shown(m.Layers[0].MediaType), wasmLayerType)
	}
	if s.code, err = w.all(ctx, m.Layers[0], "the module", maxModuleFile); err != nil {
		return s, err
	}
	referrers, err := w.referrers(ctx, desc)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return s, fmt.Errorf("its signatures: %w", err)
	}
	var notes [][]byte
	for _, r := range referrers {
		signed, err := w.manifest(ctx, r)
		if err != nil {
			return s, fmt.Errorf("its signatures: %w", err)
		}
		if signed.ArtifactType != signatureType || signed.Subject == nil || signed.Subject.Digest != desc.Digest {
			continue // a layout lists whatever refers to it
		}
		if len(signed.Layers) != 1 || len(notes) == maxSignatures {
			return s, errors.New("its signatures: are not as tenon writes them")
		}
		text, err := w.all(ctx, signed.Layers[0], "a signature", maxNote)
		if err != nil {
			return s, fmt.Errorf("its signatures: %w", err)
		}
		notes = append(notes, text)
	}
	s.signature = joinNotes(notes, s.code)
	return s, nil
}

// joinNotes makes one note of those that sign this module, each signature once.
// Where none does, it is one that does not, so that it can be told what it signs;
// nil where there is none at all.
func joinNotes(notes [][]byte, code []byte) []byte {
	if len(notes) == 0 {
		return nil
	}
	m, _, err := manifestIn("", code)
	if err != nil {
		return notes[0] // the error comes up again
	}
	text := noteText(host.DigestOf(code), m) + "\n"
	joined, seen := []byte(text), map[string]bool{}
	for _, n := range notes {
		lines, ok := bytes.CutPrefix(n, []byte(text))
		for line := range bytes.Lines(lines) {
			if ok && !seen[string(line)] {
				seen[string(line)] = true
				joined = append(joined, line...)
			}
		}
	}
	if len(seen) == 0 {
		return notes[0]
	}
	return joined
}
