// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
)

func merge(t *testing.T, a, b string) (discover.Edits, error) {
	t.Helper()
	return discover.Merge([]discover.ModeEdits{{Mode: "one", Edits: edits(t, a)}, {Mode: "two", Edits: edits(t, b)}})
}

func TestMergeKeepsOrderAndStandsOnce(t *testing.T) {
	e, err := merge(t,
		`{"abi":1,"containerEdits":{"env":["B=1","A=1","PATH=/1"],"mounts":[{"hostPath":"/a","containerPath":"/a"}],"additionalGids":[1,2]},"envMode":{"PATH":"append:"},"ldcache":{"dirs":["/b","/a"]},"symlinks":[{"target":"a","link":"/l"}],"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/p"}}]}`,
		`{"abi":1,"containerEdits":{"env":["A=1","C=1","PATH=/2","PATH=/1"],"mounts":[{"hostPath":"/a","containerPath":"/a"},{"hostPath":"/a","containerPath":"/b"}],"additionalGids":[2,3]},"envMode":{"PATH":"append:"},"ldcache":{"dirs":["/a","/c"]},"symlinks":[{"target":"a","link":"/l"}],"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/p"}}],"annotations":{"k":"v"}}`)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"abi":1,"containerEdits":{"env":["B=1","A=1","PATH=/1","C=1","PATH=/2"],"mounts":[{"hostPath":"/a","containerPath":"/a"},{"hostPath":"/a","containerPath":"/b"}],"additionalGids":[1,2,3]},"envMode":{"PATH":"append:"},"symlinks":[{"target":"a","link":"/l"}],"ldcache":{"dirs":["/b","/a","/c"]},"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/p"}}],"annotations":{"k":"v"}}`
	got, err := json.Marshal(e)
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}

func TestMergeTakesOptionsForWhatTheyMean(t *testing.T) {
	e, err := merge(t, `{"containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/a"}]}}`,
		`{"containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/a","options":["ro","nosuid","nodev","rbind","rprivate"]}]}}`)
	if err != nil || len(e.ContainerEdits.Mounts) != 1 {
		t.Errorf("%v; mounts: %v", err, e.ContainerEdits.Mounts)
	}
	_, err = merge(t, `{"containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/a"}]}}`,
		`{"containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/a","options":["rbind","ro"]}]}}`)
	if want := `path "/a": modes one and two set it differently; use one of them`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestMergeWithItself: edits merged with themselves are what they were.
func TestMergeWithItself(t *testing.T) {
	for _, doc := range editSeeds {
		if edits(t, doc).Validate() != nil {
			continue
		}
		once, err := merge(t, doc, `{"abi":1}`)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := merge(t, doc, doc)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(once)
		b, _ := json.Marshal(twice)
		if string(a) != string(b) {
			t.Errorf("got  %s\nwant %s", b, a)
		}
	}
}

func TestMergeNamesBothModes(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{`{"containerEdits":{"env":["A=1"]}}`, `{"containerEdits":{"env":["A=2"]}}`, `env "A"`},
		{`{"containerEdits":{"env":["A=1"]}}`, `{"containerEdits":{"env":["A=1"]},"envMode":{"A":"unset-only"}}`, `env "A"`},
		{`{"containerEdits":{"env":["A=1"]},"envMode":{"A":"append:"}}`, `{"containerEdits":{"env":["A=2"]},"envMode":{"A":"append,"}}`, `env "A"`},
		{`{"containerEdits":{"deviceNodes":[{"path":"/dev/x"}]}}`, `{"containerEdits":{"deviceNodes":[{"path":"/dev/x","uid":1}]}}`, `path "/dev/x"`},
		{`{"containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/x"}]}}`, `{"containerEdits":{"mounts":[{"hostPath":"/b","containerPath":"/x"}]}}`, `path "/x"`},
		{`{"containerEdits":{"mounts":[{"hostPath":"/a","containerPath":"/x"}]}}`, `{"symlinks":[{"target":"y","link":"/x"}]}`, `path "/x"`},
		{`{"symlinks":[{"target":"x","link":"/x"}]}`, `{"symlinks":[{"target":"y","link":"/x"}]}`, `path "/x"`},
		{`{"annotations":{"k":"1"}}`, `{"annotations":{"k":"2"}}`, `annotation "k"`},
		{`{"containerEdits":{"netDevices":[{"hostInterfaceName":"a","name":"x"}]}}`, `{"containerEdits":{"netDevices":[{"hostInterfaceName":"a","name":"y"}]}}`, `network device "a"`},
		{`{"containerEdits":{"netDevices":[{"hostInterfaceName":"a","name":"x"}]}}`, `{"containerEdits":{"netDevices":[{"hostInterfaceName":"b","name":"x"}]}}`, `network device named "x"`},
		{`{"containerEdits":{"intelRdt":{"closID":"a"}}}`, `{"containerEdits":{"intelRdt":{"closID":"b"}}}`, `edit "intelRdt"`},
		{`{"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/p"}}]}`, `{"builtinHooks":[{"name":"chmod","args":{"mode":"700","path":"/p"}}]}`, `hook "chmod /p"`},
	} {
		want := test.want + ": modes one and two set it differently; use one of them"
		if _, err := merge(t, test.a, test.b); err == nil || err.Error() != want || !errors.Is(err, discover.ErrInvalidEdits) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
