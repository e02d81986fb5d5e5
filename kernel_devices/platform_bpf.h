/* The exit path inside the kernel: BPF on KVM's raw tracepoints.
 *
 * Maps named here are made by userspace and handed to every object of one VM. */
#ifndef SPLITVMM_PLATFORM_BPF_H
#define SPLITVMM_PLATFORM_BPF_H

char LICENSE[] SEC("license") = "GPL";

/* Set before loading, so that the verifier knows them as constants. */
const volatile struct memory_layout memory;
const volatile __u32 slot;

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
MAP(vcpus, BPF_MAP_TYPE_ARRAY, VCPUS, 4, sizeof(struct vcpu_exits));

struct device { __u32 unused; };

#define DEVICE_STATE(type)						\
	MAP(state, BPF_MAP_TYPE_ARRAY, 1, 4, sizeof(type));		\
	static __always_inline type *device_state(struct device *device)	\
	{								\
		__u32 key = 0;						\
		return bpf_map_lookup_elem(&state, &key);		\
	}

/* Private working memory, one element for each queue, used under the queue's lock. */
#define DEVICE_SCRATCH(type, count)					\
	MAP(scratch, BPF_MAP_TYPE_ARRAY, count, 4, sizeof(type));	\
	static __always_inline type *device_scratch(struct device *device, __u32 index) \
	{								\
		return bpf_map_lookup_elem(&scratch, &index);		\
	}

static __always_inline void *device_page(struct device *device)
{
	__u32 key = slot;

	return bpf_map_lookup_elem(&pages, &key);
}

static __always_inline void *ram_at(struct device *device, __u64 gpa, __u32 length, __u32 *reason)
{
	__s64 offset = ram_offset(&memory, gpa, length, reason);
	__u64 inside;
	__u32 key;
	void *element;

	if (offset < 0)
		return NULL;
	key = (__u64)offset >> REGION_SHIFT;
	inside = offset & ((1ull << REGION_SHIFT) - 1);
	/* again, where the verifier must see it: it does not follow sums of two unknowns */
	barrier_var(inside);
	if (inside >= memory.element)
		return NULL;
	element = bpf_map_lookup_elem(&ram, &key);
	return element ? element + inside : NULL;
}

/* 0, or -1 where the page cache holds no mapped page: taking the fault is not possible here. */
static __always_inline int image_read(void *to, __u32 length, __u64 image, __u32 image_fd, __u64 offset)
{
	if (length > CHUNK)
		return -1;
	return bpf_probe_read_user(to, length, (const void *)(image + offset)) ? -1 : 0;
}

#define loop(count, step, context)	bpf_loop(count, step, context, 0)
#define now_ns()			bpf_ktime_get_ns()
#define fetch_add(word, n)		__sync_fetch_and_add(word, n)
#define fetch_or(word, n)		__sync_fetch_and_or(word, n)
#define fetch_and(word, n)		__sync_fetch_and_and(word, n)
#define exchange(word, n)		__sync_lock_test_and_set(word, n)

static __always_inline struct vcpu_exits *this_vcpu(void)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid(), index;
	__u32 *found = bpf_map_lookup_elem(&vcpu_of_thread, &thread);

	if (!found)
		return NULL;
	index = *found;
	return bpf_map_lookup_elem(&vcpus, &index);
}

/* Hand a write to userspace: KVM_RUN returns EINTR before the guest's next instruction.
 * Writer and reader of the outbox are one thread, so it needs no barrier. */
static __always_inline void decline(struct vcpu_exits *vcpu, const struct access *access, __u32 reason)
{
	__u32 head = vcpu->outbox.head;
	struct declined *declined = &vcpu->outbox.ring[head & (DECLINES - 1)];

	if (head - vcpu->inbox.tail >= DECLINES) {
		vcpu->outbox.lost++;
	} else {
		declined->access = *access;
		declined->reason = reason;
		vcpu->outbox.head = head + 1;
	}
	bpf_send_signal_thread(DECLINE_SIGNAL);
}

/* The program that the dispatcher tail-calls for NOTIFY registers. */
#define DEVICE_HANDLER(notify, hash)						\
	const volatile __u64 layout_hash = hash;				\
	SEC("raw_tp") int device_exit(void *context)				\
	{									\
		struct vcpu_exits *vcpu = this_vcpu();				\
		struct device device = {};					\
		struct access access;						\
		__u32 reason = 0;						\
										\
		if (!vcpu)							\
			return 0;						\
		access = vcpu->outbox.access;					\
		if (notify(&device, &access, &reason) == VERDICT_TO_USER)	\
			decline(vcpu, &access, reason);				\
		return 0;							\
	}

#endif
