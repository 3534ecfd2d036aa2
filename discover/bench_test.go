// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tenon-runtime/tenon/discover"
)

// benchConfig is a config.json of about 20 KB, most of it seccomp rules, as
// dockerd writes it.
func benchConfig() []byte {
	var calls []string
	for i := range 400 {
		calls = append(calls, fmt.Sprintf("system_call_number_%d", i))
	}
	seccomp, _ := json.Marshal(map[string]any{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []any{map[string]any{"names": calls, "action": "SCMP_ACT_ALLOW"}}})
	var env, mounts []string
	for i := range 30 {
		env = append(env, fmt.Sprintf(`"SOME_VARIABLE_%d=/usr/local/some/value/%d"`, i, i))
		mounts = append(mounts, fmt.Sprintf(`{"destination":"/mnt/some/place/%d","type":"bind","source":"/var/lib/some/place/%d","options":["rbind","rprivate","ro"]}`, i, i))
	}
	config := strings.Replace(plain, `"TERM=xterm"`, strings.Join(env, ","), 1)
	config = strings.Replace(config, `"mounts":[`, `"mounts":[`+strings.Join(mounts, ",")+",", 1)
	config = strings.Replace(config, "18446744073709551615", "1073741824", 1) // which runc could not read
	return []byte(strings.Replace(config, `"maskedPaths"`, `"seccomp":`+string(seccomp)+`,"maskedPaths"`, 1))
}

// benchEdits are those of a server with eight GPUs, and so many libraries: some
// 200 of a driver, or thousands, where a list names those of a whole system.
func benchEdits(libraries int) []byte {
	var mounts, devices []string
	for i := range libraries {
		lib := fmt.Sprintf("/usr/lib/x86_64-linux-gnu/libsomething%d.so.550.1", i)
		mounts = append(mounts, fmt.Sprintf(`{"hostPath":%q,"containerPath":%q}`, lib, lib))
	}
	for i := range 20 {
		devices = append(devices, fmt.Sprintf(`{"path":"/dev/nvidia%d","type":"c","major":195,"minor":%d,"permissions":"rw"}`, i, i))
	}
	return []byte(`{"abi":1,"containerEdits":{"env":["NVIDIA_VISIBLE_DEVICES=void"],"mounts":[` + strings.Join(mounts, ",") + `],"deviceNodes":[` + strings.Join(devices, ",") + `]}}`)
}

func BenchmarkParse(b *testing.B) {
	config := benchConfig()
	b.SetBytes(int64(len(config)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := discover.Parse(config); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodingJSON is what the same file costs runc.
func BenchmarkEncodingJSON(b *testing.B) {
	config := benchConfig()
	b.SetBytes(int64(len(config)))
	b.ReportAllocs()
	for b.Loop() {
		var s specs.Spec
		if err := json.Unmarshal(config, &s); err != nil {
			b.Fatal(err)
		}
	}
}

// eachSize runs a benchmark for edits of two sizes: what the larger ones take more
// is to be no more than 25 times.
func eachSize(b *testing.B, run func(b *testing.B, doc []byte)) {
	for _, libraries := range []int{200, 5000} {
		b.Run(fmt.Sprint(libraries), func(b *testing.B) {
			b.ReportAllocs()
			run(b, benchEdits(libraries))
		})
	}
}

func BenchmarkDecodeEdits(b *testing.B) {
	eachSize(b, func(b *testing.B, doc []byte) {
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			if _, err := discover.DecodeEdits(doc); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	eachSize(b, func(b *testing.B, doc []byte) {
		e, err := discover.DecodeEdits(doc)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if err := e.Validate(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkApply is the way of one create, from the edits to the new file.
func BenchmarkApply(b *testing.B) {
	eachSize(b, func(b *testing.B, doc []byte) { benchApply(b, benchConfig(), doc) })
}

// BenchmarkApplyAgain is that of a create that is tried once more.
func BenchmarkApplyAgain(b *testing.B) {
	eachSize(b, func(b *testing.B, doc []byte) { benchApply(b, benchApply(nil, benchConfig(), doc), doc) })
}

// benchApply applies edits as often as b wants it, or once.
func benchApply(b *testing.B, config, doc []byte) (result []byte) {
	e, err := discover.DecodeEdits(doc)
	if err != nil {
		panic(err)
	}
	spec, err := discover.Parse(config)
	if err != nil {
		panic(err)
	}
	for done := false; !done || b != nil && b.Loop(); done = true {
		low, err := discover.Lower(e, programs)
		if err != nil {
			panic(err)
		}
		if result, err = discover.Apply(spec, low); err != nil {
			panic(err)
		}
	}
	return result
}
