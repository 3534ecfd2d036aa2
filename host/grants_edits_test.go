// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// taken is what becomes of an edits document of the mode m, on this machine: the
// edits, or the error that fails the create.
func taken(c Config, document string) (discover.Edits, error) {
	e, err := DecodeEdits("m", [][]byte{[]byte(document)})
	if err == nil {
		err = Resolve(c, "m", &e)
	}
	return e, err
}

// rootFolder makes a folder that root owns all the way, for sources of mounts.
func rootFolder(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("/var/lib", "tenon-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mount(from, to string, options ...string) string {
	m := map[string]any{"hostPath": from, "containerPath": to}
	if options != nil {
		m["options"] = options
	}
	b, _ := json.Marshal(m)
	return `{"abi":1,"containerEdits":{"mounts":[` + string(b) + `]}}`
}

const allMounts = `{"grants":{},"edits":{"mountsFrom":["/"],"mountsTo":["/"],"mountsWritable":["/"],"devices":["/**"]}}`

// T30: no manifest lets a module mount these, whatever it grants.
func TestT30MountsThatNoManifestOpens(t *testing.T) {
	dir := rootFolder(t)
	for name, target := range map[string]string{"root": "/", "etc": "/etc", "shadow": "/etc/shadow", "sock": "/run/docker.sock", "proc": "/proc/1", "null": "/dev/null"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	lax := filepath.Join(dir, "lax")
	if err := os.MkdirAll(filepath.Join(lax, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(lax, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	c := installed(t, allMounts, "")
	for _, test := range []struct{ document, want string }{
		{mount("/", "/x"), `containerEdits.mounts[0].hostPath: "/" is not for modes to mount`},
		{mount("/etc", "/x"), `containerEdits.mounts[0].hostPath: "/etc" is not for modes to mount`},
		{mount("/var/run/docker.sock", "/x"), `containerEdits.mounts[0].hostPath: "/var/run/docker.sock" is not for modes to mount`},
		{mount("/var/lib", "/x"), `containerEdits.mounts[0].hostPath: "/var/lib" is not for modes to mount`},
		{mount("/usr", "/x", "rbind", "rshared"), `containerEdits.mounts[0].options[1]: "rshared" is not one of bind, rbind, ro, rro, rw, nosuid, nodev, noexec, nosymfollow, private, rprivate, noatime, nodiratime, relatime`},
		{mount("/usr", "/proc/x"), `containerEdits.mounts[0].containerPath: "/proc/x" is not for modes to change`},
		{mount("/usr", "/dev/null"), `containerEdits.mounts[0].containerPath: "/dev/null" is not for modes to change`},
		{mount("/usr", "/etc/../x"), `containerEdits.mounts[0].containerPath: "/etc/../x" is not in its shortest form "/x"`},
		{mount("/usr", "/etc/passwd"), `containerEdits.mounts[0].containerPath: "/etc/passwd" is not for modes to change`},
		{mount(dir+"/root", "/x"), `mode m: mounts[0]: DIR/root: leads to /, which is not for modes to mount`},
		{mount(dir+"/etc", "/x"), `mode m: mounts[0]: DIR/etc: leads to /etc, which is not for modes to mount`},
		{mount(dir+"/shadow", "/x"), `mode m: mounts[0]: DIR/shadow: leads to /etc/shadow, which is not for modes to mount`},
		{mount(dir+"/proc", "/x"), `mode m: mounts[0]: DIR/proc: leads to /proc/1, which is not for modes to mount`},
		{mount(dir+"/null", "/x"), `mode m: mounts[0]: DIR/null: leads to /dev/null, which is a device; name it in deviceNodes`},
		{mount(dir+"/fifo", "/x"), `mode m: mounts[0]: DIR/fifo: is neither a file, a folder nor a socket`},
		{mount(dir+"/none", "/x"), `mode m: mounts[0]: DIR/none: does not exist on this machine`},
		{mount(lax+"/in", "/x"), `mode m: mounts[0]: DIR/lax: leads to DIR/lax/in and is not trusted: others may write it (mode 1777); put it elsewhere, or mount the whole folder`},
	} {
		want := strings.ReplaceAll(test.want, "DIR", dir)
		if _, err := taken(c, test.document); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", test.document, err, want)
		}
	}
}

// Whoever owns a folder can exchange what is in it until it is mounted, for a link to
// any file of the host; the folder itself they cannot.
func TestAFolderOfAServiceIsMountedAsAWhole(t *testing.T) {
	dir := rootFolder(t)
	if err := os.MkdirAll(dir+"/service/deep", 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	socket := dir + "/service/socket"
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	c := installed(t, allMounts, "")
	if e, err := taken(c, mount(socket, "/run/x")); err != nil || e.ContainerEdits.Mounts[0].HostPath != socket {
		t.Errorf("while the folder is root's: %v", err)
	}
	for _, p := range []string{"/service", "/service/socket"} {
		if err := os.Chown(dir+p, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := taken(c, mount(dir+"/service", "/run/x")); err != nil || e.ContainerEdits.Mounts[0].HostPath != dir+"/service" {
		t.Errorf("the folder: %v", err)
	}
	if err := os.Mkdir(dir+"/service/deep/deeper", 0o755); err != nil {
		t.Fatal(err)
	}
	for p, more := range map[string]string{"/service/socket": ", or mount the whole folder", "/service/deep/deeper": ""} {
		want := fmt.Sprintf("mode m: mounts[0]: %[1]s/service: leads to %[1]s%[2]s and is not trusted: it belongs to uid 1000; chown it to root%[3]s", dir, p, more)
		if _, err := taken(c, mount(dir+p, "/run/x")); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// The real path of a source goes into config.json, so that the low-level runtime
// follows no link that could be another one by then.
func TestRealPathsOfSourcesAreMounted(t *testing.T) {
	dir := rootFolder(t)
	for name, target := range map[string]string{"real/lib.so.1": "", "driver/usr/lib/lib.so.2": "", "current": "real", "driver/usr/lib/lib.so": "/usr/lib/lib.so.2"} {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if target == "" && err == nil {
			err = os.WriteFile(p, nil, 0o644)
		} else if err == nil {
			err = os.Symlink(target, p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := installed(t, `{"grants":{},"edits":{"mountsFrom":["`+dir+`/real","`+dir+`/current","/usr/lib"],"mountsTo":["/x"]}}`, "")
	c.DriverRoot = dir + "/driver"
	for from, want := range map[string]string{
		dir + "/current/lib.so.1":        dir + "/real/lib.so.1",
		dir + "/real/lib.so.1":           dir + "/real/lib.so.1",
		dir + "/driver/usr/lib/lib.so.2": dir + "/driver/usr/lib/lib.so.2", // granted as the driver root has it
		dir + "/driver/usr/lib/lib.so":   dir + "/driver/usr/lib/lib.so.2", // its links stay in it
	} {
		e, err := taken(c, mount(from, "/x"))
		if err != nil {
			t.Errorf("%s: %v", from, err)
		} else if got := e.ContainerEdits.Mounts[0].HostPath; got != want {
			t.Errorf("%s is mounted from %s, want %s", from, got, want)
		}
	}
	c.Installed[0].Accepted = `{"edits":{"mountsFrom":["` + dir + `/current"],"mountsTo":["/"]}}`
	want := fmt.Sprintf("mode m: mounts[0]: %[1]s/current/lib.so.1: leads to %[1]s/real/lib.so.1, which is not granted; the administrator allows mounts from %[1]s/current", dir)
	if _, err := taken(c, mount(dir+"/current/lib.so.1", "/x")); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// H-66: a module that returns one edit more than its manifest says fails the create, and
// the line names the mode, the edit and what is granted.
func TestEditsThatAreNotGrantedAreNamed(t *testing.T) {
	m := mustManifest(t, acme)
	rights := NewRights(m.Grants, m.Grants, "/run/driver")
	const in = `{"abi":1,"containerEdits":{`
	for _, test := range []struct{ document, want string }{
		{mount("/opt/acme/lib", "/usr/lib/acme"), ""},
		{mount("/run/driver/opt/acme/lib", "/opt/acme"), ""},
		{mount("/opt/other", "/opt/acme"), "mounts[0]: /opt/other: is not granted; its manifest allows mounts from /opt/acme"},
		{mount("/opt/acmeish", "/opt/acme"), "mounts[0]: /opt/acmeish: is not granted; its manifest allows mounts from /opt/acme"},
		{mount("/run/driver", "/opt/acme"), "mounts[0]: /run/driver: is not granted; its manifest allows mounts from /opt/acme"},
		{mount("/opt/acme", "/opt/other"), "mounts[0]: /opt/other: is not granted; its manifest allows mounts to /opt/acme, /usr/lib"},
		{mount("/opt/acme", "/opt/acme", "rbind", "rw"), "mounts[0]: /opt/acme: without the option ro is not granted; its manifest allows writable mounts from /opt/acme/state"},
		{mount("/opt/acme", "/opt/acme", "rbind"), "mounts[0]: /opt/acme: without the option ro is not granted; its manifest allows writable mounts from /opt/acme/state"},
		{mount("/opt/acme/state/x", "/opt/acme", "rbind", "ro", "rw"), ""},
		{in + `"env":["ACME_X=1"]}}`, ""},
		{in + `"env":["ACME_X=1","PATH=/x"]}}`, "env[1]: PATH: is not granted; its manifest allows variables ACME_*"},
		{`{"abi":1,"annotations":{"acme.example/injected":"1"}}`, ""},
		{`{"abi":1,"annotations":{"x":"1"}}`, "annotations: x: is not granted; its manifest allows annotations acme.example/injected"},
		{in + `"deviceNodes":[{"path":"/dev/acme0"}]}}`, ""},
		{in + `"deviceNodes":[{"path":"/dev/acme0","hostPath":"/run/driver/dev/acme0"}]}}`, ""},
		{in + `"deviceNodes":[{"path":"/dev/acme0","hostPath":"/dev/sda"}]}}`, "deviceNodes[0]: /dev/sda: is not granted; its manifest allows devices /dev/acme*"},
		{in + `"deviceNodes":[{"path":"/dev/sda","hostPath":"/dev/acme0"}]}}`, "deviceNodes[0]: /dev/sda: is not granted; its manifest allows devices /dev/acme*"},
		{in + `"deviceNodes":[{"path":"/dev/acme0","type":"b"}]}}`, "deviceNodes[0]: /dev/acme0: is not granted; its manifest allows devices /dev/acme*"},
		{`{"abi":1,"deviceRules":[{"type":"c","major":240,"minor":-1,"access":"rw"},{"type":"b","major":8,"minor":0,"access":"r"}]}`, ""},
		{`{"abi":1,"deviceRules":[{"type":"b","major":8,"minor":-1,"access":"rw"}]}`, `deviceRules[0]: b 8:*: is not granted; its manifest allows device rules "c 240:*", "b 8:0"`},
		{`{"abi":1,"deviceRules":[{"type":"c","major":241,"minor":0,"access":"rw"}]}`, `deviceRules[0]: c 241:0: is not granted; its manifest allows device rules "c 240:*", "b 8:0"`},
		{in + `"netDevices":[{"hostInterfaceName":"eth0","name":"acme0"}]}}`, "netDevices[0]: eth0: is not granted; its manifest allows network interfaces acme*"},
		{`{"abi":1,"symlinks":[{"target":"x","link":"/usr/lib/x"}]}`, ""},
		{`{"abi":1,"symlinks":[{"target":"x","link":"/bin/sh"}]}`, "symlinks[0]: /bin/sh: is not granted; its manifest allows mounts to /opt/acme, /usr/lib"},
		{`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/usr/lib/x"}}]}`, ""},
		{`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/dev/acme0"}}]}`, ""},
		{`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"777","path":"/bin"}}]}`, "builtinHooks[0]: /bin: is not granted; its manifest allows mounts to /opt/acme, /usr/lib"},
		{`{"abi":1,"builtinHooks":[{"name":"nvidia-container-runtime-hook"}]}`, "builtinHooks[0]: nvidia-container-runtime-hook: is not granted; its manifest allows built-in hooks chmod"},
		{`{"abi":1,"remove":{"env":["ACME_X"]}}`, ""},
		{`{"abi":1,"remove":{"env":["PATH"]}}`, "remove.env[0]: PATH: is not granted; its manifest allows variables ACME_*"},
		{`{"abi":1,"remove":{"mounts":["/opt/acme"]}}`, "remove.mounts[0]: /opt/acme: is not granted; its manifest allows removal of env"},
		{`{"abi":1,"remove":{"devices":["/dev/acme0"]}}`, "remove.devices[0]: /dev/acme0: is not granted; its manifest allows removal of env"},
		{`{"abi":1,"remove":{"hooks":[{"hookName":"prestart","base":"acme-hook"}]}}`, ""},
		{`{"abi":1,"remove":{"hooks":[{"hookName":"prestart","base":"other"}]}}`, "remove.hooks[0]: other: is not granted; its manifest allows removal of hooks of acme-hook"},
		{in + `"additionalGids":[44]},"ldcache":{"dirs":["/x"]}}`, ""},
	} {
		e, err := DecodeEdits("m", [][]byte{[]byte(test.document)})
		if err != nil {
			t.Fatal(test.document, err)
		}
		got := ""
		if err := rights.CheckEdits("m", e); err != nil {
			got = strings.TrimPrefix(err.Error(), "mode m: ")
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.document, got, test.want)
		}
		// Denied by default, whoever grants nothing.
		for who, r := range map[string]Rights{"its manifest allows no ": NewRights(Grants{}, m.Grants, "/run/driver"), "the administrator allows no ": NewRights(m.Grants, Grants{}, "/run/driver")} {
			if err := r.CheckEdits("m", e); err == nil || test.want == "" && !strings.Contains(err.Error(), "is not granted; "+who) {
				t.Errorf("%s with nothing granted: %v", test.document, err)
			}
		}
	}
	none := NewRights(Grants{}, m.Grants, "")
	for document, want := range map[string]string{
		in + `"additionalGids":[44]}}`:                        "additionalGids[0]: 44: is not granted; its manifest allows no groups",
		in + `"intelRdt":{"closID":"x"}}}`:                    "intelRdt: is not granted; its manifest allows no share of cache or memory bandwidth",
		`{"abi":1,"ldcache":{"dirs":["/x"]}}`:                 "ldcache.dirs[0]: /x: is not granted; its manifest allows no folders of ld.so.cache",
		`{"abi":1,"symlinks":[{"target":"x","link":"/y"}]}`:   "symlinks[0]: /y: is not granted; its manifest allows no links",
		`{"abi":1,"containerEdits":{"env":["SECRET=value"]}}`: "env[0]: SECRET: is not granted; its manifest allows no variables",
	} {
		e, err := DecodeEdits("m", [][]byte{[]byte(document)})
		if err != nil {
			t.Fatal(err)
		}
		if err := none.CheckEdits("m", e); err == nil || err.Error() != "mode m: "+want {
			t.Errorf("%s: %v", document, err)
		}
	}
	e := discover.Edits{ABI: 1}
	e.ContainerEdits.Hooks = []*cdi.Hook{{HookName: "prestart", Path: "/bin/sh"}}
	if err := rights.CheckEdits("m", e); err == nil || !strings.Contains(err.Error(), "a hook with a path of its own is granted to no module") {
		t.Errorf("hook: %v", err)
	}
}

// T35: what a device is the host says, whatever the module says and its manifest
// grants; a block device needs a grant of its own path, and a link is not followed.
func TestT35DevicesAreWhatTheHostSays(t *testing.T) {
	c := installed(t, `{"grants":{},"edits":{"devices":["/**"],"deviceRules":["c 1:*","b 7:0"]}}`, "")
	block := mknod(t, unix.S_IFBLK, 7, 0)
	link := filepath.Join(filepath.Dir(block), "link")
	if err := os.Symlink(block, link); err != nil {
		t.Fatal(err)
	}
	node := func(text string) string { return `{"abi":1,"containerEdits":{"deviceNodes":[{` + text + `}]}}` }
	e, err := taken(c, node(`"path":"/dev/null","major":8,"minor":0,"fileMode":511`))
	if err != nil {
		t.Fatal(err)
	}
	if d := e.ContainerEdits.DeviceNodes[0]; d.Type != "c" || d.Major != 1 || d.Minor != 3 || d.Permissions != "rw" {
		t.Errorf("the numbers are the module's: %+v", d)
	}
	for _, test := range []struct{ document, want string }{
		{node(`"path":"/dev/null","permissions":"rwm"`), `mode m: /dev/null: access "rwm" asks for mknod; leave the m out, or set device_access in the config`},
		{node(`"path":"` + block + `"`), `mode m: ` + block + `: is a block device; the mode must say type b for one`},
		{node(`"path":"` + block + `","type":"b"`), `mode m: deviceNodes[0]: ` + block + `: is not granted; its manifest allows devices /**`},
		{node(`"path":"/dev/x","hostPath":"` + link + `"`), `mode m: ` + link + `: is a symbolic link, not a device; name the device it leads to`},
		{`{"abi":1,"deviceRules":[{"type":"c","major":1,"minor":1,"access":"rw"}]}`, `mode m: device rule c 1:1: is the device mem of the machine, which no container is given`},
		{`{"abi":1,"deviceRules":[{"type":"c","major":1,"minor":-1,"access":"rw"}]}`, `mode m: device rule c 1:-1: is for every memory device, which no container is given`},
		{`{"abi":1,"deviceRules":[{"type":"b","major":7,"minor":0,"access":"rwm"}]}`, `mode m: device rule b 7:0: access "rwm" asks for mknod; leave the m out, or set device_access in the config`},
	} {
		if _, err := taken(c, test.document); err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.document, err, test.want)
		}
	}
	exact := installed(t, `{"grants":{},"edits":{"devices":["`+block+`"]}}`, "")
	if e, err := taken(exact, node(`"path":"`+block+`","type":"b"`)); err != nil || e.ContainerEdits.DeviceNodes[0].Major != 7 {
		t.Errorf("a block device with a grant of its own: %v", err)
	}
	for minor, name := range map[uint32]string{1: "mem", 2: "kmem", 4: "port", 11: "kmsg"} {
		p := mknod(t, unix.S_IFCHR, 1, minor)
		want := fmt.Sprintf("mode m: %s: is the device %s of the machine, which no container is given", p, name)
		if _, err := taken(c, node(`"path":"`+p+`"`)); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A folder on the way that is a link: the node's real place counts.
	dir := t.TempDir()
	if err := os.Symlink("/dev", filepath.Join(dir, "dev")); err != nil {
		t.Fatal(err)
	}
	narrow := installed(t, `{"grants":{},"edits":{"devices":["`+dir+`/**","/dev/acme"]}}`, "")
	want := fmt.Sprintf("mode m: %[1]s/dev/zero: leads to /dev/zero, which is not granted; its manifest allows devices %[1]s/**, /dev/acme", dir)
	if _, err := taken(narrow, node(`"path":"/dev/acme","hostPath":"`+dir+`/dev/zero"`)); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	e, err = taken(c, node(`"path":"/dev/acme","hostPath":"`+dir+`/dev/zero"`))
	if err != nil || e.ContainerEdits.DeviceNodes[0].HostPath != "/dev/zero" || e.ContainerEdits.DeviceNodes[0].Path != "/dev/acme" {
		t.Errorf("%+v, %v", e.ContainerEdits.DeviceNodes, err)
	}
}

// T36: no manifest lets a module set these.
func TestT36VariablesThatNoManifestOpens(t *testing.T) {
	c := installed(t, `{"grants":{},"edits":{"env":["*"],"remove":["env"]}}`, "")
	for text, want := range map[string]string{
		`LD_PRELOAD=/x.so`: `containerEdits.env[0]: "LD_PRELOAD" is not for modes to set`,
		`LD_AUDIT=x`:       `containerEdits.env[0]: "LD_AUDIT" is not for modes to set`,
		`GCONV_PATH=x`:     `containerEdits.env[0]: "GCONV_PATH" is not for modes to set`,
		`BASH_ENV=x`:       `containerEdits.env[0]: "BASH_ENV" is not for modes to set`,
		`PYTHONPATH=x`:     `containerEdits.env[0]: "PYTHONPATH" is not for modes to set`,
		`=x`:               `containerEdits.env[0]: it is not NAME=value`,
		`NAME`:             `containerEdits.env[0]: it is not NAME=value`,
		"A=x\x00y":         `containerEdits.env[0]: the value of "A" holds a NUL, a line break or what is not UTF-8`,
		"A=x\nB=y":         `containerEdits.env[0]: the value of "A" holds a NUL, a line break or what is not UTF-8`,
	} {
		kv, err := json.Marshal([]string{text})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := taken(c, `{"abi":1,"containerEdits":{"env":`+string(kv)+`}}`); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := taken(c, `{"abi":1,"containerEdits":{"env":["ACME=x=y"]},"envMode":{"ACME":"append:"}}`); err != nil {
		t.Error(err)
	}
}

// What is granted together each of the two grants alone, for any two parts of a
// manifest.
func TestEditRightsAreNeverWiderThanEither(t *testing.T) {
	whole := mustManifest(t, acme).Grants
	parts := []Grants{whole, {}}
	for _, less := range withoutOne(t, []byte(acme)) {
		parts = append(parts, less)
	}
	var documents []discover.Edits
	for _, text := range []string{
		mount("/opt/acme/lib", "/usr/lib/acme"), mount("/opt/acme/state", "/opt/acme", "rbind", "rw"),
		`{"abi":1,"containerEdits":{"env":["ACME_X=1"],"deviceNodes":[{"path":"/dev/acme0"}]}}`,
		`{"abi":1,"containerEdits":{"additionalGids":[4],"intelRdt":{"closID":"x"},"netDevices":[{"hostInterfaceName":"acme1","name":"eth0"}]}}`,
		`{"abi":1,"symlinks":[{"target":"x","link":"/usr/lib/x"}],"ldcache":{"dirs":["/x"]},"annotations":{"acme.example/injected":""}}`,
		`{"abi":1,"builtinHooks":[{"name":"chmod","args":{"mode":"755","path":"/dev/acme0"}}],"deviceRules":[{"type":"b","major":8,"minor":0,"access":"r"}]}`,
		`{"abi":1,"remove":{"env":["ACME_X"],"hooks":[{"hookName":"prestart","base":"acme-hook"}]}}`,
	} {
		e, err := DecodeEdits("m", [][]byte{[]byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, e)
	}
	granted := func(m, a Grants, e discover.Edits) bool {
		r := NewRights(m, a, "/")
		return r.CheckEdits("m", e) == nil
	}
	for _, e := range documents {
		if !granted(whole, whole, e) {
			t.Fatalf("%+v is not granted by all", e)
		}
		for _, m := range parts {
			for _, a := range parts {
				if granted(m, a, e) && !(granted(m, m, e) && granted(a, a, e)) {
					t.Fatalf("%+v is granted by %+v with %+v, and not by each", e, m, a)
				}
			}
		}
	}
}

// BenchmarkRights is what the rights of a module cost a create: read, and held
// against 200 mounts.
func BenchmarkRights(b *testing.B) {
	text, err := os.ReadFile("../modules/csv/manifest.json")
	if err != nil {
		b.Fatal(err)
	}
	m := mustManifest(b, string(text))
	c := DefaultConfig()
	c.Installed = []Installed{{Name: "csv", Manifest: m.Text, Accepted: m.GrantsText}}
	e := discover.Edits{ABI: 1}
	for i := range 200 {
		p := fmt.Sprintf("/usr/lib/aarch64-linux-gnu/nvidia/lib%d.so", i)
		e.ContainerEdits.Mounts = append(e.ContainerEdits.Mounts, &cdi.Mount{HostPath: p, ContainerPath: p})
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := c.Installed[0].Read(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("edits", func(b *testing.B) {
		have, err := c.module("csv")
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if err := have.rights.CheckEdits("csv", e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
