// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// isRoots reports whether a file of this owner counts as one of root's.
//
// A rootless engine runs in a user namespace in which its user is root, and the
// machine's root is nobody: his files show the overflow uid there, as those of
// all other users do that the namespace does not know (user_namespaces(7)). They
// count as root's where / is such a file itself. Where it is not, as in a
// container that has a user namespace and a root file system of its own, root is
// known, and what has the overflow uid came from elsewhere.
//
// So a file of another user of the machine passes for root's. Where tenon looks
// (/usr, /etc, beside itself, where the configuration says) root decides what
// stands there, and what such a process can do to the machine is what its user
// can.
func isRoots(uid uint32) bool {
	if uid == 0 {
		return true
	}
	n := userNamespace()
	return n.rootless() && uid == n.overflow
}

// A namespace is what is to be known of the user namespace that this process is
// in.
type namespace struct {
	inner    bool   // not the one that the machine starts with
	overflow uint32 // the uid that users have who are not known
	ofSlash  uint32 // the owner of /
	outside  string // the uid that uid 0 is outside of it; "" where uid 0 is none
}

// rootless reports whether root of this namespace is not the machine's.
func (n namespace) rootless() bool { return n.inner && n.ofSlash == n.overflow }

// userNamespace looks once. Where /proc does not tell, it is the one that the
// machine starts with.
var userNamespace = sync.OnceValue(func() namespace {
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return namespace{}
	}
	text, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return namespace{}
	}
	var slash unix.Stat_t
	if err := unix.Lstat("/", &slash); err != nil {
		return namespace{}
	}
	return namespaceOf(string(uids), string(text), slash.Uid)
})

// namespaceOf reads what /proc says of a user namespace: each line of a map is
// the first uid inside, the first one outside, and how many
// (user_namespaces(7)).
func namespaceOf(uids, overflow string, ofSlash uint32) namespace {
	number, err := strconv.ParseUint(strings.TrimSpace(overflow), 10, 32)
	if err != nil || strings.Join(strings.Fields(uids), " ") == "0 0 4294967295" { // user_namespace.c, init_user_ns
		return namespace{}
	}
	n := namespace{inner: true, overflow: uint32(number), ofSlash: ofSlash}
	for line := range strings.Lines(uids) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "0" {
			n.outside = fields[1]
		}
	}
	return n
}
