// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	blobs "oras.land/oras-go/v2/content"

	"github.com/tenon-runtime/tenon/host"
)

// installer is a machine of its own to install into, in a folder.
func installer(t *testing.T) (folder string) {
	t.Helper()
	folder = scriptFolder(t)
	for name, value := range map[string]string{"TENON_CONFIG": "", "TENON_MODULE_DIR": folder + "/store", "TENON_MODULES_D": folder + "/modules.d",
		"TENON_TRUST_D": folder + "/trust.d", "TENON_CACHE_DIR": folder + "/cache", "DOCKER_CONFIG": folder + "/docker"} {
		t.Setenv(name, value)
	}
	return folder
}

// tenon runs a command line, and returns what it printed.
func tenon(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func mustRun(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := tenon(args...)
	if code != 0 {
		t.Fatalf("tenon %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

func writeModule(t *testing.T, file string, code []byte) {
	t.Helper()
	if err := os.WriteFile(file, code, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestModulesTravelThroughARegistry pushes to an independent registry in memory
// and installs from it.
func TestModulesTravelThroughARegistry(t *testing.T) {
	for name, referrers := range map[string]bool{"referrers API": true, "referrers tags": false} {
		t.Run(name, func(t *testing.T) {
			folder := installer(t)
			server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
			defer server.Close()
			repository := strings.TrimPrefix(server.URL, "http://") + "/acme/npu"
			file := folder + "/npu.wasm"
			writeModule(t, file, acme(t, "acme.example/npu", "1.4.2", `"license":"Apache-2.0","grants":{},"edits":{}`))
			mustRun(t, "module", "keygen", "acme.example", "--out", folder+"/acme")
			mustRun(t, "module", "sign", "--key", folder+"/acme.key", file)
			pushed := strings.TrimSpace(mustRun(t, "module", "push", file, repository))
			if !strings.HasPrefix(pushed, repository+"@sha256:") {
				t.Fatalf("pushed as %q", pushed)
			}
			if again := strings.TrimSpace(mustRun(t, "module", "push", file, repository+":latest")); again != pushed {
				t.Errorf("pushed again as %q, not %q", again, pushed)
			}
			// A tag tells the digest; without --output the file has the module's name.
			t.Chdir(t.TempDir())
			for _, tag := range []string{":latest", ":1.4.2"} {
				if got := strings.TrimSpace(mustRun(t, "module", "pull", repository+tag)); got != pushed {
					t.Errorf("%s: pulled as %q, not %q", tag, got, pushed)
				}
				for _, ext := range []string{"", ".sig"} {
					got, err := os.ReadFile("npu.wasm" + ext)
					want, err2 := os.ReadFile(file + ext)
					if err != nil || err2 != nil || !bytes.Equal(got, want) {
						t.Errorf("%s%s: got %q, want %q, %v", tag, ext, got, want, err)
					}
				}
			}
			// The layout is the one of the CNCF.
			var m ocispec.Manifest
			getJSON(t, server.URL+"/v2/acme/npu/manifests/1.4.2", &m)
			var c map[string]any
			getJSON(t, server.URL+"/v2/acme/npu/blobs/"+m.Config.Digest.String(), &c)
			if m.Config.MediaType != "application/vnd.wasm.config.v0+json" || len(m.Layers) != 1 || m.Layers[0].MediaType != "application/wasm" ||
				c["architecture"] != "wasm" || c["os"] != "wasip1" || fmt.Sprint(c["layerDigests"]) != "["+m.Layers[0].Digest.String()+"]" ||
				m.Annotations[ocispec.AnnotationVersion] != "1.4.2" || m.Annotations[ocispec.AnnotationLicenses] != "Apache-2.0" {
				t.Errorf("manifest %+v, config %v", m, c)
			}
			// Signatures that come later are found, and asked for.
			mustRun(t, "module", "keygen", "second.example", "--out", folder+"/second")
			mustRun(t, "module", "sign", "--key", folder+"/second.key", file)
			if err := os.Mkdir(folder+"/trust.d", 0o755); err != nil {
				t.Fatal(err)
			}
			copyFile(t, folder+"/second.pub", folder+"/trust.d/second.pub")
			if code, _, stderr := tenon("module", "install", "--accept-grants", pushed); code != exitCheck || !strings.Contains(stderr, "is signed by acme.example+") {
				t.Errorf("not yet signed: exit code %d, %s", code, stderr)
			}
			mustRun(t, "module", "push", file, repository)
			if out := mustRun(t, "module", "install", "--accept-grants", pushed); !strings.Contains(out, "signature  good, of second.example+") {
				t.Errorf("install:\n%s", out)
			}
			mustRun(t, "module", "verify")
			if out := mustRun(t, "module", "install", file); !strings.Contains(out, "is installed already") {
				t.Errorf("from the file:\n%s", out)
			}
		})
	}
}

func getJSON(t *testing.T, url string, v any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeModule(t, to, data)
}

// hostile is a registry that serves what it likes.
type hostile struct {
	*httptest.Server
	mu        sync.Mutex
	asked     []string // METHOD PATH
	secrets   []string // Authorization headers and forms
	manifests map[string]served
	blobs     map[string]http.HandlerFunc
	referrers http.HandlerFunc
	auth      string // WWW-Authenticate, if it wants credentials
}

type served struct {
	mediaType string
	data      []byte
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{manifests: map[string]served{}, blobs: map[string]http.HandlerFunc{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hostile) host() string { return strings.TrimPrefix(h.URL, "http://") }

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	h.mu.Lock()
	h.asked = append(h.asked, r.Method+" "+r.URL.Path)
	if secret := r.Header.Get("Authorization") + string(body); secret != "" {
		h.secrets = append(h.secrets, secret)
	}
	h.mu.Unlock()
	if h.auth != "" && r.Header.Get("Authorization") == "" {
		w.Header().Set("WWW-Authenticate", h.auth)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	last := filepath.Base(r.URL.Path)
	switch {
	case strings.Contains(r.URL.Path, "/referrers/") && h.referrers != nil:
		h.referrers(w, r)
	case strings.Contains(r.URL.Path, "/referrers/"):
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
	case strings.Contains(r.URL.Path, "/manifests/") && h.manifests[last].data != nil:
		m := h.manifests[last]
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Content-Length", fmt.Sprint(len(m.data)))
		if r.Method != http.MethodHead {
			w.Write(m.data)
		} else {
			w.Header().Set("Docker-Content-Digest", last)
		}
	case strings.Contains(r.URL.Path, "/blobs/") && h.blobs[last] != nil:
		h.blobs[last](w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func bytesHandler(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.Write(data) }
}

// offer puts a manifest there and returns the reference to it.
func (h *hostile) offer(m ocispec.Manifest) string {
	m.SchemaVersion, m.MediaType = 2, ocispec.MediaTypeImageManifest
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	desc := blobs.NewDescriptorFromBytes(m.MediaType, data)
	h.manifests[desc.Digest.String()] = served{m.MediaType, data}
	return h.host() + "/acme/npu@" + desc.Digest.String()
}

// T45: a registry that means harm. Whatever it does, nothing is installed, nothing
// is written, and its credentials go to it alone.
func TestT45AHostileRegistryInstallsNothing(t *testing.T) {
	code := acme(t, "acme.example/npu", "1.4.2", `"grants":{},"edits":{}`)
	layer := blobs.NewDescriptorFromBytes(wasmLayerType, code)
	module := func(layers ...ocispec.Descriptor) ocispec.Manifest {
		return ocispec.Manifest{Config: blobs.NewDescriptorFromBytes(wasmConfigType, []byte("{}")), Layers: layers}
	}
	sized := func(size int64) ocispec.Descriptor { d := layer; d.Size = size; return d }
	endless := func(w http.ResponseWriter, r *http.Request) {
		for range 1 << 20 { // a GiB, without a length
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	}
	tar := append([]byte("../../../etc/passwd"), make([]byte, 1024)...)
	for name, test := range map[string]struct {
		offer  func(h *hostile) string
		want   string // in the error
		unread bool   // no blob may have been asked for
	}{
		"wrong manifest": {func(h *hostile) string {
			ref := h.offer(module(layer))
			for digest, m := range h.manifests {
				m.data = bytes.Replace(m.data, []byte("wasm.config"), []byte("wasm.cnofig"), 1)
				h.manifests[digest] = m
			}
			return ref
		}, "the manifest is not what its digest", true},
		"wrong module": {func(h *hostile) string {
			bad := bytes.Clone(code)
			bad[len(bad)-3] ^= 1
			h.blobs[layer.Digest.String()] = bytesHandler(bad)
			return h.offer(module(layer))
		}, "the module is not what its digest", false},
		"1 GB by its word": {func(h *hostile) string {
			h.blobs[layer.Digest.String()] = endless
			return h.offer(module(sized(1 << 30)))
		}, "the module has 1073741824 bytes, more than 8388608", true},
		"negative": {func(h *hostile) string { return h.offer(module(sized(-1))) }, "the module has -1 bytes", true},
		"1 GB without a word": {func(h *hostile) string {
			h.blobs[layer.Digest.String()] = endless
			return h.offer(module(layer))
		}, "the module is not what its digest", false},
		"another length": {func(h *hostile) string {
			h.blobs[layer.Digest.String()] = bytesHandler(append(bytes.Clone(code), 0))
			return h.offer(module(layer))
		}, "mismatch Content-Length", false},
		"short": {func(h *hostile) string {
			h.blobs[layer.Digest.String()] = func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				w.Write(code[:10])
			}
			return h.offer(module(layer))
		}, "the module is not what its digest", false},
		"no sha256": {func(h *hostile) string {
			d := layer
			d.Digest = "md5:d41d8cd98f00b204e9800998ecf8427e"
			return h.offer(module(d))
		}, "the module has no digest of SHA-256", true},
		"path for a digest": {func(h *hostile) string {
			d := layer
			d.Digest = "sha256:../../../../etc/passwd"
			return h.offer(module(d))
		}, "the module has no digest of SHA-256", true},
		"tar": {func(h *hostile) string {
			d := blobs.NewDescriptorFromBytes(ocispec.MediaTypeImageLayerGzip, tar)
			h.blobs[d.Digest.String()] = bytesHandler(tar)
			return h.offer(module(d))
		}, "has a layer of type application/vnd.oci.image.layer.v1.tar+gzip, and a module application/wasm", true},
		"tar that says it is a module": {func(h *hostile) string {
			d := blobs.NewDescriptorFromBytes(wasmLayerType, tar)
			h.blobs[d.Digest.String()] = bytesHandler(tar)
			return h.offer(module(d))
		}, "is not a WebAssembly module", false},
		"two layers": {func(h *hostile) string { return h.offer(module(layer, layer)) }, "has 2 layers, and a module one", true},
		"no layer":   {func(h *hostile) string { return h.offer(module()) }, "has 0 layers, and a module one", true},
		"image": {func(h *hostile) string {
			m := module(layer)
			m.Config.MediaType = ocispec.MediaTypeImageConfig
			return h.offer(m)
		}, "has a config of type application/vnd.oci.image.config.v1+json, and a module " + wasmConfigType, true},
		"index": {func(h *hostile) string {
			data := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
			desc := blobs.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, data)
			h.manifests[desc.Digest.String()] = served{desc.MediaType, data}
			return h.host() + "/acme/npu@" + desc.Digest.String()
		}, "is application/vnd.oci.image.index.v1+json, and no module", true},
		"manifest of a MiB": {func(h *hostile) string {
			m := module(layer)
			m.Annotations = map[string]string{"x": strings.Repeat("x", 1<<20)}
			return h.offer(m)
		}, "the manifest has 104", true},
		"endless referrers": {func(h *hostile) string {
			h.blobs[layer.Digest.String()] = bytesHandler(code)
			h.referrers = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
				w.Header().Set("Link", "<"+r.URL.Path+"?n=1>; rel=\"next\"")
				fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
			}
			return h.offer(module(layer))
		}, "its signatures: referrer listing exceeded 4 pages", false},
		"redirects to itself": {func(h *hostile) string {
			h.blobs[layer.Digest.String()] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
			return h.offer(module(layer))
		}, "redirects more than 5 times", false},
		"redirects without TLS": {func(h *hostile) string {
			h.blobs[layer.Digest.String()] = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://registry.invalid/blob", http.StatusFound)
			}
			return h.offer(module(layer))
		}, "registry.invalid: is to be asked without TLS; that is for this machine only", false},
		"redirects to a file": {func(h *hostile) string {
			h.blobs[layer.Digest.String()] = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
			}
			return h.offer(module(layer))
		}, "is to be asked without TLS", false},
		"nothing there": {func(h *hostile) string {
			return h.host() + "/acme/npu@" + layer.Digest.String()
		}, "not found", true},
	} {
		t.Run(name, func(t *testing.T) {
			folder := installer(t)
			h := newHostile(t)
			ref := test.offer(h)
			for _, args := range [][]string{{"module", "install", "--accept-grants", ref}, {"module", "pull", ref, "--output", folder + "/out.wasm"}} {
				code, stdout, stderr := tenon(args...)
				if args[1] == "pull" && strings.HasPrefix(test.want, "is not a WebAssembly") {
					test.want = "is not a core WebAssembly module"
				}
				if code == 0 || !strings.HasPrefix(stderr, "tenon: "+ref+": ") || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
					t.Errorf("%s: exit code %d\n%s%s\nwant %s", args[1], code, stdout, stderr, test.want)
				}
			}
			if entries, err := os.ReadDir(folder); err != nil || len(entries) > 0 {
				t.Errorf("something was written: %v, %v", entries, err)
			}
			for _, asked := range h.asked {
				if test.unread && strings.Contains(asked, "/blobs/") {
					t.Errorf("a blob was asked for: %v", h.asked)
				}
			}
		})
	}
}

// T45: who may be sent the credentials for a registry.
func TestT45CredentialsGoToTheirRegistryAlone(t *testing.T) {
	code := acme(t, "acme.example/npu", "1.4.2", `"grants":{},"edits":{}`)
	layer := blobs.NewDescriptorFromBytes(wasmLayerType, code)
	config := blobs.NewDescriptorFromBytes(wasmConfigType, []byte("{}"))
	const secret = "user:hunter2"
	prepare := func(t *testing.T) (folder string, h, elsewhere *hostile, ref string) {
		folder, h, elsewhere = installer(t), newHostile(t), newHostile(t)
		ref = h.offer(ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{layer}})
		docker := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, h.host(), base64.StdEncoding.EncodeToString([]byte(secret)))
		if err := os.Mkdir(folder+"/docker", 0o700); err != nil {
			t.Fatal(err)
		}
		writeModule(t, folder+"/docker/config.json", []byte(docker))
		h.blobs[layer.Digest.String()] = bytesHandler(code)
		return folder, h, elsewhere, ref
	}
	t.Run("content that lies elsewhere", func(t *testing.T) {
		_, h, elsewhere, ref := prepare(t)
		h.auth = `Basic realm="r"`
		elsewhere.blobs[layer.Digest.String()] = bytesHandler(code)
		h.blobs[layer.Digest.String()] = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}
		mustRun(t, "module", "install", "--accept-grants", ref)
		if len(h.secrets) == 0 || len(elsewhere.asked) == 0 {
			t.Errorf("asked with credentials %d times, elsewhere %v", len(h.secrets), elsewhere.asked)
		}
		if len(elsewhere.secrets) > 0 {
			t.Errorf("elsewhere was sent %q", elsewhere.secrets)
		}
	})
	t.Run("elsewhere asks for them", func(t *testing.T) {
		_, h, elsewhere, ref := prepare(t)
		h.auth, elsewhere.auth = `Basic realm="r"`, `Basic realm="r"`
		h.blobs[layer.Digest.String()] = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}
		if code, _, stderr := tenon("module", "install", "--accept-grants", ref); code == 0 {
			t.Errorf("exit code %d, %s", code, stderr)
		}
		if len(elsewhere.asked) == 0 || len(elsewhere.secrets) > 0 {
			t.Errorf("elsewhere was asked %v with %q", elsewhere.asked, elsewhere.secrets)
		}
	})
	t.Run("a token from elsewhere", func(t *testing.T) {
		_, h, elsewhere, ref := prepare(t)
		h.auth = fmt.Sprintf(`Bearer realm=%q,service="s"`, elsewhere.URL+"/token")
		want := fmt.Sprintf("%s: is to be sent the credentials for %s; if that is right, give --auth-host %s", elsewhere.host(), h.host(), elsewhere.host())
		code, _, stderr := tenon("module", "install", "--accept-grants", ref)
		if code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, %s, want %s", code, stderr, want)
		}
		if len(elsewhere.asked) > 0 {
			t.Errorf("elsewhere was asked %v", elsewhere.asked)
		}
		// Told so, they are sent: it answers 404, and no more comes of it.
		if code, _, _ := tenon("module", "install", "--accept-grants", "--auth-host", elsewhere.host(), ref); code != 1 || len(elsewhere.secrets) == 0 {
			t.Errorf("exit code %d, elsewhere was asked %v with %q", code, elsewhere.asked, elsewhere.secrets)
		}
	})
}

// T44, for a registry: a signature of another module is none of this one, and does
// not hide those that are.
func TestT44SignaturesInARegistry(t *testing.T) {
	code := acme(t, "acme.example/npu", "1.4.2", `"grants":{},"edits":{}`)
	m, _, err := manifestIn("", code)
	if err != nil {
		t.Fatal(err)
	}
	signer, _ := keyPair(t, "acme.example")
	second, _ := keyPair(t, "second.example")
	of := noteText(host.DigestOf(code), m)
	other := signed(t, noteText("sha256:"+strings.Repeat("ab", 32), m), signer)
	one, two := signed(t, of, signer), signed(t, of, second)
	joined := joinNotes([][]byte{other, one, two, one}, code)
	n, err := openNote(joined, nil)
	if err != nil || n.Text != of || len(n.UnverifiedSigs) != 2 {
		t.Errorf("joined %q, %v", joined, err)
	}
	if got := joinNotes([][]byte{other}, code); !bytes.Equal(got, other) {
		t.Errorf("another alone: %q", got)
	}
	if got := joinNotes(nil, code); got != nil {
		t.Errorf("none: %q", got)
	}
}
