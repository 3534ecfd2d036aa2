// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file is the grammar of RFC 8259 for values that nobody reads, and the
// lines that say where it is broken. It is as strict as encoding/json.

// peek returns the next byte, or 0 at the end of the document; 0 begins no
// token of JSON.
func (p *parser) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\n', '\t', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) skipValue() error {
	p.space()
	return p.skip()
}

// skip takes one value.
func (p *parser) skip() error {
	switch c := p.peek(); c {
	case '{':
		if err := p.enter(); err != nil {
			return err
		}
		if p.space(); p.peek() == '}' {
			return p.leave()
		}
		for {
			if p.space(); p.peek() != '"' {
				return p.unexpected("a key in quotes")
			}
			if _, err := p.text(); err != nil {
				return err
			}
			if p.space(); p.peek() != ':' {
				return p.unexpected("a colon")
			}
			p.pos++
			if err := p.skipValue(); err != nil {
				return err
			}
			switch p.space(); p.peek() {
			case ',':
				p.pos++
			case '}':
				return p.leave()
			default:
				return p.unexpected("a comma or the end of the object")
			}
		}
	case '[':
		if err := p.enter(); err != nil {
			return err
		}
		if p.space(); p.peek() == ']' {
			return p.leave()
		}
		for {
			if err := p.skipValue(); err != nil {
				return err
			}
			switch p.space(); p.peek() {
			case ',':
				p.pos++
			case ']':
				return p.leave()
			default:
				return p.unexpected("a comma or the end of the array")
			}
		}
	case '"':
		_, err := p.text()
		return err
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	default:
		return p.number()
	}
}

func (p *parser) word(w string) error {
	for i := range len(w) {
		if p.peek() != w[i] {
			return p.unexpected(strconv.Quote(w))
		}
		p.pos++
	}
	return nil
}

// number takes -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (p *parser) number() error {
	if p.peek() == '-' {
		p.pos++
	}
	switch c := p.peek(); {
	case c == '0':
		p.pos++
	case '1' <= c && c <= '9':
		p.digits()
	default:
		return p.unexpected("a value")
	}
	if p.peek() == '.' {
		p.pos++
		if !p.digits() {
			return p.unexpected("a digit")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			return p.unexpected("a digit")
		}
	}
	return nil
}

func (p *parser) digits() bool {
	from := p.pos
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.pos++
	}
	return p.pos > from
}

// text takes a string and reports whether it is ASCII without escapes.
func (p *parser) text() (plain bool, err error) {
	plain = true
	data, i := p.data, p.pos+1
	for i < len(data) {
		c := data[i]
		if c >= ' ' && c != '"' && c != '\\' {
			plain = plain && c < utf8.RuneSelf
			i++
			continue
		}
		p.pos = i
		if c == '"' {
			p.pos++
			return plain, nil
		}
		if c != '\\' {
			return false, p.unexpected("the end of a string, or an escape,")
		}
		if err := p.escape(); err != nil {
			return false, err
		}
		plain, i = false, p.pos
	}
	p.pos = i
	return false, p.unexpected("the end of a string")
}

// escape takes one escape, and in a strict document a whole surrogate pair.
func (p *parser) escape() error {
	p.pos++
	if p.peek() != 'u' {
		if !strings.ContainsRune(`"\/bfnrt`, rune(p.peek())) {
			return p.unexpected("an escape")
		}
		p.pos++
		return nil
	}
	at := p.pos - 1
	r, err := p.hex()
	if err != nil || !p.strict || r < 0xd800 || r > 0xdfff {
		return err
	}
	if r < 0xdc00 && p.peek() == '\\' && p.pos+1 < len(p.data) && p.data[p.pos+1] == 'u' {
		p.pos++
		low, err := p.hex()
		if err != nil || 0xdc00 <= low && low <= 0xdfff {
			return err
		}
	}
	return p.fail(at, "half a surrogate pair")
}

// hex takes the u and the four digits of an escape.
func (p *parser) hex() (rune, error) {
	p.pos++
	var r rune
	for range 4 {
		c := p.peek()
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, p.unexpected("a hexadecimal digit")
		}
		p.pos++
	}
	return r, nil
}

// fewKeys is up to how many keys of an object are compared one by one.
const fewKeys = 16

// twin returns the one of the keys before the last that encoding/json takes for
// the last, while there are few.
func twin(keys [][]byte) []byte {
	last := len(keys) - 1
	if last >= fewKeys {
		return nil
	}
	for _, k := range keys[:last] {
		if bytes.EqualFold(k, keys[last]) {
			return k
		}
	}
	return nil
}

// fold returns what is equal for two keys that encoding/json takes for one:
// foldName in encoding/json/fold.go.
func fold(key []byte) string {
	return string(bytes.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, key))
}

// line returns the number of the line that holds offset at. It is counted only
// when an error needs it.
func (p *parser) line(at int) int {
	return 1 + bytes.Count(p.data[:at], []byte{'\n'})
}

func (p *parser) fail(at int, what string) error {
	return fmt.Errorf("line %d: %s", p.line(at), what)
}

// unexpected says what stands where something else belongs.
func (p *parser) unexpected(want string) error {
	if p.pos >= len(p.data) {
		return p.fail(len(p.data), "it ends where "+want+" belongs")
	}
	r, _ := utf8.DecodeRune(p.data[p.pos:])
	return p.fail(p.pos, strconv.QuoteRune(r)+" where "+want+" belongs")
}

func (p *parser) twice(at int, name string, key []byte) error {
	if name == string(key) {
		return fmt.Errorf("%s stands twice, again on line %d", p.there(name), p.line(at))
	}
	return fmt.Errorf("%s stands twice, as %.100s on line %d", p.there(name), strconv.QuoteToASCII(string(key)), p.line(at))
}

// here is the path of the value that is being read, in quotes.
func (p *parser) here() string {
	var b strings.Builder
	for i, s := range p.path {
		switch {
		case s.index >= 0 && s.name == "":
			fmt.Fprintf(&b, "[%d]", s.index)
		case i == 0:
			b.WriteString(s.name)
		default:
			b.WriteString("." + s.name)
		}
	}
	return quote(b.String())
}

// there is the path of a member of that value.
func (p *parser) there(name string) string {
	p.path = append(p.path, step{name, -1})
	defer func() { p.path = p.path[:len(p.path)-1] }()
	return p.here()
}

// quote puts a name from outside into an error: one line, and not too long.
func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strconv.Quote(s)
}
