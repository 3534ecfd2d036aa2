#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes the root file systems that the tests of tenon-hook run in, from packages
# of the distribution that this machine is installed from: glibc of Debian 11,
# 12, 13 and of unstable, and musl. Nothing in them is started while they are
# made. The mirror is the one in the machine's own apt sources; lists and state
# of the other releases are kept apart from the machine's.
#
#   testscripts/roots.sh [FOLDER]        FOLDER: build/roots, unless given
#
# A root that is there stays. What was made of which packages is printed.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "${1:-build/roots}"
out=$(cd "${1:-build/roots}" && pwd)

mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
	sed -n -e 's/^deb \(\[[^]]*\] \)\{0,1\}\(http[^ ]*\/debian\)\/* .*/\2/p' -e 's/^URIs: *\(http[^ ]*\/debian\)\/* *$/\1/p' | head -n 1)
if [ -z "$mirror" ]; then
	echo "roots.sh: no Debian mirror in /etc/apt/sources.list.d; add one" >&2
	exit 1
fi

# apt SUITE COMMAND...: apt-get for another release, in a state of its own.
apt() {
	state=$out/.apt/$1
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >"$state/sources.list"
	: >>"$state/status"
	shift
	apt-get -qq -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false "$@"
}

# root NAME SUITE PACKAGE...: the files of the packages, under FOLDER/NAME.
root() {
	name=$1 suite=$2
	shift 2
	if [ ! -e "$out/$name/.packages" ]; then
		rm -rf "$out/$name" "$out/$name.new"
		mkdir -p "$out/$name.new/.debs"
		apt "$suite" update
		(cd "$out/$name.new/.debs" && apt "$suite" download "$@")
		for deb in "$out/$name.new/.debs"/*.deb; do
			dpkg-deb -x "$deb" "$out/$name.new"
			basename "$deb" >>"$out/$name.new/.packages"
		done
		for dir in bin lib lib64 sbin; do # as base-files has it where the packages do not
			[ -e "$out/$name.new/$dir" ] || [ ! -e "$out/$name.new/usr/$dir" ] || ln -s "usr/$dir" "$out/$name.new/$dir"
		done
		rm -rf "$out/$name.new/.debs" "$out/$name.new/usr/share/doc" "$out/$name.new/usr/share/locale"
		mv "$out/$name.new" "$out/$name"
	fi
	echo "$out/$name: $(tr '\n' ' ' <"$out/$name/.packages")"
}

root debian11 bullseye libc6 libc-bin zlib1g libgcc-s1 libstdc++6
root debian12 bookworm libc6 libc-bin zlib1g libgcc-s1 libstdc++6
root debian13 trixie libc6 libc-bin zlib1g libgcc-s1 libstdc++6
root unstable sid libc6 libc-bin zlib1g libgcc-s1 libstdc++6
root musl bookworm musl
