// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
	"github.com/tenon-runtime/tenon/host/config"
)

// A place is where modules are installed: this machine, or a folder that will be
// the root of one, as a package's. Paths are those that the runtime will see.
//
// On this machine nothing is read or written but by way of folders that no one
// but root can change. Another root is the business of whoever builds it, but no
// link in it leads out of it.
type place struct {
	root   string // "/" is this machine
	config host.Config
}

// placeAt is the place for --root. The configuration of this machine says nothing
// about another root: there the defaults hold.
func placeAt(root string) (place, error) {
	if root == "" {
		root = "/"
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return place{}, err
	}
	p := place{root: root, config: host.DefaultConfig()}
	if p.here() {
		p.config, err = readConfig(false)
	} else if info, err := os.Stat(root); err != nil || !info.IsDir() {
		return p, usage("%q: is not a folder; name one with --root", root)
	}
	return p, err
}

func (p place) here() bool { return p.root == "/" }

// at is the real path of one that the runtime will see.
func (p place) at(path string) string { return filepath.Join(p.root, path) }

// inside opens another root, and says what path is called in it.
func (p place) inside(path string) (*os.Root, string, error) {
	r, err := os.OpenRoot(p.root)
	return r, strings.TrimPrefix(filepath.Clean(path), "/"), err
}

// read returns the content of a file of at most limit bytes.
func (p place) read(path string, limit int64) ([]byte, error) {
	var f *os.File
	if p.here() {
		var err error
		if f, err = host.OpenTrusted(filepath.Clean(path)); err != nil {
			return nil, err
		}
	} else {
		r, name, err := p.inside(path)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		if f, err = r.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0); err != nil {
			return nil, placed(p.at(path), err)
		}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, placed(p.at(path), err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: is larger than %d bytes", p.at(path), limit)
	}
	return data, nil
}

// write makes a file hold data, in one step. It does nothing where it does so
// already, with that mode.
func (p place) write(path string, data []byte, mode fs.FileMode) error {
	if before, err := p.read(path, maxModuleFile); err == nil && bytes.Equal(before, data) {
		if info, err := os.Lstat(p.at(path)); err == nil && info.Mode() == mode {
			return nil
		}
	}
	if p.here() {
		return host.WriteTrusted(filepath.Clean(path), data, mode)
	}
	r, name, err := p.inside(path)
	if err != nil {
		return err
	}
	defer r.Close()
	temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text()[:8]+tempSuffix)
	if err := r.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return placed(p.at(path), err)
	}
	f, err := r.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return placed(p.at(path), err)
	}
	defer f.Close()
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = r.Rename(temp, name)
	}
	if err != nil {
		_ = r.Remove(temp)
		return placed(p.at(path), err)
	}
	return nil
}

// remove takes a file away, if it is there.
func (p place) remove(path string) error {
	if p.here() {
		return host.RemoveTrusted(filepath.Clean(path))
	}
	r, name, err := p.inside(path)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return placed(p.at(path), err)
	}
	return nil
}

// exchange gives each of two files of one folder the name of the other.
func (p place) exchange(a, b string) error {
	if p.here() {
		return host.ExchangeTrusted(filepath.Clean(a), filepath.Clean(b))
	}
	ta, err := p.read(a, maxModuleFile)
	if err != nil {
		return err
	}
	tb, err := p.read(b, maxModuleFile)
	if err == nil {
		err = p.write(b, ta, 0o644)
	}
	if err != nil {
		return err
	}
	return p.write(a, tb, 0o644)
}

// list names what is in a folder, sorted.
func (p place) list(path string) ([]string, error) {
	r, name, err := p.inside(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	entries, err := fs.ReadDir(r.FS(), name)
	if err != nil {
		return nil, placed(p.at(path), err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// lock keeps other commands that change what is installed out until unlock.
func (p place) lock() (unlock func(), err error) {
	if p.here() {
		return host.LockTrusted(filepath.Clean(p.config.ModulesD))
	}
	return func() {}, nil // its builder builds it once
}

// changing is the place for --root, with the lock of one who changes what is
// installed of a mode there.
func changing(root, mode string) (p place, unlock func(), err error) {
	if p, err = placeAt(root); err != nil {
		return p, nil, err
	}
	if !host.IsModeName(mode) {
		return p, nil, notInstalled(mode)
	}
	unlock, err = p.lock()
	return p, unlock, err
}

// placed puts the path in the place of that which package os has in its errors.
func placed(path string, err error) error {
	return fmt.Errorf("%s: %w", path, host.Bare(err))
}

// The files of a mode in modules_d: what holds, and what "rollback" brings back.
func (p place) entry(mode string) string {
	return filepath.Join(p.config.ModulesD, mode+".toml")
}

func (p place) previous(mode string) string {
	return filepath.Join(p.config.ModulesD, mode+".previous")
}

const maxEntry = 1 << 20 // bytes; a manifest has 16 KiB at most, and stands in it twice

// module reads one of the two files; nil where it is not there.
func (p place) module(file string) (*config.Module, error) {
	data, err := p.read(file, maxEntry)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := config.ParseModule(file, data, p.config.ModuleDir)
	return &m, nil
}

// modules are all that are installed, in their order.
func (p place) modules() ([]config.Module, error) {
	if p.here() {
		return config.ReadModules(p.config)
	}
	names, err := p.list(p.config.ModulesD)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []config.Module
	for _, name := range names {
		mode, ok := strings.CutSuffix(name, ".toml")
		if !ok || !host.IsModeName(mode) {
			continue
		}
		m, err := p.module(p.entry(mode))
		if err != nil {
			return nil, err
		}
		if m != nil {
			all = append(all, *m)
		}
	}
	slices.SortStableFunc(all, func(a, b config.Module) int { return a.Order - b.Order })
	return all, err
}

// used are the digests that a mode has, now or for a rollback, with the mode.
func (p place) used() (map[string]string, error) {
	all, err := p.modules()
	if err != nil {
		return nil, err
	}
	names, err := p.list(p.config.ModulesD)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, name := range names {
		if mode, ok := strings.CutSuffix(name, ".previous"); ok && host.IsModeName(mode) {
			m, err := p.module(p.previous(mode))
			if err != nil {
				return nil, err
			}
			if m != nil {
				all = append(all, *m)
			}
		}
	}
	used := map[string]string{}
	for _, m := range all {
		if m.Problem != "" {
			// What it needs is not known, so nothing may go.
			return nil, fmt.Errorf("%s; mend or remove it first", m.Problem)
		}
		used[m.Digest] = m.Name
	}
	return used, nil
}

// forget removes a module from the store where no mode has it any more; where that
// cannot be known, it stays. Modules that are kept elsewhere are their owner's.
func (p place) forget(digest string) (gone bool, err error) {
	used, err := p.used()
	if err != nil || used[digest] != "" {
		return false, nil
	}
	file := config.StoredModule(p.config.ModuleDir, digest)
	if err := p.remove(file); err != nil {
		return false, err
	}
	return true, p.remove(file + ".sig")
}
