// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package main

import "strings"

// record is the answer of stat for what lies at /kit of a machine.sh.
func record(kind byte, mode, uid, gid, major, minor uint32, size uint64) string {
	b := make([]byte, 32)
	b[0] = kind
	for i, v := range []uint32{mode, uid, gid, major, minor, uint32(size), uint32(size >> 32)} {
		for k := range 4 {
			b[4+4*i+k] = byte(v >> (8 * k))
		}
	}
	return string(b)
}

var pathOps = []uint32{opStat, opReadDir, opRead, opReadLink, opRealPath}

// files checks the queries about the file trees, over those that machine.sh makes.
func files() {
	const d = rootDriver
	is("H-38", opStat, d, "/kit/file", record('f', 0o644, 0, 0, 0, 0, 19))
	is("H-38", opStat, d, "/kit/empty", record('f', 0o600, 1, 2, 0, 0, 0))
	is("H-38", opStat, d, "/kit/setuid", record('f', 0o6755, 0, 0, 0, 0, 0))
	is("H-38", opStat, d, "/kit/dir", record('d', 0o1777, 0, 0, 0, 0, 0))
	is("H-38", opStat, d, "/kit/link", record('l', 0o777, 0, 0, 0, 0, 4))
	is("H-38", opStat, d, "/kit/dangling", record('l', 0o777, 0, 0, 0, 0, 7))
	is("H-38", opStat, d, "/kit/char", record('c', 0o640, 1, 44, 240, 300, 0))
	is("H-38", opStat, d, "/kit/block", record('b', 0o600, 0, 0, 7, 3, 0))
	is("H-38", opStat, d, "/kit/fifo", record('p', 0o644, 0, 0, 0, 0, 0))
	is("H-38", opStat, d, "/kit/dirlink/a", record('f', 0o644, 0, 0, 0, 0, 2))

	for _, root := range []uint32{rootHost, rootContainer, rootDriver} {
		n, b := answer(opStat, root, "/")
		check("H-38", n >= 32 && b[0] == 'd', name(opStat, root, "/")+": got "+itoa(n)+", want the record of a folder")
		for _, op := range pathOps {
			for _, p := range []string{"", "kit", "kit/file", "./kit", "/kit/", "/kit//file", "//kit", "/kit/./file", "/kit/../kit/file", "/..", "/kit/.."} {
				code("H-26", op, root, p, invalid)
			}
		}
		for _, op := range pathOps {
			code("H-25", op, root, "/kit-is-not-here", notFound)
		}
	}

	// Absolute links and .. stay inside, and each root is its own.
	is("H-22", opRead, rootContainer, "/kit/file", "in the container\n")
	is("H-22", opRead, rootContainer, "/kit/abs", "in the container\n")
	is("H-22", opRead, rootContainer, "/kit/up", "in the container\n")
	is("H-22", opRead, rootContainer, "/kit/updir/kit/file", "in the container\n")
	is("H-22", opRead, d, "/kit/abs", "in the driver root\n")
	is("H-22", opRead, d, "/kit/up", "in the driver root\n")
	is("H-23", opRealPath, d, "/kit/abs", "/kit/file")
	is("H-23", opRealPath, rootContainer, "/kit/updir", "/")
	is("H-47", opRealPath, d, "/", "/")
	is("H-47", opRealPath, d, "/kit/dirlink/sub", "/kit/dir/sub")
	is("H-47", opRealPath, d, "/kit/link", "/kit/file")
	is("H-47", opRealPath, d, "/kit/char", "/kit/char")

	for _, op := range []uint32{opRead, opReadDir, opRealPath} {
		code("H-25", op, d, "/kit/dangling", notFound)
		code("H-25", op, d, "/kit/loop", notFound)
		code("H-25", op, d, "/kit/chain41", notFound)
	}
	for _, op := range pathOps {
		code("H-25", op, d, "/kit/file/x", notFound)
		code("H-25", op, d, "/kit/loop/x", notFound)
		code("H-25", op, d, "/kit/"+strings.Repeat("k", 300), notFound)
	}
	is("H-25", opRealPath, d, "/kit/chain40", "/kit/file")

	is("H-39", opReadDir, d, "/kit/dir", list("f.hidden", "fB", "fa", "fb", "llink", "dsub"))
	is("H-39", opReadDir, d, "/kit/dirlink", list("f.hidden", "fB", "fa", "fb", "llink", "dsub"))
	is("H-24", opReadDir, d, "/kit/dir/sub", "")
	is("H-39", opReadDir, d, "/kit/nodes", list("bblock", "cchar", "pfifo"))
	is("H-27", opReadDir, d, "/kit/names", list("fé"))
	is("H-27", opGlob, d, "/kit/names/*", list("/kit/names/é"))
	for _, p := range []string{"/kit/file", "/kit/link", "/kit/char", "/kit/fifo"} {
		code("H-39", opReadDir, d, p, wrongType)
	}

	is("H-40", opRead, d, "/kit/link", "in the driver root\n")
	is("H-40", opRead, d, "/kit/empty", "")
	is("H-40", opRead, d, "/kit/bytes", "\x00\xff\n\x00")
	n, b := answer(opRead, d, "/kit/mib")
	check("H-40", n == 1<<20 && strings.Trim(b, "\x00") == "", "read of 1 MiB: got "+itoa(n))
	code("H-73", opRead, d, "/kit/over", tooLarge)
	// Where root 0 has a procfs that may be looked at, its files have no size.
	if n, b := answer(opStat, rootHost, "/proc/version"); n >= 32 {
		check("H-38", b[24:32] == "\x00\x00\x00\x00\x00\x00\x00\x00", "stat of /proc/version: it has a size")
		n, _ := ask(opRead, rootHost, "/proc/version", 1)
		check("H-40", n > 10, "read of /proc/version: got "+itoa(n))
	}
	// A FIFO that was opened would block, and this run with it.
	for _, p := range []string{"/kit/dir", "/kit/fifo", "/kit/char", "/kit/block", "/kit/dirlink", "/"} {
		code("H-41", opRead, d, p, wrongType)
	}

	is("H-42", opReadLink, d, "/kit/link", "file")
	is("H-42", opReadLink, d, "/kit/abs", "/kit/file")
	is("H-42", opReadLink, d, "/kit/dangling", "nowhere")
	is("H-42", opReadLink, d, "/kit/dir/link", "../file")
	for _, p := range []string{"/kit/file", "/kit/dir", "/kit/char", "/"} {
		code("H-42", opReadLink, d, p, wrongType)
	}
}

// names checks the queries that search.
func names() {
	const d = rootDriver
	for _, c := range []struct {
		pattern string
		found   []string
	}{
		{"/kit/dir/*", []string{"/kit/dir/.hidden", "/kit/dir/B", "/kit/dir/a", "/kit/dir/b", "/kit/dir/link", "/kit/dir/sub"}},
		{"/kit/dir/?", []string{"/kit/dir/B", "/kit/dir/a", "/kit/dir/b"}},
		{"/kit/dir/[a-z]", []string{"/kit/dir/a", "/kit/dir/b"}},
		{"/kit/dir/[^a]", []string{"/kit/dir/B", "/kit/dir/b"}},
		{"/kit/dirlink/[ab]", []string{"/kit/dirlink/a", "/kit/dirlink/b"}},
		{"/kit/d*/a", []string{"/kit/dir/a", "/kit/dirlink/a"}},
		{"/kit/dangl*", []string{"/kit/dangling"}},
		{"/kit/dangling", []string{"/kit/dangling"}},
		{"/kit/loo?", []string{"/kit/loop"}},
		{`/kit/st\*r/*`, []string{"/kit/st*r/a"}},
		{"/kit/st[*]r", []string{"/kit/st*r"}},
		{"/k?t/file", []string{"/kit/file"}},
		{"/kit", []string{"/kit"}},
		{"/kit/none*", nil},
		{"/kit/file/*", nil},
		{"/kit/none/*", nil},
		{"/kit/dir/A", nil},
	} {
		is("H-43", opGlob, d, c.pattern, list(c.found...))
	}
	is("H-22", opGlob, rootContainer, "/kit/updir/kit/fi*", list("/kit/updir/kit/file"))
	is("H-24", opGlob, rootContainer, "/dev/kit*", "")
	for _, p := range []string{"", "/", "kit/*", "*", "/kit//*", "/kit/*/", "/kit/./*", "/kit/../*", "/kit/[", "/kit/[a", "/kit/[]", "/kit/[z-", `/kit/\`, "/kit/none/[",
		"/kit/**", "/**/a", "/kit/a**"} {
		code("H-44", opGlob, d, p, invalid)
	}

	is("H-45", opLdLookup, d, "libkit.so.1", list("/usr/lib/libkit.so.1.2"))
	is("H-45", opLdLookup, d, "libkit.so*", list("/usr/lib/libkit.so.1.2"))
	is("H-45", opLdLookup, d, "libkit.so.9", "") // text, and no library
	is("H-24", opLdLookup, d, "libnone.so.1", "")
	for _, s := range []string{"", "libkit", "/usr/lib/libkit.so.1", "lib*.so.1", "*", ".so", "*.so.1", "../libkit.so.1"} {
		code("H-46", opLdLookup, d, s, invalid)
	}

	is("H-49", opWhich, d, "kit-prog", "/usr/local/bin/kit-prog")
	is("H-49", opWhich, d, "kit-link", "/usr/sbin/kit-link")
	is("H-49", opWhich, d, "kit-text", "/usr/bin/kit-text") // not executable in the folders before
	is("H-49", opWhich, d, "/usr/bin/kit-prog", "/usr/bin/kit-prog")
	for _, p := range []string{"kit-none", "kit-dir", "kit-dangling", "/kit/file", "/kit/dir"} {
		code("H-49", opWhich, d, p, notFound)
	}
	for _, p := range []string{"", ".", "..", "bin/kit-prog", "./kit-prog", "../usr/bin/kit-prog", "/usr/bin/", "/usr//bin/kit-prog", "/usr/bin/../bin/kit-prog"} {
		code("H-50", opWhich, d, p, invalid)
	}
}
