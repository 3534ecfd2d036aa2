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

#define CASE(asked, want, edits, reason) \
	do { \
		static const native_answer table[] = {NATIVE_TEXT(TENON_OP_ENV, TENON_HOST, VARIABLE, asked), MACHINE}; \
		expect("asked for \"" asked "\"", NATIVE_RUN(table), want, edits, reason); \
	} while (0)

#define DOC(devices) "{\"abi\":1,\"containerEdits\":{\"deviceNodes\":[" devices "]}}\n"
#define REFUSED "variable \"" VARIABLE "\": asks for what this machine does not have; ask for \"all\"\n"

int main(void) {
	CASE("", TENON_NOT_APPLICABLE, "", "");
	CASE("void", TENON_NOT_APPLICABLE, "", "");
	CASE("all", TENON_DONE, DOC("{\"path\":\"" PREFIX "0\"},{\"path\":\"" PREFIX "1\"}"), "");
	CASE("1,,1", TENON_DONE, DOC("{\"path\":\"" PREFIX "1\"}"), "");
	CASE("0,7", TENON_FAILED, "", REFUSED);
	return failures != 0;
}
