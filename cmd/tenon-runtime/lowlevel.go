// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"syscall"

	"github.com/tenon-runtime/tenon/host"
)

// become replaces this process by the low-level runtime, with the arguments and
// the environment that we were called with. It returns only to say why it could
// not.
func become(candidates, args, env []string, path string) error {
	runtime, err := host.LowLevelRuntime(candidates, path, "/proc/self/exe")
	if err != nil {
		return err
	}
	err = syscall.Exec(runtime, append([]string{runtime}, args...), env)
	return fmt.Errorf("%s: %w", runtime, err)
}
