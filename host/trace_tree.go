// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// ErrNotDeterministic is wrapped where a module asked or emitted, after the same
// answers, what it did not before. The module is at fault.
var ErrNotDeterministic = errors.New("is not deterministic")

// traceTree holds the traces of one key as a decision tree: a node is a
// question, each of its edges an answer that it had once, and a leaf is what the
// module emitted then. A module that gets the same answers asks the same next,
// so a node has one question, and a walk asks no more than one run did. This is the
// form that grows; a lookup walks over the bytes of the file.
type traceTree struct {
	root   traceEnd
	leaves []*traceLeaf // first the one that was inserted first
}

// traceEnd is where an edge leads: one of the two, or nothing yet.
type traceEnd struct {
	node *traceNode
	leaf *traceLeaf
}

type traceNode struct {
	question
	up    *traceNode  // nil for the root
	edges []traceEdge // sorted by hash, at least one
}

type traceEdge struct {
	TraceAnswer
	traceEnd
}

type traceLeaf struct {
	TraceLeaf
	up *traceNode // nil where the module asks nothing
}

func (n *traceNode) find(h answerHash) (int, bool) {
	return slices.BinarySearchFunc(n.edges, h, func(e traceEdge, h answerHash) int { return bytes.Compare(e.hash[:], h[:]) })
}

// insert adds a run to the tree, and reports whether the tree did not have it.
// Where the run contradicts the tree, which stays as it was, the error wraps
// [ErrNotDeterministic]: a known place has another question or leaf.
func (t *traceTree) insert(steps []TraceStep, leaf TraceLeaf) (bool, error) {
	differ := func(then, now any) error {
		return fmt.Errorf("%w: after the same %d answers it once %v, and now %v", ErrNotDeterministic, len(steps), then, now)
	}
	end := &t.root
	var up *traceNode
	for i := range steps {
		s := &steps[i]
		asks := s.question()
		switch {
		case end.leaf != nil:
			steps = steps[:i]
			return false, differ("was done", "asks "+asks.String())
		case end.node == nil:
			end.node = &traceNode{question: asks, up: up}
		case end.node.question != asks:
			steps = steps[:i]
			return false, differ("asked "+end.node.String(), "asks "+asks.String())
		}
		up = end.node
		at, ok := up.find(s.hash)
		if !ok {
			up.edges = slices.Insert(up.edges, at, traceEdge{TraceAnswer: s.TraceAnswer})
		}
		end = &up.edges[at].traceEnd
	}
	switch {
	case end.node != nil:
		return false, differ("asked "+end.node.String(), "is done")
	case end.leaf == nil:
		end.leaf = &traceLeaf{TraceLeaf: leaf, up: up}
		t.leaves = append(t.leaves, end.leaf)
		return true, nil
	case !end.leaf.equal(leaf):
		return false, differ("emitted this", "emits that")
	}
	return false, nil
}

// evict takes away the leaf that was inserted first, and what led only to it.
// It returns how many bytes of records the file loses.
func (t *traceTree) evict() int {
	leaf := t.leaves[0]
	t.leaves = t.leaves[1:]
	freed := leaf.size()
	dead := traceEnd{leaf: leaf}
	for n := leaf.up; n != nil; n = n.up {
		freed += edgeSize
		n.edges = slices.DeleteFunc(n.edges, func(e traceEdge) bool { return e.traceEnd == dead })
		if len(n.edges) > 0 {
			return freed
		}
		freed += nodeSize
		dead = traceEnd{node: n}
	}
	t.root = traceEnd{}
	return freed
}
