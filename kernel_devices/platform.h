/* What a handler may use, the same for both builds of it.
 *
 *   struct device          where the handler runs; opaque
 *   device_state(), device_page(), device_scratch(), device_memory()
 *   DEVICE_HANDLER()       which function serves NOTIFY registers; it has the device to itself, unless
 *                          the schema says lock=False or the device has queues
 *   ram_at()               guest memory, bounds-checked
 *   image_read()           page cache -> guest memory, never waiting
 *   uring_memory()        a queue's io_uring; uring_enter() has the kernel look at it
 *   trace()                a line for `splitvmm run -v`: trace(device, "fill %u x %u", width, height)
 *   loop()                 a bounded loop that the verifier walks once
 *   fetch_add() and kin    full barriers: BPF orders an atomic only if its result is used
 *
 * x86 only: plain stores are seen in program order by other CPUs (TSO), so publishing an
 * index needs no more than a compiler barrier.
 */
#ifndef SPLITVMM_PLATFORM_H
#define SPLITVMM_PLATFORM_H

#include <linux/types.h>
#ifdef __bpf__
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#else
#include <linux/stddef.h>
#endif
#include "exit_path.gen.h"
#include "virtqueue.gen.h"
#include "uring.gen.h"
#include "recording.h"

#define PAGE_BYTES	4096

/* What named bits of a value say: bits_of(control, BLITTER_CONTROL_MODE). */
#define bits_of(value, mask)	(((value) & (mask)) / ((mask) & -(mask)))

/* A function that the verifier walks once, apart from its callers, and knows no more of what it is
 * given than the types: without that, the walk of each loop inside each loop multiplies.  It takes
 * few numbers and pointers to structs, and returns a number. */
#ifdef __bpf__
#define __apart	__attribute__((noinline))
#else
#define __apart	static inline
#endif

/* Is a run of guest memory, of any length, RAM from end to end?  A hole divides RAM in two. */
static __always_inline int ram_holds(const volatile struct memory_layout *memory, __u64 gpa, __u64 length)
{
	__u64 start = gpa, end = memory->low;

	if (gpa >= memory->low) {
		if (gpa < memory->high)
			return 0;
		start = gpa - memory->high + memory->low;
		end = memory->bytes;
	}
	return start <= end && length <= end - start;
}

/* Where guest memory lies in the run of bytes that RAM is; ram_holds() says whether it does. */
static __always_inline __u64 ram_flat(const volatile struct memory_layout *memory, __u64 gpa)
{
	return gpa < memory->low ? gpa : gpa - memory->high + memory->low;
}

/* Where such a run lies: offset into RAM, or -1 with a reason.  At most CHUNK bytes, and within
 * one map element. */
static __always_inline __s64 ram_offset(const volatile struct memory_layout *memory, __u64 gpa,
					__u32 length, __u32 *reason)
{
	__u64 offset = ram_flat(memory, gpa);

	*reason = DECLINE_OUTSIDE_RAM;
	if (!ram_holds(memory, gpa, length))
		return -1;
	*reason = DECLINE_STRADDLES;
	if ((offset & ((1ull << memory->shift) - 1)) + length > memory->element)
		return -1;
	*reason = 0;
	return offset;
}

/* Where a run of guest RAM lies in the process, of which `ram` is the start; 0 if it is none.
 * Contiguous there, whatever map elements it is made of. */
static __always_inline __u64 ram_address(const volatile struct memory_layout *memory, __u64 ram,
					 __u64 gpa, __u64 length)
{
	return ram_holds(memory, gpa, length) ? ram + ram_flat(memory, gpa) : 0;
}

/* A look at the queues of a device whose requests may have come back. */
struct collecting {
	struct device *device;
	__u32 queue;		/* in the kernel, where each has a message of its own */
	__u32 interrupts;	/* a bit for each queue whose driver wants one, */
	__u32 upcalls;		/* and for each that userspace is to look at */
};

/* Whether userspace is to see the write. */
static __always_inline int goes_up(enum verdict verdict)
{
	return verdict == VERDICT_TO_USER || verdict == VERDICT_TO_USER_INTERRUPT;
}

/* Whether the device interrupts. */
static __always_inline int interrupts(enum verdict verdict)
{
	return verdict == VERDICT_HANDLED_INTERRUPT || verdict == VERDICT_TO_USER_INTERRUPT;
}

/* What every device's state begins with. */
#define DEVICE_CONTROL(type)							\
	static __always_inline struct device_control *device_control(struct device *device) \
	{									\
		type *state = device_state(device);				\
										\
		return state ? &state->control : NULL;				\
	}

/* Places where another CPU may come in between: built with WIDEN, each takes some microseconds, so that
 * tests meet what is a matter of nanoseconds otherwise.  tools/fuzz has a CPU of its own come there. */
#ifdef WIDEN
#define WINDOW()	loop(WIDEN, idle_step, NULL)
#elif !defined(WINDOW)
#define WINDOW()	do { } while (0)
#endif

/* What either build defines below, in its own way. */

/* Guest memory: `length` bytes at the guest-physical address `gpa`, CHUNK (256 KiB) of them at most.  NULL, and a
 * reason to decline, where they are not all RAM (DECLINE_OUTSIDE_RAM) or lie in two elements of RAM, of 32 to 512 MiB
 * each (DECLINE_STRADDLES).  The guest may be writing there at any time: read once, check, and use what was read. */
static void *ram_at(struct device *device, __u64 gpa, __u32 length, __u32 *reason);

/* `length` bytes from memory to memory; CHUNK (256 KiB) at most, or BPF copies none. */
static void copy(void *to, const void *from, __u32 length);

/* step(0, context), step(1, context), ... `count` times, or until a step returns 1, for which the verifier looks at
 * one step alone.  `context` is a struct on the stack; what is returned is not the same in both builds. */
static __attribute__((unused)) long loop(__u32 count, long (*step)(__u32 i, void *context), void *context);

/* A clock in ns that only goes forward. */
static __attribute__((unused)) __u64 now_ns(void);

#ifdef __bpf__
#include "platform_bpf.h"
#else
#include "platform_native.h"
#endif

/* The first page of the device's registers, which is all of them mostly. */
static __always_inline void *device_page(struct device *device)
{
	return device_page_at(device, 0);
}

/* What lies at `offset` from the device's base, with pages of any number: a register file, say,
 * registers_at(device, DMA_CHANNEL + i * DMA_CHANNEL_STRIDE, struct dma_channel).  NULL if that is no
 * whole one on one page. */
#define registers_at(device, offset, type)	((type *)registers_of((device), (offset), sizeof(type)))

static __always_inline void *registers_of(struct device *device, __u32 offset, __u32 bytes)
{
	__u32 inside = offset % PAGE_BYTES;
	__u8 *page = device_page_at(device, offset / PAGE_BYTES);

	barrier_var(inside);	/* or the comparison goes, which the verifier looks for */
	return page && bytes <= PAGE_BYTES && inside <= PAGE_BYTES - bytes ? page + inside : NULL;
}

#ifdef WIDEN
static long idle_step(__u32 i, void *context)
{
	barrier();	/* or a compiler sees that nothing happens */
	return 0;
}
#endif

#endif
