// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/semver"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
	"github.com/tenon-runtime/tenon/host/wasm"
)

// installFlags are those of module install.
type installFlags struct {
	acceptGrants, allowDowngrade, allowUnsigned, inPlace bool
	mode, root                                           string
	order                                                int
	pull                                                 pullFlags
}

func moduleInstallCommand() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install FILE|oci-layout:DIR|REF@sha256:DIGEST",
		Short: "Install a module, with what you grant it",
		Long: `Install a module from a file, from an OCI layout in a folder, or from a registry.

The module is checked without running it, and so is its signature: where
/etc/tenon/trust.d has keys, one of them must have signed it, in FILE.sig or
beside it in the registry. Then it is told what the module may ask and change,
and how that differs from what is installed, and you are asked. What you accept
is written to /etc/tenon/modules.d/MODE.toml with the digest of the module; no
other module and no other version will be run for the mode, and none with more
rights. The module itself goes to /var/lib/tenon/modules, and is compiled, so
that containers need not wait for it.

MODE is the last part of the module's name: npu for vendor.example/npu. To
install the same again changes nothing. What was installed before is kept for
"tenon module rollback".

A registry's module is named by the digest of its manifest, since a tag can be
moved; "tenon module pull" tells the digest of a tag.`,
		Example: `  tenon module install ./npu.wasm
  tenon module install oci-layout:/mnt/modules
  tenon module install registry.example/vendor/npu@sha256:65fd7d45…
  tenon module install --root "$DESTDIR" --accept-grants --in-place "$DESTDIR/usr/lib/tenon/modules/npu.wasm"`,
		Args: one("FILE, oci-layout:DIR or REF@sha256:DIGEST"),
	}
	c.ValidArgsFunction = wasmFiles
	flags := c.Flags()
	flags.BoolVar(&f.acceptGrants, "accept-grants", false, "accept what the module asks for, without a question")
	flags.BoolVar(&f.allowDowngrade, "allow-downgrade", false, "take a lower version than the one that is installed")
	flags.BoolVar(&f.allowUnsigned, "allow-unsigned", false, "take a module without a good signature, though there are keys")
	flags.BoolVar(&f.inPlace, "in-place", false, "leave FILE where it is instead of copying it")
	flags.StringVar(&f.mode, "mode", "", "the name of the mode, where it is not to be the last part of the module's name")
	flags.IntVar(&f.order, "order", config.DefaultOrder, "the place of the mode among others, 0 to 9999")
	flags.StringVar(&f.root, "root", "", "install into the system below this folder, as packages do")
	f.pull.add(flags)
	format := formatFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		out := c.OutOrStdout()
		if *format == "json" {
			out = c.ErrOrStderr()
		}
		i, err := f.open(c, args[0], out)
		if err != nil {
			return err
		}
		if err := i.install(c); err != nil {
			return err
		}
		if *format == "json" {
			report, err := i.place.report(i.entry)
			if err != nil {
				return err
			}
			return printJSON(c.OutOrStdout(), report)
		}
		return nil
	}
	return c
}

// source is a module that may be installed, and where it is from.
type source struct {
	name      string // for messages
	code      []byte
	signature []byte // nil where there is none
}

// An installation is one module on its way in.
type installation struct {
	source
	flags    installFlags
	place    place
	out      io.Writer
	manifest host.Manifest
	entry    config.Module  // what will be
	before   *config.Module // what is installed; nil for nothing
}

// open reads the module and holds it against all that can be known without running it.
func (f installFlags) open(c *cobra.Command, arg string, out io.Writer) (*installation, error) {
	if f.order < 0 || f.order > 9999 {
		return nil, usage("%s: --order %d: must be 0 to 9999", where(c), f.order)
	}
	p, err := placeAt(f.root)
	if err != nil {
		return nil, err
	}
	i := &installation{flags: f, place: p, out: out}
	if i.source, err = f.pull.source(c, arg); err != nil {
		return nil, err
	}
	if err := wasm.CheckCode(i.code); err != nil {
		return nil, exitError{exitCheck, fmt.Errorf("%s: %w", i.name, err)}
	}
	var text []byte
	if i.manifest, text, err = manifestIn(i.name, i.code); err != nil {
		return nil, exitError{exitCheck, err}
	}
	mode := f.mode
	if mode == "" {
		mode = path.Base(i.manifest.Name)
	}
	if !host.IsModeName(mode) {
		return nil, usage("%s: mode %q: is not a name of small letters, digits, dots and dashes; give one with --mode", where(c), mode)
	}
	i.entry = config.Module{Installed: host.Installed{
		Name: mode, Digest: host.DigestOf(i.code), Order: f.order, Manifest: string(text), Entry: p.entry(mode),
	}}
	if i.entry.Accepted, err = acceptAll(text); err != nil {
		return nil, err
	}
	i.entry.File = config.StoredModule(p.config.ModuleDir, i.entry.Digest)
	if f.inPlace {
		if i.entry.File, err = p.inPlace(arg); err != nil {
			return nil, err
		}
	}
	trust, err := p.readTrust()
	if err != nil {
		return nil, err
	}
	signed, err := trust.check(i.signature, i.entry.Digest, i.manifest)
	if err != nil && !f.allowUnsigned {
		return nil, exitError{exitCheck, fmt.Errorf("%s: %w", i.name, err)}
	}
	if err != nil {
		i.signature = nil // it is worth nothing
	}
	i.entry.SignedBy = signed
	if i.before, err = p.module(p.entry(mode)); err != nil {
		return nil, err
	}
	return i, i.compare(c)
}

// inPlace is the path, as the runtime will see it, of a module that stays where it
// is.
func (p place) inPlace(arg string) (string, error) {
	file, err := filepath.Abs(arg)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(p.root, file)
	if err != nil || !filepath.IsLocal(rel) {
		return "", usage("module install: %s: is not below %s, where --in-place could leave it", arg, p.root)
	}
	seen := "/" + rel
	if !p.here() {
		return seen, nil
	}
	f, err := host.OpenTrusted(seen) // as a create would
	if err != nil {
		return "", err
	}
	return seen, f.Close()
}

// acceptAll is what an administrator accepts who accepts all of a manifest.
func acceptAll(manifest []byte) (string, error) {
	var all map[string]any
	if err := json.Unmarshal(manifest, &all); err != nil {
		return "", err
	}
	maps.DeleteFunc(all, func(member string, _ any) bool {
		return member != "requests" && member != "grants" && member != "edits"
	})
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(all); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// compare holds the module against the one that it would replace.
func (i *installation) compare(c *cobra.Command) error {
	if i.before == nil {
		return nil
	}
	if i.before.Problem != "" {
		return fmt.Errorf("%s; mend it, or run \"tenon module remove %s\" first", i.before.Problem, i.entry.Name)
	}
	if !c.Flags().Changed("order") {
		i.entry.Order = i.before.Order
	}
	old, _, err := i.before.Read()
	if err != nil {
		return err
	}
	if old.Name != i.manifest.Name {
		return fmt.Errorf("mode %s: is %s, and %s is %s; install it as another mode with --mode, or run \"tenon module remove %s\" first",
			i.entry.Name, old.Name, i.name, i.manifest.Name, i.entry.Name)
	}
	if semver.Compare("v"+i.manifest.Version, "v"+old.Version) < 0 && !i.flags.allowDowngrade {
		return exitError{exitCheck, fmt.Errorf("%s: has version %s, lower than %s, which is installed; if you mean it, give --allow-downgrade",
			i.name, i.manifest.Version, old.Version)}
	}
	return nil
}

// same reports whether all is installed already as it will be.
func (i *installation) same() bool {
	b := i.before
	return b != nil && b.Digest == i.entry.Digest && b.File == i.entry.File && b.Order == i.entry.Order && b.Manifest == i.entry.Manifest &&
		b.Accepted == i.entry.Accepted && slices.Equal(b.SignedBy, i.entry.SignedBy)
}

// install does it, after a question.
func (i *installation) install(c *cobra.Command) error {
	mode := i.entry.Name
	if i.same() {
		if len(i.place.check(*i.before)) == 0 {
			i.warm(c)
			fmt.Fprintf(i.out, "mode %s: %s %s is installed already\n", mode, i.manifest.Name, i.manifest.Version)
			return nil
		}
	} else {
		if err := i.show(); err != nil {
			return err
		}
		if err := i.ask(c); err != nil {
			return err
		}
	}
	unlock, err := i.place.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if !i.flags.inPlace {
		if err := i.place.write(i.entry.File, i.code, 0o444); err != nil {
			return err
		}
		// One that is there may be of another mode with the same module.
		if i.signature != nil {
			if err := i.place.write(i.entry.File+".sig", i.signature, 0o444); err != nil {
				return err
			}
		}
	}
	i.warm(c)
	if err := wasm.SelfTest(c.Context(), i.place.config, i.code); err != nil {
		if i.before == nil || i.before.Digest != i.entry.Digest {
			_, _ = i.place.forget(i.entry.Digest) // nothing has it
		}
		return exitError{exitCheck, fmt.Errorf("%s: %w; nothing was changed", i.name, err)}
	}
	if err := i.enter(); err != nil {
		return err
	}
	fmt.Fprintf(i.out, "mode %s: %s %s is installed\n", mode, i.manifest.Name, i.manifest.Version)
	if named := i.place.config.Mode; i.place.here() && !slices.Contains(named, mode) && !slices.Contains(named, "auto") {
		fmt.Fprintf(i.out, "it is not asked yet: add %q to mode in the configuration\n", mode)
	}
	return nil
}

// enter writes the files of modules_d. From then on creates use the module.
func (i *installation) enter() error {
	text, err := i.entry.TOML(i.place.config.ModuleDir)
	if err != nil {
		return err
	}
	p, mode := i.place, i.entry.Name
	if i.before == nil || i.before.Digest == i.entry.Digest {
		return p.write(p.entry(mode), text, 0o644)
	}
	before, err := p.read(p.entry(mode), maxEntry)
	if err != nil {
		return err
	}
	oldest, err := p.module(p.previous(mode))
	if err != nil {
		return err
	}
	if i.before.File == i.entry.File {
		// It was in place, and is written over: there is nothing to go back to.
		if err := p.remove(p.previous(mode)); err != nil {
			return err
		}
	} else if err := p.write(p.previous(mode), before, 0o644); err != nil {
		return err
	}
	if err := p.write(p.entry(mode), text, 0o644); err != nil {
		return err
	}
	if oldest != nil && oldest.Problem == "" {
		_, err = p.forget(oldest.Digest)
	}
	return err
}

// warm compiles the module. Without compiled code it runs all the same, so that
// what goes wrong is told, and no reason to stop.
func (i *installation) warm(c *cobra.Command) {
	if !i.place.here() {
		return // it would be for this processor, and this build
	}
	err := progress(c, "compiling "+i.entry.Name, func(ctx context.Context) error {
		return wasm.Warm(ctx, i.place.config, i.code)
	})
	if err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "mode %s: is not compiled, and will start slowly: %v\n", i.entry.Name, err)
	}
}

// fileSource reads a module and what signatures lie beside it.
func fileSource(file string) (source, error) {
	s := source{name: file}
	var err error
	if s.code, err = readBounded(file, maxModuleFile); errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%s: does not exist", printable(file))
	}
	if err != nil {
		return s, err
	}
	s.signature, err = readBounded(file+".sig", maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		s.signature, err = nil, nil
	}
	return s, err
}
