// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path"
	"slices"
	"strconv"

	"github.com/tenon-runtime/tenon/sdk"
)

// nvidiaHooks are the base names of NVIDIA's prestart hook, which docker run
// --gpus leaves in config.json: its name, and the one it had before.
var nvidiaHooks = []string{"nvidia-container-runtime-hook", "nvidia-container-toolkit"}

// resolveConflict sees to it that NVIDIA's hook does not do this mode's work a
// second time: it is taken out, or the create fails, as hook_conflict says.
func (f *finder) resolveConflict() error {
	policy, err := f.setting("hook_conflict", "replace")
	if err != nil {
		return err
	}
	if policy != "replace" && policy != "error" {
		return badSetting("hook_conflict", policy, "replace or error")
	}
	var removed []string
	// One small question a hook: the whole list would tell two containers apart
	// whose hooks differ in what does not matter here.
	for i := 0; ; i++ {
		pointer := "/hooks/prestart/" + strconv.Itoa(i) + "/path"
		doc, ok, err := f.Spec(pointer)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		hook, ok := sdk.Unquote(doc)
		if !ok {
			return errors.New("config.json " + strconv.Quote(pointer) + ": is not a string")
		}
		base := path.Base(hook)
		if !slices.Contains(nvidiaHooks, base) {
			continue
		}
		if policy == "error" {
			return errors.New(hook + ": the container has NVIDIA's prestart hook already" +
				"; start it without --gpus, or set modes.csv.hook_conflict to \"replace\"")
		}
		f.Explain(hook + ": prestart hook taken out, this mode does its work")
		if !slices.Contains(removed, base) {
			removed = append(removed, base)
			f.edits.RemoveHook("prestart", base)
		}
	}
}

// noteRequirements tells who asks that NVIDIA_REQUIRE_CUDA was not looked at:
// the driver's CUDA version is known to libcuda only, and not knowing it must
// not be taken for not meeting it. Other variables of that kind are rarer than
// the cost of reading the whole environment, which no two containers share.
func (f *finder) noteRequirements() error {
	disabled, err := f.setting("disable_require", "false")
	if err != nil || disabled == "true" {
		return err
	}
	value, _, err := f.Env("NVIDIA_DISABLE_REQUIRE")
	if err != nil {
		return err
	}
	if off, err := strconv.ParseBool(value); err == nil && off {
		return nil
	}
	require, _, err := f.Env("NVIDIA_REQUIRE_CUDA")
	if err == nil && require != "" {
		f.Explain("NVIDIA_REQUIRE_CUDA: not checked, the CUDA version of the driver is not known without its library")
	}
	return err
}

func badSetting(key, value, want string) error {
	return errors.New("config key \"modes.csv." + key + "\": " + strconv.Quote(value) + " is not " + want)
}
