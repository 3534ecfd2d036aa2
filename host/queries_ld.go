// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/tenon-runtime/tenon/ldcache"
	"golang.org/x/sys/unix"
)

// ldLookup answers with the real paths of the libraries that the root's loader
// would find by a soname, sorted, each ended by NUL; none is an empty answer. They
// come from its ld.so.cache, or, where it has none that can be read, from its
// folders of libraries.
func (r *Run) ldLookup(q question) ([]byte, int32) {
	var candidates []string
	cache := r.caches[q.root]()
	if cache != nil {
		candidates = cache.Lookup(q.key)
	} else {
		var code int32
		if candidates, code = r.libraries(q); code != CodeOK {
			return nil, code
		}
	}
	var reals []string
	for _, p := range candidates {
		n, code := r.find(opLdLookup, q.root, path.Clean("/"+p), true)
		if code != CodeOK {
			continue // the cache is older than the folder
		}
		if n.kind() == unix.S_IFREG && (cache != nil || n.native()) {
			reals = append(reals, n.real)
		}
		n.close()
	}
	slices.Sort(reals)
	answer := []byte{}
	for _, p := range slices.Compact(reals) {
		answer = append(append(answer, p...), 0)
	}
	return answer, CodeOK
}

// readCache reads the ld.so.cache of a root; nil where there is none.
func (r *Run) readCache(rootNumber uint32) *ldcache.Cache {
	n, code := r.find(opLdLookup, rootNumber, "/etc/ld.so.cache", true)
	if code != CodeOK {
		return nil
	}
	defer n.close()
	content, code := n.content(ldcache.MaxSize)
	if code != CodeOK {
		return nil
	}
	cache, err := ldcache.Decode(content)
	if err != nil {
		r.log.Debug("ld.so.cache is not read", "root", rootNumber, "error", err)
		return nil
	}
	return cache
}

// libraries finds a soname in the folders that the loader of the root searches
// without a cache: those of /etc/ld.so.conf, then its own, ld.so(8), among
// them those of Debian's multiarch.
func (r *Run) libraries(q question) ([]string, int32) {
	folders := r.ldConf(q.root, "/etc/ld.so.conf", 0)
	for _, triplet := range []string{"/" + multiarch[runtime.GOARCH], ""} {
		if triplet != "/" {
			folders = append(folders, "/lib"+triplet, "/usr/lib"+triplet)
		}
	}
	folders = append(folders, "/lib64", "/usr/lib64")
	g := globbing{run: r, op: opLdLookup, root: q.root, visits: r.config.Limits.GlobEntries}
	// The soname is no pattern but for its "*".
	name := strings.NewReplacer(`\`, `\\`, "?", `\?`, "[", `\[`).Replace(q.key)
	for _, folder := range folders {
		segments := append(strings.Split(folder[1:], "/"), name)
		if code := g.match("", segments); code != CodeOK {
			return nil, code
		}
	}
	return g.found, CodeOK
}

// multiarch are the folder names of
// https://wiki.debian.org/Multiarch/Tuples for processors that Go knows.
var multiarch = map[string]string{
	"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf", "386": "i386-linux-gnu",
	"ppc64le": "powerpc64le-linux-gnu", "s390x": "s390x-linux-gnu", "riscv64": "riscv64-linux-gnu", "loong64": "loongarch64-linux-gnu",
}

// maxInclude is how deep files of /etc/ld.so.conf may include each other.
const maxInclude = 8

// ldConf reads the folders that a file in the format of ld.so.conf names:
// ldconfig(8), and parse_conf of elf/ldconfig.c in glibc.
func (r *Run) ldConf(rootNumber uint32, file string, depth int) []string {
	if depth > maxInclude {
		return nil
	}
	n, code := r.find(opLdLookup, rootNumber, file, true)
	if code != CodeOK {
		return nil
	}
	content, code := n.content(1 << 16)
	n.close()
	if code != CodeOK {
		return nil
	}
	var folders []string
	for line := range strings.Lines(string(content)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "hwcap":
		case fields[0] == "include":
			for _, pattern := range fields[1:] {
				if !strings.HasPrefix(pattern, "/") {
					pattern = path.Join(path.Dir(file), pattern)
				}
				files, code := r.glob(question{opLdLookup, rootNumber, path.Clean(pattern)})
				for f := range strings.SplitSeq(strings.TrimSuffix(string(files), "\x00"), "\x00") {
					if code == CodeOK && f != "" {
						folders = append(folders, r.ldConf(rootNumber, f, depth+1)...)
					}
				}
			}
		case cleanAbs(path.Clean(fields[0])) && isLiteral(fields[0]) && len(folders) < 256 && fields[0] != "/":
			folders = append(folders, path.Clean(fields[0]))
		}
	}
	return folders
}

// native reports whether a file is ELF for the processor that tenon runs on.
func (n *node) native() bool {
	fd, err := reopen(n.fd, &n.stat)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var head [20]byte // up to e_machine, which has the same place in both classes: elf(5)
	if got, err := unix.Pread(fd, head[:], 0); err != nil || got < len(head) || string(head[:4]) != "\x7fELF" {
		return false
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[5] == 2 { // EI_DATA is ELFDATA2MSB
		order = binary.BigEndian
	}
	return order.Uint16(head[18:]) == machines[runtime.GOARCH]
}

// machines are the values of e_machine: EM_… of glibc's elf/elf.h. Package
// debug/elf has them too, and brings readers of DWARF and of compressed sections.
var machines = map[string]uint16{
	"386": 3, "ppc64le": 21, "s390x": 22, "arm": 40, "amd64": 62, "arm64": 183, "riscv64": 243, "loong64": 258,
}
