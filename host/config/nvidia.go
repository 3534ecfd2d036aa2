// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"

	"github.com/tenon-runtime/tenon/host"
)

// Started under the name of NVIDIA's runtime, we read the file that it reads and
// mean the same by it. What a key means is in the NVIDIA Container Toolkit's
// internal/config (config.go, cli.go, runtime.go, hook.go, features.go); the keys
// experimental and discover-mode are those of the releases before "mode".
const (
	nvidiaProgram = "nvidia-container-runtime"
	nvidiaSection = "nvidia-container-runtime" // of the file

	// nvidiaVariable names the file, as in internal/config, FilePathOverrideEnvVar.
	nvidiaVariable   = "NVIDIA_CTK_CONFIG_FILE_PATH"
	nvidiaBelowXDG   = "nvidia-container-runtime/config.toml"
	nvidiaSystemFile = "/etc/" + nvidiaBelowXDG

	// NVIDIA's runtime lets a container make the nodes of its devices, too.
	nvidiaDeviceAccess = "rwm"
)

// isNVIDIA tells the name nvidia-container-runtime and those that NVIDIA gives
// with a mode after it: nvidia-container-runtime.legacy, ….cdi.
func isNVIDIA(program string) bool {
	return program == nvidiaProgram || strings.HasPrefix(program, nvidiaProgram+".")
}

// nvidiaFile is where NVIDIA's runtime looks; a file that is not there means the
// defaults, however it was named.
func nvidiaFile(getenv func(string) string) string {
	if name := getenv(nvidiaVariable); name != "" {
		return name
	}
	if folder := getenv("XDG_CONFIG_HOME"); folder != "" {
		return filepath.Join(folder, nvidiaBelowXDG)
	}
	return nvidiaSystemFile
}

// nvidiaKey is a key of NVIDIA's file; only the type of its values is checked, as
// NVIDIA's own decoding does.
type nvidiaKey struct {
	name string // with dots
	def  any    // for the type
	to   string // our key that the value goes to as it is; "" where nvidia or nobody reads it
	note string // what to tell somebody who sets it; "" where it does what it says
}

const notUsed = "accepted, not used"

// nvidiaKeys are the keys that "nvidia-ctk config default" prints, those that it
// leaves out because they are unset, and those of the old releases.
func nvidiaKeys() []nvidiaKey {
	const (
		theHook = "accepted; only NVIDIA's hook uses it"
		old     = `the old way to choose a mode; "nvidia-container-runtime.mode" says it now`
	)
	return []nvidiaKey{
		{"disable-require", false, "modes.csv.disable_require", ""},
		{"swarm-resource", "", "", theHook},
		{"accept-nvidia-visible-devices-envvar-when-unprivileged", true, "accept_env_when_unprivileged", ""},
		{"accept-nvidia-visible-devices-as-volume-mounts", false, "modes.csv.accept_volume_mounts", ""},
		{"supported-driver-capabilities", "", "", theHook},
		{"nvidia-container-cli.root", "", "", ""},
		{"nvidia-container-cli.path", "", "", theHook},
		{"nvidia-container-cli.environment", []string{}, "", theHook},
		{"nvidia-container-cli.debug", "", "", theHook},
		{"nvidia-container-cli.ldcache", "", "", theHook},
		{"nvidia-container-cli.ldconfig", "", "", theHook},
		{"nvidia-container-cli.load-kmods", false, "", theHook},
		{"nvidia-container-cli.no-pivot", false, "", theHook},
		{"nvidia-container-cli.no-cgroups", false, "", theHook},
		{"nvidia-container-cli.user", "", "", theHook},
		{"nvidia-container-runtime.debug", "", "", ""},
		{"nvidia-container-runtime.log-level", "", "", ""},
		{"nvidia-container-runtime.mode", "", "", ""},
		{"nvidia-container-runtime.runtimes", []string{}, "runtimes", ""},
		{"nvidia-container-runtime.experimental", false, "", old},
		{"nvidia-container-runtime.discover-mode", "", "", old},
		{"nvidia-container-runtime.modes.cdi.default-kind", "", "", notUsed},
		{"nvidia-container-runtime.modes.cdi.annotation-prefixes", []string{}, "", notUsed},
		{"nvidia-container-runtime.modes.cdi.spec-dirs", []string{}, "", notUsed},
		{"nvidia-container-runtime.modes.csv.mount-spec-path", "", "modes.csv.mount_spec_path", ""},
		{"nvidia-container-runtime.modes.csv.compat-container-root", "", "", notUsed},
		{"nvidia-container-runtime.modes.jit-cdi.nvcdi-feature-flags", []string{}, "", notUsed},
		{"nvidia-container-runtime.modes.jit-cdi.nvcdi-disable-hooks", []string{}, "", notUsed},
		{"nvidia-container-runtime.modes.legacy.cuda-compat-mode", "", "", notUsed},
		{"nvidia-container-runtime-hook.path", "", "modes.legacy.hook_path", ""},
		{"nvidia-container-runtime-hook.skip-mode-detection", false, "", theHook},
		{"nvidia-ctk.path", "", "", "accepted, not used; tenon-hook does this work"},
		{"features.allow-cuda-compat-libs-from-container", false, "", notUsed},
		{"features.allow-ldconfig-from-container", false, "", theHook},
		{"features.allow-unknown-oci-spec-fields", false, "", "accepted, not used; unknown fields are always kept"},
		{"features.disable-cuda-compat-lib-hook", false, "", notUsed},
		{"features.disable-imex-channel-creation", false, "", theHook},
		{"features.ignore-imex-channel-requests", false, "", notUsed},
		{"features.no-additional-gids-for-device-nodes", false, "", notUsed},
	}
}

// nvidiaLoader reads one file of NVIDIA's into a loader of ours.
type nvidiaLoader struct {
	*loader
	f     tomlFile
	given map[string]any // the values of known keys, by name with dots
	ours  map[string]any // what they come to, by path
}

// nvidia lays NVIDIA's file over the defaults.
func (l *loader) nvidia(program string, getenv func(string) string) {
	name := nvidiaFile(getenv)
	if !filepath.IsAbs(name) {
		variable := "XDG_CONFIG_HOME"
		if getenv(nvidiaVariable) != "" {
			variable = nvidiaVariable
		}
		l.problem(Wrong, variable, "must be an absolute path")
		return
	}
	before := len(l.problems)
	f, _ := l.open(name) // none is as good as an empty one
	if len(l.problems) > before {
		return
	}
	n := nvidiaLoader{loader: l, f: f, given: map[string]any{}, ours: map[string]any{}}
	n.check(nvidiaKeys(), "", f.values)
	n.mode(program)
	n.log()
	n.driverRoot()
	for _, p := range l.problems[before:] {
		if p.Level == Wrong {
			return
		}
	}
	l.merge(confmap.Provider(n.ours, pathSep))
}

// set gives a key of ours the value that NVIDIA's key, the source, comes to, if it
// is a good one.
func (n *nvidiaLoader) set(ours string, v any, source string) {
	path := toPath(ours)
	k, _ := n.find(path)
	if k.ok != nil && !k.ok(v) {
		n.problemAt(Wrong, n.f, toPath(source), fmt.Sprintf("%q is %s; it must be %s", source, describe(v), k.want))
		return
	}
	n.ours[path] = v
	n.from[path] = n.f.place(toPath(source))
}

// check sorts the values of a table into given and ours. A key that NVIDIA's
// runtime does not know is passed over by it, so it is by us, and told.
func (n *nvidiaLoader) check(known []nvidiaKey, table string, values map[string]any) {
	list := make([]configKey, len(known))
	for i, k := range known {
		list[i] = configKey{path: k.name, def: k.def}
	}
	list = toPaths(list)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		at := joinPath(table, name)
		if i := indexOf(list, at); i >= 0 {
			n.take(known[i], list[i], values[name])
			continue
		}
		there := below(list, at)
		inside, isTable := values[name].(map[string]any)
		switch {
		case name != "" && len(there) > 0 && isTable:
			n.check(known, at, inside)
		case name != "" && len(there) > 0:
			n.problemAt(Wrong, n.f, at, fmt.Sprintf("%q is %s; it must be a table", dotted(at), describe(values[name])))
		default:
			what := fmt.Sprintf("no such key %q", dotted(at))
			if near := nearest(name, below(list, table)); near != "" {
				what += fmt.Sprintf("; did you mean %q", dotted(joinPath(table, near)))
			}
			n.problemAt(Ignored, n.f, at, what)
		}
	}
}

func (n *nvidiaLoader) take(nk nvidiaKey, k configKey, v any) {
	v, what := k.take(v)
	if what != "" {
		n.problemAt(Wrong, n.f, k.path, what)
		return
	}
	n.given[nk.name] = v
	if nk.note != "" {
		n.problemAt(Unused, n.f, k.path, fmt.Sprintf("%q is %s", nk.name, nk.note))
	}
	if nk.to == "" || v == "" { // NVIDIA takes its default for an empty string
		return
	}
	n.set(nk.to, v, nk.name)
}

func indexOf(list []configKey, path string) int {
	for i, k := range list {
		if k.path == path {
			return i
		}
	}
	return -1
}

// mode: the name we were started under has the last word, then the key mode, then
// the two keys of the old releases, where experimental = false meant the hook.
func (n *nvidiaLoader) mode(program string) {
	const section = nvidiaSection + "."
	mode, source := "", ""
	if name, ok := strings.CutPrefix(program, nvidiaProgram+"."); ok {
		mode = name
	} else if v, ok := n.given[section+"mode"]; ok {
		mode, source = v.(string), section+"mode"
	} else if v, ok := n.given[section+"experimental"]; ok && v == true {
		source = section + "experimental"
		mode = "auto"
		if v, ok := n.given[section+"discover-mode"]; ok && v != "" {
			mode, source = v.(string), section+"discover-mode"
		}
	} else if ok {
		mode, source = "legacy", section+"experimental"
	} else {
		return
	}
	place := program
	if source != "" {
		place = n.f.place(toPath(source))
	}
	if mode == "cdi" || mode == "jit-cdi" {
		n.problem(Wrong, place, fmt.Sprintf("tenon has no mode %q; the modes are auto, csv and legacy", mode))
		return
	}
	if !host.IsModeName(mode) {
		n.problem(Wrong, place, fmt.Sprintf("%q cannot be the name of a mode; the modes are auto, csv and legacy", mode))
		return
	}
	n.ours["mode"], n.from["mode"] = []string{mode}, place
}

// log: NVIDIA's runtime goes on where its log cannot be written, and at level
// info where it does not know the level (logrus.ParseLevel).
func (n *nvidiaLoader) log() {
	const debug, logLevel = nvidiaSection + ".debug", nvidiaSection + ".log-level"
	switch file, _ := n.given[debug].(string); {
	case file == "" || file == "/dev/null":
	case !isAbsolute(file):
		n.problemAt(Ignored, n.f, toPath(debug), fmt.Sprintf("%q is %s and no absolute path; there is no log", debug, describe(file)))
	default:
		n.set("debug_log", file, debug)
	}
	given, _ := n.given[logLevel].(string)
	levels := map[string]string{
		"trace": "debug", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn",
		"error": "error", "fatal": "error", "panic": "error",
	}
	level := levels[strings.ToLower(given)]
	if level == "" && given != "" {
		n.problemAt(Ignored, n.f, toPath(logLevel), fmt.Sprintf("%q is %s, which is no level; info it is", logLevel, describe(given)))
	}
	if given != "" {
		n.set("log_level", cmp.Or(level, "info"), logLevel)
	}
}

func (n *nvidiaLoader) driverRoot() {
	const root = "nvidia-container-cli.root"
	if v, _ := n.given[root].(string); v != "" {
		n.set("driver_root", v, root)
	}
}
