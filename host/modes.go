// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// tegraRelease is made by the package nvidia-l4t-core, on Jetson only.
	tegraRelease = "etc/nv_tegra_release"
	// socFamily is "Tegra" on a Jetson: soc_device_attribute.family, which
	// drivers/soc/tegra/fuse/fuse-tegra.c of the kernel sets.
	socFamily = "sys/devices/soc0/family"
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
	roots := []string{host, c.DriverRoot}
	for _, root := range slices.Compact(roots) {
		tegra, err := isTegra(root)
		if err != nil {
			return nil, err
		}
		if tegra {
			return []string{"csv"}, nil
		}
	}
	hook, _ := c.ModeTables["legacy"]["hook_path"].(string)
	if hasProgram(host, hook) {
		return []string{"legacy"}, nil
	}
	return nil, nil
}

func isTegra(root string) (bool, error) {
	release := filepath.Join(root, tegraRelease)
	if info, err := os.Stat(release); err == nil && info.Mode().IsRegular() {
		return true, nil
	} else if err != nil && !absent(err) {
		return false, fmt.Errorf("%s: %s", release, withoutPath(err))
	}
	family := filepath.Join(root, socFamily)
	f, err := os.OpenFile(family, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %s", family, withoutPath(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return false, fmt.Errorf("%s: %s", family, withoutPath(err))
	}
	return strings.HasPrefix(strings.ToLower(string(text)), "tegra"), nil
}

func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// programFolders are where a program of the host is looked for: the PATH that
// OCI engines give, in its order.
var programFolders = [...]string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}

// hasProgram tells whether the query which would find name on the host.
func hasProgram(host, name string) bool {
	if name == "" {
		return false
	}
	if filepath.IsAbs(name) {
		return isExecutable(filepath.Join(host, name))
	}
	return slices.ContainsFunc(programFolders[:], func(folder string) bool {
		return isExecutable(filepath.Join(host, folder, name))
	})
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
