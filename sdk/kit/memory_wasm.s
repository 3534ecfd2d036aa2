// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// func memoryPages() uint32, as runtime·currentMemory of Go's runtime/sys_wasm.s
TEXT ·memoryPages(SB),NOSPLIT,$0-4
	Get SP
	CurrentMemory
	I32Store ret+0(FP)
	RET
