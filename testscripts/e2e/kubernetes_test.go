// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A Kubernetes of one node, with neither scheduler nor controllers: a pod names its
// node itself.

const (
	node      = "node"
	kube      = scratch + "/kubernetes"
	kubeToken = "all-is-allowed"
)

// apiServer is where the API server answers.
var apiServer string

// kubeletConfig is for a machine without systemd, in a container that has not all
// capabilities, maybe: nothing of it is about runtimes. @…@ is filled in.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://` + containerdSocket + `
podLogsDir: ` + kube + `/logs
address: 127.0.0.1
port: @PORT@
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /@CGROUP@
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
evictionHard: {imagefs.available: "0%", nodefs.available: "0%", memory.available: 10Mi}
imageGCHighThresholdPercent: 100
syncFrequency: 2s
`

// startKubernetes starts etcd, the API server and a kubelet over the containerd of
// startContainerd2, and waits for the node to be ready.
func startKubernetes() error {
	if err := errors.Join(startContainerd2(), installEngines("etcd", "kubernetes")); err != nil {
		return err
	}
	if err := os.MkdirAll(kube, 0o755); err != nil {
		return err
	}
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	etcd, peer := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	if err := start(kube+"/etcd.log", "etcd", "--data-dir", kube+"/etcd", "--unsafe-no-fsync",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	accounts := kube + "/accounts.pem"
	apiServer = "https://127.0.0.1:" + ports[2]
	if err := errors.Join(
		write(accounts, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})), 0o600),
		write(kube+"/tokens.csv", kubeToken+`,admin,1,"system:masters"`+"\n", 0o600),
		write(kube+"/kubeconfig", `{"apiVersion": "v1", "kind": "Config", "current-context": "this",
"clusters": [{"name": "this", "cluster": {"server": "`+apiServer+`", "insecure-skip-tls-verify": true}}],
"users": [{"name": "this", "user": {"token": "`+kubeToken+`"}}],
"contexts": [{"name": "this", "context": {"cluster": "this", "user": "this"}}]}`, 0o600),
		write(kube+"/kubelet.yaml", strings.NewReplacer("@PORT@", ports[3], "@CGROUP@", cgroupName()).Replace(kubeletConfig), 0o600),
	); err != nil {
		return err
	}
	if err := start(kube+"/apiserver.log", "kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", ports[2],
		"--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none", "--cert-dir", kube+"/certs",
		"--service-cluster-ip-range", "10.198.0.0/24", "--token-auth-file", kube+"/tokens.csv", "--authorization-mode", "AlwaysAllow",
		"--service-account-issuer", "https://this", "--service-account-key-file", accounts, "--service-account-signing-key-file", accounts,
		"--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition"); err != nil {
		return err
	}
	if err := until("the API server", kube+"/apiserver.log", func() bool {
		status, _, err := api("GET", "/readyz", "")
		return err == nil && status == http.StatusOK
	}); err != nil {
		return err
	}
	if err := makeCgroup(); err != nil {
		return err
	}
	// It reads what the kernel says of processes that were out of memory.
	if err := commandError("mknod", "-m", "600", "/dev/kmsg", "c", "1", "11"); err != nil {
		return err
	}
	if err := start(kube+"/kubelet.log", "kubelet", "--config", kube+"/kubelet.yaml", "--kubeconfig", kube+"/kubeconfig",
		"--root-dir", kube+"/kubelet", "--cert-dir", kube+"/certs", "--hostname-override", node, "--node-ip", "127.0.0.1"); err != nil {
		return err
	}
	return until("the node", kube+"/kubelet.log", func() bool {
		var n struct {
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
		if get("/api/v1/nodes/"+node, &n) != nil {
			return false
		}
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" {
				return c.Status == "True"
			}
		}
		return false
	})
}

// makeCgroup makes the cgroup that the kubelet has its own below, in each hierarchy.
func makeCgroup() error {
	tops := []string{"/sys/fs/cgroup/cgroup.procs"} // cgroup v2
	if _, err := os.Stat(tops[0]); err != nil {
		if tops, err = filepath.Glob("/sys/fs/cgroup/*/cgroup.procs"); err != nil {
			return err
		}
	}
	for _, top := range tops {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(top), cgroupName()), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns ports that nobody listens at.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

var apiClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its certificate is its own
}}

// api makes a request of the API server, whose body, if any, is YAML.
func api(method, path, body string) (int, []byte, error) {
	request, err := http.NewRequest(method, apiServer+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+kubeToken)
	request.Header.Set("Content-Type", "application/yaml")
	request.Header.Set("Accept", "application/json")
	answer, err := apiClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, text, err
}

// get reads what the API server has at a path.
func get(path string, into any) error {
	status, text, err := api("GET", path, "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", path, status, text)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// apply makes what a manifest is about.
func apply(t *testing.T, path, manifest string) {
	t.Helper()
	status, text, err := api("POST", path, manifest)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("%s: status %d, %v: %s\n%s", path, status, err, text, manifest)
	}
}

const pods = "/api/v1/namespaces/default/pods"

// documented returns the manifest of that kind that docs/operations.md shows, with
// what a reader has to put into it. The class is made by whoever needs it first.
func documented(t *testing.T, kind string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	must(t, err)
	for block := range strings.SplitSeq(string(page), "\n\n") {
		if strings.Contains(block, "    kind: "+kind+"\n") {
			text := strings.ReplaceAll("\n"+block+"\n", "\n    ", "\n")
			return strings.NewReplacer("IMAGE", "localhost/image:1\n    imagePullPolicy: Never",
				"spec:\n  runtime", "spec:\n  nodeName: "+node+"\n  terminationGracePeriodSeconds: 5\n  runtime").Replace(text)
		}
	}
	t.Fatalf("docs/operations.md shows no %s", kind)
	return ""
}

// runtimeClass makes the class, if no test has.
func runtimeClass(t *testing.T) {
	t.Helper()
	const classes = "/apis/node.k8s.io/v1/runtimeclasses"
	if status, _, err := api("GET", classes+"/tenon", ""); err == nil && status == http.StatusNotFound {
		apply(t, classes, documented(t, "RuntimeClass"))
	}
}

// podStatus is what a test wants to know of a pod.
type podStatus struct {
	Metadata struct{ UID string }
	Status   struct {
		Phase             string
		ContainerStatuses []struct {
			Name, ContainerID string
			Ready             bool
			State             struct {
				Waiting struct{ Reason, Message string }
			}
			LastState struct {
				Terminated struct{ Reason, Message string }
			}
		}
	}
}

// makePod makes a pod that ends with the test, and waits until it is as wanted.
func makePod(t *testing.T, name, manifest string, wanted func(podStatus) bool) podStatus {
	t.Helper()
	apply(t, pods, manifest)
	t.Cleanup(func() { deletePod(t, name) })
	var status podStatus
	if err := until("pod "+name, kube+"/kubelet.log", func() bool {
		status = podStatus{}
		return get(pods+"/"+name, &status) == nil && wanted(status)
	}); err != nil {
		t.Fatalf("%v\n%+v\n%s", err, status, events(name))
	}
	return status
}

// deletePod deletes a pod, and waits until it is gone.
func deletePod(t *testing.T, name string) {
	t.Helper()
	if status, text, err := api("DELETE", pods+"/"+name, ""); err != nil || status != http.StatusOK && status != http.StatusNotFound {
		t.Errorf("delete: status %d, %v: %s", status, err, text)
	}
	if err := until("the end of pod "+name, kube+"/kubelet.log", func() bool {
		status, _, err := api("GET", pods+"/"+name, "")
		return err == nil && status == http.StatusNotFound
	}); err != nil {
		t.Error(err)
	}
}

// events returns what "kubectl describe pod" shows of a pod, a line each.
func events(pod string) string {
	var list struct {
		Items []struct{ Type, Reason, Message string }
	}
	if err := get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name="+pod, &list); err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	for _, e := range list.Items {
		fmt.Fprintf(&b, "%s %s %s\n", e.Type, e.Reason, e.Message)
	}
	return b.String()
}

// containerIDs returns the CRI's names of a pod's containers, if all are ready.
func containerIDs(p podStatus) map[string]string {
	ids := map[string]string{}
	for _, c := range p.Status.ContainerStatuses {
		if c.Ready {
			ids[c.Name] = strings.TrimPrefix(c.ContainerID, "containerd://")
		}
	}
	return ids
}

func running(containers int) func(podStatus) bool {
	return func(p podStatus) bool { return p.Status.Phase == "Running" && len(containerIDs(p)) == containers }
}

func TestKubernetesPodWithTwoContainers(t *testing.T) {
	runtimeClass(t)
	p := makePod(t, "two", documented(t, "Pod"), running(2))
	ids := containerIDs(p)
	out, code := criExec(t, ids["asks"], "sh", "-c", look)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	has(t, out, "loaded by soname", "device", "written by 0", "done")
	if out, _ := criExec(t, ids["idle"], "sh", "-c", "/load; ls /dev/demo0"); out != nothing {
		t.Errorf("the container that does not ask says\n%s", out)
	}
	if got := recorded(t); len(got) != 1 || got[ids["asks"]] != "csv" {
		t.Errorf("tenon ps knows %v, want %s with csv", got, ids["asks"])
	}
	deletePod(t, "two")
	nothingOfContainersLeft(t)
	// The kubelet removes its own cgroups later.
	if err := until("the cgroup of the pod", kube+"/kubelet.log", func() bool {
		return !slices.ContainsFunc(cgroupsBelow(cgroupName()), func(dir string) bool { return strings.Contains(dir, p.Metadata.UID) })
	}); err != nil {
		t.Error(err)
	}
}

// Without the class, containerd's own default is asked.
func TestKubernetesPodWithoutTheClass(t *testing.T) {
	manifest := regexp.MustCompile(`\n *runtimeClassName: .*`).ReplaceAllString(documented(t, "Pod"), "")
	p := makePod(t, "two", manifest, running(2))
	if out, _ := criExec(t, containerIDs(p)["asks"], "sh", "-c", "/load; ls /dev/demo0"); out != nothing {
		t.Errorf("it says\n%s", out)
	}
}

// What "kubectl describe pod" shows where a mode refuses.
func TestKubernetesShowsTheError(t *testing.T) {
	runtimeClass(t)
	const line = "tenon: mode probe: /dev/probe0: is asleep; wake it up"
	manifest := strings.NewReplacer("name: NVIDIA_VISIBLE_DEVICES", "name: PROBE", "value: all", "value: reason", "name: two", "name: refused").
		Replace(documented(t, "Pod"))
	p := makePod(t, "refused", manifest, func(p podStatus) bool {
		for _, c := range p.Status.ContainerStatuses {
			if c.Name == "asks" && strings.HasSuffix(c.State.Waiting.Message+c.LastState.Terminated.Message, line) {
				return strings.Contains(events("refused"), line) && containerIDs(p)["idle"] != ""
			}
		}
		return false
	})
	has(t, events("refused"), "Warning Failed Error: failed to create containerd task: failed to create shim task: OCI runtime create failed: "+line)
	// The other container of the pod does not ask, and is not refused.
	if ids := containerIDs(p); len(ids) != 1 {
		t.Errorf("these run: %v", ids)
	}
}

// The node tells the scheduler which handlers there are, and what they can do.
func TestKubernetesNodeKnowsTheHandler(t *testing.T) {
	var n struct {
		Status struct {
			RuntimeHandlers []struct {
				Name     string
				Features map[string]bool
			}
			NodeInfo struct{ ContainerRuntimeVersion, KubeletVersion string }
		}
	}
	must(t, get("/api/v1/nodes/"+node, &n))
	if info := n.Status.NodeInfo; !strings.HasPrefix(info.ContainerRuntimeVersion, "containerd://2.") || !strings.HasPrefix(info.KubeletVersion, "v1.") {
		t.Errorf("the node says it is %+v", info)
	}
	for _, h := range n.Status.RuntimeHandlers {
		if h.Name == "tenon" {
			if !h.Features["recursiveReadOnlyMounts"] || !h.Features["userNamespaces"] {
				t.Errorf("tenon has the features %v", h.Features)
			}
			return
		}
	}
	t.Errorf("the node has the handlers %v", n.Status.RuntimeHandlers)
}
