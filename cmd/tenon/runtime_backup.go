// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// backupFolder keeps, until unconfigure, what an engine's files were before
// tenon touched them: a folder for each file, below which the path of the file
// is repeated, with the file itself as "original" and a record. It is not beside
// the files since some engines read every file of their folder
// (crio.conf.d(5)), and only root may enter it since daemon.json can hold secrets.
const backupFolder = "/var/lib/tenon/backup"

// A record says what configure did to a file.
type record struct {
	Existed  bool              `json:"existed"`            // there is an original
	Wrote    string            `json:"wrote"`              // sha256 of the file as we left it
	Mixed    bool              `json:"mixed,omitempty"`    // others changed it between two of our changes
	Folders  []string          `json:"folders,omitempty"`  // that we made for it, the outermost first
	Runtimes map[string]string `json:"runtimes,omitempty"` // that we put in: paths by name
}

// A kept is the record of a file with the file as it was before.
type kept struct {
	record
	original content
}

// untouched reports whether the file is as we left it.
func (k *kept) untouched(now content) bool { return !k.Mixed && now.exists() && k.Wrote == digest(now) }

func digest(c content) string {
	sum := sha256.Sum256(c)
	return hex.EncodeToString(sum[:])
}

func backupOf(path, name string) string { return filepath.Join(backupFolder, path, name) }

// kept returns what was kept of the file at path; nil if nothing was.
func (t tree) kept(path string) (*kept, error) {
	at := backupOf(path, "record.json")
	data, err := t.read(at)
	if err != nil || data == nil {
		return nil, err
	}
	k := &kept{}
	if err := json.Unmarshal(data, &k.record); err != nil {
		return nil, fmt.Errorf("%s: %w; remove it, and what it is about is told by the paths in the engine's file", at, err)
	}
	if k.Existed {
		original := backupOf(path, "original")
		if k.original, err = t.read(original); err != nil {
			return nil, err
		}
		if k.original == nil {
			return nil, fmt.Errorf("%s: is missing, but %s says that it was kept; remove that too", original, at)
		}
	}
	return k, nil
}

// configure makes a change, for the runtime called name, after it has kept what
// was there. Where something is
// kept already, that is the original, and stays.
func (t tree) configure(c change, name, path string) error {
	k, err := t.kept(c.path)
	if err != nil {
		return err
	}
	if k == nil {
		k = &kept{record: record{Existed: c.before.exists()}, original: c.before}
	} else if !k.untouched(c.before) && (change{before: k.original, after: c.before}).real() {
		k.Mixed = true
	}
	folders, err := t.makeFolders(filepath.Dir(c.path), 0o755)
	if err != nil {
		return err
	}
	k.Folders = append(k.Folders, folders...)
	k.Wrote = digest(c.after)
	if k.Runtimes == nil {
		k.Runtimes = map[string]string{}
	}
	k.Runtimes[name] = path
	if err := t.keep(c.path, k); err != nil {
		return err
	}
	return t.replace(c, 0o644)
}

// keep writes the original, if it is not there yet, and then the record: the
// other way round, a record could speak of an original that is not whole.
func (t tree) keep(path string, k *kept) error {
	if _, err := t.makeFolders(filepath.Dir(backupFolder), 0o755); err != nil {
		return err
	}
	if _, err := t.makeFolders(filepath.Join(backupFolder, path), 0o700); err != nil {
		return err
	}
	at := backupOf(path, "original")
	now, err := t.read(at)
	if err != nil {
		return err
	}
	if c := (change{at, now, k.original}); k.Existed && c.real() {
		if err := t.replace(c, 0o600); err != nil {
			return err
		}
	}
	data, err := json.Marshal(k.record)
	if err != nil {
		return err
	}
	at = backupOf(path, "record.json")
	if now, err = t.read(at); err != nil {
		return err
	}
	return t.replace(change{at, now, append(data, '\n')}, 0o600)
}

// unconfigure makes a change that takes our part out, and drops what was kept.
func (t tree) unconfigure(c change) error {
	k, err := t.kept(c.path)
	if err != nil {
		return err
	}
	switch {
	case !c.real():
	case c.after.exists():
		err = t.replace(c, 0o644)
	default:
		err = t.remove(c)
	}
	if err != nil {
		return err
	}
	var folders []string
	if k != nil {
		folders = k.Folders
	}
	return t.forget(c.path, folders)
}

// forget drops what was kept of a file, and what a configure left that was
// killed; and the folders that were made, if nothing else is in them.
func (t tree) forget(path string, folders []string) error {
	if err := sweep(t.at(path)); err != nil {
		return err
	}
	for _, dir := range slices.Backward(folders) {
		if err := t.removeEmpty(dir); err != nil {
			return err
		}
	}
	// The record goes first: an original alone is nothing.
	for _, name := range []string{"record.json", "original"} {
		at := t.at(backupOf(path, name))
		if err := sweep(at); err != nil {
			return err
		}
		if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for dir := filepath.Join(backupFolder, path); dir != "/var/lib"; dir = filepath.Dir(dir) {
		if err := t.removeEmpty(dir); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes a folder unless something is in it.
func (t tree) removeEmpty(dir string) error {
	entries, err := os.ReadDir(t.at(dir))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) > 0 {
		return nil
	}
	if err == nil {
		err = os.Remove(t.at(dir))
	}
	return err
}

// restored returns what the file is to be after unconfigure: byte for byte what
// it was if nobody else changed it since, which it reports; else what undo
// leaves of it.
func (k *kept) restored(now content, undo func(now, original content) (content, error)) (content, bool, error) {
	if k == nil {
		after, err := undo(now, content{}) // nil would say that there was no file
		return after, false, err
	}
	if !now.exists() { // somebody removed it: that stays so
		return nil, true, nil
	}
	if k.untouched(now) || k.original.exists() && bytes.Equal(now, k.original) {
		return k.original, true, nil
	}
	after, err := undo(now, k.original)
	return after, false, err
}
