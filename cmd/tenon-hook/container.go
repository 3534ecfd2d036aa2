// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/ldcache"
)

// Limits of what the runtime hands over: a state has some 500 bytes and the
// container's annotations, a config.json some 20 KB.
const (
	maxState  = 1 << 20
	maxConfig = 8 << 20
)

// container is the file system of the container that the hook works for.
type container struct {
	root  *ldcache.Root
	mount uint64 // the mount that the root is on
	label string // SELinux label of its mounts, "" for none

	attach bool // work as before Linux 6.15; for tests
}

// state is what this program reads of the container's state (runtime-spec,
// "State"). Root is crun's addition to it, absolute.
type state struct {
	Bundle string `json:"bundle"`
	Status string `json:"status"`
	Root   string `json:"root"`
}

// config is what this program reads of a config.json. encoding/json reads it as
// runc does, twins of a name among them.
type config struct {
	Root struct {
		Path string `json:"path"`
	} `json:"root"`
	Linux struct {
		MountLabel string `json:"mountLabel"`
	} `json:"linux"`
}

// parseState reads a state. An error is the runtime's fault, or that of a person
// who calls the hook by hand.
func parseState(data []byte) (state, error) {
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("container state: %w", err)
	}
	if s.Status != "creating" && s.Status != "created" {
		return s, fmt.Errorf("container state: status %q is not that of a container being created", s.Status)
	}
	if !filepath.IsAbs(s.Bundle) || strings.Contains(s.Bundle, "\x00") {
		return s, fmt.Errorf("container state: bundle %q is not an absolute path", s.Bundle)
	}
	if s.Root != "" && !filepath.IsAbs(s.Root) {
		return s, fmt.Errorf("container state: root %q is not an absolute path", s.Root)
	}
	return s, nil
}

// openContainer reads the state on stdin and opens the container's root.
func openContainer(stdin io.Reader) (*container, error) {
	data, err := io.ReadAll(io.LimitReader(stdin, maxState+1))
	if err != nil {
		return nil, fmt.Errorf("container state: %w", err)
	}
	if len(data) > maxState {
		return nil, fmt.Errorf("container state: more than %d bytes", maxState)
	}
	s, err := parseState(data)
	if err != nil {
		return nil, err
	}
	c, err := readConfig(s.Bundle)
	if err != nil && s.Root == "" {
		return nil, err
	}
	path := s.Root
	if path == "" {
		if path = c.Root.Path; path == "" {
			return nil, fmt.Errorf("%s: no root.path", filepath.Join(s.Bundle, "config.json"))
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(s.Bundle, path)
		}
	}
	return openRoot(path, c.Linux.MountLabel)
}

// readConfig reads the config.json of a bundle, which belongs to the runtime's
// caller.
func readConfig(bundle string) (c config, err error) {
	dir, err := ldcache.OpenRoot(bundle)
	if err != nil {
		return c, err
	}
	defer dir.Close()
	name := filepath.Join(bundle, "config.json")
	data, err := dir.ReadFile("config.json", maxConfig)
	if err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// openRoot opens the root at path, which must not be this process's own: that
// of the machine, or, in a hook at another stage, one that has been entered.
func openRoot(path, label string) (*container, error) {
	root, err := ldcache.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	var here, there unix.Stat_t
	err = errors.Join(unix.Stat("/", &here), unix.Fstat(root.FD(), &there))
	if err == nil && here.Dev == there.Dev && here.Ino == there.Ino {
		err = errors.New("is the root of the machine; this hook is one for createContainer")
	}
	c := &container{root: root, label: label}
	if err == nil {
		c.mount, err = mountOf(root.FD())
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}
