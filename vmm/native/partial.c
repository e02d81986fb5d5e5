/* Partial emulation beside KVM: what of a vCPU's state it takes, and whether it pays. */
#include "partial.h"
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#define TRAP (1u << 8)			/* rflags */
#define LONG_MODE (1u << 10)		/* efer: LMA */
#define BREAKPOINTS 0xffu		/* dr7: those that are on */

static void take_segment(struct segment *ours, const struct kvm_segment *theirs)
{
	ours->base = theirs->base;
	ours->limit = theirs->limit;
	ours->selector = theirs->selector;
	ours->access = theirs->type | theirs->s << 4 | theirs->dpl << 5 | theirs->present << 7 | theirs->avl << 12 |
		       theirs->l << 13 | theirs->db << 14 | theirs->g << 15 | theirs->unusable << 16;
}

static void give_segment(struct kvm_segment *theirs, const struct segment *ours)
{
	uint32_t access = ours->access;

	theirs->base = ours->base;
	theirs->limit = ours->limit;
	theirs->selector = ours->selector;
	theirs->type = access & 0xf;
	theirs->s = access >> 4 & 1;
	theirs->dpl = access >> 5 & 3;
	theirs->present = access >> 7 & 1;
	theirs->avl = access >> 12 & 1;
	theirs->l = access >> 13 & 1;
	theirs->db = access >> 14 & 1;
	theirs->g = access >> 15 & 1;
	theirs->unusable = access >> 16 & 1;
}

/* What kvm_run shows of the vCPU (KVM_CAP_SYNC_REGS).  The rest stays in KVM: no block that would need it is run. */
static void take(struct vcpu_state *state, const struct kvm_run *run)
{
	const struct kvm_sync_regs *shown = &run->s.regs;
	const struct kvm_sregs *special = &shown->sregs;
	const struct kvm_regs *r = &shown->regs;
	struct segments *to = &state->segments;

	state->general = (struct general){ r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi, r->rsp, r->rbp, r->r8, r->r9,
					   r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rip, r->rflags };
	for (int i = 0; i < 8; i++)		/* cs, ds, es, fs, gs, ss, tr, ldt, in both */
		take_segment(&to->cs + i, &special->cs + i);
	to->gdt.base = special->gdt.base;
	to->gdt.limit = special->gdt.limit;
	to->idt.base = special->idt.base;
	to->idt.limit = special->idt.limit;
	state->control.cr0 = special->cr0;
	state->control.cr2 = special->cr2;
	state->control.cr3 = special->cr3;
	state->control.cr4 = special->cr4;
	state->control.cr8 = special->cr8;
	state->control.efer = special->efer;
	state->events.shadow = shown->events.interrupt.shadow;
}

/* What a block that may be run can have changed. */
static void give(struct kvm_run *run, const struct vcpu_state *state, const struct segments *before)
{
	struct kvm_sync_regs *shown = &run->s.regs;
	const struct general *g = &state->general;
	const struct segments *from = &state->segments;

	shown->regs = (struct kvm_regs){ g->rax, g->rbx, g->rcx, g->rdx, g->rsi, g->rdi, g->rsp, g->rbp, g->r8, g->r9,
					 g->r10, g->r11, g->r12, g->r13, g->r14, g->r15, g->rip, g->rflags };
	run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
	if (memcmp(before, from, sizeof(*from))) {
		give_segment(&shown->sregs.ds, &from->ds);
		give_segment(&shown->sregs.es, &from->es);
		give_segment(&shown->sregs.fs, &from->fs);
		give_segment(&shown->sregs.gs, &from->gs);
		give_segment(&shown->sregs.ss, &from->ss);
		give_segment(&shown->sregs.cs, &from->cs);
		memset(shown->sregs.interrupt_bitmap, 0, sizeof(shown->sregs.interrupt_bitmap));
		run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
	}
	if (shown->events.interrupt.shadow != state->events.shadow) {
		shown->events.interrupt.shadow = state->events.shadow;
		shown->events.flags = KVM_VCPUEVENT_VALID_SHADOW;	/* NMIs and SMIs that came meanwhile stay */
		run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
	}
}

/* Whether something is on its way into the vCPU that is KVM's to bring there, or each instruction counts. */
static int occupied(const struct vcpu_loop *loop)
{
	const struct kvm_sync_regs *shown = &loop->run->s.regs;
	const struct kvm_vcpu_events *events = &shown->events;
	struct kvm_debugregs debug;

	if (events->exception.injected || events->exception.pending || events->interrupt.injected ||
	    events->nmi.injected || events->nmi.pending || events->smi.smm || events->smi.pending ||
	    shown->regs.rflags & TRAP)
		return 1;
	return ioctl(loop->vcpu_fd, KVM_GET_DEBUGREGS, &debug) < 0 || debug.dr7 & BREAKPOINTS;
}

/* Whether any address may be read and written by a segment: one of 4 GiB, with data that grows upwards. */
static int checks_nothing(const struct kvm_segment *segment)
{
	return segment->present && !segment->unusable && segment->s && (segment->type & 0xe) == 2 &&
	       segment->limit == 0xffffffff;
}

/* Whether limits and kinds of segments count, which Unicorn does not look at. */
static int segmented(const struct kvm_sregs *special)
{
	if (special->efer & LONG_MODE && special->cs.l)
		return 0;
	return !checks_nothing(&special->ds) || !checks_nothing(&special->es) || !checks_nothing(&special->ss) ||
	       special->cs.limit != 0xffffffff;
}

/* The instruction that exited is done when KVM is entered again (api.rst, 5: KVM_EXIT_MMIO); 0 if it is not done by
 * that: what its next access is, is in kvm_run.  -1 where KVM failed, as it will when it is entered once more. */
static int complete(struct vcpu_loop *loop)
{
	int result;

	loop->run->immediate_exit = 1;
	loop->run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
	result = ioctl(loop->vcpu_fd, KVM_RUN, 0);
	loop->run->immediate_exit = 0;
	loop->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	if (result >= 0)
		return 0;
	return errno == EINTR ? 1 : -1;
}

static struct partial_spot *spot_of(struct partial *partial, const struct kvm_run *run)
{
	uint64_t rip = run->s.regs.regs.rip;
	struct partial_spot *spot = &partial->spots[(rip * 0x9e3779b97f4a7c15ull >> 40) % PARTIAL_SPOTS];

	if (spot->rip != rip)
		*spot = (struct partial_spot){ .rip = rip, .kvm_ticks = ~0ull, .next_skip = PARTIAL_SKIP };
	return spot;
}

/* How long the guest runs before it exits again: the time of a KVM_RUN is that of the exit before it as well. */
static void time_exit(struct partial *partial, struct partial_spot *spot, uint64_t ticks)
{
	spot->exits++;
	if (ticks < spot->kvm_ticks)
		spot->kvm_ticks = ticks;
	if (ticks < partial->least_ticks || !partial->least_ticks)
		partial->least_ticks = ticks;
	if (partial->last)
		partial->last->next_ticks += (int64_t)(ticks - partial->last->next_ticks) / 8;
	partial->last = spot;
}

/* Whether to run on: from where the guest exits often, and soon again; and not where that was tried to no avail. */
static int worth_it(struct partial *partial, struct partial_spot *spot)
{
	if (partial->blocks)
		return 1;
	if (spot->skip) {
		spot->skip--;
		return 0;
	}
	return spot->exits > PARTIAL_HOT && spot->next_ticks < PARTIAL_SOON * partial->least_ticks;
}

/* Keep on with it only if what it spared would have taken KVM a quarter more time than it took. */
static void decide(struct partial_spot *spot)
{
	if (spot->tried < PARTIAL_TRIAL)
		return;
	if (spot->tried_spared * spot->kvm_ticks < spot->tried_ticks + spot->tried_ticks / 4) {
		spot->skip = spot->next_skip;
		if (spot->next_skip < PARTIAL_MOST_SKIP)
			spot->next_skip *= 2;
	} else {
		spot->next_skip = PARTIAL_SKIP;
	}
	spot->tried = spot->tried_spared = 0;
	spot->tried_ticks = 0;
}

static void run_on(struct partial *partial, struct vcpu_loop *loop)
{
	struct emulator *emulator = partial->emulator;
	struct vcpu_state *state = emulator->state;
	struct segments before;
	int why;

	emulator_settle(emulator);
	take(state, loop->run);
	before = state->segments;
	emulator_give(emulator);
	emulator_written(emulator);
	emulator->idle_budget = partial->blocks ? 0 : partial->idle_blocks;
	why = emulator_run(emulator, partial->blocks ? partial->blocks : partial->most_blocks);
	emulator_take(emulator);
	give(loop->run, state, &before);
	partial->runs++;
	partial->ran += emulator->ran;
	partial->why[why]++;
	partial->failed = why == EMULATOR_REFUSED;
}

/* After an exit with an access that was answered, before KVM_RUN (enum after of kvm_run.h). */
int partial_after(struct vcpu_loop *loop, void *data)
{
	struct partial *partial = data;
	struct emulator *emulator = partial->emulator;
	struct partial_spot *spot = spot_of(partial, loop->run);
	uint64_t began, accesses = emulator->accesses, told = emulator->callback_ticks;
	int completed;

	time_exit(partial, spot, loop->run_ticks);
	if (partial->failed || loop->leave || !worth_it(partial, spot))
		return AFTER_ENTER;
	emulator->told = false;
	began = __rdtsc();
	completed = complete(loop);
	if (completed < 0)
		return AFTER_ENTER;
	if (!completed) {
		partial->midway++;
		return AFTER_EXIT;
	}
	if (declines_wait(loop))	/* what they are of comes before what an emulator would do */
		return AFTER_LOOK;
	if (occupied(loop) || segmented(&loop->run->s.regs.sregs)) {
		partial->refused++;
		return AFTER_ENTER;
	}
	run_on(partial, loop);
	partial->last = NULL;		/* the next KVM_RUN is not the one after it */
	accesses = emulator->accesses - accesses;
	began = __rdtsc() - began - (emulator->callback_ticks - told);
	partial->spared += accesses;
	spot->runs++;
	spot->spared += accesses;
	spot->ticks += began;
	spot->tried++;
	spot->tried_spared += accesses;
	spot->tried_ticks += began;
	decide(spot);
	return emulator->told ? AFTER_LOOK : AFTER_ENTER;
}
