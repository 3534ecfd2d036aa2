// SPDX-License-Identifier: Apache-2.0

package discover

// Programs are the programs that hooks start, and how.
type Programs struct {
	TenonHook         string // absolute path of tenon-hook
	NVIDIAHook        string // absolute path of nvidia-container-runtime-hook; "" where the administrator named none
	NVIDIAHookTimeout int    // seconds; more than 0 where NVIDIAHook is set
	HookTimeout       int    // seconds; more than 0
	LdCacheRequired   bool   // a container whose ld.so.cache cannot be written does not start
}

// Lower turns what e declares (symlinks, folders of libraries, built-in hooks)
// into hooks of containerEdits.
func Lower(e Edits, p Programs) (Edits, error) { return e, nil }
