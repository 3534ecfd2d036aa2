// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// compiler compiles the module in dir; work is a folder that goes away.
type compiler struct {
	dir, work string
	verbose   *slog.Logger
	errors    io.Writer // for what compilers say
}

const (
	getGo   = "install Go 1.24 or newer, from https://go.dev/dl or as the package golang"
	getC    = "install the packages clang-16 and lld-16, or newer ones"
	getRust = "install the packages rustc and libstd-rust-dev-wasm32, or run \"rustup target add wasm32-unknown-unknown\""
)

// golang builds a reactor: std Go calls that c-shared. What version control says
// stays out of it, so that the same source is the same module.
func (c *compiler) golang(out string) error {
	program, err := exec.LookPath("go")
	if err != nil {
		return needed("go", getGo)
	}
	return c.run([]string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, program,
		"build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, ".")
}

// c compiles all *.c but tests, without a C library, and links them.
func (c *compiler) c(out string) error {
	var sources []string
	found, _ := filepath.Glob(filepath.Join(c.dir, "*.c")) // the pattern is good
	for _, file := range found {
		if name := filepath.Base(file); !strings.HasSuffix(name, "_test.c") {
			sources = append(sources, name)
		}
	}
	clang := c.clang()
	if clang == "" {
		return needed("clang", getC)
	}
	return c.run(nil, clang, append([]string{
		"--target=wasm32", "-std=c11", "-Wall", "-Wextra", "-ffreestanding", "-mbulk-memory", "-nostdlib", "-Oz",
		"-I.", "-Wl,--no-entry", "-Wl,--stack-first", "-Wl,--strip-all", "-o", out}, sources...)...)
}

// clang finds a clang that finds a linker for wasm; "" for none.
func (c *compiler) clang() string {
	for _, program := range versions("clang") {
		linker, err := exec.Command(program, "--print-prog-name=wasm-ld").Output()
		if err == nil && filepath.IsAbs(strings.TrimSpace(string(linker))) {
			return program
		}
	}
	return ""
}

// versions finds the programs NAME and NAME-N, the newest first.
func versions(name string) (list []string) {
	names := []string{name}
	for n := 30; n >= 14; n-- { // LLVM releases twice a year; 14 is the first that does
		names = append(names, fmt.Sprintf("%s-%d", name, n))
	}
	for _, n := range names {
		if program, err := exec.LookPath(n); err == nil {
			list = append(list, program)
		}
	}
	return list
}

const rustTarget = "wasm32-unknown-unknown"

// rust builds a cdylib by cargo or, where cargo has no standard library for
// wasm32, by rustc: as Debian has both, they are not of the same packages.
func (c *compiler) rust(out string) error {
	rustc := rustcFor(rustTarget)
	if rustc == "" {
		if _, err := exec.LookPath("rustc"); err != nil {
			return needed("rustc", getRust)
		}
		return fmt.Errorf("rustc: has no standard library for %s; %s", rustTarget, getRust)
	}
	linker := []string{}
	if !hasOwnLinker(rustc) {
		found := versions("wasm-ld")
		if len(found) == 0 {
			return needed("wasm-ld", getC)
		}
		linker = []string{"-C", "linker=" + found[0]}
	}
	if cargo, err := exec.LookPath("cargo"); err == nil && filepath.Dir(cargo) == filepath.Dir(rustc) {
		env := []string{"RUSTC=" + rustc, "CARGO_TARGET_DIR=" + filepath.Join(c.work, "target"), "RUSTFLAGS=" + strings.Join(linker, " ")}
		if err := c.run(env, cargo, "build", "--quiet", "--release", "--lib", "--target", rustTarget); err != nil {
			return err
		}
		made, _ := filepath.Glob(filepath.Join(c.work, "target", rustTarget, "release", "*.wasm")) // the pattern is good
		if len(made) != 1 {
			return fmt.Errorf("%s: cargo made %d modules, not one; set crate-type = [\"cdylib\"] in [lib] of Cargo.toml", c.dir, len(made))
		}
		return os.Rename(made[0], out)
	}
	// Without cargo: the crate of the SDK, and the module on it.
	common := []string{"--edition", "2021", "--target", rustTarget, "-C", "opt-level=s", "-C", "panic=abort"}
	rlib := filepath.Join(c.work, "libtenon.rlib")
	sdk := filepath.Join("tenon", "src", "lib.rs")
	if _, err := os.Stat(filepath.Join(c.dir, sdk)); err != nil {
		return fmt.Errorf("%s: is not there, and no cargo that has %s is installed; %s", filepath.Join(c.dir, sdk), rustTarget, getRust)
	}
	if err := c.run(nil, rustc, append(common, "--crate-name", "tenon", "--crate-type", "rlib", "-C", "embed-bitcode=yes", "-o", rlib, sdk)...); err != nil {
		return err
	}
	args := append(common, "--crate-name", "module", "--crate-type", "cdylib", "-C", "lto", "-C", "strip=symbols")
	args = append(append(args, linker...), "--extern", "tenon="+rlib, "-o", out, filepath.Join("src", "lib.rs"))
	return c.run(nil, rustc, args...)
}

// rustcFor finds a rustc that has the standard library for target: where two are
// installed, often only the distribution's has it.
func rustcFor(target string) string {
	for _, name := range []string{"rustc", "/usr/bin/rustc"} {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		folder, err := exec.Command(program, "--print", "target-libdir", "--target", target).Output()
		if err != nil {
			continue
		}
		if libraries, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(folder)), "libstd-*.rlib")); len(libraries) > 0 {
			return program
		}
	}
	return ""
}

// hasOwnLinker reports whether rustc brings rust-lld, as rustup's does.
func hasOwnLinker(rustc string) bool {
	root, err := exec.Command(rustc, "--print", "sysroot").Output()
	if err != nil {
		return false
	}
	found, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "lib", "rustlib", "*", "bin", "rust-lld"))
	return len(found) > 0
}
