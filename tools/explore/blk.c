/* virtio-blk's native handler, and whoever it shares its queue with: guest, ring, collector, userspace. */
#include "../../kernel_devices/blk/blk.c"
#include "accesses.h"

static struct uring *uring_explored(void)
{
	return (struct uring *)scenario.uring;
}

static void *guest_at(__u64 gpa)
{
	return (void *)(scenario.ram + gpa);
}

/* What handlers ask of the host. */

__u32 explored_enter(const __u32 *flags)
{
	if (!(READ_ONCE(*flags) & SQ_NEED_WAKEUP))
		return 0;
	if (!explored_may_wait())
		return DECLINE_RING_ASLEEP;
	world.awake = 1;
	return 0;
}

/* Not so in the kernel half, where there is one. */
int explored_may_wait(void)
{
	return !scenario.assisted || world.actor[world.current].assisting;
}

static void post(enum mail_kind kind, __u32 of)
{
	if (world.mails >= MAIL) {
		violated("more upcalls than anybody reads");
		return;
	}
	world.mail[world.mails++] = (struct mail){ kind, of };
}

void explored_upcall(__u32 reason)
{
	post(UPCALLED, reason);
}

/* Time goes on by the entries that do nothing, one each: no visit is over its budget, and polling comes to an end. */
__u64 explored_now(void)
{
	return world.now;
}

/* Each actor has one of its own. */
__u32 explored_cpu(void)
{
	return world.current;
}

__u32 explored_rounds(void)
{
	return scenario.rounds;
}

/* Whether the native build has done what the kernel half declined, of the current actor's. */
static int assisted(__u32 reason)
{
	struct declined declined = { .access.width = 4, .reason = reason };
	struct actor *actor = &world.actor[world.current];
	enum verdict verdict;
	__s32 line;

	if (!scenario.assisted)
		return 0;
	actor->assisting = 1;
	verdict = device_assist(scenario.device, &declined, &line);
	empty_buffer();
	actor->assisting = 0;
	if (interrupts(verdict))
		world.irq = 1;
	return !goes_up(verdict);
}

/* A vCPU: its driver makes requests available, and rings if it is asked to (VIRTIO 1.2, 2.7.13). */

static void ring_doorbell(__u32 vcpu)
{
	struct access access = { .value = 0, .width = 4 };
	struct actor *actor = &world.actor[vcpu];
	enum verdict verdict;
	__u32 reason = 0;

	wait_for(RESUMED);
	actor->inside = 1;
	verdict = device_notify(scenario.device, &access, &reason);
	empty_buffer();		/* signalling is by an atomic */
	if (interrupts(verdict))
		world.irq = 1;
	if (goes_up(verdict) && assisted(reason))
		verdict = VERDICT_HANDLED;
	actor->inside = 0;
	if (goes_up(verdict)) {
		world.served[vcpu] = 0;
		post(DOORBELL, vcpu | reason << 4);
		wait_for(SERVED);
	}
}

static int wants_doorbell(__u16 before, __u16 now)
{
	if (scenario.always)
		return 1;
	if (!scenario.event_index)
		return !(READ_ONCE(*(__u16 *)guest_at(scenario.used)) & 1);
	return (__u16)(now - READ_ONCE(*(__u16 *)guest_at(scenario.used + 4 + 8 * scenario.size)) - 1) < (__u16)(now - before);
}

/* So many requests at once, the first of them in this slot. */
static void make_available(__u32 vcpu, __u32 slot, __u32 count)
{
	__u32 i, wanted;
	__u16 before;

	wait_for(DRIVER_LOCK);
	world.locked = 1;
	before = world.offered;
	for (i = 0; i < count; i++) {
		*(__u16 *)guest_at(scenario.avail + 4 + 2 * (world.offered++ % scenario.size)) = world.heads[slot + i];
		world.asked[slot + i] = 1;
	}
	exchange((__u16 *)guest_at(scenario.avail + 2), world.offered);	/* and a full barrier (2.7.13.4.1) */
	wanted = wants_doorbell(before, world.offered);
	world.locked = 0;
	if (wanted)
		ring_doorbell(vcpu);
}

static void vcpu(void)
{
	__u32 number = world.current, step = scenario.at_once ? scenario.at_once : 1, i;

	for (i = 0; i < scenario.requests[number]; i += step)
		make_available(number, number * SLOTS / 2 + i, step);
}

/* The guest's interrupt handler: takes what was used, asks for the next interrupt, and looks again (2.7.14).  It and the
 * collector wait when a schedule begins (explore_next()). */

static void take_used(void)
{
	struct vring_used_elem *used = guest_at(scenario.used + 4 + sizeof(*used) * (world.seen % scenario.size));
	__u32 slot;

	for (slot = 0; slot < SLOTS; slot++)
		if (world.asked[slot] && world.heads[slot] == used->id)
			break;
	if (slot == SLOTS) {
		if (!scenario.forgets)
			violated("a used entry of no request: done twice, or never asked for");
		return;
	}
	world.asked[slot] = 0;
	world.seen++;
	if (*(__u8 *)guest_at(scenario.status[slot]) == NO_STATUS)
		violated("a request is used whose status is not there");
}

static __u16 used_index(void)
{
	__u16 found = READ_ONCE(*(__u16 *)guest_at(scenario.used + 2));

	if ((__u16)(found - world.seen) > scenario.size && !scenario.forgets)
		violated("the used index goes back");
	return found;
}

static void guest_irq(void)
{
	for (;; wait_for(INTERRUPTED)) {
		world.irq = 0;
		if (!scenario.event_index)
			exchange((__u16 *)guest_at(scenario.avail), AVAIL_NO_INTERRUPT);
		do {
			while (!over && world.seen != used_index())
				take_used();
			if (scenario.event_index)
				exchange((__u16 *)guest_at(scenario.avail + 4 + 2 * scenario.size), world.seen);
			else
				exchange((__u16 *)guest_at(scenario.avail), 0);
		} while (!over && world.seen != used_index());
	}
}

/* io_uring's polling thread.  What it completes at once is posted before it shows that it has taken the entry. */

static void complete_entry(const struct sqe *sqe)
{
	struct uring *uring = uring_explored();
	__u32 *tail = uring_word(uring, uring->wiring.cq_tail);
	struct cqe *cqe = (void *)uring_rings(uring)->page + uring->wiring.cqes +
			  sizeof(*cqe) * (*tail & (URING_COMPLETIONS - 1));

	if (sqe->opcode == IO_WRITE)
		world.irq = 1;
	if (sqe->flags & SQE_SILENT)
		return;
	cqe->user_data = sqe->user_data;
	cqe->res = 0;
	if (sqe->opcode == IO_NOP)
		world.now++;
	else
		cqe->res = scenario.failing >> world.completed++ & 1 ? -5 : 0;
	fetch_add(tail, 1);
}

static void polling_thread(void)
{
	struct uring *uring = uring_explored();
	__u32 *head = uring_word(uring, uring->wiring.sq_head), *tail = uring_word(uring, uring->wiring.sq_tail);
	__u32 *flags = uring_word(uring, uring->wiring.sq_flags), was;

	for (;;) {
		while (*head != READ_ONCE(*tail)) {
			complete_entry(&uring_rings(uring)->sqe[*head & (URING_ENTRIES - 1)]);
			fetch_add(head, 1);
			was = world.signals;
			world.signals = 1;
			if (!was)
				changed_by(RING);
		}
		fetch_or(flags, SQ_NEED_WAKEUP);	/* a full barrier, and looks again (io_sq_thread) */
		if (*head == READ_ONCE(*tail)) {
			wait_for(ENTRIES);
			world.awake = 0;
		}
		fetch_and(flags, ~SQ_NEED_WAKEUP);
	}
}

/* What runs where an interrupt of the device's is injected. */
static void collector(void)
{
	for (;; wait_for(SIGNALLED)) {
		struct collecting collecting = { .device = scenario.device };

		world.signals = 0;
		world.actor[COLLECTOR].inside = 1;
		collect(&collecting);
		empty_buffer();
		world.actor[COLLECTOR].inside = 0;
		if (collecting.interrupts && !scenario.by_ring)
			world.irq = 1;
	}
}

static void begin(void)
{
	static void (*const of[ACTORS])(void) = {
		[VCPU0] = vcpu, [VCPU1] = vcpu, [RING] = polling_thread, [COLLECTOR] = collector, [GUEST_IRQ] = guest_irq };

	of[world.current]();
	for (;;)
		wait_for(ENDED);
}

/* What Python calls: first what an exploration is about. */

void explore_scenario(const struct scenario *given, const __u16 *heads)
{
	struct device *device = given->device;

	scenario = *given;
	region_count = span_count = 0;
	schedules = states_found = steps = 0;
	prefix = depth = 0;
	memset(&world, 0, sizeof(world));
	memcpy(world.heads, heads, sizeof(world.heads));
	if (!states) {
		states = calloc(STATES, sizeof(*states));
		costs = calloc(STATES, sizeof(*costs));
	} else {
		memset(states, 0, STATES * sizeof(*states));
	}
	regions[region_count++] = (struct region){ device->scratch, malloc(scratch_bytes), scratch_bytes, scratch_bytes & ~7ull };
	regions[region_count++] = (struct region){ (void *)&world, malloc(sizeof(world)), sizeof(world), 0 };
}

void explore_region(__u64 at, __u64 bytes, __u64 hashed)
{
	regions[region_count++] = (struct region){ (void *)at, malloc(bytes), bytes, hashed & ~7ull };
}

void explore_span(__u64 at, __u64 bytes)
{
	spans[span_count++] = (struct span){ at, bytes };
}

void explore_start(void)
{
	for (__u32 i = 0; i < region_count; i++)
		memcpy(regions[i].kept, regions[i].at, regions[i].bytes);
}

/* Memory as it was at first. */
void explore_restore(void)
{
	for (__u32 i = 0; i < region_count; i++)
		memcpy(regions[i].at, regions[i].kept, regions[i].bytes);
}

/* Another schedule, from the start; 0 if there is none. */
int explore_next(void)
{
	__u32 i;

	if (schedules) {
		for (prefix = depth; prefix && choices[prefix - 1].taken + 1 == choices[prefix - 1].count; prefix--)
			;
		if (!prefix)
			return 0;
		choices[prefix - 1].taken++;
	}
	schedules++;
	explore_restore();
	for (i = 0; i < USERSPACE; i++)
		stack_pointer[i] = fresh_stack(stacks[i], begin);
	for (i = 0; i < 2; i++)
		world.actor[i].wait = scenario.requests[i] ? NOTHING : ENDED;
	world.actor[COLLECTOR].wait = SIGNALLED;
	world.actor[GUEST_IRQ].wait = INTERRUPTED;
	scheduler_pointer = fresh_stack(scheduler_stack, scheduler);
	world.current = USERSPACE;
	depth = length = spent = event_count = 0;
	violation[0] = 0;
	over = GOING;
	exploring = 1;
	return 1;
}

/* How it ended; what is wrong is in explore_violation(). */
int explore_end(void)
{
	enum over how = over;
	__u32 slot;

	exploring = 0;
	over = GOING;
	if (how != QUIET || scenario.forgets)
		return how;
	for (slot = 0; slot < SLOTS; slot++)
		if (world.asked[slot])
			break;
	if (*(__u16 *)guest_at(scenario.used + 2) != world.seen)
		snprintf(violation, sizeof(violation), "the driver is not interrupted for what was used");
	else if (slot < SLOTS)
		snprintf(violation, sizeof(violation), "a request is never done");
	else
		return how;
	return VIOLATED;
}

const char *explore_violation(void) { return violation; }
const struct seen *explore_events(__u32 *count) { *count = event_count; return events; }
void explore_counts(__u64 *counts)
{
	counts[0] = schedules;
	counts[1] = states_found;
	counts[2] = steps;
}

/* And then userspace itself. */

int user_over(void) { return over; }

/* What there is to do: kind and number, or 0 if the schedule is over. */
__u32 user_wait(void)
{
	struct option option[MAIL + 1], taken;
	__u32 count = 0, i;
	struct mail mail;

	world.userspace_read = 0;
	wait_for(MAILED);
	if (over)
		return NO_MAIL;
	for (i = 0; i < world.mails && i < 8; i++)
		option[count++] = (struct option){ MAIL_ITEM, i, 0 };
	if (world.scripted < scenario.scripts)
		option[count++] = (struct option){ SCRIPT_ITEM, 0, 0 };
	taken = chosen(option, count, 3);
	if (over)
		return NO_MAIL;
	if (taken.kind == SCRIPT_ITEM)
		return SCRIPTED | world.scripted++ << 8;
	mail = world.mail[taken.of];
	memmove(&world.mail[taken.of], &world.mail[taken.of + 1], (--world.mails - taken.of) * sizeof(mail));
	memset(&world.mail[world.mails], 0, sizeof(mail));
	return mail.kind | mail.of << 8;
}

void user_served(__u32 vcpu) { world.served[vcpu] = 1; }
__u64 user_load(__u64 at, __u32 size) { return explored_load((void *)at, size); }
void user_store(__u64 at, __u32 size, __u64 value) { explored_store((void *)at, size, value); }
__u64 user_or(__u64 at, __u32 bits) { return explored_update((void *)at, 4, OR, bits, 0); }

void user_fence(void)
{
	if (!exploring)
		return;
	point();
	if (!over)
		drain(&world.actor[USERSPACE]);
	userspace_did(1, 1);
}

void user_yield(void)
{
	userspace_did(2, 2);
	explored_yield();
}

static void told(__u32 *word)
{
	if (!exploring)
		return;
	point();
	if (over)
		return;
	*word = 1;
	userspace_did(3, (__u64)word);
	changed_by(USERSPACE);
}

int user_assist(__u32 reason) { return exploring && assisted(reason); }
void user_interrupt(void) { told(&world.irq); }
void user_signal(void) { told(&world.signals); }
void user_wake(void) { told(&world.awake); }

void user_pause(void)
{
	told(&world.paused);
	wait_for(STILL);
}

void user_resume(void) { world.paused = 0; }
