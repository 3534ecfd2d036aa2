// SPDX-License-Identifier: Apache-2.0

//go:build packages

// Package packaging makes the packages (build.sh) and holds them to what an
// administrator expects of one. The tests install them into a root of their own,
// made of the files of this machine's packages; nothing is installed here.
package packaging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// need tells a test what it cannot do without. In CI that is a failure.
func need(t *testing.T, programs ...string) {
	t.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return
	}
	if os.Getenv("TENON_CI") != "" {
		t.Fatal("needs " + strings.Join(missing, ", "))
	}
	t.Skip("needs " + strings.Join(missing, ", "))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output is what a command says; the test fails where it fails.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.Bytes())
	}
	return string(out)
}

// The programs and modes are those of the Makefile.
func makefile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("../Makefile")
	must(t, err)
	m := regexp.MustCompile(`(?m)^` + name + `\s*:?=\s*(.*)$`).FindSubmatch(data)
	if m == nil {
		t.Fatalf("Makefile sets no %s", name)
	}
	return string(m[1])
}

// build makes the packages of a version from the sources in a folder.
func build(t *testing.T, sources, version string) (deb, rpm string) {
	t.Helper()
	out := t.TempDir()
	cmd := exec.Command(filepath.Join(sources, "packaging/build.sh"))
	cmd.Env = append(os.Environ(), "OUT="+out, "VERSION="+version, "SOURCE_DATE_EPOCH=1700000000",
		"PROGRAMS="+makefile(t, "PROGRAMS"), "MODES="+makefile(t, "MODES"),
		"LDFLAGS=-s -w -X main.version="+version+" -X github.com/tenon-runtime/tenon/host.build=build-of-the-packages")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, text)
	}
	debs, _ := filepath.Glob(out + "/*.deb")
	rpms, _ := filepath.Glob(out + "/*.rpm")
	if len(debs) != 1 || len(rpms) != 1 {
		t.Fatalf("build.sh made %q and %q, want one of each", debs, rpms)
	}
	return debs[0], rpms[0]
}

// sources copies the sources, without what git or make keeps beside them.
func sources(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	output(t, "sh", "-c", `cd "$1" && tar --exclude=./.git --exclude=./build -cf - . | tar -xf - -C "$2"`, "sh", from, to)
	return to
}

func TestPackages(t *testing.T) {
	need(t, "dpkg", "dpkg-deb", "tar", "gzip", "rpm", "unshare", "deb-systemd-helper")
	here := sources(t, "..")
	deb, rpm := build(t, here, "v0.1.0")
	t.Run("a second build elsewhere gives the same bytes", func(t *testing.T) {
		deb2, rpm2 := build(t, sources(t, here), "v0.1.0")
		for a, b := range map[string]string{deb: deb2, rpm: rpm2} {
			one, err := os.ReadFile(a)
			must(t, err)
			two, err := os.ReadFile(b)
			must(t, err)
			if !bytes.Equal(one, two) {
				t.Errorf("%s: two builds differ (%d and %d bytes)", filepath.Base(a), len(one), len(two))
			}
		}
	})
	t.Run("what is in the deb", func(t *testing.T) { contents(t, deb) })
	t.Run("what is in the rpm", func(t *testing.T) { rpmContents(t, rpm) })
	newer, newerRPM := build(t, here, "v0.2.0")
	t.Run("the deb is installed, upgraded, removed and purged", func(t *testing.T) { life(t, deb, newer) })
	t.Run("with systemd, only the service of tenon is started", func(t *testing.T) { withSystemd(t, deb, newer) })
	t.Run("the rpm is installed, upgraded and removed", func(t *testing.T) { rpmLife(t, rpm, newerRPM) })
}

// contents holds the deb to what lintian would say, and more.
func contents(t *testing.T, deb string) {
	seen := map[string]bool{}
	line := regexp.MustCompile(`^(\S{10}) (\S+) +\d+ (\S+ \S+) \.(/\S*)( -> \S+)?$`)
	for text := range strings.Lines(output(t, "dpkg-deb", "-c", deb)) {
		m := line.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		if m == nil {
			t.Fatalf("dpkg-deb -c: %q", text)
		}
		mode, owner, path := m[1], m[2], m[4]
		seen[path] = true
		if owner != "root/root" {
			t.Errorf("%s: belongs to %s", path, owner)
		}
		if m[5] == "" && (mode[5] == 'w' || mode[8] == 'w') || strings.ContainsAny(mode, "sStT") {
			t.Errorf("%s: has mode %s", path, mode)
		}
		if wantX := strings.HasPrefix(path, "/usr/bin/") && mode[0] == '-'; wantX != (mode[0] == '-' && mode[3] == 'x') && path != "/usr/bin/" {
			t.Errorf("%s: has mode %s", path, mode)
		}
		if mode[0] == '-' && m[3] != "2023-11-14 22:13" {
			t.Errorf("%s: is of %s, not of SOURCE_DATE_EPOCH", path, m[3])
		}
	}
	for _, program := range strings.Fields(makefile(t, "PROGRAMS")) {
		if !seen["/usr/bin/"+program] || !seen["/usr/share/man/man8/"+program+".8.gz"] && !seen["/usr/share/man/man1/"+program+".1.gz"] {
			t.Errorf("%s: is not there, or has no manual page", program)
		}
	}
	for _, path := range []string{"/usr/share/bash-completion/completions/tenon", "/usr/share/zsh/vendor-completions/_tenon",
		"/usr/share/fish/vendor_completions.d/tenon.fish", "/usr/share/doc/tenon/copyright", "/usr/share/doc/tenon/changelog.gz",
		"/usr/share/doc/tenon/changelog.Debian.gz", "/usr/share/doc/tenon/third-party-licences.gz", "/usr/share/man/man1/tenon-module-install.1.gz"} {
		if !seen[path] {
			t.Errorf("%s: is not there", path)
		}
	}
	conffiles := strings.Fields(output(t, "dpkg-deb", "-I", deb, "conffiles"))
	for path := range seen {
		if strings.HasPrefix(path, "/etc/") && !strings.HasSuffix(path, "/") && !slices.Contains(conffiles, path) {
			t.Errorf("%s: is not a conffile", path)
		}
	}
	if !slices.Contains(conffiles, "/etc/tenon/config.toml") {
		t.Errorf("conffiles: %q", conffiles)
	}

	var bom struct {
		Format     string `json:"bomFormat"`
		Components []struct{ Type, Name, Version, PURL string }
	}
	must(t, json.Unmarshal([]byte(output(t, "sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/share/doc/tenon/sbom.cdx.json`, "sh", deb)), &bom))
	names := map[string]string{}
	for _, c := range bom.Components {
		names[c.Type+" "+c.Name] = c.Version
	}
	want := []string{"library github.com/tetratelabs/wazero", "library github.com/spf13/cobra", "library stdlib", "file csv.wasm", "file tenon-hook"}
	for _, name := range want {
		if version, ok := names[name]; !ok || strings.HasPrefix(name, "library") && version == "" {
			t.Errorf("the bill of materials lacks %s: %v", name, names)
		}
	}
	if bom.Format != "CycloneDX" {
		t.Errorf("the bill of materials is %q", bom.Format)
	}
}

func rpmContents(t *testing.T, rpm string) {
	config := 0
	for text := range strings.Lines(output(t, "rpm", "-qpl", "--dump", rpm)) {
		// path size mtime digest mode owner group isconfig isdoc rdev symlink, see rpm(8)
		f := strings.Fields(text)
		if len(f) < 11 {
			t.Fatalf("rpm --dump: %q", text)
		}
		path, mode := f[0], f[4]
		if f[5] != "root" || f[6] != "root" {
			t.Errorf("%s: belongs to %s %s", path, f[5], f[6])
		}
		if !strings.HasPrefix(mode, "0120") && strings.ContainsAny(mode[len(mode)-2:], "2367") {
			t.Errorf("%s: has mode %s", path, mode)
		}
		if slices.Contains([]string{"/usr", "/usr/bin", "/usr/lib", "/etc", "/usr/share", "/usr/share/man/man1"}, path) {
			t.Errorf("%s: belongs to another package", path)
		}
		if f[7] == "1" {
			config++
		}
	}
	if want := 1 + len(strings.Fields(makefile(t, "MODES"))); config != want {
		t.Errorf("%d files are marked as configuration, want %d", config, want)
	}
}

// A root is a small Debian: dpkg and what maintainer scripts use, copied from the
// packages of this machine.
type root struct {
	t   *testing.T
	dir string
}

const makeRoot = `set -e
root=$1
packages="dpkg tar dash sed coreutils perl-base libc6 libcrypt1 libacl1 libattr1 libselinux1 libpcre2-8-0
	libgmp10 zlib1g libzstd1 liblzma5 libbz2-1.0 libmd0 debianutils diffutils init-system-helpers"
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/log" "$root/var/cache" "$root/proc" "$root/tmp" "$root/etc" "$root/run" "$root/dev" \
	"$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
for p in $packages; do
	dpkg-query -s $p >>"$root/var/lib/dpkg/status"
	echo >>"$root/var/lib/dpkg/status"
	dpkg-query -L $p | grep -v '^diverted\|/share/\(doc\|man\|locale\|lintian\)\|^/\.$' >>"$root/files"
	for f in /var/lib/dpkg/info/$p.* /var/lib/dpkg/info/$p:*; do
		case $f in *\**|*.md5sums) ;; *) cp "$f" "$root/var/lib/dpkg/info/" ;; esac
	done
done
tar --no-recursion --ignore-failed-read -cf - -C / -T "$root/files" 2>/dev/null | tar -xf - -C "$root"
rm "$root/files"
printf '%s\n' '#!/bin/sh' 'exit 0' >"$root/usr/sbin/ldconfig"
[ -e "$root/usr/bin/sh" ] || ln -s dash "$root/usr/bin/sh"
chmod +x "$root/usr/sbin/ldconfig"
mknod -m 666 "$root/dev/null" c 1 3
echo root:x:0:0::/root:/bin/sh >"$root/etc/passwd"
`

func newRoot(t *testing.T) root {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	output(t, "sh", "-c", makeRoot, "sh", dir)
	return root{t, dir}
}

// try runs a command in the root, with a /proc.
func (r root) try(args ...string) (string, error) {
	cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`, r.dir}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r root) run(args ...string) string {
	r.t.Helper()
	out, err := r.try(args...)
	if err != nil {
		r.t.Fatalf("%q in the root: %v\n%s", args, err, out)
	}
	return out
}

// says runs a command whose output must match.
func (r root) says(pattern string, args ...string) {
	r.t.Helper()
	if out := r.run(args...); !regexp.MustCompile(pattern).MatchString(out) {
		r.t.Errorf("%q says %q, want a match of %q", args, out, pattern)
	}
}

// bring copies a package into the root, and gives its path there.
func (r root) bring(file string) string {
	r.t.Helper()
	data, err := os.ReadFile(file)
	must(r.t, err)
	path := "/tmp/" + filepath.Base(file)
	must(r.t, os.WriteFile(r.dir+path, data, 0o644))
	return path
}

func (r root) exists(path string) bool {
	_, err := os.Lstat(r.dir + path)
	return err == nil
}

// files are all paths of the root with their modes, without what dpkg or rpm keeps.
func (r root) files() map[string]string {
	all := map[string]string{}
	must(r.t, filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, r.dir)
		switch {
		case rel == "/var/lib/dpkg", rel == "/var/log", rel == "/tmp", rel == "/var/lib/rpm", rel == "/usr/lib/sysimage":
			return filepath.SkipDir
		}
		st, err := d.Info()
		all[rel] = fmt.Sprint(st.Mode())
		return err
	}))
	return all
}

// works checks that what is installed is of a version, and good.
func (r root) works(version string, modes ...string) {
	r.t.Helper()
	r.says(`^tenon `+regexp.QuoteMeta(version)+`, `, "tenon", "version")
	r.run("tenon", "config", "check")
	list := r.run("tenon", "module", "list")
	for _, mode := range modes {
		if !regexp.MustCompile(`(?m)^` + mode + ` .* good$`).MatchString(list) {
			r.t.Errorf("mode %s is not good: %s", mode, list)
		}
	}
	r.says(`(?m)^mode csv: good, not signed, compiled$`, "tenon", "module", "verify")
}

func life(t *testing.T, deb, newer string) {
	r := newRoot(t)
	before := r.files()
	deb, newer = r.bring(deb), r.bring(newer)
	r.run("dpkg", "-i", deb)
	r.works("v0.1.0", "csv", "legacy")
	if out := r.run("dpkg", "-V", "tenon"); out != "" {
		t.Errorf("dpkg -V: %s", out)
	}
	if wants := "/etc/systemd/system/multi-user.target.wants/tenon-warm.service"; !r.exists(wants) {
		t.Errorf("%s: is not there, so that nothing is compiled at boot", wants)
	}
	for _, path := range []string{"/etc/docker", "/etc/containerd", "/etc/crio", "/etc/containers"} {
		if r.exists(path) {
			t.Errorf("%s: was made by a package that leaves engines alone", path)
		}
	}

	// What the administrator has changed stays: a value, and a mode that is gone.
	config := "/etc/tenon/config.toml"
	data, err := os.ReadFile(r.dir + config)
	must(t, err)
	edited := bytes.Replace(data, []byte("#strict = false"), []byte("strict = true"), 1)
	if bytes.Equal(data, edited) {
		t.Fatalf("%s: has no commented line for strict", config)
	}
	must(t, os.WriteFile(r.dir+config, edited, 0o644))
	r.run("tenon", "module", "remove", "legacy")
	r.run("dpkg", "--force-confdef", "--force-confold", "-i", newer)
	r.works("v0.2.0", "csv")
	r.says(`(?m)^strict += true`, "tenon", "config", "show")
	if r.exists("/etc/tenon/modules.d/legacy.toml") {
		t.Error("a mode that was removed is back after an upgrade")
	}

	r.run("dpkg", "-r", "tenon")
	if now, err := os.ReadFile(r.dir + config); err != nil || !bytes.Equal(now, edited) {
		t.Errorf("%s: is not as the administrator left it after the package was removed (%v)", config, err)
	}
	for _, path := range []string{"/usr/bin/tenon", "/usr/lib/tenon", "/var/cache/tenon", "/run/tenon", "/usr/share/doc/tenon"} {
		if r.exists(path) {
			t.Errorf("%s: is left after the package was removed", path)
		}
	}
	r.run("dpkg", "-i", newer) // again, over what was kept
	r.says(`(?m)^strict += true`, "tenon", "config", "show")
	if !r.exists("/etc/systemd/system/multi-user.target.wants/tenon-warm.service") {
		t.Error("tenon-warm.service is not enabled after the package was removed and installed again")
	}
	must(t, os.WriteFile(r.dir+"/etc/tenon/config.d/mine.toml", nil, 0o644))
	r.run("dpkg", "-P", "tenon")
	sameFiles(t, before, r.files())
}

func sameFiles(t *testing.T, before, after map[string]string) {
	t.Helper()
	// deb-systemd-helper's own, of init-system-helpers, and folders that it leaves.
	ours := func(path string) bool {
		return !strings.HasPrefix(path, "/etc/systemd") && !strings.HasPrefix(path, "/var/lib/systemd")
	}
	for _, path := range slices.Sorted(maps.Keys(after)) {
		if before[path] == "" && (ours(path) || strings.Contains(path, "tenon")) {
			t.Errorf("%s: is left after all was purged", path)
		}
	}
	for path, mode := range before {
		if after[path] != mode {
			t.Errorf("%s: was %s, is %q", path, mode, after[path])
		}
	}
}

// withSystemd runs the maintainer scripts where systemd seems to run.
func withSystemd(t *testing.T, deb, newer string) {
	r := newRoot(t)
	must(t, os.MkdirAll(r.dir+"/run/systemd/system", 0o755))
	must(t, os.WriteFile(r.dir+"/usr/bin/systemctl", []byte("#!/bin/sh\necho \"$@\" >>/tmp/calls\n"), 0o755))
	r.run("dpkg", "-i", r.bring(deb))
	r.run("dpkg", "--force-confold", "-i", r.bring(newer))
	r.run("dpkg", "-r", "tenon")
	r.run("dpkg", "-P", "tenon")
	calls, err := os.ReadFile(r.dir + "/tmp/calls")
	must(t, err)
	starts := 0
	for line := range strings.Lines(string(calls)) {
		for _, word := range strings.Fields(line) {
			if strings.Contains(word, ".") && word != "tenon-warm.service" {
				t.Errorf("systemctl %s: is about another unit", strings.TrimSpace(line))
			}
		}
		if strings.Contains(line, "start") && strings.Contains(line, "tenon-warm.service") {
			starts++
		}
	}
	if starts != 2 {
		t.Errorf("tenon-warm.service was started %d times by an installation and an upgrade:\n%s", starts, calls)
	}
}

func rpmLife(t *testing.T, rpm, newer string) {
	r := newRoot(t)
	before := r.files()
	run := func(args ...string) { // with a /proc, as an installed system has
		output(t, "unshare", append([]string{"-m", "sh", "-c", `mount -t proc proc "$0/proc" && exec rpm --root "$0" --dbpath /var/lib/rpm --nodeps "$@"`, r.dir}, args...)...)
	}
	run("-i", rpm)
	r.says(`^tenon v0\.1\.0, `, "tenon", "version")
	config := r.dir + "/etc/tenon/config.toml"
	must(t, os.WriteFile(config, []byte("strict = true\n"), 0o644))
	run("-U", newer)
	r.works("v0.2.0", "csv", "legacy")
	r.says(`(?m)^strict += true`, "tenon", "config", "show")
	run("-e", "tenon")
	for _, path := range []string{"/usr/bin/tenon", "/usr/lib/tenon", "/var/cache/tenon", "/etc/tenon/config.toml"} {
		if r.exists(path) {
			t.Errorf("%s: is left after the package was erased", path)
		}
	}
	if saved, err := os.ReadFile(config + ".rpmsave"); err != nil || string(saved) != "strict = true\n" {
		t.Errorf("what the administrator changed is not kept: %v", err)
	}
	for path := range r.files() { // folders of the system may be left, where no package owns them
		if before[path] == "" && strings.Contains(path, "tenon") && path != "/etc/tenon" && path != "/etc/tenon/config.toml.rpmsave" {
			t.Errorf("%s: is left after the package was erased", path)
		}
	}
}
