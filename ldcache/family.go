// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"runtime"
)

// machine is e_machine of an ELF header: EM_ values of elf.h.
type machine uint16

const (
	machine386       machine = 3
	machinePPC64     machine = 21
	machineARM       machine = 40
	machineX8664     machine = 62
	machineAArch64   machine = 183
	machineRISCV     machine = 243
	machineLoongArch machine = 258
)

// family is a set of processors that one ldconfig serves: the one of x86-64
// takes i386 and x32 libraries too, the one of arm64 those of 32-bit ARM.
type family struct {
	machines []machine
	goarch   []string
	loaders  []string // where glibc's loaders are, from sysdeps/**/shlib-versions
	triplets []string // Debian's folders, as "Multiarch/Tuples" in its wiki lists them
	musl     []string // ARCH of /lib/ld-musl-ARCH.so.1, from musl's configure
	wide     bool     // ldconfig adds /lib64 to /lib, from sysdeps/**/dl-cache.h
	x32      bool     // and /libx32
}

type families []*family

var known = families{
	{
		machines: []machine{machineX8664, machine386}, goarch: []string{"amd64", "386"},
		loaders:  []string{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux.so.2", "/libx32/ld-linux-x32.so.2"},
		triplets: []string{"x86_64-linux-gnu", "i386-linux-gnu", "x86_64-linux-gnux32"}, musl: []string{"x86_64", "i386", "x32"}, wide: true, x32: true,
	},
	{
		machines: []machine{machineAArch64, machineARM}, goarch: []string{"arm64", "arm"},
		loaders:  []string{"/lib/ld-linux-aarch64.so.1", "/lib64/ld-linux-aarch64.so.1", "/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.3"},
		triplets: []string{"aarch64-linux-gnu", "arm-linux-gnueabihf", "arm-linux-gnueabi"}, musl: []string{"aarch64", "armhf", "arm"}, wide: true,
	},
	{
		machines: []machine{machineRISCV}, goarch: []string{"riscv64"},
		loaders:  []string{"/lib/ld-linux-riscv64-lp64d.so.1", "/lib/ld-linux-riscv64-lp64.so.1"},
		triplets: []string{"riscv64-linux-gnu"}, musl: []string{"riscv64"}, wide: true,
	},
	{
		machines: []machine{machineLoongArch}, goarch: []string{"loong64"},
		loaders:  []string{"/lib64/ld-linux-loongarch-lp64d.so.1"},
		triplets: []string{"loongarch64-linux-gnu"}, musl: []string{"loongarch64"}, wide: true,
	},
	{
		machines: []machine{machinePPC64}, goarch: []string{"ppc64le"},
		loaders:  []string{"/lib64/ld64.so.2"},
		triplets: []string{"powerpc64le-linux-gnu"}, musl: []string{"powerpc64le"}, wide: true,
	},
}

// native returns the family of the processor that this program was built for.
func native() families {
	for _, f := range known {
		for _, arch := range f.goarch {
			if arch == runtime.GOARCH {
				return families{f}
			}
		}
	}
	return nil
}

// Flags of e_flags that tell the calling conventions of one machine apart,
// from glibc's elf.h.
const (
	armFloatHard       = 0x400 // EF_ARM_ABI_FLOAT_HARD
	armFloatSoft       = 0x200 // EF_ARM_ABI_FLOAT_SOFT
	riscvFloatMask     = 0x6   // EF_RISCV_FLOAT_ABI
	riscvFloatDouble   = 0x4   // EF_RISCV_FLOAT_ABI_DOUBLE
	loongarchFloatMask = 0x7   // EF_LARCH_ABI_MODIFIER_MASK
	loongarchDouble    = 0x3   // EF_LARCH_ABI_DOUBLE_FLOAT
)

// flags returns the Entry.Flags of a library, 0 where it is of none of the
// families.
func (f families) flags(arch machine, wide bool, eflags uint32) uint32 {
	if !f.take(arch) {
		return 0
	}
	switch arch {
	case machineX8664:
		if wide {
			return flagX8664
		}
		return flagX32
	case machine386:
		if !wide {
			return flagLibc6
		}
	case machineAArch64:
		if wide {
			return flagAArch64
		}
	case machineARM:
		switch {
		case wide:
		case eflags&armFloatHard != 0:
			return flagARMHardFloat
		case eflags&armFloatSoft != 0:
			return flagARMSoftFloat
		default:
			return flagLibc6
		}
	case machineRISCV:
		switch {
		case !wide:
		case eflags&riscvFloatMask == riscvFloatDouble:
			return flagRISCVDouble
		case eflags&riscvFloatMask == 0:
			return flagRISCVSoft
		}
	case machineLoongArch:
		switch {
		case !wide:
		case eflags&loongarchFloatMask == loongarchDouble:
			return flagLoongArchDouble
		default:
			return flagLoongArchSoft
		}
	case machinePPC64:
		if wide {
			return flagPowerPC64
		}
	}
	return 0
}

func (f families) take(arch machine) bool {
	for _, one := range f {
		for _, m := range one.machines {
			if m == arch {
				return true
			}
		}
	}
	return false
}
