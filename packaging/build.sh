#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the deb and the rpm: packaging/build.sh [ARCH], with ARCH as Go names it
# (amd64, arm64, …). "make packages" calls it and sets what it wants:
#
#   PROGRAMS MODES   what to build
#   LDFLAGS          for the programs
#   VERSION          as git describe tells it
#   MAINTAINER       who to write to about the packages: "NAME <ADDRESS>"
#   NFPM             the package that makes packages, with its version
#   GO               the go command (go)
#   OUT              the folder for the packages; by default build, so that
#                    build/*.deb is for this machine, and build/ARCH for others
#   SOURCE_DATE_EPOCH  the time of all files; by default that of the last commit
#
# The same sources, VERSION and SOURCE_DATE_EPOCH give the same bytes, wherever
# they lie. Nothing outside of OUT and a temporary folder is written.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
go=${GO:-go}
: "${PROGRAMS:?}" "${MODES:?}" "${LDFLAGS:?}" "${VERSION:?}" "${MAINTAINER:?}" "${NFPM:?}"
host=$($go env GOHOSTARCH)
arch=${1:-$host}
if [ "$arch" = "$host" ]; then out=${OUT:-build}; else out=${OUT:-build/$arch}; fi
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export CGO_ENABLED=0 LC_ALL=C TZ=UTC
day=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)

# A version that dpkg and rpm can compare: 1.2.3; 1.2.3+4.gabc, later than 1.2.3;
# and before the first tag 0.0.0+20060102150405.gabc.
case $VERSION in
v[0-9]*) package=${VERSION#v} package=${package/-rc/~rc} package=${package/-/+} package=${package//-/.} ;;
*) package=0.0.0+$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).g${VERSION//-/.} ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree tools=$work/tools
mkdir -p "$tools" "$out"

go_build() { $go build -trimpath -buildvcs=false "$@"; }
put() { install -D -m "$1" "$2" "$tree$3"; }
pack() { gzip -9n <"$1" >"$work/packed" && put 0644 "$work/packed" "$2.gz"; }

# The programs, and what of them is run here.
paths=()
for program in $PROGRAMS; do paths+=("./cmd/$program"); done
GOARCH=$arch go_build -ldflags "$LDFLAGS" -o "$work/bin/" "${paths[@]}"
tenon=$work/bin/tenon
if [ "$arch" != "$host" ]; then
	go_build -ldflags "$LDFLAGS" -o "$tools/" ./cmd/tenon
	tenon=$tools/tenon
fi
files=()
for program in $PROGRAMS; do
	put 0755 "$work/bin/$program" "/usr/bin/$program"
	files+=("$work/bin/$program")
done
# Under these names the programs are NVIDIA's. They are not in /usr/bin, where
# NVIDIA's own package has files of these names.
mkdir -p "$tree/usr/lib/tenon"
ln -s ../../bin/tenon-runtime "$tree/usr/lib/tenon/nvidia-container-runtime"
ln -s ../../bin/tenon-hook "$tree/usr/lib/tenon/nvidia-container-runtime-hook"

# The modules, as an administrator would install them from where copy-modules puts
# them.
packaged=/var/lib/tenon/packaged
for mode in $MODES; do
	"$tenon" module build "modules/$mode" -o "$work/$mode.wasm" >/dev/null
	put 0644 "$work/$mode.wasm" "/usr/lib/tenon/modules/$mode.wasm"
	sum=$(sha256sum <"$work/$mode.wasm")
	put 0644 "$work/$mode.wasm" "$packaged/${sum%% *}.wasm"
	"$tenon" module install --root "$tree" --mode "$mode" --accept-grants --in-place "$tree$packaged/${sum%% *}.wasm" >/dev/null
	files+=("$work/$mode.wasm")
done
rm -r "${tree:?}/var"
put 0755 packaging/copy-modules /usr/lib/tenon/copy-modules

put 0644 packaging/config.toml /etc/tenon/config.toml
put 0644 packaging/tenon-warm.service /usr/lib/systemd/system/tenon-warm.service

# What people and shells read.
mkdir "$work/man"
$go run ./packaging/man "$tenon" "$package" "$day" "$work/man"
for page in packaging/man/*.8; do
	sed "s/@DATE@/$(date -u -d "$day" '+%B %-d, %Y')/" "$page" >"$work/man/$(basename "$page")"
done
echo '.so man8/tenon-runtime.8' >"$work/man/tenon-engine.8"
for page in "$work"/man/*; do
	pack "$page" "/usr/share/man/man${page##*.}/$(basename "$page")"
done
"$tenon" completion bash >"$work/bash"
"$tenon" completion zsh >"$work/zsh"
"$tenon" completion fish >"$work/fish"
put 0644 "$work/bash" /usr/share/bash-completion/completions/tenon
put 0644 "$work/fish" /usr/share/fish/vendor_completions.d/tenon.fish

# What they are made of, under which licence, and what has changed.
doc=/usr/share/doc/tenon
$go run ./packaging/sbom "$package" "$SOURCE_DATE_EPOCH" "$work/sbom.json" "$work/licences" "${files[@]}"
put 0644 "$work/sbom.json" $doc/sbom.cdx.json
pack "$work/licences" $doc/third-party-licences
put 0644 packaging/copyright $doc/copyright
pack CHANGELOG.md $doc/changelog
for page in README.md docs/*.md; do put 0644 "$page" "$doc/$(basename "$page")"; done
cat >"$work/debian" <<CHANGELOG
tenon ($package-1) unstable; urgency=medium

  * Version $package. What has changed is in changelog.gz.

 -- $MAINTAINER  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
CHANGELOG
gzip -9n "$work/debian"

# nfpm takes the times of folders from the disk.
find "$work" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
export ARCH=$arch PACKAGE_VERSION=$package MAINTAINER
mtime=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
case $arch in amd64) rpm=x86_64 ;; arm64) rpm=aarch64 ;; *) rpm=$arch ;; esac
rm -f "$out"/tenon_*_"$arch".deb "$out"/tenon-*."$rpm".rpm
# nfpm puts variables into some members only.
sed -e "s|\${HERE}|$here|g; s|\${WORK}|$work|g; s|\${MTIME}|$mtime|g" packaging/nfpm.yaml >"$work/nfpm.yaml"
for kind in deb rpm; do
	$go run "$NFPM" package --config "$work/nfpm.yaml" --packager $kind --target "$out/"
done
