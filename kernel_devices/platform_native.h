/* The exit path in the process itself: the same handlers in a shared object. */
#ifndef SPLITVMM_PLATFORM_NATIVE_H
#define SPLITVMM_PLATFORM_NATIVE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sched.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define __noinline	__attribute__((noinline))

/* Has the compiler know nothing of a variable from here on, so that a comparison that it takes as needless stays in
 * the program, where the verifier looks for it. */
#define barrier_var(x)	__asm__ volatile("" : "+r"(x))

#ifndef EXPLORE		/* where one build stands for both */
enum { MAY_WAIT = 1 };
#endif

/* One exit copies no more.  There is no end to its time: here it can be preempted, and may wait. */
enum {
	BUDGET_BYTES = 8 << 20,
};
#define BUDGET_NS	(~0ull >> 1)

enum { LINES = 32 };

struct device {
	void *state, *page, *scratch, *urings, *memory_of_device;
	__u32 uring_count;
	__u32 slot;
	__s32 tracing_fd;	/* where trace() writes its lines, as struct traced; -1 if nobody listens */
	struct event_ring *events;	/* NULL if nobody records */
	__s32 line[LINES];	/* interrupt of each queue: a GSI to pulse, or ~eventfd */
	__u8 *ram;
	struct memory_layout memory;
};

#ifndef EXPLORE
static __always_inline __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}
#endif

#ifndef EXPLORE
#define this_cpu()		((__u32)sched_getcpu())
#endif
#define recorder(device)	((device)->events)
#define slot_of(device)		((device)->slot)
#include "recorder.h"

#define DEVICE_STATE(type)						\
	static __always_inline type *device_state(struct device *device)	\
	{								\
		return device->state;					\
	}							\
	DEVICE_CONTROL(type)

#define DEVICE_SCRATCH(type, count)					\
	enum { scratch_bytes = sizeof(type) * (count) };		\
	static __always_inline type *device_scratch(struct device *device, __u32 index) \
	{								\
		return index < (count) ? (type *)device->scratch + index : NULL; \
	}

#define URING_MEMORY(count)						\
	static __always_inline struct uring *uring_memory(struct device *device, __u32 index) \
	{								\
		return index < device->uring_count ?			\
			(void *)((__u8 *)device->urings + (size_t)index * URING_STRIDE) : NULL; \
	}

#define DEVICE_NO_SCRATCH	enum { scratch_bytes = 1 };

static __always_inline void *device_page_at(struct device *device, __u32 number)
{
	return (__u8 *)device->page + (size_t)number * PAGE_BYTES;
}

#define DEVICE_MEMORY(bytes)							\
	static __always_inline void *device_memory(struct device *device)	\
	{									\
		return device->memory_of_device;				\
	}

static __always_inline const volatile struct memory_layout *ram_layout(struct device *device)
{
	return &device->memory;
}

static __always_inline void *ram_at(struct device *device, __u64 gpa, __u32 length, __u32 *reason)
{
	__s64 offset = ram_offset(&device->memory, gpa, length, reason);

	return offset < 0 ? NULL : device->ram + offset;
}

/* Plain memory to plain memory. */
static __always_inline void copy(void *to, const void *from, __u32 length)
{
	memcpy(to, from, length);
}

/* 0, or -1 where the page cache lacks any of it: RWF_NOWAIT does not wait, at most it begins to read.  A file system
 * that does not know it (overlayfs before 6.6, tmpfs) is read as it is: here, waiting is no crime. */
static __always_inline int image_read(void *to, __u32 length, __u64 image, __u32 image_fd, __u64 offset)
{
	struct iovec part = { to, length };
	ssize_t got = preadv2(image_fd, &part, 1, offset, RWF_NOWAIT);

	(void)image;
	if (got < 0 && errno == EOPNOTSUPP)
		got = preadv(image_fd, &part, 1, offset);
	return got == (ssize_t)length ? 0 : -1;
}

/* Into the page cache, or onto the disk if `durable`; bytes written, or -1. */
static __always_inline __s64 image_write(__u32 image_fd, const struct uring_iovec *list, __u32 buffers,
					 __u64 offset, int durable)
{
	_Static_assert(sizeof(struct uring_iovec) == sizeof(struct iovec), "iovec");
	return pwritev2(image_fd, (const struct iovec *)list, buffers, offset, durable ? RWF_DSYNC : 0);
}

static inline void signal_eventfd(int fd)
{
	__u64 one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return;		/* it is full of signals */
}

static __always_inline void uring_signal(struct uring *uring)
{
	signal_eventfd(uring->wiring.completion_fd);
}

/* One edge of an I/O APIC's pin, or one message.  The pin may be high: another thread may be raising it,
 * for something that the guest has seen by now.  So it is lowered first, as pulse_line() in kvm_run.c
 * does: whoever raises it next makes an edge that comes after what this one is for. */
static inline void raise_line(int vm_fd, __s32 line)
{
	struct kvm_irq_level low = { .irq = line, .level = 0 }, high = { .irq = line, .level = 1 };

	if (line < 0) {
		signal_eventfd(~line);
		return;
	}
	ioctl(vm_fd, KVM_IRQ_LINE, &low);
	ioctl(vm_fd, KVM_IRQ_LINE, &high);
	ioctl(vm_fd, KVM_IRQ_LINE, &low);
}

#ifndef EXPLORE
/* Hand over what was submitted, in place; a ring that is polled is at most woken. */
static __always_inline __u32 uring_enter(struct uring *uring, __u32 submitted, const __u32 *flags)
{
	enum { SQ_WAKEUP = 1 << 1 };	/* IORING_ENTER_SQ_WAKEUP */
	long got;

	if (uring->wiring.polled && !(READ_ONCE(*flags) & 1))
		return 0;
	do
		got = syscall(__NR_io_uring_enter, uring->wiring.ring_fd, submitted, 0,
			      uring->wiring.polled ? SQ_WAKEUP : 0, NULL, 0);
	while (got < 0 && errno == EINTR);
	return got < 0 ? DECLINE_RING_ASLEEP : 0;
}

static __always_inline void upcall(struct collecting *collecting, __u32 index, __u32 reason)
{
	record(collecting->device, EVENT_KIND_UPCALL, index, reason, 0, 0);
	collecting->upcalls |= 1u << (index & 31);
}

/* Between two tries at a lock: its holder may have been preempted. */
static inline void lock_wait(void)
{
	sched_yield();
}
#endif

static __always_inline void interrupt_later(struct collecting *collecting, __u32 index)
{
	collecting->interrupts |= 1u << (index & 31);
}

static __always_inline long loop(__u32 count, long (*step)(__u32, void *), void *context)
{
	__u32 i;

	for (i = 0; i < count; i++)
		if (step(i, context))
			break;
	return i;
}

static __attribute__((format(printf, 2, 3), unused)) void trace_line(struct device *device, const char *format, ...)
{
	struct traced traced = { .device = device->slot, .half = HALF_NATIVE };
	va_list arguments;

	va_start(arguments, format);
	vsnprintf((char *)traced.text, sizeof(traced.text), format, arguments);
	va_end(arguments);
	if (write(device->tracing_fd, &traced, sizeof(traced)) < 0)
		return;		/* there is no room for it */
}

#define trace(of, format, ...)	do { if ((of)->tracing_fd >= 0) trace_line(of, format, ##__VA_ARGS__); } while (0)

/* What vmm/offload/native.py calls; the same names in every device's shared object. */
#define DEVICE_HANDLER(notify, hash)							\
	RUN_HANDLER(notify)								\
	const __u64 layout_hash = hash;							\
	struct device *device_new(void *state, void *page, void *memory_of_device, void *ram, void *urings, \
				  __u32 uring_count, __u32 slot, __s32 tracing_fd, void *events,		\
				  const struct memory_layout *memory, const __s32 *lines, __u32 line_count) \
	{										\
		struct device *device = calloc(1, sizeof(*device));			\
											\
		if (!device)								\
			return NULL;							\
		device->state = state;							\
		device->page = page;							\
		device->memory_of_device = memory_of_device;				\
		device->ram = ram;							\
		device->urings = urings;						\
		device->uring_count = uring_count;					\
		device->slot = slot;							\
		device->tracing_fd = tracing_fd;					\
		device->events = events;						\
		device->memory = *memory;						\
		for (__u32 i = 0; i < line_count && i < LINES; i++)			\
			device->line[i] = lines[i];					\
		device->scratch = calloc(1, scratch_bytes);				\
		if (device->scratch)							\
			return device;							\
		free(device);								\
		return NULL;								\
	}										\
	void device_free(struct device *device)						\
	{										\
		free(device->scratch);							\
		free(device);								\
	}										\
	int device_notify(struct device *device, const struct access *access, __u32 *reason) \
	{										\
		return run_handler(device, access, reason);				\
	}

/* Completions, each time the eventfd says that there are some, until userspace has something to do: 0,
 * with bits for the queues that it is to look at in `upcalls` and, without a VM (vm_fd -1), for those
 * whose interrupts it is to raise in `interrupts`.  -errno if the eventfd fails. */
#define DEVICE_COLLECTOR(collect)							\
	int device_collect(struct device *device, int eventfd, int vm_fd, __u32 *upcalls, __u32 *interrupts) \
	{										\
		for (;;) {								\
			struct collecting collecting = { .device = device };		\
			__u64 count;							\
											\
			if (read(eventfd, &count, sizeof(count)) < 0)			\
				return -errno;						\
			collect(&collecting);						\
			*interrupts = vm_fd < 0 ? collecting.interrupts : 0;		\
			for (__u32 i = 0; vm_fd >= 0 && i < LINES; i++)			\
				if (collecting.interrupts >> i & 1) {			\
					record(device, EVENT_KIND_INTERRUPT, i, 0, 0, 0);	\
					raise_line(vm_fd, device->line[i]);		\
				}							\
			*upcalls = collecting.upcalls;					\
			if (*upcalls || *interrupts || count > 1 << 30)			\
				return 0;						\
		}									\
	}

#endif
