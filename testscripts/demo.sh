#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Starts one container through tenon-runtime and real runc. The machine that the
# csv mode looks at is a folder made here, with a device node and a library in
# it; the container's root file system holds a C library and one program. The
# program says what it finds. Everything is made in one folder and removed.
set -eu
cd "$(dirname "$0")/.."
build=$PWD/build

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: FAILED: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "must be root, since it starts a container"
command -v gcc >/dev/null || fail "gcc is not installed; install gcc and libc6-dev"

# Without an installed runc one is built, as far as it goes without libseccomp.
if command -v runc >/dev/null; then
	runc=$(command -v runc)
else
	runc=$build/runc
	[ -x "$runc" ] || {
		say "runc is not installed: building it"
		CGO_ENABLED=1 GOBIN=$build go install github.com/opencontainers/runc@v1.3.6
	}
fi

# Not below /tmp: tenon uses no module or hook from a folder that others can
# write to.
dir=$(mktemp -d /var/lib/tenon-demo.XXXXXX)
id=tenon-demo-$$
cleanup() {
	"$runc" --root "$dir/state" delete --force "$id" >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
chmod 755 "$dir"

say "the machine: a device node, a library and NVIDIA's CSV lists"
machine=$dir/machine
mkdir -p "$machine/dev" "$machine/usr/lib/demo" "$dir/csv"
mknod -m 666 "$machine/dev/demo0" c 1 3
gcc -shared -fPIC -o "$machine/usr/lib/demo/libdemo.so.1.2" -Wl,-soname,libdemo.so.1 -x c - <<'C'
const char *demo(void) { return "libdemo.so.1 answers"; }
C
ln -s libdemo.so.1.2 "$machine/usr/lib/demo/libdemo.so.1"
echo 'dev, /dev/demo0' >"$dir/csv/devices.csv"
cat >"$dir/csv/drivers.csv" <<'CSV'
lib, /usr/lib/demo/libdemo.so.1.2
sym, /usr/lib/demo/libdemo.so.1
CSV
grep -H . "$dir"/csv/*.csv

say "tenon: its programs, the csv mode, and one configuration"
mkdir -p "$dir/bin"
cp "$build/tenon-runtime" "$build/tenon-engine" "$build/tenon-hook" "$dir/bin/"
cat >"$dir/config.toml" <<TOML
mode = "csv"
module_dir = "$dir/modules"
modules_d = "$dir/modules.d"
cache_dir = "$dir/cache"
driver_root = "$machine"
runtimes = ["$runc"]
[modes.csv]
mount_spec_path = "$dir/csv"
TOML
# What /etc/tenon and /run/tenon are otherwise.
export TENON_CONFIG="$dir/config.toml" TENON_STATE="$dir/run"
"$build/tenon" module install --accept-grants "$build/modules/csv.wasm"
cat "$dir/config.toml"

say "the container: a C library and a program that looks around"
root=$dir/bundle/rootfs
mkdir -p "$root/etc" "$root/proc" "$root/dev" "$root/usr/lib"
gcc -o "$root/look" -x c - -ldl <<'C'
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int main(void) {
	struct stat st;
	if (stat("/dev/demo0", &st) || !S_ISCHR(st.st_mode)) { perror("/dev/demo0"); return 1; }
	int fd = open("/dev/demo0", O_WRONLY);
	if (fd < 0 || write(fd, "x", 1) != 1) { perror("/dev/demo0"); return 1; }
	printf("device   /dev/demo0, character device %u:%u, as user %d: written\n",
	       major(st.st_rdev), minor(st.st_rdev), (int)getuid());
	void *lib = dlopen("libdemo.so.1", RTLD_NOW);
	if (!lib) { printf("library  %s\n", dlerror()); return 1; }
	const char *(*demo)(void) = (const char *(*)(void))dlsym(lib, "demo");
	printf("library  loaded by soname: %s\n", demo());
	const char *env = getenv("NVIDIA_VISIBLE_DEVICES");
	printf("env      NVIDIA_VISIBLE_DEVICES=%s\n", env ? env : "(unset)");
	return 0;
}
C
# The loader and the libraries of this machine, where the program expects them.
ldd "$root/look" | grep -o '/[^ ]*' | while read -r file; do
	mkdir -p "$root$(dirname "$file")"
	cp -L "$file" "$root$file"
done
bundle() { # $1: the value of NVIDIA_VISIBLE_DEVICES
	cat >"$dir/bundle/config.json" <<JSON
{
  "ociVersion": "1.0.2",
  "process": {
    "user": {"uid": 1000, "gid": 1000}, "cwd": "/", "noNewPrivileges": true,
    "args": ["/look"], "env": ["PATH=/", "NVIDIA_VISIBLE_DEVICES=$1"]
  },
  "root": {"path": "rootfs"},
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
  ],
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}],
    "resources": {"devices": [{"allow": false, "access": "rwm"}]}
  }
}
JSON
}
container() { "$dir/bin/tenon-runtime" --root "$dir/state" run --bundle "$dir/bundle" "$id"; }

say "a container that asks for nothing: the same runtime, NVIDIA_VISIBLE_DEVICES=void"
bundle void
before=$(stat -c '%i %y' "$dir/bundle/config.json")
if out=$(container 2>&1); then fail "it has the device without asking: $out"; fi
echo "$out"
[ "$before" = "$(stat -c '%i %y' "$dir/bundle/config.json")" ] || fail "its config.json was touched"

say "a container that asks: NVIDIA_VISIBLE_DEVICES=all"
bundle all
out=$(container 2>&1) || fail "$out"
echo "$out"
for line in 'device   /dev/demo0, character device 1:3, as user 1000: written' \
	'library  loaded by soname: libdemo.so.1 answers' \
	'env      NVIDIA_VISIBLE_DEVICES=all'; do
	case $out in *"$line"*) ;; *) fail "the container does not say: $line" ;; esac
done

say "what the csv mode had written into its config.json"
grep -o '"path":"/dev/demo0"[^}]*}' "$dir/bundle/config.json"
grep -o '{"destination":"/usr/lib/demo[^}]*}' "$dir/bundle/config.json"
grep -o '"args":\["tenon-hook"[^]]*\]' "$dir/bundle/config.json"

printf '\ndemo: ok\n'
