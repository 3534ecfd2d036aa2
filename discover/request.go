// SPDX-License-Identifier: Apache-2.0

package discover

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Request is what a container asks for, read from its config.json. Make it
// with [Spec.Request]; it is not changed afterwards.
type Request struct {
	spec *Spec
}

// Request returns what the container of this config.json asks for.
func (s *Spec) Request() *Request { return &Request{spec: s} }

// Env returns the value of the last NAME= in process.env, as the container
// sees it.
func (r *Request) Env(name string) (string, bool) { return "", false }

// Annotation returns the value of an annotation.
func (r *Request) Annotation(key string) (string, bool) { return "", false }

// Mounts returns the mounts in the order of config.json. The caller may not
// change them.
func (r *Request) Mounts() []specs.Mount { return nil }

// Pointer returns the value that an RFC 6901 pointer names.
func (r *Request) Pointer(p string) ([]byte, error) { return nil, ErrNotFound }

// Privileged reports whether CAP_SYS_ADMIN is in process.capabilities.bounding.
func (r *Request) Privileged() bool { return false }

// Root returns root.path as it is written: relative to the bundle, or absolute.
func (r *Request) Root() string { return "" }
