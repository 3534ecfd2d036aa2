// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package main

import "strings"

// singles are the cases that need a run of their own, by the value of the config
// key "case". README.md says what must come of each. One that returns where the
// host had to end the run returns 0, which is not what must come.
var singles = map[string]func() int32{
	// A range outside the memory traps: M-9, H-7.
	"key-outside":    func() int32 { hostQuery(opEnv, 0, memorySize()-4, 8, 0, 0); return 0 },
	"key-past-end":   func() int32 { hostQuery(opEnv, 0, memorySize(), 1, 0, 0); return 0 },
	"key-wraps":      func() int32 { hostQuery(opEnv, 0, 1<<32-8, 16, 0, 0); return 0 },
	"key-huge":       func() int32 { hostQuery(opEnv, 0, 8, 1<<32-8, 0, 0); return 0 },
	"key-negative":   func() int32 { hostQuery(opEnv, 0, 0, 1<<32-1, 0, 0); return 0 },
	"key-unknown-op": func() int32 { hostQuery(99, 0, memorySize(), 8, 0, 0); return 0 },
	"buffer-outside": func() int32 { return buffer("KIT_VALUE", memorySize()-2, 3) },
	"buffer-unused":  func() int32 { return buffer("KIT_VALUE", memorySize()-64, 65) },
	"buffer-error":   func() int32 { return buffer("KIT_NOT_THERE", memorySize(), 1) },
	"buffer-wraps":   func() int32 { return buffer("KIT_VALUE", 1<<32-2, 1<<32-1) },
	"buffer-huge":    func() int32 { return buffer("KIT_VALUE", 8, 1<<32-1) },
	"emit-outside":   func() int32 { hostEmit(emitExplain, memorySize()-1, 2); return 0 },
	"emit-wraps":     func() int32 { hostEmit(emitEdits, 1<<32-2, 4); return 0 },
	"emit-unknown":   func() int32 { hostEmit(77, memorySize(), 1); return 0 },
	"log-outside":    func() int32 { hostLog(1, memorySize()-1, 2); return 0 },
	"log-wraps":      func() int32 { hostLog(1, 1<<32-2, 4); return 0 },

	// Results: M-11, M-12, H-51 to H-53.
	"result-0": func() int32 { return 0 },
	"result-1": func() int32 {
		emit(emitReason, "the first")
		emit(emitReason, "/kit/file: is\x1b[1m\nasked for")
		return 1
	},
	"result-1-no-reason": func() int32 { return 1 },
	"result-1-edits":     func() int32 { emit(emitEdits, kitEdits); emit(emitReason, "/kit/file: is asked for"); return 1 },
	"result-2":           func() int32 { emit(emitExplain, "kit: not mine"); return 2 },
	"result-2-edits":     func() int32 { emit(emitEdits, kitEdits); return 2 },
	"result-3":           func() int32 { return 3 },
	"result-negative":    func() int32 { return -1 },
	"exit-0":             func() int32 { procExit(0); return 0 },
	"exit-1":             func() int32 { procExit(1); return 0 },
	"panic":              func() int32 { panic("kit: a panic") },
	"deadlock":           func() int32 { select {} },
	"stack":              func() int32 { return deep(0) },
	"endless": func() int32 {
		// Seldom enough a call that a host which can end a module only there
		// still does, and its process is not left with a thread that computes.
		for i := 0; ; i++ {
			if keyArea[i%len(keyArea)]++; i%(1<<20) == 0 {
				hostLog(0, 0, 0)
			}
		}
	},
	"memory": func() int32 {
		for {
			big = append(big, make([]byte, 16<<20)...)
		}
	},

	// Limits: H-14, H-18, H-20, H-72, H-74.
	"spent-queries":  spentQueries,
	"spent-bytes":    spentBytes,
	"asked-again":    askedAgain,
	"emit-documents": func() int32 { return repeat(64, 1, kitEdits) },
	"emit-bytes":     func() int32 { return repeat(0, 1, strings.Repeat(" ", 2<<20)) },
	"log-flood": func() int32 {
		for range 100 {
			log(1, strings.Repeat("k", 4000))
		}
		return 0
	},

	// Edits: H-56 to H-58, M-14, M-15.
	"edits":       func() int32 { emit(emitEdits, kitEdits); return 0 },
	"edits-empty": func() int32 { emit(emitEdits, `{"abi":1}`); return 0 },
	"edits-space": func() int32 { emit(emitEdits, " {\n\t\"abi\" : 1 } \r\n"); return 0 },
	"edits-two": func() int32 {
		emit(emitEdits, `{"abi":1,"containerEdits":{"env":["KIT_A=1"]}}`)
		emit(emitEdits, `{"abi":1,"containerEdits":{"env":["KIT_B=2"]}}`)
		return 0
	},
	"edits-clash": func() int32 {
		emit(emitEdits, `{"abi":1,"containerEdits":{"env":["KIT_A=1"]}}`)
		emit(emitEdits, `{"abi":1,"containerEdits":{"env":["KIT_A=2"]}}`)
		return 0
	},
	"edits-none":         document(``),
	"edits-text":         document(`kit`),
	"edits-array":        document(`[]`),
	"edits-null":         document(`null`),
	"edits-open":         document(`{"abi":1`),
	"edits-trailing":     document(`{"abi":1}{"abi":1}`),
	"edits-comma":        document(`{"abi":1,}`),
	"edits-not-utf8":     document("{\"abi\":1,\"containerEdits\":{\"env\":[\"A=\xff\"]}}"),
	"edits-no-abi":       document(`{}`),
	"edits-abi-2":        document(`{"abi":2}`),
	"edits-abi-text":     document(`{"abi":"1"}`),
	"edits-unknown":      document(`{"abi":1,"kit":1}`),
	"edits-unknown-deep": document(`{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/null","kit":1}]}}`),
	"edits-case":         document(`{"abi":1,"Symlinks":[]}`),
	"edits-twice":        document(`{"abi":1,"abi":1}`),
	"edits-twice-deep":   document(`{"abi":1,"envMode":{"A":"unset-only","A":"append:"}}`),
	"edits-type":         document(`{"abi":1,"symlinks":{}}`),
	"edits-deep":         document(`{"abi":1,"kit":` + strings.Repeat("[", 100000)),
	"edits-relative":     document(`{"abi":1,"containerEdits":{"deviceNodes":[{"path":"dev/null"}]}}`),
	"edits-dotdot":       document(`{"abi":1,"containerEdits":{"mounts":[{"hostPath":"/usr/../etc","containerPath":"/etc"}]}}`),
	"edits-env":          document(`{"abi":1,"containerEdits":{"env":["NOTHING"]}}`),
	"edits-hook":         document(`{"abi":1,"builtinHooks":[{"name":"kit"}]}`),
	"edits-permissions":  document(`{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/null","permissions":"x"}]}}`),
}

// kitEdits change something, and nothing that a machine must have.
const kitEdits = `{"abi":1,"containerEdits":{"env":["KIT_EDITED=1"]},"symlinks":[{"target":"file","link":"/kit/link"}]}`

func buffer(key string, ptr, capacity uint32) int32 {
	p, n := put(key)
	hostQuery(opEnv, 0, p, n, ptr, capacity)
	return 0
}

func document(doc string) func() int32 {
	return func() int32 { emit(emitEdits, doc); return 0 }
}

// deep uses up whatever stack there is.
func deep(n int32) int32 {
	var block [256]byte
	block[n&255] = byte(n)
	return deep(n+1) + int32(block[(n+1)&255])
}

// repeat emits a document often enough to go over a limit: good times it must
// be taken at most, and then have the error -4, and go on as if all were well.
func repeat(good, over int, doc string) int32 {
	for i := range good + over {
		got := emit(emitEdits, doc)
		check("H-17", got == 0 && i < good || got == tooLarge && i >= good, "emit number "+itoa(int64(i+1))+": got "+itoa(int64(got)))
	}
	return quiet()
}

// quiet is the end of a run that the host must fail whatever it returns: what
// was found wrong can only be logged.
func quiet() int32 {
	for _, f := range failures {
		log(3, "FAIL "+f)
	}
	return 0
}

// spentQueries asks for more than may be asked.
func spentQueries() int32 {
	asked := 1 // the case itself
	for ; asked < 1<<17; asked++ {
		if n, _ := ask(opEnv, 0, "KIT_"+itoa(int64(asked)), 0); n == spent {
			break
		}
	}
	check("H-72", asked == 32768, itoa(int64(asked))+" queries were answered, not 32768")
	code("H-13", opEnv, 0, "KIT_1", spent)
	code("H-13", opEnv, 0, "KIT_NEW", spent)
	code("H-13", opStat, rootHost, "/", spent)
	return quiet()
}

// spentBytes is answered more than it may be.
func spentBytes() int32 {
	total := int64(0)
	for i := range 32 {
		n, _ := ask(opRead, rootDriver, "/kit/mib"+itoa(int64(i)), 0)
		if n == spent {
			break
		}
		check("H-72", n == 1<<20, "read of 1 MiB: got "+itoa(n))
		total += n
	}
	check("H-72", total <= 8<<20+1<<20 && total >= 7<<20, itoa(total)+" bytes were answered, not about 8 MiB")
	code("H-13", opEnv, 0, "KIT_VALUE", spent)
	return quiet()
}

// askedAgain asks one thing more often than different ones may be asked.
func askedAgain() int32 {
	for range 5000 {
		if n, _ := ask(opEnv, 0, "KIT_VALUE", 8); n != 4 {
			check("H-14", false, "a query asked again: got "+itoa(n))
			break
		}
	}
	for range 20 {
		if n, _ := ask(opRead, rootDriver, "/kit/mib", 0); n != 1<<20 {
			check("H-14", false, "1 MiB read again: got "+itoa(n))
			break
		}
	}
	check("H-14", true, "")
	return finish()
}
