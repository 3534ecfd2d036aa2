// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-runtime/tenon/host"
)

// report tells whoever started the container why it was not created. It is the
// one door for errors: one line, and three ways to a reader.
//
//   - containerd, and dockerd through it, shows the msg of the last JSON object
//     in the --log file whose level is "error", in lower case
//     (getLastRuntimeError in containerd's
//     cmd/containerd-shim-runc-v2/process/utils.go);
//   - podman shows the msg of that file if the file is exactly one JSON object
//     (readConmonPipeData in podman's libpod/oci_conmon_common.go);
//   - CRI-O, and a person at a terminal, read standard error.
//
// So report is called at most once, and nothing else of tenon may write to
// either place: while a container is created, standard error is the
// container's own.
func report(stderr io.Writer, c call, err error) {
	line := "tenon: " + host.Reported(err)
	fmt.Fprintln(stderr, line)
	if c.log == "" {
		return
	}
	// The file is the caller's choice, as it is with runc. O_NONBLOCK: a pipe
	// that nobody reads must not keep the caller waiting.
	f, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
	if err != nil {
		return // standard error has it
	}
	defer f.Close()
	now := time.Now().UTC().Format(time.RFC3339)
	if !c.logJSON {
		fmt.Fprintf(f, "time=%q level=error msg=%q\n", now, line)
		return
	}
	_ = json.NewEncoder(f).Encode(struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Time  string `json:"time"`
	}{"error", line, now})
}
