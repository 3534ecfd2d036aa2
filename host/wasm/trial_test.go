// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/host"
)

// trialManifest grants one variable, and the device /dev/acme0.
var trialManifest = host.Manifest{
	Name: "acme.example/acme", Version: "1.0.0",
	Grants: host.Grants{Queries: host.QueryGrants{Env: []string{"A"}}, Edits: host.EditGrants{Devices: []string{"/dev/acme0"}}},
}

func trialOf(t *testing.T, code []byte) Trial {
	c := host.DefaultConfig()
	c.Limits.WallMS = 60000
	return Trial{Config: c, Mode: "acme", Manifest: trialManifest, File: "acme.wasm", Code: code, Request: requestOf(t, `{"process":{"env":["A=b","C=d"]}}`)}
}

func TestTrialIsHeldToTheManifest(t *testing.T) {
	device := func(path string) []byte {
		return emitAndReturn(emitEdits, `{"abi":1,"containerEdits":{"deviceNodes":[{"path":"`+path+`"}]}}`, host.ResultDone)
	}
	r, err := trialOf(t, device("/dev/acme0")).Discover(t.Context())
	if err != nil || len(r.Edits.ContainerEdits.DeviceNodes) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	_, err = trialOf(t, device("/dev/acme1")).Discover(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "mode acme: ") || !strings.Contains(err.Error(), "/dev/acme1") {
		t.Errorf("an edit that is not granted: %v", err)
	}
	_, err = trialOf(t, []byte("text")).Discover(t.Context())
	if err == nil || err.Error() != "acme.wasm: is not a WebAssembly module" {
		t.Errorf("no module: %v", err)
	}
	_, err = trialOf(t, emitAndReturn(emitReason, "/dev/acme0: is gone", host.ResultFailed)).Discover(t.Context())
	if err == nil || err.Error() != "/dev/acme0: is gone" {
		t.Errorf("a reason: %v", err)
	}
}

// TestTrialAsksWhoItIsTold: another may answer in the place of this machine, and
// asks it where it wants.
func TestTrialAsksWhoItIsTold(t *testing.T) {
	for key, want := range map[string]int32{"A": 1, "C": host.CodeDenied} { // the length of "b", or a code
		trial := trialOf(t, queryAndReturn(opEnv, 0, 0, 1, 8, 1, key))
		var asked []string
		trial.Ask = func(r *host.Run) host.Ask {
			return func(op, root uint32, key string) ([]byte, int32) {
				asked = append(asked, key)
				answer, code := r.Query(op, root, key)
				if got := int32(len(answer)) + code; got != want {
					t.Errorf("%s: %q, %d; want %d", key, answer, code, want)
				}
				return answer, code
			}
		}
		_, _ = trial.Discover(t.Context()) // what it returns is no result of the ABI
		if !slices.Equal(asked, []string{key}) {
			t.Errorf("asked %q, want %q", asked, key)
		}
	}
}

// TestVariantsDiffer: 0 is what every create has.
func TestVariantsDiffer(t *testing.T) {
	a, b, again := newRandom(0), newRandom(1), newRandom(0)
	if a, b := a.Uint64(), b.Uint64(); a == b || a != again.Uint64() {
		t.Error("random numbers do not hang on the variant, and on nothing else")
	}
}
