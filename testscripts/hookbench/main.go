// SPDX-License-Identifier: Apache-2.0

// Hookbench measures tenon-hook update-ldcache against the ldconfig of this
// machine, on images with 100, 1,000 and 10,000 libraries. Both work on the same
// folders in turns, so that whatever else the machine does hits both; what is
// printed are medians of whole processes, and what they are to one another.
//
//	go run ./testscripts/hookbench [-rounds N] HOOK
//
// ldconfig is run in the two ways in which it is used: as it is, with the
// auxiliary cache that it keeps between runs, and as the hooks of other device
// runtimes run it, with -C, which knows none. The hook is run on an image that
// nobody has changed since it last ran there, and on one without a cache.
package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 41, "how often each is run; a fifth of it with 10,000 libraries")
	flag.Parse()
	if flag.NArg() != 1 || *rounds < 1 {
		fmt.Fprintln(os.Stderr, "Usage: hookbench [-rounds N] HOOK")
		os.Exit(64)
	}
	if err := bench(flag.Arg(0), *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "hookbench:", err)
		os.Exit(1)
	}
}

func bench(hook string, rounds int) error {
	hook, err := filepath.Abs(hook)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root, for ldconfig -r")
	}
	fmt.Println("libraries  ldconfig -X  ldconfig -X -C  hook, changed  hook, unchanged  changed/-X  changed/-C  unchanged/-X  unchanged/-C")
	for _, libraries := range []int{100, 1000, 10000} {
		n := rounds
		if libraries == 10000 {
			n = max(1, rounds/5)
		}
		if err := benchImage(hook, libraries, n); err != nil {
			return err
		}
	}
	return nil
}

func benchImage(hook string, libraries, rounds int) error {
	bundle, err := os.MkdirTemp("", "hookbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bundle)
	root := filepath.Join(bundle, "rootfs")
	if err := makeImage(bundle, root, libraries); err != nil {
		return err
	}
	state := fmt.Sprintf(`{"ociVersion":"1.0.2","id":"x","status":"creating","bundle":%q}`, bundle)
	cache := filepath.Join(root, "etc/ld.so.cache")
	update := []string{hook, "update-ldcache", "--required", "--folder", "/opt/lib"}
	keep := []string{"/sbin/ldconfig", "-X", "-r", root, "/opt/lib"}
	fresh := []string{"/sbin/ldconfig", "-X", "-C", "/etc/ld.so.cache", "-r", root, "/opt/lib"}
	var times [4][]time.Duration
	for range rounds {
		for i, step := range [][]string{keep, fresh, update, update} {
			if i == 2 {
				if err := os.Remove(cache); err != nil {
					return err
				}
			}
			before, _ := os.Stat(cache)
			cmd := exec.Command(step[0], step[1:]...)
			cmd.Stdin = strings.NewReader(state)
			start := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%v: %w\n%s", step, err, out)
			}
			times[i] = append(times[i], time.Since(start))
			after, err := os.Stat(cache)
			if err != nil {
				return err
			}
			if i == 3 && !os.SameFile(before, after) {
				return errors.New("the hook wrote a cache that has not changed; on which file system is the image?")
			}
		}
	}
	var medians [4]float64
	for i := range times {
		slices.Sort(times[i])
		medians[i] = float64(times[i][len(times[i])/2].Microseconds()) / 1000
	}
	fmt.Printf("%9d  %8.1f ms  %11.1f ms  %10.1f ms  %12.1f ms  %10.2f  %10.2f  %12.2f  %12.2f\n", libraries, medians[0], medians[1], medians[2], medians[3],
		medians[2]/medians[0], medians[2]/medians[1], medians[3]/medians[0], medians[3]/medians[1])
	return nil
}

// makeImage makes a root with a loader and libraries, each with the link of its
// soname, that have been there for a while.
func makeImage(bundle, root string, libraries int) error {
	for _, dir := range []string{"etc", "lib64", "usr/lib", "opt/lib", "var/cache/ldconfig"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(`{"root":{"path":"rootfs"}}`), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "lib64/ld-linux-x86-64.so.2"), library("ld-linux-x86-64.so.2"), 0o755); err != nil {
		return err
	}
	for i := range libraries {
		soname := fmt.Sprintf("libbench%d.so.%d", i, i%7)
		path := filepath.Join(root, "opt/lib", soname)
		if err := os.WriteFile(path+".2.1", library(soname), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(soname+".2.1", path); err != nil {
			return err
		}
	}
	time.Sleep(100 * time.Millisecond) // a tree that is younger is never taken for unchanged
	return nil
}

// library returns a shared library for x86-64, 16 KiB long, its dynamic section
// at the end as linkers lay it out.
func library(soname string) []byte {
	const header, segment, dynamic, table = 64, 56, 12 << 10, 1 << 10
	names := "\x00" + soname + "\x00"
	tags := [4][2]uint64{{uint64(elf.DT_STRTAB), table}, {uint64(elf.DT_STRSZ), uint64(len(names))}, {uint64(elf.DT_SONAME), 1}, {uint64(elf.DT_NULL)}}
	data := make([]byte, 16<<10)
	put := func(at int, v any) {
		var b bytes.Buffer
		binary.Write(&b, binary.LittleEndian, v) // into memory: no error
		copy(data[at:], b.Bytes())
	}
	put(0, elf.Header64{Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: header, Ehsize: header, Phentsize: segment, Phnum: 2})
	put(header, elf.Prog64{Type: uint32(elf.PT_LOAD), Filesz: uint64(len(data)), Memsz: uint64(len(data)), Align: 4096})
	put(header+segment, elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Off: dynamic, Vaddr: dynamic, Filesz: 16 * uint64(len(tags)), Align: 8})
	put(table, []byte(names))
	put(dynamic, tags)
	return data
}
