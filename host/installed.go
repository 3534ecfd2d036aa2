// SPDX-License-Identifier: Apache-2.0

package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-runtime/tenon/discover"
)

// ModulesFolder holds a file NAME.toml for each module that is installed.
const ModulesFolder = "/etc/tenon/modules.d"

// Installed is what the administrator has accepted of one module, as the file of
// its mode in ModulesFolder has it. Texts are kept as they stand, and read when a
// container is for the mode.
type Installed struct {
	// Name is that of the mode.
	Name string
	// Digest is of the module's file: "sha256:" and 64 digits in small letters.
	Digest string
	// Order says which modes come first, the lower number before the higher.
	Order int
	// Manifest is the JSON of the module's own manifest, as it was when the
	// module was installed: what a module may do is known without reading it.
	Manifest string
	// Accepted is the JSON of what the administrator grants of it; see ParseGrants.
	Accepted string
	// File is the absolute path of the module, Entry that of the file which says
	// all this.
	File, Entry string
	// Problem is what is wrong with Entry, in one line that begins with its path;
	// "" for nothing. A create that needs the mode fails with it, and no other. Of
	// the rest, Name and Entry alone count then.
	Problem string
	// Packed is what Read returns in the form of a file of settings, which alone
	// has it; "" elsewhere, and where Read fails.
	Packed string
}

// Read returns the manifest and the accepted grants. Errors begin with Entry.
func (i *Installed) Read() (Manifest, Grants, error) {
	m, err := ParseManifest([]byte(i.Manifest))
	if err != nil {
		return Manifest{}, Grants{}, fmt.Errorf("%s: %w", i.Entry, err)
	}
	accepted, err := ParseGrants("accepted", []byte(i.Accepted))
	if err != nil {
		return Manifest{}, Grants{}, fmt.Errorf("%s: %w", i.Entry, err)
	}
	return m, accepted, nil
}

// IsDigest reports whether s is "sha256:" and 64 digits in small letters.
func IsDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	sum, err := hex.DecodeString(digits)
	return ok && err == nil && len(sum) == sha256.Size && strings.ToLower(digits) == digits
}

// CheckModule refuses code, the bytes that are about to be run, where they are
// not those that were installed, or have no manifest. Errors say what is wrong
// with the module, without its name.
func (i *Installed) CheckModule(code []byte) error {
	if digest := DigestOf(code); digest != i.Digest {
		return fmt.Errorf("is not the module that was installed: its digest is %s, and %s has %s; run \"tenon module install\" again", digest, i.Entry, i.Digest)
	}
	manifest, err := ManifestOf(code)
	if err != nil {
		return err
	}
	if string(manifest) != i.Manifest {
		return fmt.Errorf("has another manifest than %s; run \"tenon module install\" again", i.Entry)
	}
	return nil
}

// DigestOf returns the digest of a module: "sha256:" and 64 digits.
func DigestOf(code []byte) string {
	sum := sha256.Sum256(code)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ModuleOf finds the installed module of a mode. The error says what the
// administrator is to do; it is without the mode's name.
func (c *Config) ModuleOf(mode string) (*Installed, error) {
	for i := range c.Installed {
		switch m := &c.Installed[i]; {
		case m.Name != mode:
		case m.Problem != "":
			return nil, errors.New(m.Problem)
		default:
			return m, nil
		}
	}
	todo := `run "tenon module install FILE"`
	if c.ModeFrom != "" && slices.Contains(c.Mode, mode) {
		todo += ", or correct mode in " + c.ModeFrom
	}
	return nil, errors.New("is not installed; " + todo)
}

// module is what is installed of a mode, read. Nobody changes it.
type module struct {
	manifest Manifest
	rights   Rights
}

// module finds it. Errors are without the mode's name.
func (c *Config) module(mode string) (*module, error) {
	i, err := c.ModuleOf(mode)
	if err != nil {
		return nil, err
	}
	key := moduleTexts{i.Manifest, i.Accepted, c.DriverRoot}
	if known, ok := readModules.Load(key); ok {
		return known.(*module), nil
	}
	manifest, accepted, ok := i.unpack()
	if !ok {
		if manifest, accepted, err = i.Read(); err != nil {
			return nil, err
		}
	}
	m := &module{manifest, NewRights(manifest.Grants, accepted, c.DriverRoot)}
	readModules.Store(key, m)
	return m, nil
}

// readModules keeps each *module by its moduleTexts: a create needs it for the
// conditions, for the queries and for the edits.
var readModules sync.Map

type moduleTexts struct{ manifest, accepted, driverRoot string }

// Applies reports whether a container is for a mode: false only where the manifest
// of its module says for which containers it is. It asks the request alone, no file.
// Errors begin with "mode NAME: "; they are about a module that is not installed, its
// file in ModulesFolder, or a container that asks for devices with what is no list.
func (c *Config) Applies(mode string, req *discover.Request) (bool, error) {
	m, err := c.module(mode)
	if err != nil {
		return false, fmt.Errorf("mode %s: %w", mode, err)
	}
	asks, err := m.rights.asks(c, mode, req)
	if err != nil {
		return false, fmt.Errorf("mode %s: %w", mode, err)
	}
	return asks || m.manifest.AppliesTo(*c, req), nil
}

// LimitsOf returns the limits of a run of a mode's module: those of c, or those
// of its manifest where they are lower. Errors are as those of Applies.
func (c *Config) LimitsOf(mode string) (Limits, error) {
	m, err := c.module(mode)
	if err != nil {
		return Limits{}, fmt.Errorf("mode %s: %w", mode, err)
	}
	return m.manifest.Limits.Within(c.Limits), nil
}

// RightsDigest is of what a mode's module may ask and edit, as it is enforced.
// Errors are as those of Applies.
func (c *Config) RightsDigest(mode string) ([sha256.Size]byte, error) {
	i, err := c.ModuleOf(mode)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("mode %s: %w", mode, err)
	}
	return sha256.Sum256(appendText(appendText(nil, i.Manifest), i.Accepted)), nil
}
