// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocidigest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	blobs "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"github.com/tenon-runtime/tenon/host"
)

// Modules in registries: the artifact of
// https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/ , an image
// manifest with a config that names WebAssembly and the one layer that is the
// module. Signatures are artifacts of their own that refer to it (the subject of
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md): so a
// module can be signed, and signed again, without changing the digest by which
// machines name it.
const (
	wasmConfigType   = "application/vnd.wasm.config.v0+json"
	wasmLayerType    = "application/wasm"
	signatureType    = "application/vnd.tenon.module.signature.v1"
	layoutPrefix     = "oci-layout:"
	maxOCIManifest   = 64 << 10 // bytes
	maxReferrerPages = 4
	registryTime     = 5 * time.Minute // for all that one command asks of a registry
	answerTime       = 30 * time.Second
	maxRedirects     = 5
)

// wasmConfig is the config of the artifact.
type wasmConfig struct {
	Architecture string   `json:"architecture"` // "wasm"
	OS           string   `json:"os"`           // "wasip1": core WebAssembly
	LayerDigests []string `json:"layerDigests"`
}

// pullFlags are about registries.
type pullFlags struct{ authHosts []string }

func (f *pullFlags) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.authHosts, "auth-host", nil, "another host than the registry's that may be sent its credentials, for a token")
}

// client is for one registry, at host. It sends credentials to that host alone,
// and to those that --auth-host names: a registry may answer that a token is to be
// had elsewhere, or that content is, and neither place is known to whoever runs
// this.
func (f pullFlags) client(host string) (*auth.Client, error) {
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = answerTime
	return &auth.Client{
		Client: &http.Client{
			Transport: guardedTransport{transport, append([]string{host}, f.authHosts...)},
			CheckRedirect: func(r *http.Request, via []*http.Request) error {
				if len(via) >= maxRedirects {
					return fmt.Errorf("%s: redirects more than %d times", host, maxRedirects)
				}
				return nil
			},
		},
		Header:     http.Header{"User-Agent": {"tenon/" + built().Version}},
		Credential: credentials.Credential(store),
		Cache:      auth.NewSingleContextCache(),
	}, nil
}

// guardedTransport lets no credentials out to a host that is not in hosts, and
// nothing at all without TLS but to this machine.
type guardedTransport struct {
	http.RoundTripper
	hosts []string // HOST or HOST:PORT
}

func (t guardedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !isLoopback(r.URL.Host) {
		return nil, fmt.Errorf("%s: is to be asked without TLS; that is for this machine only", printable(r.URL.Host))
	}
	// A token is asked for with the credentials in the body (OAuth2), or in the header.
	secret := r.Header.Get("Authorization") != "" ||
		r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/x-www-form-urlencoded"
	if secret && !slices.Contains(t.hosts, r.URL.Host) {
		return nil, fmt.Errorf("%s: is to be sent the credentials for %s; if that is right, give --auth-host %s",
			printable(r.URL.Host), t.hosts[0], printable(r.URL.Host))
	}
	return t.RoundTripper.RoundTrip(r)
}

// isLoopback reports whether HOST or HOST:PORT is this machine by its name.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// repository opens the repository of a reference.
func (f pullFlags) repository(ref registry.Reference) (*remote.Repository, error) {
	client, err := f.client(ref.Host())
	if err != nil {
		return nil, err
	}
	return &remote.Repository{
		Client: client, Reference: ref, PlainHTTP: isLoopback(ref.Host()),
		ManifestMediaTypes: []string{ocispec.MediaTypeImageManifest},
		MaxMetadataBytes:   maxOCIManifest, ReferrerListMaxPages: maxReferrerPages,
	}, nil
}

func modulePushCommand() *cobra.Command {
	var f pullFlags
	c := &cobra.Command{
		Use:   "push FILE REF|oci-layout:DIR",
		Short: "Put a module into a registry, with its signatures",
		Long: `Put a module into a registry, or into an OCI layout in a folder, and print the
name by which it can be installed. Signatures in FILE.sig go with it, as a
referrer; to add one later, push again: the name stays.

Credentials are those of "docker login", "podman login" and "oras login".`,
		Example: "  tenon module push npu.wasm registry.example/vendor/npu:1.4.2\n  tenon module push npu.wasm oci-layout:/mnt/modules",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("%s: wants FILE and REF; see %q", where(c), c.CommandPath()+" --help")
			}
			return nil
		},
		ValidArgsFunction: wasmFiles,
	}
	f.add(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		s, err := fileSource(args[0])
		if err != nil {
			return err
		}
		m, _, err := manifestIn(s.name, s.code)
		if err != nil {
			return err
		}
		var name string
		err = progress(c, "pushing "+args[0], func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, registryTime)
			defer cancel()
			name, err = f.push(ctx, s, m, args[1])
			return err
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), name)
		return err
	}
	return c
}

// A shelf is where artifacts can be put: a repository or a layout.
type shelf interface {
	blobs.Pusher
	blobs.Tagger
	Exists(context.Context, ocispec.Descriptor) (bool, error)
}

func (f pullFlags) push(ctx context.Context, s source, m host.Manifest, to string) (name string, err error) {
	var target shelf
	tag := m.Version
	if dir, ok := strings.CutPrefix(to, layoutPrefix); ok && dir == "" {
		return "", usage("%q: names no folder", to)
	} else if ok {
		if target, err = oci.NewWithContext(ctx, dir); err != nil {
			return "", fmt.Errorf("%s: %w", printable(to), host.Bare(err))
		}
		name = to
	} else {
		ref, err := parseRef(to)
		if err != nil {
			return "", err
		}
		if ref.Reference != "" {
			if ref.ValidateReferenceAsTag() != nil {
				return "", usage("module push: %s: names a digest, which the module gives itself; name a tag", to)
			}
			tag = ref.Reference
		}
		name = ref.Registry + "/" + ref.Repository
		if target, err = f.repository(ref); err != nil {
			return "", err
		}
	}
	tag = strings.ReplaceAll(tag, "+", "_") // which no tag may have
	desc, err := pushArtifact(ctx, target, artifactOf(s, m))
	if err == nil {
		err = target.Tag(ctx, desc, tag)
	}
	if err == nil && s.signature != nil {
		_, err = pushArtifact(ctx, target, signatureOf(s, desc))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", to, err)
	}
	return name + "@" + desc.Digest.String(), nil
}

// An artifact is a manifest and the blobs that it names.
type artifact struct {
	manifest ocispec.Manifest
	parts    [][]byte // the config, then the layers
}

// artifactOf has no date, so that the same module always has the same digest.
func artifactOf(s source, m host.Manifest) artifact {
	layer := blobs.NewDescriptorFromBytes(wasmLayerType, s.code)
	layer.Annotations = map[string]string{ocispec.AnnotationTitle: filepath.Base(m.Name) + ".wasm"}
	config, err := json.Marshal(wasmConfig{"wasm", "wasip1", []string{layer.Digest.String()}})
	if err != nil {
		panic(err) // strings; a bug of ours
	}
	annotations := map[string]string{ocispec.AnnotationTitle: m.Name, ocispec.AnnotationVersion: m.Version}
	for key, value := range map[string]string{ocispec.AnnotationLicenses: m.License, ocispec.AnnotationSource: m.Source} {
		if value != "" {
			annotations[key] = value
		}
	}
	a := artifact{parts: [][]byte{config, s.code}}
	a.manifest = ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Annotations: annotations,
		Config: blobs.NewDescriptorFromBytes(wasmConfigType, config), Layers: []ocispec.Descriptor{layer},
	}
	return a
}

func signatureOf(s source, module ocispec.Descriptor) artifact {
	subject := ocispec.Descriptor{MediaType: module.MediaType, Digest: module.Digest, Size: module.Size}
	// The type stands in the config too, for registries that list referrers by that.
	config := []byte("{}")
	a := artifact{parts: [][]byte{config, s.signature}}
	a.manifest = ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: signatureType, Subject: &subject,
		Config: blobs.NewDescriptorFromBytes(signatureType, config), Layers: []ocispec.Descriptor{blobs.NewDescriptorFromBytes(signatureType, s.signature)},
	}
	return a
}

func pushArtifact(ctx context.Context, to shelf, a artifact) (ocispec.Descriptor, error) {
	a.manifest.SchemaVersion = 2
	text, err := json.Marshal(a.manifest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	descs := append([]ocispec.Descriptor{a.manifest.Config}, a.manifest.Layers...)
	for i, part := range append(slices.Clone(a.parts), text) {
		desc := blobs.NewDescriptorFromBytes(a.manifest.MediaType, text)
		if i < len(descs) {
			desc = descs[i]
		}
		there, err := to.Exists(ctx, desc)
		if err == nil && !there {
			err = to.Push(ctx, desc, strings.NewReader(string(part)))
		}
		if err != nil {
			return desc, err
		}
	}
	return blobs.NewDescriptorFromBytes(a.manifest.MediaType, text), nil
}

func parseRef(text string) (registry.Reference, error) {
	ref, err := registry.ParseReference(text)
	if err != nil {
		return ref, usage("%s: is not a name in a registry, such as registry.example/vendor/npu:1.4.2", printable(text))
	}
	return ref, nil
}

// isRegistryName tells REF from FILE: a path that is there is one.
func isRegistryName(arg string) bool {
	if _, err := os.Lstat(arg); err == nil || !errors.Is(err, os.ErrNotExist) {
		return false
	}
	host, rest, ok := strings.Cut(arg, "/")
	return ok && rest != "" && (strings.ContainsAny(host, ".:") && !strings.HasPrefix(host, ".") || host == "localhost") && !strings.HasSuffix(arg, ".wasm")
}

// digestOf is the digest that a reference ends in; "" for none.
func digestOf(ref registry.Reference) ocidigest.Digest {
	d, err := ocidigest.Parse(ref.Reference)
	if err != nil || d.Algorithm() != ocidigest.SHA256 {
		return ""
	}
	return d
}
