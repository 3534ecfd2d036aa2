// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// memMajor is the major number of the memory devices, and memDenied names those
// of its minor numbers that are the machine's memory, its ports and its log:
// Documentation/admin-guide/devices.txt of Linux.
const memMajor = 1

func memDenied(minor int64) string {
	switch minor {
	case 1:
		return "mem"
	case 2:
		return "kmem"
	case 4:
		return "port"
	case 11:
		return "kmsg"
	}
	return ""
}

// Resolve holds e against the machine, and against the rights of the mode's
// module. It is called on the edits of every run, and on those
// of every trace.
//
// It puts the real path of each mount's source and each device into e, and
// fills each device node with what the host's own node says: type, numbers,
// permission bits, and its group where that is not root. What the mode wrote
// there is not believed. A node that not everybody may read and write also gives
// the container's process its group. Access that the mode leaves open becomes
// c.DeviceAccess.
//
// It refuses what is not granted, as [Rights.CheckEdits] does, what it really is
// included, and what no mode may hand out: access m where c.DeviceAccess does not
// have it, the machine's memory, block devices that the mode did not call type b,
// also in rules without a node; sources of mounts that no container may see, and
// those in folders that others than root may change. Errors begin with
// "mode NAME: " and the edit or device. Something that is not there is the
// machine's fault, or the mode's list's; the rest is the mode's.
func Resolve(c Config, mode string, e *discover.Edits) error {
	module, err := c.module(mode)
	if err != nil {
		return fmt.Errorf("mode %s: %w", mode, err)
	}
	if err := module.rights.CheckEdits(mode, *e); err != nil {
		return err
	}
	s, err := newResolver(c, &module.rights)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.resolve(e); err != nil {
		return fmt.Errorf("mode %s: %w", mode, err)
	}
	return nil
}

func (s *resolver) resolve(e *discover.Edits) error {
	gids := &e.ContainerEdits.AdditionalGIDs
	for i, m := range e.ContainerEdits.Mounts {
		if err := s.source(func() string { return fmt.Sprintf("mounts[%d]", i) }, m); err != nil {
			return err
		}
	}
	for _, d := range e.ContainerEdits.DeviceNodes {
		gid, err := s.device(d)
		if err != nil {
			return err
		}
		if gid != 0 && !slices.Contains(*gids, gid) {
			*gids = append(*gids, gid)
		}
	}
	for _, rule := range e.DeviceRules {
		if err := checkRule(s.config, rule); err != nil {
			return fmt.Errorf("device rule %s %d:%d: %w", Shown(rule.Type), rule.Major, rule.Minor, err)
		}
	}
	return nil
}

// device fills d, and returns the group that its user must have, or 0.
func (s *resolver) device(d *cdi.DeviceNode) (gid uint32, err error) {
	p := cmp.Or(d.HostPath, d.Path)
	if !cleanAbs(p) {
		return 0, fmt.Errorf("%q: is not an absolute path in its shortest form", p)
	}
	n, real, err := s.lookup(p, false)
	if absent(err) {
		return 0, fmt.Errorf("%s: is not a device on this machine; load its driver", p)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", p, err)
	}
	defer n.close()
	kind := ""
	switch n.kind() {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	case unix.S_IFLNK:
		return 0, fmt.Errorf("%s: is a symbolic link, not a device; name the device it leads to", p)
	default:
		return 0, fmt.Errorf("%s: is not a device", p)
	}
	wanted := d.Type
	if wanted == "u" {
		wanted = "c" // an unbuffered character device is the same to Linux: mknod(1)
	}
	switch {
	case kind == "b" && wanted == "":
		return 0, fmt.Errorf("%s: is a block device; the mode must say type b for one", p)
	case wanted != "" && wanted != kind:
		return 0, fmt.Errorf("%s: is a device of type %s, and the mode says %s", p, kind, Shown(d.Type))
	}
	if real != p {
		thing := func() string { return Shown(p) + ": leads to " + Shown(real) + ", which" }
		if err := s.rights.node(thing, d, s.asConfigured(real)); err != nil {
			return 0, err
		}
		d.HostPath = real
	}
	d.Type = kind
	d.Major = int64(unix.Major(uint64(n.stat.Rdev)))
	d.Minor = int64(unix.Minor(uint64(n.stat.Rdev)))
	if err := checkNumbers(kind, d.Major, d.Minor); err != nil {
		return 0, fmt.Errorf("%s: %w", p, err)
	}
	d.Permissions = cmp.Or(d.Permissions, s.config.DeviceAccess)
	if err := checkAccess(s.config, d.Permissions); err != nil {
		return 0, fmt.Errorf("%s: %w", p, err)
	}
	mode := os.FileMode(n.stat.Mode & 0o777)
	d.FileMode = &mode
	if d.GID == nil && n.stat.Gid != 0 {
		gid := n.stat.Gid
		d.GID = &gid
	}
	if mode&0o006 != 0o006 {
		return n.stat.Gid, nil
	}
	return 0, nil
}

func checkRule(c Config, rule discover.DeviceRule) error {
	if err := checkNumbers(rule.Type, rule.Major, rule.Minor); err != nil {
		return err
	}
	return checkAccess(c, rule.Access)
}

// checkNumbers holds a device's numbers, minor -1 being all, against what no
// container is given.
func checkNumbers(kind string, major, minor int64) error {
	if kind != "c" || major != memMajor {
		return nil
	}
	if name := memDenied(minor); name != "" {
		return fmt.Errorf("is the device %s of the machine, which no container is given", name)
	}
	if minor < 0 {
		return errors.New("is for every memory device, which no container is given")
	}
	return nil
}

// checkAccess refuses mknod unless the administrator gives it. "none" is no
// access, so a node without a rule: CDI 1.1.0, permissions.
func checkAccess(c Config, access string) error {
	if access != "none" && strings.Contains(access, "m") && !strings.Contains(c.DeviceAccess, "m") {
		return fmt.Errorf("access %q asks for mknod; leave the m out, or set device_access in the config", access)
	}
	return nil
}
