/* Generated from vmm/devmodel/devices/rng.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_RNG_GEN_H
#define SPLITVMM_RNG_GEN_H

#include <linux/types.h>
#include "../virtqueue.gen.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum {
	RNG_POOL_BYTES = 0x4000,
	RNG_MOST_BYTES = 0x400,
};

#define RNG_ID 4
#define RNG_VERSION 1
#define RNG_LAYOUT_HASH 0x3b7dbff200b12d8cull
#define RNG_QUEUES 1

#define HANDLER_LOCKED 0	/* it has the device to itself */
#define HANDLER_RAISES 0	/* HANDLED_INTERRUPT raises the device's line */

enum rng_decline {
	RNG_DECLINE_HELD_BY_USER = 1,	/* userspace holds the queue */
	RNG_DECLINE_NOT_READY = 2,	/* the queue is not set up */
	RNG_DECLINE_MALFORMED = 3,	/* a chain breaks a rule of the specification */
	RNG_DECLINE_OUTSIDE_RAM = 4,	/* an address is outside guest memory */
	RNG_DECLINE_STRADDLES = 5,	/* a buffer spans two memory elements */
	RNG_DECLINE_BUSY = 6,	/* other vCPUs kept the queue filled, or the device locked */
	RNG_DECLINE_BUDGET = 7,	/* it asked for more than one exit may take, of bytes or of time */
	RNG_DECLINE_RING_ASLEEP = 8,	/* submitted, but the thread that polls the ring sleeps */
	RNG_DECLINE_IO_FAILED = 9,	/* asynchronous I/O came back with an error or short */
	RNG_DECLINE_NO_RING = 10,	/* it takes real I/O, and there is no ring to do it through */
	RNG_DECLINE_EMPTY = 11,	/* the pool is used up, and userspace is to fill it again */
	RNG_DECLINE_FRAMING = 12,	/* buffers cut in a way that the handler leaves to userspace */
};

/* Random bytes, each given out once. */
struct rng_pool {
	__u32 taken;	/* 0x000 bytes given out [bytes] */
	__u32 reserved;	/* 0x004 to a multiple of 8 */
	__u8 bytes[16384];	/* 0x008 the bytes */
};
_Static_assert(__builtin_offsetof(struct rng_pool, taken) == 0x0, "rng_pool.taken");
_Static_assert(__builtin_offsetof(struct rng_pool, reserved) == 0x4, "rng_pool.reserved");
_Static_assert(__builtin_offsetof(struct rng_pool, bytes) == 0x8, "rng_pool.bytes");
_Static_assert(sizeof(struct rng_pool) == 0x4008, "rng_pool");

/* shared state of Rng */
struct rng_state {
	struct device_control control;	/* 0x000 who holds the device, and counters */
	struct rng_pool pool;	/* 0x1c0 Random bytes, each given out once. */
	__u8 reserved_41c8[56];	/* 0x41c8 to the next field's place */
	struct virtqueue queue[1];	/* 0x4200 virtqueues, in order of declaration */
};
_Static_assert(__builtin_offsetof(struct rng_state, control) == 0x0, "rng_state.control");
_Static_assert(__builtin_offsetof(struct rng_state, pool) == 0x1c0, "rng_state.pool");
_Static_assert(__builtin_offsetof(struct rng_state, reserved_41c8) == 0x41c8, "rng_state.reserved_41c8");
_Static_assert(__builtin_offsetof(struct rng_state, queue) == 0x4200, "rng_state.queue");
_Static_assert(sizeof(struct rng_state) == 0x4440, "rng_state");

#endif /* SPLITVMM_RNG_GEN_H */
