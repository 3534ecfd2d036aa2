// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"fmt"
)

// Check reads a cache back as every process of a container will, and reports
// the first thing in it that a loader could trip over: bounds, order, a
// glibc-hwcaps folder that is not in the list (glibc's loader would not return
// from one that is out of the file), a relative path, an entry that stands
// twice. What [Cache.Encode] made of a generated cache passes; an error is a
// bug of this package.
func Check(data []byte) error {
	if !hasPrefix(data, newMagic) {
		return fmt.Errorf("ld.so.cache: not of the new format")
	}
	c, err := Decode(data)
	if err != nil {
		return err
	}
	if data[28]&3 != littleEndian {
		return fmt.Errorf("ld.so.cache: no byte order in its header")
	}
	seen := make(map[Entry]bool, len(c.Entries))
	for i := range c.Entries {
		e := &c.Entries[i]
		switch {
		case !ValidKey(e.Key):
			return fmt.Errorf("ld.so.cache: entry %d: key %q", i, e.Key)
		case !validValue(e.Value):
			return fmt.Errorf("ld.so.cache: entry %d: path %q", i, e.Value)
		case e.Legacy != 0 || e.OSVersion != 0:
			return fmt.Errorf("ld.so.cache: entry %d: hwcap %#x, kernel %#x", i, e.Legacy, e.OSVersion)
		case e.ISALevel > 31:
			return fmt.Errorf("ld.so.cache: entry %d: ISA level %d", i, e.ISALevel)
		case i > 0 && Compare(&c.Entries[i-1], e) > 0:
			return fmt.Errorf("ld.so.cache: entry %d: %q out of order", i, e.Key)
		}
		same := *e
		same.ISALevel = 0
		if seen[same] {
			return fmt.Errorf("ld.so.cache: entry %d: %q stands twice", i, e.Key)
		}
		seen[same] = true
	}
	return nil
}
