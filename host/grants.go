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
func (r *run) grantedKey(q question) bool {
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
func (r *run) envGated() bool {
	return !r.config.AcceptEnvWhenUnprivileged && !r.request.Privileged()
}

// grantedPath reports whether the run may look at a path. It is asked twice,
// for the path of the query, so that what is denied cannot be told from what
// is absent, and for the place it leads to, so that no link leads around it.
// Both are as seen from the root of the query.
func (r *run) grantedPath(p string) bool { return !floor(p) }

// floored are the trees and files that no query sees, in any root: secrets of
// the machine and of its users, the state of other containers, processes, and
// files of procfs and sysfs that leak the kernel's memory or act when they are
// touched. Each covers what lies below it; "*" is as in path.Match.
var floored = []string{
	"/proc/[0-9]*", "/proc/self", "/proc/thread-self", "/proc/sys",
	"/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/key-users", "/proc/kallsyms", "/proc/sysrq-trigger",
	"/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security",
	"/sys/fs/bpf", "/sys/fs/cgroup", "/sys/firmware",
	"/etc/shadow*", "/etc/gshadow*", "/etc/sudoers*", "/etc/ssh", "/etc/ssl/private", "/etc/kubernetes",
	"/root", "/home",
	"/run/containerd", "/run/docker*", "/run/crio", "/run/podman", "/run/secrets",
	"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker",
}

// flooredAttributes are files of any device in sysfs that reach the hardware:
// https://docs.kernel.org/PCI/sysfs-pci.html
var flooredAttributes = []string{"rom", "resource*", "config", "reset", "remove", "rescan", "bind", "unbind", "new_id"}

// floor reports whether p, absolute and clean, is on the hard floor.
func floor(p string) bool {
	for _, pattern := range floored {
		// The pattern is held against as many segments of p as it has.
		end, slashes := 0, strings.Count(pattern, "/")
		for end = 0; end < len(p); end++ {
			if p[end] == '/' {
				if slashes--; slashes < 0 {
					break
				}
			}
		}
		if p[1] == pattern[1] && matches(pattern, p[:end]) {
			return true
		}
	}
	if rest, ok := strings.CutPrefix(p, "/sys/"); ok {
		for segment := range strings.SplitSeq(rest, "/") {
			for _, pattern := range flooredAttributes {
				if matches(pattern, segment) {
					return true
				}
			}
		}
	}
	return false
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
