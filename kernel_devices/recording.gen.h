/* Generated from vmm/devmodel/recording.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_RECORDING_GEN_H
#define SPLITVMM_RECORDING_GEN_H

#include <linux/types.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum {
	EVENT_PLACES = 0x20000,
	NO_QUEUE = 0xff,
};

enum event_kind {
	EVENT_KIND_VCPU = 1,
	EVENT_KIND_WRITE = 2,
	EVENT_KIND_READ = 3,
	EVENT_KIND_VISIT = 4,
	EVENT_KIND_COLLECT = 5,
	EVENT_KIND_DECLINE = 6,
	EVENT_KIND_UPCALL = 7,
	EVENT_KIND_SUBMIT = 8,
	EVENT_KIND_COMPLETE = 9,
	EVENT_KIND_INTERRUPT = 10,
	EVENT_KIND_TAKE = 11,
	EVENT_KIND_GIVE = 12,
};

/* Where those who put events in stand. */
struct event_writers {
	__u32 claimed;	/* 0x000 places given out, free running, atomic */
	__u32 reserved;	/* 0x004 to a multiple of 8 */
	__u64 dropped;	/* 0x008 events that found no place, atomic */
};
_Static_assert(__builtin_offsetof(struct event_writers, claimed) == 0x0, "event_writers.claimed");
_Static_assert(__builtin_offsetof(struct event_writers, reserved) == 0x4, "event_writers.reserved");
_Static_assert(__builtin_offsetof(struct event_writers, dropped) == 0x8, "event_writers.dropped");
_Static_assert(sizeof(struct event_writers) == 0x10, "event_writers");

/* Where the one who takes them out stands. */
struct event_reader {
	__u32 taken;	/* 0x000 places read, free running */
	__u32 reserved;	/* 0x004 to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct event_reader, taken) == 0x0, "event_reader.taken");
_Static_assert(__builtin_offsetof(struct event_reader, reserved) == 0x4, "event_reader.reserved");
_Static_assert(sizeof(struct event_reader) == 0x8, "event_reader");

/* One of them.  `kind` is written last. */
struct event {
	__u64 time;	/* 0x000 when: CLOCK_MONOTONIC [ns] */
	__u64 value;	/* 0x008 what was written or read; requests done; which request: its tag, and the tag's serial above it; generation */
	__u32 thread;	/* 0x010 whose it is, as the kernel numbers it for this half */
	__u32 took;	/* 0x014 how long it took until then, if that is known [ns] */
	__u16 offset;	/* 0x018 register, from the device's base [bytes] */
	__u8 device;	/* 0x01a slot of the device */
	__u8 queue;	/* 0x01b which of its queues, or NO_QUEUE */
	__u8 width;	/* 0x01c size of the access [bytes] */
	__u8 reason;	/* 0x01d of a decline, or of what is left to the Python half; else 0 */
	__u8 half;	/* 0x01e who says it */
	__u8 kind;	/* 0x01f what has happened; 0 while the place is free */
};
_Static_assert(__builtin_offsetof(struct event, time) == 0x0, "event.time");
_Static_assert(__builtin_offsetof(struct event, value) == 0x8, "event.value");
_Static_assert(__builtin_offsetof(struct event, thread) == 0x10, "event.thread");
_Static_assert(__builtin_offsetof(struct event, took) == 0x14, "event.took");
_Static_assert(__builtin_offsetof(struct event, offset) == 0x18, "event.offset");
_Static_assert(__builtin_offsetof(struct event, device) == 0x1a, "event.device");
_Static_assert(__builtin_offsetof(struct event, queue) == 0x1b, "event.queue");
_Static_assert(__builtin_offsetof(struct event, width) == 0x1c, "event.width");
_Static_assert(__builtin_offsetof(struct event, reason) == 0x1d, "event.reason");
_Static_assert(__builtin_offsetof(struct event, half) == 0x1e, "event.half");
_Static_assert(__builtin_offsetof(struct event, kind) == 0x1f, "event.kind");
_Static_assert(sizeof(struct event) == 0x20, "event");

/* events of one VM, on their way to its recording */
struct event_ring {
	struct event_writers writers;	/* 0x000 who puts them in */
	__u8 reserved_10[48];	/* 0x010 to the next field's place */
	struct event_reader reader;	/* 0x040 who takes them out */
	__u8 reserved_48[56];	/* 0x048 to the next field's place */
	struct event event[131072];	/* 0x080 event n at n % EVENTS */
};
_Static_assert(__builtin_offsetof(struct event_ring, writers) == 0x0, "event_ring.writers");
_Static_assert(__builtin_offsetof(struct event_ring, reserved_10) == 0x10, "event_ring.reserved_10");
_Static_assert(__builtin_offsetof(struct event_ring, reader) == 0x40, "event_ring.reader");
_Static_assert(__builtin_offsetof(struct event_ring, reserved_48) == 0x48, "event_ring.reserved_48");
_Static_assert(__builtin_offsetof(struct event_ring, event) == 0x80, "event_ring.event");
_Static_assert(sizeof(struct event_ring) == 0x400080, "event_ring");

#endif /* SPLITVMM_RECORDING_GEN_H */
