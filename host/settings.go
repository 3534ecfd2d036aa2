// SPDX-License-Identifier: Apache-2.0

package host

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Settings is the configuration as it was read once, with what tells whether it
// still holds. Reading it takes a TOML parser and more; knowing that nothing
// changed takes some calls of lstat. So the settings are kept in a file, and who
// finds that they hold need not read the configuration, nor link what it takes.
//
// Settings hold where every file and folder that was looked at is the same, by
// device, inode, owner, mode, size and both times, or still is not there. Nobody
// can change a file and keep its change time. Of the folders on the way, where
// other files come and go, only owner and mode count: those are what makes their
// content trusted.
type Settings struct {
	Config Config
	// Problem is what is wrong with the configuration, in one line, and "" for
	// nothing. A create fails with it. Config is the defaults then, and its
	// Runtimes what could be had all the same.
	Problem string
	// Sources are the absolute paths of the files and folders that were looked
	// at, whether they are there or not.
	Sources []string
}

// settingsMagic begins a file of settings. The number is that of the layout.
const settingsMagic = "tenon settings 2\n"

// maxSettings bounds a file of settings, in bytes.
const maxSettings = 4 << 20

// settingsAge is how long a source must have been as it is when it is read, for
// the settings to be kept: a change within the same tick of the file system's
// clock could not be told from none. Some file systems count whole seconds.
const settingsAge = 2 * time.Second

// SettingsVariables picks the variables that the configuration can depend on out
// of environ, sorted. environ is as os.Environ gives it.
func SettingsVariables(environ []string) []string {
	var list []string
	for _, e := range environ {
		if strings.HasPrefix(e, StagesVariable+"=") {
			continue // no value depends on it
		}
		if strings.HasPrefix(e, "TENON_") || strings.HasPrefix(e, "NVIDIA_CTK_CONFIG_FILE_PATH=") || strings.HasPrefix(e, "XDG_CONFIG_HOME=") {
			list = append(list, e)
		}
	}
	slices.Sort(list)
	return list
}

// settingsName is the name of the file for a program and its variables.
func settingsName(program string, environ []string) string {
	h := sha256.New()
	for _, s := range append([]string{BuildID(), program}, SettingsVariables(environ)...) {
		h.Write(appendText(nil, s))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// LoadSettings returns the settings that were kept below the folder state for a
// program name and its environment, and whether there are some that hold. It never fails:
// whatever is wrong with the file or the folder, there are none.
func LoadSettings(state, program string, environ []string) (Settings, bool) {
	if BuildID() == "" {
		return Settings{}, false // two builds could not be told apart
	}
	st, err := openStore(path.Join(state, "settings"), false)
	if err != nil {
		return Settings{}, false
	}
	defer st.close()
	data, err := st.read(settingsName(program, environ), maxSettings)
	if err != nil {
		return Settings{}, false
	}
	s, witness, err := decodeSettings(string(data))
	if err != nil || witness != s.witness() {
		return Settings{}, false
	}
	return s, true
}

// StoreSettings keeps settings that were read at started or later. Settings with
// a problem, or whose sources were changed a moment ago, are not kept: the next
// one reads them again. The error is for a log.
func StoreSettings(state, program string, environ []string, s Settings, started time.Time) error {
	if s.Problem != "" || BuildID() == "" {
		return nil
	}
	for _, source := range s.Sources {
		var st unix.Stat_t
		if err := unix.Lstat(source, &st); err == nil && started.Sub(time.Unix(st.Ctim.Unix())) < settingsAge {
			return nil
		}
	}
	data := s.encode()
	store, err := openStore(path.Join(state, "settings"), true)
	if err != nil {
		return err
	}
	defer store.close()
	if err := store.lock(); err != nil {
		return err
	}
	return store.replace(settingsName(program, environ), data)
}

// witness is what the sources look like now, and the folders on the way to them.
func (s *Settings) witness() string {
	b := make([]byte, 0, 2048)
	add := func(numbers ...uint64) {
		for _, n := range append(numbers, ^uint64(0)) {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
	}
	seen := map[string]bool{}
	for _, source := range s.Sources {
		var st unix.Stat_t
		if err := unix.Lstat(source, &st); err != nil {
			b = appendText(b, err.Error())
		} else {
			add(uint64(st.Dev), st.Ino, uint64(st.Mode), uint64(st.Uid), uint64(st.Gid), uint64(st.Nlink), uint64(st.Size), uint64(st.Mtim.Nano()), uint64(st.Ctim.Nano()))
		}
		for dir := path.Dir(source); !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			if err := unix.Lstat(dir, &st); err == nil {
				add(uint64(st.Dev), st.Ino, uint64(st.Mode), uint64(st.Uid))
			} else {
				add()
			}
		}
	}
	sum := sha256.Sum256(b)
	return string(sum[:])
}

// encode writes the settings as a file: magic, witness, problem, sources, and
// the fields of the configuration.
func (s *Settings) encode() []byte {
	b := []byte(settingsMagic)
	b = appendText(b, s.witness())
	b = appendText(b, s.Problem)
	b = appendTexts(b, s.Sources)
	b = s.Config.fields().append(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Config.ModeTables)))
	for _, mode := range slices.Sorted(maps.Keys(s.Config.ModeTables)) {
		table := s.Config.ModeTables[mode]
		b = appendText(b, mode)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(table)))
		for _, key := range slices.Sorted(maps.Keys(table)) {
			b = appendText(appendText(b, key), table[key])
		}
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Config.Installed)))
	for _, installed := range s.Config.Installed {
		if installed.Packed == "" {
			installed.Packed = installed.pack()
		}
		b = installed.fields().append(b)
	}
	return b
}

var errSettings = errors.New("is no file of settings")

func decodeSettings(data string) (s Settings, witness string, err error) {
	d := fieldReader{left: data}
	if d.take(len(settingsMagic)) != settingsMagic {
		return Settings{}, "", errSettings
	}
	witness = d.text()
	s.Problem = d.text()
	s.Sources = d.texts()
	d.fields(s.Config.fields())
	s.Config.ModeTables = map[string]map[string]string{}
	for range d.count(8) {
		table := map[string]string{}
		s.Config.ModeTables[d.text()] = table
		for range d.count(8) {
			key := d.text()
			table[key] = d.text()
		}
	}
	s.Config.Installed = make([]Installed, d.count(16))
	for i := range s.Config.Installed {
		d.fields(s.Config.Installed[i].fields())
	}
	if d.short || len(d.left) > 0 {
		return Settings{}, "", errSettings
	}
	return s, witness, nil
}

// fields are those that a file of settings has of a configuration. One that is
// missing here would be lost; a test looks.
func (c *Config) fields() fields {
	return fields{
		lists:   []*[]string{&c.Mode, &c.Runtimes},
		texts:   []*string{&c.ModeFrom, &c.DebugLog, &c.LogLevel, &c.ModuleDir, &c.ModulesD, &c.CacheDir, &c.TrustD, &c.Hook, &c.DriverRoot, &c.DeviceAccess, &c.Traces},
		numbers: c.Limits.values(),
		flags:   []*bool{&c.Strict, &c.AcceptEnvWhenUnprivileged, &c.LdCache.Required},
	}
}

func (l *Limits) values() []*int {
	return []*int{&l.WallMS, &l.MemoryPages, &l.Queries, &l.AnswerBytes, &l.AnswersBytes, &l.EditsBytes, &l.LogBytes, &l.GlobEntries}
}

func (i *Installed) fields() fields {
	return fields{
		texts:   []*string{&i.Name, &i.Digest, &i.Manifest, &i.Accepted, &i.File, &i.Entry, &i.Problem, &i.Packed},
		numbers: []*int{&i.Order},
	}
}
