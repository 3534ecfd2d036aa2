#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the newest engines from the Go module proxy, at the versions below, into
# build/engines/NAME-VERSION, where they stay, and prints these folders:
#
#	testscripts/e2e/engines.sh containerd runc
#
# runc needs gcc, pkg-config and libseccomp-dev; Kubernetes takes minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

declare -A version=([containerd]=v2.4.2 [runc]=v1.5.2 [kubernetes]=v1.37.2 [etcd]=v3.7.3)

build_containerd() {
	local module=github.com/containerd/containerd/v2/cmd
	CGO_ENABLED=0 GOBIN=$1 go install -tags no_btrfs,no_devmapper,no_zfs -ldflags '-s -w' \
		{$module/containerd,$module/containerd-shim-runc-v2,$module/ctr}@"$2"
}

build_runc() {
	CGO_ENABLED=1 GOBIN=$1 go install -tags seccomp -ldflags '-s -w' github.com/opencontainers/runc@"$2"
}

build_etcd() {
	in_module "$1" "require go.etcd.io/etcd/server/v3 $2"
	go -C "$1/module" build -ldflags '-s -w' -o "$1/etcd" go.etcd.io/etcd/server/v3
}

# go install refuses a module with replacements, and Kubernetes replaces its parts
# by folders of its own repository. Each part is a module of its own too, v1.X.Y of
# the whole being v0.X.Y of each: so a module of ours says the same with versions.
build_kubernetes() {
	local mod parts=v0.${2#v1.}
	mod=$(go mod download -json "k8s.io/kubernetes@$2" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
	in_module "$1" "require k8s.io/kubernetes $2
require (
$(awk '/^require \(/ {on = 1; next} /^\)/ {on = 0} on' "$mod" | sed "s,\(k8s.io/[a-z-]*\) v0\.0\.0\( \|$\),\1 $parts\2,")
)
replace (
$(awk -v parts="$parts" '$2 == "=>" && $3 ~ /^\.\/staging\// {print $1, "=>", $1, parts}' "$mod")
)"
	go -C "$1/module" build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$2" -o "$1/" \
		k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubelet
}

# in_module makes a module in the folder "module" of folder $1, that says $2.
in_module() {
	mkdir -p "$1/module"
	printf 'module engines\n\ngo 1.26.0\n\n%s\n' "$2" >"$1/module/go.mod"
	export CGO_ENABLED=0 GOFLAGS=-mod=mod # go.sum is written as the checksum database has it
}

for engine; do
	dir=$PWD/build/engines/$engine-${version[$engine]}
	if [ ! -d "$dir" ]; then
		echo "building $engine ${version[$engine]}" >&2
		rm -rf "$dir.new"
		mkdir -p "$dir.new"
		(build_"$engine" "$dir.new" "${version[$engine]}") >&2
		mv "$dir.new" "$dir"
	fi
	echo "$dir"
done
