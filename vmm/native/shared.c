/* Memory that both sides map, and the order of accesses to it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <stddef.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "exit_path.gen.h"
#include "recording.h"

static void full_barrier(void)
{
	__sync_synchronize();
}

static uint32_t fetch_add32(uint64_t address, uint32_t n)
{
	return __sync_fetch_and_add((volatile uint32_t *)address, n);
}

static uint32_t fetch_or32(uint64_t address, uint32_t bits)
{
	return __sync_fetch_and_or((volatile uint32_t *)address, bits);
}

static uint32_t fetch_and32(uint64_t address, uint32_t bits)
{
	return __sync_fetch_and_and((volatile uint32_t *)address, bits);
}

static uint64_t fetch_add64(uint64_t address, uint64_t n)
{
	return __sync_fetch_and_add((volatile uint64_t *)address, n);
}

/* The same as meter() of kernel_devices/net/net_transmit.h, on the same word. */
static int meter(uint64_t due, uint64_t cost, uint64_t now, uint64_t burst)
{
	volatile uint64_t *word = (volatile uint64_t *)due;
	uint64_t before = *word;

	if (before < now)
		__sync_val_compare_and_swap(word, before, now);
	before = __sync_fetch_and_add(word, cost);
	if (before <= now || before + cost - now <= burst)
		return 1;
	__sync_fetch_and_sub(word, cost);
	return 0;
}

enum { GUARD = 4096, HUGE = 2 << 20 };

/* Address space with a page of nothing on either side, that begins where a huge page can; 0 on failure. */
static uint64_t reserve(size_t bytes)
{
	size_t all = bytes + HUGE + 2 * GUARD;
	uint8_t *from = mmap(0, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *at;

	if (from == MAP_FAILED)
		return 0;
	at = (uint8_t *)(((uintptr_t)from + GUARD + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	if (at - GUARD > from)
		munmap(from, at - GUARD - from);
	munmap(at + bytes + GUARD, from + all - (at + bytes + GUARD));
	return (uint64_t)at;
}

static int unreserve(uint64_t at, size_t bytes)
{
	return munmap((void *)(at - GUARD), bytes + 2 * GUARD);
}

static int map_fixed(uint64_t at, size_t bytes, int fd, uint64_t offset)
{
	void *got = mmap((void *)at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset);

	return got == MAP_FAILED ? -errno : 0;
}

/* Memory of this process alone, in huge pages where the kernel has them; a child of fork() does not get it. */
static int map_private(uint64_t at, size_t bytes)
{
	void *got = mmap((void *)at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);

	if (got == MAP_FAILED || madvise(got, bytes, MADV_DONTFORK))
		return -errno;
	madvise(got, bytes, MADV_HUGEPAGE);	/* a kernel without them is none the worse */
	return 0;
}

/* A file's page cache, read-only; 0 on failure. */
static uint64_t map_file(int fd, size_t bytes)
{
	void *got = mmap(0, bytes, PROT_READ, MAP_SHARED, fd, 0);

	return got == MAP_FAILED ? 0 : (uint64_t)got;
}

static int unmap_file(uint64_t at, size_t bytes)
{
	return munmap((void *)at, bytes);
}

/* Read the pages in if need be and map them, without touching them from here. */
static int populate(uint64_t at, size_t bytes)
{
	return madvise((void *)at, bytes, 22 /* MADV_POPULATE_READ, Linux 5.14 */) ? -errno : 0;
}

/* Unmap the pages, which stay in the page cache. */
static int evict(uint64_t at, size_t bytes)
{
	return madvise((void *)at, bytes, MADV_DONTNEED) ? -errno : 0;
}

/* One byte a page: bit 0 is set for those in the page cache. */
static int resident(uint64_t at, size_t bytes, uint8_t *pages)
{
	return mincore((void *)at, bytes, pages) ? -errno : 0;
}

/* Deallocate (mode 3), zero (mode 0x11: keeps the size) or what else fallocate(2) does. */
static int file_allocate(int fd, int mode, uint64_t offset, uint64_t bytes)
{
	return fallocate(fd, mode, offset, bytes) ? -errno : 0;
}

struct memory_place { uint64_t address, size; };
_Static_assert(sizeof(struct memory_place) == sizeof(struct iovec), "a place is an iovec");

/* Memory of another process, place after place in this order, one behind the other into `into`; -errno (-EFAULT: not
 * all of it is there).  The places are read by one system call, or several where there are more than it takes. */
static int read_process(int pid, const struct memory_place *places, uint32_t count, void *into)
{
	while (count) {
		uint32_t now = count < IOV_MAX ? count : IOV_MAX;
		struct iovec local = { .iov_base = into };

		for (uint32_t i = 0; i < now; i++)
			local.iov_len += places[i].size;
		ssize_t got = process_vm_readv(pid, &local, 1, (const struct iovec *)places, now, 0);
		if (got < 0)
			return -errno;
		if ((size_t)got != local.iov_len)
			return -EFAULT;
		places += now, count -= now, into = (char *)into + got;
	}
	return 0;
}

/* The Python half's events, as handlers put in theirs (kernel_devices/recorder.h). */
static void event_record(uint64_t ring, uint32_t what, uint32_t where, uint64_t value, uint64_t began_ns)
{
	static __thread uint32_t thread;
	struct timespec now;

	if (!thread)
		thread = syscall(SYS_gettid);
	clock_gettime(CLOCK_MONOTONIC, &now);
	event_put((struct event_ring *)ring, now.tv_sec * 1000000000ull + now.tv_nsec, thread, HALF_PYTHON, what, where,
		  value, began_ns);
}

/* Take events out, `most` at most, up to the first place that was claimed and is not written yet; how many. */
static uint32_t events_take(uint64_t address, void *events, uint32_t most)
{
	struct event_ring *ring = (struct event_ring *)address;
	struct event *to = events;
	uint32_t count;

	for (count = 0; count < most; count++) {
		struct event *event = &ring->event[ring->reader.taken & (EVENT_PLACES - 1)];

		if (!READ_ONCE(event->kind))
			break;
		barrier();	/* x86: loads are done in order; partner: event_put() */
		to[count] = *event;
		event->kind = 0;
		barrier();	/* the place is free before it may be claimed */
		WRITE_ONCE(ring->reader.taken, ring->reader.taken + 1);
	}
	return count;
}
