// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Request is what a container asks for, read from its config.json. Make it
// with [Spec.Request]; it is not changed afterwards and may be used by several
// goroutines. Strings are as encoding/json, and so runc, decodes them.
type Request struct {
	spec   *Spec
	env    []string
	mounts []specs.Mount
}

// Request returns what the container of this config.json asks for.
func (s *Spec) Request() *Request {
	return &Request{spec: s, env: s.at("process", "env").strings(s.data), mounts: s.mounts()}
}

func (s *Spec) mounts() []specs.Mount {
	list := s.at("mounts").kids
	mounts := make([]specs.Mount, len(list))
	for i := range list {
		m := &list[i]
		mounts[i] = specs.Mount{
			Destination: m.member("destination").string(s.data),
			Type:        m.member("type").string(s.data),
			Source:      m.member("source").string(s.data),
			Options:     m.member("options").strings(s.data),
			UIDMappings: s.idMappings(m.member("uidMappings")),
			GIDMappings: s.idMappings(m.member("gidMappings")),
		}
	}
	return mounts
}

func (s *Spec) idMappings(n *node) []specs.LinuxIDMapping {
	if n.kind != array {
		return nil
	}
	list := make([]specs.LinuxIDMapping, len(n.kids))
	for i := range n.kids {
		m := &n.kids[i]
		list[i] = specs.LinuxIDMapping{
			ContainerID: uint32(m.member("containerID").int(s.data)),
			HostID:      uint32(m.member("hostID").int(s.data)),
			Size:        uint32(m.member("size").int(s.data)),
		}
	}
	return list
}

// Env returns the value of the last NAME= in process.env: what the container
// sees, since runc sets one after the other (libcontainer, populateProcessEnvironment
// and, from 1.3, prepareEnv). An entry without = sets nothing.
func (r *Request) Env(name string) (string, bool) {
	for _, kv := range slices.Backward(r.env) {
		if n, v, ok := strings.Cut(kv, "="); ok && n == name {
			return v, true
		}
	}
	return "", false
}

// Annotation returns the value of an annotation; keys are told apart by case.
func (r *Request) Annotation(key string) (string, bool) {
	n := r.spec.at("annotations").member(key)
	return n.string(r.spec.data), n.kind != absent
}

// Mounts returns the mounts in the order of config.json. The caller may not
// change them.
func (r *Request) Mounts() []specs.Mount { return r.mounts }

// Privileged reports whether CAP_SYS_ADMIN is in process.capabilities.bounding,
// as NVIDIA's hook decides it (cmd/nvidia-container-runtime-hook,
// isPrivileged): such a container could take any device by itself.
func (r *Request) Privileged() bool {
	n := r.spec.at("process", "capabilities", "bounding")
	for i := range n.kids {
		if n.kids[i].string(r.spec.data) == "CAP_SYS_ADMIN" {
			return true
		}
	}
	return false
}

// Root returns root.path as it is written: relative to the bundle, or absolute.
// Empty where config.json has none.
func (r *Request) Root() string { return r.spec.at("root", "path").string(r.spec.data) }
