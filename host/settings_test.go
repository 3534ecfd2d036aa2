// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// fill gives every field of a value one of its own, so that a field that is lost
// or mixed up with another one shows.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(int64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic("no rule for " + v.Type().String())
	}
}

func filled() (s Settings) {
	n := 0
	fill(reflect.ValueOf(&s).Elem(), &n)
	return s
}

func TestSettingsKeepEveryField(t *testing.T) {
	want := filled()
	got, witness, err := decodeSettings(string(want.encode()))
	if err != nil || witness != want.witness() {
		t.Fatalf("error %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	reply, err := DecodeSettings(EncodeSettings(want))
	if err != nil || !reflect.DeepEqual(reply, want) {
		t.Errorf("as a reply: error %v, %+v", err, reply)
	}
}

func TestPackedModulesKeepEveryField(t *testing.T) {
	var m Manifest
	var accepted Grants
	n := 0
	fill(reflect.ValueOf(&m).Elem(), &n)
	fill(reflect.ValueOf(&accepted).Elem(), &n)
	m.Text, m.GrantsText = "", "" // the texts stand beside it
	text := packed(m, accepted)
	i := Installed{Packed: text}
	if gotM, gotAccepted, ok := i.unpack(); !ok || !reflect.DeepEqual(gotM, m) || !reflect.DeepEqual(gotAccepted, accepted) {
		t.Errorf("%v\ngot  %+v %+v\nwant %+v %+v", ok, gotM, gotAccepted, m, accepted)
	}
	for cut := range len(text) {
		i.Packed = text[:cut]
		if _, _, ok := i.unpack(); ok {
			t.Fatalf("the first %d bytes of %d are taken for all", cut, len(text))
		}
	}
}

// What is packed is what the texts say: a module that is read from its texts and
// one from settings may do the same.
func TestPackedModulesSayWhatTheirTextsSay(t *testing.T) {
	for _, mode := range []string{"csv", "legacy"} {
		text, err := os.ReadFile("../modules/" + mode + "/manifest.json")
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseManifest(text)
		if err != nil {
			t.Fatal(err)
		}
		i := Installed{Name: mode, Manifest: m.Text, Accepted: m.GrantsText}
		want, wantAccepted, err := i.Read()
		if err != nil {
			t.Fatal(err)
		}
		want.Text, want.GrantsText = "", ""
		i.Packed = i.pack()
		if got, gotAccepted, ok := i.unpack(); !ok || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotAccepted, wantAccepted) {
			t.Errorf("%s: %v\ngot  %+v %+v\nwant %+v %+v", mode, ok, got, gotAccepted, want, wantAccepted)
		}
	}
}

// keptSettings keeps settings about a file of the test's own.
func keptSettings(t *testing.T) (state, source string, s Settings) {
	t.Helper()
	build = "test"
	t.Cleanup(func() { build = "" })
	dir := trustedDir(t)
	state, source = filepath.Join(dir, "state"), filepath.Join(dir, "etc", "config.toml")
	if err := os.Mkdir(filepath.Dir(source), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, source, "strict = true\n")
	s = Settings{Config: DefaultConfig(), Sources: []string{source, filepath.Join(dir, "etc", "none"), filepath.Dir(source)}}
	s.Config.Strict = true
	// As if the file had been there for an hour.
	if err := StoreSettings(state, "tenon-runtime", nil, s, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	return state, source, s
}

func TestSettingsHoldWhileNothingChanges(t *testing.T) {
	state, _, s := keptSettings(t)
	got, ok := LoadSettings(state, "tenon-runtime", []string{"PATH=/bin"})
	if !ok || !got.Config.Strict || !reflect.DeepEqual(got.Config.Runtimes, s.Config.Runtimes) {
		t.Fatalf("%v, %+v", ok, got)
	}
	for name, environ := range map[string][]string{
		"another name":       nil,
		"a variable of ours": {"TENON_MODE=csv"},
		"NVIDIA's file":      {"NVIDIA_CTK_CONFIG_FILE_PATH=/x"},
	} {
		program := "tenon-runtime"
		if environ == nil {
			program = "nvidia-container-runtime"
		}
		if _, ok := LoadSettings(state, program, environ); ok {
			t.Errorf("%s: the settings of another are used", name)
		}
	}
}

func TestSettingsEndWithAnyChange(t *testing.T) {
	for name, change := range map[string]func(source string) error{
		"written in place, with the same size and modification time": func(source string) error {
			st, err := os.Stat(source)
			if err != nil {
				return err
			}
			if err := os.WriteFile(source, []byte("strict=false\n\n"), 0o644); err != nil {
				return err
			}
			return os.Chtimes(source, st.ModTime(), st.ModTime())
		},
		"replaced": func(source string) error {
			if err := os.WriteFile(source+".new", []byte("strict = true\n"), 0o644); err != nil {
				return err
			}
			return os.Rename(source+".new", source)
		},
		"removed":                   os.Remove,
		"another mode":              func(source string) error { return os.Chmod(source, 0o666) },
		"a file that was not there": func(source string) error { return os.WriteFile(filepath.Dir(source)+"/none", nil, 0o644) },
		"a folder on the way that others may write to": func(source string) error {
			return os.Chmod(filepath.Dir(filepath.Dir(source)), 0o777)
		},
	} {
		t.Run(name, func(t *testing.T) {
			state, source, _ := keptSettings(t)
			if _, ok := LoadSettings(state, "tenon-runtime", nil); !ok {
				t.Fatal("they do not hold from the start")
			}
			if err := change(source); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "a folder on the way") {
				// The store is below it as well, and refuses first.
				defer os.Chmod(filepath.Dir(filepath.Dir(source)), 0o755)
			}
			if _, ok := LoadSettings(state, "tenon-runtime", nil); ok {
				t.Error("the old settings are used")
			}
		})
	}
}

func TestSettingsOfAMomentAgoAreNotKept(t *testing.T) {
	state, source, s := keptSettings(t)
	writeFile(t, source, "strict = false\n")
	if err := StoreSettings(state, "tenon-runtime", nil, s, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, ok := LoadSettings(state, "tenon-runtime", nil); ok {
		t.Error("a change in the same tick could not be told")
	}
	s.Problem = "config.toml:1: is broken"
	if err := StoreSettings(state, "tenon-runtime", nil, s, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok := LoadSettings(state, "tenon-runtime", nil); ok {
		t.Error("a problem is kept, which may be mended where no source shows it")
	}
}

func TestRepliesOfAnotherBuildAreTold(t *testing.T) {
	for name, reply := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "cut": EncodeSettings(filled())[:200], "longer": append(EncodeSettings(filled()), 0),
		"answers": EncodeAnswers([]Answer{{Mode: "csv"}}), "an error without words": {replyError},
	} {
		if _, err := DecodeSettings(reply); err == nil || err.Error() != errReply.Error() {
			t.Errorf("%s: %v", name, err)
		}
	}
	settings, answers := EncodeSettings(filled()), EncodeAnswers(nil)
	defer func(was string) { build = was }(build)
	build = BuildID() + "+1"
	if _, err := DecodeSettings(settings); !errors.Is(err, errReply) {
		t.Errorf("settings of another build: %v", err)
	}
	if _, err := DecodeAnswers(answers); !errors.Is(err, errReply) {
		t.Errorf("answers of another build: %v", err)
	}
	if _, err := DecodeSettings(EncodeError(errNoTraces)); err == nil || err.Error() != errNoTraces.Error() {
		t.Errorf("an error becomes %v", err)
	}
	want := []Answer{{"csv", TraceLeaf{ResultDone, [][]byte{[]byte("{}"), {}}, []string{"because"}}}, {"legacy", TraceLeaf{ResultNotApplicable, [][]byte{}, nil}}}
	got, err := DecodeAnswers(EncodeAnswers(want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("error %v, got %+v", err, got)
	}
	for i := range EncodeAnswers(want) {
		if _, err := DecodeAnswers(EncodeAnswers(want)[:i]); err == nil {
			t.Errorf("%d bytes are taken for a reply", i)
		}
	}
}

// FuzzSettings holds that no file of settings does more than be refused.
func FuzzSettings(f *testing.F) {
	s := filled()
	f.Add(s.encode())
	f.Add([]byte(settingsMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, err := decodeSettings(string(data))
		if err != nil {
			return
		}
		// As bytes: what is not packed is packed when it is written.
		written := string(s.encode())
		again, _, err := decodeSettings(written)
		if err != nil || string(again.encode()) != written {
			t.Fatalf("error %v: %+v became %+v", err, s, again)
		}
	})
}

// Where the time goes is measured for one create or for all: the configuration is
// the same.
func TestSettingsDoNotDependOnStages(t *testing.T) {
	plain := []string{"TENON_MODE=csv", "PATH=/bin"}
	measured := append(slices.Clone(plain), StagesVariable+"=/tmp/stages")
	if got := SettingsVariables(measured); !slices.Equal(got, SettingsVariables(plain)) {
		t.Errorf("the settings depend on %q", got)
	}
	if got, want := EngineVariables(measured), []string{"TENON_MODE=csv", StagesVariable + "=/tmp/stages"}; !slices.Equal(got, want) {
		t.Errorf("tenon-engine gets %q, want %q", got, want)
	}
}
