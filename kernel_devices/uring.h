/* Asynchronous I/O: requests that a handler, which may not sleep, hands to io_uring.
 *
 * The rings are shared memory (vmm/devmodel/uring.py), guarded by their queue's lock.  A device
 * takes a tag, fills in a submission and commits it; uring_submit() shows the kernel what was
 * committed.  What comes back goes through the device's complete_one(), in collect_one(). */
#ifndef SPLITVMM_URING_H
#define SPLITVMM_URING_H

#include "platform.h"

/* linux/io_uring.h; not included, as its own structs are ours here */
enum {
	IO_NOP = 0, IO_READV = 1, IO_WRITEV = 2, IO_FSYNC = 3, IO_FALLOCATE = 17,
	IO_READ = 22, IO_WRITE = 23, IO_MADVISE = 25,
	SQE_FIXED_FILE = 1 << 0, SQE_SILENT = 1 << 6,	/* IOSQE_CQE_SKIP_SUCCESS */
	FSYNC_DATASYNC = 1,
	SQ_NEED_WAKEUP = 1,
	MADVISE_POPULATE_READ = 22,			/* linux/mman.h */
	WRITE_DSYNC = 2,				/* RWF_DSYNC */
};
enum { FILE_IO, FILE_INTERRUPT };			/* registered files */
enum {
	RESERVED_ENTRIES = 3,	/* kept for what belongs to no request, and one for a run that may grow still, */
	RESERVED_TAGS = 4,	/* and so many completions for it: the ring of them cannot overflow */
};

static __always_inline struct rings *uring_rings(struct uring *uring)
{
	return &uring->rings[uring->wiring.polled & 1];
}

/* A word of io_uring's, by its place; the mask is for the verifier. */
static __always_inline __u32 *uring_word(struct uring *uring, __u32 place)
{
	return (void *)uring_rings(uring)->page + (place & (PAGE_BYTES - 4));
}

static __always_inline int uring_completions(struct uring *uring)
{
	return READ_ONCE(uring->wiring.ready) &&
	       READ_ONCE(*uring_word(uring, uring->wiring.cq_head)) !=
	       READ_ONCE(*uring_word(uring, uring->wiring.cq_tail));
}

/* Userspace wants the queue looked at, though nobody rang. */
static __always_inline int uring_kicked(struct uring *uring)
{
	return READ_ONCE(uring->wiring.kicks) != READ_ONCE(uring->flight.kicks_seen);
}

static __always_inline __u32 uring_space(struct uring *uring)
{
	return URING_ENTRIES - (uring->flight.tail -
				 READ_ONCE(*uring_word(uring, uring->wiring.sq_head)));
}

static __always_inline __u32 uring_in_flight(struct uring *uring)
{
	return URING_TAGS - uring->flight.free;
}

/* A free tag, not yet taken; NULL if there is none or no space to submit. */
static __always_inline struct tag *uring_tag(struct uring *uring, __u32 *index)
{
	__u32 free = uring->flight.free, space = uring_space(uring);

	if (free <= RESERVED_TAGS || free > URING_TAGS || space > URING_ENTRIES || space <= RESERVED_ENTRIES)
		return NULL;
	*index = uring->flight.stack[(free - 1) & (URING_TAGS - 1)] & (URING_TAGS - 1);
	return &uring->flight.tag[*index];
}

/* The next submission entry, emptied. */
static __always_inline struct sqe *uring_entry(struct uring *uring)
{
	struct sqe *sqe = &uring_rings(uring)->sqe[uring->flight.tail & (URING_ENTRIES - 1)];

	__builtin_memset(sqe, 0, sizeof(*sqe));
	sqe->flags = SQE_FIXED_FILE;
	return sqe;
}

static __always_inline struct uring_iovec *uring_iovecs(struct uring *uring, __u32 index)
{
	return &uring->iovecs.iovec[(index & (URING_TAGS - 1)) * URING_SEGMENTS];
}

/* Where a list lies in the process. */
static __always_inline __u64 uring_iovec_address(struct uring *uring, __u32 index)
{
	return uring->wiring.address + __builtin_offsetof(struct uring, iovecs) +
	       (__u64)index * URING_SEGMENTS * sizeof(struct uring_iovec);
}

/* READV or WRITEV of a tag's list; one buffer alone spares the kernel the list. */
static __always_inline void uring_transfer(struct uring *uring, struct sqe *sqe, __u8 opcode,
					    __u32 index, __u32 buffers)
{
	const struct uring_iovec *first = uring_iovecs(uring, index);

	if (buffers == 1) {
		sqe->opcode = opcode == IO_READV ? IO_READ : IO_WRITE;
		sqe->addr = first->base;
		sqe->len = first->length;
	} else {
		sqe->opcode = opcode;
		sqe->addr = uring_iovec_address(uring, index);
		sqe->len = buffers;
	}
}

/* Take the tag, of a request that has an entry of its own or shares one. */
static __always_inline void uring_take_tag(struct uring *uring, struct tag *tag)
{
	tag->serial++;
	tag->state = TAG_STATE_FLYING;
	tag->next = tag->run = 0;
	uring->flight.free--;
	uring->flight.submitted++;
}

/* Take the entry for a tag that is taken: it goes out with the next uring_submit(). */
static __always_inline void uring_take_entry(struct uring *uring, const struct tag *tag, __u32 index, struct sqe *sqe)
{
	sqe->user_data = index | (__u64)tag->serial << 32;
	uring->flight.tail++;
}

/* Both. */
static __always_inline void uring_commit(struct uring *uring, struct tag *tag, __u32 index,
					  struct sqe *sqe)
{
	uring_take_tag(uring, tag);
	uring_take_entry(uring, tag, index, sqe);
}

/* An entry whose success is nobody's concern; there is always space for RESERVED_ENTRIES. */
static __always_inline struct sqe *uring_aside(struct uring *uring)
{
	struct sqe *sqe;

	if (uring_space(uring) - 1 >= URING_ENTRIES)
		return NULL;
	sqe = uring_entry(uring);
	sqe->flags |= SQE_SILENT;
	sqe->user_data = URING_UNTAGGED;
	uring->flight.tail++;
	return sqe;
}

static __always_inline void uring_release(struct uring *uring, struct tag *tag, __u32 index)
{
	__u32 free = uring->flight.free;

	if (free >= URING_TAGS)
		return;
	tag->state = TAG_STATE_FREE;
	uring->flight.stack[free] = index;
	uring->flight.free = free + 1;
}

/* Raise the device's interrupt when the ring comes to it: a write to the irqfd's eventfd.  False if there
 * is no space to submit that. */
static __always_inline int uring_raise(struct uring *uring)
{
	struct sqe *sqe = uring_aside(uring);

	if (!sqe)
		return 0;
	sqe->opcode = IO_WRITE;
	sqe->fd = FILE_INTERRUPT;
	sqe->addr = uring->wiring.address + __builtin_offsetof(struct uring, wiring.one);
	sqe->len = sizeof(uring->wiring.one);
	return 1;
}

/* An entry that does nothing, for its completion's sake: one at a time.  False if there is no space. */
static __always_inline int uring_nop(struct uring *uring)
{
	struct sqe *sqe;

	if (uring->flight.nop)
		return 1;
	sqe = uring_aside(uring);
	if (!sqe)
		return 0;
	sqe->opcode = IO_NOP;
	sqe->flags = 0;
	sqe->user_data = URING_NOP;
	uring->flight.nop = 1;
	return 1;
}

/* Show the kernel what was committed; 0, or DECLINE_RING_ASLEEP if somebody must wake its thread.
 * The exchange is a full barrier: the tail is out before the flag is read.  Partner: the thread
 * sets the flag and then looks at the tail (io_sq_thread). */
static __always_inline __u32 uring_submit(struct uring *uring)
{
	__u32 *tail = uring_word(uring, uring->wiring.sq_tail), before;

	if (READ_ONCE(*tail) == uring->flight.tail)
		return 0;
	barrier();
	before = exchange(tail, uring->flight.tail);
	return uring_enter(uring, uring->flight.tail - before,
			   uring_word(uring, uring->wiring.sq_flags));
}

/* Have the kernel's thread look at what it was shown, if it sleeps and has not; 0, or DECLINE_RING_ASLEEP. */
static __always_inline __u32 uring_wake(struct uring *uring)
{
	if (!READ_ONCE(uring->wiring.ready) || READ_ONCE(*uring_word(uring, uring->wiring.sq_head)) ==
					       READ_ONCE(*uring_word(uring, uring->wiring.sq_tail)))
		return 0;
	return uring_enter(uring, 0, uring_word(uring, uring->wiring.sq_flags));
}

/* Take one completion off the ring: its tag, or NULL if it is of no request in flight. */
static __always_inline struct tag *uring_take(struct uring *uring, __u32 *index, __s32 *result)
{
	__u32 *head = uring_word(uring, uring->wiring.cq_head), serial;
	struct cqe *cqe = (void *)uring_rings(uring)->page +
		((uring->wiring.cqes + sizeof(*cqe) * (*head & (URING_COMPLETIONS - 1))) &
		 (2 * PAGE_BYTES - sizeof(*cqe)));
	struct tag *tag;

	barrier();	/* the entry is read after the tail that covers it (x86: loads in order) */
	*index = cqe->user_data;
	serial = cqe->user_data >> 32;
	*result = cqe->res;
	barrier();
	WRITE_ONCE(*head, *head + 1);
	if (*index == URING_NOP)
		uring->flight.nop = 0;
	if (*index >= URING_TAGS)
		return NULL;
	tag = &uring->flight.tag[*index];
	if (tag->state != TAG_STATE_FLYING || tag->serial != serial)
		return NULL;
	return tag;
}

#endif
