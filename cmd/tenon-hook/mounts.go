// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOf returns the number of the mount that fd is on, as in
// /proc/self/mountinfo.
func mountOf(fd int) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		return st.Mnt_id, nil
	}
	// Linux before 5.8.
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(info)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.ParseUint(strings.TrimSpace(id), 10, 64)
		}
	}
	return 0, errors.New("/proc/self/fdinfo says no mount")
}

// own reports whether what is written below fd stays in the container: fd is on
// the mount of its root, or on a tmpfs that is mounted nowhere else, such as
// the /dev that the runtime makes. Any other mount is the host's, or a
// volume's.
func (c *container) own(fd int) (bool, error) {
	id, err := mountOf(fd)
	if err != nil {
		return false, err
	}
	if id == c.mount {
		return true, nil
	}
	root, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", c.root.FD()))
	if err != nil {
		return false, err
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	return privateTmpfs(string(info), id, root), nil
}

// privateTmpfs reports whether mount id is a tmpfs of which every mount in
// info, the text of a mountinfo file (proc_pid_mountinfo(5)), is below root.
// A hook of createContainer still sees the mounts of the machine there.
func privateTmpfs(info string, id uint64, root string) bool {
	device := ""
	inside := map[string]bool{} // by device, "major:minor"
	for line := range strings.Lines(info) {
		left, right, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(left), strings.Fields(right)
		if len(fields) < 6 || len(kind) < 1 {
			return false
		}
		if fields[0] == strconv.FormatUint(id, 10) {
			if kind[0] != "tmpfs" {
				return false
			}
			device = fields[2]
		}
		below := strings.HasPrefix(unescape(fields[4]), strings.TrimSuffix(root, "/")+"/")
		if before, there := inside[fields[2]]; there {
			below = below && before
		}
		inside[fields[2]] = below
	}
	return device != "" && inside[device]
}

// unescape undoes mangle_path of the kernel: \040 is a blank.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
