// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
)

// A create leaves a record of what it did, for "tenon ps" and "tenon explain". It
// lies in STATE/containers/ID.json until the container is deleted. It is for
// people: nothing that tenon decides depends on it, and nothing that is wrong with
// it fails anything.

// ContainerRecord is what a create did.
type ContainerRecord struct {
	ID      string    `json:"id"`
	Bundle  string    `json:"bundle"`  // absolute path of the folder
	Config  string    `json:"config"`  // absolute path of its config.json
	Program string    `json:"program"` // the name that tenon-runtime was started under
	Created time.Time `json:"created"`
	// TookMicros is how long the create took until config.json was written, in
	// microseconds; what the low-level runtime did then is not in it.
	TookMicros int64             `json:"tookMicros"`
	Modes      []ContainerMode   `json:"modes"`   // those that were asked, in order
	Edits      map[string]int    `json:"edits"`   // how many of each kind: [CountEdits]
	Devices    []ContainerDevice `json:"devices"` // at most maxRecordedDevices
}

// ContainerMode is one mode that was asked for a container.
type ContainerMode struct {
	Mode   string `json:"mode"`
	Digest string `json:"digest"` // of its module
	Hit    bool   `json:"hit"`    // a trace answered, and the module did not run
}

// ContainerDevice is a device that a container was given.
type ContainerDevice struct {
	Path  string `json:"path"`
	Type  string `json:"type"` // "c" or "b"
	Major int64  `json:"major"`
	Minor int64  `json:"minor"`
}

const (
	maxContainers      = 256 // records; then the oldest go
	keptContainers     = 192 // what is left of them then
	maxRecord          = 64 << 10
	maxRecordedDevices = 128

	containersFolder = "containers" // of the state

	recordSuffix    = ".json"
	newRecordSuffix = ".new" // a record that is being written
)

// IsContainerID reports whether a container can have this name, as runc checks it
// (validateID of libcontainer/factory_linux.go), and a file of the record, too.
func IsContainerID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_+.-", rune(c)) {
			return false
		}
	}
	return id != "" && id != "." && id != ".." && len(id)+len(recordSuffix) <= 255 // NAME_MAX, limits.h
}

// SetEdits takes note of the edits of a create, after [Resolve] and before they
// are lowered.
func (r *ContainerRecord) SetEdits(e discover.Edits) {
	r.Edits = CountEdits(e)
	r.Devices = []ContainerDevice{}
	for _, d := range e.ContainerEdits.DeviceNodes {
		if len(r.Devices) < maxRecordedDevices {
			r.Devices = append(r.Devices, ContainerDevice{d.Path, d.Type, d.Major, d.Minor})
		}
	}
}

// JSON returns the record as encoding/json would write it; a test reads it back. In a
// process that lives for milliseconds the first use of that package costs more
// than all that is written here.
func (r *ContainerRecord) JSON() []byte {
	text := discover.AppendString
	b := text([]byte(`{"id":`), r.ID)
	b = text(append(b, `,"bundle":`...), r.Bundle)
	b = text(append(b, `,"config":`...), r.Config)
	b = text(append(b, `,"program":`...), r.Program)
	b = text(append(b, `,"created":`...), r.Created.Format(time.RFC3339Nano))
	b = strconv.AppendInt(append(b, `,"tookMicros":`...), r.TookMicros, 10)
	b = append(b, `,"modes":[`...)
	for i, m := range r.Modes {
		if i > 0 {
			b = append(b, ',')
		}
		b = text(append(b, `{"mode":`...), m.Mode)
		b = text(append(b, `,"digest":`...), m.Digest)
		b = append(strconv.AppendBool(append(b, `,"hit":`...), m.Hit), '}')
	}
	b = append(b, `],"edits":{`...)
	for i, kind := range slices.Sorted(maps.Keys(r.Edits)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(text(b, kind), ':'), int64(r.Edits[kind]), 10)
	}
	b = append(b, `},"devices":[`...)
	for i, d := range r.Devices {
		if i > 0 {
			b = append(b, ',')
		}
		b = text(append(b, `{"path":`...), d.Path)
		b = text(append(b, `,"type":`...), d.Type)
		b = strconv.AppendInt(append(b, `,"major":`...), d.Major, 10)
		b = append(strconv.AppendInt(append(b, `,"minor":`...), d.Minor, 10), '}')
	}
	return append(b, "]}"...)
}

// CountEdits counts edits by kind, under the names that an edits document has for
// them. A kind that there is none of is left out.
func CountEdits(e discover.Edits) map[string]int {
	c, r := &e.ContainerEdits, &e.Remove
	count := map[string]int{
		"env": len(c.Env), "deviceNodes": len(c.DeviceNodes), "netDevices": len(c.NetDevices), "hooks": len(c.Hooks),
		"mounts": len(c.Mounts), "additionalGids": len(c.AdditionalGIDs), "intelRdt": 0,
		"remove":   len(r.Env) + len(r.Mounts) + len(r.Devices) + len(r.Hooks),
		"symlinks": len(e.Symlinks), "ldcache": len(e.LdCache.Dirs), "deviceRules": len(e.DeviceRules),
		"builtinHooks": len(e.BuiltinHooks), "annotations": len(e.Annotations),
	}
	if c.IntelRdt != nil {
		count["intelRdt"] = 1
	}
	for kind, n := range count {
		if n == 0 {
			delete(count, kind)
		}
	}
	return count
}

func openContainers(state string, create bool) (*store, error) {
	return openStore(path.Join(state, containersFolder), create)
}

// StoreContainer keeps the record of a container, data being a ContainerRecord as
// JSON, in one step. Where there are 256 already, the oldest go first.
func StoreContainer(state, id string, data []byte) error {
	if !IsContainerID(id) || len(data) > maxRecord {
		return errors.New("the container has no record: its name or what it was given is too long")
	}
	s, err := openContainers(state, true)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.evictContainers(); err != nil {
		return err
	}
	temp := id + newRecordSuffix
	err = s.create(temp, data)
	if errors.Is(err, unix.EEXIST) { // left by one that was killed
		if err = s.remove(temp); err == nil {
			err = s.create(temp, data)
		}
	}
	if err == nil {
		if err = unix.Renameat(s.fd, temp, s.fd, id+recordSuffix); err != nil {
			err = s.at(temp, err)
		}
	}
	if err != nil {
		s.remove(temp)
	}
	return err
}

// RemoveContainer forgets a container. One that has no record is no error.
func RemoveContainer(state, id string) error {
	if !IsContainerID(id) {
		return nil
	}
	// Most containers have no record, and this is on the way of each delete.
	var st unix.Stat_t
	if err := unix.Lstat(path.Join(state, containersFolder, id+recordSuffix), &st); errors.Is(err, unix.ENOENT) {
		return nil
	}
	s, err := openContainers(state, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	return s.remove(id + recordSuffix)
}

// Containers returns the records, as they were stored, by the containers' names.
// Those that are damaged are left out. A folder that is not there has none; an
// error is about one that is not trusted, and names the folder at fault.
func Containers(state string) (map[string][]byte, error) {
	s, err := openContainers(state, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.close()
	names, err := s.names()
	records := map[string][]byte{}
	for _, name := range names {
		if id, ok := strings.CutSuffix(name, recordSuffix); ok && IsContainerID(id) {
			if data, err := s.read(name, maxRecord); err == nil {
				records[id] = data
			}
		}
	}
	return records, err
}

// names lists the files of a store.
func (s *store) names() ([]string, error) {
	fd, err := openatRetry(s.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	dir := os.NewFile(uintptr(fd), s.path)
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// evictContainers makes room for one more record, and for some after it, so that
// this is seldom done.
func (s *store) evictContainers() error {
	// /run is a tmpfs, whose folders tell by their size how many names they have:
	// BOGO_DIRENT_SIZE in mm/shmem.c of Linux.
	const tmpfsName = 20
	var st unix.Stat_t
	if onFileSystem(s.fd, unix.TMPFS_MAGIC) && unix.Fstat(s.fd, &st) == nil && st.Size < maxContainers*tmpfsName {
		return nil
	}
	names, err := s.names()
	if err != nil || len(names) < maxContainers {
		return err
	}
	var files []storedFile
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(s.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			files = append(files, storedFile{name, st.Size, st.Mtim})
		}
	}
	slices.SortFunc(files, func(a, b storedFile) int { return cmp.Compare(a.written.Nano(), b.written.Nano()) })
	for _, f := range files[:max(0, len(files)-keptContainers)] {
		err = cmp.Or(err, s.remove(f.name))
	}
	return err
}
