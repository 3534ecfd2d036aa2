// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A baseline is another runtime on the same bundles: BASELINE is its path, or that
// of a script which sets what it needs and becomes it. It finds a configuration in
// NVIDIA's format, for the csv mode, the same lists, driver root and low-level
// runtime, where NVIDIA's runtime looks for one: NVIDIA_CTK_CONFIG_FILE_PATH, and
// nvidia-container-runtime/config.toml in XDG_CONFIG_HOME (internal/config of
// nvidia-container-toolkit). Nothing of it is needed to build or to test tenon:
//
//	go install github.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-container-runtime@latest
//	make bench BASELINE=$(go env GOPATH)/bin/nvidia-container-runtime
type baseline struct {
	start, nothing, create *subject // nil where there is none
	said                   string   // what it gave the container
}

func (b *baseline) subjects() []*subject {
	if b.start == nil {
		return nil
	}
	return []*subject{b.start, b.nothing, b.create}
}

// baseline makes the subjects, and looks at what a create does: whoever gives the
// container nothing is faster, and no measure.
func (s *stage) baseline(program string, m *machine, plain, asks *bundle) (*baseline, error) {
	if program == "" {
		return &baseline{}, nil
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(m.dir, "nvidia", "nvidia-container-runtime")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`[nvidia-container-cli]
root = %q
[nvidia-container-runtime]
mode = "csv"
runtimes = [%q]
debug = "/dev/null"
[nvidia-container-runtime.modes.csv]
mount-spec-path = %q
`, m.root(), s.noop(), m.lists())
	file := filepath.Join(folder, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	env := []string{"XDG_CONFIG_HOME=" + filepath.Dir(folder), "NVIDIA_CTK_CONFIG_FILE_PATH=" + file}
	create := func(name string, b *bundle) *subject {
		return &subject{name: name, env: env, bundle: b, args: []string{program, "--root", "/run/bench", "create", "--bundle", b.dir, "c1"}}
	}
	b := &baseline{
		start:   &subject{name: "baseline, start", env: env, args: []string{program, "--root", "/run/bench", "start", "c1"}},
		nothing: create("baseline, create, nothing asked", plain),
		create:  create("baseline, create", asks),
	}
	for _, x := range []*subject{b.nothing, b.create} {
		if err := x.bundle.reset(); err != nil {
			return nil, err
		}
		if _, err := s.launch(x); err != nil {
			return nil, fmt.Errorf("%s: %w", x.name, err)
		}
		if x.result, err = x.bundle.read(); err != nil {
			return nil, err
		}
		x.changed = !bytes.Equal(x.result, x.bundle.config)
	}
	libraries, nodes, err := given(b.create.result)
	if err != nil {
		return nil, err
	}
	b.said = fmt.Sprintf("\nThe baseline, %s, gives the container %d of %d libraries and %d of %d devices", filepath.Base(program), libraries, m.entries, nodes, devices)
	if libraries < m.entries || nodes < devices {
		b.said += ": IT DOES NOT DO THE SAME, so do not compare"
	}
	b.said += "\n"
	return b, nil
}

// given counts what a config.json has of the machine.
func given(config []byte) (libraries, nodes int, err error) {
	var c struct {
		Mounts []struct{ Destination string }
		Linux  struct{ Devices []struct{ Path string } }
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return 0, 0, err
	}
	for _, m := range c.Mounts {
		if strings.HasPrefix(m.Destination, "/usr/lib/bench/") {
			libraries++
		}
	}
	for _, d := range c.Linux.Devices {
		if strings.HasPrefix(d.Path, "/dev/bench") {
			nodes++
		}
	}
	return libraries, nodes, nil
}
