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
#define ASKED(value) NATIVE_TEXT(TENON_OP_ENV, TENON_HOST, "ACME_VISIBLE_DEVICES", value)

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
	CASE("no variable asks for nothing", TENON_NOT_APPLICABLE, "", "",
	     NATIVE_CODE(TENON_OP_ENV, TENON_HOST, "ACME_VISIBLE_DEVICES", TENON_NOT_FOUND));
	CASE("an empty variable asks for nothing", TENON_NOT_APPLICABLE, "", "", ASKED(""));
	CASE("commas alone ask for nothing", TENON_NOT_APPLICABLE, "", "", ASKED(",,"));
	CASE("void asks for nothing", TENON_NOT_APPLICABLE, "", "", ASKED("void"));
	CASE("all gives every character device", TENON_DONE,
	     DOC("{\"path\":\"/dev/acme0\"},{\"path\":\"/dev/acme1\"},{\"path\":\"/dev/acme10\"}"), "", //
	     ASKED("all"), DRIVER_ROOT("/"), MACHINE);
	same("each edit is explained", native_explained,
	     "/dev/acme2: left out, it is not a character device\n"
	     "/dev/acme0: asked for by ACME_VISIBLE_DEVICES\n"
	     "/dev/acme1: asked for by ACME_VISIBLE_DEVICES\n"
	     "/dev/acme10: asked for by ACME_VISIBLE_DEVICES\n");
	CASE("indexes give those devices once, in the machine's order", TENON_DONE,
	     DOC("{\"path\":\"/dev/acme0\"},{\"path\":\"/dev/acme10\"}"), "", ASKED("10,0,,10,"), DRIVER_ROOT("/"), MACHINE);
	CASE("a driver root of its own is where the host finds the device", TENON_DONE,
	     DOC("{\"path\":\"/dev/acme1\",\"hostPath\":\"/run/acme/dev/acme1\"}"), "", //
	     ASKED("1"), DRIVER_ROOT("/run/acme"), MACHINE);
	CASE("an index that the machine does not have is refused", TENON_FAILED, "",
	     "/dev/acme7: this machine has no such device; ACME_VISIBLE_DEVICES may ask for 0,1,10\n", //
	     ASKED("0,7"), DRIVER_ROOT("/"), MACHINE);
	CASE("an index of a file that is no device is refused", TENON_FAILED, "",
	     "/dev/acme2: this machine has no such device; ACME_VISIBLE_DEVICES may ask for 0,1,10\n", //
	     ASKED("2"), DRIVER_ROOT("/"), MACHINE);
	CASE("what is not an index is refused, and not repeated", TENON_FAILED, "",
	     "variable \"ACME_VISIBLE_DEVICES\": an item is not an index; ask for \"all\", \"void\" or indexes such as 0,1\n", //
	     ASKED("0,all"), DRIVER_ROOT("/"), MACHINE);
	CASE("a machine without devices is refused", TENON_FAILED, "", //
	     "/dev/acme0: this machine has no such device; load its driver\n", //
	     ASKED("all"), DRIVER_ROOT("/"), NATIVE_LIST(TENON_OP_GLOB, TENON_DRIVER, "/dev/acme[0-9]*", ""));
	CASE("a query that is not granted is named", TENON_FAILED, "", //
	     "/dev/acme[0-9]* in the driver root: not granted to this mode\n", //
	     ASKED("all"), NATIVE_CODE(TENON_OP_CONFIG, TENON_HOST, "driver_root", TENON_NOT_FOUND),
	     NATIVE_CODE(TENON_OP_GLOB, TENON_DRIVER, "/dev/acme[0-9]*", TENON_DENIED));
	CASE("a variable that is not granted is named", TENON_FAILED, "", //
	     "variable \"ACME_VISIBLE_DEVICES\": not granted to this mode\n",
	     NATIVE_CODE(TENON_OP_ENV, TENON_HOST, "ACME_VISIBLE_DEVICES", TENON_DENIED));
	if (failures == 0)
		puts("acme: ok");
	return failures != 0;
}
