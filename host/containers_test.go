// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

func TestContainerIDsAreThoseOfRunc(t *testing.T) {
	for id, want := range map[string]bool{
		"c1": true, "a_b+c-d.e": true, "...": true, "UPPER": true, strings.Repeat("a", 250): true,
		"": false, ".": false, "..": false, "a/b": false, "../x": false, "a b": false, "a\x00": false, "é": false, "a\n": false,
		strings.Repeat("a", 251): false,
	} {
		if got := IsContainerID(id); got != want {
			t.Errorf("IsContainerID(%q) = %v", id, got)
		}
	}
}

func TestContainersAreKeptUntilTheyAreRemoved(t *testing.T) {
	state := filepath.Join(trustedDir(t), "tenon")
	if all, err := Containers(state); err != nil || len(all) != 0 {
		t.Fatalf("there is no folder yet: %v, %v", all, err)
	}
	if err := RemoveContainer(state, "c1"); err != nil {
		t.Fatalf("nothing to remove is no error: %v", err)
	}
	// As "a" is written by way of a.new, and "a.new" is a name too.
	for _, id := range []string{"a", "a.new", "a.json"} {
		if err := StoreContainer(state, id, []byte("of "+id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := StoreContainer(state, "a", []byte("again")); err != nil {
		t.Fatal(err)
	}
	all, err := Containers(state)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"a": []byte("again"), "a.new": []byte("of a.new"), "a.json": []byte("of a.json")}
	if !maps.EqualFunc(all, want, slices.Equal) {
		t.Errorf("the records are %q", all)
	}
	for id := range want {
		if err := RemoveContainer(state, id); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(state + "/containers"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, id := range []string{"", "../containers/x", "a/b"} {
		if err := StoreContainer(state, id, nil); err == nil {
			t.Errorf("%q is stored", id)
		}
	}
	if err := StoreContainer(state, "big", make([]byte, maxRecord+1)); err == nil {
		t.Error("a record that nothing would read is stored")
	}
}

// What JSON writes, encoding/json reads back, and it is what that would write.
func TestContainerRecordJSON(t *testing.T) {
	full := ContainerRecord{ID: "c1", Bundle: "/run/b\"\\\x01\u00e9", Config: "/c", Program: "tenon-runtime",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), TookMicros: 17,
		Modes:   []ContainerMode{{"csv", "sha256:00", true}, {"legacy", "", false}},
		Edits:   map[string]int{"mounts": 2, "deviceNodes": 1},
		Devices: []ContainerDevice{{"/dev/a", "c", 195, 0}, {"/dev/b", "b", 8, -1}}}
	empty := ContainerRecord{Modes: []ContainerMode{}, Edits: map[string]int{}, Devices: []ContainerDevice{}}
	for _, r := range []ContainerRecord{full, empty} {
		var back ContainerRecord
		if err := json.Unmarshal(r.JSON(), &back); err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%v\nwrote %s\nread  %+v", err, r.JSON(), back)
		}
		if want, err := json.Marshal(r); err != nil || string(r.JSON()) != string(want) {
			t.Errorf("%v\nwrote %s\nwant  %s", err, r.JSON(), want)
		}
	}
}

func TestOldRecordsGoWhereThereAreMany(t *testing.T) {
	t.Run("on a disk", func(t *testing.T) { fillContainers(t, filepath.Join(trustedDir(t), "tenon")) })
	t.Run("in a tmpfs, as /run is", func(t *testing.T) {
		dir := trustedDir(t)
		if os.Geteuid() != 0 {
			if os.Getenv("TENON_CI") != "" {
				t.Fatal("needs root, to mount a tmpfs")
			}
			t.Skip("needs root, to mount a tmpfs")
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=700"); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		fillContainers(t, dir+"/tenon")
	})
}

func fillContainers(t *testing.T, state string) {
	for i := range maxContainers {
		id := fmt.Sprintf("c%d", i)
		if err := StoreContainer(state, id, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		then := time.Unix(1_700_000_000+int64(i), 0)
		if err := os.Chtimes(state+"/containers/"+id+".json", then, then); err != nil {
			t.Fatal(err)
		}
	}
	if all, _ := Containers(state); len(all) != maxContainers {
		t.Fatalf("there are %d records", len(all))
	}
	if err := StoreContainer(state, "last", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	all, err := Containers(state)
	if err != nil || len(all) != keptContainers+1 {
		t.Fatalf("there are %d records, %v", len(all), err)
	}
	for id, want := range map[string]bool{"last": true, "c255": true, "c64": true, "c63": false, "c0": false} {
		if _, have := all[id]; have != want {
			t.Errorf("record of %s: %v", id, have)
		}
	}
}

// What others may write says nothing, and is no way to files elsewhere.
func TestRecordsAreNotTrustedWhereOthersMayWrite(t *testing.T) {
	dir := trustedDir(t)
	state := filepath.Join(dir, "tenon")
	victim := filepath.Join(dir, "c1.json")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, state+"/containers"); err != nil {
		t.Fatal(err)
	}
	if err := RemoveContainer(state, "c1"); err == nil {
		t.Error("a link is followed")
	}
	if err := StoreContainer(state, "c1", []byte("x")); err == nil {
		t.Error("a link is followed")
	}
	if data, err := os.ReadFile(victim); err != nil || len(data) != 0 {
		t.Errorf("a file elsewhere is touched: %q, %v", data, err)
	}
	if err := os.Remove(state + "/containers"); err != nil {
		t.Fatal(err)
	}
	if err := StoreContainer(state, "c1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state+"/containers", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Containers(state); err == nil || !strings.Contains(err.Error(), "/containers: is not trusted: others may enter it (mode 0755); chmod 700 ") {
		t.Errorf("error is %v", err)
	}
}

func TestCountEditsCountsEveryKind(t *testing.T) {
	e := discover.Edits{
		ContainerEdits: cdi.ContainerEdits{
			Env: []string{"A=1", "B=2"}, DeviceNodes: []*cdi.DeviceNode{{Path: "/dev/a", Type: "c", Major: 1, Minor: 3}},
			NetDevices: []*cdi.LinuxNetDevice{{}}, Hooks: []*cdi.Hook{{}}, Mounts: []*cdi.Mount{{}, {}, {}}, IntelRdt: &cdi.IntelRdt{},
			AdditionalGIDs: []uint32{1},
		},
		Remove:   discover.Remove{Env: []string{"X"}, Mounts: []string{"/m"}, Devices: []string{"/dev/d"}, Hooks: []discover.RemoveHook{{}}},
		Symlinks: []discover.Symlink{{}}, LdCache: discover.LdCache{Dirs: []string{"/l"}}, DeviceRules: []discover.DeviceRule{{}},
		BuiltinHooks: []discover.BuiltinHook{{}}, Annotations: map[string]string{"k": "v"},
	}
	want := map[string]int{"env": 2, "deviceNodes": 1, "netDevices": 1, "hooks": 1, "mounts": 3, "additionalGids": 1, "intelRdt": 1,
		"remove": 4, "symlinks": 1, "ldcache": 1, "deviceRules": 1, "builtinHooks": 1, "annotations": 1}
	if got := CountEdits(e); !maps.Equal(got, want) {
		t.Errorf("CountEdits gives %v", got)
	}
	if got := CountEdits(discover.Edits{}); len(got) != 0 {
		t.Errorf("nothing is counted as %v", got)
	}
	var r ContainerRecord
	r.SetEdits(e)
	if len(r.Devices) != 1 || r.Devices[0] != (ContainerDevice{"/dev/a", "c", 1, 3}) {
		t.Errorf("the devices are %v", r.Devices)
	}
}

func TestPeekChangesNothing(t *testing.T) {
	store := traceStore(t)
	w := world{}
	key := TraceKey{1}
	r := Record(w.ask)
	r.Query(opStat, rootHost, "/x")
	if err := store.Insert(key, r, TraceLeaf{Result: ResultDone}); err != nil {
		t.Fatal(err)
	}
	if walk := store.Peek(key, w.ask); walk.Leaf == nil {
		t.Fatalf("there is no trace: %v", walk.Miss)
	}
	file := filepath.Join(store.Folder, key.String())
	if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if walk := store.Peek(key, w.ask); !errors.Is(walk.Miss, errDamaged) {
		t.Errorf("a damaged file is told as %v", walk.Miss)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("Peek removes: %v", err)
	}
	store.Lookup(key, w.ask)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup does not remove: %v", err)
	}
}
