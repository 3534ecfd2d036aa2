// SPDX-License-Identifier: Apache-2.0

// Mode acme gives a container the devices of a vendor that does not exist: it is
// the sample of a mode written in C. ../../sample and ../../rust/sample are the
// same mode in Go and Rust, and all three give the same bytes.
//
// A container asks by ACME_VISIBLE_DEVICES, or by mounts below
// /var/run/acme-devices: "all", or indexes such as "0,2-3". manifest.json names
// these places, and the rules for lists are the host's. An index that the machine
// does not have fails the create: a container that asks for a device does not
// start without it.

#include "../tenon.h"

static bool digits(tenon_str s) {
	for (uint32_t i = 0; i < s.len; i++)
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
	return s.len > 0;
}

TENON_EXPORT int32_t tenon_discover(void) {
	static char memory[1 << 20];
	tenon t = tenon_start(memory, sizeof memory);
	const tenon_str prefix = TENON_STR("/dev/acme");

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

	// The machine's devices: the glob's answer without what is no device. Their
	// numbers are for the host to find out.
	tenon_str paths, path, rest, reason;
	if (tenon_glob(&t, TENON_DRIVER, TENON_STR("/dev/acme[0-9]*"), &paths))
		return tenon_fail_query(&t);
	uint32_t count = 0;
	for (rest = paths; tenon_next(&rest, &path);)
		count++;
	tenon_str *indexes = tenon_alloc(&t, count * sizeof *indexes);
	count = 0;
	for (rest = paths; indexes && tenon_next(&rest, &path);) {
		tenon_str index = tenon_after(path, prefix.len);
		if (!digits(index))
			continue; // such as /dev/acme0ctl
		tenon_stat_record st;
		code = tenon_stat(&t, TENON_DRIVER, path, &st);
		if (code && code != TENON_NOT_FOUND)
			return tenon_fail_query(&t);
		if (st.type == 'c')
			indexes[count++] = index;
		else
			tenon_explain(TENON_JOIN(&t, path, TENON_STR(": left out, it is not a character device")));
	}
	if (count == 0)
		return tenon_fail(TENON_STR("/dev/acme0: this machine has no such device; load its driver"));

	if (tenon_missing(&t, asked, indexes, count, &reason))
		return tenon_fail(reason);
	for (uint32_t i = 0; i < count; i++) {
		if (!tenon_asks_for(asked, indexes[i]))
			continue;
		tenon_device d = {.path = TENON_JOIN(&t, prefix, indexes[i])};
		if (driver_root.len)
			d.host_path = TENON_JOIN(&t, driver_root, d.path);
		tenon_add_device(&t, d);
		tenon_explain(TENON_JOIN(&t, d.path, TENON_STR(": asked for by "), asked.place));
	}
	return tenon_done(&t);
}
