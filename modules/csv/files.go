// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path"
	"strconv"
	"strings"

	"github.com/tenon-runtime/tenon/sdk"
)

// defaultFolder is where JetPack installs its CSV files.
const defaultFolder = "/etc/nvidia-container-runtime/host-files-for-container.d"

// baseFiles are those that every container gets, sorted. The others hold what
// images used to lack, and are for containers whose NVIDIA_REQUIRE_JETPACK is
// exactly allFiles.
var baseFiles = []string{"devices.csv", "drivers.csv", "l4t.csv"}

const allFiles = "csv-mounts=all"

// addFiles reads the CSV files, in the order of their names, and adds what they
// name.
func (f *finder) addFiles() error {
	files, err := f.selectFiles()
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return f.skip(defaultFolder, "no CSV file is there")
	}
	for _, file := range files {
		if err := f.addFile(file); err != nil {
			return err
		}
	}
	return nil
}

// selectFiles returns the paths of the CSV files for this container. If the
// administrator's folder has none, they are the base files of the default one.
func (f *finder) selectFiles() ([]string, error) {
	folder, err := f.setting("mount_spec_path", defaultFolder)
	if err != nil {
		return nil, err
	}
	if !path.IsAbs(folder) {
		return nil, badSetting("mount_spec_path", folder, "an absolute path")
	}
	folder = path.Clean(folder)
	jetpack, _, err := f.Env("NVIDIA_REQUIRE_JETPACK")
	if err != nil {
		return nil, err
	}
	entries, _, err := f.ReadDir(sdk.Host, folder)
	if err != nil && !errors.Is(err, sdk.WrongType) {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if e.Type != 'd' && isCSV(e.Name) && (jetpack == allFiles || isBase(e.Name)) {
			files = append(files, path.Join(folder, e.Name))
		}
	}
	if len(files) > 0 || folder == defaultFolder {
		return files, nil
	}
	f.Explain(folder + ": no CSV file for this container is there, looking in " + defaultFolder)
	for _, name := range baseFiles {
		file := path.Join(defaultFolder, name)
		st, ok, err := f.Stat(sdk.Host, file)
		if err != nil {
			return nil, err
		}
		if ok && st.Type != 'd' {
			files = append(files, file)
		}
	}
	return files, nil
}

// isCSV is true for x.csv in any letter case, but not for .csv alone.
func isCSV(name string) bool {
	ext := path.Ext(name)
	return strings.EqualFold(ext, ".csv") && len(name) > len(ext)
}

func isBase(name string) bool {
	for _, b := range baseFiles {
		if name == b {
			return true
		}
	}
	return false
}

// addFile adds what one CSV file names.
func (f *finder) addFile(file string) error {
	text, ok, err := f.ReadFile(sdk.Host, file)
	switch {
	case errors.Is(err, sdk.WrongType), errors.Is(err, sdk.TooLarge):
		return f.skip(file, "not a file of at most 1 MiB")
	case err != nil:
		return err
	case !ok:
		return f.skip(file, "does not exist")
	}
	entries := parse(string(text))
	if len(entries) == 0 {
		return f.skip(file, "has no entry")
	}
	for _, e := range entries {
		if err := f.addEntry(place{file: file, entry: e}); err != nil {
			return err
		}
	}
	return nil
}

// skip leaves out something that the CSV files or the machine lack. NVIDIA's
// runtime starts the container without it and says nothing; here explain has
// the reason, and strict makes it an error.
func (f *finder) skip(thing, reason string) error {
	if f.strict {
		return errors.New(thing + ": " + reason + "; correct it, or set strict = false")
	}
	f.Explain(thing + ": " + reason + ", left out")
	return nil
}

// quoteIfOdd quotes what would not be readable in a message as it is.
func quoteIfOdd(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}
