// SPDX-License-Identifier: Apache-2.0

package host

import (
	"log/slog"
	"sync"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/ldcache"
)

// Results of tenon_discover: "Results" of sdk/ABI.md.
const (
	ResultDone          = 0
	ResultFailed        = 1
	ResultNotApplicable = 2
)

// Result is what a mode discovered for one container.
type Result struct {
	// TraceLeaf is what the module emitted, its Explain lines on why its edits
	// are what they are among it.
	TraceLeaf
	// Edits are decoded, valid, and empty where the mode has nothing to change.
	// Device numbers in them are still the mode's word; see [Resolve].
	Edits discover.Edits
	// Applicable is false where the mode says that this machine or container is
	// not its own. Edits are empty then.
	Applicable bool
	// Recording is what the module asked; nil where it has not run.
	Recording *Recording
}

// Conclude makes a result of what a module emitted, now or when its trace was
// left. An error wraps [discover.ErrInvalidEdits]: the module is at fault.
func Conclude(mode string, leaf TraceLeaf) (Result, error) {
	r := Result{TraceLeaf: leaf, Edits: discover.Edits{ABI: discover.ABI}}
	if leaf.Result != ResultDone {
		return r, nil
	}
	r.Applicable = true
	var err error
	r.Edits, err = DecodeEdits(mode, leaf.Documents)
	return r, err
}

// NewRun opens the roots that a run of the module of a mode may look at, for the
// container that req describes. containerRoot is the absolute path of the
// container's root file system; it need not exist. The run is granted no more than
// the module's rights, and has its limits. Errors are the machine's, and one for a
// mode that is not installed.
func NewRun(c Config, mode string, req *discover.Request, containerRoot string, log *slog.Logger) (*Run, error) {
	module, err := c.module(mode)
	if err != nil {
		return nil, err
	}
	c.Limits = module.manifest.Limits.Within(c.Limits)
	return newRun(c, mode, &module.rights, req, containerRoot, log)
}

// newRun is NewRun with the rights of the run, whatever is installed.
func newRun(c Config, mode string, rights *Rights, req *discover.Request, containerRoot string, log *slog.Logger) (*Run, error) {
	r := &Run{config: c, mode: mode, request: req, rights: rights, log: log, memo: map[question]reply{}, pseudo: map[uint64]bool{}}
	folders := [rootCount]string{rootHost: "/", rootContainer: containerRoot, rootDriver: c.DriverRoot}
	for i, folder := range folders {
		root, err := openRoot(folder)
		if err != nil {
			r.Close()
			return nil, err
		}
		if i != rootContainer {
			root.hold()
		}
		r.roots[i] = root
		r.caches[i] = sync.OnceValue(func() *ldcache.Cache { return r.readCache(uint32(i)) })
	}
	return r, nil
}

// Close gives the roots back. The answers stay good.
func (r *Run) Close() {
	for _, root := range r.roots {
		if root != nil {
			root.close()
		}
	}
}

// Asked is how many different questions were asked.
func (r *Run) Asked() int { return r.questions }

// Spent says which limit ended the queries of the run; "" for none.
func (r *Run) Spent() string { return r.spent }

// DecodeEdits joins the edits documents of one mode in the order in which they
// were emitted. An error wraps [discover.ErrInvalidEdits]: the module is at fault.
func DecodeEdits(mode string, documents [][]byte) (discover.Edits, error) {
	var parts []discover.ModeEdits
	for _, document := range documents {
		edits, err := discover.DecodeEdits(document)
		if err != nil {
			return discover.Edits{}, err
		}
		if err := edits.Validate(); err != nil {
			return discover.Edits{}, err
		}
		parts = append(parts, discover.ModeEdits{Mode: mode, Edits: edits})
	}
	switch len(parts) {
	case 0:
		return discover.Edits{ABI: discover.ABI}, nil
	case 1:
		return parts[0].Edits, nil
	}
	edits, err := discover.Merge(parts)
	if err != nil {
		return discover.Edits{}, err
	}
	return edits, edits.Validate()
}
