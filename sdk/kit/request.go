// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package main

import "strings"

// request checks the queries about the container and the configuration, over
// config.json and config.toml of this folder.
func request() {
	is("H-28", opEnv, 0, "KIT_VALUE", "last")
	is("H-28", opEnv, 0, "KIT_EMPTY", "")
	is("H-28", opEnv, 0, "KIT_EQUALS", "a=b")
	is("H-28", opEnv, 0, "KIT_LINES", "a\nb\u00e9")
	is("H-28", opEnv, 0, "KIT_CASE", "upper")
	is("H-28", opEnv, 0, "kit_case", "lower")
	code("H-28", opEnv, 0, "KIT_NO_EQUALS", notFound)
	code("H-28", opEnv, 0, "KIT_VAL", notFound)
	code("H-29", opEnv, 0, "", invalid)
	code("H-29", opEnv, 0, "KIT_VALUE=", invalid)

	is("H-30", opAnnotation, 0, "kit.example/one", "1")
	is("H-30", opAnnotation, 0, "kit.example/empty", "")
	code("H-30", opAnnotation, 0, "kit.example/One", notFound)
	code("H-30", opAnnotation, 0, "kit.example", notFound)

	is("H-31", opSpec, 0, "/kit/object", `{"":0,"B":[1,{"x":null,"y":true}],"a":"<&>","é":"\u0001"}`)
	is("H-31", opSpec, 0, "/kit/numbers", `[1.0,1e3,18446744073709551615,-0]`)
	is("H-31", opSpec, 0, "/kit/numbers/2", `18446744073709551615`)
	is("H-31", opSpec, 0, "/kit/a~1b/m~0n", `"escaped"`)
	is("H-31", opSpec, 0, "/kit/object/", `0`)
	is("H-31", opSpec, 0, "/process/env/1", `"KIT_EMPTY="`)
	for _, p := range []string{"/kit/none", "/kit/numbers/4", "/kit/numbers/-", "/kit/numbers/00", "/kit/numbers/x", "/kit/numbers/1/x", "/kit/object/b"} {
		code("H-32", opSpec, 0, p, notFound)
	}
	for _, p := range []string{"kit", "/kit/~", "/kit/~2", "/kit/a~"} {
		code("H-32", opSpec, 0, p, invalid)
	}

	under := []string{
		"/kit/b", "/srv/b", "bind", "ro,nosuid",
		"kit//a/", "", "", "",
		"/kit", "tmpfs", "tmpfs", "",
	}
	is("H-33", opMounts, 0, "/kit", list(under...))
	is("H-33", opMounts, 0, "/kit/b", list(under[:4]...))
	is("H-34", opMounts, 0, "/kit/a", list(under[4:8]...))
	is("H-34", opMounts, 0, "/kitten", list("/kitten", "/srv/kitten", "bind", "ro"))
	is("H-24", opMounts, 0, "/kit/none", "")
	asked := []string{
		"asked//7/", "/dev/./null", "", "", "/asked/0,GPU-1/x", "/dev/null", "", "", "/asked/nearer/9", "/dev/null", "", "",
		"/asked", "/dev/null", "", "", "/asked/5", "/dev/zero", "", "",
	}
	all := append(append([]string{"/kitten", "/srv/kitten", "bind", "ro"}, under...), asked...)
	is("H-33", opMounts, 0, "/", list(all...))
	for _, p := range []string{"", "kit", "/kit/", "/kit//a", "/kit/../kit"} {
		code("H-26", opMounts, 0, p, invalid)
	}

	is("H-35", opConfig, 0, "text", `plain "text"`)
	is("H-35", opConfig, 0, "number", "7")
	is("H-35", opConfig, 0, "yes", "true")
	is("H-35", opConfig, 0, "words", `["a","<b>"]`)
	is("H-35", opConfig, 0, "table.inner", "deep")
	is("H-35", opConfig, 0, "table", `{"a":1,"inner":"deep"}`)
	code("H-35", opConfig, 0, "table.none", notFound)
	code("H-35", opConfig, 0, "none", notFound)
	code("H-35", opConfig, 0, "", invalid)
	is("H-36", opConfig, 0, "strict", "false")
	_, driverRoot := answer(opConfig, 0, "driver_root")
	check("H-37", strings.HasPrefix(driverRoot, "/"), "config driver_root: got "+driverRoot+", want an absolute path")

	for _, f := range []string{"op.1", "op.2", "op.3", "op.4", "op.5", "op.6", "op.7", "op.8", "op.9", "op.10", "op.11", "op.12", "op.13", "op.15", "op.16",
		"edit.env", "edit.deviceNodes", "edit.mounts", "edit.remove", "edit.envMode", "edit.symlinks", "edit.ldcache", "edit.deviceRules",
		"edit.builtinHooks", "edit.annotations", "edit.additionalGids"} {
		is("H-48", opFeature, 0, f, "1")
	}
	for _, f := range []string{"", "op", "op.", "op.0", "op.01", "op.14", "op.4294967297", "op.-1", "edit.", "edit.none", "kit.1"} {
		code("H-48", opFeature, 0, f, notFound)
	}
}

// requests checks what the container asks for, over the requests of manifest.json.
func requests() {
	for _, rule := range []string{"H-76", "H-78", "H-80", "H-84"} {
		is(rule, opRequest, 0, "", list("KIT_LIST", "3", "2", "4", "GPU-1", "vendor.example/kit=0-3", "0"))
	}
	code("H-77", opRequest, 0, "void", notFound)
	is("H-77", opRequest, 0, "none", list("KIT_NONE", "none"))
	is("H-77", opRequest, 0, "all", list("KIT_ALL2", "all"))
	code("H-85", opRequest, 0, "void", notFound)
	code("H-85", opRequest, 0, "commas", notFound)
	code("H-85", opRequest, 0, "absent", notFound)
	is("H-80", opRequest, 0, "annotation", list("annotation kit.example/list", "1"))
	is("H-81", opRequest, 0, "mounts", list("/asked", "7", "0", "GPU-1/x"))
	is("H-81", opRequest, 0, "nearer", list("/asked/nearer", "9"))
	code("H-81", opRequest, 0, "no-mount", notFound)
	for _, name := range []string{"other", "KIT_LIST", "/asked", "VOID"} {
		code("H-65", opRequest, 0, name, denied)
	}
}

// arguments checks what holds for every query: its op, root, key and buffer.
func arguments() {
	for _, op := range []uint32{0, opProvider, 17, 255, 1 << 31, 1<<32 - 1} {
		code("H-21", op, 0, "/kit", unsupported)
	}
	for op := uint32(opEnv); op <= opRequest; op++ {
		if op == opProvider {
			continue
		}
		for _, root := range []uint32{3, 255, 1 << 31, 1<<32 - 1} {
			code("H-21", op, root, "/kit", unsupported)
		}
		code("H-15", op, 0, "/kit/\xff", invalid)
		code("H-15", op, 0, "/kit/\xc0\xaf", invalid) // an overlong slash
		code("H-15", op, 0, "/kit/\xed\xa0\x80", invalid)
		code("H-15", op, 0, "/kit\x00", invalid)
		code("H-15", op, 0, "/"+strings.Repeat("k", 4096), invalid)
	}
	for _, op := range []uint32{opEnv, opAnnotation, opSpec, opMounts, opConfig, opFeature, opRequest} {
		code("H-21", op, rootContainer, "/kit", unsupported)
		code("H-21", op, rootDriver, "/kit", unsupported)
	}
	code("H-21", opLdLookup, rootContainer, "libkit.so.1", unsupported)
	code("H-21", opWhich, rootContainer, "kit-prog", unsupported)
	code("H-15", opAnnotation, 0, strings.Repeat("k", 4096), notFound)

	// An answer that does not fit is not there, to the byte.
	whole := "in the driver root\n"
	for capacity := 0; capacity <= len(whole)+1; capacity++ {
		n, b := ask(opRead, rootDriver, "/kit/file", capacity)
		check("H-10", n == int64(len(whole)), "read /kit/file with room for "+itoa(int64(capacity))+": got "+itoa(n)+", want the whole length")
		check("H-11", capacity < len(whole) && len(b) == 0 || string(b) == whole,
			"read /kit/file with room for "+itoa(int64(capacity))+": the buffer holds "+string(b))
	}
	n, _ := ask(opEnv, 0, "KIT_NOT_THERE", 0)
	check("H-12", n == notFound, "an error without a buffer: got "+itoa(n))

	// Ranges of no bytes may be anywhere in the memory, its end included.
	size := memorySize()
	key, length := put("KIT_VALUE")
	n = hostQuery(opEnv, 0, key, length, size, 0)
	check("H-10", n == 4, "a buffer of no bytes at the end of the memory: got "+itoa(n))
	n = hostQuery(opEnv, 0, size, 0, address(&bufArea[0]), 8)
	check("H-29", n == invalid, "a key of no bytes at the end of the memory: got "+itoa(n))

	// Key and buffer may be the same bytes: the key is read first.
	copy(bufArea[:], "KIT_VALUE")
	n = hostQuery(opEnv, 0, address(&bufArea[0]), 9, address(&bufArea[0]), 9)
	check("H-8", n == 4 && string(bufArea[:9]) == "lastVALUE", "key and buffer in one place: got "+itoa(n)+" "+string(bufArea[:9]))

	// Repeatable, errors too.
	for range 3 {
		is("H-13", opEnv, 0, "KIT_VALUE", "last")
		code("H-13", opEnv, 0, "KIT_NOT_THERE", notFound)
	}
}
