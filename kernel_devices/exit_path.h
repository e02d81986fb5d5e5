/* What becomes of a routed write, short of running a device's handler: the same in both builds. */
#ifndef SPLITVMM_EXIT_PATH_H
#define SPLITVMM_EXIT_PATH_H

#include "platform.h"

/* Store a posted register; a plain store of the register's own width. */
static __always_inline void posted_store(void *page, __u32 offset, __u32 width, __u64 value)
{
	switch (width) {
	case 1: *(volatile __u8 *)(page + offset) = value; break;
	case 2: *(volatile __u16 *)(page + offset) = value; break;
	case 4: *(volatile __u32 *)(page + offset) = value; break;
	case 8: *(volatile __u64 *)(page + offset) = value; break;
	}
}

/* POSTED and CLEAR, in the page that the register lies in; true if the route asked for one of them. */
static __always_inline int posted_write(void *page, const struct route *route, __u32 width, __u64 value)
{
	__u32 offset = route->offset & (PAGE_BYTES - 1), target = route->target & (PAGE_BYTES - 1);

	if (offset > PAGE_BYTES - 8 || target > PAGE_BYTES - 8)
		return 0;
	if (route->action == ACTION_POSTED) {
		posted_store(page, offset, width, value);
		return 1;
	}
	if (route->action == ACTION_CLEAR) {
		fetch_and((__u32 *)(page + (target & ~3u)), ~(__u32)value);	/* aligned, for the verifier */
		return 1;
	}
	return 0;
}

#endif
