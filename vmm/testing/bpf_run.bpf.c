/* The kernel's addresses of what tracepoints' programs are given a pointer to: played_vm.py. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { MOST_BYTES = 64 };	/* of what one instruction writes */

struct written {
	__u8 bytes[MOST_BYTES];
	__u64 address;	/* of `bytes` */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);		/* userspace makes the map */
	__type(key, __u32);
	__type(value, struct written);
} written SEC(".maps");

SEC("raw_tp")
int locate(struct bpf_raw_tracepoint_args *context)
{
	__u32 index = context->args[0];
	struct written *written_ = bpf_map_lookup_elem(&written, &index);

	if (!written_)
		return 1;
	written_->address = (__u64)written_->bytes;
	return 0;
}
