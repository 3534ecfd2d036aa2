// SPDX-License-Identifier: Apache-2.0

// Mode legacy adds NVIDIA's own prestart hook, nvidia-container-runtime-hook, to
// a container, and leaves all else to it. It is what NVIDIA's runtime calls its
// legacy mode: where the hook is installed every container gets it, because
// the hook itself decides who gets devices; a container that has it already
// keeps the one it has.
//
// Start with discover. The program that runs is named by the administrator's
// config, never here: the mode only asks the host for its own built-in hook.
package main

import "github.com/tenon-runtime/tenon/sdk"

func init() { sdk.Register(discover) }
func main() {}
