// SPDX-License-Identifier: Apache-2.0

package host

import (
	"path"
	"strings"
)

// This file is the one place where a query is denied. What a module may ask is
// its manifest, cut down by the administrator; until a manifest is read, every
// module may ask all but what stands here, and no manifest will open that.

// grantedKey reports whether the run may ask a question about its request.
func (r *Run) grantedKey(q question) bool {
	switch q.op {
	case opSpec:
		if q.key == "" {
			return false // the whole config.json
		}
		if r.envGated() {
			// The gate of the env query, kept shut here too: no pointer may
			// contain process.env, or lie in it.
			env := "/process/env"
			return q.key != "/process" && q.key != env && !strings.HasPrefix(q.key, env+"/")
		}
	}
	return true
}

// envGated reports whether *_VISIBLE_DEVICES of this container do not count.
func (r *Run) envGated() bool {
	return !r.config.AcceptEnvWhenUnprivileged && !r.request.Privileged()
}

// grantedPath reports whether the run may look at a path. It is asked twice,
// for the path of the query, so that what is denied cannot be told from what
// is absent, and for the place it leads to, so that no link leads around it.
// Both are as seen from the root of the query.
func (r *Run) grantedPath(p string) bool { return !floor(p) }

// floored are the trees and files that no query sees, in any root, by the
// first folder of their paths: secrets of the machine and of its users, the
// state of other containers, processes, and files of procfs and sysfs that leak
// the kernel's memory or act when they are touched. Each covers what lies below
// it; "" is the folder itself, "*" is as in path.Match.
var floored = map[string][]string{
	"etc":  {"shadow*", "gshadow*", "sudoers*", "ssh", "ssl/private", "kubernetes"},
	"home": {""},
	"proc": {"[0-9]*", "self", "thread-self", "sys", "kcore", "kmsg", "keys", "key-users", "kallsyms", "sysrq-trigger"},
	"root": {""},
	"run":  {"containerd", "docker*", "crio", "podman", "secrets"},
	"sys":  {"kernel/debug", "kernel/tracing", "kernel/security", "fs/bpf", "fs/cgroup", "firmware"},
	"var":  {"lib/kubelet", "lib/containerd", "lib/containers", "lib/docker"},
}

// flooredAttributes are files of any device in sysfs that reach the hardware:
// https://docs.kernel.org/PCI/sysfs-pci.html
var flooredAttributes = []string{"rom", "resource*", "config", "reset", "remove", "rescan", "bind", "unbind", "new_id"}

// floor reports whether p, absolute and clean, is on the hard floor.
func floor(p string) bool {
	first, rest, _ := strings.Cut(p[1:], "/")
	patterns := floored[first]
	if patterns == nil {
		return false
	}
	segments := strings.Split(rest, "/")
	for _, pattern := range patterns {
		// The pattern is held against as many segments as it has.
		n := strings.Count(pattern, "/") + 1
		if pattern == "" || n <= len(segments) && matches(pattern, strings.Join(segments[:n], "/")) {
			return true
		}
	}
	for _, segment := range segments {
		for _, pattern := range flooredAttributes {
			if first == "sys" && matches(pattern, segment) {
				return true
			}
		}
	}
	return false
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
