// SPDX-License-Identifier: Apache-2.0

package testscripts

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
)

// T01, R06: the image's environment must not reach the hook, or do it no harm.
func TestT01R06EnvironmentOfTheImage(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		missing(t, "gcc is not installed")
	}
	out, err := exec.Command("runc", "--version").Output()
	if err != nil {
		missing(t, "runc: %v", err)
	}
	leaky := strings.Contains(string(out), "runc version 1.0.") || strings.Contains(string(out), "runc version 1.1.") || strings.Contains(string(out), "runc version 1.2.")
	newContainer := func(t *testing.T) (a *attack, hook map[string]any, marker string) {
		a = newAttack(t)
		marker = filepath.Join(a.dir, "marker")
		a.files(a.dir, map[string]string{"poc.c": "#include <fcntl.h>\n__attribute__((constructor)) static void f(void) { open(\"" + marker + "\", O_CREAT | O_WRONLY, 0600); }\n"})
		if out, err := exec.Command(gcc, "-shared", "-fPIC", "-o", filepath.Join(a.rootfs, "poc.so"), filepath.Join(a.dir, "poc.c")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		a.config["process"].(map[string]any)["env"] = []string{"LD_PRELOAD=/proc/self/cwd/poc.so", "LD_LIBRARY_PATH=/proc/self/cwd", "GODEBUG=inittrace=1",
			"GOTRACEBACK=crash", "GOGC=1", "GOMEMLIMIT=1", "GCONV_PATH=/proc/self/cwd", "LC_ALL=xx", "PATH=/evil:/bin"}
		return a, a.config["hooks"].(map[string]any)["createContainer"].([]any)[0].(map[string]any), marker
	}
	for name, env := range map[string]any{"as emitted": nil, "stripped": "strip", "empty": []string{}} {
		t.Run(name, func(t *testing.T) {
			a, hook, marker := newContainer(t)
			if env == "strip" {
				delete(hook, "env")
			} else if env != nil {
				hook["env"] = env
			}
			a.finds(a.mustRun("/bin/cat", "/etc/ld.so.cache").out)
			if _, err := os.Stat(marker); err == nil {
				t.Error("code of the image ran in the hook")
			}
		})
	}
	t.Run("exactly what is emitted", func(t *testing.T) {
		a, hook, _ := newContainer(t)
		busybox, err := exec.LookPath("busybox")
		a.must(err)
		hook["path"], hook["args"] = busybox, []string{"sh", "-c", busybox + " env >" + a.dir + "/env"}
		a.mustRun("/bin/true")
		got, err := os.ReadFile(filepath.Join(a.dir, "env"))
		a.must(err)
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(got)), "\n"), func(line string) bool {
			return strings.HasPrefix(line, "SHLVL=") || strings.HasPrefix(line, "PWD=") || strings.HasPrefix(line, "OLDPWD=") // the shell's own
		})
		want := hook["env"].([]any)
		if len(lines) != len(want) || lines[0] != want[0] {
			t.Errorf("got %q, want %q", lines, want)
		}
	})
	// That the attack is one: a dynamic program in the hook's place falls for it.
	t.Run("on another hook", func(t *testing.T) {
		a, hook, marker := newContainer(t)
		delete(hook, "env")
		hook["path"], hook["args"] = "/bin/true", []string{"true"}
		a.mustRun("/bin/cat", "/etc/ld.so.conf")
		if _, err := os.Stat(marker); (err == nil) != leaky {
			t.Errorf("marker: %v; %s", err, out)
		}
	})
}

// T02: a hook's environment, timeout and absolute path survive a round trip
// through other programs' types, which drop what is empty.
func TestT02HookEntries(t *testing.T) {
	e, err := discover.Lower(discover.Edits{ABI: 1,
		LdCache:      discover.LdCache{Dirs: []string{"/usr/lib/vendor"}},
		Symlinks:     []discover.Symlink{{Target: "a", Link: "/b"}},
		BuiltinHooks: []discover.BuiltinHook{{Name: "chmod", Args: map[string]string{"mode": "755", "path": "/dev/dri"}}, {Name: "disable-device-node-modification"}},
	}, discover.Programs{TenonHook: "/usr/bin/tenon-hook", HookTimeout: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.ContainerEdits.Hooks) != 4 {
		t.Fatalf("%d hooks", len(e.ContainerEdits.Hooks))
	}
	for range 2 {
		data, err := json.Marshal(e.ContainerEdits.Hooks)
		if err != nil {
			t.Fatal(err)
		}
		e.ContainerEdits.Hooks = nil
		if err := json.Unmarshal(data, &e.ContainerEdits.Hooks); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range e.ContainerEdits.Hooks {
		if len(h.Env) == 0 || h.Timeout == nil || *h.Timeout <= 0 || !filepath.IsAbs(h.Path) {
			t.Errorf("%+v", h)
		}
	}
}

// T03: nothing is loaded into the hook.
func TestT03StaticProgram(t *testing.T) {
	hook, err := attackHook()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(hook)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%v", p.Type)
		}
	}
	info, err := buildinfo.ReadFile(hook)
	if err != nil {
		t.Fatal(err)
	}
	static := false
	for _, s := range info.Settings {
		static = static || s.Key == "CGO_ENABLED" && s.Value == "0"
	}
	if !static {
		t.Errorf("built with %v", info.Settings)
	}
}

// T19, R04: links, their parents leading out of the root, over what is there.
func TestT19R04Links(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		link  string
		want  string // what a link at path, in the root, then says
		path  string
		err   string
	}{
		"new, folders made":  {nil, "liba.so.1::/opt/x/y/liba.so", "liba.so.1", "opt/x/y/liba.so", ""},
		"parent out of root": {map[string]string{"usr/lib/foo -> ../../../../canary": ""}, "liba.so.1::/usr/lib/foo/liba.so", "liba.so.1", "canary/liba.so", ""},
		"parent absolute":    {map[string]string{"foo -> CANARY": ""}, "liba.so.1::/foo/liba.so", "", "", "tenon-hook: /foo/liba.so of the container: /foo is a link that leads nowhere\n"},
		"parent by proc":     {map[string]string{"foo -> /proc/self/root": "", "proc/self/": ""}, "x::/foo/tmp/x", "", "", ""},
		"over a file":        {map[string]string{"opt/f": "mine"}, "x::/opt/f", "", "", "tenon-hook: /opt/f of the container: is there and is not a link\n"},
		"over a folder":      {map[string]string{"opt/f/": ""}, "x::/opt/f", "", "", "tenon-hook: /opt/f of the container: is there and is not a link\n"},
		"over a link":        {map[string]string{"opt/f -> CANARY/secret": ""}, "x::/opt/f", "x", "opt/f", ""},
		"over a dangling":    {map[string]string{"opt/f -> gone": ""}, "x::/opt/f", "x", "opt/f", ""},
		"there already":      {map[string]string{"opt/f -> x": ""}, "x::/opt/f", "x", "opt/f", ""},
		"target out of root": {nil, "../../../../etc/shadow::/opt/f", "../../../../etc/shadow", "opt/f", ""},
		"parent is a file":   {map[string]string{"opt": "mine"}, "x::/opt/f", "", "", "tenon-hook: /opt/f of the container: not a folder\n"},
		"parent dangling":    {map[string]string{"opt -> /gone": ""}, "x::/opt/f", "", "", "tenon-hook: /opt/f of the container: /opt is a link that leads nowhere\n"},
		"parent loops":       {map[string]string{"opt -> opt": ""}, "x::/opt/f", "", "", "tenon-hook: /opt/f of the container: too many levels of symbolic links\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttack(t)
			files := map[string]string{}
			for f, content := range c.files {
				files[strings.ReplaceAll(f, "CANARY", a.canary)] = content
			}
			a.files(a.rootfs, files)
			if name == "parent out of root" {
				a.files(a.rootfs, map[string]string{"canary/": ""}) // where dots above the root lead
			}
			for range 2 {
				r := finish(a.command("create-symlinks", "--link", c.link))
				if name == "parent by proc" {
					continue // what it is in a root without proc is of no interest, but that it is harmless
				}
				if r.out != c.err || (r.status == 0) != (c.err == "") {
					t.Errorf("status %d\n%q, want\n%q", r.status, r.out, c.err)
				}
			}
			a.unharmed()
			if c.want != "" {
				if got, err := os.Readlink(filepath.Join(a.rootfs, c.path)); got != c.want {
					t.Errorf("%s: %q, %v", c.path, got, err)
				}
			}
			if content, ok := c.files["opt/f"]; ok && a.inRoot("opt/f") != content {
				t.Error("the file is not what it was")
			}
		})
	}
	// In a real container: in the root, in the runtime's own /dev, and not in a
	// folder of the machine.
	a := newAttack(t)
	a.mount(mount("bind", a.canary, "/mnt/host", "bind", "rw"))
	a.edits(discover.Edits{ABI: 1, Symlinks: []discover.Symlink{{Target: "x", Link: "/opt/l"}, {Target: "../card1", Link: "/dev/dri/by-path/pci-card"}}})
	if got := a.mustRun("/bin/sh", "-c", "readlink /opt/l; readlink /dev/dri/by-path/pci-card").out; got != "x\n../card1\n" {
		t.Errorf("got %q", got)
	}
	a.edits(discover.Edits{ABI: 1, Symlinks: []discover.Symlink{{Target: "x", Link: "/mnt/host/l"}}})
	if r := a.run("/bin/true"); r.status == 0 || !strings.Contains(r.out, "tenon-hook: /mnt/host/l of the container: is on a mount that is not the container's own; nothing is written there") {
		t.Errorf("status %d\n%s", r.status, r.out)
	}
}

// Modes are set in the container, never on what the machine lends it.
func TestChmodStaysInTheContainer(t *testing.T) {
	a := newAttack(t)
	a.files(a.rootfs, map[string]string{"opt/f": "", "opt/d/": ""})
	a.must(os.Symlink(filepath.Join(a.canary, "secret"), filepath.Join(a.rootfs, "opt/out")))
	a.mount(mount("bind", a.canary, "/mnt/host", "bind", "rw"))
	var hooks []discover.BuiltinHook
	for _, path := range []string{"/opt/f", "/opt/d", "/opt/out", "/opt/none", "/mnt/host/secret", "/dev", "/dev/null"} {
		hooks = append(hooks, discover.BuiltinHook{Name: "chmod", Args: map[string]string{"mode": "711", "path": path}})
	}
	a.edits(discover.Edits{ABI: 1, BuiltinHooks: hooks})
	if out := a.mustRun("/bin/sh", "-c", "ls -ld /opt/f /opt/d /dev | cut -c1-10 2>/dev/null || ls -ld /opt/f /opt/d /dev").out; strings.Count(out, "rwx--x--x") != 3 {
		t.Errorf("got %s", out)
	}
}

// NVIDIA's driver is told not to make device nodes, in this container only.
func TestDeviceNodesAreNotMade(t *testing.T) {
	a := newAttack(t)
	params := "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\n"
	a.files(a.rootfs, map[string]string{"proc/driver/nvidia/params": params})
	// A folder stands for the container's /proc with a driver; the script looks
	// in the mount namespace that the hook works in.
	cmd := a.command("disable-device-node-modification")
	script := filepath.Join(a.dir, "show.sh")
	a.must(os.WriteFile(script, []byte("\""+a.hook+"\" disable-device-node-modification && cat \""+a.rootfs+"/proc/driver/nvidia/params\"\n"), 0o644))
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", script}
	if r := finish(cmd); r.status != 0 || r.out != strings.Replace(params, "Files: 1", "Files: 0", 1) {
		t.Errorf("status %d\n%s", r.status, r.out)
	}
	if got := a.inRoot("proc/driver/nvidia/params"); got != params {
		t.Errorf("outside of the container it is %q", got)
	}
}

// What the hook says of a call that is not one for it.
func TestHookSaysWhatIsWrong(t *testing.T) {
	a := newAttack(t)
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"update-ldcache", "--folder", "usr/lib"}, 64, `tenon-hook: update-ldcache: invalid value "usr/lib" for flag -folder: not an absolute and clean path`},
		{[]string{"update-ldcache", "--folder", "/usr/../lib"}, 64, `tenon-hook: update-ldcache: invalid value "/usr/../lib" for flag -folder: not an absolute and clean path`},
		{[]string{"update-ldcache", "--alias", "/x=/y"}, 64, `tenon-hook: update-ldcache: invalid value "/x=/y" for flag -alias: not KEY=PATH`},
		{[]string{"update-ldcache", "/usr/lib"}, 64, `tenon-hook: update-ldcache: "/usr/lib" is not an option`},
		{[]string{"update-ldcache", "--ldconfig-path", "/x"}, 64, `tenon-hook: update-ldcache: flag provided but not defined: -ldconfig-path`},
		{[]string{"create-symlinks", "--link", "a"}, 64, `tenon-hook: create-symlinks: invalid value "a" for flag -link: not TARGET::LINK`},
		{[]string{"chmod", "--path", "/x"}, 64, `tenon-hook: chmod: no --mode`},
		{[]string{"chmod", "--mode", "4755", "--path", "/x"}, 64, `tenon-hook: chmod: invalid value "4755" for flag -mode: not an octal mode of 1 to 777`},
		{[]string{"enable-cuda-compat"}, 64, `tenon-hook: no command "enable-cuda-compat" in version (devel); install the version of tenon-hook that the container's hooks were made for`},
		{[]string{}, 64, `tenon-hook: no command; tenon-hook help lists them`},
	} {
		r := finish(a.command(c.args...))
		version, _, _ := strings.Cut(c.want, " in version ")
		if r.status != c.status || r.out != c.want+"\n" && (version == c.want || !strings.HasPrefix(r.out, version)) {
			t.Errorf("%q: status %d\n%s", c.args, r.status, r.out)
		}
	}
	for _, state := range []string{"", "{", `{"status":"running","bundle":"/x"}`, `{"status":"creating","bundle":"x"}`, `{"status":"creating","bundle":"/","root":"/"}`, `{"status":"creating","bundle":"/none"}`} {
		cmd := a.command("create-symlinks", "--link", "a::/b")
		cmd.Stdin = strings.NewReader(state)
		if r := finish(cmd); r.status != 1 || !strings.HasPrefix(r.out, "tenon-hook: ") || strings.Count(r.out, "\n") != 1 {
			t.Errorf("state %q: status %d\n%s", state, r.status, r.out)
		}
	}
	for _, args := range [][]string{{"help"}, {"--help"}, {"version"}} {
		if r := finish(a.command(args...)); r.status != 0 || !strings.Contains(r.out, "tenon-hook") {
			t.Errorf("%q: status %d\n%s", args, r.status, r.out)
		}
	}
}
