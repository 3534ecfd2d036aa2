// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// containerd's config.toml belongs to somebody else: all that we write there is
// one import, and every other byte stays. go-toml says what the file means; the
// functions here only find places in a file of which that is known.
// Grammar: https://toml.io/en/v1.0.0.

// readTOML returns what data means, or says at which line it is not TOML.
func readTOML(data []byte) (map[string]any, error) {
	var v map[string]any
	err := toml.Unmarshal(bytes.TrimPrefix(data, utf8BOM), &v)
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, _ := decode.Position()
		return nil, placedError{row, fmt.Errorf("is not TOML: %s; correct it", strings.TrimPrefix(decode.Error(), "toml: "))}
	}
	return v, err
}

// table returns the table at this path of keys, or nil.
func table(v map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		v, _ = v[k].(map[string]any)
	}
	return v
}

// A statement is one key = value of the root table, as offsets into the file.
type statement struct {
	key      string
	line     int // of the first byte of its line
	from, to int // of the value
	end      int // behind the end of the line, or of the file
}

// rootStatements returns the statements before the first table header, and
// where they end.
func rootStatements(data []byte) []statement {
	var all []statement
	i := len(data) - len(bytes.TrimPrefix(data, utf8BOM))
	for {
		i = skipTOMLBlank(data, i)
		if i >= len(data) || data[i] == '[' {
			return all
		}
		s := statement{line: i}
		for s.line > 0 && strings.IndexByte(" \t", data[s.line-1]) >= 0 {
			s.line--
		}
		start := i
		for data[i] != '=' {
			if data[i] == '"' || data[i] == '\'' {
				i = skipTOMLString(data, i)
			} else {
				i++
			}
		}
		s.key = strings.TrimSpace(string(data[start:i]))
		if n := len(s.key); n > 1 && (s.key[0] == '"' || s.key[0] == '\'') && s.key[n-1] == s.key[0] {
			s.key = s.key[1 : n-1] // an escape in it makes it another key, which ours need not be written with
		}
		for i++; strings.IndexByte(" \t", data[i]) >= 0; i++ {
		}
		s.from = i
		s.to = skipTOMLValue(data, i)
		if i = bytes.IndexByte(data[s.to:], '\n'); i < 0 {
			i = len(data) - s.to - 1
		}
		i += s.to + 1
		s.end = i
		all = append(all, s)
	}
}

// skipTOMLBlank skips white space, line ends and comments.
func skipTOMLBlank(data []byte, i int) int {
	for i < len(data) {
		switch data[i] {
		case ' ', '\t', '\r', '\n':
			i++
		case '#':
			for i < len(data) && data[i] != '\n' {
				i++
			}
		default:
			return i
		}
	}
	return i
}

// skipTOMLString returns the offset behind the string that begins at i.
func skipTOMLString(data []byte, i int) int {
	quote := data[i]
	if bytes.HasPrefix(data[i:], bytes.Repeat([]byte{quote}, 3)) {
		for i += 3; ; i++ {
			if data[i] == '\\' && quote == '"' {
				i++
			} else if bytes.HasPrefix(data[i:], bytes.Repeat([]byte{quote}, 3)) {
				i += 3
				for n := 0; n < 2 && i < len(data) && data[i] == quote; n++ { // up to two more belong to the text
					i++
				}
				return i
			}
		}
	}
	for i++; data[i] != quote; i++ {
		if data[i] == '\\' && quote == '"' {
			i++
		}
	}
	return i + 1
}

// skipTOMLValue returns the offset behind the value that begins at i.
func skipTOMLValue(data []byte, i int) int {
	switch data[i] {
	case '"', '\'':
		return skipTOMLString(data, i)
	case '[', '{':
		depth := 0
		for {
			switch data[i] {
			case '"', '\'':
				i = skipTOMLString(data, i)
				continue
			case '#':
				i = skipTOMLBlank(data, i)
				continue
			case '[', '{':
				depth++
			case ']', '}':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	end := i
	for i < len(data) && strings.IndexByte("\r\n#,]}", data[i]) < 0 {
		if i++; data[i-1] != ' ' && data[i-1] != '\t' {
			end = i
		}
	}
	return end
}

// An array is the place of an array: of each element, and of the last comma.
type array struct {
	open, end int
	elements  [][2]int
	comma     int // offset of a comma behind the last element, or -1
}

func scanArray(data []byte, open int) array {
	a := array{open: open, comma: -1}
	i := skipTOMLBlank(data, open+1)
	for data[i] != ']' {
		to := skipTOMLValue(data, i)
		a.elements = append(a.elements, [2]int{i, to})
		a.comma = -1
		if i = skipTOMLBlank(data, to); data[i] == ',' {
			a.comma = i
			i = skipTOMLBlank(data, i+1)
		}
	}
	a.end = i + 1
	return a
}

// stringOf returns the string that is written at these offsets, or "".
func stringOf(data []byte, at [2]int) string {
	var v struct{ S any }
	if toml.Unmarshal([]byte("S = "+string(data[at[0]:at[1]])), &v) != nil {
		return ""
	}
	s, _ := v.S.(string)
	return s
}

// addImport adds path, a string that needs no escapes, to the root key imports
// of data, behind what is there: the file that is read last wins. Without that
// key, a line is added below that of version, which must be there.
func addImport(data []byte, path string) []byte {
	quoted := `"` + path + `"`
	statements := rootStatements(data)
	for _, s := range statements {
		if s.key == "imports" {
			return addElement(data, scanArray(data, s.from), quoted)
		}
	}
	for _, s := range statements {
		if s.key == "version" {
			nl := newlineOf(data)
			line := string(data[s.line:s.from])
			line = line[:len(line)-len(strings.TrimLeft(line, " \t"))] + "imports = [" + quoted + "]"
			if data[s.end-1] != '\n' {
				return splice(data, s.end, s.end, nl+line)
			}
			return splice(data, s.end, s.end, line+nl)
		}
	}
	return data
}

func addElement(data []byte, a array, quoted string) []byte {
	n := len(a.elements)
	if n == 0 {
		return splice(data, a.open+1, a.open+1, quoted)
	}
	last := a.elements[n-1]
	space := string(trailingSpace(data[:last[0]]))
	// What stands behind the last element, up to the end of its line, is said
	// about that element: the new one goes below.
	behind := max(last[1], a.comma+1)
	if strings.Contains(space, "\n") {
		if to := bytes.IndexByte(data[behind:a.end], '\n'); to > 0 {
			to += behind
			if data[to-1] == '\r' {
				to--
			}
			behind = max(behind, to)
		}
	} else if n == 1 {
		space = " "
	}
	if a.comma >= 0 {
		return splice(data, behind, behind, space+quoted+",")
	}
	return splice(splice(data, behind, behind, space+quoted), last[1], last[1], ",")
}

// dropImport takes path out of the root key imports again, and the key too
// where nothing is left in it and keep is not set.
func dropImport(data []byte, path string, keep bool) []byte {
	for _, s := range rootStatements(data) {
		if s.key != "imports" || data[s.from] != '[' {
			continue
		}
		a := scanArray(data, s.from)
		for i, at := range a.elements {
			if stringOf(data, at) != path {
				continue
			}
			if len(a.elements) == 1 && !keep {
				if s.end == len(data) && data[s.end-1] != '\n' {
					s.line = len(bytes.TrimSuffix(bytes.TrimSuffix(data[:s.line], []byte("\n")), []byte("\r")))
				}
				return splice(data, s.line, s.end, "")
			}
			return dropElement(data, a, i)
		}
	}
	return data
}

func dropElement(data []byte, a array, i int) []byte {
	from, to := a.elements[i][0], a.elements[i][1]
	last := i == len(a.elements)-1
	if !last || a.comma >= 0 { // with the comma behind it
		to = skipTOMLBlank(data, to) + 1
	}
	if i > 0 || strings.Contains(string(trailingSpace(data[:from])), "\n") {
		from -= len(trailingSpace(data[:from]))
	}
	data = splice(data, from, to, "")
	if last && a.comma < 0 && i > 0 { // and the one before it
		at := skipTOMLBlank(data, a.elements[i-1][1])
		data = splice(data, at, at+1, "")
	}
	return data
}
