// SPDX-License-Identifier: Apache-2.0

package host

import "encoding/binary"

// How settings and replies are written: numbers as little-endian uint32, or int64
// where they are fields, a text as its length and its bytes, a list as its length
// and its items.

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// fields are those of a value, by type. They are written and read in this order.
type fields struct {
	lists   []*[]string
	texts   []*string
	numbers []*int
	flags   []*bool
}

func (f fields) append(b []byte) []byte {
	for _, list := range f.lists {
		b = appendTexts(b, *list)
	}
	for _, text := range f.texts {
		b = appendText(b, *text)
	}
	for _, n := range f.numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(*n))
	}
	for _, flag := range f.flags {
		b = append(b, 0)
		if *flag {
			b[len(b)-1] = 1
		}
	}
	return b
}

// fieldReader takes values off left, and texts are parts of it. Once something is
// missing, all that follows is empty and short is true.
type fieldReader struct {
	left  string
	short bool
}

func (d *fieldReader) take(n int) string {
	if n < 0 || n > len(d.left) {
		d.left, d.short = "", true
		return ""
	}
	s := d.left[:n]
	d.left = d.left[n:]
	return s
}

func (d *fieldReader) u32() uint32 {
	if s := d.take(4); s != "" {
		return binary.LittleEndian.Uint32([]byte(s))
	}
	return 0
}

// count reads how many items follow, of at least size bytes each.
func (d *fieldReader) count(size int) int {
	n := int64(d.u32())
	if n*int64(size) > int64(len(d.left)) {
		d.left, d.short = "", true
		return 0
	}
	return int(n)
}

func (d *fieldReader) text() string { return d.take(int(d.u32())) }

// texts reads a list; nil where it has no items.
func (d *fieldReader) texts() []string {
	n := d.count(4)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.text()
	}
	return list
}

func (d *fieldReader) fields(f fields) {
	for _, list := range f.lists {
		*list = d.texts()
	}
	for _, text := range f.texts {
		*text = d.text()
	}
	for _, n := range f.numbers {
		low := d.u32()
		*n = int(int64(d.u32())<<32 | int64(low))
	}
	for _, flag := range f.flags {
		*flag = d.take(1) == "\x01"
	}
}
