/* What each exit of the host comes to first: attached once, however many VMs there are.  It finds the VM by its process
 * and tail-calls that one's own dispatcher (exit_path.bpf.c); an exit of a VM that is not ours pays one look-up.
 *
 * The maps are shared by all VMs, the links held by each (vmm/kvm/host_path.py): all of it is there as long as any
 * VM is.  A VM has a place, which it takes as it comes; its end, whatever it is, gives it back: the last thread's, or
 * another program in its place. */
#include <linux/stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "exit_path.gen.h"
#include "atomic.h"
#include "tracepoints.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Where a VM's own programs are, from its place on. */
enum entry { ENTRY_MMIO, ENTRY_PIO, ENTRY_MESSAGE, ENTRIES };

struct member {
	__u32 place;
	__u32 listens;	/* its dispatcher is called */
};

#define MAP(name, kind, entries, key_type, value_type)	\
	struct {					\
		__uint(type, kind);			\
		__uint(max_entries, entries);		\
		__type(key, key_type);			\
		__type(value, value_type);		\
	} name SEC(".maps")

MAP(host_members, BPF_MAP_TYPE_HASH, VMS, __u32, struct member);	/* by process */
MAP(host_places, BPF_MAP_TYPE_ARRAY, VMS, __u32, __u32);		/* whose each is; 0: nobody's */
MAP(host_entries, BPF_MAP_TYPE_PROG_ARRAY, VMS * ENTRIES, __u32, __u32);

/* Which build of this file it is; set before loading, and read by who looks for it. */
const volatile __u64 host_generation;

/* linux/sched.h, linux/sched/signal.h: as much of it as is read here */
struct atomic { int counter; } __attribute__((preserve_access_index));
struct signal_struct { struct atomic live; } __attribute__((preserve_access_index));
struct task_struct { struct signal_struct *signal; } __attribute__((preserve_access_index));

static __always_inline __u32 this_process(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline void enter_vm(struct bpf_raw_tracepoint_args *context, enum entry entry)
{
	__u32 process = this_process();
	struct member *member = bpf_map_lookup_elem(&host_members, &process);

	if (member && member->listens)
		bpf_tail_call(context, &host_entries, member->place * ENTRIES + entry);
}

SEC("raw_tp/kvm_mmio")
int host_mmio(struct bpf_raw_tracepoint_args *context)
{
	if (context->args[0] == TRACE_WRITE)
		enter_vm(context, ENTRY_MMIO);
	return 0;
}

SEC("raw_tp/kvm_pio")
int host_pio(struct bpf_raw_tracepoint_args *context)
{
	if (context->args[0] == PIO_OUT)
		enter_vm(context, ENTRY_PIO);
	return 0;
}

SEC("raw_tp/kvm_msi_set_irq")		/* address, data */
int host_message(struct bpf_raw_tracepoint_args *context)
{
	if ((__u32)context->args[0] == COLLECT_ADDRESS)
		enter_vm(context, ENTRY_MESSAGE);
	return 0;
}

/* A place is nobody's, if it is still that process's. */
static __always_inline void free_place(__u32 place, __u32 process)
{
	__u32 *owner = bpf_map_lookup_elem(&host_places, &place);

	if (owner)
		compare_exchange(owner, process, 0);
}

static __always_inline int give_back(void)
{
	__u32 process = this_process(), place;
	struct member *member = bpf_map_lookup_elem(&host_members, &process);

	if (!member)
		return 1;
	place = member->place;
	bpf_map_delete_elem(&host_members, &process);
	free_place(place, process);
	return 0;
}

/* The kernel has counted the thread that ends (do_exit(), kernel/exit.c): with the last one, the VM is gone. */
SEC("raw_tp/sched_process_exit")
int host_exit(struct bpf_raw_tracepoint_args *context)
{
	struct task_struct *task = (void *)context->args[0];
	struct signal_struct *signal = NULL;
	int live = 1;

	bpf_core_read(&signal, sizeof(signal), &task->signal);
	bpf_core_read(&live, sizeof(live), &signal->live.counter);
	if (!live)
		give_back();
	return 0;
}

/* Another program's process from here on, under the same number; its descriptors of the VM are closed. */
SEC("raw_tp/sched_process_exec")
int host_exec(struct bpf_raw_tracepoint_args *context)
{
	give_back();
	return 0;
}

struct search {
	__u32 process, place, found;
};

static long take_place(__u32 i, void *context)
{
	struct search *search = context;
	__u32 *owner = bpf_map_lookup_elem(&host_places, &i);

	if (!owner)
		return 1;
	if (READ_ONCE(*owner) || compare_exchange(owner, 0, search->process))
		return 0;
	search->place = i;
	search->found = 1;
	return 1;
}

/* Run by a VM's process (BPF_PROG_RUN): the place that is its own from now on, plus 1, or 0 if there is none, or it has
 * one already.  Its dispatcher is not called before host_listen(). */
SEC("raw_tp")
int host_join(struct bpf_raw_tracepoint_args *context)
{
	struct search search = { .process = this_process() };
	struct member member = {};

	if (bpf_map_lookup_elem(&host_members, &search.process))
		return 0;
	bpf_loop(VMS, take_place, &search, 0);
	if (!search.found)
		return 0;
	member.place = search.place;
	if (!bpf_map_update_elem(&host_members, &search.process, &member, BPF_NOEXIST))
		return search.place + 1;
	free_place(search.place, search.process);
	return 0;
}

SEC("raw_tp")		/* whether its dispatcher is called from now on */
int host_listen(struct bpf_raw_tracepoint_args *context)
{
	__u32 process = this_process();
	struct member *member = bpf_map_lookup_elem(&host_members, &process);

	if (!member)
		return 1;
	WRITE_ONCE(member->listens, context->args[0] != 0);
	return 0;
}

SEC("raw_tp")
int host_leave(struct bpf_raw_tracepoint_args *context)
{
	return give_back();
}
