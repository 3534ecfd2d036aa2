// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"cmp"
	"strings"
)

// Compare orders entries as an ld.so.cache must be ordered: negative if a
// stands before b, 0 if the order of insertion decides. It is compare of
// glibc's elf/cache.c: keys descending as [CompareKeys] has them, then flags
// descending, then libraries of glibc-hwcaps folders by the folder's name, and
// those of no such folder last.
func Compare(a, b *Entry) int {
	if c := CompareKeys(b.Key, a.Key); c != 0 {
		return c
	}
	if c := cmp.Compare(b.Flags, a.Flags); c != 0 {
		return c
	}
	if a.HWCaps != b.HWCaps && (a.HWCaps == "" || b.HWCaps == "") {
		return len(b.HWCaps) - len(a.HWCaps) // one of them is 0
	}
	return strings.Compare(a.HWCaps, b.HWCaps)
}

// CompareKeys orders two sonames as the loader does in its search by halves:
// runs of digits by their value, a digit above anything else, other bytes by
// their value. "libx.so.1" and "libx.so.01" are equal. It is
// _dl_cache_libcmp of glibc's elf/dl-cache.c for all keys that [ValidKey]
// accepts; for others the loader's own answer depends on the processor.
func CompareKeys(a, b string) int {
	i, j := 0, 0
	for i < len(a) {
		if j == len(b) {
			return 1
		}
		ca, cb := a[i], b[j]
		switch {
		case isDigit(ca) && isDigit(cb):
			var va, vb uint64
			va, i = number(a, i)
			vb, j = number(b, j)
			if va != vb {
				return cmp.Compare(va, vb)
			}
		case isDigit(ca):
			return 1
		case isDigit(cb):
			return -1
		case ca != cb:
			return cmp.Compare(ca, cb)
		default:
			i++
			j++
		}
	}
	if j < len(b) {
		return -1
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads the run of digits of s at i, and returns where it ends.
func number(s string, i int) (uint64, int) {
	var v uint64
	for ; i < len(s) && isDigit(s[i]); i++ {
		v = v*10 + uint64(s[i]-'0')
	}
	return v, i
}

// Limits of a key. NAME_MAX is 255; the loader compares a run of digits as an
// int, which ten digits overflow, and other bytes as plain char, which is
// signed on some processors.
const (
	maxKey    = 255
	maxDigits = 9
)

// ValidKey reports whether every loader orders key in the same way and finds
// it: 1 to 255 bytes of printable ASCII, no slash, no run of more than nine
// digits.
func ValidKey(key string) bool {
	if key == "" || len(key) > maxKey {
		return false
	}
	digits := 0
	for i := range len(key) {
		c := key[i]
		if c <= ' ' || c > '~' || c == '/' {
			return false
		}
		if !isDigit(c) {
			digits = 0
		} else if digits++; digits > maxDigits {
			return false
		}
	}
	return true
}

// validValue reports whether a path may stand in a cache: absolute, at most
// PATH_MAX bytes with its NUL, no control bytes.
func validValue(path string) bool {
	if path == "" || path[0] != '/' || len(path) >= 4096 {
		return false
	}
	for i := range len(path) {
		if path[i] < ' ' || path[i] == 0x7f {
			return false
		}
	}
	return true
}
