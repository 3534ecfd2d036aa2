// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"strconv"
	"unicode/utf8"
)

// Unquote returns the string that a JSON answer of [Context.Spec] holds, or
// false if it holds something else.
func Unquote(doc []byte) (string, bool) {
	if len(doc) < 2 || doc[0] != '"' || doc[len(doc)-1] != '"' {
		return "", false
	}
	in := doc[1 : len(doc)-1]
	out := make([]byte, 0, len(in))
	for len(in) > 0 {
		if in[0] == '"' || in[0] < 0x20 {
			return "", false
		}
		if in[0] != '\\' {
			out, in = append(out, in[0]), in[1:]
			continue
		}
		if len(in) < 2 {
			return "", false
		}
		switch in[1] {
		case '"', '\\', '/':
			out = append(out, in[1])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, rest, ok := unescape(in)
			if !ok {
				return "", false
			}
			out, in = utf8.AppendRune(out, r), rest
			continue
		default:
			return "", false
		}
		in = in[2:]
	}
	return string(out), true
}

// unescape reads the \uXXXX, or the pair of them, that in begins with. Half a
// pair becomes U+FFFD, as encoding/json has it.
func unescape(in []byte) (rune, []byte, bool) {
	unit := func(b []byte) (rune, bool) {
		if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
		return rune(n), err == nil
	}
	r, ok := unit(in)
	if !ok {
		return 0, nil, false
	}
	in = in[6:]
	if r < 0xd800 || r > 0xdfff {
		return r, in, true
	}
	if low, ok := unit(in); ok && r < 0xdc00 && low >= 0xdc00 && low <= 0xdfff {
		return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00), in[6:], true
	}
	return utf8.RuneError, in, true
}
