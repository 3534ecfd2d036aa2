// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"
)

// The NVIDIA Container Runtime Hook, as cmd/nvidia-container-runtime-hook of the
// NVIDIA Container Toolkit does its work: an OCI prestart hook that reads what a
// container asks for and becomes nvidia-container-cli, which puts it in.
//
// prestart.go is the call, from standard input to execve; prestart_config.go is
// NVIDIA's configuration, prestart_request.go what the container asks for,
// prestart_command.go the command line, prestart_trust.go whom to believe.

// nvidiaCommands are the stages that NVIDIA's hook can be called for. Nothing is
// done in the last two.
var nvidiaCommands = []string{"prestart", "poststart", "poststop"}

// isNVIDIAHook tells whether a call, argv as a whole, is one for nvidiaHook: by
// the name it was started under, which may be one of the two that NVIDIA's hook
// has had, or by its command.
func isNVIDIAHook(argv []string) bool {
	if len(argv) == 0 {
		return false
	}
	switch filepath.Base(argv[0]) {
	case "nvidia-container-runtime-hook", "nvidia-container-toolkit":
		return true
	}
	return len(argv) > 1 && slices.Contains(nvidiaCommands, argv[1])
}

const nvidiaUsage = `Usage: nvidia-container-runtime-hook [-config FILE] [-debug] [-version] COMMAND

Commands, each an OCI hook that reads the container's state from standard input:
  prestart   give the container the NVIDIA devices that it asks for
  poststart  do nothing
  poststop   do nothing

Options:
  -config FILE  read FILE, not /etc/nvidia-container-runtime/config.toml
  -debug        let nvidia-container-cli write what it does to standard error
  -version      print the version
`

const (
	maxHookInput = 8 << 20 // bytes of a config.json or a state; those of real engines have some 10 KB
	exitUsage    = 2       // the status of NVIDIA's hook for a command line that it does not know
)

// nvidiaHook is NVIDIA's hook: args are the arguments, env is the environment
// that the process was started with. For prestart it does not return where all
// goes well and the container asks for something: nvidia-container-cli has taken
// over the process, with its working directory and its umask.
//
// It returns the exit status, and has then said on stderr, in one line, what is
// wrong; the runtime puts that line into its own error.
func nvidiaHook(args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("nvidia-container-runtime-hook", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	config := flags.String("config", "", "")
	debugging := flags.Bool("debug", false, "")
	wantVersion := flags.Bool("version", false, "")
	err := flags.Parse(args)
	command := flags.Arg(0)
	if err == nil && command != "" {
		err = flags.Parse(flags.Args()[1:]) // options may come after it, too
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, nvidiaUsage)
		return 0
	case err == nil && *wantVersion:
		fmt.Fprintf(stdout, "nvidia-container-runtime-hook (tenon-hook) %s\n", version())
		return 0
	case err != nil || flags.NArg() > 0 || !slices.Contains(nvidiaCommands, command):
		fmt.Fprint(stderr, nvidiaUsage)
		return exitUsage
	case command != "prestart":
		return 0
	}
	if err := nvidiaPrestart(*config, *debugging, env, stdin); err != nil {
		fmt.Fprintln(stderr, nvidiaLine(err))
		return exitNotDone
	}
	return 0
}

// nvidiaLine words an error as one line. dockerd and podman search what a hook
// prints for the texts of system errors, and take them for faults of the
// container's own command (setExitCodeFromError in moby's daemon/errors.go,
// getOCIRuntimeError in podman's libpod/oci_util.go).
func nvidiaLine(err error) string {
	text := strings.NewReplacer(
		"no such file or directory", "does not exist",
		"permission denied", "access refused",
		"operation not permitted", "not allowed",
		"not a directory", "not a folder",
		"is a directory", "is a folder",
		"exec format error", "is not a program of this machine",
	).Replace(err.Error())
	return "tenon: " + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}

// nvidiaPrestart carries out the prestart hook. It returns where the container
// asks for nothing, and where something is wrong.
func nvidiaPrestart(configFile string, debugging bool, env []string, stdin io.Reader) error {
	const machine = "/"
	s, err := readHookState(stdin)
	if err != nil {
		return fmt.Errorf("state on standard input: %w", err)
	}
	spec := filepath.Join(s.bundle(), "config.json")
	ct, err := readNVIDIAContainer(spec)
	if err != nil {
		return fmt.Errorf("%s: %w", spec, err)
	}
	config, err := readNVIDIAConfig(machine, configFile, ownVariables(env, ct))
	if err != nil {
		return err
	}
	req, err := config.request(ct)
	if err != nil {
		return fmt.Errorf("%s: %w", spec, err)
	}
	if req == nil {
		return nil
	}
	if err := config.guard(machine, req); err != nil {
		return err
	}
	if s.Pid <= 0 {
		return errors.New("state on standard input: has no pid; start this hook as a prestart hook")
	}
	cli, err := config.findCLI(machine, ct.rootfs)
	if err != nil {
		return err
	}
	argv := config.command(cli, debugging, req, s.Pid, ct.rootfs)
	err = syscall.Exec(cli, argv, config.commandEnv())
	return fmt.Errorf("%s: %w", cli, err)
}

// ownVariables returns a getenv for variables that steer this hook. runc before
// 1.3 hands a createContainer hook the environment of the container, and with it
// whatever the image sets: a variable that the container has, too, does not
// count, since it may be the image's.
func ownVariables(env []string, ct *nvidiaContainer) func(string) string {
	return func(name string) string {
		if _, theirs := ct.env[name]; theirs {
			return ""
		}
		value := ""
		for _, e := range env {
			if n, v, ok := strings.Cut(e, "="); ok && n == name {
				value = v
			}
		}
		return value
	}
}

// hookState is the part of the OCI state that the hook reads (runtime-spec,
// runtime.md, State). Until Docker 17.06 runc wrote bundlePath for bundle.
type hookState struct {
	Pid        int    `json:"pid"`
	Bundle     string `json:"bundle"`
	BundlePath string `json:"bundlePath"`
}

func (s hookState) bundle() string {
	if s.Bundle != "" {
		return s.Bundle
	}
	return s.BundlePath
}

func readHookState(r io.Reader) (hookState, error) {
	var s hookState
	data, err := readBounded(r)
	if err != nil {
		return s, err
	}
	if err := unmarshal(data, &s); err != nil {
		return s, err
	}
	if !filepath.IsAbs(s.bundle()) {
		return s, errors.New(`"bundle" is not an absolute path; start this hook by an OCI runtime`)
	}
	return s, nil
}

// nvidiaContainer is what the hook knows about a container. All of it but privileged
// may come from its image.
type nvidiaContainer struct {
	env        map[string]string // the last value of each name
	nullMounts []string          // clean destinations of the mounts of /dev/null, in order
	privileged bool              // CAP_SYS_ADMIN is in the bounding set
	rootfs     string            // absolute, not resolved
}

// readNVIDIAContainer reads the config.json of a bundle. Keys are found as runc finds
// them, by encoding/json: whatever the case, and the last of several counts.
func readNVIDIAContainer(name string) (*nvidiaContainer, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	data, err := readBounded(f)
	if err != nil {
		return nil, err
	}
	return parseNVIDIAContainer(data, filepath.Dir(name))
}

// parseNVIDIAContainer reads a config.json that lies in the folder bundle.
func parseNVIDIAContainer(data []byte, bundle string) (*nvidiaContainer, error) {
	var spec struct {
		OCIVersion *string `json:"ociVersion"`
		Process    *struct {
			Env          []string        `json:"env"`
			Capabilities json.RawMessage `json:"capabilities"`
		} `json:"process"`
		Root *struct {
			Path string `json:"path"`
		} `json:"root"`
		Mounts []struct {
			Source      string `json:"source"`
			Destination string `json:"destination"`
		} `json:"mounts"`
	}
	if err := unmarshal(data, &spec); err != nil {
		return nil, err
	}
	switch {
	case spec.OCIVersion == nil:
		return nil, errors.New(`has no "ociVersion"`)
	case spec.Process == nil:
		return nil, errors.New(`has no "process"`)
	case spec.Root == nil || spec.Root.Path == "":
		return nil, errors.New(`has no "root.path"`)
	case strings.ContainsRune(spec.Root.Path, 0):
		return nil, errors.New(`"root.path" holds a NUL character`)
	}
	ct := &nvidiaContainer{env: map[string]string{}, rootfs: spec.Root.Path}
	if !filepath.IsAbs(ct.rootfs) {
		ct.rootfs = filepath.Join(bundle, ct.rootfs)
	}
	for _, e := range spec.Process.Env {
		// An entry without = gives no variable. runc refuses it by itself.
		if name, value, ok := strings.Cut(e, "="); ok {
			ct.env[name] = value
		}
	}
	for _, m := range spec.Mounts {
		if filepath.Clean(m.Source) == "/dev/null" {
			ct.nullMounts = append(ct.nullMounts, filepath.Clean(m.Destination))
		}
	}
	bounding, err := boundingSet(spec.Process.Capabilities)
	if err != nil {
		return nil, err
	}
	ct.privileged = slices.Contains(bounding, "CAP_SYS_ADMIN")
	return ct, nil
}

// boundingSet returns the capabilities that a container may ever have.
// runtime-spec 1.0.0-rc1 to -rc4 had one list for all sets.
func boundingSet(capabilities json.RawMessage) ([]string, error) {
	if bytes.HasPrefix(capabilities, []byte("[")) {
		var list []string
		err := unmarshal(capabilities, &list)
		return list, err
	}
	var sets struct {
		Bounding []string `json:"bounding"`
	}
	if len(capabilities) == 0 {
		return nil, nil
	}
	err := unmarshal(capabilities, &sets)
	return sets.Bounding, err
}

// unmarshal is json.Unmarshal with errors that name no type of ours.
func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%q is of the wrong type: %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	return nil
}

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxHookInput+1))
	if err == nil && len(data) > maxHookInput {
		err = fmt.Errorf("is longer than %d bytes", maxHookInput)
	}
	return data, err
}
