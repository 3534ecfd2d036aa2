// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"tags.cncf.io/container-device-interface/pkg/parser"
)

// testConfig is a configuration from its text, on a machine that is nothing
// special.
func testConfig(t testing.TB, text string) *nvidiaConfig {
	t.Helper()
	c, err := parseNVIDIAConfig(t.TempDir(), "/etc/nvidia/config.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testContainer(privileged bool, env ...string) *nvidiaContainer {
	ct := &nvidiaContainer{env: map[string]string{}, privileged: privileged, rootfs: "/bundle/rootfs"}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		ct.env[name] = value
	}
	return ct
}

const (
	gated     = "accept-nvidia-visible-devices-envvar-when-unprivileged = false\n"
	mountable = "accept-nvidia-visible-devices-as-volume-mounts = true\n"
)

// The devices that a container gets, as --device says it; "-" is no GPU
// container, "" one without devices.
func TestDevicesAskedFor(t *testing.T) {
	const visible = "NVIDIA_VISIBLE_DEVICES="
	tests := []struct {
		name, config string
		privileged   bool
		env          string // with spaces
		mounts       string // below deviceMounts, with spaces
		want         string
	}{
		{name: "nothing", want: "-"},
		{name: "unset, legacy image", env: "CUDA_VERSION=8.0.61", want: "all"},
		{name: "unset, image with a requirement", env: "CUDA_VERSION=12.4.1 NVIDIA_REQUIRE_CUDA=cuda>=12.4", want: "-"},
		{name: "legacy image with an empty requirement", env: "CUDA_VERSION=8.0 NVIDIA_REQUIRE_CUDA=", want: "all"},
		{name: "empty version is no legacy image", env: "CUDA_VERSION=", want: "-"},
		{name: "empty", env: visible, want: "-"},
		{name: "empty, legacy image", env: visible + " CUDA_VERSION=8.0", want: "-"},
		{name: "commas", env: visible + ",,", want: "-"},
		{name: "void", env: visible + "void", want: "-"},
		{name: "void, legacy image", env: visible + "void CUDA_VERSION=8.0", want: "-"},
		{name: "none", env: visible + "none", want: ""},
		{name: "all", env: visible + "all", want: "all"},
		{name: "indexes", env: visible + "0,1", want: "0,1"},
		{name: "the order is the container's", env: visible + "2,0,1", want: "2,0,1"},
		{name: "names", env: visible + "GPU-ab12,MIG-cd34,MIG-GPU-ef/1/0,0:1", want: "GPU-ab12,MIG-cd34,MIG-GPU-ef/1/0,0:1"},
		{name: "empty items", env: visible + ",0,,1,", want: "0,1"},
		{name: "all among others", env: visible + "0,all", want: "all"},
		{name: "none among others", env: visible + "0,none", want: ""},
		{name: "none before all", env: visible + "all,none", want: ""},
		{name: "void among others", env: visible + "0,void", want: "-"},
		{name: "void before none", env: visible + "none,void", want: "-"},
		{name: "twice the same", env: visible + "0,0", want: "0"},
		{name: "twice, apart", env: visible + "1,0,1", want: "1,0"},
		{name: "case counts", env: visible + "ALL", want: "ALL"},
		{name: "last of a name", env: visible + "0 " + visible + "1", want: "1"},

		{name: "unprivileged, gate open", env: visible + "0", want: "0"},
		{name: "unprivileged, gate closed", config: gated, env: visible + "0", want: "-"},
		{name: "unprivileged legacy image, gate closed", config: gated, env: "CUDA_VERSION=8.0", want: "-"},
		{name: "privileged, gate closed", config: gated, privileged: true, env: visible + "0", want: "0"},

		{name: "swarm: not there", config: `swarm-resource = "DOCKER_RESOURCE_GPU"`, env: visible + "0", want: "0"},
		{name: "swarm: goes first", config: `swarm-resource = "DOCKER_RESOURCE_GPU"`, env: visible + "0 DOCKER_RESOURCE_GPU=GPU-1", want: "GPU-1"},
		{name: "swarm: empty goes first, too", config: `swarm-resource = "DOCKER_RESOURCE_GPU"`, env: visible + "0 DOCKER_RESOURCE_GPU=", want: "-"},
		{name: "swarm: several, in the order configured", config: `swarm-resource = "B , A,,C"`, env: "A=1,2 B=3,1 " + visible + "9", want: "3,1,2"},
		{name: "swarm: gated", config: gated + `swarm-resource = "A"`, env: "A=1", want: "-"},
		{name: "swarm: none of a legacy image", config: `swarm-resource = "A"`, env: "CUDA_VERSION=8.0", want: "all"},

		{name: "mounts: not configured", mounts: "0 1", want: "-"},
		{name: "mounts", config: mountable, mounts: "0 1", want: "0,1"},
		{name: "mounts: go first", config: mountable, mounts: "GPU-1", env: visible + "0", want: "GPU-1"},
		{name: "mounts: not gated", config: mountable + gated, mounts: "GPU-1", want: "GPU-1"},
		{name: "mounts: gated environment stays gated", config: mountable + gated, env: visible + "0", want: "-"},
		{name: "mounts: the whole rest is the name", config: mountable, mounts: "MIG-GPU-1/2/3", want: "MIG-GPU-1/2/3"},
		{name: "mounts: twice the same", config: mountable, mounts: "0 0", want: "0"},
		{name: "mounts: end at a path boundary", config: mountable, mounts: "../nvidia-container-devicesX/7", want: "-"},
		{name: "mounts: the folder is none", config: mountable, mounts: ".", env: visible + "0", want: "0"},
		{name: "mounts: void", config: mountable, mounts: "void", env: visible + "0", want: "-"},
		{name: "mounts: all", config: mountable, mounts: "all 0", want: "all"},
		{name: "mounts: CDI device", config: mountable, mounts: "cdi/nvidia.com/gpu/0", want: "nvidia.com/gpu=0"},
		{name: "mounts: CDI device, qualified", config: mountable, mounts: "cdi/nvidia.com/gpu=0", want: "nvidia.com/gpu=0"},
		{name: "mounts: an IMEX channel is no device", config: mountable, mounts: "imex/0", env: visible + "1", want: "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ct := testContainer(tt.privileged, strings.Fields(tt.env)...)
			for _, m := range strings.Fields(tt.mounts) {
				spec := `{"ociVersion":"1.0.0","process":{},"root":{"path":"r"},"mounts":[{"source":"/dev/./null","destination":"` + deviceMounts + m + `/"}]}`
				parsed, err := parseNVIDIAContainer([]byte(spec), "/b")
				if err != nil {
					t.Fatal(err)
				}
				ct.nullMounts = append(ct.nullMounts, parsed.nullMounts...)
			}
			r, err := testConfig(t, tt.config).request(ct)
			if err != nil {
				t.Fatal(err)
			}
			got := "-"
			if r != nil {
				got = strings.Join(r.devices, ",")
			}
			if got != tt.want {
				t.Errorf("devices are %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSpacesAroundNamesDoNotCount(t *testing.T) {
	r, err := testConfig(t, "").request(testContainer(false, "NVIDIA_VISIBLE_DEVICES= 0 ,\tGPU-1 \n", "NVIDIA_DRIVER_CAPABILITIES= video , utility "))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.devices, []string{"0", "GPU-1"}) || !slices.Equal(r.capabilities, []string{"utility", "video"}) {
		t.Errorf("got devices %q and capabilities %q", r.devices, r.capabilities)
	}
}

func TestOnlyMountsOfDevNullAskForDevices(t *testing.T) {
	ct, err := parseNVIDIAContainer([]byte(`{"ociVersion":"1","process":{},"root":{"path":"r"},"mounts":[
		{"source":"/dev/zero","destination":"`+deviceMounts+`0"},
		{"type":"tmpfs","destination":"`+deviceMounts+`1"},
		{"source":"/dev/null","destination":"/dev/null"}]}`), "/b")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := testConfig(t, mountable).request(ct); r != nil || err != nil {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestCapabilities(t *testing.T) {
	const all = "compat32,compute,display,graphics,ngx,utility,video"
	const refused = "error"
	legacy := "CUDA_VERSION=8.0"
	tests := []struct {
		name, supported string
		env             []string
		want            string
	}{
		{"unset", "all", nil, "compute,utility"},
		{"empty", "all", []string{envDriverCapabilities + "="}, "compute,utility"},
		{"unset, cut down", "compute,video", nil, "compute"},
		{"unset, nothing left", "video", nil, ""},
		{"unset, legacy image", "all", []string{legacy}, all},
		{"unset, legacy image, cut down", "video,compute", []string{legacy}, "compute,video"},
		{"empty, legacy image", "all", []string{legacy, envDriverCapabilities + "="}, "compute,utility"},
		{"all", "all", []string{envDriverCapabilities + "=all"}, all},
		{"all, cut down", "compute, utility", []string{envDriverCapabilities + "=all"}, "compute,utility"},
		{"all among others", "all", []string{envDriverCapabilities + "=video,all"}, all},
		{"sorted", "all", []string{envDriverCapabilities + "=video,compute"}, "compute,video"},
		{"twice", "all", []string{envDriverCapabilities + "=video,video"}, "video"},
		{"spaces", "all", []string{envDriverCapabilities + "=video, utility"}, "utility,video"},
		{"empty items", "all", []string{envDriverCapabilities + "=,video,"}, "video"},
		{"each", all, []string{envDriverCapabilities + "=" + all}, all},
		{"unknown", "all", []string{envDriverCapabilities + "=video,bogus"}, refused},
		{"not supported", "compute,utility", []string{envDriverCapabilities + "=video"}, refused},
		{"a flag is none", "all", []string{envDriverCapabilities + "=pid=1"}, refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testConfig(t, `supported-driver-capabilities = "`+tt.supported+`"`)
			r, err := c.request(testContainer(false, append(tt.env, "NVIDIA_VISIBLE_DEVICES=all")...))
			got := refused
			if err == nil {
				got = strings.Join(r.capabilities, ",")
			}
			if got != tt.want {
				t.Errorf("capabilities are %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func TestRequirements(t *testing.T) {
	tests := []struct {
		name, config string
		env          []string
		want         string // with |
	}{
		{"none", "", nil, ""},
		{"by name, not by place", "", []string{"NVIDIA_REQUIRE_ZZ=c", "NVIDIA_REQUIRE_CUDA=cuda>=12.4 brand=tesla,driver>=470", "NVIDIA_REQUIRE_AA=b"},
			"b|cuda>=12.4 brand=tesla,driver>=470|c"},
		{"not of a Tegra", "", []string{"NVIDIA_REQUIRE_JETPACK=csv-mounts=all", "NVIDIA_REQUIRE_JETPACK_HOST_MOUNTS=base-only"}, ""},
		{"legacy image, last", "", []string{"CUDA_VERSION=8.0.61", "NVIDIA_REQUIRE_X=driver>=384"}, "driver>=384|cuda>=8.0"},
		{"legacy image, major only", "", []string{"CUDA_VERSION=9"}, "cuda>=9.0"},
		{"legacy image, v", "", []string{"CUDA_VERSION=v10.2"}, "cuda>=10.2"},
		{"legacy image, four numbers", "", []string{"CUDA_VERSION=11.4.0.1"}, "cuda>=11.4"},
		{"legacy image, pre-release", "", []string{"CUDA_VERSION=11.0.0-rc1"}, "cuda>=11.0"},
		{"legacy image, build", "", []string{"CUDA_VERSION=11.0+b1"}, "cuda>=11.0"},
		{"no legacy image", "", []string{"CUDA_VERSION=12.4.1", "NVIDIA_REQUIRE_CUDA=cuda>=12.4"}, "cuda>=12.4"},
		{"disabled 1", "", []string{"NVIDIA_REQUIRE_X=a", "NVIDIA_DISABLE_REQUIRE=1"}, ""},
		{"disabled t", "", []string{"NVIDIA_REQUIRE_X=a", "NVIDIA_DISABLE_REQUIRE=t"}, ""},
		{"disabled true", "", []string{"NVIDIA_REQUIRE_X=a", "NVIDIA_DISABLE_REQUIRE=true"}, ""},
		{"disabled yes is no Boolean", "", []string{"NVIDIA_REQUIRE_X=a", "NVIDIA_DISABLE_REQUIRE=yes"}, "a"},
		{"disabled false", "", []string{"NVIDIA_REQUIRE_X=a", "NVIDIA_DISABLE_REQUIRE=false"}, "a"},
		{"disabled by the administrator", "disable-require = true", []string{"NVIDIA_REQUIRE_X=a"}, ""},
		{"a bad version does not matter then", "disable-require = true", []string{"CUDA_VERSION=bad"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 { // maps are in another order each time
				r, err := testConfig(t, tt.config).request(testContainer(false, append(tt.env, "NVIDIA_VISIBLE_DEVICES=all")...))
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(r.requirements, "|"); got != tt.want {
					t.Fatalf("requirements are %q, want %q", got, tt.want)
				}
			}
		})
	}
}

func TestIMEXAndMIG(t *testing.T) {
	tests := []struct {
		name, config string
		privileged   bool
		env          []string
		mounts       []string
		imex         string
		migConfig    string
		migMonitor   string
	}{
		{name: "channels", env: []string{"NVIDIA_IMEX_CHANNELS=0, 1,0"}, imex: "0,1"},
		{name: "all is left out", env: []string{"NVIDIA_IMEX_CHANNELS=all"}},
		{name: "none", env: []string{"NVIDIA_IMEX_CHANNELS=none"}},
		{name: "void", env: []string{"NVIDIA_IMEX_CHANNELS=0,void"}},
		{name: "a legacy image wants none", env: []string{"CUDA_VERSION=8.0"}},
		{name: "feature", config: "[features]\nignore-imex-channel-requests = true", env: []string{"NVIDIA_IMEX_CHANNELS=0"}},
		{name: "mounts first", config: mountable, env: []string{"NVIDIA_IMEX_CHANNELS=0"}, mounts: []string{"imex/3", "0"}, imex: "3"},
		{name: "the gate", config: mountable + gated, env: []string{"NVIDIA_IMEX_CHANNELS=0"}, mounts: []string{"0"}},
		{name: "mounts are not gated", config: mountable + gated, mounts: []string{"0", "imex/3"}, imex: "3"},
		{name: "MIG, privileged", privileged: true, env: []string{"NVIDIA_MIG_CONFIG_DEVICES=all", "NVIDIA_MIG_MONITOR_DEVICES=0,1"}, migConfig: "all", migMonitor: "0,1"},
		{name: "MIG, empty", env: []string{"NVIDIA_MIG_CONFIG_DEVICES=", "NVIDIA_MIG_MONITOR_DEVICES="}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ct := testContainer(tt.privileged, append(tt.env, "NVIDIA_VISIBLE_DEVICES=all")...)
			for _, m := range tt.mounts {
				ct.nullMounts = append(ct.nullMounts, deviceMounts+m)
			}
			r, err := testConfig(t, tt.config).request(ct)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(r.imex, ","); got != tt.imex || r.migConfig != tt.migConfig || r.migMonitor != tt.migMonitor {
				t.Errorf("imex %q, MIG config %q, monitor %q", got, r.migConfig, r.migMonitor)
			}
		})
	}
}

func TestBadRequestsSayWhatToDo(t *testing.T) {
	const visible = "NVIDIA_VISIBLE_DEVICES=0"
	tests := []struct {
		name string
		env  []string
		want string
	}{
		{"MIG config", []string{visible, "NVIDIA_MIG_CONFIG_DEVICES=all"},
			`"NVIDIA_MIG_CONFIG_DEVICES" is set and the container is not privileged; run it with CAP_SYS_ADMIN, or unset the variable`},
		{"MIG monitor", []string{visible, "NVIDIA_MIG_MONITOR_DEVICES=all"},
			`"NVIDIA_MIG_MONITOR_DEVICES" is set and the container is not privileged; run it with CAP_SYS_ADMIN, or unset the variable`},
		{"capability", []string{visible, "NVIDIA_DRIVER_CAPABILITIES=video,secret"},
			`"NVIDIA_DRIVER_CAPABILITIES": item 2 is no capability that this machine allows; it allows compat32, compute, display, graphics, ngx, utility, video`},
		{"CUDA version", []string{"CUDA_VERSION=latest"}, `"CUDA_VERSION": is not a version; write it as MAJOR.MINOR`},
		{"CUDA version, no minor", []string{"CUDA_VERSION=8."}, `"CUDA_VERSION": is not a version; write it as MAJOR.MINOR`},
		{"CUDA version, sign", []string{"CUDA_VERSION=-8.0"}, `"CUDA_VERSION": is not a version; write it as MAJOR.MINOR`},
		{"CUDA version, huge", []string{"CUDA_VERSION=4294967296.0"}, `"CUDA_VERSION": is not a version; write it as MAJOR.MINOR`},
		{"newline", []string{"NVIDIA_VISIBLE_DEVICES=0\n--ldconfig=/evil"}, "the list of devices holds a control character"},
		{"NUL", []string{visible, "NVIDIA_REQUIRE_X=a\x00--load-kmods"}, `"NVIDIA_REQUIRE_*" holds a control character`},
		{"IMEX", []string{visible, "NVIDIA_IMEX_CHANNELS=0\x1b[2J"}, "the list of IMEX channels holds a control character"},
		{"long", []string{"NVIDIA_VISIBLE_DEVICES=" + strings.Repeat("0", 65537)}, "the list of devices is longer than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testConfig(t, "").request(testContainer(false, tt.env...))
			if err == nil || err.Error() != tt.want {
				t.Errorf("the error is\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
	ct := testContainer(false)
	ct.nullMounts = []string{deviceMounts + "cdi/gpu"}
	const want = `mount "/var/run/nvidia-container-devices/cdi/gpu" names no CDI device; write /var/run/nvidia-container-devices/cdi/VENDOR/CLASS/DEVICE`
	if _, err := testConfig(t, mountable).request(ct); err == nil || err.Error() != want {
		t.Errorf("the error is\n%v\nwant\n%s", err, want)
	}
}

// What comes out of any list is a list without spaces at the ends, empty items,
// repetitions and the three words, and reading it again changes nothing.
func FuzzDeviceList(f *testing.F) {
	for _, seed := range []string{"", "all", "none", "void", "0,1", " 0 ,, 0", "0,all", "0,none,void", "GPU-1,MIG-2/3/4", "-0,--x=1", "\x00,\n", "nvidia.com/gpu=0"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		list, asked := deviceList(a, b)
		if !asked && list != nil {
			t.Fatalf("not asked, and %q", list)
		}
		if slices.Equal(list, []string{"all"}) {
			return
		}
		seen := map[string]bool{}
		for _, name := range list {
			switch {
			case name == "" || strings.TrimSpace(name) != name || strings.Contains(name, ","):
				t.Errorf("%q is no name", name)
			case name == "all" || name == "none" || name == "void":
				t.Errorf("%q is left", name)
			case seen[name]:
				t.Errorf("%q is there twice", name)
			}
			seen[name] = true
			if parser.IsQualifiedName(name) && !isQualifiedName(name) {
				t.Errorf("%q is a CDI device", name)
			}
		}
		again, asked2 := deviceList(strings.Join(list, ","))
		if !slices.Equal(again, list) || asked2 != (len(list) > 0) {
			t.Errorf("%q is read again as %q, %v", list, again, asked2)
		}
	})
}

// Whatever is asked for, what is given is a sorted part of what is supported.
func FuzzCapabilities(f *testing.F) {
	for _, seed := range []string{"", "all", "video, utility", "compute,compute", "bogus", "--pid=1", ",", "all,bogus"} {
		f.Add(seed, "compute,utility,video", true, false)
		f.Add(seed, "all", false, true)
	}
	f.Fuzz(func(t *testing.T, value, supported string, set, legacy bool) {
		allowed := driverCapabilities
		if supported != "all" {
			allowed = slices.DeleteFunc(slices.Clone(driverCapabilities), func(name string) bool { return !strings.Contains(supported, name) })
		}
		list, err := capabilities(value, set, legacy, allowed)
		if err != nil {
			if list != nil || strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Fatalf("%q, %v", list, err)
			}
			return
		}
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("%q is no sorted set", list)
		}
		for _, name := range list {
			if !slices.Contains(allowed, name) {
				t.Errorf("%q is given and not supported", name)
			}
			if !strings.Contains(value, name) && !strings.Contains(value, "all") && value != "" {
				t.Errorf("%q is given and not asked for", name)
			}
		}
	})
}

// The version of a legacy image becomes one requirement of two numbers; no other
// text of the image gets into it.
func FuzzRequire(f *testing.F) {
	for _, seed := range []string{"8.0", "8", "v9.2.148", "11.4.0.1", "12.0-rc1", "", ".", "8.", "1e3", "+1.2", "1.2 brand=x", "99999999999.1", "0x10.1"} {
		f.Add(seed, "cuda>=1.0")
	}
	f.Fuzz(func(t *testing.T, version, value string) {
		env := map[string]string{"CUDA_VERSION": version, "NVIDIA_REQUIRE_A": value, "NVIDIA_REQUIRE_JETPACK": "no"}
		list, err := requirements(env)
		if err != nil {
			if want := `"CUDA_VERSION": is not a version; write it as MAJOR.MINOR`; err.Error() != want {
				t.Fatalf("the error is %q", err)
			}
			return
		}
		if list[0] != value || len(list) > 2 || (len(list) == 2) != (version != "") {
			t.Fatalf("%q for version %q", list, version)
		}
		if len(list) == 2 {
			number, ok := strings.CutPrefix(list[1], "cuda>=")
			major, minor, ok2 := strings.Cut(number, ".")
			digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
			if !ok || !ok2 || !digits(major) || !digits(minor) {
				t.Errorf("%q is required for version %q", list[1], version)
			}
		}
	})
}
