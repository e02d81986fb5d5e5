/* The kernel's side of a queue's io_uring: entries are looked at as the kernel would, and completed as the input says. */
#ifndef SPLITVMM_FUZZ_RING_H
#define SPLITVMM_FUZZ_RING_H

#include "model.h"

enum { SQ_HEAD = 0, SQ_TAIL = 4, SQ_FLAGS = 8, CQ_HEAD = 64, CQ_TAIL = 68, CQES = 128 };	/* places, as 6.18 has them */

static __u32 *word(int q, __u32 place)
{
	return (void *)(ring_of(q)->rings[ring_of(q)->wiring.polled & 1].page + place);
}

/* A buffer that the kernel is to read or write: guest RAM, or what the queue's ring has beside it. */
static void check_buffer(int q, const struct iovec *part, int into_memory)
{
	const __u8 *own = (void *)&ring_of(q)->iovecs, *at = part->iov_base;

	if (!into_memory && at == (__u8 *)&ring_of(q)->wiring.one && part->iov_len == 8)
		return;
	if (!into_memory && at >= own && at + part->iov_len <= own + sizeof(struct iovecs))
		return;
	require(in_ram(at, part->iov_len), "the kernel is given %zu bytes at %p for I/O; wanted guest RAM, at %p",
		part->iov_len, (void *)at, (void *)world.ram);
}

static void host_check_transfer(const struct iovec *list, int count, off_t offset, int write)
{
	__u64 bytes = 0;

	require(!write || image_may_change(), "a disk that is read-only is written to");
	for (int i = 0; i < count; i++) {
		require(in_ram(list[i].iov_base, list[i].iov_len), "%zu bytes at %p for I/O; wanted guest RAM",
			list[i].iov_len, list[i].iov_base);
		bytes += list[i].iov_len;
	}
	require(offset >= 0 && (__u64)offset + bytes <= image_bytes(), "%llu bytes at %lld of the image; it has %llu",
		bytes, (long long)offset, image_bytes());
}

/* The buffers of an entry, as the kernel copies them when it takes it. */
static void take_buffers(int q, const struct sqe *sqe, struct pending *pending)
{
	const __u8 *start = (void *)ring_of(q), *list = (void *)sqe->addr;
	int several = sqe->opcode == IO_READV || sqe->opcode == IO_WRITEV;

	pending->parts = 1;
	pending->part[0] = (struct iovec){ (void *)sqe->addr, sqe->len };
	if (several) {
		require(list >= start && sqe->len <= URING_RECEIVE_BUFFERS &&
			list + sizeof(struct iovec) * sqe->len <= start + sizeof(struct uring),
			"a list of %u buffers at %p; wanted it in the queue's memory", sqe->len, (void *)list);
		pending->parts = sqe->len;
		memcpy(pending->part, list, sizeof(struct iovec) * sqe->len);
	}
	for (int i = 0; i < pending->parts; i++) {
		check_buffer(q, &pending->part[i], sqe->opcode == IO_READ || sqe->opcode == IO_READV);
		pending->most += pending->part[i].iov_len;
	}
}

static void take_entry(int q, const struct sqe *sqe, struct pending *pending)
{
	__u32 index = sqe->user_data;

	pending->user_data = sqe->user_data;
	pending->opcode = sqe->opcode;
	pending->fresh = 1;
	pending->silent = !!(sqe->flags & SQE_SILENT);
	pending->parts = pending->most = 0;
	switch (sqe->opcode) {
	case IO_READ: case IO_WRITE: case IO_READV: case IO_WRITEV:
		require(sqe->flags & SQE_FIXED_FILE && (sqe->fd == FILE_IO || sqe->fd == FILE_INTERRUPT), "file %d", sqe->fd);
		take_buffers(q, sqe, pending);
		if (sqe->fd == FILE_IO)
			device_check_entry(sqe, pending->most);
		else
			host.raised++;
		break;
	case IO_NOP:
		break;
	default:
		device_check_entry(sqe, 0);
	}
	if (index == URING_UNTAGGED || index == URING_NOP)
		return;
	require(index < URING_TAGS, "an entry of tag %u", index);
	require(ring_of(q)->flight.tag[index].state == TAG_STATE_FLYING &&
		ring_of(q)->flight.tag[index].serial == sqe->user_data >> 32, "an entry of tag %u, which is not in flight", index);
}

/* The kernel takes what is in the submission ring, but has no more in flight than may complete. */
static void host_enter(int q, unsigned int submitted, int wake)
{
	__u32 *head = word(q, SQ_HEAD), tail = *word(q, SQ_TAIL);

	(void)submitted;	/* what was left by an earlier call goes first, and all the rest follows */
	require(tail - *head <= URING_ENTRIES, "%u entries in a ring of %u", tail - *head, URING_ENTRIES);
	if (wake)
		*word(q, SQ_FLAGS) = 0;
	for (; *head != tail && world.pendings[q] < PENDING; ++*head) {
		struct sqe *sqe = &ring_of(q)->rings[ring_of(q)->wiring.polled & 1].sqe[*head % URING_ENTRIES];
		struct pending *pending = &world.pending[q][world.pendings[q]];

		take_entry(q, sqe, pending);
		world.pendings[q] += !pending->silent;
	}
}

/* A completion, as it comes; false if there is no room for it. */
static int complete(int q, __u64 user_data, __s32 result)
{
	__u32 *tail = word(q, CQ_TAIL);
	struct cqe *cqe = (void *)word(q, CQES + sizeof(*cqe) * (*tail % URING_COMPLETIONS));

	if (*tail - *word(q, CQ_HEAD) >= URING_COMPLETIONS)
		return 0;
	*cqe = (struct cqe){ user_data, result, 0 };
	++*tail;
	return 1;
}

/* The kernel has done one: memory that it reads into is the request's still, until the handler takes the completion. */
static void finish_pending(int q, int which, __s64 result)
{
	struct pending *pending = &world.pending[q][which];
	__u32 index = pending->user_data;
	__s64 left = result;

	if (index < URING_TAGS)
		require(ring_of(q)->flight.tag[index].state == TAG_STATE_FLYING &&
			ring_of(q)->flight.tag[index].serial == pending->user_data >> 32,
			"tag %u was let go of while the kernel had its request", index);
	if (!complete(q, pending->user_data, result))
		return;
	for (int i = 0; i < pending->parts && left > 0; i++) {
		size_t bytes = left < (__s64)pending->part[i].iov_len ? (size_t)left : pending->part[i].iov_len;

		if (pending->opcode == IO_READ || pending->opcode == IO_READV) {
			memset(pending->part[i].iov_base, 0x5a, bytes);
			world.changed |= world.inside;
		}
		left -= bytes;
	}
	*pending = world.pending[q][--world.pendings[q]];
}

#endif
