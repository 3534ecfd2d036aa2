// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/tenon-runtime/tenon/discover"
)

// TestApplyAgreesWithCDI applies the same edits to the same config.json, ours
// to the bytes and CDI's library to the typed spec, and compares what runc
// would read. Three things differ on purpose and are not compared: the order of
// mounts (CDI sorts all of them), a variable that stood twice (CDI leaves the
// first; here the spec has each once), and the access of a device that names
// none (CDI gives rwm; here each names one).
func TestApplyAgreesWithCDI(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		config, err := json.Marshal(randomSpec(r))
		if err != nil {
			t.Fatal(err)
		}
		e := discover.Edits{ABI: 1, ContainerEdits: randomEdits(r)}
		hooks := e.ContainerEdits.Hooks
		e.ContainerEdits.Hooks = nil
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		e.ContainerEdits.Hooks = hooks

		spec, err := discover.Parse(config)
		if err != nil {
			t.Fatal(err)
		}
		out, err := discover.Apply(spec, e)
		if err != nil {
			t.Fatal(err)
		}
		var ours, theirs specs.Spec
		if err := json.Unmarshal(out, &ours); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(config, &theirs); err != nil {
			t.Fatal(err)
		}
		theirEdits := cdi.ContainerEdits{ContainerEdits: &e.ContainerEdits}
		if err := theirEdits.Apply(&theirs); err != nil {
			t.Fatal(err)
		}
		got, want := normal(t, ours), normal(t, theirs)
		if got != want {
			t.Fatalf("seed %d\nedits  %+v\nconfig %s\nours   %s\ntheirs %s", seed, e.ContainerEdits, config, got, want)
		}
	}
}

// normal is a spec as JSON without what is not compared.
func normal(t *testing.T, s specs.Spec) string {
	t.Helper()
	slices.SortFunc(s.Mounts, func(a, b specs.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	if s.Linux != nil {
		// CDI removes a device and appends it; we replace it in its place.
		slices.SortFunc(s.Linux.Devices, func(a, b specs.LinuxDevice) int { return strings.Compare(a.Path, b.Path) })
		if r := s.Linux.Resources; r != nil {
			// CDI appends a rule that is there, and for "none" one that allows nothing.
			r.Devices = once(slices.DeleteFunc(r.Devices, func(d specs.LinuxDeviceCgroup) bool { return d.Allow && d.Access == "" }))
			if len(r.Devices) == 0 {
				s.Linux.Resources = nil
			}
		}
	}
	if s.Hooks != nil { // and a hook
		h := s.Hooks
		//lint:ignore SA1019 prestart is where NVIDIA's hook stands
		stages := []*[]specs.Hook{&h.Prestart, &h.CreateRuntime, &h.CreateContainer, &h.StartContainer, &h.Poststart, &h.Poststop}
		for _, stage := range stages {
			*stage = once(*stage)
		}
	}
	doc, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

func once[T any](list []T) []T {
	var out []T
	for _, v := range list {
		if !slices.ContainsFunc(out, func(o T) bool { return reflect.DeepEqual(o, v) }) {
			out = append(out, v)
		}
	}
	return out
}

func randomSpec(r *rand.Rand) specs.Spec {
	s := specs.Spec{Version: "1.2.0", Hostname: "h"}
	if r.IntN(4) > 0 {
		s.Process = &specs.Process{Cwd: "/", User: specs.User{UID: uint32(r.IntN(2)), GID: uint32(r.IntN(3))}}
		for i := range r.IntN(4) {
			s.Process.Env = append(s.Process.Env, fmt.Sprintf("V%d=old", i))
		}
		if r.IntN(2) > 0 {
			s.Process.User.AdditionalGids = []uint32{5, 6}
		}
	}
	for i := range r.IntN(5) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: randomPath(i), Source: "/s", Options: []string{"bind"}})
	}
	if r.IntN(2) > 0 {
		s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/h1"}, {Path: "/h0", Args: []string{"h0", "x"}}}}
	}
	if r.IntN(4) > 0 {
		s.Linux = &specs.Linux{CgroupsPath: "x"}
		for i := range r.IntN(3) {
			s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: fmt.Sprintf("/dev/d%d", i), Type: "c", Major: 9, Minor: int64(i)})
		}
		if r.IntN(2) > 0 {
			s.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
		}
		if r.IntN(2) > 0 {
			s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "old"}
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "old"}}
		}
	}
	return s
}

func randomPath(i int) string { return []string{"/a", "/a/b", "/a/b/c", "/d", "/d/e", "/f"}[i] }

func randomEdits(r *rand.Rand) cdispecs.ContainerEdits {
	var e cdispecs.ContainerEdits
	for i := range 6 {
		if r.IntN(3) == 0 {
			e.Env = append(e.Env, fmt.Sprintf("V%d=%d", i, r.IntN(3)))
		}
		if r.IntN(3) == 0 {
			e.Mounts = append(e.Mounts, &cdispecs.Mount{HostPath: "/srv", ContainerPath: randomPath(i), Options: []string{"ro", "rbind"}, Type: []string{"", "bind"}[r.IntN(2)]})
		}
		if r.IntN(3) == 0 {
			d := &cdispecs.DeviceNode{Path: fmt.Sprintf("/dev/d%d", i), HostPath: "/nonexistent", Type: []string{"c", "b", "p"}[r.IntN(3)],
				Permissions: []string{"r", "rw", "rwm", "none"}[r.IntN(4)]}
			if d.Type != "p" {
				d.Major, d.Minor = int64(1+r.IntN(300)), int64(r.IntN(300))
			}
			if r.IntN(2) == 0 {
				id := uint32(r.IntN(3))
				d.UID, d.GID = &id, &id
			}
			e.DeviceNodes = append(e.DeviceNodes, d)
		}
		if r.IntN(4) == 0 {
			h := &cdispecs.Hook{HookName: []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}[i], Path: "/h0", Args: []string{"h0", "x"}}
			if r.IntN(2) == 0 {
				timeout := 5
				h.Path, h.Timeout, h.Env = "/h9", &timeout, []string{"A=1"}
			}
			e.Hooks = append(e.Hooks, h)
		}
		if r.IntN(4) == 0 {
			e.AdditionalGIDs = append(e.AdditionalGIDs, uint32(i+2)*uint32(r.IntN(2)))
		}
	}
	if r.IntN(3) == 0 {
		e.IntelRdt = &cdispecs.IntelRdt{ClosID: "new", Schemata: []string{"L3:0=f"}, L3CacheSchema: "L3:1=f", MemBwSchema: "MB:0=1", EnableMonitoring: r.IntN(2) == 0}
	}
	if r.IntN(3) == 0 {
		e.NetDevices = []*cdispecs.LinuxNetDevice{{HostInterfaceName: fmt.Sprintf("eth%d", r.IntN(2)), Name: "new"}}
	}
	return e
}
