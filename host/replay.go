// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// StateVariable names another folder for what is kept between two creates.
const StateVariable = "TENON_STATE"

// StateFolder is where this process keeps what is good until the machine stops:
// settings, traces and records. That is the folder that [StateVariable] names,
// else /run/tenon for root, else tenon in the user's own folder for such things:
// XDG_RUNTIME_DIR of the XDG Base Directory Specification, or /run/user/UID of
// systemd's pam_systemd(8). The root of a rootless engine is such a user. Where
// the folder is not this user's alone, nothing is kept. environ is as os.Environ
// gives it.
func StateFolder(environ []string) string {
	var runtime string
	for _, e := range environ {
		if folder, ok := strings.CutPrefix(e, StateVariable+"="); ok && folder != "" {
			return folder
		}
		if folder, ok := strings.CutPrefix(e, "XDG_RUNTIME_DIR="); ok {
			runtime = folder
		}
	}
	uid := strconv.Itoa(os.Geteuid())
	if uid == "0" {
		n := userNamespace()
		if !n.rootless() {
			return "/run/tenon"
		}
		uid = n.outside
	}
	return filepath.Join(cmp.Or(runtime, "/run/user/"+uid), "tenon")
}

// The settings of traces in the configuration.
const (
	TracesOn    = "on"    // kept and used
	TracesOff   = "off"   // neither
	TracesAudit = "audit" // as on, but one create in auditEvery runs the module all the same
)

// auditEvery is how rarely an audit runs a module that need not run. Where it
// emits something else than its trace says, the trace is marked.
const auditEvery = 100

// TraceKeyOf is the key of a mode's traces. The error says why it has none.
func (c *Config) TraceKeyOf(mode string) (TraceKey, error) {
	installed, err := c.ModuleOf(mode)
	if err != nil {
		return TraceKey{}, err
	}
	digest, err := hex.DecodeString(strings.TrimPrefix(installed.Digest, "sha256:"))
	if err != nil || len(digest) != sha256.Size {
		return TraceKey{}, fmt.Errorf("the digest of %s is none", mode)
	}
	rights, err := c.RightsDigest(mode)
	if err != nil {
		return TraceKey{}, err
	}
	return TraceInputs{Build: BuildID(), Module: [sha256.Size]byte(digest), Grants: rights, Mode: mode, Config: *c}.Key()
}

var errNoTraces = errors.New("traces are off")

// Replay finds in a folder of traces what the module of a mode would emit now. It
// asks the questions of the run again; the leaf is nil where the module has to
// run, and Miss says why.
func Replay(c Config, state, mode string, run *Run) TraceWalk {
	if c.Traces == TracesOff || c.Traces == TracesAudit && rand.IntN(auditEvery) == 0 {
		return TraceWalk{Miss: errNoTraces}
	}
	key, err := c.TraceKeyOf(mode)
	if err != nil {
		return TraceWalk{Miss: err}
	}
	return Traces{filepath.Join(state, "traces")}.Lookup(key, run.QueryOnce)
}

// Peek is [Replay] for who only wants to know. It changes nothing, and never says
// that an audit is due, which is left to chance.
func Peek(c Config, state, mode string, run *Run) TraceWalk {
	if c.Traces == TracesOff {
		return TraceWalk{Miss: errNoTraces}
	}
	key, err := c.TraceKeyOf(mode)
	if err != nil {
		return TraceWalk{Miss: err}
	}
	return Traces{filepath.Join(state, "traces")}.Peek(key, run.Query)
}

// Keep stores the trace of a run that has ended. Its error is for a log: nothing
// that is wrong with traces fails a create.
func Keep(c Config, state, mode string, recording *Recording, leaf TraceLeaf) error {
	if c.Traces == TracesOff {
		return nil
	}
	key, err := c.TraceKeyOf(mode)
	if err != nil {
		return err
	}
	return Traces{filepath.Join(state, "traces")}.Insert(key, recording, leaf)
}
