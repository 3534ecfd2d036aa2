// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func nvidiaFile(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

// nvidiaFolder makes a folder that only root and this user can change anything
// on the way to, so that files in it are trusted. The one for temporary files is
// not such a folder.
func nvidiaFolder(t *testing.T) string {
	t.Helper()
	for _, parent := range []string{"../../build", "/var/lib"} {
		parent, err := filepath.Abs(parent)
		if err != nil {
			t.Fatal(err)
		}
		if os.MkdirAll(parent, 0o755) != nil {
			continue
		}
		if _, err := trustedPath(parent); err != nil {
			continue
		}
		if dir, err := os.MkdirTemp(parent, "tenon-prestart-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			return dir
		}
	}
	if os.Getenv("TENON_CI") != "" {
		t.Fatal("needs root, or a checkout that only its user can change")
	}
	t.Skip("needs root, or a checkout that only its user can change")
	return ""
}

func noVariables(string) string { return "" }

func TestDefaultsAreThoseOfNVIDIA(t *testing.T) {
	c, err := readNVIDIAConfig(nvidiaFolder(t), "", noVariables)
	if err != nil {
		t.Fatal(err)
	}
	if !c.AcceptEnv || c.AcceptMounts || c.DisableRequire || c.SwarmResource != "" || !slices.Equal(c.supported, driverCapabilities) {
		t.Errorf("%+v", c)
	}
	want := "cli --load-kmods configure --cuda-compat-mode=ldconfig --ldconfig=@/sbin/ldconfig --pid=1 /r"
	if got := strings.Join(c.command("cli", false, &nvidiaRequest{}, 1, "/r"), " "); got != want {
		t.Errorf("the command is\n%s\nwant\n%s", got, want)
	}
}

func TestDefaultsLookAtTheMachine(t *testing.T) {
	machine := t.TempDir()
	nvidiaFile(t, machine+"/sbin/ldconfig.real", "", 0o755)
	nvidiaFile(t, machine+"/etc/os-release", "NAME=\"openSUSE Leap\"\nID_LIKE=\"suse opensuse\"\n", 0o644)
	for text, want := range map[string]string{
		"":                                      "@/sbin/ldconfig.real",
		"[nvidia-container-cli]\nldconfig = ''": "@/sbin/ldconfig.real",
		"[nvidia-container-cli]\nldconfig = '@/sbin/ldconfig'":                                       "@/sbin/ldconfig.real",
		"[nvidia-container-cli]\nldconfig = '@/usr/sbin/ldconfig.real'":                              "@/usr/sbin/ldconfig",
		"features.allow-ldconfig-from-container=true\n[nvidia-container-cli]\nldconfig = '/sbin/ld'": "/sbin/ld",
	} {
		c, err := parseNVIDIAConfig(machine, "f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if c.CLI.Ldconfig != want || c.CLI.User != "root:video" {
			t.Errorf("%q: ldconfig %q, user %q", text, c.CLI.Ldconfig, c.CLI.User)
		}
	}
	nvidiaFile(t, machine+"/etc/os-release", "ID=debian\nID_LIKE=notsuse\n", 0o644)
	if c := nvidiaDefaults(machine); c.CLI.User != "" {
		t.Errorf("user %q", c.CLI.User)
	}
}

func TestWhichConfigIsRead(t *testing.T) {
	dir := nvidiaFolder(t)
	for _, place := range []string{"/flag.toml", "/variable.toml", "/xdg/nvidia-container-runtime/config.toml", "/etc/nvidia-container-runtime/config.toml"} {
		nvidiaFile(t, dir+place, `swarm-resource = "`+place+`"`, 0o644)
	}
	tests := []struct {
		name, flag string
		env        map[string]string
		theirs     string // a variable that the container has, too
		want       string
	}{
		{"flag", dir + "/flag.toml", map[string]string{"NVIDIA_CTK_CONFIG_FILE_PATH": dir + "/variable.toml"}, "", "/flag.toml"},
		{"variable", "", map[string]string{"NVIDIA_CTK_CONFIG_FILE_PATH": dir + "/variable.toml", "XDG_CONFIG_HOME": dir + "/xdg"}, "", "/variable.toml"},
		{"XDG", "", map[string]string{"XDG_CONFIG_HOME": dir + "/xdg"}, "", "/xdg/nvidia-container-runtime/config.toml"},
		{"XDG without a file", "", map[string]string{"XDG_CONFIG_HOME": dir + "/nothing"}, "", ""},
		{"system", "", nil, "", "/etc/nvidia-container-runtime/config.toml"},
		{"variable that may be the image's", "", map[string]string{"NVIDIA_CTK_CONFIG_FILE_PATH": dir + "/variable.toml"}, "NVIDIA_CTK_CONFIG_FILE_PATH", "/etc/nvidia-container-runtime/config.toml"},
		{"XDG that may be the image's", "", map[string]string{"XDG_CONFIG_HOME": dir + "/xdg"}, "XDG_CONFIG_HOME", "/etc/nvidia-container-runtime/config.toml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var env []string
			for name, value := range tt.env {
				env = append(env, name+"=first", name+"="+value)
			}
			ct := testContainer(true)
			if tt.theirs != "" {
				ct.env[tt.theirs] = ""
			}
			c, err := readNVIDIAConfig(dir, tt.flag, ownVariables(env, ct))
			if err != nil {
				t.Fatal(err)
			}
			if c.SwarmResource != tt.want {
				t.Errorf("read %q, want %q", c.SwarmResource, tt.want)
			}
		})
	}
	for _, missing := range []func() (*nvidiaConfig, error){
		func() (*nvidiaConfig, error) { return readNVIDIAConfig(dir, dir+"/no.toml", noVariables) },
		func() (*nvidiaConfig, error) {
			return readNVIDIAConfig(dir, "", func(name string) string {
				return map[string]string{nvidiaConfigVariable: dir + "/no.toml"}[name]
			})
		},
	} {
		if _, err := missing(); err == nil || nvidiaLine(err) != "tenon: "+dir+"/no.toml: does not exist" {
			t.Errorf("a file that is named must be there: %v", err)
		}
	}
}

func TestBadConfigsSayWhatToDo(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"not TOML", "a = \n", "f:1: "},
		{"type", "\ndisable-require = 'yes'\n", `f:2: "disable-require": `},
		{"type in a table", "[nvidia-container-cli]\nload-kmods = 1\n", `f:2: "nvidia-container-cli.load-kmods": `},
		{"capability", "supported-driver-capabilities = 'compute,bogus'",
			`f: "supported-driver-capabilities": "bogus" is no capability; the capabilities are all, compat32, compute, display, graphics, ngx, utility, video`},
		{"ldconfig of the container", "nvidia-container-cli.ldconfig = '/sbin/ldconfig'",
			`f: "nvidia-container-cli.ldconfig" is a program of the container; put @ before it for one of the host`},
		{"environment", "nvidia-container-cli.environment = ['A=b', 'SECRET']",
			`f: item 2 of "nvidia-container-cli.environment" is no variable; write it as NAME=VALUE`},
		{"NUL", `nvidia-container-cli.user = "root\u0000"`, `f: a value of "nvidia-container-cli" holds a NUL character`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseNVIDIAConfig(t.TempDir(), "f", []byte(tt.text))
			exact := !strings.HasSuffix(tt.want, ": ") // the rest is go-toml's
			if err == nil || exact && err.Error() != tt.want || !exact && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("the error is\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

func TestGuard(t *testing.T) {
	const remedy = "; start the container with the runtime instead (docker run --runtime=nvidia)"
	const isTegra = ": says that this is a Tegra, where NVIDIA's hook gives no devices" + remedy
	release, family := "/etc/nv_tegra_release", "/sys/devices/soc0/family"
	tests := []struct {
		name, config, devices string
		tegra                 string // a file of the machine
		want                  string
	}{
		{name: "auto", devices: "0,1"},
		{name: "no devices", devices: ""},
		{name: "legacy", config: "nvidia-container-runtime.mode = 'legacy'", devices: "0", tegra: release},
		{name: "empty is auto", config: "nvidia-container-runtime.mode = ''", devices: "0"},
		{name: "another mode", config: "nvidia-container-runtime.mode = 'cdi'", devices: "0",
			want: `f: "nvidia-container-runtime.mode" is "cdi", so NVIDIA's hook gives no devices` + remedy},
		{name: "another mode, skipped", config: "nvidia-container-runtime.mode = 'cdi'\nnvidia-container-runtime-hook.skip-mode-detection = true", devices: "0"},
		{name: "Tegra, release", devices: "0", tegra: release, want: release + isTegra},
		{name: "Tegra, family", devices: "0", tegra: family, want: family + isTegra},
		{name: "Tegra, skipped", config: "nvidia-container-runtime-hook.skip-mode-detection = true", devices: "0", tegra: release},
		{name: "CDI devices", devices: "nvidia.com/gpu=0,nvidia.com/gpu=1", want: `device "nvidia.com/gpu=0": is a CDI device, which NVIDIA's hook cannot give` + remedy},
		{name: "CDI devices, skipped", config: "nvidia-container-runtime-hook.skip-mode-detection = true", devices: "nvidia.com/gpu=0"},
		{name: "not all are CDI devices", devices: "0,nvidia.com/gpu=1"},
		{name: "MIG is no CDI device", devices: "MIG-GPU-1/2/3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			machine := t.TempDir()
			if tt.tegra != "" {
				nvidiaFile(t, machine+tt.tegra, "Tegra\n", 0o644)
			}
			c, err := parseNVIDIAConfig(machine, "f", []byte(tt.config))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := c.guard(machine, &nvidiaRequest{devices: splitList(tt.devices)}); err != nil {
				got = strings.TrimPrefix(err.Error(), machine)
			}
			if got != tt.want {
				t.Errorf("the error is\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
	machine, driver := t.TempDir(), t.TempDir()
	nvidiaFile(t, machine+family, "Rockchip\n", 0o644)
	nvidiaFile(t, driver+release, "# R35\n", 0o644)
	c := testConfig(t, "nvidia-container-cli.root = '"+driver+"'")
	if err := c.guard(machine, &nvidiaRequest{}); err == nil {
		t.Error("a Tegra's driver root is not seen")
	}
}

// Whatever the file says, the command line has the fixed order, every argument
// between the program and the root file system is a flag or "configure", and the
// environment names nothing twice.
func FuzzPrestartConfig(f *testing.F) {
	for _, seed := range []string{
		"", "disable-require = true\nswarm-resource = \"A,B\"\n", gated + mountable,
		"[nvidia-container-cli]\nroot = \"/run/nvidia/driver\"\npath = \"/x\"\nenvironment = [\"A=b\", \"PATH=/x\", \"A=\"]\nldconfig = \"@/sbin/ldconfig.real\"\nuser = \"root:video\"\nno-cgroups = true\n",
		"[nvidia-container-runtime]\nmode = \"legacy\"\n[nvidia-container-runtime.modes.legacy]\ncuda-compat-mode = \"mount\"\n",
		"[features]\nallow-ldconfig-from-container = true\ndisable-imex-channel-creation = true\n",
		"supported-driver-capabilities = \"all\"\n[nvidia-container-runtime-hook]\nskip-mode-detection = true\n",
		"nvidia-container-cli.user = \"a\\u0000b\\nconfigure\"\n", "a = [", "[[nvidia-container-cli]]\n", "nvidia-container-cli = 1\n",
	} {
		f.Add(seed, "0,1", "cuda>=12")
	}
	machine := f.TempDir()
	f.Fuzz(func(t *testing.T, text, devices, requirement string) {
		c, err := parseNVIDIAConfig(machine, "f", []byte(text))
		if err != nil {
			if line := nvidiaLine(err); !strings.HasPrefix(line, "tenon: f:") || strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("the error is %q", line)
			}
			return
		}
		ct := testContainer(true, "NVIDIA_REQUIRE_X="+requirement, "NVIDIA_MIG_CONFIG_DEVICES="+devices)
		ct.env[envVisibleDevices] = devices
		r, err := c.request(ct)
		if err != nil || r == nil {
			return
		}
		argv := c.command("/cli", false, r, 7, ct.rootfs)
		n := len(argv)
		if argv[0] != "/cli" || argv[n-1] != ct.rootfs || argv[n-2] != "--pid=7" {
			t.Errorf("%q", argv)
		}
		configures := 0
		for _, a := range argv[1 : n-1] {
			if a == "configure" {
				configures++
			} else if !strings.HasPrefix(a, "--") || a == "--" {
				t.Errorf("%q is no flag", a)
			}
			if strings.ContainsRune(a, 0) {
				t.Errorf("%q cannot be an argument", a)
			}
		}
		if configures != 1 {
			t.Errorf("%q", argv)
		}
		seen := map[string]bool{}
		for _, e := range c.commandEnv() {
			name, _, ok := strings.Cut(e, "=")
			if !ok || name == "" || seen[name] || strings.ContainsRune(e, 0) {
				t.Errorf("environment entry %q", e)
			}
			seen[name] = true
		}
	})
}
