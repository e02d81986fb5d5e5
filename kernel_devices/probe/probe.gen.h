/* Generated from vmm/devmodel/devices/probe.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_PROBE_GEN_H
#define SPLITVMM_PROBE_GEN_H

#include <linux/types.h>
#include "../virtqueue.gen.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

#define PROBE_ID 0
#define PROBE_VERSION 1
#define PROBE_LAYOUT_HASH 0x030058a1b5853bbcull
#define PROBE_QUEUES 0

#define HANDLER_LOCKED 0	/* it has the device to itself */
#define HANDLER_RAISES 1	/* HANDLED_INTERRUPT raises the device's line */
#define HANDLER_MEMORY_BYTES 0x0
#define HANDLER_HASH PROBE_LAYOUT_HASH
#define HANDLER_STATE struct probe_state
#define HANDLER_CONTEXT struct probe
#define HANDLER_DOORBELLS enum probe_notify
#define handler_prepare probe_prepare

enum {
	PROBE_USER = 0x008,	/* rw, user: write that userspace takes */
	PROBE_CONSTANT = 0x00c,	/* ro, user: a value to read */
	PROBE_POSTED0 = 0x010,	/* rw, posted: a posted value */
	PROBE_POSTED1 = 0x014,	/* rw, posted: a posted value */
	PROBE_POSTED2 = 0x018,	/* rw, posted: a posted value */
	PROBE_POSTED3 = 0x01c,	/* rw, posted: a posted value */
	PROBE_CLAIMED = 0x020,	/* wo, user: doorbell for an ioeventfd that nobody listens to */
};

enum probe_notify {
	PROBE_HANDLED = 0x000,	/* wo, notify: doorbell that the handler takes */
	PROBE_DECLINED = 0x004,	/* wo, notify: doorbell that the handler declines */
};

enum probe_decline {
	PROBE_DECLINE_HELD_BY_USER = 1,	/* userspace holds the queue */
	PROBE_DECLINE_NOT_READY = 2,	/* the queue is not set up */
	PROBE_DECLINE_MALFORMED = 3,	/* a chain breaks a rule of the specification */
	PROBE_DECLINE_OUTSIDE_RAM = 4,	/* an address is outside guest memory */
	PROBE_DECLINE_STRADDLES = 5,	/* a buffer spans two memory elements */
	PROBE_DECLINE_BUSY = 6,	/* other vCPUs kept the queue filled, or the device locked */
	PROBE_DECLINE_BUDGET = 7,	/* it asked for more than one exit may take, of bytes or of time */
	PROBE_DECLINE_RING_ASLEEP = 8,	/* submitted, but the thread that polls the ring sleeps */
	PROBE_DECLINE_IO_FAILED = 9,	/* asynchronous I/O came back with an error or short */
	PROBE_DECLINE_NO_RING = 10,	/* it takes real I/O, and there is no ring to do it through */
	PROBE_DECLINE_ASKED = 11,	/* it was asked to */
};

/* register page of Probe */
struct probe_page {
	__u32 handled;	/* 0x000 doorbell that the handler takes */
	__u32 declined;	/* 0x004 doorbell that the handler declines */
	__u32 user;	/* 0x008 write that userspace takes */
	__u32 constant;	/* 0x00c a value to read */
	__u32 posted0;	/* 0x010 a posted value */
	__u32 posted1;	/* 0x014 a posted value */
	__u32 posted2;	/* 0x018 a posted value */
	__u32 posted3;	/* 0x01c a posted value */
	__u32 claimed;	/* 0x020 doorbell for an ioeventfd that nobody listens to */
	__u8 reserved_24[4060];	/* 0x024 to the next field's place */
};
_Static_assert(__builtin_offsetof(struct probe_page, handled) == 0x0, "probe_page.handled");
_Static_assert(__builtin_offsetof(struct probe_page, declined) == 0x4, "probe_page.declined");
_Static_assert(__builtin_offsetof(struct probe_page, user) == 0x8, "probe_page.user");
_Static_assert(__builtin_offsetof(struct probe_page, constant) == 0xc, "probe_page.constant");
_Static_assert(__builtin_offsetof(struct probe_page, posted0) == 0x10, "probe_page.posted0");
_Static_assert(__builtin_offsetof(struct probe_page, posted1) == 0x14, "probe_page.posted1");
_Static_assert(__builtin_offsetof(struct probe_page, posted2) == 0x18, "probe_page.posted2");
_Static_assert(__builtin_offsetof(struct probe_page, posted3) == 0x1c, "probe_page.posted3");
_Static_assert(__builtin_offsetof(struct probe_page, claimed) == 0x20, "probe_page.claimed");
_Static_assert(__builtin_offsetof(struct probe_page, reserved_24) == 0x24, "probe_page.reserved_24");
_Static_assert(sizeof(struct probe_page) == 0x1000, "probe_page");

/* shared state of Probe */
struct probe_state {
	struct device_control control;	/* 0x000 who holds the device, and counters */
};
_Static_assert(__builtin_offsetof(struct probe_state, control) == 0x0, "probe_state.control");
_Static_assert(sizeof(struct probe_state) == 0x1c0, "probe_state");

struct device;

/* What the functions of its handler are given: see device.h. */
struct probe {
	struct device *device;
	struct probe_page *page;	/* the registers, as the guest reads them */
	struct probe_state *state;
};

/* Which register a write is of, as the first of its kind; what DEVICE does before it calls a function. */
static inline __attribute__((unused)) __u32 probe_prepare(struct probe *probe, __u32 offset, __u64 *value)
{
	(void)value;
	return offset;
}

#endif /* SPLITVMM_PROBE_GEN_H */
