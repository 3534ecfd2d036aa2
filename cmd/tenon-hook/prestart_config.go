// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"
)

// Where NVIDIA's hook finds its configuration: internal/config of the NVIDIA
// Container Toolkit, FilePathOverrideEnvVar and GetConfigFilePath.
const (
	nvidiaConfigVariable = "NVIDIA_CTK_CONFIG_FILE_PATH"
	nvidiaConfigBelowXDG = "nvidia-container-runtime/config.toml"
	nvidiaConfigSystem   = "/etc/" + nvidiaConfigBelowXDG

	maxNVIDIAConfig = 1 << 20 // bytes; the one that NVIDIA ships has 1 KB
)

// nvidiaConfig is what NVIDIA's configuration says about the hook. The keys are
// those that "nvidia-ctk config default" prints; the others are passed over, as
// NVIDIA's programs do. Only types are checked by the decoder.
type nvidiaConfig struct {
	DisableRequire bool   `toml:"disable-require"`
	SwarmResource  string `toml:"swarm-resource"` // names of variables, with commas
	AcceptEnv      bool   `toml:"accept-nvidia-visible-devices-envvar-when-unprivileged"`
	AcceptMounts   bool   `toml:"accept-nvidia-visible-devices-as-volume-mounts"`
	Supported      string `toml:"supported-driver-capabilities"`

	CLI struct {
		Root        string   `toml:"root"` // of the driver
		Path        string   `toml:"path"`
		Environment []string `toml:"environment"` // NAME=VALUE
		Debug       string   `toml:"debug"`
		Ldcache     string   `toml:"ldcache"`
		LoadKmods   bool     `toml:"load-kmods"`
		NoPivot     bool     `toml:"no-pivot"`
		NoCgroups   bool     `toml:"no-cgroups"`
		User        string   `toml:"user"`
		Ldconfig    string   `toml:"ldconfig"` // @ before it: a program of the host
	} `toml:"nvidia-container-cli"`

	Runtime struct {
		Mode  string `toml:"mode"`
		Modes struct {
			Legacy struct {
				CUDACompatMode string `toml:"cuda-compat-mode"`
			} `toml:"legacy"`
		} `toml:"modes"`
	} `toml:"nvidia-container-runtime"`

	Hook struct {
		SkipModeDetection bool `toml:"skip-mode-detection"`
	} `toml:"nvidia-container-runtime-hook"`

	Features struct {
		AllowCUDACompat bool `toml:"allow-cuda-compat-libs-from-container"`
		AllowLdconfig   bool `toml:"allow-ldconfig-from-container"`
		NoIMEXCreation  bool `toml:"disable-imex-channel-creation"`
		IgnoreIMEX      bool `toml:"ignore-imex-channel-requests"`
	} `toml:"features"`

	file      string   // that was read, or would have been; for messages
	supported []string // Supported, sorted
}

// nvidiaDefaults is the configuration for a machine, a folder, that has none.
func nvidiaDefaults(machine string) *nvidiaConfig {
	c := &nvidiaConfig{AcceptEnv: true, Supported: "all"}
	c.CLI.LoadKmods = true
	c.CLI.Ldconfig = "@/sbin/ldconfig"
	c.Runtime.Mode = "auto"
	c.Runtime.Modes.Legacy.CUDACompatMode = "ldconfig"
	if isSUSE(machine) {
		c.CLI.User = "root:video" // who may use the devices there
	}
	return c
}

// readNVIDIAConfig reads the configuration of NVIDIA's hook: file, which must be
// there, or the one that getenv names, which must be there, or else the one in
// the standard place, which may be missing. Errors begin with the file, and are
// the administrator's.
func readNVIDIAConfig(machine, file string, getenv func(string) string) (*nvidiaConfig, error) {
	required := true
	if file == "" {
		file = getenv(nvidiaConfigVariable)
	}
	if file == "" {
		required = false
		file = filepath.Join(machine, nvidiaConfigSystem)
		if folder := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(folder) {
			file = filepath.Join(folder, nvidiaConfigBelowXDG)
		}
	}
	data, err := readTrusted(file)
	if errors.Is(err, fs.ErrNotExist) && !required {
		data, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseNVIDIAConfig(machine, file, data)
}

// parseNVIDIAConfig lays the text of a file over the defaults.
func parseNVIDIAConfig(machine, file string, data []byte) (*nvidiaConfig, error) {
	c := nvidiaDefaults(machine)
	c.file = file
	if err := toml.Unmarshal(data, c); err != nil {
		what := strings.TrimPrefix(err.Error(), "toml: ")
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ := at.Position()
			file += ":" + strconv.Itoa(line)
			if key := strings.Join(at.Key(), "."); key != "" {
				what = fmt.Sprintf("%q: %s", key, what)
			}
		}
		return nil, fmt.Errorf("%s: %s", file, what)
	}
	if c.Runtime.Mode == "" {
		c.Runtime.Mode = "auto"
	}
	if c.CLI.Ldconfig == "" {
		c.CLI.Ldconfig = "@/sbin/ldconfig"
	}
	// The CLI would execute a program of the image as root.
	if !strings.HasPrefix(c.CLI.Ldconfig, "@") && !c.Features.AllowLdconfig {
		return nil, fmt.Errorf(`%s: "nvidia-container-cli.ldconfig" is a program of the container; put @ before it for one of the host`, file)
	}
	if path, ok := strings.CutPrefix(c.CLI.Ldconfig, "@"); ok {
		// Ubuntu's /sbin/ldconfig is a script around ldconfig.real.
		path = strings.TrimSuffix(path, ".real")
		if _, err := os.Stat(filepath.Join(machine, path+".real")); err == nil {
			path += ".real"
		}
		c.CLI.Ldconfig = "@" + path
	}
	for i, e := range c.CLI.Environment {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return nil, fmt.Errorf(`%s: item %d of "nvidia-container-cli.environment" is no variable; write it as NAME=VALUE`, file, i+1)
		}
	}
	for _, s := range append([]string{c.CLI.Root, c.CLI.Path, c.CLI.Debug, c.CLI.Ldcache, c.CLI.User, c.CLI.Ldconfig}, c.CLI.Environment...) {
		if strings.ContainsRune(s, 0) {
			return nil, fmt.Errorf(`%s: a value of "nvidia-container-cli" holds a NUL character`, file)
		}
	}
	c.supported = splitList(c.Supported)
	if slices.Contains(c.supported, "all") {
		c.supported = slices.Clone(driverCapabilities)
	}
	for _, name := range c.supported {
		if !slices.Contains(driverCapabilities, name) {
			return nil, fmt.Errorf("%s: %q: %q is no capability; the capabilities are all, %s",
				file, "supported-driver-capabilities", name, strings.Join(driverCapabilities, ", "))
		}
	}
	slices.Sort(c.supported)
	c.supported = slices.Compact(c.supported)
	return c, nil
}

// guard refuses a container whose devices NVIDIA's CLI is not the one to give,
// since the machine's mode is another: a Tegra has no driver that it knows, and
// it does not know CDI devices.
func (c *nvidiaConfig) guard(machine string, r *nvidiaRequest) error {
	const remedy = "start the container with the runtime instead (docker run --runtime=nvidia)"
	if c.Hook.SkipModeDetection {
		return nil
	}
	switch {
	case c.Runtime.Mode == "legacy":
		return nil
	case c.Runtime.Mode != "auto":
		return fmt.Errorf("%s: %q is %q, so NVIDIA's hook gives no devices; %s", c.file, "nvidia-container-runtime.mode", c.Runtime.Mode, remedy)
	case len(r.devices) > 0 && !slices.ContainsFunc(r.devices, func(d string) bool { return !isQualifiedName(d) }):
		return fmt.Errorf("device %q: is a CDI device, which NVIDIA's hook cannot give; %s", r.devices[0], remedy)
	}
	for _, folder := range []string{machine, c.CLI.Root} {
		if folder == "" {
			continue
		}
		if file := tegraMark(folder); file != "" {
			return fmt.Errorf("%s: says that this is a Tegra, where NVIDIA's hook gives no devices; %s", file, remedy)
		}
	}
	return nil
}

const (
	// tegraRelease is made by the package nvidia-l4t-core, on Jetson only.
	tegraRelease = "/etc/nv_tegra_release"
	// socFamily is "Tegra" on a Jetson: soc_device_attribute.family, which
	// drivers/soc/tegra/fuse/fuse-tegra.c of the kernel sets.
	socFamily = "/sys/devices/soc0/family"
)

// tegraMark returns the file by which a machine says that it is a Tegra, "" if it
// is none.
func tegraMark(machine string) string {
	file := filepath.Join(machine, tegraRelease)
	if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
		return file
	}
	file = filepath.Join(machine, socFamily)
	if family := readHostText(file); len(family) >= len("tegra") && strings.EqualFold(family[:len("tegra")], "tegra") {
		return file
	}
	return ""
}

// isSUSE reports whether a machine runs a SUSE, by ID_LIKE of os-release(5).
func isSUSE(machine string) bool {
	for line := range strings.Lines(readHostText(filepath.Join(machine, "/etc/os-release"))) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "ID_LIKE="); ok {
			ids := strings.Fields(strings.Trim(value, `"'`))
			return slices.Contains(ids, "suse") || slices.Contains(ids, "opensuse")
		}
	}
	return false
}

// readHostText returns the beginning of a file of the host, "" if it has none.
func readHostText(name string) string {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return ""
	}
	return string(data)
}
