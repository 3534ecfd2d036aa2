// Mode __NAME__ gives a container the devices /dev/__NAME__* that it asks for.
//
// A container asks by __VARIABLE__: "all", or indexes such as "0,2-3". manifest.json
// names the variable, and the rules for lists are those of tenon. An index that the
// machine does not have fails the create: a container that asks for a device does
// not start without it.

#include "tenon/tenon.h"

#define PREFIX "/dev/__NAME__"

static bool digits(tenon_str s) {
	for (uint32_t i = 0; i < s.len; i++)
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
	return s.len > 0;
}

TENON_EXPORT int32_t tenon_discover(void) {
	static char memory[1 << 20];
	tenon t = tenon_start(memory, sizeof memory);
	tenon_devices asked;
	int32_t code = tenon_request(&t, TENON_STR(""), &asked);
	if (code == TENON_NOT_FOUND)
		return TENON_NOT_APPLICABLE;
	if (code)
		return tenon_fail_query(&t);

	// The driver, and so /dev, may be installed below a folder of its own.
	tenon_str driver_root;
	code = tenon_config(&t, TENON_STR("driver_root"), &driver_root);
	if (code && code != TENON_NOT_FOUND)
		return tenon_fail_query(&t);
	if (tenon_equal(driver_root, TENON_STR("/")))
		driver_root = TENON_STR("");

	// The indexes of the machine's devices. Their numbers are for the host to find
	// out.
	tenon_str paths, path, rest, reason;
	if (tenon_glob(&t, TENON_DRIVER, TENON_STR(PREFIX "[0-9]*"), &paths))
		return tenon_fail_query(&t);
	uint32_t count = 0;
	for (rest = paths; tenon_next(&rest, &path);)
		count++;
	tenon_str *indexes = tenon_alloc(&t, count * sizeof *indexes);
	count = 0;
	for (rest = paths; indexes && tenon_next(&rest, &path);) {
		tenon_str index = tenon_after(path, sizeof PREFIX - 1);
		if (!digits(index))
			continue; // such as a control node
		tenon_stat_record st;
		code = tenon_stat(&t, TENON_DRIVER, path, &st);
		if (code && code != TENON_NOT_FOUND)
			return tenon_fail_query(&t);
		if (st.type == 'c')
			indexes[count++] = index;
	}
	if (count == 0)
		return tenon_fail(TENON_STR(PREFIX "0: this machine has no such device; load its driver"));

	if (tenon_missing(&t, asked, indexes, count, &reason))
		return tenon_fail(reason);
	for (uint32_t i = 0; i < count; i++) {
		if (!tenon_asks_for(asked, indexes[i]))
			continue;
		tenon_device d = {.path = TENON_JOIN(&t, TENON_STR(PREFIX), indexes[i])};
		if (driver_root.len)
			d.host_path = TENON_JOIN(&t, driver_root, d.path);
		tenon_add_device(&t, d);
		tenon_explain(TENON_JOIN(&t, d.path, TENON_STR(": asked for by "), asked.place));
	}
	return tenon_done(&t);
}
