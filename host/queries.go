// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tenon-runtime/tenon/discover"
	"github.com/tenon-runtime/tenon/ldcache"
)

// Codes that a host function answers with in place of a length: "Errors" of
// sdk/ABI.md. The first, second, third and sixth are ordinary answers.
const (
	CodeOK          = 0
	CodeNotFound    = -1
	CodeDenied      = -2
	CodeWrongType   = -3
	CodeTooLarge    = -4
	CodeInvalid     = -5
	CodeUnsupported = -6
	CodeIO          = -7
	CodeWrongState  = -8
	CodeSpent       = -9
)

// Query ops of ABI v1. 14 is reserved.
const (
	opEnv        = 1
	opAnnotation = 2
	opSpec       = 3
	opMounts     = 4
	opConfig     = 5
	opStat       = 6
	opReadDir    = 7
	opRead       = 8
	opReadLink   = 9
	opGlob       = 10
	opLdLookup   = 11
	opRealPath   = 12
	opFeature    = 13
	opWhich      = 15
	opRequest    = 16
)

// MaxKey is how many bytes the key of a query may have.
const MaxKey = 4096

// question is what a query asks. Two equal ones have the same answer all
// through a run.
type question struct {
	op, root uint32
	key      string
}

type reply struct {
	answer []byte
	code   int32
}

// run is one run of one module: what it may ask, and what it has asked.
type Run struct {
	config  Config
	mode    string
	request *discover.Request
	roots   [rootCount]*root
	rights  *Rights
	mounted mountTable
	log     *slog.Logger

	memo      map[question]reply
	last      seen                             // what was looked at last
	pseudo    map[uint64]bool                  // by device number: procfs and sysfs
	questions int                              // different questions
	answered  int                              // bytes of all answers
	caches    [rootCount]func() *ldcache.Cache // ld.so.cache of each root, read once
	spent     string                           // the limit that ended the run's queries
}

// queryOf is the query table: which roots an op takes, one bit each, and how it
// is answered. A root that it does not take is unsupported, as is an op that
// is not here, whose answer is nil.
func queryOf(op uint32) (roots uint, answer func(*Run, question) ([]byte, int32)) {
	switch op {
	case opEnv:
		return 1 << rootHost, (*Run).env
	case opAnnotation:
		return 1 << rootHost, (*Run).annotation
	case opSpec:
		return 1 << rootHost, (*Run).spec
	case opMounts:
		return 1 << rootHost, (*Run).mounts
	case opConfig:
		return 1 << rootHost, (*Run).configValue
	case opStat:
		return anyRoot, (*Run).statPath
	case opReadDir:
		return anyRoot, (*Run).readDir
	case opRead:
		return anyRoot, (*Run).readFile
	case opReadLink:
		return anyRoot, (*Run).readLink
	case opGlob:
		return anyRoot, (*Run).glob
	case opLdLookup:
		return 1<<rootHost | 1<<rootDriver, (*Run).ldLookup
	case opRealPath:
		return anyRoot, (*Run).realPath
	case opFeature:
		return 1 << rootHost, (*Run).feature
	case opWhich:
		return 1<<rootHost | 1<<rootDriver, (*Run).which
	case opRequest:
		return 1 << rootHost, (*Run).asked
	}
	return 0, nil
}

const anyRoot = 1<<rootHost | 1<<rootContainer | 1<<rootDriver

// Query answers one question. It and QueryOnce are all that stands between a
// module and the machine: grants, limits and the promise that an answer does not
// change during a run are kept here. The answer belongs to the run; nobody may
// change it.
func (r *Run) Query(op, root uint32, key string) ([]byte, int32) {
	q := question{op, root, key}
	if known, ok := r.memo[q]; ok && r.spent == "" {
		return known.answer, known.code
	}
	answer, code := r.QueryOnce(op, root, key)
	if r.spent == "" && validKey(key) {
		r.memo[q] = reply{answer, code}
	}
	return answer, code
}

func validKey(key string) bool {
	return len(key) <= MaxKey && utf8.ValidString(key) && strings.IndexByte(key, 0) < 0
}

// QueryOnce is Query for who asks no question twice: it forgets what it answered.
func (r *Run) QueryOnce(op, root uint32, key string) ([]byte, int32) {
	if r.spent != "" {
		return nil, CodeSpent
	}
	if !validKey(key) {
		return nil, CodeInvalid
	}
	q := question{op, root, key}
	if r.questions >= r.config.Limits.Queries {
		r.spent = fmt.Sprintf("asked more than the %d queries a run may ask", r.config.Limits.Queries)
		return nil, CodeSpent
	}
	r.questions++
	answer, code := r.ask(q)
	if len(answer) > r.config.Limits.AnswerBytes {
		code = CodeTooLarge
	}
	if code != CodeOK {
		answer = nil
	}
	if r.answered += len(answer); r.answered > r.config.Limits.AnswersBytes {
		r.spent = fmt.Sprintf("was answered more than the %d bytes a run may be", r.config.Limits.AnswersBytes)
		return nil, CodeSpent
	}
	return answer, code
}

func (r *Run) ask(q question) ([]byte, int32) {
	roots, answer := queryOf(q.op)
	if answer == nil || q.root >= rootCount || roots&(1<<q.root) == 0 {
		return nil, CodeUnsupported
	}
	if malformed(q) {
		return nil, CodeInvalid
	}
	if !r.grantedKey(q) {
		return nil, CodeDenied
	}
	return answer(r, q)
}

// malformed reports whether the key of a query that names no path of a root could
// never have an answer, which the module is told whatever it may ask.
func malformed(q question) bool {
	switch q.op {
	case opEnv:
		return q.key == "" || strings.Contains(q.key, "=")
	case opSpec: // RFC 6901, section 3
		return q.key != "" && q.key[0] != '/' || strings.Contains(tildes.Replace(q.key), "~")
	case opMounts:
		return !cleanAbs(q.key)
	case opConfig:
		return q.key == ""
	case opLdLookup:
		dot, star := strings.Index(q.key, ".so"), strings.IndexByte(q.key, '*')
		return dot < 1 || star >= 0 && star < dot || strings.Contains(q.key, "/")
	}
	return false
}

var tildes = strings.NewReplacer("~0", "", "~1", "")

func found(s string, ok bool) ([]byte, int32) {
	if !ok {
		return nil, CodeNotFound
	}
	return []byte(s), CodeOK
}

func (r *Run) env(q question) ([]byte, int32) {
	if r.config.hidesEnv(q.key, r.request) {
		return nil, CodeNotFound
	}
	return found(r.request.Env(q.key))
}

func (r *Run) annotation(q question) ([]byte, int32) {
	return found(r.request.Annotation(q.key))
}

func (r *Run) spec(q question) ([]byte, int32) {
	value, err := r.request.Pointer(q.key)
	switch {
	case errors.Is(err, discover.ErrNotFound):
		return nil, CodeNotFound
	case err != nil:
		return nil, CodeInvalid
	}
	return value, CodeOK
}

// mounts answers with four strings for each mount, each ended by NUL:
// destination, source, type, options joined by commas.
func (r *Run) mounts(q question) ([]byte, int32) {
	below := strings.TrimSuffix(q.key, "/") + "/"
	answer := []byte{}
	for _, m := range r.request.Mounts() {
		dest := path.Clean("/" + m.Destination)
		if dest != q.key && !strings.HasPrefix(dest, below) {
			continue
		}
		for _, s := range []string{m.Destination, m.Source, m.Type, strings.Join(m.Options, ",")} {
			if strings.IndexByte(s, 0) >= 0 {
				return nil, CodeIO // would break the frame; no runtime can mount it either
			}
			answer = append(append(answer, s...), 0)
		}
	}
	return answer, CodeOK
}

// configValue looks a dotted key up in the mode's own table. "strict" and
// "driver_root" are those of the whole config.
func (r *Run) configValue(q question) ([]byte, int32) {
	switch q.key {
	case "strict":
		return strconv.AppendBool(nil, r.config.Strict), CodeOK
	case "driver_root":
		return []byte(r.config.DriverRoot), CodeOK
	}
	answer, ok := r.config.ModeTables[r.mode][q.key]
	return found(answer, ok)
}

// editFeatures are the members of an edits document that a module may ask for
// by the feature query, as edit.NAME.
var editFeatures = []string{
	"env", "deviceNodes", "netDevices", "mounts", "additionalGids", "intelRdt",
	"remove", "envMode", "symlinks", "ldcache", "deviceRules", "builtinHooks", "annotations",
}

func (r *Run) feature(q question) ([]byte, int32) {
	kind, name, _ := strings.Cut(q.key, ".")
	has := false
	switch kind {
	case "op":
		n, err := strconv.ParseUint(name, 10, 8)
		_, answer := queryOf(uint32(n))
		has = err == nil && answer != nil && name == strconv.FormatUint(n, 10)
	case "edit":
		has = slices.Contains(editFeatures, name)
	}
	return found("1", has)
}
