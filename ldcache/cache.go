// SPDX-License-Identifier: Apache-2.0

// Package ldcache reads and makes /etc/ld.so.cache, the file by which glibc's
// loader finds a library by its soname. It does what ldconfig does, and never
// runs ldconfig.
//
// Start with [Decode], [Cache.Lookup] and [Cache.Encode], which are pure
// functions of bytes. [Look] surveys a file tree that it is handed as a [Root]:
// an open folder, whose paths the kernel resolves inside that folder;
// [Survey.Generate] makes the cache of it. Read in this order: cache.go (the
// words), decode.go, encode.go and check.go (the file), order.go (its order),
// root.go (how a path of an image is opened), conf.go and scan.go (where
// ldconfig looks), elf.go, family.go and generate.go (what it takes), reuse.go
// (how a second run avoids reading again what the first one read).
//
// Nothing here trusts the tree that it reads: every size and count has a
// limit, every file is opened without waiting, and nothing outside the root
// can be named. Nothing here writes a file.
//
// The formats and rules are glibc's: sysdeps/generic/dl-cache.h,
// elf/cache.c, elf/dl-cache.c, elf/ldconfig.c, elf/readlib.c,
// elf/readelflib.c and elf/stringtable.c.
package ldcache

import (
	"runtime"
	"slices"
	"strings"
)

// Cache is what an ld.so.cache file says. The zero value is an empty cache.
type Cache struct {
	// Entries are in the order of the file. The loader searches by halves, so
	// a cache to be encoded must be sorted as [Compare] says.
	Entries []Entry

	// Generator is the program that wrote the file, "" where the file does not
	// say (ldconfig before glibc 2.33). It has no meaning to the loader.
	Generator string

	// unused holds names of glibc-hwcaps folders that were seen and hold no
	// library: ldconfig leaves them in its string table.
	unused []string
}

// Entry says where one library is.
type Entry struct {
	// Key is what the loader looks for: a soname, such as "libc.so.6".
	Key string

	// Value is the path that the loader opens, absolute.
	Value string

	// Flags is the kind of library: the FLAG_ values of
	// sysdeps/generic/ldconfig.h. See [NativeFlags].
	Flags uint32

	// OSVersion is the oldest kernel that the library accepts, as
	// major<<16|minor<<8|patch; 0 in files written by glibc 2.36 and later.
	OSVersion uint32

	// HWCaps is the name of the glibc-hwcaps folder that the library is in,
	// such as "x86-64-v3"; "" for a library that every processor may load.
	HWCaps string

	// ISALevel is what the library's own GNU property note says it needs, 0 to
	// 1023; only where HWCaps is not empty.
	ISALevel uint16

	// Legacy is the hwcap mask of a library in a folder such as "haswell" or
	// "tls", as ldconfig wrote it up to glibc 2.36. Loaders since 2.37 pass
	// such entries by. 0 where HWCaps is not empty.
	Legacy uint64
}

// Kinds of library: FLAG_ELF_LIBC6 with the FLAG_*_LIB64 and similar bits of
// sysdeps/generic/ldconfig.h.
const (
	flagLibc6           = 0x0003
	flagX8664           = 0x0303
	flagPowerPC64       = 0x0503
	flagX32             = 0x0803
	flagARMHardFloat    = 0x0903
	flagAArch64         = 0x0a03
	flagARMSoftFloat    = 0x0b03
	flagRISCVSoft       = 0x0f03
	flagRISCVDouble     = 0x1003
	flagLoongArchSoft   = 0x1103
	flagLoongArchDouble = 0x1203
)

// NativeFlags returns the values of [Entry.Flags] that mark a library as one
// of the processor that this program was built for, best first. It is empty
// for a processor that this package does not know.
func NativeFlags() []uint32 { return nativeFlags(runtime.GOARCH) }

func nativeFlags(goarch string) []uint32 {
	switch goarch {
	case "amd64":
		return []uint32{flagX8664}
	case "386":
		return []uint32{flagLibc6}
	case "arm64":
		return []uint32{flagAArch64}
	case "arm":
		return []uint32{flagARMHardFloat, flagARMSoftFloat, flagLibc6}
	case "ppc64le":
		return []uint32{flagPowerPC64}
	case "riscv64":
		return []uint32{flagRISCVDouble, flagRISCVSoft}
	case "loong64":
		return []uint32{flagLoongArchDouble, flagLoongArchSoft}
	}
	return nil
}

// Lookup returns the paths under which the cache knows soname for the
// processor that this program was built for: each once, in the order of the
// cache, the variants in glibc-hwcaps folders among them. After ".so" a "*"
// in soname stands for any run of characters, so that "libcuda.so*" finds
// libcuda.so and libcuda.so.1; elsewhere a "*" is itself. No match is an
// empty result.
func (c *Cache) Lookup(soname string) []string {
	native := NativeFlags()
	var values []string
	for i := range c.Entries {
		e := &c.Entries[i]
		if matchSoname(soname, e.Key) && slices.Contains(native, e.Flags) && !slices.Contains(values, e.Value) {
			values = append(values, e.Value)
		}
	}
	return values
}

// matchSoname reports whether key is what pattern asks for.
func matchSoname(pattern, key string) bool {
	fixed := strings.Index(pattern, ".so")
	if fixed < 0 || !strings.Contains(pattern[fixed:], "*") {
		return pattern == key
	}
	fixed += len(".so")
	if !strings.HasPrefix(key, pattern[:fixed]) {
		return false
	}
	parts := strings.Split(pattern[fixed:], "*")
	rest, last := key[fixed:], len(parts)-1
	if !strings.HasPrefix(rest, parts[0]) {
		return false
	}
	rest = rest[len(parts[0]):]
	for _, part := range parts[1:last] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[last])
}
