/* Asynchronous I/O: requests that a handler, which may not sleep, hands to io_uring.
 *
 * The rings are shared memory (vmm/devmodel/engine.py), guarded by their queue's lock.  A device
 * takes a tag, fills in a submission and commits it; engine_submit() shows the kernel what was
 * committed.  What comes back goes through the device's complete_one(), in engine_collect(). */
#ifndef SPLITVMM_ENGINE_H
#define SPLITVMM_ENGINE_H

#include "platform.h"

/* linux/io_uring.h; not included, as its own structs are ours here */
enum {
	IO_READV = 1, IO_WRITEV = 2, IO_FSYNC = 3, IO_FALLOCATE = 17,
	IO_READ = 22, IO_WRITE = 23, IO_MADVISE = 25,
	SQE_FIXED_FILE = 1 << 0, SQE_SILENT = 1 << 6,	/* IOSQE_CQE_SKIP_SUCCESS */
	FSYNC_DATASYNC = 1,
	SQ_NEED_WAKEUP = 1,
	MADVISE_POPULATE_READ = 22,			/* linux/mman.h */
	WRITE_DSYNC = 2,				/* RWF_DSYNC */
};
enum { FILE_IO, FILE_INTERRUPT };			/* registered files */
enum { RESERVED_ENTRIES = 2 };				/* kept for what belongs to no request */

static __always_inline struct rings *engine_rings(struct engine *engine)
{
	return &engine->rings[engine->wiring.polled & 1];
}

/* A word of io_uring's, by its place; the mask is for the verifier. */
static __always_inline __u32 *engine_word(struct engine *engine, __u32 place)
{
	return (void *)engine_rings(engine)->page + (place & (PAGE_BYTES - 4));
}

static __always_inline int engine_completions(struct engine *engine)
{
	return READ_ONCE(engine->wiring.ready) &&
	       READ_ONCE(*engine_word(engine, engine->wiring.cq_head)) !=
	       READ_ONCE(*engine_word(engine, engine->wiring.cq_tail));
}

/* Userspace wants the queue looked at, though nobody rang. */
static __always_inline int engine_asked(struct engine *engine)
{
	return READ_ONCE(engine->wiring.look) != READ_ONCE(engine->flight.looked);
}

static __always_inline __u32 engine_room(struct engine *engine)
{
	return ENGINE_ENTRIES - (engine->flight.tail -
				 READ_ONCE(*engine_word(engine, engine->wiring.sq_head)));
}

static __always_inline __u32 engine_flying(struct engine *engine)
{
	return ENGINE_TAGS - engine->flight.free;
}

/* A free tag, not yet taken; NULL if there is none or no room to submit. */
static __always_inline struct tag *engine_tag(struct engine *engine, __u32 *index)
{
	__u32 free = engine->flight.free, room = engine_room(engine);

	if (free == 0 || free > ENGINE_TAGS || room > ENGINE_ENTRIES || room <= RESERVED_ENTRIES)
		return NULL;
	*index = engine->flight.stack[(free - 1) & (ENGINE_TAGS - 1)] & (ENGINE_TAGS - 1);
	return &engine->flight.tag[*index];
}

/* The next submission entry, emptied. */
static __always_inline struct sqe *engine_entry(struct engine *engine)
{
	struct sqe *sqe = &engine_rings(engine)->sqe[engine->flight.tail & (ENGINE_ENTRIES - 1)];

	__builtin_memset(sqe, 0, sizeof(*sqe));
	sqe->flags = SQE_FIXED_FILE;
	return sqe;
}

static __always_inline struct buffer *engine_buffers(struct engine *engine, __u32 index)
{
	return &engine->lists.buffer[(index & (ENGINE_TAGS - 1)) * ENGINE_SEGMENTS];
}

/* Where a list lies in the process. */
static __always_inline __u64 engine_list(struct engine *engine, __u32 index)
{
	return engine->wiring.address + __builtin_offsetof(struct engine, lists) +
	       (__u64)index * ENGINE_SEGMENTS * sizeof(struct buffer);
}

/* READV or WRITEV of a tag's list; one buffer alone spares the kernel the list. */
static __always_inline void engine_transfer(struct engine *engine, struct sqe *sqe, __u8 opcode,
					    __u32 index, __u32 buffers)
{
	const struct buffer *first = engine_buffers(engine, index);

	if (buffers == 1) {
		sqe->opcode = opcode == IO_READV ? IO_READ : IO_WRITE;
		sqe->addr = first->base;
		sqe->len = first->length;
	} else {
		sqe->opcode = opcode;
		sqe->addr = engine_list(engine, index);
		sqe->len = buffers;
	}
}

/* Take the tag and its entry: they go out with the next engine_submit(). */
static __always_inline void engine_commit(struct engine *engine, struct tag *tag, __u32 index,
					  struct sqe *sqe)
{
	tag->serial++;
	tag->state = TAG_STATE_FLYING;
	sqe->user_data = index | (__u64)tag->serial << 32;
	engine->flight.free--;
	engine->flight.tail++;
	engine->flight.submitted++;
}

/* An entry whose success is nobody's concern; there is always room for RESERVED_ENTRIES. */
static __always_inline struct sqe *engine_aside(struct engine *engine)
{
	struct sqe *sqe;

	if (engine_room(engine) - 1 >= ENGINE_ENTRIES)
		return NULL;
	sqe = engine_entry(engine);
	sqe->flags |= SQE_SILENT;
	sqe->user_data = ENGINE_UNTAGGED;
	engine->flight.tail++;
	return sqe;
}

static __always_inline void engine_release(struct engine *engine, struct tag *tag, __u32 index)
{
	__u32 free = engine->flight.free;

	if (free >= ENGINE_TAGS)
		return;
	tag->state = TAG_STATE_FREE;
	engine->flight.stack[free] = index;
	engine->flight.free = free + 1;
}

/* Raise the device's interrupt when the ring comes to it: a write to the irqfd's eventfd. */
static __always_inline void engine_raise(struct engine *engine)
{
	struct sqe *sqe = engine_aside(engine);

	if (!sqe)
		return;		/* so full that completions will raise it */
	sqe->opcode = IO_WRITE;
	sqe->fd = FILE_INTERRUPT;
	sqe->addr = engine->wiring.address + __builtin_offsetof(struct engine, wiring.one);
	sqe->len = sizeof(engine->wiring.one);
}

/* Show the kernel what was committed; 0, or DECLINE_RING_ASLEEP if somebody must wake its thread.
 * The exchange is a full barrier: the tail is out before the flag is read.  Partner: the thread
 * sets the flag and then looks at the tail (io_sq_thread). */
static __always_inline __u32 engine_submit(struct engine *engine)
{
	__u32 *tail = engine_word(engine, engine->wiring.sq_tail), before;

	if (READ_ONCE(*tail) == engine->flight.tail)
		return 0;
	barrier();
	before = exchange(tail, engine->flight.tail);
	return engine_kick(engine, engine->flight.tail - before,
			   engine_word(engine, engine->wiring.sq_flags));
}

/* Take one completion off the ring: its tag, or NULL if it is of no request in flight. */
static __always_inline struct tag *engine_take(struct engine *engine, __u32 *index, __s32 *result)
{
	__u32 *head = engine_word(engine, engine->wiring.cq_head), serial;
	struct cqe *cqe = (void *)engine_rings(engine)->page +
		((engine->wiring.cqes + sizeof(*cqe) * (*head & (ENGINE_COMPLETIONS - 1))) &
		 (2 * PAGE_BYTES - sizeof(*cqe)));
	struct tag *tag;

	barrier();	/* the entry is read after the tail that covers it (x86: loads in order) */
	*index = cqe->user_data;
	serial = cqe->user_data >> 32;
	*result = cqe->res;
	barrier();
	WRITE_ONCE(*head, *head + 1);
	if (*index >= ENGINE_TAGS)
		return NULL;
	tag = &engine->flight.tag[*index];
	if (tag->state != TAG_STATE_FLYING || tag->serial != serial)
		return NULL;
	engine->flight.completed++;
	return tag;
}

#endif
