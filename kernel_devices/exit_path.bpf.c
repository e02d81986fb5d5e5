/* The dispatcher: KVM's tracepoints see a guest's write on its vCPU's thread, before KVM's
 * own I/O bus does.  Writes of other VMs cost one failed look-up. */
#include "exit_path.h"

MAP(routes, BPF_MAP_TYPE_HASH, 1024, sizeof(struct route_key), sizeof(struct route));
MAP(programs, BPF_MAP_TYPE_PROG_ARRAY, PAGES, 4, 4);

enum { TRACE_WRITE = 2, PIO_OUT = 1 };	/* KVM_TRACE_MMIO_WRITE, KVM_PIO_OUT: arch/x86/kvm/trace.h */

struct burst {
	struct vcpu_exits *vcpu;
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
	decline(burst->vcpu, &burst->access, 0);
	return 0;
}

static __always_inline int dispatch(struct bpf_raw_tracepoint_args *context, struct route_key *key,
				  const void *data, __u32 count)
{
	struct vcpu_exits *vcpu = this_vcpu();
	struct access access = {};
	struct route *route;
	void *page;
	__u32 index, width = key->width;

	if (!vcpu)
		return 0;
	route = bpf_map_lookup_elem(&routes, key);
	if (!route || route->action == ACTION_IGNORE || width > 8 || count == 0)
		return 0;
	bpf_probe_read_kernel(&access.value, width, data + (count - 1) * width);
	access.device = index = route->device;
	access.offset = route->offset;
	access.width = width;
	if (route->action == ACTION_WATCH) {
		decline(vcpu, &access, 0);
		return 0;
	}
	if (count > 1 && route->action == ACTION_NOTIFY) {
		struct burst burst = { vcpu, data, access };

		bpf_loop(count, decline_one, &burst, 0);
		return 0;
	}
	/* What this vCPU does before userspace has seen its decline follows that, in order. */
	if (vcpu->outbox.head != vcpu->inbox.tail) {
		decline(vcpu, &access, 0);
		return 0;
	}
	if (route->action == ACTION_NOTIFY) {
		vcpu->outbox.access = access;
		bpf_tail_call(context, &programs, index);
		decline(vcpu, &access, 0);	/* no such program */
		return 0;
	}
	page = bpf_map_lookup_elem(&pages, &index);
	if (page)
		posted_write(page, route, width, access.value);
	return 0;
}

SEC("raw_tp/kvm_mmio")		/* type, len, gpa, val */
int on_mmio(struct bpf_raw_tracepoint_args *context)
{
	struct route_key key = { .address = context->args[2], .bus = BUS_MMIO,
				 .width = context->args[1] };

	if (context->args[0] != TRACE_WRITE)
		return 0;
	return dispatch(context, &key, (const void *)context->args[3], 1);
}

SEC("raw_tp/kvm_pio")		/* rw, port, size, count, data */
int on_pio(struct bpf_raw_tracepoint_args *context)
{
	struct route_key key = { .address = context->args[1], .bus = BUS_PORT,
				 .width = context->args[2] };

	if (context->args[0] != PIO_OUT)
		return 0;
	return dispatch(context, &key, (const void *)context->args[4], context->args[3]);
}

/* Run once by each vCPU's thread (BPF_PROG_RUN; args: index), so that the thread is known by
 * the number the kernel has for it, whatever pid namespace the process is in. */
SEC("raw_tp")
int register_vcpu(struct bpf_raw_tracepoint_args *context)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid(), index = context->args[0];

	return bpf_map_update_elem(&vcpu_of_thread, &thread, &index, BPF_ANY) ? 1 : 0;
}
