/* Walking a chain whose buffers all go one way, for devices that take it as a stream of bytes: how
 * many there are, where they start, and, for the ring, a list of them. */
#ifndef SPLITVMM_WALK_H
#define SPLITVMM_WALK_H

#include "serving.h"

/* One buffer of the chain. */
static __noinline long walk_part(__u32 i, void *context)
{
	struct serving *serving = context;
	struct walk *walk = &serving->work->walk;
	struct uring *uring = serving->uring;
	__u32 index = walk->parts, reason;
	struct segment segment;
	struct uring_iovec *buffer;
	__u64 base;

	charge_step(serving);
	reason = chain_next(serving->device, serving->queue, &walk->chain, &segment);
	if (!reason && segment.length == 0)
		return 0;	/* an indirect table was entered */
	if (!reason && (index >= WALK_PARTS || !segment.writable != !walk->writable))
		reason = walk->framing_reason;
	if (reason) {
		walk->reason = reason;
		return 1;
	}
	if (uring) {
		base = ram_address(ram_layout(serving->device), uring->wiring.ram, segment.gpa, segment.length);
		if (!base) {
			walk->reason = DECLINE_OUTSIDE_RAM;
			return 1;
		}
		barrier_var(index);	/* or the mask goes, whose point is that 6.1's verifier sees it */
		buffer = &uring_iovecs(uring, walk->tag)[index & (WALK_PARTS - 1)];
		buffer->base = base;
		buffer->length = segment.length;
	}
	if (index == 0) {
		walk->first = segment.gpa;
		walk->first_bytes = segment.length;
	}
	walk->total += segment.length;
	walk->parts = index + 1;
	return walk->chain.ended & 1;	/* 6.1's verifier wants to see a truth value */
}

/* Walk the next chain: 0, or a reason; `framing_reason` is that for buffers that go the other way, or are
 * too many.  With an io_uring, the buffers are in the list of the tag `tag`. */
static __always_inline __u32 walk_chain(struct serving *serving, __u32 writable, __u32 tag, __u32 framing_reason)
{
	struct walk *walk = &serving->work->walk;
	__u32 reason = chain_start(serving->device, serving->queue, &walk->chain);

	if (reason)
		return reason;
	walk->parts = walk->reason = 0;
	walk->total = 0;
	walk->writable = writable;
	walk->tag = tag;
	walk->framing_reason = framing_reason;
	if (!walk_part(0, serving) && !walk_part(1, serving))
		loop(WALK_PARTS, walk_part, serving);
	if (walk->reason)
		return walk->reason;
	return walk->chain.ended && walk->parts ? 0 : framing_reason;
}

/* The next buffer of the chain, past the step into an indirect table that may come before it. */
static __always_inline __u32 walk_to(struct serving *serving, struct segment *segment)
{
	struct chain *chain = &serving->work->walk.chain;
	__u32 reason = chain_next(serving->device, serving->queue, chain, segment);

	if (!reason && segment->length == 0)
		reason = chain_next(serving->device, serving->queue, chain, segment);
	charge_step(serving);
	return reason;
}

/* Walk a chain that is one buffer to be read and one to be written, as of a question and its answer: 0, or a
 * reason; `framing_reason` is that for any other. */
static __always_inline __u32 walk_pair(struct serving *serving, struct segment *from, struct segment *to,
				       __u32 framing_reason)
{
	struct chain *chain = &serving->work->walk.chain;
	__u32 reason = chain_start(serving->device, serving->queue, chain);

	if (!reason)
		reason = walk_to(serving, from);
	if (!reason && (from->writable || chain->ended))
		reason = framing_reason;
	if (!reason)
		reason = walk_to(serving, to);
	if (!reason && (!to->writable || !chain->ended))
		reason = framing_reason;
	return reason;
}

/* Commit the chain that was walked as one READV or WRITEV of its list, at the file's own position. */
static __always_inline void walk_submit(struct serving *serving, struct tag *tag, __u8 opcode, __u32 buffers)
{
	struct walk *walk = &serving->work->walk;
	struct uring *uring = serving->uring;
	struct sqe *sqe = uring_entry(uring);

	sqe->off = ~0ull;
	uring_transfer(uring, sqe, opcode, walk->tag, buffers);
	tag->kind = opcode;
	tag->head = walk->chain.head;
	tag->slots = walk->chain.slots;
	tag->status = walk->first;
	tag->buffers = buffers;
	tag->wanted = walk->total;
	tag->written = 0;
	serving_commit(serving, tag, walk->tag, sqe);
	avail_take(serving->queue, &walk->chain);
}

#endif
