// The mode over machines that are tables; it needs no wasm tools, no device and
// no root. The recorded machines in testdata are for "tenon module test".

#include "tenon/native.h"

#include "__NAME__.c"

#define MACHINE \
	NATIVE_TEXT(TENON_OP_CONFIG, TENON_HOST, "driver_root", "/"), \
	NATIVE_LIST(TENON_OP_GLOB, TENON_DRIVER, PREFIX "[0-9]*", PREFIX "0\0" PREFIX "0ctl\0" PREFIX "1\0"), \
	NATIVE_STAT(TENON_DRIVER, PREFIX "0", 'c', 0666, 240, 0), \
	NATIVE_STAT(TENON_DRIVER, PREFIX "1", 'c', 0660, 240, 1)

static int failures;

static void expect(const char *what, int32_t result, int32_t want, const char *edits, const char *reason) {
	if (result == want && strcmp(native_edits, edits) == 0 && strcmp(native_reason, reason) == 0)
		return;
	printf("%s: result %d, want %d\n\tedits %s\treason %s\n", what, (int)result, (int)want, native_edits, native_reason);
	failures++;
}

// CASE is a container that asks for ids, each of which ends with \0.
#define CASE(ids, want, edits, reason) \
	do { \
		static const native_answer table[] = {NATIVE_LIST(TENON_OP_REQUEST, TENON_HOST, "", "__VARIABLE__\0" ids), MACHINE}; \
		expect("asked for " #ids, NATIVE_RUN(table), want, edits, reason); \
	} while (0)

#define DOC(devices) "{\"abi\":1,\"containerEdits\":{\"deviceNodes\":[" devices "]}}\n"
#define REFUSED "__VARIABLE__: \"7\" is not a device of this machine; ask for all, none or some of 0,1\n"

int main(void) {
	static const native_answer nothing[] = {NATIVE_CODE(TENON_OP_REQUEST, TENON_HOST, "", TENON_NOT_FOUND)};
	expect("asked for nothing", NATIVE_RUN(nothing), TENON_NOT_APPLICABLE, "", "");
	CASE("all\0", TENON_DONE, DOC("{\"path\":\"" PREFIX "0\"},{\"path\":\"" PREFIX "1\"}"), "");
	CASE("none\0", TENON_DONE, "", "");
	CASE("1\0", TENON_DONE, DOC("{\"path\":\"" PREFIX "1\"}"), "");
	CASE("0\0" "7\0", TENON_FAILED, "", REFUSED);
	return failures != 0;
}
