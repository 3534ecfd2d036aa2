// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"path"
	"slices"
	"strings"
)

// This file is the floor: what no mode may ask for, whatever it is granted. It
// compares names alone; the host resolves links and checks again.

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

// forbiddenSource reports whether a path of the host, absolute and clean, is
// one that no container may see by a mode's doing: whole top folders, the
// secrets below them, other processes, and the sockets and state of whoever
// starts containers.
func forbiddenSource(p string) bool {
	if rest, ok := strings.CutPrefix(p, "/var/run"); ok && (rest == "" || rest[0] == '/') {
		p = "/run" + rest // the link that every distribution has
	}
	if slices.Contains([]string{"/", "/proc", "/sys", "/dev", "/etc", "/boot", "/root", "/home", "/run", "/var", "/var/lib", "/tmp",
		"/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d"}, p) {
		return true
	}
	if rest, ok := strings.CutPrefix(p, "/proc/"); ok {
		first, _, _ := strings.Cut(rest, "/")
		if first == "self" || first == "thread-self" || strings.Trim(first, "0123456789") == "" {
			return true
		}
	}
	for _, dir := range []string{"containerd", "docker", "crio", "podman", "secrets"} {
		if within(p, "/run/"+dir) {
			return true
		}
	}
	for _, dir := range []string{"containerd", "docker", "containers", "kubelet"} {
		if within(p, "/var/lib/"+dir) {
			return true
		}
	}
	return slices.Contains([]string{"docker.sock", "containerd.sock", "crio.sock", "podman.sock"}, path.Base(p))
}

// within reports whether p is dir or below it.
func within(p, dir string) bool {
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/')
}
