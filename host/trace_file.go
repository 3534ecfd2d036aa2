// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// The file of one key, all numbers little-endian:
//
//	header   magic, u32 version, key, then three u32: texts, their bytes, leaves
//	texts    each u16 length and bytes: the keys of the questions
//	tree     the root, a record; a record is a node or a leaf
//	checksum the first 8 bytes of the SHA-256 of all before it
//
//	node     u8 1, u8 op, u8 root, u8 0, u32 text, u32 edges, then the edges
//	edge     16 bytes of hash, i32 code, u32 size, u32 length of the record that
//	         it leads to, then that record
//	leaf     u8 2, u8 result, u16 age, u32 documents, u32 lines, then each of
//	         them: u32 length and bytes. The leaf inserted first has age 0.
//
// A record lies in the one that leads to it, so nothing can point outside or in
// a circle, and a walk passes over what it does not need.
const (
	traceMagic   = "tenon\x00tr"
	traceVersion = 2

	headerSize = len(traceMagic) + 4 + len(TraceKey{}) + 3*4
	nodeSize   = 12
	edgeSize   = 16 + 4 + 4 + 4
	leafSize   = 12
	sumSize    = 8

	nodeTag = 1
	leafTag = 2
)

const (
	maxLeaves    = 256     // of one key
	maxTraceFile = 4 << 20 // bytes of the file of one key
)

// traceChecksum is the head of the SHA-256. That is used for the answers too;
// a cyclic redundancy check would need tables, which cost more to make than a file
// takes to hash.
func traceChecksum(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.LittleEndian.Uint64(sum[:])
}

// size is how many bytes of records the leaf takes in a file.
func (l TraceLeaf) size() int {
	n := leafSize
	for _, d := range l.Documents {
		n += 4 + len(d)
	}
	for _, s := range l.Explain {
		n += 4 + len(s)
	}
	return n
}

// traceSize is at least as large as the file with only this run in it.
func traceSize(steps []TraceStep, leaf TraceLeaf) int {
	n := headerSize + leaf.size() + sumSize
	for i := range steps {
		n += nodeSize + edgeSize + 2 + len(steps[i].Key)
	}
	return n
}

// encoder writes a tree in one pass; texts are known only after it.
type encoder struct {
	tree  []byte
	texts []byte
	index map[string]uint32
	ages  map[*traceLeaf]uint16
}

// encodeTraces writes the file of a key. The same tree makes the same bytes.
func encodeTraces(key TraceKey, t *traceTree) []byte {
	e := encoder{index: map[string]uint32{}, ages: map[*traceLeaf]uint16{}}
	for i, l := range t.leaves {
		e.ages[l] = uint16(i)
	}
	e.end(t.root)
	le := binary.LittleEndian
	b := make([]byte, 0, headerSize+len(e.texts)+len(e.tree)+sumSize)
	b = append(b, traceMagic...)
	b = le.AppendUint32(b, traceVersion)
	b = append(b, key[:]...)
	for _, n := range []int{len(e.index), len(e.texts), len(t.leaves)} {
		b = le.AppendUint32(b, uint32(n))
	}
	b = append(append(b, e.texts...), e.tree...)
	return le.AppendUint64(b, traceChecksum(b))
}

func (e *encoder) end(end traceEnd) {
	le := binary.LittleEndian
	if l := end.leaf; l != nil {
		e.tree = le.AppendUint16(append(e.tree, leafTag, byte(l.Result)), e.ages[l])
		e.tree = le.AppendUint32(e.tree, uint32(len(l.Documents)))
		e.tree = le.AppendUint32(e.tree, uint32(len(l.Explain)))
		for _, d := range l.Documents {
			e.tree = append(le.AppendUint32(e.tree, uint32(len(d))), d...)
		}
		for _, s := range l.Explain {
			e.tree = append(le.AppendUint32(e.tree, uint32(len(s))), s...)
		}
		return
	}
	n := end.node
	text, ok := e.index[n.key]
	if !ok {
		text = uint32(len(e.index))
		e.index[n.key] = text
		e.texts = append(le.AppendUint16(e.texts, uint16(len(n.key))), n.key...)
	}
	e.tree = append(e.tree, nodeTag, byte(n.op), byte(n.root), 0)
	e.tree = le.AppendUint32(le.AppendUint32(e.tree, text), uint32(len(n.edges)))
	for i := range n.edges {
		edge := &n.edges[i]
		e.tree = append(e.tree, edge.hash[:]...)
		e.tree = le.AppendUint32(le.AppendUint32(e.tree, uint32(edge.Code)), edge.Size)
		length := len(e.tree)
		e.tree = le.AppendUint32(e.tree, 0)
		e.end(edge.traceEnd)
		le.PutUint32(e.tree[length:], uint32(len(e.tree)-length-4))
	}
}

// traceView is a file of traces that has been read. It is decoded as far as it
// is looked at.
type traceView struct {
	texts  []string
	root   []byte // a record
	leaves int
}

// openTraces checks the whole of a file but its records. The view keeps data.
// Every error wraps errDamaged. Nothing is made that is larger than data allows.
func openTraces(key TraceKey, data []byte) (*traceView, error) {
	if len(data) < headerSize+sumSize || len(data) > maxTraceFile {
		return nil, fmt.Errorf("%w: it has %d bytes", errDamaged, len(data))
	}
	body, sum := data[:len(data)-sumSize], data[len(data)-sumSize:]
	if binary.LittleEndian.Uint64(sum) != traceChecksum(body) {
		return nil, fmt.Errorf("%w: the checksum is another", errDamaged)
	}
	d := decoder{left: body}
	if magic := d.bytes(uint32(len(traceMagic))); string(magic) != traceMagic {
		return nil, fmt.Errorf("%w: it is not a file of traces", errDamaged)
	}
	if version := d.u32(); version != traceVersion {
		return nil, fmt.Errorf("%w: version %d is not known", errDamaged, version)
	}
	if !bytes.Equal(d.bytes(uint32(len(key))), key[:]) {
		return nil, fmt.Errorf("%w: it is of another key", errDamaged)
	}
	texts, size, leaves := d.u32(), d.u32(), d.u32()
	keys := string(d.bytes(size)) // one string, and each key a part of it
	if d.short || uint64(texts)*2 > uint64(size) || leaves == 0 || leaves > maxLeaves {
		return nil, errRecords
	}
	v := &traceView{texts: make([]string, texts), root: d.left, leaves: int(leaves)}
	for i := range v.texts {
		if len(keys) < 2 {
			return nil, errRecords
		}
		end := 2 + int(keys[0]) + int(keys[1])<<8
		if end > len(keys) {
			return nil, errRecords
		}
		v.texts[i], keys = keys[2:end], keys[end:]
	}
	if keys != "" {
		return nil, errRecords
	}
	return v, nil
}

// errRecords is [errDamaged] with the reason. It is made by no initialiser, which
// would take fmt into every start of tenon-runtime.
const errRecords = damage("its records do not fit together")

type damage string

func (d damage) Error() string { return errDamaged.Error() + ": " + string(d) }
func (d damage) Unwrap() error { return errDamaged }

// decoder takes values off left. Once something is missing, all that follows is
// zero and short is true.
type decoder struct {
	left  []byte
	short bool
}

func (d *decoder) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(d.left)) {
		d.left, d.short = nil, true
		return nil
	}
	b := d.left[:n:n]
	d.left = d.left[n:]
	return b
}

func (d *decoder) u32() uint32 {
	if b := d.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// traceRecord is a node or a leaf. What lies behind its edges is not decoded.
type traceRecord struct {
	question             // of a node
	text     int         // the number of its key
	edges    []traceSpan // none where it is a leaf
	leaf     TraceLeaf
	age      int
}

type traceSpan struct {
	TraceAnswer
	record []byte
}

// record decodes one record. Its edges take the place of scratch, which may be nil.
func (v *traceView) record(b []byte, scratch []traceSpan) (traceRecord, error) {
	d := decoder{left: b}
	tag, first, second := d.bytes(4), d.u32(), d.u32()
	if d.short {
		return traceRecord{}, errRecords
	}
	var r traceRecord
	switch {
	case tag[0] == nodeTag && tag[3] == 0:
		if uint64(first) >= uint64(len(v.texts)) || second == 0 || uint64(second)*edgeSize > uint64(len(d.left)) {
			return traceRecord{}, errRecords
		}
		r.question, r.text = question{uint32(tag[1]), uint32(tag[2]), v.texts[first]}, int(first)
		edges := scratch[:0]
		for i := range int(second) {
			hash, code, size := answerHash{}, uint32(0), uint32(0)
			copy(hash[:], d.bytes(uint32(len(hash))))
			code, size = d.u32(), d.u32()
			edges = append(edges, traceSpan{TraceAnswer{int32(code), size, hash}, d.bytes(d.u32())})
			if i > 0 && bytes.Compare(edges[i-1].hash[:], hash[:]) >= 0 {
				return traceRecord{}, errRecords
			}
		}
		r.edges = edges
	case tag[0] == leafTag && (tag[1] == ResultDone || tag[1] == ResultNotApplicable):
		r.age = int(binary.LittleEndian.Uint16(tag[2:]))
		if r.age >= v.leaves || (uint64(first)+uint64(second))*4 > uint64(len(d.left)) {
			return traceRecord{}, errRecords
		}
		r.leaf.Result = uint32(tag[1])
		for range first {
			r.leaf.Documents = append(r.leaf.Documents, d.bytes(d.u32()))
		}
		for range second {
			r.leaf.Explain = append(r.leaf.Explain, string(d.bytes(d.u32())))
		}
	default:
		return traceRecord{}, errRecords
	}
	if d.short || len(d.left) > 0 {
		return traceRecord{}, errRecords
	}
	return r, nil
}

// tree decodes all records.
func (v *traceView) tree() (*traceTree, error) {
	t := &traceTree{leaves: make([]*traceLeaf, v.leaves)}
	asked := 0 // texts are numbered in the order in which they are first used
	var end func(b []byte, to *traceEnd, up *traceNode) error
	end = func(b []byte, to *traceEnd, up *traceNode) error {
		r, err := v.record(b, nil)
		if err != nil {
			return err
		}
		if r.edges == nil {
			if t.leaves[r.age] != nil {
				return errRecords
			}
			to.leaf = &traceLeaf{r.leaf, up}
			t.leaves[r.age] = to.leaf
			return nil
		}
		if r.text > asked {
			return errRecords
		}
		asked = max(asked, r.text+1)
		to.node = &traceNode{r.question, up, make([]traceEdge, len(r.edges))}
		for i, span := range r.edges {
			e := &to.node.edges[i]
			e.TraceAnswer = span.TraceAnswer
			if err := end(span.record, &e.traceEnd, to.node); err != nil {
				return err
			}
		}
		return nil
	}
	if err := end(v.root, &t.root, nil); err != nil {
		return nil, err
	}
	if asked != len(v.texts) || slices.Contains(t.leaves, nil) {
		return nil, errRecords
	}
	return t, nil
}

func decodeTraces(key TraceKey, data []byte) (*traceTree, error) {
	v, err := openTraces(key, data)
	if err != nil {
		return nil, err
	}
	return v.tree()
}
