// SPDX-License-Identifier: Apache-2.0

// Exec is the floor of a pass-through: a Go program that becomes another program
// and does nothing else.
//
//	exec PROGRAM [ARG …]
package main

import (
	"os"
	"syscall"
)

func main() {
	if len(os.Args) < 2 || syscall.Exec(os.Args[1], os.Args[1:], os.Environ()) != nil {
		os.Exit(1)
	}
}
