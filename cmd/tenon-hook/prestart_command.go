// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	nvidiaCLI = "nvidia-container-cli"

	// hookPath is the PATH of a program that a hook starts, that which OCI
	// engines give to containers.
	hookPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// findCLI returns the path of nvidia-container-cli: the configured one, else
// the first in the standard folders of the driver's root and of the host. PATH
// is not searched, since it may be the image's. The CLI runs as root, so only
// root may be able to change it, and it must not be a file of the container.
func (c *nvidiaConfig) findCLI(machine, rootfs string) (string, error) {
	if c.CLI.Path != "" {
		err := startableCLI(c.CLI.Path, rootfs)
		if err != nil {
			return "", fmt.Errorf("%s: %q: %w", c.file, "nvidia-container-cli.path", err)
		}
		return c.CLI.Path, nil
	}
	var refused error
	for _, root := range []string{c.CLI.Root, machine} {
		if root == "" {
			continue
		}
		for folder := range strings.SplitSeq(hookPath, ":") {
			path := filepath.Join(root, folder, nvidiaCLI)
			err := startableCLI(path, rootfs)
			if err == nil {
				return path, nil
			}
			if refused == nil && !errors.Is(err, fs.ErrNotExist) {
				refused = err
			}
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", fmt.Errorf(`%s: is not installed; install libnvidia-container-tools, or set "nvidia-container-cli.path" in %s`, nvidiaCLI, c.file)
}

// startableCLI says why path is not a program to start for a container.
func startableCLI(path, rootfs string) error {
	place, err := trustedPath(path)
	if err != nil {
		return err
	}
	st, err := os.Stat(place)
	if err != nil {
		return fmt.Errorf("%s: %w", path, unwrapPath(err))
	}
	if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return fmt.Errorf("%s: is not a program; make it a file with mode 0755", path)
	}
	if real, err := filepath.EvalSymlinks(rootfs); err == nil && strings.HasPrefix(place, real+"/") {
		return fmt.Errorf("%s: is a file of the container; name a program of the host", path)
	}
	return nil
}

// command returns argv for nvidia-container-cli, in the order in which NVIDIA's
// hook has it (doPrestart in cmd/nvidia-container-runtime-hook/main.go). Each
// value is in one argument with its flag; the last argument is an absolute path.
func (c *nvidiaConfig) command(cli string, debugging bool, r *nvidiaRequest, pid int, rootfs string) []string {
	argv := []string{cli}
	on := func(flag string, is bool) {
		if is {
			argv = append(argv, flag)
		}
	}
	value := func(flag, v string) {
		if v != "" {
			argv = append(argv, flag+"="+v)
		}
	}
	debug := c.CLI.Debug
	if debugging {
		debug = "/dev/stderr"
	}
	value("--root", c.CLI.Root)
	on("--load-kmods", c.CLI.LoadKmods)
	on("--no-create-imex-channels", c.Features.NoIMEXCreation)
	on("--no-pivot", c.CLI.NoPivot)
	value("--debug", debug)
	value("--ldcache", c.CLI.Ldcache)
	value("--user", c.CLI.User)
	argv = append(argv, "configure")
	value("--cuda-compat-mode", c.cudaCompatMode())
	value("--ldconfig", c.CLI.Ldconfig)
	on("--no-cgroups", c.CLI.NoCgroups)
	value("--device", strings.Join(r.devices, ","))
	value("--mig-config", r.migConfig)
	value("--mig-monitor", r.migMonitor)
	value("--imex-channel", strings.Join(r.imex, ","))
	for _, name := range r.capabilities {
		argv = append(argv, "--"+name)
	}
	for _, requirement := range r.requirements {
		argv = append(argv, "--require="+requirement)
	}
	value("--pid", strconv.Itoa(pid))
	return append(argv, rootfs)
}

// cudaCompatMode is what the CLI does with the CUDA compatibility libraries of
// an image; "" leaves it to the CLI.
func (c *nvidiaConfig) cudaCompatMode() string {
	switch mode := c.Runtime.Modes.Legacy.CUDACompatMode; mode {
	case "ldconfig", "mount":
		return mode
	case "disabled", "hook": // a hook of the runtime does it
		return "disabled"
	}
	if c.Features.AllowCUDACompat {
		return ""
	}
	return "disabled"
}

// commandEnv is the environment of nvidia-container-cli: PATH and what the
// administrator configured, the last of each name. Ours may be the image's.
func (c *nvidiaConfig) commandEnv() []string {
	env := []string{"PATH=" + hookPath}
	for _, e := range c.CLI.Environment {
		name, _, _ := strings.Cut(e, "=")
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		env = append(env, e)
	}
	return env
}
