// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// The variables of a container that NVIDIA's hook reads: "Environment variables
// (OCI spec)" in the README of nvidia-container-runtime, and
// internal/config/image of the NVIDIA Container Toolkit.
const (
	envVisibleDevices     = "NVIDIA_VISIBLE_DEVICES"
	envDriverCapabilities = "NVIDIA_DRIVER_CAPABILITIES"
	envRequirePrefix      = "NVIDIA_REQUIRE_"
	envRequireCUDA        = "NVIDIA_REQUIRE_CUDA"
	envRequireJetpack     = "NVIDIA_REQUIRE_JETPACK" // of a Tegra; not for the CLI
	envDisableRequire     = "NVIDIA_DISABLE_REQUIRE"
	envCUDAVersion        = "CUDA_VERSION"
	envMIGConfig          = "NVIDIA_MIG_CONFIG_DEVICES"
	envMIGMonitor         = "NVIDIA_MIG_MONITOR_DEVICES"
	envIMEXChannels       = "NVIDIA_IMEX_CHANNELS"
)

// deviceMounts is the folder in a container in which a mount of /dev/null asks
// for the device of its name. Only the engine can make mounts, so such a request
// is not the image's.
const deviceMounts = "/var/run/nvidia-container-devices/"

const (
	// maxValueBytes bounds a value that is handed on. Linux takes 128 KiB an
	// argument, MAX_ARG_STRLEN in include/uapi/linux/binfmts.h.
	maxValueBytes   = 64 << 10
	maxRequirements = 256
)

// driverCapabilities are the parts of a driver that a container can ask for,
// sorted. Each is a flag of nvidia-container-cli.
var driverCapabilities = []string{"compat32", "compute", "display", "graphics", "ngx", "utility", "video"}

// nvidiaRequest is what a container asks NVIDIA's CLI for.
type nvidiaRequest struct {
	devices      []string // as written; none: libraries and control nodes only
	migConfig    string   // "" = none
	migMonitor   string   // "" = none
	imex         []string
	capabilities []string // sorted, of driverCapabilities
	requirements []string // by the name of their variable
}

// request returns what the container asks for, nil if for nothing. Errors name
// the variable or the mount, and are the container's.
func (c *nvidiaConfig) request(ct *nvidiaContainer) (*nvidiaRequest, error) {
	mounts, err := c.mounts(ct)
	if err != nil {
		return nil, err
	}
	devices, asked := c.devices(ct, mounts.devices)
	if !asked {
		return nil, nil
	}
	r := &nvidiaRequest{devices: devices, migConfig: ct.env[envMIGConfig], migMonitor: ct.env[envMIGMonitor]}
	for _, name := range []string{envMIGConfig, envMIGMonitor} {
		if ct.env[name] != "" && !ct.privileged {
			return nil, fmt.Errorf("%q is set and the container is not privileged; run it with CAP_SYS_ADMIN, or unset the variable", name)
		}
	}
	r.imex = c.imex(ct, mounts.imex)
	value, set := ct.env[envDriverCapabilities]
	if r.capabilities, err = capabilities(value, set, legacyImage(ct.env), c.supported); err != nil {
		return nil, fmt.Errorf("%q: %w", envDriverCapabilities, err)
	}
	if !c.DisableRequire {
		if r.requirements, err = requirements(ct.env); err != nil {
			return nil, err
		}
	}
	return r, r.check()
}

// check refuses values that are no use as arguments. Each is one argument behind
// its flag, so none can become another flag.
func (r *nvidiaRequest) check() error {
	for _, v := range []struct{ name, value string }{
		{"the list of devices", strings.Join(r.devices, ",")},
		{strconv.Quote(envMIGConfig), r.migConfig},
		{strconv.Quote(envMIGMonitor), r.migMonitor},
		{"the list of IMEX channels", strings.Join(r.imex, ",")},
		{strconv.Quote(envRequirePrefix + "*"), strings.Join(r.requirements, " ")},
	} {
		switch {
		case len(v.value) > maxValueBytes:
			return fmt.Errorf("%s is longer than %d bytes", v.name, maxValueBytes)
		case strings.ContainsFunc(v.value, unicode.IsControl):
			return fmt.Errorf("%s holds a control character", v.name)
		}
	}
	if len(r.requirements) > maxRequirements {
		return fmt.Errorf("%q are %d variables, and at most %d are read", envRequirePrefix+"*", len(r.requirements), maxRequirements)
	}
	return nil
}

// devices returns the devices asked for. Mounts go before the environment, which
// counts only where the container is privileged or the administrator allows it.
func (c *nvidiaConfig) devices(ct *nvidiaContainer, mounted []string) (list []string, asked bool) {
	if len(mounted) > 0 {
		return deviceList(mounted...)
	}
	if !ct.privileged && !c.AcceptEnv {
		return nil, false
	}
	var values []string
	for _, name := range splitList(c.SwarmResource) {
		if value, ok := ct.env[name]; ok {
			values = append(values, value)
		}
	}
	if len(values) > 0 {
		return deviceList(values...)
	}
	if value, ok := ct.env[envVisibleDevices]; ok {
		return deviceList(value)
	}
	if legacyImage(ct.env) {
		return []string{"all"}, true
	}
	return nil, false
}

// imex returns the IMEX channels asked for, by the rules of the devices.
func (c *nvidiaConfig) imex(ct *nvidiaContainer, mounted []string) []string {
	if c.Features.IgnoreIMEX {
		return nil
	}
	if len(mounted) > 0 {
		list, _ := deviceList(mounted...)
		return list
	}
	if !ct.privileged && !c.AcceptEnv {
		return nil
	}
	list, _ := deviceList(ct.env[envIMEXChannels])
	if slices.Equal(list, []string{"all"}) {
		return nil // NVIDIA's hook does not know how many there are
	}
	return list
}

// deviceList reads lists as in NVIDIA_VISIBLE_DEVICES: names between commas, with
// spaces around them. "void", and no name at all, ask for nothing; "none" asks
// for what there is beside devices; "all" includes the others; in this order.
func deviceList(values ...string) (list []string, asked bool) {
	for _, value := range values {
		for _, name := range splitList(value) {
			if !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	switch {
	case len(list) == 0 || slices.Contains(list, "void"):
		return nil, false
	case slices.Contains(list, "none"):
		return nil, true
	case slices.Contains(list, "all"):
		return []string{"all"}, true
	}
	return list, true
}

// splitList parts a list at its commas; spaces and empty items do not count.
func splitList(s string) []string {
	var list []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// mountRequests are the names that mounts of /dev/null ask for.
type mountRequests struct{ devices, imex []string }

// mounts returns what mounts ask for, nothing where they are not to be read.
func (c *nvidiaConfig) mounts(ct *nvidiaContainer) (mountRequests, error) {
	var m mountRequests
	if !c.AcceptMounts {
		return m, nil
	}
	for _, destination := range ct.nullMounts {
		name, ok := strings.CutPrefix(destination, deviceMounts)
		if !ok {
			continue
		}
		if channel, ok := strings.CutPrefix(name, "imex/"); ok {
			m.imex = append(m.imex, channel)
			continue
		}
		if device, ok := strings.CutPrefix(name, "cdi/"); ok {
			if name = device; !isQualifiedName(name) {
				parts := strings.SplitN(device, "/", 3)
				if len(parts) != 3 {
					return m, fmt.Errorf("mount %q names no CDI device; write %scdi/VENDOR/CLASS/DEVICE", destination, deviceMounts)
				}
				name = parts[0] + "/" + parts[1] + "=" + parts[2]
			}
		}
		m.devices = append(m.devices, name)
	}
	return m, nil
}

// isQualifiedName reports whether a device is named as CDI names them,
// vendor/class=device.
func isQualifiedName(device string) bool {
	kind, name, ok := strings.Cut(device, "=")
	vendor, class, ok2 := strings.Cut(kind, "/")
	return ok && ok2 && vendor != "" && class != "" && name != "" && !strings.Contains(class, "/")
}

// legacyImage reports whether an image is one of the first CUDA images, which
// asked for GPUs by being one.
func legacyImage(env map[string]string) bool {
	return env[envCUDAVersion] != "" && env[envRequireCUDA] == ""
}

// capabilities returns the capabilities for a value of NVIDIA_DRIVER_CAPABILITIES,
// out of those that the administrator supports.
func capabilities(value string, set, legacy bool, supported []string) ([]string, error) {
	if value == "" {
		if !set && legacy {
			return supported, nil
		}
		return slices.DeleteFunc(slices.Clone(supported), func(name string) bool {
			return name != "compute" && name != "utility"
		}), nil
	}
	list := splitList(value)
	if slices.Contains(list, "all") {
		return supported, nil
	}
	for i, name := range list {
		if !slices.Contains(supported, name) {
			return nil, fmt.Errorf("item %d is no capability that this machine allows; it allows %s", i+1, orNone(supported))
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// requirements returns what the container requires of the machine, each for one
// --require: the values of NVIDIA_REQUIRE_*, by name, and what a legacy image
// requires by its version. Errors name the variable.
func requirements(env map[string]string) ([]string, error) {
	// NVIDIA's hook reads Go's booleans, so "yes" is false.
	if off, _ := strconv.ParseBool(env[envDisableRequire]); off {
		return nil, nil
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.HasPrefix(name, envRequirePrefix) && !strings.HasPrefix(name, envRequireJetpack) {
			list = append(list, env[name])
		}
	}
	if legacyImage(env) {
		version, err := majorMinor(env[envCUDAVersion])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", envCUDAVersion, err)
		}
		list = append(list, "cuda>="+version)
	}
	return list, nil
}

// majorMinor cuts a version down to its first two numbers. What comes after them
// does not matter: there are images with four numbers.
func majorMinor(version string) (string, error) {
	numbers := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(numbers) == 1 {
		numbers = append(numbers, "0")
	}
	if i := strings.IndexAny(numbers[1], "-+"); i > 0 { // a pre-release, a build
		numbers[1] = numbers[1][:i]
	}
	for i, n := range numbers[:2] {
		v, err := strconv.ParseUint(n, 10, 32)
		if err != nil {
			return "", errors.New("is not a version; write it as MAJOR.MINOR")
		}
		numbers[i] = strconv.FormatUint(v, 10)
	}
	return numbers[0] + "." + numbers[1], nil
}
