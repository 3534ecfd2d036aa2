// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"path"
	"slices"
	"strings"
)

// This file is the floor: what no mode may ask for or change, whatever its
// manifest and the administrator grant. It compares names alone; the host
// resolves links and checks again.

// forbiddenEnv reports whether a variable changes how programs of others run:
// the loader's (ld.so(8)), gconv's (iconv(3)), the shells' and those of script
// languages. Until runc 1.3 the container's environment also reaches hooks that
// carry none of their own, and those run as root on the host.
func forbiddenEnv(name string) bool {
	for _, prefix := range []string{"LD_", "MALLOC_", "PYTHON", "PERL5"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "BASH_ENV", "ENV", "IFS",
		"RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "GODEBUG", "GOTRACEBACK", "GOCOVERDIR"}, name)
}

// forbiddenDestination reports whether a path of the container, absolute and
// clean, is one that a mode may not put anything on: the folders that the
// low-level runtime sets up itself, and the files that say who is who, which
// libraries are loaded first, and what names mean.
func forbiddenDestination(p string) bool {
	if p == "/" || p == "/dev" || p == "/etc" || within(p, "/proc") || within(p, "/sys") {
		return true
	}
	return slices.Contains([]string{"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/ld.so.preload",
		"/etc/resolv.conf", "/etc/hosts"}, p)
}

// defaultDevice reports whether p is one of the devices that every container
// has, or lies in the folder of its terminals: a mount would change what they are.
// https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#default-devices
func defaultDevice(p string) bool {
	return within(p, "/dev/pts") || slices.Contains([]string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
		"/dev/tty", "/dev/console", "/dev/ptmx"}, p)
}

// floored are the trees and files of a machine that no query sees and no mount
// shows, by the first folder of their paths: secrets of the machine and of its
// users, the state of other containers, processes, and files of procfs and
// sysfs that leak the kernel's memory or act when they are touched. Each covers
// what lies below it; "" is the folder itself, "*" is as in path.Match.
var floored = [...]struct {
	first    string
	patterns []string
}{
	{"etc", []string{"shadow*", "gshadow*", "sudoers*", "ssh", "ssl/private", "kubernetes"}},
	{"home", []string{""}},
	{"proc", []string{"[0-9]*", "self", "thread-self", "sys", "kcore", "kmsg", "keys", "key-users", "kallsyms", "sysrq-trigger"}},
	{"root", []string{""}},
	{"run", []string{"containerd", "docker*", "crio", "podman", "secrets"}},
	{"sys", []string{"kernel/debug", "kernel/tracing", "kernel/security", "fs/bpf", "fs/cgroup", "firmware"}},
	{"var", []string{"lib/kubelet", "lib/containerd", "lib/containers", "lib/docker"}},
}

func flooredBelow(first string) []string {
	for i := range floored {
		if floored[i].first == first {
			return floored[i].patterns
		}
	}
	return nil
}

// flooredAttributes are files of any device in sysfs that reach the hardware:
// https://docs.kernel.org/PCI/sysfs-pci.html
var flooredAttributes = []string{"rom", "resource*", "config", "reset", "remove", "rescan", "bind", "unbind", "new_id"}

// ForbiddenQuery reports whether no query may see p, absolute and clean, as
// seen from the root of the query.
func ForbiddenQuery(p string) bool {
	first, rest, _ := strings.Cut(p[1:], "/")
	patterns := flooredBelow(first)
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

// ForbiddenSource reports whether no container may see p, a path of the host,
// absolute and clean, by a mode's doing: what no query sees, every folder that
// holds such a thing, whole top folders, and the sockets of whoever starts
// containers, wherever they are.
func ForbiddenSource(p string) bool {
	if rest, ok := strings.CutPrefix(p, "/var/run"); ok && (rest == "" || rest[0] == '/') {
		p = "/run" + rest // the link that every distribution has
	}
	if slices.Contains([]string{"/", "/dev", "/boot", "/tmp"}, p) || ForbiddenQuery(p) {
		return true
	}
	first, rest, below := strings.Cut(p[1:], "/")
	for _, pattern := range flooredBelow(first) {
		if !below || strings.HasPrefix(pattern, rest+"/") {
			return true
		}
	}
	return slices.Contains([]string{"docker.sock", "containerd.sock", "crio.sock", "podman.sock"}, path.Base(p))
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// within reports whether p is dir or below it.
func within(p, dir string) bool {
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/')
}
