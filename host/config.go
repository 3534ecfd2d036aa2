// SPDX-License-Identifier: Apache-2.0

package host

import (
	"strings"
	"time"
)

// Config says what the administrator wants. It is made by config.Read, or is
// DefaultConfig; the zero value is of no use. The rules for each value are in
// config/keys.go.
type Config struct {
	// Mode names the modes to ask, in order; none for nothing to do. The one
	// name "auto" leaves the choice to Modes.
	Mode []string `koanf:"mode"`
	// ModeFrom is where Mode comes from, FILE:LINE or a variable, for messages; ""
	// for the default.
	ModeFrom string `koanf:"-"`
	// Runtimes are the low-level runtimes, names or absolute paths; the first
	// one found is used. Never empty.
	Runtimes []string `koanf:"runtimes"`
	// Strict makes a missing device, library or list of a mode fail the create.
	Strict bool `koanf:"strict"`
	// DebugLog is the absolute path of the debug log; "" for none.
	DebugLog string `koanf:"debug_log"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `koanf:"log_level"`
	// ModuleDir is the folder that modules are installed into, as
	// sha256/DIGEST.wasm.
	ModuleDir string `koanf:"module_dir"`
	// ModulesD is the folder with a file NAME.toml for each mode whose module is
	// installed.
	ModulesD string `koanf:"modules_d"`
	// CacheDir is the folder with the compiled code of modules.
	CacheDir string `koanf:"cache_dir"`
	// TrustD is the folder with the keys that signatures of modules are held
	// against when they are installed.
	TrustD string `koanf:"trust_d"`
	// Hook is the absolute path of tenon-hook; "" where the runtime looks for
	// it itself.
	Hook string `koanf:"hook"`
	// DriverRoot is the folder that queries call the driver's root.
	DriverRoot string `koanf:"driver_root"`
	// DeviceAccess is the cgroup access of a device whose edit names none: one
	// or more of the letters r, w, m.
	DeviceAccess string `koanf:"device_access"`
	// AcceptEnvWhenUnprivileged lets a container without CAP_SYS_ADMIN ask by
	// its environment.
	AcceptEnvWhenUnprivileged bool    `koanf:"accept_env_when_unprivileged"`
	LdCache                   LdCache `koanf:"ldcache"`
	Limits                    Limits  `koanf:"limits"`
	// Traces is one of TracesOn, TracesOff and TracesAudit.
	Traces string `koanf:"traces"`
	// ModeTables holds the table of each mode, by the mode's name: for each
	// dotted key below it the answer to the query config, a string as it is and
	// anything else as compact JSON.
	ModeTables map[string]map[string]string `koanf:"-"`
	// Installed are the modules that are installed, each with its grants; no other
	// is run.
	Installed []Installed `koanf:"-"`
}

// LdCache is about the container's ld.so.cache.
type LdCache struct {
	// Required makes the create fail where the cache cannot be written.
	Required bool `koanf:"required"`
}

// Limits bound one run of one module. All are more than 0.
type Limits struct {
	WallMS       int `koanf:"wall_ms"`       // milliseconds that a run may take; see Longest
	MemoryPages  int `koanf:"memory_pages"`  // of 64 KiB
	Queries      int `koanf:"queries"`       // count
	AnswerBytes  int `koanf:"answer_bytes"`  // of one answer
	AnswersBytes int `koanf:"answers_bytes"` // of all answers
	EditsBytes   int `koanf:"edits_bytes"`   // of the edits document
	LogBytes     int `koanf:"log_bytes"`     // of all log lines
	GlobEntries  int `koanf:"glob_entries"`  // names that one glob may look at
}

// busyFactor is how many times WallMS a run may take that has had less processor
// time than that.
const busyFactor = 3

// Longest is how long a run can take. Where many containers are created at once,
// each run waits for a processor most of the time, and that is not its fault: WallMS
// is its processor time then. What does not compute and does not end either, such
// as a look at a file server that is gone, ends here.
func (l Limits) Longest() time.Duration {
	return busyFactor * time.Duration(l.WallMS) * time.Millisecond
}

// DefaultConfig is what holds where no file and no variable says otherwise.
func DefaultConfig() Config {
	return Config{
		Mode:                      []string{"auto"},
		Runtimes:                  []string{"runc", "crun"},
		LogLevel:                  "info",
		ModuleDir:                 "/var/lib/tenon/modules",
		ModulesD:                  ModulesFolder,
		CacheDir:                  "/var/cache/tenon",
		TrustD:                    "/etc/tenon/trust.d",
		DriverRoot:                "/",
		Traces:                    TracesOn,
		DeviceAccess:              "rw",
		AcceptEnvWhenUnprivileged: true,
		// Those of ABI version 1, "Limits" in sdk/ABI.md.
		Limits: Limits{
			WallMS: 10_000, MemoryPages: 1024, Queries: 32_768, AnswerBytes: 1 << 20,
			AnswersBytes: 8 << 20, EditsBytes: 2 << 20, LogBytes: 64 << 10, GlobEntries: 20_000,
		},
		ModeTables: map[string]map[string]string{
			"csv": {
				"mount_spec_path":      "/etc/nvidia-container-runtime/host-files-for-container.d",
				"hook_conflict":        "replace",
				"env_void":             "keep",
				"accept_volume_mounts": "false",
				"disable_require":      "false",
			},
			"legacy": {
				"hook_path":    "nvidia-container-runtime-hook",
				"hook_timeout": "120",
			},
		},
	}
}

// IsModeName reports whether name can be that of a mode: small letters, digits,
// dots, dashes and underscores, at most 64 bytes, no dot first. With ".wasm" after
// it, it is a plain file name.
func IsModeName(name string) bool {
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("-_.", rune(c))) {
			return false
		}
	}
	return name != "" && len(name) <= 64
}
