// SPDX-License-Identifier: Apache-2.0

// The acme mode over machines that are tables. It needs no wasm tools, no device
// and no root: make test.

#include "../native.h"

#include "acme.c"

// Three devices, the control node of one, and a file where a device should be.
#define MACHINE \
	NATIVE_LIST(TENON_OP_GLOB, TENON_DRIVER, "/dev/acme[0-9]*", "/dev/acme0\0/dev/acme0ctl\0/dev/acme1\0/dev/acme10\0/dev/acme2\0"), \
	NATIVE_STAT(TENON_DRIVER, "/dev/acme0", 'c', 0666, 240, 0), \
	NATIVE_STAT(TENON_DRIVER, "/dev/acme1", 'c', 0660, 240, 1), \
	NATIVE_STAT(TENON_DRIVER, "/dev/acme10", 'c', 0660, 240, 10), \
	NATIVE_STAT(TENON_DRIVER, "/dev/acme2", 'f', 0644, 0, 0)
#define DRIVER_ROOT(path) NATIVE_TEXT(TENON_OP_CONFIG, TENON_HOST, "driver_root", path)
#define ASKED(ids) NATIVE_LIST(TENON_OP_REQUEST, TENON_HOST, "", "ACME_VISIBLE_DEVICES\0" ids)

static int failures;

static void same(const char *what, const char *got, const char *want) {
	if (strcmp(got, want) == 0)
		return;
	printf("%s\n\tgot  %s\n\twant %s\n", what, got, want);
	failures++;
}

static void expect(const char *what, int32_t result, int32_t want, const char *edits, const char *reason) {
	if (result != want) {
		printf("%s: result %d, want %d\n", what, (int)result, (int)want);
		failures++;
	}
	same(what, native_edits, edits);
	same(what, native_reason, reason);
}

#define CASE(what, want, edits, reason, ...) \
	do { \
		static const native_answer table[] = {__VA_ARGS__}; \
		expect(what, NATIVE_RUN(table), want, edits, reason); \
	} while (0)

#define DOC(devices) "{\"abi\":1,\"containerEdits\":{\"deviceNodes\":[" devices "]}}\n"

int main(void) {
	CASE("who asks for nothing gets nothing", TENON_NOT_APPLICABLE, "", "",
	     NATIVE_CODE(TENON_OP_REQUEST, TENON_HOST, "", TENON_NOT_FOUND));
	CASE("all gives every character device", TENON_DONE,
	     DOC("{\"path\":\"/dev/acme0\"},{\"path\":\"/dev/acme1\"},{\"path\":\"/dev/acme10\"}"), "", //
	     ASKED("all\0"), DRIVER_ROOT("/"), MACHINE);
	same("each edit is explained", native_explained,
	     "/dev/acme2: left out, it is not a character device\n"
	     "/dev/acme0: asked for by ACME_VISIBLE_DEVICES\n"
	     "/dev/acme1: asked for by ACME_VISIBLE_DEVICES\n"
	     "/dev/acme10: asked for by ACME_VISIBLE_DEVICES\n");
	CASE("indexes give those devices once, in the machine's order", TENON_DONE,
	     DOC("{\"path\":\"/dev/acme0\"},{\"path\":\"/dev/acme10\"}"), "", ASKED("10\0" "0\0"), DRIVER_ROOT("/"), MACHINE);
	CASE("a driver root of its own is where the host finds the device", TENON_DONE,
	     DOC("{\"path\":\"/dev/acme1\",\"hostPath\":\"/run/acme/dev/acme1\"}"), "", //
	     ASKED("1\0"), DRIVER_ROOT("/run/acme"), MACHINE);
	CASE("an index that the machine does not have is refused", TENON_FAILED, "",
	     "ACME_VISIBLE_DEVICES: \"7\" is not a device of this machine; ask for all, none or some of 0,1,10\n", //
	     ASKED("0\0" "7\0"), DRIVER_ROOT("/"), MACHINE);
	CASE("an index of a file that is no device is refused", TENON_FAILED, "",
	     "ACME_VISIBLE_DEVICES: \"2\" is not a device of this machine; ask for all, none or some of 0,1,10\n", //
	     ASKED("2\0"), DRIVER_ROOT("/"), MACHINE);
	CASE("none gives no device", TENON_DONE, "", "", ASKED("none\0"), DRIVER_ROOT("/"), MACHINE);
	CASE("a machine without devices is refused", TENON_FAILED, "", //
	     "/dev/acme0: this machine has no such device; load its driver\n", //
	     ASKED("all\0"), DRIVER_ROOT("/"), NATIVE_LIST(TENON_OP_GLOB, TENON_DRIVER, "/dev/acme[0-9]*", ""));
	CASE("a query that is not granted is named", TENON_FAILED, "", //
	     "/dev/acme[0-9]* in the driver root: not granted to this mode\n", //
	     ASKED("all\0"), NATIVE_CODE(TENON_OP_CONFIG, TENON_HOST, "driver_root", TENON_NOT_FOUND),
	     NATIVE_CODE(TENON_OP_GLOB, TENON_DRIVER, "/dev/acme[0-9]*", TENON_DENIED));
	CASE("a request that is not granted is named", TENON_FAILED, "", //
	     "request \"\": not granted to this mode\n", NATIVE_CODE(TENON_OP_REQUEST, TENON_HOST, "", TENON_DENIED));
	if (failures == 0)
		puts("acme: ok");
	return failures != 0;
}
