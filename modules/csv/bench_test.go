// SPDX-License-Identifier: Apache-2.0

//go:build !wasm

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/sdk"
)

// BenchmarkDiscover is what the mode itself takes, with the machine's part left
// out as far as a recorded machine does: the same folder answers over and over.
func BenchmarkDiscover(b *testing.B) {
	for _, libraries := range []int{200, 5000} {
		b.Run(fmt.Sprint(libraries), func(b *testing.B) {
			files := map[string]string{}
			var list strings.Builder
			for i := range libraries {
				p := fmt.Sprintf("/usr/lib/aarch64-linux-gnu/tegra/libbench%d.so.1.%d", i, i)
				files["root"+p] = ""
				fmt.Fprintf(&list, "lib, %s\n", p)
			}
			files["root"+defaultFolder+"/l4t.csv"] = list.String()
			m := made(b, files)
			b.ReportAllocs()
			for b.Loop() {
				edits, err := discover(m.Context(sdk.Request{Env: []string{"NVIDIA_VISIBLE_DEVICES=all"}}))
				if err != nil || len(edits.ContainerEdits.Mounts) != libraries {
					b.Fatal(err)
				}
				edits.JSON()
			}
		})
	}
}
