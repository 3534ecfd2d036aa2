// SPDX-License-Identifier: Apache-2.0

//go:build packages

// Package packaging makes the packages (build.sh) and holds them to what an
// administrator expects of one. The tests install them into a root of their own,
// made of the files of this machine's packages; nothing is installed here.
package packaging

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
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

// build makes the packages of a version from the sources in a folder, as a user
// does. The id is that of the build, which compiled code is of.
func build(t *testing.T, sources, version, arch, id string) (deb, rpm string) {
	t.Helper()
	out := t.TempDir()
	cmd := exec.Command("make", "-s", "-C", sources, "packages", "OUT="+out, "VERSION="+version, "ARCH="+arch, "BUILD="+id, "SOURCE_DATE_EPOCH=1700000000")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { // what make tells a make below it
		return strings.HasPrefix(e, "MAKE") || strings.HasPrefix(e, "MFLAGS=")
	})
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make packages: %v\n%s", err, text)
	}
	debs, _ := filepath.Glob(out + "/*.deb")
	rpms, _ := filepath.Glob(out + "/*.rpm")
	if len(debs) != 1 || len(rpms) != 1 {
		t.Fatalf("make packages made %q and %q, want one of each", debs, rpms)
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
	need(t, "dpkg", "dpkg-deb", "tar", "gzip", "make", "gcc", "busybox", "rpm", "unshare", "nsenter", "deb-systemd-helper", "systemctl", "containerd", "dockerd", "docker")
	here := sources(t, "..")
	deb, rpm := build(t, here, "v0.1.0", runtime.GOARCH, "first")
	t.Run("a second build elsewhere gives the same bytes", func(t *testing.T) {
		deb2, rpm2 := build(t, sources(t, here), "v0.1.0", runtime.GOARCH, "first")
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
	t.Run("for another processor the programs differ, the modules do not", func(t *testing.T) { otherProcessor(t, here, deb) })
	// The newer version has a newer module too.
	manifest := here + "/modules/csv/manifest.json"
	data, err := os.ReadFile(manifest)
	must(t, err)
	changed := regexp.MustCompile(`"version": "[^"]*"`).ReplaceAll(data, []byte(`"version": "99.0.0"`))
	must(t, os.WriteFile(manifest, changed, 0o644))
	newer, newerRPM := build(t, here, "v0.2.0", runtime.GOARCH, "second")
	t.Run("the deb is installed, upgraded, removed and purged", func(t *testing.T) { life(t, deb, newer) })
	t.Run("systemd starts the service of tenon, and touches no engine", func(t *testing.T) { withSystemd(t, deb, newer) })
	t.Run("Docker uses it, before and after an upgrade, and forgets it", func(t *testing.T) { withDocker(t, deb, newer) })
	t.Run("the rpm is installed, upgraded and removed", func(t *testing.T) { rpmLife(t, rpm, newerRPM) })
}

// otherProcessor looks into a deb for a processor that this machine has not.
func otherProcessor(t *testing.T, sources, deb string) {
	arch, machine := "arm64", elf.EM_AARCH64
	if runtime.GOARCH == arch {
		arch, machine = "amd64", elf.EM_X86_64
	}
	other, rpm := build(t, sources, "v0.1.0", arch, "first")
	if got := strings.TrimSpace(output(t, "dpkg-deb", "-f", other, "Architecture")); got != arch {
		t.Errorf("%s: is for %s", other, got)
	}
	if got, want := output(t, "rpm", "-qp", "--qf", "%{ARCH}", rpm), map[string]string{"arm64": "aarch64", "amd64": "x86_64"}[arch]; got != want {
		t.Errorf("%s: is for %s", rpm, got)
	}
	trees := map[string]string{deb: t.TempDir(), other: t.TempDir()}
	for file, dir := range trees {
		output(t, "dpkg-deb", "-x", file, dir)
	}
	for _, program := range strings.Fields(makefile(t, "PROGRAMS")) {
		f, err := elf.Open(trees[other] + "/usr/bin/" + program)
		must(t, err)
		if f.Machine != machine {
			t.Errorf("%s of %s is for %v", program, arch, f.Machine)
		}
		must(t, f.Close())
	}
	for _, folder := range []string{"/usr/lib/tenon/modules", "/etc/tenon", "/usr/lib/systemd", "/usr/share/man"} {
		output(t, "diff", "-r", trees[deb]+folder, trees[other]+folder)
	}
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
		if wantX := (strings.HasPrefix(path, "/usr/bin/") || path == "/usr/lib/tenon/copy-modules") && mode[0] == '-'; wantX != (mode[0] == '-' && mode[3] == 'x') && path != "/usr/bin/" {
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
	r.write(config, string(edited), 0o644)
	r.run("tenon", "module", "remove", "legacy")
	r.run("dpkg", "--force-confdef", "--force-confold", "-i", newer)
	r.works("v0.2.0", "csv")
	r.says(`(?m)^strict += true`, "tenon", "config", "show")
	if r.exists("/etc/tenon/modules.d/legacy.toml") {
		t.Error("a mode that was removed is back after an upgrade")
	}

	// Who keeps what they granted keeps the module that it was granted to.
	r.says(`(?m)^csv +\S+ +99\.0\.0 `, "tenon", "module", "list")
	r.run("sh", "-c", `echo "# mine" >>/etc/tenon/modules.d/csv.toml`)
	r.run("dpkg", "--force-confdef", "--force-confold", "-i", deb)
	r.says(`(?m)^csv +\S+ +99\.0\.0 .* good$`, "tenon", "module", "list")
	r.run("dpkg", "--force-confdef", "--force-confold", "-i", newer)
	r.works("v0.2.0", "csv")
	if left, _ := filepath.Glob(r.dir + "/var/lib/tenon/packaged/*"); len(left) != 1 {
		t.Errorf("%q: want the module of the one mode that there is", left)
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
	r.write("/etc/tenon/config.d/mine.toml", "", 0o644)
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

// withSystemd is the deb in the hands of a systemd that really runs: its unit is
// started, with all that this takes away from it, and no other.
func withSystemd(t *testing.T, deb, newer string) {
	r := newRoot(t, "systemd")
	engines := []string{"docker.service", "containerd.service", "crio.service"}
	for _, name := range engines { // in place of the engines
		r.write("/etc/systemd/system/"+name, "[Service]\nExecStart=/usr/bin/sleep infinity\n", 0o644)
	}
	r.run(append([]string{"systemctl", "start"}, engines...)...)
	state := func() string {
		return r.run(append([]string{"systemctl", "show", "-p", "InvocationID,ActiveState,ExecMainPID"}, engines...)...)
	}
	before, started := r.files(), state()
	for _, step := range []struct{ file, version string }{{deb, "v0.1.0"}, {newer, "v0.2.0"}} {
		r.run("dpkg", "--force-confold", "-i", r.bring(step.file))
		r.works(step.version, "csv", "legacy")
		r.says(`^enabled\n$`, "systemctl", "is-enabled", "tenon-warm")
		r.says(`(?m)^Result=success\nExecMainStatus=0$`, "systemctl", "show", "-p", "Result,ExecMainStatus", "tenon-warm")
	}
	r.says(`^$`, "systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/tenon-warm.service")
	for _, name := range engines {
		r.says(`\b`+name+`\b`, "systemctl", "show", "-p", "Before", "tenon-warm")
		r.says(`^(Requires=.*|Wants=)\n(Requires=.*|Wants=)\n$`, "systemctl", "show", "-p", "Requires,Wants", name)
	}
	r.run("dpkg", "-r", "tenon")
	r.fails(`^masked\n$`, "systemctl", "is-enabled", "tenon-warm")
	r.run("dpkg", "-P", "tenon")
	r.fails(`tenon-warm`, "systemctl", "cat", "tenon-warm")
	if now := state(); now != started {
		t.Errorf("engines were\n%s\nand after all are\n%s", started, now)
	}
	sameFiles(t, before, r.files())
}

func rpmLife(t *testing.T, rpm, newer string) {
	r := newRoot(t, "rpm", "bash")
	before := r.files()
	rpm, newer = r.bring(rpm), r.bring(newer)
	run := func(args ...string) { // Debian's rpm asks first whether it is meant
		t.Helper()
		r.says(`^(warning: \S+ saved as \S+\.rpmsave\n)?$`, append([]string{"rpm", "--force-debian", "--nodeps"}, args...)...)
	}
	run("-i", rpm)
	r.says(`^tenon v0\.1\.0, `, "tenon", "version")
	config := r.dir + "/etc/tenon/config.toml"
	r.write("/etc/tenon/config.toml", "strict = true\n", 0o644)
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
