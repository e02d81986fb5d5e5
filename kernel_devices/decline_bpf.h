/* What the exit path inside the kernel leaves to userspace, and how it says so. */
#ifndef SPLITVMM_DECLINE_BPF_H
#define SPLITVMM_DECLINE_BPF_H

/* Hand a write to userspace: KVM_RUN returns EINTR before the guest's next instruction.
 * Writer and reader of an outbox are one thread, so it needs no barrier.  Off the hot path,
 * and a function of its own, so that it is verified once. */
static __attribute__((noinline)) int decline(struct access *access, __u32 reason)
{
	struct machine_exits *exits = this_machine();
	struct vcpu_exits *vcpu = this_vcpu();
	struct declined *declined;
	__u32 head;

	if (!exits || !access)
		return 0;
	if (access->width <= 8 && access->device < DEVICES)	/* a write, of a device */
		record_access(recording, EVENT_KIND_DECLINE, access, reason);
	if (!vcpu) {	/* where the ring completes requests: no vCPU to interrupt, a thread is called */
		struct declined call = { .access = *access, .reason = reason };

		bpf_ringbuf_output(&upcalls, &call, sizeof(call), BPF_RB_FORCE_WAKEUP);
		return 0;
	}
	head = vcpu->outbox.head;
	declined = &vcpu->outbox.ring[head & (DECLINES - 1)];
	if (head - vcpu->inbox.tail >= DECLINES) {
		vcpu->outbox.lost++;
	} else {
		declined->access = *access;
		declined->reason = reason;
		vcpu->outbox.head = head + 1;
		fetch_add(&exits->kernel.declined, 1);
	}
	bpf_send_signal_thread(DECLINE_SIGNAL);
	return 0;
}

/* The guest's write is done, and the device interrupts: BPF can signal no eventfd, so userspace raises
 * the line, before the guest's next instruction.  Where every write interrupts, the claim does it. */
static __always_inline void raise_line(const struct access *access)
{
	struct access call = { .value = access->offset, .device = access->device, .width = RAISE };

	decline(&call, 0);
}

/* Have userspace look at a queue: there is no guest's write to hand over. */
static __always_inline void upcall(struct collecting *collecting, __u32 index, __u32 reason)
{
	struct access access = { .value = index, .device = slot, .width = UPCALL };

	record(collecting->device, EVENT_KIND_UPCALL, index, reason, 0, 0);
	decline(&access, reason);
}

#endif
