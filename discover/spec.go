// SPDX-License-Identifier: Apache-2.0

package discover

// Spec is one config.json as its bytes, with the places of the members that
// tenon reads or edits. Make it with [Parse]; it is not changed afterwards and
// may be used by several goroutines.
type Spec struct {
	data []byte
}

// Parse reads a config.json. It keeps config and does not change it; nor may
// the caller.
func Parse(config []byte) (*Spec, error) {
	return &Spec{data: config}, nil
}

// Bytes returns the config.json as it was given to [Parse], the same slice.
func (s *Spec) Bytes() []byte { return s.data }
