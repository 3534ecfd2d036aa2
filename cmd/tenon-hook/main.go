// SPDX-License-Identifier: Apache-2.0

// Tenon-hook is the program that the OCI hooks of Tenon's edits start: it makes
// the ld.so.cache of a container, links, modes, and the like, in the file
// system of a container that is being created.
//
// That file system is hostile, and this program runs as root. So it is one
// static process that executes nothing (but for the prestart hook, which hands
// over to NVIDIA's own program); it opens nothing of the container by a path
// string, only below the descriptor of its root, as package ldcache does it; it
// writes nothing through a mount that is not the container's own; its time,
// memory and files have limits.
//
// Read main.go (the commands and their exit status), container.go (from the
// state that the runtime hands over to the container's root), write.go (how a
// file of it is replaced), then the file of the command: ldcache.go, links.go,
// modes.go. The prestart_*.go files are the NVIDIA Container Runtime Hook.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

const usage = `Usage: tenon-hook COMMAND

What an OCI hook of a container starts, with the state of the container on
standard input (runtime-spec, "Hooks"). Commands of createContainer hooks:

  update-ldcache [--required] [--alias KEY=PATH]... [--folder DIR]...
      make /etc/ld.so.cache anew, the libraries in DIR first; with --alias,
      dlopen("KEY") opens the library PATH
  create-symlinks --link TARGET::LINK...
      make links; a link that is there is replaced, a file is not
  chmod --mode OCTAL --path PATH...
      set the mode of files and folders
  disable-device-node-modification
      tell NVIDIA's driver not to make device nodes

and of prestart hooks:

  prestart    what the NVIDIA Container Runtime Hook does

Other commands: version, help. All paths are those of the container. With
--verbose, what was left out is written to standard error.
Exit status: 0 done, or nothing to do; 1 not done; 64 not a command that this
version knows; 70 a bug; 75 not done in 4 seconds. Without --required,
update-ldcache says 0 also where it could not do its work.
`

// Exit status, those above 1 as in sysexits.h.
const (
	exitNotDone = 1
	exitCommand = 64 // EX_USAGE
	exitBug     = 70 // EX_SOFTWARE
	exitTimeout = 75 // EX_TEMPFAIL
)

// failure is an error with the exit status that it means.
type failure struct {
	status int
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// misuse is the fault of whoever wrote the hook into the container's config.
func misuse(format string, args ...any) error {
	return &failure{exitCommand, fmt.Errorf(format, args...)}
}

// hookCommands are the commands that work in a container's root.
var hookCommands = map[string]func(arguments []string, stdin io.Reader) error{
	"update-ldcache":                   updateLdcache,
	"create-symlinks":                  createSymlinks,
	"chmod":                            chmod,
	"disable-device-node-modification": disableDeviceNodeModification,
}

func main() {
	if isNVIDIAHook(os.Args) {
		os.Exit(nvidiaHook(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 1 {
		command = args[1]
	}
	switch command {
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return 0
	case "version", "--version":
		fmt.Fprintf(stdout, "tenon-hook %s\n", version())
		return 0
	}
	err := hook(command, args, stdin)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "tenon-hook: %s\n", plain.Replace(strings.Join(strings.Fields(err.Error()), " ")))
	var f *failure
	if errors.As(err, &f) {
		return f.status
	}
	return exitNotDone
}

// hook runs a command in the container's root. An unknown command is an error,
// not something to pass by: the container was promised what it would have done.
// Whoever updates Tenon on a machine puts the hook there first.
func hook(command string, args []string, stdin io.Reader) (err error) {
	do := hookCommands[command]
	if do == nil {
		if command == "" {
			return misuse("no command; tenon-hook help lists them")
		}
		return misuse("no command %q in version %s; install the version of tenon-hook that the container's hooks were made for", command, version())
	}
	confine()
	defer func() {
		if p := recover(); p != nil {
			err = &failure{exitBug, fmt.Errorf("%s: %v; this is a bug of tenon, please report", command, p)}
		}
	}()
	return do(args[2:], stdin)
}

// plain words what the kernel says: a runtime shows the line in its own message,
// and engines take texts of system errors there for faults of the container's
// command (setExitCodeFromError in moby's daemon/errors.go; getOCIRuntimeError
// in podman's libpod/oci_util.go).
var plain = strings.NewReplacer(
	"no such file or directory", "does not exist",
	"permission denied", "access refused",
	"operation not permitted", "not allowed",
	"not a directory", "not a folder",
	"is a directory", "is a folder",
)

// patience is how long a hook may take: milliseconds are usual, and seconds where
// many containers start at once. The runtime's own timeout, which kills, is above
// it.
const patience = 20 * time.Second

// within runs work, and gives up on it after patience.
func within(patience time.Duration, work func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- &failure{exitBug, fmt.Errorf("%v; this is a bug of tenon, please report", p)}
			}
		}()
		done <- work()
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return &failure{exitTimeout, fmt.Errorf("not done after %v", patience)}
	}
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
