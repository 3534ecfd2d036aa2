// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/host"
)

// nvidiaConfig loads text as NVIDIA's file.
func nvidiaConfig(t *testing.T, program, text string, environ ...string) (*loader, string) {
	t.Helper()
	file := filepath.Join(configFolderOf(t, map[string]string{"config.toml": text}), "config.toml")
	return load(program, variablesOf(append(environ, "NVIDIA_CTK_CONFIG_FILE_PATH="+file)...)), file
}

// shipped has the keys and values of "nvidia-ctk config default", those that are
// unset as comments.
const shipped = `
#accept-nvidia-visible-devices-as-volume-mounts = false
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-cli]
#debug = "/var/log/nvidia-container-toolkit.log"
environment = []
#ldcache = "/etc/ld.so.cache"
ldconfig = "@/sbin/ldconfig"
load-kmods = true
#no-cgroups = false
#path = "/usr/bin/nvidia-container-cli"
#root = "/run/nvidia/driver"
#user = "root:video"

[nvidia-container-runtime]
#debug = "/var/log/nvidia-container-runtime.log"
log-level = "info"
mode = "auto"
runtimes = ["runc", "crun"]

[nvidia-container-runtime.modes]

[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
default-kind = "nvidia.com/gpu"
spec-dirs = ["/etc/cdi", "/var/run/cdi"]

[nvidia-container-runtime.modes.csv]
mount-spec-path = "/etc/nvidia-container-runtime/host-files-for-container.d"

[nvidia-container-runtime.modes.legacy]
cuda-compat-mode = "ldconfig"

[nvidia-container-runtime-hook]
path = "nvidia-container-runtime-hook"
skip-mode-detection = false

[nvidia-ctk]
path = "nvidia-ctk"
`

// nvidiaDefaults are the defaults under NVIDIA's name.
func nvidiaDefaults() host.Config {
	c := defaultConfig()
	c.DeviceAccess = "rwm"
	return c
}

func TestNVIDIAShippedFileIsTheDefaults(t *testing.T) {
	for _, text := range []string{shipped, ""} {
		l, _ := nvidiaConfig(t, "nvidia-container-runtime", text)
		for _, p := range l.problems {
			if p.Level != Unused {
				t.Error(p)
			}
		}
		c := l.mustConfig()
		c.ModeFrom = "" // the file says it
		if !reflect.DeepEqual(c, nvidiaDefaults()) {
			t.Errorf("got  %+v\nwant %+v", c, nvidiaDefaults())
		}
	}
	// With every comment taken out, each key is still known.
	all := strings.ReplaceAll(shipped, "\n#", "\n")
	l, _ := nvidiaConfig(t, "nvidia-container-runtime", all)
	for _, p := range l.problems {
		if p.Level != Unused {
			t.Error(p)
		}
	}
}

func TestNVIDIAKeysThatAreUsed(t *testing.T) {
	l, file := nvidiaConfig(t, "nvidia-container-runtime", `disable-require = true
accept-nvidia-visible-devices-envvar-when-unprivileged = false
accept-nvidia-visible-devices-as-volume-mounts = true
[nvidia-container-cli]
root = "/run/nvidia/driver"
[nvidia-container-runtime]
debug = "/var/log/nvidia-container-runtime.log"
log-level = "warning"
mode = "csv"
runtimes = ["/opt/runc"]
modes.csv.mount-spec-path = "/opt/csv"
[nvidia-container-runtime-hook]
path = "/opt/hook"
[nvidia-ctk]
path = "/opt/nvidia-ctk"
`)
	want := nvidiaDefaults()
	want.AcceptEnvWhenUnprivileged = false
	want.DriverRoot = "/run/nvidia/driver"
	want.DebugLog = "/var/log/nvidia-container-runtime.log"
	want.LogLevel = "warn"
	want.Mode, want.ModeFrom = []string{"csv"}, file+":9"
	want.Runtimes = []string{"/opt/runc"}
	want.ModeTables["csv"]["disable_require"] = "true"
	want.ModeTables["csv"]["accept_volume_mounts"] = "true"
	want.ModeTables["csv"]["mount_spec_path"] = "/opt/csv"
	want.ModeTables["legacy"]["hook_path"] = "/opt/hook"
	if c := l.mustConfig(); !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	wantProblem := file + `:15: "nvidia-ctk.path" is accepted, not used; tenon-hook does this work`
	if len(l.problems) != 1 || l.problems[0].Error() != wantProblem || l.problems[0].Level != Unused {
		t.Errorf("got %v, want %s", l.problems, wantProblem)
	}
	if from := l.from[toPath("modes.csv.mount_spec_path")]; from != file+":11" {
		t.Errorf("mount_spec_path is from %q", from)
	}
}

func TestNVIDIAModeByKeyThenByTheOldKeys(t *testing.T) {
	for _, test := range []struct{ program, text, want string }{
		{"nvidia-container-runtime", ``, "auto"},
		{"nvidia-container-runtime", `mode = "auto"`, "auto"},
		{"nvidia-container-runtime", `mode = "csv"`, "csv"},
		{"nvidia-container-runtime", `mode = "legacy"`, "legacy"},
		{"nvidia-container-runtime", `mode = "acme"`, "acme"},
		{"nvidia-container-runtime", "mode = \"csv\"\nexperimental = false", "csv"},
		{"nvidia-container-runtime", "mode = \"csv\"\nexperimental = true\ndiscover-mode = \"legacy\"", "csv"},
		{"nvidia-container-runtime", `experimental = true`, "auto"},
		{"nvidia-container-runtime", "experimental = true\ndiscover-mode = \"csv\"", "csv"},
		{"nvidia-container-runtime", "experimental = true\ndiscover-mode = \"auto\"", "auto"},
		{"nvidia-container-runtime", "experimental = true\ndiscover-mode = \"legacy\"", "legacy"},
		{"nvidia-container-runtime", "experimental = true\ndiscover-mode = \"\"", "auto"},
		{"nvidia-container-runtime", `experimental = false`, "legacy"},
		{"nvidia-container-runtime", "experimental = false\ndiscover-mode = \"csv\"", "legacy"},
		{"nvidia-container-runtime", `discover-mode = "csv"`, "auto"},
		{"nvidia-container-runtime.legacy", `mode = "csv"`, "legacy"},
		{"nvidia-container-runtime.legacy", ``, "legacy"},
	} {
		l, _ := nvidiaConfig(t, test.program, "[nvidia-container-runtime]\n"+test.text)
		for _, p := range l.problems {
			if p.Level == Wrong {
				t.Errorf("%s, %q: %v", test.program, test.text, p)
			}
		}
		if c := l.mustConfig(); !slices.Equal(c.Mode, []string{test.want}) {
			t.Errorf("%s, %q: mode %q, want %q", test.program, test.text, c.Mode, test.want)
		}
	}
}

func TestNVIDIAFileThatCannotBeUsed(t *testing.T) {
	for _, test := range []struct{ program, text, want string }{
		{"nvidia-container-runtime", "[nvidia-container-runtime]\nmode = \"cdi\"", `FILE:2: tenon has no mode "cdi"; the modes are auto, csv and legacy`},
		{"nvidia-container-runtime", "[nvidia-container-runtime]\nmode = \"jit-cdi\"", `FILE:2: tenon has no mode "jit-cdi"; the modes are auto, csv and legacy`},
		{"nvidia-container-runtime", "[nvidia-container-runtime]\nmode = \"../x\"", `FILE:2: "../x" cannot be the name of a mode; the modes are auto, csv and legacy`},
		{"nvidia-container-runtime", "[nvidia-container-runtime]\nmode = \"\"", `FILE:2: "" cannot be the name of a mode; the modes are auto, csv and legacy`},
		{"nvidia-container-runtime.cdi", "", `nvidia-container-runtime.cdi: tenon has no mode "cdi"; the modes are auto, csv and legacy`},
		{"nvidia-container-runtime", "[nvidia-container-runtime]\nmode = 7", `FILE:2: "nvidia-container-runtime.mode" is 7; it must be a string`},
		{"nvidia-container-runtime", "disable-require = \"yes\"", `FILE:1: "disable-require" is "yes"; it must be true or false`},
		{"nvidia-container-runtime", "[nvidia-container-cli]\nload-kmods = 1", `FILE:2: "nvidia-container-cli.load-kmods" is 1; it must be true or false`},
		{"nvidia-container-runtime", "[nvidia-container-runtime]\nruntimes = []", `FILE:2: "nvidia-container-runtime.runtimes" is []; it must be a list of names or absolute paths`},
		{"nvidia-container-runtime", "nvidia-ctk = \"x\"", `FILE:1: "nvidia-ctk" is "x"; it must be a table`},
		{"nvidia-container-runtime", "[nvidia-container-cli]\nroot = \"driver\"", `FILE:2: "nvidia-container-cli.root" is "driver"; it must be an absolute path`},
		{"nvidia-container-runtime", "[nvidia-container-cli", `FILE:1: not TOML: `},
	} {
		l, file := nvidiaConfig(t, test.program, test.text)
		want := strings.ReplaceAll(test.want, "FILE", file)
		if len(l.problems) == 0 || !strings.HasPrefix(l.problems[0].Error(), want) || l.problems[0].Level != Wrong {
			t.Errorf("%q: got %v, want %s", test.text, l.problems, want)
		}
		c, err := Read(test.program, variablesOf("NVIDIA_CTK_CONFIG_FILE_PATH="+file))
		if err == nil || !reflect.DeepEqual(c, nvidiaDefaults()) {
			t.Errorf("%q: Read gives error %v and %+v", test.text, err, c)
		}
	}
}

func TestNVIDIAFileWithOddThingsIsReadAllTheSame(t *testing.T) {
	l, file := nvidiaConfig(t, "nvidia-container-runtime", `swarm-resource = "X"
new-key = 1
[nvidia-container-runtime]
debug = "~/runtime.log"
log-level = "loud"
runtime = ["x"]
experimental = true
[new-table]
x = 1
`)
	var got []string
	for _, p := range l.problems {
		got = append(got, string(p.Level)+" "+strings.TrimPrefix(p.Error(), file))
	}
	want := []string{
		`note :1: "swarm-resource" is accepted; only NVIDIA's hook uses it`,
		`warning :2: no such key "new-key"`,
		`warning :4: "nvidia-container-runtime.debug" is "~/runtime.log" and no absolute path; there is no log`,
		`warning :5: "nvidia-container-runtime.log-level" is "loud", which is no level; info it is`,
		`warning :6: no such key "nvidia-container-runtime.runtime"; did you mean "nvidia-container-runtime.runtimes"`,
		`note :7: "nvidia-container-runtime.experimental" is the old way to choose a mode; "nvidia-container-runtime.mode" says it now`,
		`warning :8: no such key "new-table"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	defaults := nvidiaDefaults()
	defaults.ModeFrom = file + ":7"
	if c := l.mustConfig(); !reflect.DeepEqual(c, defaults) {
		t.Errorf("got %+v", c)
	}
}

func TestNVIDIALogLevelsAndNoLog(t *testing.T) {
	for text, want := range map[string]string{
		"trace": "debug", "debug": "debug", "INFO": "info", "warn": "warn", "Warning": "warn", "error": "error", "fatal": "error", "panic": "error", "": "info",
	} {
		l, _ := nvidiaConfig(t, "nvidia-container-runtime", "[nvidia-container-runtime]\ndebug = \"/dev/null\"\nlog-level = \""+text+"\"")
		if c := good(t, l); c.LogLevel != want || c.DebugLog != "" {
			t.Errorf("%s: level %q, log %q", text, c.LogLevel, c.DebugLog)
		}
	}
}

func TestNVIDIAFileIsFoundAsNVIDIAFindsIt(t *testing.T) {
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{nil, "/etc/nvidia-container-runtime/config.toml"},
		{[]string{"XDG_CONFIG_HOME=/root/.config"}, "/root/.config/nvidia-container-runtime/config.toml"},
		{[]string{"XDG_CONFIG_HOME=/root/.config", "NVIDIA_CTK_CONFIG_FILE_PATH=/x/y.toml"}, "/x/y.toml"},
	} {
		if got := nvidiaFile(variablesOf(test.environ...)); got != test.want {
			t.Errorf("%q: got %s", test.environ, got)
		}
	}
	// One that is not there means the defaults, and is no problem.
	missing := filepath.Join(configFolderOf(t, nil), "none.toml")
	if c, err := Read("nvidia-container-runtime", variablesOf("NVIDIA_CTK_CONFIG_FILE_PATH="+missing)); err != nil || !reflect.DeepEqual(c, nvidiaDefaults()) {
		t.Errorf("error %v, got %+v", err, c)
	}
	for _, variable := range []string{"NVIDIA_CTK_CONFIG_FILE_PATH", "XDG_CONFIG_HOME"} {
		if _, err := Read("nvidia-container-runtime", variablesOf(variable+"=config")); err == nil || err.Error() != variable+": must be an absolute path" {
			t.Errorf("%s: %v", variable, err)
		}
	}
}

func TestNVIDIANamesAndOurVariables(t *testing.T) {
	for program, want := range map[string]bool{
		"nvidia-container-runtime": true, "nvidia-container-runtime.legacy": true, "nvidia-container-runtime.cdi": true,
		"nvidia-container-runtime-hook": false, "tenon-runtime": false, "runc": false, "": false,
	} {
		if isNVIDIA(program) != want {
			t.Errorf("%q", program)
		}
	}
	// TENON_ variables are laid over NVIDIA's file; TENON_CONFIG is not for it.
	l, _ := nvidiaConfig(t, "nvidia-container-runtime", shipped, "TENON_MODULE_DIR=/opt/modules", "TENON_DEVICE_ACCESS=rw", "TENON_CONFIG=/none")
	if c := l.mustConfig(); c.ModuleDir != "/opt/modules" || c.DeviceAccess != "rw" {
		t.Errorf("got %+v", c)
	}
}

func TestReadRuntimesReadsNVIDIAsFile(t *testing.T) {
	folder := configFolderOf(t, map[string]string{"config.toml": "runtimes = [\"no\"]\n[nvidia-container-runtime]\nruntimes = [\"/opt/runc\"]\nmode = 7\n"})
	getenv := variablesOf("NVIDIA_CTK_CONFIG_FILE_PATH=" + folder + "/config.toml")
	if got := Runtimes("nvidia-container-runtime", getenv); !slices.Equal(got, []string{"/opt/runc"}) {
		t.Errorf("got %q", got)
	}
}
