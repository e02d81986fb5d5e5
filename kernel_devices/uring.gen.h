/* Generated from vmm/devmodel/uring.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_URING_GEN_H
#define SPLITVMM_URING_GEN_H

#include <linux/types.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum {
	URING_ENTRIES = 0x40,
	URING_COMPLETIONS = 0x80,
	URING_TAGS = 0x80,
	URING_SEGMENTS = 0x80,
	URING_RECEIVE_BUFFERS = 0x100,
	URING_UNTAGGED = 0xffffffff,
	URING_NOP = 0xfffffffe,
	URING_STRIDE = 0x49000,
};

enum tag_state {
	TAG_STATE_FREE = 0,
	TAG_STATE_FLYING = 1,
	TAG_STATE_FAILED = 2,
};

enum raises {
	RAISES_NONE = 0,
	RAISES_COLLECTED = 1,
	RAISES_ALL = 2,
};

/* Completion (linux/io_uring.h, struct io_uring_cqe). */
struct cqe {
	__u64 user_data;	/* 0x000 of the submission */
	__s32 res;	/* 0x008 what the system call would have returned, or -errno */
	__u32 flags;	/* 0x00c not used */
};
_Static_assert(__builtin_offsetof(struct cqe, user_data) == 0x0, "cqe.user_data");
_Static_assert(__builtin_offsetof(struct cqe, res) == 0x8, "cqe.res");
_Static_assert(__builtin_offsetof(struct cqe, flags) == 0xc, "cqe.flags");
_Static_assert(sizeof(struct cqe) == 0x10, "cqe");

/* Submission entry (linux/io_uring.h, struct io_uring_sqe). */
struct sqe {
	__u8 opcode;	/* 0x000 IORING_OP_ */
	__u8 flags;	/* 0x001 IOSQE_ */
	__u16 ioprio;	/* 0x002 priority, not used */
	__s32 fd;	/* 0x004 index of a registered file */
	__u64 off;	/* 0x008 where in the file [bytes] */
	__u64 addr;	/* 0x010 buffer or iovec [address in the process] */
	__u32 len;	/* 0x018 bytes, or iovecs */
	__u32 rw_flags;	/* 0x01c RWF_, or the operation's own flags */
	__u64 user_data;	/* 0x020 tag, and its serial in the upper half */
	__u16 buf_index;	/* 0x028 not used */
	__u16 personality;	/* 0x02a not used */
	__u32 splice_fd_in;	/* 0x02c not used */
	__u64 addr3;	/* 0x030 not used */
	__u64 reserved;	/* 0x038 to 64 bytes */
};
_Static_assert(__builtin_offsetof(struct sqe, opcode) == 0x0, "sqe.opcode");
_Static_assert(__builtin_offsetof(struct sqe, flags) == 0x1, "sqe.flags");
_Static_assert(__builtin_offsetof(struct sqe, ioprio) == 0x2, "sqe.ioprio");
_Static_assert(__builtin_offsetof(struct sqe, fd) == 0x4, "sqe.fd");
_Static_assert(__builtin_offsetof(struct sqe, off) == 0x8, "sqe.off");
_Static_assert(__builtin_offsetof(struct sqe, addr) == 0x10, "sqe.addr");
_Static_assert(__builtin_offsetof(struct sqe, len) == 0x18, "sqe.len");
_Static_assert(__builtin_offsetof(struct sqe, rw_flags) == 0x1c, "sqe.rw_flags");
_Static_assert(__builtin_offsetof(struct sqe, user_data) == 0x20, "sqe.user_data");
_Static_assert(__builtin_offsetof(struct sqe, buf_index) == 0x28, "sqe.buf_index");
_Static_assert(__builtin_offsetof(struct sqe, personality) == 0x2a, "sqe.personality");
_Static_assert(__builtin_offsetof(struct sqe, splice_fd_in) == 0x2c, "sqe.splice_fd_in");
_Static_assert(__builtin_offsetof(struct sqe, addr3) == 0x30, "sqe.addr3");
_Static_assert(__builtin_offsetof(struct sqe, reserved) == 0x38, "sqe.reserved");
_Static_assert(sizeof(struct sqe) == 0x40, "sqe");

/* Shared with the kernel's io_uring, which writes its ends of them. */
struct rings {
	__u8 page[4096];	/* 0x000 heads, tails and completions, where `wiring` says */
	struct sqe sqe[64];	/* 0x1000 submissions */
};
_Static_assert(__builtin_offsetof(struct rings, page) == 0x0, "rings.page");
_Static_assert(__builtin_offsetof(struct rings, sqe) == 0x1000, "rings.sqe");
_Static_assert(sizeof(struct rings) == 0x2000, "rings");

/* What io_uring_setup(2) said, and where things are in this process. */
struct wiring {
	__u64 address;	/* 0x000 of this struct [address in the process] */
	__u64 ram;	/* 0x008 of guest RAM [address in the process] */
	__u32 sq_head;	/* 0x010 in `rings` [bytes] */
	__u32 sq_tail;	/* 0x014 in `rings` [bytes] */
	__u32 sq_flags;	/* 0x018 in `rings` [bytes] */
	__u32 cq_head;	/* 0x01c in `rings` [bytes] */
	__u32 cq_tail;	/* 0x020 in `rings` [bytes] */
	__u32 cqes;	/* 0x024 in `rings` [bytes] */
	__u32 ready;	/* 0x028 1 while the ring may be used */
	__u32 polled;	/* 0x02c 1 if the kernel's thread polls the submission ring; also which of `rings` it is */
	__u32 raises;	/* 0x030 which interrupts are raised through the ring, by writing to registered file 1 */
	__s32 ring_fd;	/* 0x034 for the native build */
	__u32 kicks;	/* 0x038 moves when userspace has the handler look at the queue, though nobody rang */
	__s32 completion_fd;	/* 0x03c signalled when requests come back; for the native build */
	__u64 one;	/* 0x040 what is written there [1] */
	__u32 lazy_notify;	/* 0x048 1 if requests come back at once: no doorbell is asked for while some are in flight */
	__u32 poll_always;	/* 0x04c 1 if a busy queue is polled whether that is worth while or not */
	__u64 poll_ns;	/* 0x050 a busy queue is polled until nothing has come for so long; 0: never [ns] */
};
_Static_assert(__builtin_offsetof(struct wiring, address) == 0x0, "wiring.address");
_Static_assert(__builtin_offsetof(struct wiring, ram) == 0x8, "wiring.ram");
_Static_assert(__builtin_offsetof(struct wiring, sq_head) == 0x10, "wiring.sq_head");
_Static_assert(__builtin_offsetof(struct wiring, sq_tail) == 0x14, "wiring.sq_tail");
_Static_assert(__builtin_offsetof(struct wiring, sq_flags) == 0x18, "wiring.sq_flags");
_Static_assert(__builtin_offsetof(struct wiring, cq_head) == 0x1c, "wiring.cq_head");
_Static_assert(__builtin_offsetof(struct wiring, cq_tail) == 0x20, "wiring.cq_tail");
_Static_assert(__builtin_offsetof(struct wiring, cqes) == 0x24, "wiring.cqes");
_Static_assert(__builtin_offsetof(struct wiring, ready) == 0x28, "wiring.ready");
_Static_assert(__builtin_offsetof(struct wiring, polled) == 0x2c, "wiring.polled");
_Static_assert(__builtin_offsetof(struct wiring, raises) == 0x30, "wiring.raises");
_Static_assert(__builtin_offsetof(struct wiring, ring_fd) == 0x34, "wiring.ring_fd");
_Static_assert(__builtin_offsetof(struct wiring, kicks) == 0x38, "wiring.kicks");
_Static_assert(__builtin_offsetof(struct wiring, completion_fd) == 0x3c, "wiring.completion_fd");
_Static_assert(__builtin_offsetof(struct wiring, one) == 0x40, "wiring.one");
_Static_assert(__builtin_offsetof(struct wiring, lazy_notify) == 0x48, "wiring.lazy_notify");
_Static_assert(__builtin_offsetof(struct wiring, poll_always) == 0x4c, "wiring.poll_always");
_Static_assert(__builtin_offsetof(struct wiring, poll_ns) == 0x50, "wiring.poll_ns");
_Static_assert(sizeof(struct wiring) == 0x58, "wiring");

/* One request in flight. */
struct tag {
	__u64 status;	/* 0x000 of blk: where the status byte goes; of net: the header [guest-physical address] */
	__u64 place;	/* 0x008 of blk: where in the image [bytes] */
	__u32 buffers;	/* 0x010 how many, in its list */
	__u32 range;	/* 0x014 of blk: how long the range is to discard or to zero [bytes] */
	__u32 wanted;	/* 0x018 result that means success [bytes] */
	__u32 written;	/* 0x01c what to report as used then; of a range, fallocate(2)'s mode [bytes] */
	__u32 serial;	/* 0x020 moves with each use, so that no completion counts for another request */
	__u16 head;	/* 0x024 what the driver knows the chain by */
	__u16 slots;	/* 0x026 places that it takes in a packed ring */
	__u8 state;	/* 0x028 where it is */
	__u8 kind;	/* 0x029 the device's own; 0 if it is of no request of the driver's */
	__u16 next;	/* 0x02a of a run, one I/O that several requests are: the tag of the next one, plus 1; 0 for the last */
	__u32 run;	/* 0x02c of a run's first: result that means success, of all of them; 0 for what is no run [bytes] */
};
_Static_assert(__builtin_offsetof(struct tag, status) == 0x0, "tag.status");
_Static_assert(__builtin_offsetof(struct tag, place) == 0x8, "tag.place");
_Static_assert(__builtin_offsetof(struct tag, buffers) == 0x10, "tag.buffers");
_Static_assert(__builtin_offsetof(struct tag, range) == 0x14, "tag.range");
_Static_assert(__builtin_offsetof(struct tag, wanted) == 0x18, "tag.wanted");
_Static_assert(__builtin_offsetof(struct tag, written) == 0x1c, "tag.written");
_Static_assert(__builtin_offsetof(struct tag, serial) == 0x20, "tag.serial");
_Static_assert(__builtin_offsetof(struct tag, head) == 0x24, "tag.head");
_Static_assert(__builtin_offsetof(struct tag, slots) == 0x26, "tag.slots");
_Static_assert(__builtin_offsetof(struct tag, state) == 0x28, "tag.state");
_Static_assert(__builtin_offsetof(struct tag, kind) == 0x29, "tag.kind");
_Static_assert(__builtin_offsetof(struct tag, next) == 0x2a, "tag.next");
_Static_assert(__builtin_offsetof(struct tag, run) == 0x2c, "tag.run");
_Static_assert(sizeof(struct tag) == 0x30, "tag");

/* What is in flight. */
struct flight {
	__u64 submitted;	/* 0x000 requests submitted */
	__u64 completed;	/* 0x008 requests that came back */
	__u32 kicks_seen;	/* 0x010 `kicks`, as of the handler's last look */
	__u32 tail;	/* 0x014 submission entries written, free running; published by the next submit */
	__u32 free;	/* 0x018 tags that are free */
	__u32 failed;	/* 0x01c tags that userspace is to do again */
	__u32 nop;	/* 0x020 1 while an entry that does nothing is in flight: its completion has the queue visited again */
	__u32 window;	/* 0x024 of receive queues: requests to keep in flight */
	__u32 bells;	/* 0x028 doorbells rung, each soon after the one before */
	__u32 bell_cpu;	/* 0x02c where the last of them was */
	__u32 found;	/* 0x030 requests that looks have found, since they began */
	__u32 raised;	/* 0x034 interrupts raised for them */
	__u64 bell_ns;	/* 0x038 when the last doorbell was rung [ns] */
	__u64 look_ns;	/* 0x040 when the queue was last looked at [ns] */
	__u64 until_ns;	/* 0x048 looks end then, if nothing has come [ns] */
	__u64 rest_ns;	/* 0x050 how long none were begun when they were not worth while [ns] */
	__u64 rested_ns;	/* 0x058 none are begun before [ns] */
	__u16 stack[128];	/* 0x060 their numbers: the first `free` of them */
	struct tag tag[128];	/* 0x160 requests */
};
_Static_assert(__builtin_offsetof(struct flight, submitted) == 0x0, "flight.submitted");
_Static_assert(__builtin_offsetof(struct flight, completed) == 0x8, "flight.completed");
_Static_assert(__builtin_offsetof(struct flight, kicks_seen) == 0x10, "flight.kicks_seen");
_Static_assert(__builtin_offsetof(struct flight, tail) == 0x14, "flight.tail");
_Static_assert(__builtin_offsetof(struct flight, free) == 0x18, "flight.free");
_Static_assert(__builtin_offsetof(struct flight, failed) == 0x1c, "flight.failed");
_Static_assert(__builtin_offsetof(struct flight, nop) == 0x20, "flight.nop");
_Static_assert(__builtin_offsetof(struct flight, window) == 0x24, "flight.window");
_Static_assert(__builtin_offsetof(struct flight, bells) == 0x28, "flight.bells");
_Static_assert(__builtin_offsetof(struct flight, bell_cpu) == 0x2c, "flight.bell_cpu");
_Static_assert(__builtin_offsetof(struct flight, found) == 0x30, "flight.found");
_Static_assert(__builtin_offsetof(struct flight, raised) == 0x34, "flight.raised");
_Static_assert(__builtin_offsetof(struct flight, bell_ns) == 0x38, "flight.bell_ns");
_Static_assert(__builtin_offsetof(struct flight, look_ns) == 0x40, "flight.look_ns");
_Static_assert(__builtin_offsetof(struct flight, until_ns) == 0x48, "flight.until_ns");
_Static_assert(__builtin_offsetof(struct flight, rest_ns) == 0x50, "flight.rest_ns");
_Static_assert(__builtin_offsetof(struct flight, rested_ns) == 0x58, "flight.rested_ns");
_Static_assert(__builtin_offsetof(struct flight, stack) == 0x60, "flight.stack");
_Static_assert(__builtin_offsetof(struct flight, tag) == 0x160, "flight.tag");
_Static_assert(sizeof(struct flight) == 0x1960, "flight");

/* Read at each doorbell, and seldom written: apart from what changes with each request. */
struct looks {
	__u32 polling;	/* 0x000 1 while the ring's thread looks at the queue, and no doorbell is needed */
};
_Static_assert(__builtin_offsetof(struct looks, polling) == 0x0, "looks.polling");
_Static_assert(sizeof(struct looks) == 0x4, "looks");

/* One buffer of several: struct iovec of readv(2). */
struct uring_iovec {
	__u64 base;	/* 0x000 start [address in the process] */
	__u64 length;	/* 0x008 length [bytes] */
};
_Static_assert(__builtin_offsetof(struct uring_iovec, base) == 0x0, "uring_iovec.base");
_Static_assert(__builtin_offsetof(struct uring_iovec, length) == 0x8, "uring_iovec.length");
_Static_assert(sizeof(struct uring_iovec) == 0x10, "uring_iovec");

/* Of a receive queue with mergeable buffers: what packets are put into as they come, each buffer */
struct receive_buffers {
	__u32 first;	/* 0x000 the first buffer, free running */
	__u32 end;	/* 0x004 behind the last one, free running */
	__u64 bytes;	/* 0x008 how much fits into them [bytes] */
	struct uring_iovec iovec[512];	/* 0x010 each twice, RECEIVE_BUFFERS apart, so that any run of them is one list */
	__u64 gpa[256];	/* 0x2010 where each starts [guest-physical address] */
	__u16 head[256];	/* 0x2810 what the driver knows each by */
	__u16 slots[256];	/* 0x2a10 places that each takes in a packed ring */
};
_Static_assert(__builtin_offsetof(struct receive_buffers, first) == 0x0, "receive_buffers.first");
_Static_assert(__builtin_offsetof(struct receive_buffers, end) == 0x4, "receive_buffers.end");
_Static_assert(__builtin_offsetof(struct receive_buffers, bytes) == 0x8, "receive_buffers.bytes");
_Static_assert(__builtin_offsetof(struct receive_buffers, iovec) == 0x10, "receive_buffers.iovec");
_Static_assert(__builtin_offsetof(struct receive_buffers, gpa) == 0x2010, "receive_buffers.gpa");
_Static_assert(__builtin_offsetof(struct receive_buffers, head) == 0x2810, "receive_buffers.head");
_Static_assert(__builtin_offsetof(struct receive_buffers, slots) == 0x2a10, "receive_buffers.slots");
_Static_assert(sizeof(struct receive_buffers) == 0x2c10, "receive_buffers");

/* Buffers of requests that have several: SEGMENTS for each tag. */
struct iovecs {
	struct uring_iovec iovec[16384];	/* 0x000 buffers */
};
_Static_assert(__builtin_offsetof(struct iovecs, iovec) == 0x0, "iovecs.iovec");
_Static_assert(sizeof(struct iovecs) == 0x40000, "iovecs");

/* asynchronous I/O of one queue */
struct uring {
	struct rings rings[2];	/* 0x000 io_uring's own: one that is submitted to, one that is polled */
	const struct wiring wiring;	/* 0x4000 where things are */
	__u8 reserved_4058[40];	/* 0x4058 to the next field's place */
	struct flight flight;	/* 0x4080 what is in flight */
	__u8 reserved_59e0[32];	/* 0x59e0 to the next field's place */
	struct looks looks;	/* 0x5a00 whether the queue is looked at */
	__u8 reserved_5a04[60];	/* 0x5a04 to the next field's place */
	struct receive_buffers receive;	/* 0x5a40 where packets go */
	__u8 reserved_8650[48];	/* 0x8650 to the next field's place */
	struct iovecs iovecs;	/* 0x8680 buffers of requests that have several */
};
_Static_assert(__builtin_offsetof(struct uring, rings) == 0x0, "uring.rings");
_Static_assert(__builtin_offsetof(struct uring, wiring) == 0x4000, "uring.wiring");
_Static_assert(__builtin_offsetof(struct uring, reserved_4058) == 0x4058, "uring.reserved_4058");
_Static_assert(__builtin_offsetof(struct uring, flight) == 0x4080, "uring.flight");
_Static_assert(__builtin_offsetof(struct uring, reserved_59e0) == 0x59e0, "uring.reserved_59e0");
_Static_assert(__builtin_offsetof(struct uring, looks) == 0x5a00, "uring.looks");
_Static_assert(__builtin_offsetof(struct uring, reserved_5a04) == 0x5a04, "uring.reserved_5a04");
_Static_assert(__builtin_offsetof(struct uring, receive) == 0x5a40, "uring.receive");
_Static_assert(__builtin_offsetof(struct uring, reserved_8650) == 0x8650, "uring.reserved_8650");
_Static_assert(__builtin_offsetof(struct uring, iovecs) == 0x8680, "uring.iovecs");
_Static_assert(sizeof(struct uring) == 0x48680, "uring");

#endif /* SPLITVMM_URING_GEN_H */
