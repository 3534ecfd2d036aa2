// SPDX-License-Identifier: Apache-2.0

// native.h stands in for the host, so that a mode in C is tested natively, with
// neither wasm tools nor the hardware. Include it before tenon.h, in one file:
//
//	#include "native.h"
//	#include "acme.c"
//
//	static const native_answer machine[] = {
//	    NATIVE_LIST(TENON_OP_REQUEST, 0, "", "ACME_VISIBLE_DEVICES\0" "all\0"),
//	    NATIVE_LIST(TENON_OP_GLOB, 2, "/dev/acme[0-9]*", "/dev/acme0\0"),
//	    NATIVE_STAT(2, "/dev/acme0", 'c', 0666, 240, 0),
//	    NATIVE_CODE(TENON_OP_CONFIG, 0, "driver_root", TENON_NOT_FOUND),
//	};
//	int32_t result = NATIVE_RUN(machine);
//
// and look at result, native_edits, native_reason and native_explained. A query
// that the table does not hold ends the test with its name: a mode must not ask
// what its tests do not know.

#ifndef TENON_NATIVE_H
#define TENON_NATIVE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon.h"

// A native_answer is one query and what it is answered with.
typedef struct {
	uint32_t op, root;
	const char *key;
	int32_t code; // less than 0: this in place of an answer
	const char *answer;
	size_t len; // of answer
	uint32_t stat[4]; // of a stat: type, mode, major, minor
} native_answer;

// An answer that is text, a list of strings that each end with \0, a stat
// record of a file owned by root, or a code.
#define NATIVE_TEXT(op, root, key, text) {op, root, key, 0, text, sizeof(text) - 1, {0}}
#define NATIVE_LIST(op, root, key, list) NATIVE_TEXT(op, root, key, list)
#define NATIVE_STAT(root, path, type, mode, major, minor) {TENON_OP_STAT, root, path, 0, "", 0, {type, mode, major, minor}}
#define NATIVE_CODE(op, root, key, code) {op, root, key, code, "", 0, {0}}

// What the mode has given back in its last run, each ended by a zero byte. The
// documents and lines of one kind follow each other, each ended by a newline.
static char native_edits[2 << 20], native_reason[8192], native_explained[1 << 16];
static char native_logged[1 << 16];

static const native_answer *native_table;
static size_t native_count;

static inline void native_broken(const char *what, uint32_t number, const void *key, size_t len) {
	fprintf(stderr, "native.h: %s: %u \"%.*s\"\n", what, number, (int)len, (const char *)key);
	exit(1);
}

static inline void native_append(char *to, size_t cap, const void *text, size_t len) {
	size_t used = strlen(to);
	if (len + 2 > cap - used)
		native_broken("more than this test takes", (uint32_t)len, "", 0);
	memcpy(to + used, text, len);
	to[used + len] = '\n';
	to[used + len + 1] = '\0';
}

int64_t tenon_host_query(uint32_t op, uint32_t root, const void *key, uint32_t key_len, void *buf, uint32_t buf_cap) {
	for (size_t i = 0; i < native_count; i++) {
		const native_answer *a = &native_table[i];
		if (a->op != op || a->root != root || strlen(a->key) != key_len || memcmp(a->key, key, key_len) != 0)
			continue;
		if (a->code)
			return a->code;
		unsigned char record[32] = {(unsigned char)a->stat[0]};
		const uint32_t words[] = {a->stat[1], 0, 0, a->stat[2], a->stat[3]}; // from byte 4: mode, uid, gid, major, minor
		for (size_t w = 0; w < 5; w++)
			for (size_t b = 0; b < 4; b++)
				record[4 + 4 * w + b] = (unsigned char)(words[w] >> 8 * b);
		const void *answer = a->stat[0] ? (const void *)record : a->answer;
		size_t len = a->stat[0] ? sizeof record : a->len;
		if (len <= buf_cap)
			memcpy(buf, answer, len);
		return (int64_t)len;
	}
	native_broken("the test's table has no answer for op", op, key, key_len);
	return TENON_UNSUPPORTED;
}

int32_t tenon_host_emit(uint32_t kind, const void *ptr, uint32_t len) {
	switch (kind) {
	case TENON_EMIT_EDITS: native_append(native_edits, sizeof native_edits, ptr, len); break;
	case TENON_EMIT_REASON: native_append(native_reason, sizeof native_reason, ptr, len); break;
	case TENON_EMIT_EXPLAIN: native_append(native_explained, sizeof native_explained, ptr, len); break;
	default: native_broken("the mode emits an unknown kind", kind, ptr, len);
	}
	return TENON_OK;
}

void tenon_host_log(uint32_t level, const void *ptr, uint32_t len) {
	(void)level;
	native_append(native_logged, sizeof native_logged, ptr, len);
}

int32_t tenon_discover(void);

// native_run runs the mode over a table of count answers and returns its result.
static inline int32_t native_run(const native_answer *table, size_t count) {
	native_table = table;
	native_count = count;
	native_edits[0] = native_reason[0] = native_explained[0] = native_logged[0] = '\0';
	return tenon_discover();
}

// NATIVE_RUN runs the mode over an array.
#define NATIVE_RUN(table) native_run(table, sizeof(table) / sizeof((table)[0]))

#endif
