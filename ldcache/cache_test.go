// SPDX-License-Identifier: Apache-2.0

package ldcache_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/ldcache"
)

// need says why a test cannot run here; where TENON_CI is set that is a
// failure, so that no check is lost without a word.
func need(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TENON_CI") != "" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

// The machine's own cache holds what ldconfig -p prints of it, in that order.
func TestDecodeAgreesWithLdconfig(t *testing.T) {
	data, err := os.ReadFile("/etc/ld.so.cache")
	if err != nil {
		need(t, "/etc/ld.so.cache")
	}
	out, err := exec.Command("/sbin/ldconfig", "-p").Output()
	if err != nil {
		need(t, "ldconfig")
	}
	c, err := ldcache.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " => "); ok {
			key, _, _ = strings.Cut(key, " ")
			want = append(want, key+" "+value)
		}
	}
	var got []string
	for _, e := range c.Entries {
		got = append(got, e.Key+" "+e.Value)
	}
	if len(got) == 0 || !slices.Equal(got, want) {
		t.Errorf("%d entries; ldconfig prints %d, or in another order", len(got), len(want))
	}
	if values := c.Lookup("libc.so.6"); len(values) == 0 || !strings.HasSuffix(values[0], "/libc.so.6") {
		t.Errorf("libc.so.6 is at %q", values)
	}
}

// oldCache makes an old-format cache; tail is put after its strings.
func oldCache(pairs ...string) []byte {
	data := []byte("ld.so-1.7.0\x00")
	data = binary.LittleEndian.AppendUint32(data, uint32(len(pairs)/2))
	var text []byte
	for i := 0; i < len(pairs); i += 2 {
		data = binary.LittleEndian.AppendUint32(data, 3)
		data = binary.LittleEndian.AppendUint32(data, uint32(len(text)))
		text = append(text, pairs[i]+"\x00"...)
		data = binary.LittleEndian.AppendUint32(data, uint32(len(text)))
		text = append(text, pairs[i+1]+"\x00"...)
	}
	return append(data, text...)
}

func TestDecodeOldFormat(t *testing.T) {
	c, err := ldcache.Decode(oldCache("libb.so.5", "/lib/libb.so.5", "liba.so.5", "/lib/liba.so.5"))
	if err != nil {
		t.Fatal(err)
	}
	want := []ldcache.Entry{{Key: "libb.so.5", Value: "/lib/libb.so.5", Flags: 3}, {Key: "liba.so.5", Value: "/lib/liba.so.5", Flags: 3}}
	if !slices.Equal(c.Entries, want) {
		t.Errorf("got %+v", c.Entries)
	}
}

func TestLookupMatchesOnlyAfterSo(t *testing.T) {
	native := ldcache.NativeFlags()[0]
	c := &ldcache.Cache{Entries: []ldcache.Entry{
		{Key: "libx.so.1", Value: "/lib/glibc-hwcaps/v3/libx.so.1", Flags: native, HWCaps: "v3"},
		{Key: "libx.so.1", Value: "/lib/libx.so.1", Flags: native},
		{Key: "libx.so.1", Value: "/other/libx.so.1", Flags: 0x7f03},
		{Key: "libx.so", Value: "/lib/libx.so", Flags: native},
		{Key: "libx.so.2.10", Value: "/lib/libx.so.1", Flags: native},
		{Key: "libxy.so.1", Value: "/lib/libxy.so.1", Flags: native},
	}}
	for pattern, want := range map[string]string{
		"libx.so.1":    "/lib/glibc-hwcaps/v3/libx.so.1 /lib/libx.so.1",
		"libx.so":      "/lib/libx.so",
		"libx.so*":     "/lib/glibc-hwcaps/v3/libx.so.1 /lib/libx.so.1 /lib/libx.so",
		"libx.so.*.*":  "/lib/libx.so.1",
		"libx.so.*10":  "/lib/libx.so.1",
		"libx*.so.1":   "",
		"lib*":         "",
		"*":            "",
		"":             "",
		"libx.so.1*1":  "",
		"libxy.so.1**": "/lib/libxy.so.1",
	} {
		if got := strings.Join(c.Lookup(pattern), " "); got != want {
			t.Errorf("%q: got %q, want %q", pattern, got, want)
		}
	}
}
