/* The dispatcher of one VM: KVM's tracepoints see a guest's write on its vCPU's thread, before KVM's own I/O bus does.
 * They come by host_path.bpf.c, which is the host's, and says whose the write is. */
#include "exit_path.h"
#include "tracepoints.h"

MAP(routes, BPF_MAP_TYPE_HASH, ROUTES, sizeof(struct route_key), sizeof(struct route));
MAP(programs, BPF_MAP_TYPE_PROG_ARRAY, DEVICES, 4, 4);

enum { MOST_WIDE = 64 };		/* bytes of one write: more than any that KVM emulates */

struct burst {
	const void *data;
	struct access access;
};

/* One element of a string OUT to a notify register: KVM traces them all at once, so none is
 * served here; each goes up, in order. */
static long decline_one(__u32 i, void *context)
{
	struct burst *burst = context;
	__u32 width = burst->access.width;

	if (width > 8)
		return 1;
	burst->access.value = 0;
	bpf_probe_read_kernel(&burst->access.value, width, burst->data + i * width);
	record_access(recording, EVENT_KIND_WRITE, &burst->access, 0);
	decline(&burst->access, 0);
	return 0;
}

struct wide {
	struct route_key key;
	const void *data;
	__u32 left;
};

/* 8 bytes, or what is left, of a wider write.  KVM traces it once, and puts it on its bus piece by piece until
 * one is nobody's (vcpu_mmio_write, arch/x86/kvm/x86.c): those before it are claimed, and go up, in order. */
static long decline_piece(__u32 i, void *context)
{
	struct wide *wide = context;
	struct access access = {};
	struct route *route;
	__u32 width = wide->left < 8 ? wide->left : 8;

	wide->key.width = width;
	route = width ? bpf_map_lookup_elem(&routes, &wide->key) : 0;
	if (!route)
		return 1;
	if (route->action != ACTION_IGNORE) {
		access.device = route->device;
		access.offset = route->offset;
		access.width = width;
		bpf_probe_read_kernel(&access.value, width, wide->data);
		record_access(recording, EVENT_KIND_WRITE, &access, 0);
		decline(&access, 0);
	}
	wide->key.address += width;
	wide->data += width;
	wide->left -= width;
	return 0;
}

/* Does this vCPU have a decline that userspace has not seen?  What it does meanwhile follows
 * that one, in order.  The machine's count spares all but a few exits the look-up. */
static __always_inline int declines_before(struct machine_exits *exits)
{
	struct vcpu_exits *vcpu;

	if (exits->kernel.declined == READ_ONCE(exits->user.declined))
		return 0;
	vcpu = this_vcpu();
	return vcpu && vcpu->outbox.head != vcpu->inbox.tail;
}

/* The claim raises the line of a register whose every write does. */
static __always_inline void record_write(const struct access *access, const struct route *route)
{
	record_access(recording, EVENT_KIND_WRITE, access, 0);
	if (route->interrupts)
		record_access(recording, EVENT_KIND_INTERRUPT, access, 0);
}

static __always_inline int dispatch(struct bpf_raw_tracepoint_args *context, struct route_key *key,
				    const void *data, __u32 count)
{
	struct machine_exits *exits = this_machine();
	struct access access = {}, *shown = current_access();
	const void *last;
	struct route *route;
	void *page;
	__u32 index, width = key->width, action;
	__u64 bytes;

	if (!exits || !shown || exits->kernel.process != bpf_get_current_pid_tgid() >> 32)
		return 0;
	route = bpf_map_lookup_elem(&routes, key);
	if (!route || count == 0)
		return 0;
	action = route->action;
	index = route->device;
	if (action == ACTION_IGNORE)
		return 0;
	last = data + (count - 1) * width;
	bytes = width;
	barrier_var(bytes);	/* of 64 bits, and right before its use, or 6.1's verifier does not know it any more */
	if (bytes > 8)
		return 0;
	bpf_probe_read_kernel(&access.value, bytes, last);
	access.device = index;
	access.offset = route->offset;
	access.width = width;
	if (action != ACTION_WATCH && count == 1)
		record_write(&access, route);
	if (action == ACTION_NOTIFY && count == 1 && !declines_before(exits)) {
		*shown = access;
		bpf_tail_call(context, &programs, index);
	}
	/* here still: no doorbell, or one that goes up */
	if ((action == ACTION_NOTIFY || action == ACTION_CLEAR) && count > 1) {
		struct burst burst = { data, access };

		bpf_loop(count, decline_one, &burst, 0);
	} else if (action == ACTION_NOTIFY || action == ACTION_WATCH || declines_before(exits)) {
		decline(&access, 0);
	} else {
		index = route->page;
		page = bpf_map_lookup_elem(&pages, &index);
		if (page)
			posted_write(page, route, width, access.value);
	}
	return 0;
}

static __attribute__((noinline)) int dispatch_wide(const struct route_key *first, const void *data)
{
	struct machine_exits *exits = this_machine();
	struct wide wide = { .data = data };

	if (!exits || !first || exits->kernel.process != bpf_get_current_pid_tgid() >> 32)
		return 0;
	wide.key = *first;
	wide.left = first->width;
	bpf_loop(MOST_WIDE / 8, decline_piece, &wide, 0);
	return 0;
}

SEC("raw_tp")		/* kvm_mmio */
int on_mmio(struct bpf_raw_tracepoint_args *context)
{
	struct route_key key = { .address = context->args[2], .bus = BUS_MMIO,
				 .width = context->args[1] };

	if (context->args[0] != TRACE_WRITE)
		return 0;
	if (key.width > 8)
		return dispatch_wide(&key, (const void *)context->args[3]);
	return dispatch(context, &key, (const void *)context->args[3], 1);
}

SEC("raw_tp")		/* kvm_pio */
int on_pio(struct bpf_raw_tracepoint_args *context)
{
	struct route_key key = { .address = context->args[1], .bus = BUS_PORT,
				 .width = context->args[2] };

	if (context->args[0] != PIO_OUT)
		return 0;
	return dispatch(context, &key, (const void *)context->args[4], context->args[3]);
}

/* Something has come back to a queue: to its device, which the data says. */
SEC("raw_tp")		/* kvm_msi_set_irq: address, data */
int on_message(struct bpf_raw_tracepoint_args *context)
{
	struct machine_exits *exits = this_machine();
	__u32 index = ((__u32)context->args[1] >> MESSAGE_OWNER_SHIFT) - 1;

	if ((__u32)context->args[0] == COLLECT_ADDRESS && exits &&
	    exits->kernel.process == bpf_get_current_pid_tgid() >> 32)
		bpf_tail_call(context, &programs, index);
	return 0;
}

/* Run once by each vCPU's thread (BPF_PROG_RUN; args: index), so that process and thread are
 * known by the numbers the kernel has for them, whatever pid namespace they are in. */
SEC("raw_tp")
int register_vcpu(struct bpf_raw_tracepoint_args *context)
{
	__u64 current = bpf_get_current_pid_tgid();
	__u32 thread = (__u32)current, index = context->args[0];
	struct machine_exits *exits = this_machine();

	if (!exits)
		return 1;
	exits->kernel.process = current >> 32;
	if (recording)
		record_event(EVENT_WHAT(EVENT_KIND_VCPU, 0, 0), EVENT_WHERE(0, NO_QUEUE, 0), index, 0);
	return bpf_map_update_elem(&vcpu_of_thread, &thread, &index, BPF_ANY) ? 1 : 0;
}
