// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"slices"
)

// TraceWalk is what a lookup found, and all that it asked.
type TraceWalk struct {
	// Leaf is what the module would emit now; nil where that is not known.
	Leaf *TraceLeaf
	// Asked is how many questions were asked.
	Asked int
	// Steps are these questions, with their answers of now. Where there is no
	// leaf, the last one is the first whose answer is new. [Traces.Lookup] does not
	// keep them.
	Steps []TraceStep
	// Before are the answers that the last step had before, where it has none of
	// them now.
	Before []TraceAnswer
	// Miss says why there is no leaf. It wraps [io/fs.ErrNotExist] where
	// nothing is stored yet. It never fails a create.
	Miss error
}

// walk asks down the tree, as the module did, until it is at a leaf or an answer
// is new. keep is for who wants its steps.
//
// What it finds is what the module would emit if it ran now: the root has what
// the module asks first, and where it would get an answer that it got once, the
// node behind that edge has what it asks next.
func (v *traceView) walk(ask Ask, keep bool) TraceWalk {
	var w TraceWalk
	var h answerHasher
	var spans []traceSpan
	for at := v.root; ; {
		r, err := v.record(at, spans)
		if err != nil {
			w.Miss = err
			return w
		}
		if r.edges == nil {
			leaf := r.leaf // so that not every r is kept
			w.Leaf = &leaf
			return w
		}
		spans = r.edges
		answer, code := ask(r.op, r.root, r.key)
		now := h.answer(answer, code)
		w.Asked++
		if keep {
			w.Steps = append(w.Steps, TraceStep{r.op, r.root, r.key, now})
		}
		i := slices.IndexFunc(spans, func(s traceSpan) bool { return s.hash == now.hash })
		if i < 0 {
			for _, s := range spans {
				w.Before = append(w.Before, s.TraceAnswer)
			}
			w.Miss = fmt.Errorf("%s has an answer that it did not have before", r.question)
			return w
		}
		at = spans[i].record
	}
}
