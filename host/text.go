// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
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
