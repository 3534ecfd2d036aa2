// SPDX-License-Identifier: Apache-2.0

// Package discover holds the words and the rules of tenon: what a container
// asks for, what a mode may answer, and how the answer is written into the
// bundle's config.json.
//
// The data goes one way: [Parse] reads config.json, [Spec.Request] says what
// the container asks for, [DecodeEdits] and [Edits.Validate] check what a mode
// answered, [Merge] joins the answers of several modes, [Lower] turns what is
// declared (symlinks, folders of libraries, built-in hooks) into hooks of the
// runtime-spec, and [Apply] writes the new config.json. Read the files in that
// order: spec.go, request.go, edits.go, validate.go, merge.go, hooks.go,
// apply.go. Below them lies json.go, a reader of JSON that keeps positions, so
// that whatever is not edited stays as it was, byte for byte.
//
// Nothing in this package looks at the machine: no file is opened, no clock
// and no environment is read. Paths of programs and numbers of devices come
// from the caller. What must be compared with the machine (does the device
// exist, who owns the folder) is not checked here.
//
// The formats: https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md
// and https://github.com/cncf-tags/container-device-interface/blob/v1.1.0/SPEC.md
package discover

import "errors"

// ErrInvalidEdits is wrapped by every error of [DecodeEdits], [Edits.Validate]
// and [Merge]: the mode is at fault, not the machine and not the container.
var ErrInvalidEdits = errors.New("invalid edits")

// ErrNotFound is returned by [Request.Pointer] where the pointer is well
// formed and names nothing.
var ErrNotFound = errors.New("no such value in config.json")
