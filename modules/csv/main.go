// SPDX-License-Identifier: Apache-2.0

// Mode csv gives a container what the CSV files of an NVIDIA Jetson name: device
// nodes, folders, libraries, and libraries with their links. It is what NVIDIA's
// runtime calls its csv mode, and reads the same files with the same meaning.
//
// Read discover below first, then in the order of its steps: request.go (does
// the container ask), conflict.go (NVIDIA's own hook), files.go (which CSV
// files), csv.go (their lines), entries.go and links.go (a line made edits).
//
// The mode reads CSV files in root Host and looks what they name up in root
// Driver. It never reads a library, and never looks into the container.
package main

import "github.com/tenon-runtime/tenon/sdk"

func init() { sdk.Register(discover) }
func main() {}

func discover(c *sdk.Context) (*sdk.Edits, error) {
	devices, err := requested(c)
	if err != nil {
		return nil, err
	}
	if devices == nothing {
		return nil, sdk.NotApplicable
	}
	if devices == filesOnly {
		c.Explain("none was asked for: the driver's files are given, its device nodes are not")
	}
	f := &finder{Context: c, edits: &sdk.Edits{}, withDevices: devices == everything}
	steps := []func(*finder) error{
		(*finder).readConfig,
		(*finder).resolveConflict,
		(*finder).noteRequirements,
		(*finder).addFiles,
		(*finder).addRelease,
		(*finder).addDriverLinks,
		(*finder).hideRequest,
	}
	for _, step := range steps {
		if err := step(f); err != nil {
			return nil, err
		}
	}
	return f.edits, nil
}

// finder collects the edits for one container.
type finder struct {
	*sdk.Context
	edits       *sdk.Edits
	withDevices bool // else the driver's files only
	strict      bool // what is missing fails the create
	driverRoot  string
	deviceRoot  sdk.Root // where device nodes are looked up
	devicesAt   string   // deviceRoot's path on the host

	mounted map[string]bool // container paths in edits
	linked  map[string]bool // links in edits
	nodes   map[string]bool // devices in edits
}

// readConfig asks for what all steps need to know.
func (f *finder) readConfig() error {
	f.mounted, f.linked, f.nodes = map[string]bool{}, map[string]bool{}, map[string]bool{}
	strict, err := f.setting("strict", "false")
	if err != nil {
		return err
	}
	f.strict = strict == "true"
	if f.driverRoot, err = f.setting("driver_root", "/"); err != nil {
		return err
	}
	// A driver installed under a root of its own mostly has the machine's /dev
	// there too; where it has not, the nodes are the machine's own. The same
	// rule is NVIDIA's: root.isDevRoot in its pkg/nvcdi.
	f.deviceRoot, f.devicesAt = sdk.Host, "/"
	if f.driverRoot != "/" {
		dev, ok, err := f.Stat(sdk.Driver, "/dev")
		if err != nil {
			return err
		}
		if ok && dev.Type == 'd' {
			f.deviceRoot, f.devicesAt = sdk.Driver, f.driverRoot
		}
	}
	return nil
}

// setting returns a value of the mode's config, or what it is if it is not set.
func (f *finder) setting(key, unset string) (string, error) {
	value, ok, err := f.Config(key)
	if err != nil || !ok || value == "" {
		return unset, err
	}
	return value, nil
}

// hideRequest keeps a second injector of devices from doing its work again, for
// who asks for it. By default the container's environment is its own.
func (f *finder) hideRequest() error {
	switch v, err := f.setting("env_void", "keep"); {
	case err != nil:
		return err
	case v == "replace":
		f.edits.SetEnv(visibleDevices, "void")
	case v != "keep":
		return badSetting("env_void", v, "keep or replace")
	}
	return nil
}
