// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package main

import (
	"slices"
	"strings"
)

//go:wasmexport tenon_discover
func discover() int32 {
	n, which := answer(opConfig, 0, "case")
	switch {
	case n == notFound || which == "all":
	case n < 0:
		emit(emitReason, "config key \"case\": got "+itoa(n)+"; the kit cannot run")
		return 1
	case which == "list":
		var all []string
		for c := range singles {
			all = append(all, c)
		}
		slices.Sort(all)
		emit(emitExplain, strings.Join(all, " "))
		return 0
	case singles[which] == nil:
		emit(emitReason, "config key \"case\": is no case of the kit; README.md lists them")
		return 1
	default:
		return singles[which]()
	}
	lifecycle()
	request()
	requests()
	arguments()
	files()
	names()
	emits()
	wasi()
	return finish()
}
