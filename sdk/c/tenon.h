// SPDX-License-Identifier: Apache-2.0

// tenon.h is what a mode written in C includes: it asks the machine, and answers
// with edits, by the ABI of ../ABI.md. It is C11, all of it is in this file, and
// it needs no C library. Built with
//
//	clang-16 --target=wasm32 -ffreestanding -mbulk-memory -nostdlib -Oz
//	    -Wl,--no-entry -Wl,--stack-first -Wl,--strip-all -o NAME.wasm NAME.c
//
// the answers come from the host. Built natively, with native.h included first,
// they come from a table, so that a mode is tested on any machine.
//
// A mode defines tenon_discover and nothing else that the host calls:
//
//	TENON_EXPORT int32_t tenon_discover(void) {
//	    static char memory[256 << 10];
//	    tenon t = tenon_start(memory, sizeof memory);
//	    tenon_devices asked;
//	    int32_t code = tenon_request(&t, TENON_STR(""), &asked);
//	    if (code == TENON_NOT_FOUND)
//	        return TENON_NOT_APPLICABLE;
//	    if (code)
//	        return tenon_fail_query(&t);
//	    tenon_add_device(&t, (tenon_device){.path = TENON_STR("/dev/acme0")});
//	    return tenon_done(&t);
//	}
//
// Every query function returns 0 or one of the codes below, which are less than
// 0, and leaves its result empty where it does not return 0. What an answer
// points to lies in the memory given to tenon_start, ends with a zero byte that
// is not counted, and is good until tenon_discover returns. Names in quotes
// below are sections of ../ABI.md.

#ifndef TENON_H
#define TENON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A tenon_str is bytes that somebody else owns. {0} is the empty string.
typedef struct {
	const char *ptr;
	uint32_t len; // bytes
} tenon_str;

// TENON_STR makes a tenon_str of a string literal.
#define TENON_STR(literal) ((tenon_str){"" literal, (uint32_t)(sizeof(literal) - 1)})

// Roots: the tree that a path is looked up in. "Queries", the table of roots.
enum {
	TENON_HOST = 0,      // the machine's own /
	TENON_CONTAINER = 1, // the container's root file system; the image is hostile
	TENON_DRIVER = 2,    // where the driver is installed: driver_root of the config, mostly /
};

// Query ops. "Queries", the first table. 14 is reserved.
enum {
	TENON_OP_ENV = 1,
	TENON_OP_ANNOTATION = 2,
	TENON_OP_SPEC = 3,
	TENON_OP_MOUNTS = 4,
	TENON_OP_CONFIG = 5,
	TENON_OP_STAT = 6,
	TENON_OP_READDIR = 7,
	TENON_OP_READ = 8,
	TENON_OP_READLINK = 9,
	TENON_OP_GLOB = 10,
	TENON_OP_LDLOOKUP = 11,
	TENON_OP_REALPATH = 12,
	TENON_OP_FEATURE = 13,
	TENON_OP_WHICH = 15,
	TENON_OP_REQUEST = 16,
};

// Codes. "Errors"; only the last is of this header.
enum {
	TENON_OK = 0,
	TENON_NOT_FOUND = -1,        // it is not there; an ordinary answer
	TENON_DENIED = -2,           // the manifest or the administrator does not grant it
	TENON_WRONG_TYPE = -3,       // a folder where a file was asked for, a device, not a link
	TENON_TOO_LARGE = -4,        // the answer is over the host's limit
	TENON_INVALID_ARGUMENT = -5, // the key is not UTF-8, not absolute, not a pattern: a bug of the mode
	TENON_UNSUPPORTED = -6,      // this host does not know the op, the root or the kind
	TENON_IO_ERROR = -7,         // the machine would not say
	TENON_WRONG_STATE = -8,      // asked outside tenon_discover
	TENON_OVER_BUDGET = -9,      // this run has asked too much
	TENON_NO_MEMORY = -100,      // the memory given to tenon_start is used up
};

// Results of tenon_discover. "Results".
enum {
	TENON_DONE = 0,
	TENON_FAILED = 1,
	TENON_NOT_APPLICABLE = 2, // this mode has nothing to say; no edits may have been emitted
};

// Kinds of emit. "emit".
enum {
	TENON_EMIT_EDITS = 0,
	TENON_EMIT_REASON = 1,
	TENON_EMIT_EXPLAIN = 2,
};

// Levels of log. "log".
enum {
	TENON_DEBUG = 0,
	TENON_INFO = 1,
	TENON_WARN = 2,
	TENON_ERROR = 3,
};

// The three functions of the host. "Imports".
#ifdef __wasm__
#define TENON_IMPORT(name) __attribute__((import_module("tenon_v1"), import_name(#name)))
#define TENON_EXPORT __attribute__((export_name("tenon_discover")))
#else
#define TENON_IMPORT(name)
#define TENON_EXPORT
#endif
TENON_IMPORT(query)
int64_t tenon_host_query(uint32_t op, uint32_t root, const void *key, uint32_t key_len, void *buf, uint32_t buf_cap);
TENON_IMPORT(emit)
int32_t tenon_host_emit(uint32_t kind, const void *ptr, uint32_t len);
TENON_IMPORT(log)
void tenon_host_log(uint32_t level, const void *ptr, uint32_t len);

// A tenon_edit is one edit, written as JSON; they are a list in the order in
// which they were added.
typedef struct tenon_edit {
	struct tenon_edit *next;
	uint32_t section;
	tenon_str json;
} tenon_edit;

// A tenon is one run of a mode. Its members are for the functions of this file.
typedef struct {
	char *memory;
	uint32_t cap, used;
	tenon_edit *first, *last;
	bool full; // an edit or a text did not fit

	// The last query that returned a code, for tenon_fail_query.
	uint32_t op, root;
	tenon_str key;
	int32_t code;
} tenon;

// tenon_start begins a run. The memory takes all answers and edits of it, so it
// is at least some times the largest answer; the host's own limit for one is
// 1 MiB, "Limits". It need not be zero.
static inline tenon tenon_start(void *memory, uint32_t cap) {
	return (tenon){.memory = (char *)memory, .cap = cap};
}

// tenon_alloc gives size bytes of the run's memory, aligned for anything, or
// NULL if that many are not left. They are not zero.
static inline void *tenon_alloc(tenon *t, uint32_t size) {
	uintptr_t at = (uintptr_t)(t->memory + t->used);
	uint32_t pad = (uint32_t)(-at & (_Alignof(max_align_t) - 1));
	if (t->cap - t->used < pad || t->cap - t->used - pad < size) {
		t->full = true;
		return NULL;
	}
	t->used += pad + size;
	return t->memory + t->used - size;
}

// ---- Text ----

static inline bool tenon_equal(tenon_str a, tenon_str b) {
	if (a.len != b.len)
		return false;
	for (uint32_t i = 0; i < a.len; i++)
		if (a.ptr[i] != b.ptr[i])
			return false;
	return true;
}

static inline bool tenon_has_prefix(tenon_str s, tenon_str prefix) {
	return s.len >= prefix.len && tenon_equal((tenon_str){s.ptr, prefix.len}, prefix);
}

// tenon_after is s without its first n bytes, n being at most its length.
static inline tenon_str tenon_after(tenon_str s, uint32_t n) {
	return (tenon_str){s.ptr + n, s.len - n};
}

// tenon_cut takes from *rest what stands before the next sep, or all of it, and
// is false once nothing is left. "a,,b" gives three items, "" gives none, and a
// sep at the end begins no item.
static inline bool tenon_cut(tenon_str *rest, char sep, tenon_str *item) {
	if (rest->len == 0)
		return false;
	uint32_t n = 0;
	while (n < rest->len && rest->ptr[n] != sep)
		n++;
	*item = (tenon_str){rest->ptr, n};
	*rest = tenon_after(*rest, n < rest->len ? n + 1 : n);
	return true;
}

// tenon_next takes the next string from an answer that is a list, H-24.
static inline bool tenon_next(tenon_str *rest, tenon_str *item) { return tenon_cut(rest, '\0', item); }

// A tenon_text is text that grows at the end of the run's memory. Nothing else
// may be asked or added between its begin and its end.
static inline uint32_t tenon_text_begin(tenon *t) { return t->used; }

static inline void tenon_put_byte(tenon *t, char c) {
	if (t->used < t->cap)
		t->memory[t->used++] = c;
	else
		t->full = true;
}

static inline void tenon_put(tenon *t, tenon_str s) {
	for (uint32_t i = 0; i < s.len; i++)
		tenon_put_byte(t, s.ptr[i]);
}

static inline void tenon_put_int(tenon *t, int64_t n) {
	char digits[20]; // -9223372036854775808
	uint32_t at = sizeof digits;
	uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
	do
		digits[--at] = (char)('0' + rest % 10);
	while (rest /= 10);
	if (n < 0)
		digits[--at] = '-';
	tenon_put(t, (tenon_str){digits + at, (uint32_t)sizeof digits - at});
}

// tenon_put_quoted writes a JSON string: only what must be escaped is, RFC 8259
// section 7. Bytes that are not UTF-8 stay, for the host to refuse: a path that
// was silently changed would be another path.
static inline void tenon_put_quoted(tenon *t, tenon_str s) {
	tenon_put_byte(t, '"');
	for (uint32_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		if (c == '"' || c == '\\') {
			tenon_put_byte(t, '\\');
			tenon_put_byte(t, (char)c);
		} else if (c < 0x20) {
			tenon_put(t, TENON_STR("\\u00"));
			tenon_put_byte(t, "0123456789abcdef"[c >> 4]);
			tenon_put_byte(t, "0123456789abcdef"[c & 15]);
		} else {
			tenon_put_byte(t, (char)c);
		}
	}
	tenon_put_byte(t, '"');
}

// tenon_text_end returns what was put since begin, and a zero byte behind it.
static inline tenon_str tenon_text_end(tenon *t, uint32_t begin) {
	tenon_put_byte(t, '\0');
	uint32_t len = t->used - begin;
	return (tenon_str){t->memory + begin, t->full || len == 0 ? len : len - 1};
}

// tenon_join puts n strings behind each other. See TENON_JOIN.
static inline tenon_str tenon_join(tenon *t, const tenon_str *parts, size_t n) {
	uint32_t begin = tenon_text_begin(t);
	for (size_t i = 0; i < n; i++)
		tenon_put(t, parts[i]);
	return tenon_text_end(t, begin);
}

// TENON_JOIN(&t, TENON_STR("a"), b) is the strings behind each other.
#define TENON_JOIN(t, ...) \
	tenon_join((t), (const tenon_str[]){__VA_ARGS__}, sizeof((const tenon_str[]){__VA_ARGS__}) / sizeof(tenon_str))

// ---- Queries: "query" and "Queries" ----

// tenon_query asks any query; the functions below are easier to read.
static inline int32_t tenon_query(tenon *t, uint32_t op, uint32_t root, tenon_str key, tenon_str *answer) {
	*answer = (tenon_str){0};
	uint32_t room = t->cap - t->used;
	int64_t n = room == 0 ? 1 : tenon_host_query(op, root, key.ptr, key.len, t->memory + t->used, room - 1);
	int32_t code = n < 0 ? (int32_t)n : n >= (int64_t)room ? TENON_NO_MEMORY : TENON_OK;
	if (code) {
		t->op = op, t->root = root, t->key = key, t->code = code;
		return code;
	}
	*answer = (tenon_str){t->memory + t->used, (uint32_t)n};
	t->used += (uint32_t)n;
	t->memory[t->used++] = '\0';
	return TENON_OK;
}

// tenon_env gives the value of the container's last NAME=.
static inline int32_t tenon_env(tenon *t, tenon_str name, tenon_str *value) {
	return tenon_query(t, TENON_OP_ENV, TENON_HOST, name, value);
}

// A tenon_devices is what a container asks for. "Requests".
typedef struct {
	tenon_str place; // where it asks, for messages: a variable, "annotation " and a key, or a folder of mounts
	tenon_str ids;   // "all" or "none", or ids in the order in which they were asked for; see tenon_next
} tenon_devices;

// tenon_request gives what the container asks for by one of the requests that the
// mode's manifest has; "" is the name of the one that has none. For a container that
// asks for nothing, "void" included, it returns TENON_NOT_FOUND. One with a malformed
// list was refused before the mode ran.
static inline int32_t tenon_request(tenon *t, tenon_str name, tenon_devices *asked) {
	*asked = (tenon_devices){0};
	tenon_str list;
	int32_t code = tenon_query(t, TENON_OP_REQUEST, TENON_HOST, name, &list);
	if (code == TENON_OK && tenon_next(&list, &asked->place))
		asked->ids = list;
	return code;
}

// tenon_asks_for says whether a device of the machine is asked for, by its id.
static inline bool tenon_asks_for(tenon_devices asked, tenon_str id) {
	for (tenon_str item; tenon_next(&asked.ids, &item);)
		if (tenon_equal(item, id) || tenon_equal(item, TENON_STR("all")))
			return true;
	return false;
}

// tenon_missing says whether the list names what is not among the machine's n ids, and
// gives the line to call tenon_fail with then.
static inline bool tenon_missing(tenon *t, tenon_devices asked, const tenon_str *ids, size_t n, tenon_str *reason) {
	for (tenon_str item; tenon_next(&asked.ids, &item);) {
		bool found = tenon_equal(item, TENON_STR("all")) || tenon_equal(item, TENON_STR("none"));
		for (size_t i = 0; i < n && !found; i++)
			found = tenon_equal(item, ids[i]);
		if (found)
			continue;
		uint32_t begin = tenon_text_begin(t);
		tenon_put(t, asked.place);
		tenon_put(t, TENON_STR(": "));
		tenon_put_quoted(t, item);
		tenon_put(t, TENON_STR(" is not a device of this machine; ask for all, none or some of "));
		for (size_t i = 0; i < n; i++) {
			tenon_put(t, i ? TENON_STR(",") : TENON_STR(""));
			tenon_put(t, ids[i]);
		}
		*reason = tenon_text_end(t, begin);
		return true;
	}
	return false;
}

static inline int32_t tenon_annotation(tenon *t, tenon_str key, tenon_str *value) {
	return tenon_query(t, TENON_OP_ANNOTATION, TENON_HOST, key, value);
}

// tenon_spec gives the part of config.json that an RFC 6901 pointer names, as
// compact JSON. Ask for little: an answer that differs from container to
// container makes the host run the mode again for each.
static inline int32_t tenon_spec(tenon *t, tenon_str pointer, tenon_str *json) {
	return tenon_query(t, TENON_OP_SPEC, TENON_HOST, pointer, json);
}

// tenon_config gives a value of the mode's own table in the administrator's
// config: a string as it is, anything else as JSON.
static inline int32_t tenon_config(tenon *t, tenon_str key, tenon_str *value) {
	return tenon_query(t, TENON_OP_CONFIG, TENON_HOST, key, value);
}

// A tenon_mount_found is a mount that the container's config.json has.
typedef struct {
	tenon_str destination, source, type;
	tenon_str options; // parted by commas; see tenon_cut
} tenon_mount_found;

// tenon_mounts gives the mounts at or below a folder, to be taken apart by
// tenon_next_mount.
static inline int32_t tenon_mounts(tenon *t, tenon_str prefix, tenon_str *list) {
	return tenon_query(t, TENON_OP_MOUNTS, TENON_HOST, prefix, list);
}

static inline bool tenon_next_mount(tenon_str *rest, tenon_mount_found *m) {
	return tenon_next(rest, &m->destination) && tenon_next(rest, &m->source) && tenon_next(rest, &m->type) &&
	       tenon_next(rest, &m->options);
}

// A tenon_stat_record is what lstat says, without what differs from boot to
// boot. "stat".
typedef struct {
	char type;     // 'f' file, 'd' folder, 'l' link, 'c' or 'b' device, 'p' FIFO, 's' socket
	uint32_t mode; // the bits 07777
	uint32_t uid, gid;
	uint32_t major, minor; // of a device, else 0
	uint64_t size;         // bytes, of a file or link outside procfs and sysfs, else 0
} tenon_stat_record;

static inline uint32_t tenon_u32(const char *p) {
	const unsigned char *b = (const unsigned char *)p;
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

// tenon_stat says what path is; a link at its end is not followed. A record of
// more than 32 bytes is that of a newer host, and good.
static inline int32_t tenon_stat(tenon *t, uint32_t root, tenon_str path, tenon_stat_record *st) {
	*st = (tenon_stat_record){0};
	uint32_t before = t->used;
	tenon_str b;
	int32_t code = tenon_query(t, TENON_OP_STAT, root, path, &b);
	t->used = before; // the record is copied out
	if (code)
		return code;
	if (b.len < 32) {
		t->op = TENON_OP_STAT, t->root = root, t->key = path, t->code = TENON_IO_ERROR;
		return TENON_IO_ERROR;
	}
	*st = (tenon_stat_record){
	    .type = b.ptr[0],
	    .mode = tenon_u32(b.ptr + 4),
	    .uid = tenon_u32(b.ptr + 8),
	    .gid = tenon_u32(b.ptr + 12),
	    .major = tenon_u32(b.ptr + 16),
	    .minor = tenon_u32(b.ptr + 20),
	    .size = tenon_u32(b.ptr + 24) | (uint64_t)tenon_u32(b.ptr + 28) << 32,
	};
	return TENON_OK;
}

// tenon_readdir lists a folder, sorted; tenon_next_entry takes the list apart.
static inline int32_t tenon_readdir(tenon *t, uint32_t root, tenon_str path, tenon_str *list) {
	return tenon_query(t, TENON_OP_READDIR, root, path, list);
}

// tenon_next_entry gives the next name of a folder and its type, as in
// tenon_stat_record.
static inline bool tenon_next_entry(tenon_str *rest, char *type, tenon_str *name) {
	tenon_str record;
	if (!tenon_next(rest, &record) || record.len < 2)
		return false;
	*type = record.ptr[0];
	*name = tenon_after(record, 1);
	return true;
}

// tenon_read gives the content of a regular file, links followed.
static inline int32_t tenon_read(tenon *t, uint32_t root, tenon_str path, tenon_str *content) {
	return tenon_query(t, TENON_OP_READ, root, path, content);
}

// tenon_readlink gives the text of a link.
static inline int32_t tenon_readlink(tenon *t, uint32_t root, tenon_str path, tenon_str *text) {
	return tenon_query(t, TENON_OP_READLINK, root, path, text);
}

// tenon_glob gives the sorted paths that match a pattern, segment by segment;
// none is an empty list. tenon_next takes it apart.
static inline int32_t tenon_glob(tenon *t, uint32_t root, tenon_str pattern, tenon_str *list) {
	return tenon_query(t, TENON_OP_GLOB, root, pattern, list);
}

// tenon_ldlookup gives the sorted real paths of a library by its soname, which
// may hold a * behind ".so"; root is TENON_HOST or TENON_DRIVER.
static inline int32_t tenon_ldlookup(tenon *t, uint32_t root, tenon_str soname, tenon_str *list) {
	return tenon_query(t, TENON_OP_LDLOOKUP, root, soname, list);
}

// tenon_realpath resolves every link of path inside the root.
static inline int32_t tenon_realpath(tenon *t, uint32_t root, tenon_str path, tenon_str *real) {
	return tenon_query(t, TENON_OP_REALPATH, root, path, real);
}

// tenon_which finds a program by its name in the standard folders of the root,
// which is TENON_HOST or TENON_DRIVER, or by an absolute path.
static inline int32_t tenon_which(tenon *t, uint32_t root, tenon_str name, tenon_str *path) {
	return tenon_query(t, TENON_OP_WHICH, root, name, path);
}

// tenon_feature says whether the host has something newer than version 1.0 of
// the ABI, such as "op.17". Any doubt is no.
static inline bool tenon_feature(tenon *t, tenon_str name) {
	uint32_t before = t->used;
	tenon_str answer;
	int32_t code = tenon_query(t, TENON_OP_FEATURE, TENON_HOST, name, &answer);
	t->used = before;
	return code == TENON_OK;
}

// ---- Edits: "Edits" ----

// Sections of the edits document, in the order in which they are written.
enum {
	TENON_EDIT_ENV,
	TENON_EDIT_DEVICE_NODES,
	TENON_EDIT_NET_DEVICES,
	TENON_EDIT_HOOKS,
	TENON_EDIT_MOUNTS,
	TENON_EDIT_INTEL_RDT,
	TENON_EDIT_ADDITIONAL_GIDS,
	TENON_EDIT_REMOVE_ENV,
	TENON_EDIT_REMOVE_MOUNTS,
	TENON_EDIT_REMOVE_DEVICES,
	TENON_EDIT_REMOVE_HOOKS,
	TENON_EDIT_ENV_MODE,
	TENON_EDIT_SYMLINKS,
	TENON_EDIT_LDCACHE_DIRS,
	TENON_EDIT_DEVICE_RULES,
	TENON_EDIT_BUILTIN_HOOKS,
	TENON_EDIT_ANNOTATIONS,
	TENON_EDIT_SECTIONS, // how many there are
};

// tenon_add keeps one edit as JSON: an element of the section's list, or
// "name":value for one that is an object. The functions below write the JSON.
static inline void tenon_add(tenon *t, uint32_t section, tenon_str json) {
	tenon_edit *e = t->full ? NULL : (tenon_edit *)tenon_alloc(t, sizeof(tenon_edit));
	if (!e)
		return;
	e->next = NULL;
	e->section = section;
	e->json = json;
	if (t->last)
		t->last->next = e;
	else
		t->first = e;
	t->last = e;
}

// tenon_put_name begins a member of a JSON object whose first byte lies at begin.
static inline void tenon_put_name(tenon *t, uint32_t begin, const char *name) {
	if (t->used != begin + 1)
		tenon_put_byte(t, ',');
	tenon_put_byte(t, '"');
	while (*name)
		tenon_put_byte(t, *name++);
	tenon_put(t, TENON_STR("\":"));
}

static inline void tenon_put_member(tenon *t, uint32_t begin, const char *name, tenon_str value) {
	tenon_put_name(t, begin, name);
	tenon_put_quoted(t, value);
}

static inline void tenon_put_optional(tenon *t, uint32_t begin, const char *name, tenon_str value) {
	if (value.len)
		tenon_put_member(t, begin, name, value);
}

static inline void tenon_put_number(tenon *t, uint32_t begin, const char *name, const uint32_t *value) {
	if (value) {
		tenon_put_name(t, begin, name);
		tenon_put_int(t, *value);
	}
}

// tenon_put_strings writes a member that is a list, if it has an element.
static inline void tenon_put_strings(tenon *t, uint32_t begin, const char *name, const tenon_str *list, size_t n) {
	if (n == 0)
		return;
	tenon_put_name(t, begin, name);
	for (size_t i = 0; i < n; i++) {
		tenon_put_byte(t, i ? ',' : '[');
		tenon_put_quoted(t, list[i]);
	}
	tenon_put_byte(t, ']');
}

static inline void tenon_add_string(tenon *t, uint32_t section, tenon_str s) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_quoted(t, s);
	tenon_add(t, section, tenon_text_end(t, begin));
}

// tenon_set_env sets a variable of the container, in the place of one that is
// there.
static inline void tenon_set_env(tenon *t, tenon_str name, tenon_str value) {
	tenon_add_string(t, TENON_EDIT_ENV, TENON_JOIN(t, name, TENON_STR("="), value));
}

// tenon_set_env_mode says how the variable NAME that tenon_set_env sets meets
// one that is there: "unset-only", or "append" or "prepend" and a separator,
// such as "append:". At most once a name.
static inline void tenon_set_env_mode(tenon *t, tenon_str name, tenon_str mode) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_quoted(t, name);
	tenon_put_byte(t, ':');
	tenon_put_quoted(t, mode);
	tenon_add(t, TENON_EDIT_ENV_MODE, tenon_text_end(t, begin));
}

// A tenon_device is a device that the container gets. Only path must be given:
// type, numbers and mode are the host's to fill in.
typedef struct {
	tenon_str path;      // in the container; absolute
	tenon_str host_path; // on the host, if it differs
	tenon_str type;      // "c", "b", "p"
	int64_t major, minor;
	const uint32_t *file_mode; // permission bits; NULL is the host's own look
	tenon_str permissions;     // cgroup access, of r, w, m; empty is the host's default
	const uint32_t *uid, *gid; // NULL: the host's own look
} tenon_device;

static inline void tenon_add_device(tenon *t, tenon_device d) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_byte(t, '{');
	tenon_put_member(t, begin, "path", d.path);
	tenon_put_optional(t, begin, "hostPath", d.host_path);
	tenon_put_optional(t, begin, "type", d.type);
	if (d.major) {
		tenon_put_name(t, begin, "major");
		tenon_put_int(t, d.major);
	}
	if (d.minor) {
		tenon_put_name(t, begin, "minor");
		tenon_put_int(t, d.minor);
	}
	tenon_put_number(t, begin, "fileMode", d.file_mode);
	tenon_put_optional(t, begin, "permissions", d.permissions);
	tenon_put_number(t, begin, "uid", d.uid);
	tenon_put_number(t, begin, "gid", d.gid);
	tenon_put_byte(t, '}');
	tenon_add(t, TENON_EDIT_DEVICE_NODES, tenon_text_end(t, begin));
}

// A tenon_mount is a mount that the container gets. Without options it is the
// host's default, a read-only bind mount.
typedef struct {
	tenon_str host_path, container_path; // absolute
	const tenon_str *options;
	size_t option_count;
	tenon_str type; // empty is a bind mount
} tenon_mount;

static inline void tenon_add_mount(tenon *t, tenon_mount m) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_byte(t, '{');
	tenon_put_member(t, begin, "hostPath", m.host_path);
	tenon_put_member(t, begin, "containerPath", m.container_path);
	tenon_put_strings(t, begin, "options", m.options, m.option_count);
	tenon_put_optional(t, begin, "type", m.type);
	tenon_put_byte(t, '}');
	tenon_add(t, TENON_EDIT_MOUNTS, tenon_text_end(t, begin));
}

// tenon_add_gid adds a supplementary group to the container's process; 0 adds
// nothing.
static inline void tenon_add_gid(tenon *t, uint32_t gid) {
	if (gid == 0)
		return;
	uint32_t begin = tenon_text_begin(t);
	tenon_put_int(t, gid);
	tenon_add(t, TENON_EDIT_ADDITIONAL_GIDS, tenon_text_end(t, begin));
}

// tenon_add_symlink creates link in the container; target is the link's text.
static inline void tenon_add_symlink(tenon *t, tenon_str target, tenon_str link) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_byte(t, '{');
	tenon_put_member(t, begin, "target", target);
	tenon_put_member(t, begin, "link", link);
	tenon_put_byte(t, '}');
	tenon_add(t, TENON_EDIT_SYMLINKS, tenon_text_end(t, begin));
}

// tenon_add_ldcache_dir adds a folder to the container's ld.so.cache. Those of
// mounted libraries need not be named.
static inline void tenon_add_ldcache_dir(tenon *t, tenon_str dir) {
	tenon_add_string(t, TENON_EDIT_LDCACHE_DIRS, dir);
}

// tenon_add_device_rule allows devices without creating a node: type "c" or
// "b", -1 for any number, access of the letters r, w, m.
static inline void tenon_add_device_rule(tenon *t, tenon_str type, int64_t major, int64_t minor, tenon_str access) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_byte(t, '{');
	tenon_put_member(t, begin, "type", type);
	tenon_put_name(t, begin, "major");
	tenon_put_int(t, major);
	tenon_put_name(t, begin, "minor");
	tenon_put_int(t, minor);
	tenon_put_member(t, begin, "access", access);
	tenon_put_byte(t, '}');
	tenon_add(t, TENON_EDIT_DEVICE_RULES, tenon_text_end(t, begin));
}

// tenon_add_builtin_hook asks for a hook that the host builds. args are n pairs
// of name and value; NULL for none.
static inline void tenon_add_builtin_hook(tenon *t, tenon_str name, const tenon_str (*args)[2], size_t n) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_byte(t, '{');
	tenon_put_member(t, begin, "name", name);
	if (n) {
		tenon_put_name(t, begin, "args");
		for (size_t i = 0; i < n; i++) {
			tenon_put_byte(t, i ? ',' : '{');
			tenon_put_quoted(t, args[i][0]);
			tenon_put_byte(t, ':');
			tenon_put_quoted(t, args[i][1]);
		}
		tenon_put_byte(t, '}');
	}
	tenon_put_byte(t, '}');
	tenon_add(t, TENON_EDIT_BUILTIN_HOOKS, tenon_text_end(t, begin));
}

// tenon_add_annotation sets an annotation of the container. At most once a key.
static inline void tenon_add_annotation(tenon *t, tenon_str key, tenon_str value) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_quoted(t, key);
	tenon_put_byte(t, ':');
	tenon_put_quoted(t, value);
	tenon_add(t, TENON_EDIT_ANNOTATIONS, tenon_text_end(t, begin));
}

// What the container must no longer have: a variable by name, a mount by
// destination, a device by its path, hooks of a stage by the base name of
// their program.
static inline void tenon_remove_env(tenon *t, tenon_str name) { tenon_add_string(t, TENON_EDIT_REMOVE_ENV, name); }

static inline void tenon_remove_mount(tenon *t, tenon_str destination) {
	tenon_add_string(t, TENON_EDIT_REMOVE_MOUNTS, destination);
}

static inline void tenon_remove_device(tenon *t, tenon_str path) { tenon_add_string(t, TENON_EDIT_REMOVE_DEVICES, path); }

static inline void tenon_remove_hook(tenon *t, tenon_str stage, tenon_str base) {
	uint32_t begin = tenon_text_begin(t);
	tenon_put_byte(t, '{');
	tenon_put_member(t, begin, "hookName", stage);
	tenon_put_member(t, begin, "base", base);
	tenon_put_byte(t, '}');
	tenon_add(t, TENON_EDIT_REMOVE_HOOKS, tenon_text_end(t, begin));
}

// tenon_edits_json writes the edits document. Sections without an edit are left
// out, so no edits are {"abi":1}. It is false if the memory does not hold it.
static inline bool tenon_edits_json(tenon *t, tenon_str *doc) {
	static const struct {
		char group, kind; // kind: a list, an object, or a bare value
		char name[18];
	} sections[TENON_EDIT_SECTIONS] = {
	    {'c', '[', "env"},          {'c', '[', "deviceNodes"},    {'c', '[', "netDevices"}, {'c', '[', "hooks"},
	    {'c', '[', "mounts"},       {'c', ' ', "intelRdt"},       {'c', '[', "additionalGids"},
	    {'r', '[', "env"},          {'r', '[', "mounts"},         {'r', '[', "devices"},    {'r', '[', "hooks"},
	    {' ', '{', "envMode"},      {' ', '[', "symlinks"},       {'l', '[', "dirs"},
	    {' ', '[', "deviceRules"},  {' ', '[', "builtinHooks"},   {' ', '{', "annotations"},
	};
	char open = ' '; // the group that is being written
	bool first = false; // of that group
	uint32_t begin = tenon_text_begin(t);
	tenon_put(t, TENON_STR("{\"abi\":1"));
	for (uint32_t s = 0; s < TENON_EDIT_SECTIONS; s++) {
		bool any = false;
		for (tenon_edit *e = t->first; e; e = e->next) {
			if (e->section != s)
				continue;
			if (!any && sections[s].group != open) {
				if (open != ' ')
					tenon_put_byte(t, '}');
				open = sections[s].group;
				first = open != ' ';
				tenon_put(t, open == 'c'   ? TENON_STR(",\"containerEdits\":{")
				             : open == 'r' ? TENON_STR(",\"remove\":{")
				             : open == 'l' ? TENON_STR(",\"ldcache\":{")
				                           : TENON_STR(""));
			}
			if (!any) {
				tenon_put_name(t, first ? t->used - 1 : begin, sections[s].name);
				if (sections[s].kind != ' ')
					tenon_put_byte(t, sections[s].kind);
			} else {
				tenon_put_byte(t, ',');
			}
			tenon_put(t, e->json);
			any = true, first = false;
		}
		if (any && sections[s].kind != ' ')
			tenon_put_byte(t, sections[s].kind == '[' ? ']' : '}');
	}
	if (open != ' ')
		tenon_put_byte(t, '}');
	tenon_put_byte(t, '}');
	*doc = tenon_text_end(t, begin);
	return !t->full;
}

// ---- Endings: what tenon_discover returns ----

// tenon_log writes a line to the host's debug log. It changes nothing else.
static inline void tenon_log(uint32_t level, tenon_str text) { tenon_host_log(level, text.ptr, text.len); }

// tenon_explain keeps a line for who asks why the edits are as they are. It must
// follow from the answers alone.
static inline void tenon_explain(tenon_str text) { (void)tenon_host_emit(TENON_EMIT_EXPLAIN, text.ptr, text.len); }

// tenon_fail makes the create fail. The reason is shown to the user behind
// "tenon: mode NAME: ", so it is one line that begins with the thing that is
// wrong. Behind 4096 bytes, "Limits", it is cut, and not in a character.
static inline int32_t tenon_fail(tenon_str reason) {
	if (reason.len > 4096) {
		reason.len = 4096;
		while (reason.len && (reason.ptr[reason.len] & 0xc0) == 0x80)
			reason.len--;
	}
	(void)tenon_host_emit(TENON_EMIT_REASON, reason.ptr, reason.len);
	return TENON_FAILED;
}

// tenon_code_text says what a code means, without the thing that was asked for.
static inline tenon_str tenon_code_text(int32_t code) {
	switch (code) {
	case TENON_NOT_FOUND: return TENON_STR("does not exist");
	case TENON_DENIED: return TENON_STR("not granted to this mode");
	case TENON_WRONG_TYPE: return TENON_STR("has the wrong file type");
	case TENON_TOO_LARGE: return TENON_STR("over the size limit");
	case TENON_INVALID_ARGUMENT: return TENON_STR("not a valid argument; this is a bug of the mode");
	case TENON_UNSUPPORTED: return TENON_STR("this version of tenon cannot answer that");
	case TENON_IO_ERROR: return TENON_STR("not readable on this machine");
	case TENON_WRONG_STATE: return TENON_STR("asked outside tenon_discover; this is a bug of the mode");
	case TENON_OVER_BUDGET: return TENON_STR("the mode has asked more than its limits allow");
	case TENON_NO_MEMORY: return TENON_STR("larger than the memory of the mode; this is a bug of the mode");
	}
	return TENON_STR("unknown error");
}

// tenon_fail_query makes the create fail for the last query that returned a
// code, with a reason that names what was asked for.
static inline int32_t tenon_fail_query(tenon *t) {
	tenon_str before = t->op == TENON_OP_ENV          ? TENON_STR("variable ")
	                   : t->op == TENON_OP_ANNOTATION ? TENON_STR("annotation ")
	                   : t->op == TENON_OP_SPEC       ? TENON_STR("config.json ")
	                   : t->op == TENON_OP_CONFIG     ? TENON_STR("config key ")
	                   : t->op == TENON_OP_REQUEST    ? TENON_STR("request ")
	                                                  : TENON_STR("");
	bool path = t->key.len && t->key.ptr[0] == '/' && t->op != TENON_OP_SPEC;
	tenon_str where = path && t->root == TENON_CONTAINER ? TENON_STR(" in the container")
	                  : path && t->root == TENON_DRIVER  ? TENON_STR(" in the driver root")
	                                                     : TENON_STR("");
	char line[640]; // of its own: the run's memory may be what is used up
	tenon text = tenon_start(line, sizeof line);
	tenon_str key = t->key.len > 512 ? (tenon_str){t->key.ptr, 512} : t->key;
	tenon_put(&text, before);
	if (path)
		tenon_put(&text, key);
	else
		tenon_put_quoted(&text, key);
	tenon_put(&text, where);
	tenon_put(&text, TENON_STR(": "));
	tenon_put(&text, tenon_code_text(t->code));
	return tenon_fail((tenon_str){line, text.used});
}

// tenon_done gives the host the edits that were added, if any, and is what
// tenon_discover returns.
static inline int32_t tenon_done(tenon *t) {
	if (!t->first && !t->full)
		return TENON_DONE;
	tenon_str doc;
	if (!tenon_edits_json(t, &doc))
		return tenon_fail(TENON_STR("edits: larger than the memory of the mode; this is a bug of the mode"));
	int32_t code = tenon_host_emit(TENON_EMIT_EDITS, doc.ptr, doc.len);
	if (code == TENON_OK)
		return TENON_DONE;
	char line[128];
	tenon text = tenon_start(line, sizeof line);
	tenon_put(&text, TENON_STR("edits: "));
	tenon_put(&text, tenon_code_text(code));
	return tenon_fail((tenon_str){line, text.used});
}

#endif
