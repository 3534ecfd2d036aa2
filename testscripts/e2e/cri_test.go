// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/diff"
)

// A pod is one of the CRI service, with what its containers are created with.
type pod struct {
	id     string
	config object
}

// podConfig is a pod in the network of the machine; more is put over it.
func podConfig(name string, more object) object {
	config := object{
		"metadata": object{"name": name, "namespace": "e2e", "uid": name},
		"linux": object{
			"cgroupParent":    "/" + cgroupName(),
			"securityContext": object{"namespaceOptions": object{"network": "NODE", "pid": "CONTAINER"}},
		},
	}
	maps.Copy(config, more)
	return config
}

// runPod starts a pod, and ends it with the test if that has not.
func runPod(t *testing.T, handler string, config object) pod {
	t.Helper()
	var answer struct{ PodSandboxID string }
	mustCRI(t, "RuntimeService/RunPodSandbox", object{"runtimeHandler": handler, "config": config}, &answer)
	t.Cleanup(func() {
		_ = cri("RuntimeService/StopPodSandbox", object{"podSandboxId": answer.PodSandboxID}, &object{})
		_ = cri("RuntimeService/RemovePodSandbox", object{"podSandboxId": answer.PodSandboxID}, &object{})
	})
	return pod{answer.PodSandboxID, config}
}

// create makes a container that waits, with these variables and annotations.
func (p pod) create(t *testing.T, name string, env, annotations map[string]string) string {
	t.Helper()
	envs := []object{}
	for key, value := range env {
		envs = append(envs, object{"key": key, "value": []byte(value)}) // bytes, in api.proto
	}
	var answer struct{ ContainerID string }
	mustCRI(t, "RuntimeService/CreateContainer", object{"podSandboxId": p.id, "sandboxConfig": p.config, "config": object{
		"metadata":    object{"name": name},
		"image":       object{"image": "localhost/image:1"}, // which waits
		"envs":        envs,
		"annotations": annotations,
		"linux":       object{"securityContext": p.config["linux"].(object)["securityContext"]},
	}}, &answer)
	return answer.ContainerID
}

// start makes a container and starts it.
func (p pod) start(t *testing.T, name string, env, annotations map[string]string) string {
	t.Helper()
	id := p.create(t, name, env, annotations)
	mustCRI(t, "RuntimeService/StartContainer", object{"containerId": id}, &object{})
	return id
}

// ask is how a container asks.
var ask = map[string]string{"NVIDIA_VISIBLE_DEVICES": "all"}

// nothing is what a container prints that has not been given anything.
const nothing = "libdemo.so.1: cannot open shared object file: No such file or directory\nls: /dev/demo0: No such file or directory\n"

// A pod has two containers, and one of them asks.
func TestCRIPodWithTwoContainers(t *testing.T) {
	var version struct{ RuntimeName, RuntimeVersion string }
	mustCRI(t, "RuntimeService/Version", object{}, &version)
	if version.RuntimeName != "containerd" || !strings.HasPrefix(version.RuntimeVersion, "v2.") && !strings.HasPrefix(version.RuntimeVersion, "2.") {
		t.Errorf("this is %+v", version)
	}
	p := runPod(t, "tenon", podConfig("two", nil))
	asks, idle := p.start(t, "asks", ask, nil), p.start(t, "idle", nil, nil)

	out, code := criExec(t, asks, "sh", "-c", look+"; busybox mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg")
	if code == 0 {
		t.Errorf("a device that it was not given can be opened")
	}
	has(t, out, "loaded by soname", "device", "written by 0", "done", "cat: can't open '/tmp/kmsg': Operation not permitted")
	if out, _ := criExec(t, idle, "sh", "-c", "/load; ls /dev/demo0"); out != nothing {
		t.Errorf("the container that does not ask says\n%s", out)
	}

	// Tenon knows the one that it was asked for, and no other: not the pause container.
	if got := recorded(t); len(got) != 1 || got[asks] != "csv" {
		t.Errorf("tenon ps knows %v, want %s with csv", got, asks)
	}
	out, code = command(t, "tenon", "explain", asks[:12])
	if code != 0 || !strings.Contains(out, "device /dev/demo0: c 1:3 rw") || !strings.Contains(out, "/usr/lib/demo/libdemo.so.1.2") {
		t.Errorf("tenon explain: exit code %d\n%s", code, out)
	}

	// A container ends by itself when it is told to, and its record with it.
	mustCRI(t, "RuntimeService/StopContainer", object{"containerId": asks, "timeout": 60}, &object{})
	var status struct {
		Status struct {
			State    string
			ExitCode int
		}
	}
	mustCRI(t, "RuntimeService/ContainerStatus", object{"containerId": asks}, &status)
	if status.Status.State != "CONTAINER_EXITED" || status.Status.ExitCode != 0 {
		t.Errorf("the stopped container is %+v", status.Status)
	}
	if got := recorded(t); len(got) != 0 {
		t.Errorf("tenon ps knows %v after the end", got)
	}
	mustCRI(t, "RuntimeService/RemoveContainer", object{"containerId": asks}, &object{})
	// The next one of that name, as after a crash.
	again := p.start(t, "asks", ask, nil)
	out, _ = criExec(t, again, "/load")
	has(t, out, "loaded by soname")
	mustCRI(t, "RuntimeService/StopPodSandbox", object{"podSandboxId": p.id}, &object{})
	mustCRI(t, "RuntimeService/RemovePodSandbox", object{"podSandboxId": p.id}, &object{})
	nothingOfPodsLeft(t)
}

// recorded returns the modes of the containers that "tenon ps" knows.
func recorded(t *testing.T) map[string]string {
	t.Helper()
	out, code := command(t, "tenon", "ps", "--format", "json")
	out, _, _ = strings.Cut(out, "\ntenon: ") // it says so where there is none
	var list []struct {
		ID    string
		Modes []struct{ Mode string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 && code != 3 {
		t.Fatalf("tenon ps: exit code %d, %v\n%s", code, err, out)
	}
	modes := map[string]string{}
	for _, c := range list {
		for _, m := range c.Modes {
			modes[c.ID] = strings.TrimSpace(modes[c.ID] + " " + m.Mode)
		}
	}
	return modes
}

// nothingOfPodsLeft checks that no pod has left anything.
func nothingOfPodsLeft(t *testing.T) {
	t.Helper()
	nothingOfContainersLeft(t)
	for _, dir := range cgroupsBelow(cgroupName()) {
		if !strings.HasSuffix(dir, "/"+cgroupName()) {
			t.Errorf("left behind: cgroup %s", dir)
		}
	}
}

// nothingOfContainersLeft checks that neither runc nor tenon has kept a state.
func nothingOfContainersLeft(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/run/containerd/runc/k8s.io/*", "/run/containerd/io.containerd.runtime.v2.task/k8s.io/*", "/run/tenon/containers/*"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
}

// containerd passes on the annotations that its configuration names, which tenon's
// runtime has from runc's: those of the pod to each of its containers.
func TestCRIAnnotations(t *testing.T) {
	// Of the container's own process: what is executed later has its variables from
	// containerd, which does not see what is done by a runtime.
	probed := func(id string) string {
		out, _ := criExec(t, id, "cat", "/proc/1/environ")
		for variable := range strings.SplitSeq(out, "\x00") {
			if value, ok := strings.CutPrefix(variable, "PROBED="); ok {
				return value
			}
		}
		return ""
	}
	p := runPod(t, "tenon", podConfig("annotated", object{"annotations": map[string]string{"tenon.example/probe": "not passed on from a pod"}}))
	one := p.start(t, "one", nil, map[string]string{"tenon.example/probe": "by the container"})
	other := p.start(t, "other", nil, map[string]string{"other.example/probe": "not passed on"})
	if a, b := probed(one), probed(other); a != "by the container" || b != "" {
		t.Errorf("the containers have %q and %q", a, b)
	}
	p = runPod(t, "tenon", podConfig("annotates", object{"annotations": map[string]string{"tenon.example/pod-probe": "by the pod"}}))
	one = p.start(t, "one", nil, nil)
	other = p.start(t, "other", map[string]string{"PROBE": "by its variable"}, nil)
	if a, b := probed(one), probed(other); a != "by the pod" || b != "by its variable" {
		t.Errorf("the containers have %q and %q", a, b)
	}
	if got := recorded(t); got[p.id] != "probe" {
		t.Errorf("the pause container was given %q", got[p.id])
	}
}

// What a kubelet gets, and puts into the events of a pod.
func TestCRIShowsTheError(t *testing.T) {
	const before = "rpc error: code = Unknown desc = failed to "
	p := runPod(t, "tenon", podConfig("refused", nil))
	for name, c := range map[string]struct {
		config string
		env    map[string]string
		want   string
	}{
		"module's reason": {goodConfig, map[string]string{"PROBE": "reason"}, `mode probe: /dev/probe0: is asleep; wake it up`},
		"device not there": {goodConfig, map[string]string{"NVIDIA_VISIBLE_DEVICES": "7"},
			`mode csv: NVIDIA_VISIBLE_DEVICES: "7" is not a device of this machine; ask for all, 0 or none`},
		"unknown key": {"runtmes = [\"runc\"]\n", nil, configFile + `:1: no such key "runtmes"; did you mean "runtimes"`},
	} {
		t.Run(name, func(t *testing.T) {
			id := p.create(t, "refused-"+strings.ReplaceAll(name, " ", "-"), c.env, nil)
			configure(t, c.config)
			err := cri("RuntimeService/StartContainer", object{"containerId": id}, &object{})
			want := before + "create containerd task: failed to create shim task: OCI runtime create failed: tenon: " + c.want
			if err == nil || err.Error() != want {
				t.Errorf("it says\n%v\nwant\n%s", err, want)
			}
			var status struct {
				Status struct{ State, Message string }
			}
			mustCRI(t, "RuntimeService/ContainerStatus", object{"containerId": id}, &status)
			if status.Status.State != "CONTAINER_EXITED" || !strings.HasSuffix(status.Status.Message, "tenon: "+c.want) {
				t.Errorf("its status is %+v", status.Status)
			}
			mustCRI(t, "RuntimeService/RemoveContainer", object{"containerId": id}, &object{})
		})
	}
	t.Run("pod", func(t *testing.T) {
		err := cri("RuntimeService/RunPodSandbox", object{"runtimeHandler": "tenon",
			"config": podConfig("refused-pod", object{"annotations": map[string]string{"tenon.example/pod-probe": "reason"}})}, &object{})
		if err == nil || !strings.HasPrefix(err.Error(), before) || !strings.HasSuffix(err.Error(), ": OCI runtime create failed: tenon: mode probe: /dev/probe0: is asleep; wake it up") {
			t.Errorf("it says\n%v", err)
		}
	})
}

// containerd asks each runtime for its features, and tells the kubelet: tenon's are
// those of runc.
func TestCRIFeatures(t *testing.T) {
	var answer struct {
		RuntimeHandlers []struct {
			Name     string
			Features map[string]bool
		}
	}
	mustCRI(t, "RuntimeService/Status", object{}, &answer)
	features := map[string]map[string]bool{}
	for _, h := range answer.RuntimeHandlers {
		features[h.Name] = h.Features
	}
	if !features["runc"]["userNamespaces"] || !features["runc"]["recursiveReadOnlyMounts"] {
		t.Errorf("runc has no features: %v", features)
	}
	if !maps.Equal(features["runc"], features["tenon"]) {
		t.Errorf("runc has %v, and tenon %v", features["runc"], features["tenon"])
	}
}

// A container in a user namespace, with root file system and library shifted to its
// ids.
func TestCRIPodInAUserNamespace(t *testing.T) {
	ids := []object{{"hostId": 100000, "containerId": 0, "length": 65536}}
	p := runPod(t, "tenon", podConfig("user", object{"linux": object{
		"cgroupParent": "/" + cgroupName(),
		"securityContext": object{"namespaceOptions": object{"network": "POD", "pid": "CONTAINER",
			"usernsOptions": object{"mode": "POD", "uids": ids, "gids": ids}}},
	}}))
	out, code := criExec(t, p.start(t, "asks", ask, nil), "sh", "-c", look+"; cat /proc/self/uid_map")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "loaded by soname", "device", "written by 0", "done", "         0     100000      65536")
	if out, _ := criExec(t, p.start(t, "idle", nil, nil), "sh", "-c", "/load; ls /dev/demo0"); out != nothing {
		t.Errorf("the container that does not ask says\n%s", out)
	}
}

// Whatever happens to the configuration, a pod that runs can be used, stopped and
// removed.
func TestCRIPodOutlivesABrokenConfig(t *testing.T) {
	p := runPod(t, "tenon", podConfig("outlives", nil))
	id := p.start(t, "asks", ask, nil)
	must(t, os.RemoveAll("/run/tenon/settings")) // no settings that were kept
	configure(t, "mode = [[[\n")
	out, _ := criExec(t, id, "/load")
	has(t, out, "loaded by soname")
	mustCRI(t, "RuntimeService/StopContainer", object{"containerId": id, "timeout": 60}, &object{})
	mustCRI(t, "RuntimeService/RemoveContainer", object{"containerId": id}, &object{})
	mustCRI(t, "RuntimeService/StopPodSandbox", object{"podSandboxId": p.id}, &object{})
	mustCRI(t, "RuntimeService/RemovePodSandbox", object{"podSandboxId": p.id}, &object{})
	nothingOfPodsLeft(t)
}

// As the default, tenon gets the pods that name no handler. containerd is restarted
// for that, which no container notices.
func TestCRIDefaultRuntime(t *testing.T) {
	p := runPod(t, "tenon", podConfig("lives-on", nil))
	id := p.start(t, "asks", ask, nil)
	out, _ := criExec(t, runPod(t, "", podConfig("before", nil)).start(t, "asks", ask, nil), "sh", "-c", "/load; ls /dev/demo0")
	if out != nothing {
		t.Errorf("without a handler, a container has\n%s", out)
	}
	configured := func(args ...string) {
		if out, code := command(t, "tenon", append([]string{"runtime"}, args...)...); code != 0 {
			t.Fatal(out)
		}
	}
	configured("configure", "containerd", "--set-as-default")
	t.Cleanup(func() {
		configured("unconfigure", "containerd")
		configured("configure", "containerd")
		must(t, restartContainerd2())
	})
	must(t, restartContainerd2())
	out, _ = criExec(t, id, "/load")
	has(t, out, "loaded by soname")
	out, _ = criExec(t, runPod(t, "", podConfig("after", nil)).start(t, "asks", ask, nil), "sh", "-c", look)
	has(t, out, "loaded by soname", "device", "written by 0", "done")
}

// Another handler of the same containerd knows nothing of tenon.
func TestCRIOtherHandlerGivesNothing(t *testing.T) {
	p := runPod(t, "runc", podConfig("runc", nil))
	if out, _ := criExec(t, p.start(t, "asks", ask, nil), "sh", "-c", "/load; ls /dev/demo0"); out != nothing {
		t.Errorf("it says\n%s", out)
	}
}

// containerd 2 without the CRI service.
func TestCRINotNeededByCtr(t *testing.T) {
	out, code := ctr(t, "asks", "--env", "NVIDIA_VISIBLE_DEVICES=all", look)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "loaded by soname", "device", "written by 0", "done")
	if out, _ := ctr(t, "idle", "exec 2>&1; /load; ls /dev/demo0"); !strings.HasSuffix(out, nothing) { // ctr may warn of its own
		t.Errorf("the container that does not ask says\n%s", out)
	}
	out, code = ctr(t, "fails", "--env", "PROBE=reason", "echo ran")
	if !strings.Contains(out, "OCI runtime create failed: tenon: mode probe: /dev/probe0: is asleep; wake it up\n") || code == 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// In every version of the configuration that containerd 2 reads, what "tenon runtime
// configure" writes comes to what it says, and nothing else is changed by it.
func TestCRIConfigurations(t *testing.T) {
	made, code := command(t, "containerd", "config", "default")
	if code != 0 || !strings.Contains(made, "version = 4\n") && !strings.Contains(made, "version = 3\n") {
		t.Fatalf("exit code %d\n%s", code, made)
	}
	// The configuration as containerd puts it together, without what tenon adds.
	dump := func(t *testing.T, config string) string {
		t.Helper()
		out, err := exec.Command("containerd", "--config", config, "config", "dump").Output()
		if err != nil {
			t.Fatalf("containerd config dump: %v\n%s", err, out)
		}
		return string(out)
	}
	ours := regexp.MustCompile(`(?m)^ *\[plugins\.'io\.containerd\.cri\.v1\.runtime'\.containerd\.runtimes\.tenon\]\n(?:.*\n)*?.*\.tenon\.options\]\n((?: +[A-Za-z]+ = .*\n|\n)+)`)
	imports := regexp.MustCompile(`(?m)^imports = .*\n`)
	for name, text := range map[string]string{
		"none": "",
		"version 2": `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "example.org/pause:1"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
`,
		"version 3": strings.Replace(containerd2, "    pod_annotations", `    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = true
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.unused]
    pod_annotations`, 1),
		"as containerd makes it": made,
	} {
		t.Run(name, func(t *testing.T) {
			folder := scratch + "/configurations/" + strings.ReplaceAll(name, " ", "-")
			config := folder + "/config.toml"
			must(t, os.MkdirAll(folder, 0o755))
			text = strings.ReplaceAll(text, "/etc/containerd/", folder+"/") // which it imports
			if text != "" {
				must(t, write(config, text, 0o644))
			}
			var before string
			if text != "" {
				before = dump(t, config)
			} else {
				before = dump(t, "/dev/null")
			}
			for _, flags := range [][]string{nil, {"--set-as-default"}} {
				if out, code := command(t, "tenon", append([]string{"runtime", "configure", "containerd", "--config", config}, flags...)...); code != 0 {
					t.Fatal(out)
				}
				after := dump(t, config)
				options := ours.FindStringSubmatch(after)
				if options == nil || !strings.Contains(options[1], "BinaryName = '/usr/bin/tenon-runtime'\n") ||
					strings.Contains(options[1], "SystemdCgroup = true") != strings.Contains(before, "SystemdCgroup = true") {
					t.Errorf("containerd reads\n%s", after)
				}
				rest := ours.ReplaceAllString(after, "")
				if flags != nil {
					if !strings.Contains(rest, "default_runtime_name = 'tenon'\n") {
						t.Error("it is not the default")
					}
					rest = strings.Replace(rest, "default_runtime_name = 'tenon'\n", "default_runtime_name = 'runc'\n", 1)
				}
				if a, b := imports.ReplaceAllString(before, ""), imports.ReplaceAllString(rest, ""); a != b {
					t.Errorf("containerd also reads:\n%s", diff.Diff("before", []byte(a), "after", []byte(b)))
				}
			}
			if out, code := command(t, "tenon", "runtime", "unconfigure", "containerd", "--config", config); code != 0 {
				t.Fatal(out)
			}
			if now, err := os.ReadFile(config); string(now) != text || err == nil && text == "" {
				t.Errorf("unconfigure leaves\n%s", now)
			}
		})
	}
}
