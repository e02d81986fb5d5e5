/* What split and packed rings have in common: words in guest memory, and a walk along a chain.
 *
 * The guest wrote every byte read here and may be writing it still: each field is read once,
 * checked, and used from the copy.  Nothing is written to the rings before a request is whole. */
#ifndef SPLITVMM_RING_H
#define SPLITVMM_RING_H

#include "ownership.h"

enum { INDIRECT_LIMIT = 65536, MANY_USED = 0x8000 };

/* Walk of one chain; lives in scratch memory, whose contents the verifier takes as unknown. */
struct chain {
	__u64 table;		/* guest-physical */
	__u32 entries;		/* of the table */
	__u32 left;		/* descriptors it may still have: it cannot loop */
	__u32 next;
	__u32 indirect;		/* inside an indirect table */
	__u32 writable;		/* a device-writable buffer has been seen */
	__u32 ended;
	__u16 head;		/* what the driver knows it by; of a packed ring, known once it has ended */
	__u16 slots;		/* places that it takes in a packed ring */
};

/* A buffer of a chain. */
struct segment {
	__u64 gpa;		/* guest-physical; all of it is RAM */
	__u32 length;		/* bytes */
	__u32 writable;		/* by the device */
};

static __always_inline int ring_read16(struct device *device, __u64 gpa, __u16 *value, __u32 *reason)
{
	const volatile __u16 *at = ram_at(device, gpa, 2, reason);

	if (!at)
		return -1;
	*value = READ_ONCE(*at);
	return 0;
}

static __always_inline int ring_write16(struct device *device, __u64 gpa, __u16 value, __u32 *reason)
{
	volatile __u16 *at = ram_at(device, gpa, 2, reason);

	if (!at)
		return -1;
	WRITE_ONCE(*at, value);
	return 0;
}

#endif
