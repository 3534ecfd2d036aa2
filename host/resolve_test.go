// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// allDevices are edits of a manifest: every device but a block device, which needs
// its own path, and some rules.
const allDevices = `{"devices":["/**","/dev/null"],"deviceRules":["c 195:*","c 1:*"],"additionalGids":true}`

func devices(nodes ...*cdi.DeviceNode) *discover.Edits {
	e := &discover.Edits{ABI: discover.ABI}
	e.ContainerEdits.DeviceNodes = nodes
	return e
}

// T35 of the attack cases: numbers are the machine's, whatever the mode says.
func TestResolveFillsFromTheNode(t *testing.T) {
	mode := os.FileMode(0o600)
	e := devices(&cdi.DeviceNode{Path: "/dev/null", Type: "c", Major: 8, Minor: 0, FileMode: &mode}, &cdi.DeviceNode{Path: "/dev/gpu", HostPath: "/dev/zero", Permissions: "r"})
	if err := Resolve(granting(t, allDevices), "m", e); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/dev/null c 1 3 rw", "/dev/gpu c 1 5 r"} {
		d := e.ContainerEdits.DeviceNodes[i]
		if got := fmt.Sprintf("%s %s %d %d %s", d.Path, d.Type, d.Major, d.Minor, d.Permissions); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		var st unix.Stat_t
		if err := unix.Stat([]string{"/dev/null", "/dev/zero"}[i], &st); err != nil {
			t.Fatal(err)
		}
		if d.FileMode == nil || uint32(*d.FileMode) != st.Mode&0o777 {
			t.Errorf("%s: mode %v, want %o", d.Path, d.FileMode, st.Mode&0o777)
		}
	}
}

// mknod makes nodes in a folder that lets root do so.
func mknod(t *testing.T, kind uint32, major, minor uint32) string {
	t.Helper()
	needRoot(t)
	name := filepath.Join(t.TempDir(), "node")
	if err := unix.Mknod(name, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		unavailable(t, fmt.Sprintf("needs a folder for device nodes: %v", err))
	}
	return name
}

func TestResolveGivesTheGroup(t *testing.T) {
	name := mknod(t, unix.S_IFCHR, 195, 0)
	for _, test := range []struct {
		gid  int
		mode os.FileMode
		own  bool // the node keeps its group
		want []uint32
	}{
		{44, 0o660, true, []uint32{5, 44}}, {44, 0o666, true, []uint32{5}}, {44, 0o664, true, []uint32{5, 44}}, {0, 0o660, false, []uint32{5}}, {5, 0o660, true, []uint32{5}},
	} {
		if err := os.Chown(name, 0, test.gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, test.mode); err != nil {
			t.Fatal(err)
		}
		e := devices(&cdi.DeviceNode{Path: name})
		e.ContainerEdits.AdditionalGIDs = []uint32{5}
		if err := Resolve(granting(t, allDevices), "m", e); err != nil {
			t.Fatal(err)
		}
		if got := e.ContainerEdits.AdditionalGIDs; !slices.Equal(got, test.want) {
			t.Errorf("gid %d mode %o: additional gids %v, want %v", test.gid, test.mode, got, test.want)
		}
		d := e.ContainerEdits.DeviceNodes[0]
		if (d.GID != nil) != test.own || d.GID != nil && *d.GID != uint32(test.gid) || d.Major != 195 {
			t.Errorf("gid %d: node %+v", test.gid, d)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	dir := tree(t, map[string]string{"file": "", "link": "-> /dev/null"})
	rwm := granting(t, allDevices)
	rwm.DeviceAccess = "rwm"
	for _, test := range []struct {
		node *cdi.DeviceNode
		want string
	}{
		{&cdi.DeviceNode{Path: "/dev/none"}, "/dev/none: is not a device on this machine; load its driver"},
		{&cdi.DeviceNode{Path: dir + "/file"}, dir + "/file: is not a device"},
		{&cdi.DeviceNode{Path: dir}, dir + ": is not a device"},
		{&cdi.DeviceNode{Path: dir + "/link"}, dir + "/link: is a symbolic link, not a device; name the device it leads to"},
		{&cdi.DeviceNode{Path: "dev/null"}, "deviceNodes[0]: dev/null: is not granted; its manifest allows devices /**, /dev/null"},
		{&cdi.DeviceNode{Path: "/dev/../dev/null"}, `"/dev/../dev/null": is not an absolute path in its shortest form`},
		{&cdi.DeviceNode{Path: "/dev/null", Type: "b"}, "/dev/null: is a device of type c, and the mode says b"},
		{&cdi.DeviceNode{Path: "/dev/null", Type: "p"}, "/dev/null: is a device of type c, and the mode says p"},
		{&cdi.DeviceNode{Path: "/dev/null", Permissions: "rwm"}, `/dev/null: access "rwm" asks for mknod; leave the m out, or set device_access in the config`},
	} {
		err := Resolve(granting(t, allDevices), "m", devices(test.node))
		if err == nil || err.Error() != "mode m: "+test.want {
			t.Errorf("error is\n%v\nwant\nmode m: %s", err, test.want)
		}
	}
	if err := Resolve(rwm, "m", devices(&cdi.DeviceNode{Path: "/dev/null", Permissions: "rwm"})); err != nil {
		t.Errorf("m where the config gives it: %v", err)
	}
	if err := Resolve(granting(t, allDevices), "m", devices(&cdi.DeviceNode{Path: "/dev/null", Permissions: "none"})); err != nil {
		t.Errorf("no access: %v", err)
	}
}

func TestResolveKeepsTheFloor(t *testing.T) {
	for minor, what := range map[uint32]string{1: "mem", 2: "kmem", 4: "port", 11: "kmsg"} {
		name := mknod(t, unix.S_IFCHR, 1, minor)
		want := fmt.Sprintf("mode m: %s: is the device %s of the machine, which no container is given", name, what)
		if err := Resolve(granting(t, allDevices), "m", devices(&cdi.DeviceNode{Path: name})); err == nil || err.Error() != want {
			t.Errorf("error is\n%v\nwant\n%s", err, want)
		}
	}
	name := mknod(t, unix.S_IFBLK, 8, 0)
	want := "mode m: " + name + ": is a block device; the mode must say type b for one"
	if err := Resolve(granting(t, allDevices), "m", devices(&cdi.DeviceNode{Path: name})); err == nil || err.Error() != want {
		t.Errorf("error is\n%v\nwant\n%s", err, want)
	}
	e := devices(&cdi.DeviceNode{Path: name, Type: "b"})
	if err := Resolve(granting(t, `{"devices":["`+name+`"]}`), "m", e); err != nil || e.ContainerEdits.DeviceNodes[0].Major != 8 {
		t.Errorf("a block device that the mode calls one: %v", err)
	}
}

func TestResolveChecksRules(t *testing.T) {
	for _, test := range []struct {
		rule discover.DeviceRule
		want string // "" for none
	}{
		{discover.DeviceRule{Type: "c", Major: 195, Minor: -1, Access: "rw"}, ""},
		{discover.DeviceRule{Type: "c", Major: 1, Minor: 3, Access: "rw"}, ""},
		{discover.DeviceRule{Type: "c", Major: 1, Minor: -1, Access: "r"}, "mode m: device rule c 1:-1: is for every memory device, which no container is given"},
		{discover.DeviceRule{Type: "c", Major: 1, Minor: 1, Access: "r"}, "mode m: device rule c 1:1: is the device mem of the machine, which no container is given"},
		{discover.DeviceRule{Type: "c", Major: -1, Minor: -1, Access: "r"}, `mode m: deviceRules[0]: c -1:*: is not granted; its manifest allows device rules "c 195:*", "c 1:*"`},
		{discover.DeviceRule{Type: "a", Major: 1, Minor: 3, Access: "r"}, `mode m: deviceRules[0]: a 1:3: is not granted; its manifest allows device rules "c 195:*", "c 1:*"`},
		{discover.DeviceRule{Type: "c", Major: 195, Minor: 0, Access: "m"}, `mode m: device rule c 195:0: access "m" asks for mknod; leave the m out, or set device_access in the config`},
	} {
		e := devices()
		e.DeviceRules = []discover.DeviceRule{test.rule}
		err := Resolve(granting(t, allDevices), "m", e)
		if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want) {
			t.Errorf("error is\n%v\nwant\n%s", err, test.want)
		}
	}
}
