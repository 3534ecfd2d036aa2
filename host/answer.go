// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
)

// What tenon-engine writes to its standard output, and tenon-runtime reads: one
// byte, and then the error in words; or the build that the programs come from, which
// is one, and the settings or the answers of modes.
const (
	replyError    = 'E'
	replySettings = 'S'
	replyAnswers  = 'A'
)

// Answer is what the module of one mode emitted.
type Answer struct {
	Mode string
	TraceLeaf
}

// errReply is told where tenon-engine does not keep to the format, or is of another
// build: the same bytes may mean something else to it.
var errReply = errors.New("tenon-engine: is of another build than tenon-runtime; install tenon anew, all programs from one package")

// EncodeError writes an error as a reply.
func EncodeError(err error) []byte { return append([]byte{replyError}, err.Error()...) }

// EncodeSettings writes settings as a reply.
func EncodeSettings(s Settings) []byte { return append(replyHead(replySettings), s.encode()...) }

// EncodeAnswers writes the answers of modes as a reply.
func EncodeAnswers(list []Answer) []byte {
	b := binary.LittleEndian.AppendUint32(replyHead(replyAnswers), uint32(len(list)))
	for _, a := range list {
		b = appendText(b, a.Mode)
		b = binary.LittleEndian.AppendUint32(b, a.Result)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(a.Documents)))
		for _, document := range a.Documents {
			b = appendText(b, string(document))
		}
		b = appendTexts(b, a.Explain)
	}
	return b
}

func replyHead(kind byte) []byte { return appendText([]byte{kind}, BuildID()) }

// DecodeSettings reads a reply that holds settings. The error is the one in the
// reply, or tells that it is none.
func DecodeSettings(reply []byte) (Settings, error) {
	content, err := replyOf(reply, replySettings)
	if err != nil {
		return Settings{}, err
	}
	s, _, err := decodeSettings(content)
	if err != nil {
		return Settings{}, errReply
	}
	return s, nil
}

// DecodeAnswers reads a reply that holds answers, as DecodeSettings does.
func DecodeAnswers(reply []byte) ([]Answer, error) {
	content, err := replyOf(reply, replyAnswers)
	if err != nil {
		return nil, err
	}
	d := fieldReader{left: content}
	list := make([]Answer, d.count(16))
	for i := range list {
		a := &list[i]
		a.Mode = d.text()
		a.Result = d.u32()
		a.Documents = make([][]byte, d.count(4))
		for j := range a.Documents {
			a.Documents[j] = []byte(d.text())
		}
		a.Explain = d.texts()
	}
	if d.short || len(d.left) > 0 {
		return nil, errReply
	}
	return list, nil
}

// replyOf returns the content of a reply of one kind.
func replyOf(reply []byte, kind byte) (string, error) {
	switch {
	case len(reply) > 1 && reply[0] == replyError:
		return "", errors.New(OneLine(string(reply[1:])))
	case len(reply) == 0 || reply[0] != kind:
		return "", errReply
	}
	d := fieldReader{left: string(reply[1:])}
	if build := d.text(); d.short || build != BuildID() {
		return "", errReply
	}
	return d.left, nil
}
