// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestParseCallTellsThemApart(t *testing.T) {
	for _, test := range []struct {
		args string
		want call
	}{
		{"create c1", call{command: "create", id: "c1"}},
		{"create --bundle /b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create --bundle=/b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create -bundle /b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create -b=/b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create -b /a --bundle /b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create c1 --bundle /b", call{command: "create", id: "c1", bundle: "/b"}}, // runc sorts flags to the front
		{"create c1 -- --bundle /b", call{command: "create", id: "c1"}},
		{"create -b create c1", call{command: "create", id: "c1", bundle: "create"}},
		{"create --pid-file --bundle --bundle /b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create --no-pivot --bundle /b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create --preserve-fds 2 --console-socket create -b /b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create --from-the-future --bundle /b c1", call{command: "create", id: "c1", bundle: "/b"}},
		{"create --bundle=/b -f other.json c1", call{command: "create", id: "c1", bundle: "/b", config: "other.json"}},
		{"create c1 -b", call{command: "create", id: "c1"}},
		{"run --bundle x c1", call{command: "run", id: "c1", bundle: "x"}},
		{"--root /r --log l --log-format json create --bundle /b c1", call{command: "create", id: "c1", bundle: "/b", log: "l", logJSON: true}},
		{"--log=l --log-format=text create c1", call{command: "create", id: "c1", log: "l"}},
		{"--root create state c1", call{command: "state"}},
		{"--root=create create c1", call{command: "create", id: "c1"}},
		{"--systemd-cgroup --debug create c1", call{command: "create", id: "c1"}},
		{"--cgroup-manager create start c1", call{command: "start"}},
		{"--from-the-future create c1", call{command: "create", id: "c1"}},
		{"--from-the-future=x create c1", call{command: "create", id: "c1"}},
		{"exec c1 create", call{command: "exec"}},
		{"exec --cwd / c1 create --bundle /b", call{command: "exec"}},
		{"kill create", call{command: "kill"}},
		{"delete --force create", call{command: "delete", id: "create"}},
		{"--root /r delete c1", call{command: "delete", id: "c1"}},
		{"delete -f c1", call{command: "delete", id: "c1"}}, // crun's and runc's --force has no value
		{"delete -- c1", call{command: "delete", id: "c1"}},
		{"delete c1 c2", call{command: "delete", id: "c1"}},
		{"delete", call{command: "delete"}},
		{"create create", call{command: "create", id: "create"}},
		{"create --help", call{command: "create", help: true}},
		{"--help create", call{command: "create", help: true}},
		{"--version", call{}},
		{"-- create c1", call{command: "create"}},
		{"- create c1", call{command: "-"}},
		{"", call{}},
	} {
		if got := parseCall(strings.Fields(test.args)); got != test.want {
			t.Errorf("%q is read as %+v, want %+v", test.args, got, test.want)
		}
	}
}

func TestOnlyCreateAndRunCreate(t *testing.T) {
	for args, want := range map[string]bool{
		"create c1": true, "run c1": true, "create --help": false, "run -h": false,
		"exec c1 create": false, "start create": false, "restore c1": false, "": false,
	} {
		if got := parseCall(strings.Fields(args)).creates(); got != want {
			t.Errorf("%q creates: %v, want %v", args, got, want)
		}
	}
}

// TestFlagTableIsThatOfTheRuntimes compares the tables with what the installed
// runtimes say of themselves: a flag whose value we take for the command, or a
// command that we take for a value, would be a container without its devices.
func TestFlagTableIsThatOfTheRuntimes(t *testing.T) {
	value := map[string]*regexp.Regexp{
		"runc": regexp.MustCompile(`(?m)^ +(--?[a-z-]+) value(?:, (--?[a-z-]+) value)?`),
		"crun": regexp.MustCompile(`(?m)^ +(?:(-[a-z]), +)?(--[a-z-]+)=[A-Z]+`),
	}
	for _, runtime := range []string{"runc", "crun"} {
		if _, err := exec.LookPath(runtime); err != nil {
			missing(t, "%s is not installed", runtime)
			continue
		}
		for args, table := range map[string]map[string]bool{
			"--help": globalValues, "create --help": createValues, "run --help": createValues,
		} {
			help, err := exec.Command(runtime, strings.Fields(args)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", runtime, args, err, help)
			}
			found := value[runtime].FindAllStringSubmatch(string(help), -1)
			if len(found) < 3 {
				t.Fatalf("%s %s names only %d flags with a value:\n%s", runtime, args, len(found), help)
			}
			for _, flags := range found {
				for _, flag := range flags[1:] {
					if name, _, _ := flagOf(flag); name != "" && !table[name] {
						t.Errorf("%s %s: %s takes a value, and our table does not say so", runtime, args, flag)
					}
				}
			}
		}
	}
}

// missing skips a test for want of something that this machine lacks. CI
// installs all of it, so there it is a failure.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("TENON_CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// FuzzParseCall holds what must be true of every command line.
func FuzzParseCall(f *testing.F) {
	for _, s := range []string{"create -b x c", "--root create state c", "exec c create", "-- create", "create --bundle", "--log= create -b=c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		c := parseCall(args)
		if c.command != "" {
			n := 0
			for _, a := range args {
				if a == c.command {
					n++
				}
			}
			if n == 0 {
				t.Fatalf("the command %q of %q is none of the arguments", c.command, args)
			}
		}
		if c.creates() && (c.bundle != "" && !strings.Contains(line, c.bundle)) {
			t.Fatalf("the bundle %q is not in %q", c.bundle, args)
		}
		// What stands after the name of another command is never looked at.
		if other := parseCall(append([]string{"exec"}, args...)); other.creates() || other.bundle != "" {
			t.Fatalf("exec %q is taken for %+v", args, other)
		}
	})
}
