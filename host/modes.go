// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// tegraRelease is made by the package nvidia-l4t-core, on Jetson only.
	tegraRelease = "/etc/nv_tegra_release"
	// socFamily is "Tegra" on a Jetson: soc_device_attribute.family, which
	// drivers/soc/tegra/fuse/fuse-tegra.c of the kernel sets.
	socFamily = "/sys/devices/soc0/family"
)

// Modes names the modes to ask, in order. "auto" is csv on a Tegra machine, else
// legacy where NVIDIA's hook is installed, else nothing. That a mode has a module
// is not checked here. Errors are the machine's.
func (c Config) Modes() ([]string, error) {
	return c.modesOf("/")
}

// modesOf is Modes for a machine that is found below the folder host.
func (c Config) modesOf(host string) ([]string, error) {
	if !slices.Equal(c.Mode, []string{"auto"}) {
		return c.Mode, nil
	}
	for _, folder := range slices.Compact([]string{host, c.DriverRoot}) {
		tegra, err := isTegra(folder)
		if err != nil || tegra {
			return []string{"csv"}, err
		}
	}
	hook, err := c.nvidiaHook(host)
	if err != nil || hook == "" {
		return nil, err
	}
	return []string{"legacy"}, nil
}

// NVIDIAHook returns the absolute path of NVIDIA's prestart hook, "" where it is
// not installed, and the seconds that it may take. The administrator names it, in
// the table of the mode legacy; no module does. Errors are the machine's.
func (c Config) NVIDIAHook() (path string, seconds int, err error) {
	path, err = c.nvidiaHook("/")
	seconds, _ = strconv.Atoi(c.ModeTables["legacy"]["hook_timeout"])
	return path, seconds, err
}

func (c Config) nvidiaHook(host string) (string, error) {
	return findProgram(host, c.ModeTables["legacy"]["hook_path"])
}

func isTegra(folder string) (bool, error) {
	r, err := openRoot(folder)
	if err != nil {
		return false, err
	}
	defer r.close()
	release, err := r.lookup(tegraRelease, true)
	if err == nil {
		release.close()
		if release.kind() == unix.S_IFREG {
			return true, nil
		}
	} else if !absent(err) {
		return false, fmt.Errorf("%s: %w", tegraRelease, err)
	}
	family, err := r.lookup(socFamily, true)
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", socFamily, err)
	}
	defer family.close()
	if family.kind() != unix.S_IFREG {
		return false, nil
	}
	fd, err := reopen(family.fd, &family.stat)
	if err != nil {
		return false, fmt.Errorf("%s: %w", socFamily, err)
	}
	defer unix.Close(fd)
	text := make([]byte, len("tegra"))
	n, err := unix.Read(fd, text)
	if err != nil {
		return false, fmt.Errorf("%s: %w", socFamily, err)
	}
	return strings.EqualFold(string(text[:n]), "tegra"), nil
}

// findProgram returns what the query which would find on the host, or "".
func findProgram(host, name string) (string, error) {
	r, err := openRoot(host)
	if err != nil || name == "" {
		return "", err
	}
	defer r.close()
	paths := []string{name}
	if !path.IsAbs(name) {
		paths = nil
		for _, folder := range programFolders {
			paths = append(paths, path.Join(folder, name))
		}
	}
	for _, p := range paths {
		n, err := r.lookup(p, true)
		if err != nil {
			continue
		}
		n.close()
		if n.kind() == unix.S_IFREG && n.stat.Mode&0o111 != 0 {
			return p, nil
		}
	}
	return "", nil
}

func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}
