// SPDX-License-Identifier: Apache-2.0

package host

// Config says what the administrator wants. It is made by ReadConfig, or is
// DefaultConfig; the zero value is of no use.
type Config struct {
	// Mode names the modes to ask, in order. The one name "auto" leaves the
	// choice to Modes.
	Mode []string
	// Runtimes are the low-level runtimes, names or absolute paths; the first
	// one found is used.
	Runtimes []string
	// Strict makes a missing device, library or list of a mode fail the create.
	Strict bool
	// DebugLog is the file of the debug log; "" for none.
	DebugLog string
	// LogLevel is debug, info, warn or error.
	LogLevel string
	// ModuleDir is the folder with the modules, NAME.wasm.
	ModuleDir string
	// Hook is the path of tenon-hook; "" where the runtime looks for it itself.
	Hook string
	// DriverRoot is the folder that queries call the driver's root.
	DriverRoot string
	// DeviceAccess is the cgroup access of a device whose edit names none:
	// the letters r, w, m.
	DeviceAccess string
	// AcceptEnvWhenUnprivileged lets a container without CAP_SYS_ADMIN ask by
	// its environment.
	AcceptEnvWhenUnprivileged bool
	LdCache                   LdCache
	Limits                    Limits
	// ModeTables holds the table of each mode, by its name. A key with dots in
	// its name stays one key. Values are string, int64, float64, bool,
	// time.Time, []any or map[string]any, as TOML has them.
	ModeTables map[string]map[string]any
}

// LdCache is about the container's ld.so.cache.
type LdCache struct {
	// Required makes the create fail where the cache cannot be written.
	Required bool
}

// Limits bound one run of one module.
type Limits struct {
	WallMS       int // milliseconds on the wall's clock
	MemoryPages  int // of 64 KiB
	Queries      int // count
	AnswerBytes  int // of one answer
	AnswersBytes int // of all answers
	EditsBytes   int // of the edits document
	LogBytes     int // of all log lines
	GlobEntries  int // names one glob may look at
}

// DefaultConfig is what holds where no file and no variable says otherwise.
func DefaultConfig() Config {
	return Config{
		Mode:                      []string{"auto"},
		Runtimes:                  []string{"runc", "crun"},
		LogLevel:                  "info",
		ModuleDir:                 "/usr/lib/tenon/modules",
		DriverRoot:                "/",
		DeviceAccess:              "rw",
		AcceptEnvWhenUnprivileged: true,
		Limits: Limits{
			WallMS: 2000, MemoryPages: 1024, Queries: 4096, AnswerBytes: 1 << 20,
			AnswersBytes: 8 << 20, EditsBytes: 1 << 20, LogBytes: 64 << 10, GlobEntries: 20000,
		},
		ModeTables: map[string]map[string]any{
			"csv": {
				"mount_spec_path":      "/etc/nvidia-container-runtime/host-files-for-container.d",
				"hook_conflict":        "replace",
				"env_void":             "keep",
				"accept_volume_mounts": false,
				"disable_require":      false,
			},
			"legacy": {
				"hook_path":    "nvidia-container-runtime-hook",
				"hook_timeout": int64(120),
			},
		},
	}
}
