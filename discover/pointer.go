// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pointer returns the value that an RFC 6901 pointer names, as JSON without
// space, the keys of objects sorted by their bytes, numbers and strings spelt as
// they are in config.json. "" is the whole document.
//
// Where the pointer names nothing the error is [ErrNotFound]. Any other error
// is about the pointer (not "" and without / at its start, or a ~ that is not
// ~0 or ~1), or about an object on the way or within the value whose key
// stands twice. Keys are told apart by case.
func (r *Request) Pointer(p string) ([]byte, error) {
	tokens, err := pointerTokens(p)
	if err != nil {
		return nil, fmt.Errorf("pointer %s: %w", quote(p), err)
	}
	w := walker{parser{data: r.spec.data, limit: maxDepth}}
	w.space()
	for _, token := range tokens {
		if err := w.step(token); err != nil {
			if errors.Is(err, ErrNotFound) {
				return nil, err
			}
			return nil, fmt.Errorf("pointer %s: %w", quote(p), err)
		}
	}
	out, err := w.compact(nil)
	if err != nil {
		return nil, fmt.Errorf("pointer %s: %w", quote(p), err)
	}
	return out, nil
}

func pointerTokens(p string) ([]string, error) {
	if p == "" {
		return nil, nil
	}
	if p[0] != '/' {
		return nil, errors.New("it does not start with /")
	}
	tokens := strings.Split(p[1:], "/")
	for i, t := range tokens {
		for rest := t; ; {
			_, after, ok := strings.Cut(rest, "~")
			if !ok {
				break
			}
			if after == "" || after[0] != '0' && after[0] != '1' {
				return nil, errors.New("a ~ in it is not followed by 0 or 1")
			}
			rest = after[1:]
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

// walker goes through a document that [Parse] has accepted, so that its grammar
// needs no second check.
type walker struct{ parser }

// step goes from a value to the one that the token names in it.
func (w *walker) step(token string) error {
	found := -1
	switch w.peek() {
	case '{':
		seen := make(map[string]bool)
		err := w.each(func(key string) error {
			if seen[key] {
				return fmt.Errorf("key %s stands twice in one object", quote(key))
			}
			seen[key] = true
			if key == token {
				found = w.pos
			}
			return w.skip()
		})
		if err != nil {
			return err
		}
	case '[':
		want, err := strconv.Atoi(token)
		if err != nil || strconv.Itoa(want) != token { // no sign, no zero in front
			return ErrNotFound
		}
		i := 0
		err = w.each(func(string) error {
			if i == want {
				found = w.pos
			}
			i++
			return w.skip()
		})
		if err != nil {
			return err
		}
	}
	if found < 0 {
		return ErrNotFound
	}
	w.pos = found
	return nil
}

// each calls f at the start of each value of an object or array; f takes it.
func (w *walker) each(f func(key string) error) error {
	object := w.peek() == '{'
	w.pos++
	for {
		w.space()
		switch w.peek() {
		case '}', ']':
			w.pos++
			return nil
		case ',':
			w.pos++
			w.space()
		}
		key := ""
		if object {
			at := w.pos
			plain, err := w.text()
			if err != nil {
				return err
			}
			key = unquote(w.data[at:w.pos], plain)
			w.space()
			w.pos++ // the colon
			w.space()
		}
		if err := f(key); err != nil {
			return err
		}
	}
}

// compact appends the value to out.
func (w *walker) compact(out []byte) ([]byte, error) {
	switch w.peek() {
	case '{':
		type member struct {
			key   string
			value []byte // with the key in front
		}
		var members []member
		err := w.each(func(key string) error {
			v := append(AppendString(nil, key), ':')
			v, err := w.compact(v)
			members = append(members, member{key, v})
			return err
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.key, b.key) })
		out = append(out, '{')
		for i, m := range members {
			if i > 0 {
				if m.key == members[i-1].key {
					return nil, fmt.Errorf("key %s stands twice in one object", quote(m.key))
				}
				out = append(out, ',')
			}
			out = append(out, m.value...)
		}
		return append(out, '}'), nil
	case '[':
		out = append(out, '[')
		first := true
		err := w.each(func(string) (err error) {
			if !first {
				out = append(out, ',')
			}
			first = false
			out, err = w.compact(out)
			return err
		})
		return append(out, ']'), err
	default:
		at := w.pos
		if err := w.skip(); err != nil {
			return nil, err
		}
		return append(out, w.data[at:w.pos]...), nil
	}
}
