/* The exit path inside the kernel: BPF on KVM's raw tracepoints.
 *
 * Maps named here are made by userspace and handed to every object of one VM. */
#ifndef SPLITVMM_PLATFORM_BPF_H
#define SPLITVMM_PLATFORM_BPF_H

/* Some helpers, bpf_probe_read_kernel() for one, are for programs under a licence that is compatible with the
 * GPL.  A handler under another than ours defines this before it includes anything. */
#ifndef HANDLER_LICENSE
#define HANDLER_LICENSE "Dual MIT/GPL"
#endif
char LICENSE[] SEC("license") = HANDLER_LICENSE;

/* Set before loading, so that the verifier knows them as constants. */
const volatile struct memory_layout memory;
const volatile __u32 slot;
const volatile __u32 first_page;	/* of the device, in `pages` */
const volatile __u32 tracing;	/* whether anybody listens to trace() */
const volatile __u32 recording;	/* whether what devices do is recorded */

#define MAP(name, kind, entries, key_bytes, value_bytes)	\
	struct {						\
		__uint(type, kind);				\
		__uint(max_entries, entries);			\
		__uint(key_size, key_bytes);			\
		__uint(value_size, value_bytes);		\
	} name SEC(".maps")

MAP(ram, BPF_MAP_TYPE_ARRAY, 1, 4, 8);
MAP(pages, BPF_MAP_TYPE_ARRAY, PAGES, 4, PAGE_BYTES);
MAP(vcpu_of_thread, BPF_MAP_TYPE_HASH, VCPUS, 4, 4);
MAP(machine, BPF_MAP_TYPE_ARRAY, 1, 4, sizeof(struct machine_exits));
MAP(vcpus, BPF_MAP_TYPE_ARRAY, VCPUS, 4, sizeof(struct vcpu_exits));
/* The access that the dispatcher is at, for the device's program: a tracepoint's programs stay on
 * their CPU, and none of them runs twice at once there. */
MAP(current, BPF_MAP_TYPE_PERCPU_ARRAY, 1, 4, sizeof(struct access));
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, UPCALLS_BYTES);
} upcalls SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TRACES_BYTES);
} traces SEC(".maps");
MAP(events, BPF_MAP_TYPE_ARRAY, 1, 4, sizeof(struct event_ring));

enum { MAY_WAIT = 0 };

/* What one exit or one collection may take: preemption is off, in a collection interrupts may be, too. */
enum {
	BUDGET_NS = 20000,
	BUDGET_BYTES = CHUNK,	/* copied */
};

struct device { __u32 unused; };

#define DEVICE_STATE(type)						\
	MAP(state, BPF_MAP_TYPE_ARRAY, 1, 4, sizeof(type));		\
	static __always_inline type *device_state(struct device *device)	\
	{								\
		__u32 key = 0;						\
		return bpf_map_lookup_elem(&state, &key);		\
	}								\
	DEVICE_CONTROL(type)

/* Private working memory, one element for each queue, used under the queue's lock. */
#define DEVICE_SCRATCH(type, count)					\
	MAP(scratch, BPF_MAP_TYPE_ARRAY, count, 4, sizeof(type));	\
	static __always_inline type *device_scratch(struct device *device, __u32 index) \
	{								\
		return bpf_map_lookup_elem(&scratch, &index);		\
	}

#define DEVICE_NO_SCRATCH

/* A device whose queues do asynchronous I/O; one element for each queue. */
#define URING_MEMORY(count)							\
	MAP(urings, BPF_MAP_TYPE_ARRAY, count, 4, URING_STRIDE);		\
	static __always_inline struct uring *uring_memory(struct device *device, __u32 index) \
	{									\
		return bpf_map_lookup_elem(&urings, &index);			\
	}

/* A page of the device's registers, by its number. */
static __always_inline void *device_page_at(struct device *device, __u32 number)
{
	__u32 key = first_page + number;

	return bpf_map_lookup_elem(&pages, &key);
}

/* Memory of the device's own, all of it, with slack behind it that is nobody's. */
#define DEVICE_MEMORY(bytes)							\
	MAP(memory_of_device, BPF_MAP_TYPE_ARRAY, 1, 4, (bytes) + CHUNK);	\
	static __always_inline void *device_memory(struct device *device)	\
	{									\
		__u32 key = 0;							\
		return bpf_map_lookup_elem(&memory_of_device, &key);		\
	}

static __always_inline const volatile struct memory_layout *ram_layout(struct device *device)
{
	return &memory;
}

static __always_inline void *ram_at(struct device *device, __u64 gpa, __u32 length, __u32 *reason)
{
	__s64 offset = ram_offset(&memory, gpa, length, reason);
	__u64 inside;
	__u32 key;
	void *element;

	if (offset < 0)
		return NULL;
	key = (__u64)offset >> memory.shift;
	inside = offset & ((1ull << memory.shift) - 1);
	/* again, where the verifier must see it: it does not follow sums of two unknowns */
	barrier_var(inside);
	if (inside >= memory.element)
		return NULL;
	element = bpf_map_lookup_elem(&ram, &key);
	return element ? element + inside : NULL;
}

/* Plain memory to plain memory. */
static __always_inline void copy(void *to, const void *from, __u32 length)
{
	if (length <= CHUNK)
		bpf_probe_read_kernel(to, length, from);
}

/* 0, or -1 where the page cache holds no mapped page: taking the fault is not possible here. */
static __always_inline int image_read(void *to, __u32 length, __u64 image, __u32 image_fd, __u64 offset)
{
	if (length > CHUNK)
		return -1;
	return bpf_probe_read_user(to, length, (const void *)(image + offset)) ? -1 : 0;
}

/* The ring's own thread takes what was submitted, unless it sleeps: then only a system call wakes it. */
static __always_inline __u32 uring_enter(struct uring *uring, __u32 submitted, const __u32 *flags)
{
	return READ_ONCE(*flags) & 1 ? DECLINE_RING_ASLEEP : 0;		/* IORING_SQ_NEED_WAKEUP */
}

/* Not without waiting, which is not possible here. */
static __always_inline __s64 image_write(__u32 image_fd, const struct uring_iovec *list, __u32 buffers,
					 __u64 offset, int durable)
{
	return -1;
}

/* A polled ring has no need of it, and there is none other here. */
static __always_inline void uring_signal(struct uring *uring)
{
}

/* Between two tries at a lock; its holder is on another CPU, and cannot be preempted. */
static __always_inline void lock_wait(void)
{
}

#define this_cpu()			bpf_get_smp_processor_id()
#define loop(count, step, context)	bpf_loop(count, step, context, 0)
#define now_ns()			bpf_ktime_get_ns()
#define recorder(device)		recording
#define slot_of(device)			slot
#include "recorder.h"

static __always_inline struct access *current_access(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&current, &key);
}

static __always_inline struct machine_exits *this_machine(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&machine, &key);
}

static __always_inline struct vcpu_exits *this_vcpu(void)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid(), index;
	__u32 *found = bpf_map_lookup_elem(&vcpu_of_thread, &thread);

	if (!found)
		return NULL;
	index = *found;
	return bpf_map_lookup_elem(&vcpus, &index);
}

#include "decline_bpf.h"

/* The program that the dispatcher tail-calls for NOTIFY registers, with the access in `current`. */
#define DEVICE_HANDLER(notify, hash)						\
	RUN_HANDLER(notify)							\
	const volatile __u64 layout_hash = hash;				\
	static __always_inline int device_written(void)				\
	{									\
		struct device device = {};					\
		struct access access, *given = current_access();		\
		enum verdict verdict;						\
		__u32 reason = 0;						\
										\
		if (!given)							\
			return 0;						\
		access = *given;						\
		verdict = run_handler(&device, &access, &reason);		\
		if (goes_up(verdict))						\
			decline(&access, reason);				\
		else if (HANDLER_RAISES && verdict == VERDICT_HANDLED_INTERRUPT)	\
			raise_line(&access);					\
		if (!HANDLER_RAISES && interrupts(verdict))			\
			record(&device, EVENT_KIND_INTERRUPT, access.value, 0, 0, 0);	\
		return 0;							\
	}									\
	SEC("raw_tp") int device_exit(struct bpf_raw_tracepoint_args *context)	\
	{									\
		return device_written();					\
	}

/* It is raised through the ring. */
static __always_inline void interrupt_later(struct collecting *collecting, __u32 index)
{
	record(collecting->device, EVENT_KIND_INTERRUPT, index, 0, 0, 0);
}

/* A line for `splitvmm run -v` of at most 119 bytes: trace(device, "fill %u x %u", width, height), with the formats
 * of bpf_snprintf(), 12 numbers or strings at most.  Where nobody listens the verifier takes it out of the program;
 * what there is no room for is not said. */
#define trace(of, format, ...)						\
	do {									\
		struct traced *traced;						\
										\
		if (!tracing)							\
			break;							\
		traced = bpf_ringbuf_reserve(&traces, sizeof(*traced), 0);	\
		if (!traced)							\
			break;							\
		(void)(of);							\
		traced->device = slot;						\
		traced->half = HALF_KERNEL;					\
		BPF_SNPRINTF((char *)traced->text, TRACE_TEXT, format, ##__VA_ARGS__);	\
		bpf_ringbuf_submit(traced, 0);					\
	} while (0)

/* Of a device with rings, the program in that one's place: it is tail-called too where the message is injected that says
 * that something has come back to a queue (args: address, data), on io_uring's threads mostly.  Nobody is interrupted by
 * it.  One program is verified in half the time that two take, as the queue is visited by the same code. */
#define DEVICE_COLLECTOR(collect)						\
	SEC("raw_tp") int device_collect(struct bpf_raw_tracepoint_args *context)	\
	{									\
		struct collecting collecting = {};				\
										\
		if ((__u32)context->args[0] != COLLECT_ADDRESS)	/* as of no write: kvm_mmio's type, kvm_pio's direction */ \
			return device_written();				\
		/* of a device there is nothing to know here; on the stack it would be one more thing that changes */ \
		collecting.device = (struct device *)this_machine();		\
		collecting.queue = (context->args[1] & 0xff) - COLLECT_VECTOR;	\
		collect(&collecting);						\
		return 0;							\
	}

#endif
