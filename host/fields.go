// SPDX-License-Identifier: Apache-2.0

package host

import "encoding/binary"

// How settings and replies are written: numbers as little-endian uint32, a text
// as its length and its bytes, a list as its length and its items.

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

// fieldReader takes values off left. Once something is missing, all that follows
// is empty and short is true.
type fieldReader struct {
	left  []byte
	short bool
}

func (d *fieldReader) take(n int) []byte {
	if n < 0 || n > len(d.left) {
		d.left, d.short = nil, true
		return nil
	}
	b := d.left[:n:n]
	d.left = d.left[n:]
	return b
}

func (d *fieldReader) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// count reads how many items follow, of at least size bytes each.
func (d *fieldReader) count(size int) int {
	n := int64(d.u32())
	if n*int64(size) > int64(len(d.left)) {
		d.left, d.short = nil, true
		return 0
	}
	return int(n)
}

func (d *fieldReader) text() string { return string(d.take(int(d.u32()))) }

func (d *fieldReader) texts() []string {
	list := make([]string, d.count(4))
	for i := range list {
		list[i] = d.text()
	}
	return list
}
