// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"
)

// How text from outside stands in a message.

// OneLine makes one line of printable text of whatever comes from outside.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// Shown keeps a name from a module on one line and in bounds.
func Shown(name string) string {
	plain := len(name) > 0 && len(name) <= 100 && utf8.ValidString(name)
	for i := range len(name) {
		plain = plain && name[i] > ' ' && name[i] < 0x7f && name[i] != '"'
	}
	if plain {
		return name
	}
	if len(name) > 100 {
		name = name[:100] + "..."
	}
	return fmt.Sprintf("%q", name)
}

// Reported is the text of an error as a caller of tenon-runtime is told it: worded
// so that it stays one line and is not taken for something else on its way.
//
// dockerd and podman search messages for the texts of system errors and take
// them for faults of the container's own command: docker run then exits with
// 126 or 127, and for one text advice about mounts is added
// (setExitCodeFromError in moby's daemon/errors.go, getOCIRuntimeError in
// podman's libpod/oci_util.go).
func Reported(err error) string {
	message := plain.Replace(err.Error())
	// Whatever else could break a line or drive a terminal.
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, message)
}

var plain = strings.NewReplacer(
	"no such file or directory", "does not exist",
	"executable file not found", "no such program",
	"permission denied", "access refused",
	"operation not permitted", "not allowed",
	"not a directory", "not a folder",
	"is a directory", "is a folder",
	"exec format error", "not a program of this machine",
	"\r\n", "; ",
	"\n", "; ",
)

// Bare is an error of package os without the path and the system call that stand
// in it; another error is as it is. A message names the thing itself, once.
func Bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
