// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links the kernel follows on one way
// (MAXSYMLINKS, path_resolution(7)).
const maxLinks = 40

// trustedPath follows a path of the host and returns the place that it leads to.
// From / on, each folder, each symbolic link and the file itself must belong to
// root or to the user that this process runs as, and nobody else may write them;
// so nobody but them can have made, changed or exchanged the file, or can while
// we use it. Errors begin with the step that is at fault; where something is
// missing they wrap [io/fs.ErrNotExist].
func trustedPath(name string) (string, error) {
	if !filepath.IsAbs(name) {
		return "", fmt.Errorf("%q: is not an absolute path; write it in full", name)
	}
	at, links := "/", 0
	rest := strings.Split(name, "/")
	if _, err := trustedStep("/", name); err != nil {
		return "", err
	}
	for len(rest) > 0 {
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..": // of a place without links
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, step)
		st, err := trustedStep(next, name)
		if err != nil {
			return "", err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: leads through more than %d symbolic links", name, maxLinks)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", fmt.Errorf("%s: %w", next, unwrapPath(err))
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// trustedStep looks at one step of the way to name.
func trustedStep(at, name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	what := "is not trusted"
	if at != filepath.Clean(name) {
		what = "leads to " + name + " and is not trusted"
	}
	switch {
	case st.Uid != 0 && int(st.Uid) != os.Geteuid() && !isUnmapped(st.Uid):
		return nil, fmt.Errorf("%s: %s: it belongs to uid %d; chown it to root", at, what, st.Uid)
	case st.Mode&0o022 != 0 && st.Mode&unix.S_IFMT != unix.S_IFLNK:
		return nil, fmt.Errorf("%s: %s: others may write it (mode %04o); chmod go-w %s", at, what, st.Mode&0o7777, at)
	}
	return &st, nil
}

// isUnmapped reports whether a file counts as one of the machine's root, as far
// as a rootless engine can tell: in a user namespace files of users outside of
// it, root among them, belong to the overflow uid (user_namespaces(7)), and / is
// such a file itself. All that such a process can do to the machine is what its
// user can.
func isUnmapped(uid uint32) bool {
	const everybody = "0 0 4294967295" // the map of the first user namespace
	uids := strings.Fields(readHostText("/proc/self/uid_map"))
	var slash unix.Stat_t
	return len(uids) > 0 && strings.Join(uids, " ") != everybody &&
		unix.Lstat("/", &slash) == nil && slash.Uid == uid &&
		strings.TrimSpace(readHostText("/proc/sys/kernel/overflowuid")) == fmt.Sprint(uid)
}

// readTrusted reads a file at a trusted path. Errors begin with the file.
func readTrusted(name string) ([]byte, error) {
	place, err := trustedPath(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(place, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, unwrapPath(err))
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxNVIDIAConfig+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, unwrapPath(err))
	}
	if len(data) > maxNVIDIAConfig {
		return nil, fmt.Errorf("%s: is longer than %d bytes", name, maxNVIDIAConfig)
	}
	return data, nil
}

// unwrapPath takes the path away from an error of os: ours is in front already.
func unwrapPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
