/* A program on a tracepoint that has a timer of BPF's: what the kernel does not let it have. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct ticking {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ticking);
} timers SEC(".maps");

static int tick(void *map, __u32 *key, struct ticking *ticking)
{
	return 0;
}

SEC("raw_tp/kvm_mmio")
int start(void *context)
{
	__u32 key = 0;
	struct ticking *ticking = bpf_map_lookup_elem(&timers, &key);

	if (!ticking || bpf_timer_init(&ticking->timer, &timers, 1))
		return 0;
	bpf_timer_set_callback(&ticking->timer, tick);
	return bpf_timer_start(&ticking->timer, 1000, 0);
}
