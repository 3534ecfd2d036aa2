#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# machine.sh FOLDER makes what the kit looks at: FOLDER/driver, the driver root,
# and FOLDER/container, the container's root file system. It needs root, for
# device nodes. They have numbers that no driver has, and nothing opens them.
set -eu
umask 022
mkdir -p "$1/driver" "$1/container"
cd "$1/container"
mkdir -p kit
echo 'in the container' >kit/file
ln -s /kit/file kit/abs
ln -s ../../../../../../../../../../kit/file kit/up
ln -s ../../../../../../../../../.. kit/updir

cd ../driver
mkdir -p kit/dir/sub kit/names kit/nodes 'kit/st*r' usr/lib usr/local/sbin usr/local/bin usr/sbin usr/bin
cd kit
echo 'in the driver root' >file
: >empty && chmod 600 empty && chown 1:2 empty
: >setuid && chmod 6755 setuid
printf '\000\377\n\000' >bytes
head -c 1048576 /dev/zero >mib
head -c 1048577 /dev/zero >over
for i in $(seq 0 31); do ln -s mib mib$i; done
for f in a b B .hidden; do echo $f >dir/$f; done
ln -s ../file dir/link
chmod 1777 dir
ln -s dir dirlink
ln -s file link
ln -s /kit/file abs
ln -s ../../../../../../../../../../kit/file up
ln -s nowhere dangling
ln -s loop loop
ln -s file chain1
for i in $(seq 2 41); do ln -s chain$((i - 1)) chain$i; done
: >'st*r/a'
: >names/é
: >"names/$(printf '\377')"
for at in . nodes; do
	mkfifo $at/fifo
	mknod $at/char c 240 300
	mknod $at/block b 7 3
	chmod 640 $at/char && chown 1:44 $at/char
	chmod 600 $at/block
done

# Libraries: the first 64 bytes of an ELF file are all that tells them apart. The
# numbers are EI_CLASS and e_machine of elf(5).
case $(uname -m) in
x86_64) machine='\076\000' ;;
aarch64) machine='\267\000' ;;
riscv64) machine='\363\000' ;;
*) echo "machine.sh: $(uname -m) is not known here; add its e_machine" >&2 && exit 1 ;;
esac
header() { printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\003\000'"$1"'\001\000\000\000' && head -c 40 /dev/zero; }
cd ../usr/lib
header "$machine" >libkit.so.1.2
header '\010\000' >libkit.so.8 # of MIPS
echo text >libkit.so.9
ln -s libkit.so.1.2 libkit.so.1
ln -s nowhere libkit.so.7

cd ..
for f in local/bin/kit-prog bin/kit-prog bin/kit-text; do printf '#!/bin/sh\n' >$f && chmod 755 $f; done
printf 'text\n' >local/bin/kit-text && chmod 644 local/bin/kit-text
mkdir local/sbin/kit-dir
ln -s ../../kit/setuid sbin/kit-link
ln -s nowhere bin/kit-dangling
