// SPDX-License-Identifier: Apache-2.0

// Tests of tenon.h itself: the writer of edits against the document that all
// SDKs must write (its path is the argument), answers taken apart, and memory
// that is too small. cc -std=c11 -o t tenon_test.c && ./t ../kit/edits.json

#include "native.h"

static int failures;

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			printf("tenon_test.c:%d: %s does not hold\n", __LINE__, #condition); \
			failures++; \
		} \
	} while (0)

#define S(literal) TENON_STR(literal)

static bool is(tenon_str s, const char *want) { return s.len == strlen(want) && memcmp(s.ptr, want, s.len) == 0; }

// add_all adds at least one edit of every kind, in no order.
static void add_all(tenon *t) {
	const uint32_t mode = 0660, uid = 0, gid = 44;
	tenon_add_annotation(t, S("acme.com/injected"), S("2"));
	tenon_add_annotation(t, S("acme.com/text"), S("\"\\\b\t\n\f\r\x1f\x7f/<&>\xc3\xa9\xe2\x80\xa8\xf0\x9f\x9a\x80"));
	tenon_add_device(t, (tenon_device){.path = S("/dev/acme0")});
	tenon_add_device(t, (tenon_device){.path = S("/dev/acme1"), .host_path = S("/run/acme/dev/acme1"), .type = S("c"),
	                                   .major = 240, .minor = 1, .file_mode = &mode, .permissions = S("rw"),
	                                   .uid = &uid, .gid = &gid});
	tenon_set_env(t, S("ACME_DEVICES"), S("0,1"));
	tenon_set_env(t, S("PATH"), S("/opt/acme/bin"));
	tenon_set_env_mode(t, S("PATH"), S("append:"));
	const tenon_str options[] = {S("ro"), S("nosuid"), S("nodev"), S("rbind"), S("rprivate")};
	tenon_add_mount(t, (tenon_mount){.host_path = S("/usr/lib/libacme.so.1"), .container_path = S("/usr/lib/libacme.so.1")});
	tenon_add_mount(t, (tenon_mount){.host_path = S("/opt/acme"), .container_path = S("/opt/acme"), .options = options,
	                                 .option_count = 5, .type = S("bind")});
	tenon_add_gid(t, 44);
	tenon_add_gid(t, 0);
	tenon_remove_hook(t, S("prestart"), S("nvidia-container-runtime-hook"));
	tenon_remove_env(t, S("ACME_OLD"));
	tenon_remove_mount(t, S("/opt/old"));
	tenon_remove_device(t, S("/dev/old"));
	tenon_add_symlink(t, S("libacme.so.1"), S("/usr/lib/libacme.so"));
	tenon_add_ldcache_dir(t, S("/usr/lib/acme"));
	tenon_add_device_rule(t, S("c"), 240, -1, S("rw"));
	const tenon_str args[][2] = {{S("mode"), S("755")}, {S("path"), S("/dev/dri")}};
	tenon_add_builtin_hook(t, S("chmod"), args, 2);
	tenon_add_builtin_hook(t, S("disable-device-node-modification"), NULL, 0);
	tenon_add(t, TENON_EDIT_NET_DEVICES, S("{\"hostInterfaceName\":\"acme0\",\"name\":\"eth1\"}"));
	tenon_add(t, TENON_EDIT_HOOKS, S("{\"hookName\":\"createContainer\",\"path\":\"/usr/bin/acme-hook\",\"args\":[\"acme-hook\"],"
	                                 "\"env\":[\"A=b\"],\"timeout\":5}"));
	tenon_add(t, TENON_EDIT_INTEL_RDT, S("{\"closID\":\"acme\",\"enableMonitoring\":true}"));
}

static void edits(const char *golden) {
	static char want[8192], memory[16384];
	FILE *f = fopen(golden, "rb");
	if (!f) {
		perror(golden);
		exit(1);
	}
	size_t n = fread(want, 1, sizeof want - 1, f);
	fclose(f);
	CHECK(n > 1 && want[n - 1] == '\n');
	want[n - 1] = '\0';

	tenon t = tenon_start(memory, sizeof memory);
	tenon_str doc;
	CHECK(tenon_edits_json(&t, &doc) && is(doc, "{\"abi\":1}"));
	add_all(&t);
	CHECK(tenon_edits_json(&t, &doc));
	if (!is(doc, want)) {
		printf("the edits document differs\n\tgot  %.*s\n\twant %s\n", (int)doc.len, doc.ptr, want);
		failures++;
	}

	// With every size of memory up to one that holds it all, the document is
	// whole or refused, and no byte behind the memory is touched.
	uint32_t enough = 0;
	for (uint32_t cap = 0; cap < 4 * n && !enough; cap++) {
		char *small = malloc(cap + 8);
		memset(small, 0xa5, cap + 8);
		t = tenon_start(small, cap);
		add_all(&t);
		if (tenon_edits_json(&t, &doc)) {
			CHECK(is(doc, want));
			enough = cap;
		}
		for (int i = 0; i < 8; i++)
			CHECK((unsigned char)small[cap + i] == 0xa5);
		free(small);
	}
	CHECK(enough > n);
}

static void numbers(void) {
	char memory[64];
	tenon t = tenon_start(memory, sizeof memory);
	uint32_t begin = tenon_text_begin(&t);
	tenon_put_int(&t, INT64_MIN);
	tenon_put_int(&t, 0);
	tenon_put_int(&t, INT64_MAX);
	CHECK(is(tenon_text_end(&t, begin), "-922337203685477580809223372036854775807"));
}

static void answers(void) {
	static const native_answer table[] = {
	    NATIVE_LIST(TENON_OP_READDIR, TENON_CONTAINER, "/d", "fname\0dsub\0"),
	    NATIVE_LIST(TENON_OP_READDIR, TENON_HOST, "/bad", "f\0"),
	    NATIVE_LIST(TENON_OP_MOUNTS, TENON_HOST, "/", "/a\0src\0bind\0ro,nodev\0/b\0\0\0\0"),
	    NATIVE_STAT(TENON_HOST, "/dev/x", 'b', 0640, 0x80000001u, 0x01020304),
	    NATIVE_TEXT(TENON_OP_STAT, TENON_HOST, "/longer",
	                "f\0\0\0\xa4\1\0\0\1\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0and more"),
	    NATIVE_TEXT(TENON_OP_STAT, TENON_HOST, "/short", "f"),
	    NATIVE_TEXT(TENON_OP_FEATURE, TENON_HOST, "op.15", "1"),
	    NATIVE_LIST(TENON_OP_REQUEST, TENON_HOST, "", "ACME\0" "1\0" "a\"b\0"),
	    NATIVE_LIST(TENON_OP_REQUEST, TENON_HOST, "all", "/run/acme\0all\0"),
	    NATIVE_LIST(TENON_OP_REQUEST, TENON_HOST, "none", "ACME\0none\0"),
	    NATIVE_CODE(TENON_OP_REQUEST, TENON_HOST, "nothing", TENON_NOT_FOUND),
	    NATIVE_CODE(TENON_OP_FEATURE, TENON_HOST, "op.99", TENON_NOT_FOUND),
	    NATIVE_TEXT(TENON_OP_READ, TENON_HOST, "/f", "0123456789"),
	    NATIVE_CODE(TENON_OP_READ, TENON_CONTAINER, "/f", TENON_WRONG_TYPE),
	    NATIVE_CODE(TENON_OP_ANNOTATION, TENON_HOST, "a\"b", TENON_OVER_BUDGET),
	    NATIVE_CODE(TENON_OP_ENV, TENON_HOST, "NEWER", -77),
	};
	native_table = table;
	native_count = sizeof table / sizeof table[0];
	char memory[512];
	tenon t = tenon_start(memory, sizeof memory);
	tenon_str list, name;
	char type;

	CHECK(tenon_readdir(&t, TENON_CONTAINER, S("/d"), &list) == 0);
	CHECK(tenon_next_entry(&list, &type, &name) && type == 'f' && is(name, "name"));
	CHECK(tenon_next_entry(&list, &type, &name) && type == 'd' && is(name, "sub"));
	CHECK(!tenon_next_entry(&list, &type, &name));
	CHECK(tenon_readdir(&t, TENON_HOST, S("/bad"), &list) == 0 && !tenon_next_entry(&list, &type, &name));

	tenon_mount_found m;
	CHECK(tenon_mounts(&t, S("/"), &list) == 0);
	CHECK(tenon_next_mount(&list, &m) && is(m.destination, "/a") && is(m.source, "src") && is(m.options, "ro,nodev"));
	CHECK(tenon_next_mount(&list, &m) && is(m.destination, "/b") && m.source.len == 0 && m.options.len == 0);
	CHECK(!tenon_next_mount(&list, &m));

	const tenon_str ids[] = {S("0"), S("1")};
	tenon_devices asked;
	tenon_str reason;
	CHECK(tenon_request(&t, S(""), &asked) == 0 && is(asked.place, "ACME"));
	CHECK(tenon_asks_for(asked, S("1")) && !tenon_asks_for(asked, S("0")) && !tenon_asks_for(asked, S("all")));
	CHECK(tenon_missing(&t, asked, ids, 2, &reason));
	CHECK(is(reason, "ACME: \"a\\\"b\" is not a device of this machine; ask for all, none or some of 0,1"));
	CHECK(tenon_request(&t, S("all"), &asked) == 0 && is(asked.place, "/run/acme"));
	CHECK(tenon_asks_for(asked, S("1")) && !tenon_missing(&t, asked, ids, 2, &reason));
	CHECK(tenon_request(&t, S("none"), &asked) == 0 && !tenon_asks_for(asked, S("1")) && !tenon_missing(&t, asked, ids, 2, &reason));
	CHECK(tenon_request(&t, S("nothing"), &asked) == TENON_NOT_FOUND && asked.place.len == 0 && asked.ids.len == 0);

	tenon_stat_record st;
	uint32_t used = t.used;
	CHECK(tenon_stat(&t, TENON_HOST, S("/dev/x"), &st) == 0);
	CHECK(st.type == 'b' && st.mode == 0640 && st.major == 0x80000001u && st.minor == 0x01020304 && st.size == 0);
	CHECK(tenon_stat(&t, TENON_HOST, S("/longer"), &st) == 0);
	CHECK(st.type == 'f' && st.mode == 0644 && st.uid == 1 && st.gid == 2 && st.size == UINT64_C(1) << 32);
	CHECK(tenon_stat(&t, TENON_HOST, S("/short"), &st) == TENON_IO_ERROR && st.type == 0);
	CHECK(tenon_feature(&t, S("op.15")) && !tenon_feature(&t, S("op.99")));
	CHECK(t.used == used);

	CHECK(tenon_query(&t, TENON_OP_READ, TENON_CONTAINER, S("/f"), &list) == TENON_WRONG_TYPE && list.ptr == NULL);
	native_reason[0] = '\0';
	CHECK(tenon_fail_query(&t) == TENON_FAILED);
	CHECK(strcmp(native_reason, "/f in the container: has the wrong file type\n") == 0);
	CHECK(tenon_annotation(&t, S("a\"b"), &list) == TENON_OVER_BUDGET);
	native_reason[0] = '\0';
	CHECK(tenon_fail_query(&t) == TENON_FAILED);
	CHECK(strcmp(native_reason, "annotation \"a\\\"b\": the mode has asked more than its limits allow\n") == 0);
	CHECK(tenon_env(&t, S("NEWER"), &list) == -77); // M-13: an error that this header does not know
	native_reason[0] = '\0';
	CHECK(tenon_fail_query(&t) == TENON_FAILED);
	CHECK(strcmp(native_reason, "variable \"NEWER\": unknown error\n") == 0);

	char longer[5000];
	memset(longer, 'x', sizeof longer);
	memcpy(longer + 4095, "\xc3\xa9", 2); // lies over the limit
	native_reason[0] = '\0';
	CHECK(tenon_fail((tenon_str){longer, sizeof longer}) == TENON_FAILED && strlen(native_reason) == 4095 + 1);

	// An answer fits with its zero byte, or is not there at all.
	for (uint32_t cap = 0; cap < 14; cap++) {
		char small[16];
		memset(small, 0xa5, sizeof small);
		t = tenon_start(small, cap);
		int32_t code = tenon_read(&t, TENON_HOST, S("/f"), &list);
		CHECK(cap > 10 ? code == 0 && is(list, "0123456789") && list.ptr[10] == '\0' : code == TENON_NO_MEMORY && list.ptr == NULL);
		CHECK((unsigned char)small[cap] == 0xa5);
	}
	native_reason[0] = '\0';
	t = tenon_start(memory, 4);
	CHECK(tenon_read(&t, TENON_HOST, S("/f"), &list) == TENON_NO_MEMORY && tenon_fail_query(&t) == TENON_FAILED);
	CHECK(strcmp(native_reason, "/f: larger than the memory of the mode; this is a bug of the mode\n") == 0);

	// Edits that do not fit are never left out: the run fails.
	native_reason[0] = native_edits[0] = '\0';
	t = tenon_start(memory, 64);
	add_all(&t);
	CHECK(tenon_done(&t) == TENON_FAILED && native_edits[0] == '\0');
	CHECK(strcmp(native_reason, "edits: larger than the memory of the mode; this is a bug of the mode\n") == 0);
}

int32_t tenon_discover(void) { return TENON_NOT_APPLICABLE; }

int main(int argc, char **argv) {
	if (argc != 2) {
		fputs("usage: tenon_test EDITS.JSON\n", stderr);
		return 2;
	}
	edits(argv[1]);
	numbers();
	answers();
	if (failures == 0)
		puts("tenon.h: ok");
	return failures != 0;
}
