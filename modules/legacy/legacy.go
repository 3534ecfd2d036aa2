// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path"
	"strconv"

	"github.com/tenon-runtime/tenon/sdk"
)

// hookName is the built-in hook that the host makes of [modes.legacy].
const hookName = "nvidia-container-runtime-hook"

// defaultHook is what hook_path is if it is not set.
const defaultHook = "nvidia-container-runtime-hook"

// deviceMounts is the folder whose mounts of /dev/null name devices, as
// NVIDIA's hook and its Kubernetes device plugin have it.
const deviceMounts = "/var/run/nvidia-container-devices"

func discover(c *sdk.Context) (*sdk.Edits, error) {
	have, err := presentHook(c)
	if err != nil {
		return nil, err
	}
	if have != "" {
		c.Explain(have + ": the container has this prestart hook already")
		return &sdk.Edits{}, nil
	}
	hook, ok, err := c.Config("hook_path")
	if err != nil {
		return nil, err
	}
	if !ok || hook == "" {
		hook = defaultHook
	}
	_, installed, err := c.Which(sdk.Host, hook)
	if errors.Is(err, sdk.InvalidArgument) {
		return nil, errors.New("config key \"modes.legacy.hook_path\": " + strconv.Quote(hook) + " is neither an absolute path nor a program's name")
	}
	if err != nil {
		return nil, err
	}
	if installed {
		edits := &sdk.Edits{}
		edits.AddBuiltinHook(hookName, nil)
		return edits, nil
	}
	why, err := asks(c)
	if err != nil {
		return nil, err
	}
	if why == "" {
		return nil, sdk.NotApplicable
	}
	return nil, errors.New(hook + ": not an executable file on this machine, and the container asks for devices by " + why +
		"; install nvidia-container-toolkit or set modes.legacy.hook_path")
}

// presentHook returns the path of the container's first prestart hook that is
// NVIDIA's, by the exact base name: nvidia-container-toolkit is its older name.
func presentHook(c *sdk.Context) (string, error) {
	for i := 0; ; i++ {
		pointer := "/hooks/prestart/" + strconv.Itoa(i) + "/path"
		doc, ok, err := c.Spec(pointer)
		if err != nil || !ok {
			return "", err
		}
		p, ok := sdk.Unquote(doc)
		if !ok {
			return "", errors.New("config.json " + strconv.Quote(pointer) + ": is not a string")
		}
		switch path.Base(p) {
		case "nvidia-container-runtime-hook", "nvidia-container-toolkit":
			return p, nil
		}
	}
}

// asks says what in the container asks for NVIDIA's devices, or "". The rules
// are those of NVIDIA's hook: NVIDIA_VISIBLE_DEVICES, or, where that is not
// set, an image that was made before the variable was (it has CUDA_VERSION and
// no NVIDIA_REQUIRE_CUDA), or a mount that stands for a device.
func asks(c *sdk.Context) (string, error) {
	devices, set, err := c.Env("NVIDIA_VISIBLE_DEVICES")
	if err != nil {
		return "", err
	}
	if set && devices != "" && devices != "void" {
		return "NVIDIA_VISIBLE_DEVICES", nil
	}
	mounts, err := c.Mounts(deviceMounts)
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if path.Clean(m.Source) == "/dev/null" {
			return "a mount below " + deviceMounts, nil
		}
	}
	if set {
		return "", nil
	}
	cuda, _, err := c.Env("CUDA_VERSION")
	if err != nil || cuda == "" {
		return "", err
	}
	require, _, err := c.Env("NVIDIA_REQUIRE_CUDA")
	if err != nil || require != "" {
		return "", err
	}
	return "CUDA_VERSION", nil
}
