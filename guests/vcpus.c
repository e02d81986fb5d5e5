/* Times block requests of several vCPUs, each with a queue of its own of one disk, all going at once.
 *
 *   vcpus=N        1 to 4
 *   op=read|write  bytes=N  depth=N  ticks=N  pattern=sequential|random  ring=0|3
 *   floor=ADDRESS  the same loop with that doorbell first, waiting for nothing
 *
 * The first vCPU goes on for so many ticks, and the others until it is through.  What each has done is of that time, by
 * one clock: one of theirs would leave out when they had no CPU at its beginning.
 */
#include "requests.h"

#define UNROLLED 4		/* batches for each look at the time: what is under way at the end is not counted */
enum { MOST = 4, STACK = 16384, F_MQ = 1 << 12 };
enum { MEMORY = 8 << 20, BUFFERS = MEMORY - REQUESTS_BUFFERS };	/* of one vCPU, and what of it is for buffers */
enum { FLOOR = 1, REQUESTS };		/* what all do at once, one after the other */

struct worker {
	struct queue queue;
	u64 memory;
	u64 batches[REQUESTS + 1];		/* that it has done, of each */
	volatile u32 through;			/* what it was last through with */
} __attribute__((aligned(64)));			/* no line of the cache is two vCPUs' */

static struct worker workers[MOST];
static u8 stacks[MOST][STACK] __attribute__((aligned(16)));
static u64 count, floor_bell, wanted_ticks, took[REQUESTS + 1];
static u16 depth;
static int ring;
static volatile u32 phase __attribute__((aligned(64))), ended;	/* begun by the first vCPU, and ended by it */
static struct worker *volatile starting;

/* Counts batches, but those of which the end was seen first; whether a vCPU goes on with what began at `before`. */
static inline int goes_on(struct worker *worker, u32 what, u64 before)
{
	if (worker != workers && ended >= what)
		return 0;
	worker->batches[what] += UNROLLED;
	return worker != workers || ticks() - before < wanted_ticks;
}

static void do_requests(struct worker *worker, u64 before)
{
	volatile u16 *avail = &worker->queue.avail->idx, *used = &worker->queue.used->idx;
	volatile u32 *bell = (volatile u32 *)worker->queue.bell;
	u32 number = worker->queue.index;
	u16 index = *avail, step = depth;

	do
		ROUNDS(UNROLLED, number, UNTIL_USED);
	while (goes_on(worker, REQUESTS, before));
}

static void do_floor(struct worker *worker, u64 before)
{
	volatile u16 nothing = 0, *avail = &nothing, *used = &worker->queue.used->idx;
	volatile u32 *bell = (volatile u32 *)floor_bell;
	u32 number = worker->queue.index;
	u16 index = 0, step = depth;

	do
		ROUNDS(UNROLLED, number, LOOK_ONCE);
	while (goes_on(worker, FLOOR, before));
}

/* Every prepared request once, so that none is cold and each has a status. */
static void warm(struct worker *worker)
{
	volatile u16 *avail = &worker->queue.avail->idx, *used = &worker->queue.used->idx;
	volatile u32 *bell = (volatile u32 *)worker->queue.bell;
	u16 index = *avail, step = depth;

	for (u32 i = 0; i < PREPARED / depth + 1; i++)
		ROUNDS(1, worker->queue.index, UNTIL_USED);
}

static void take_part(struct worker *worker, u32 what)
{
	u64 before = ticks();

	if (what == FLOOR)
		do_floor(worker, before);
	else
		do_requests(worker, before);
	if (worker == workers) {
		took[what] = ticks() - before;
		ended = what;
	}
	worker->through = what;
}

/* What a vCPU but the first does. */
__attribute__((noreturn)) static void follow(struct worker *worker)
{
	warm(worker);
	for (u32 what = floor_bell ? FLOOR : REQUESTS;; what++) {
		while (phase < what)
			;
		take_part(worker, what);
	}
}

/* Called by each of them, on a stack of its own by then; see ap_main. */
__attribute__((noreturn, used)) static void follow_first(void)
{
	struct worker *worker = starting;
	u8 *top = stacks[worker - workers] + STACK / 2 - 8;	/* as a call leaves it; the other half is in use */

	second_up = 1;
	if (ring == 0)
		follow(worker);
	/* to ring 3: it uses no ports and has no interrupts, so that it needs no task state */
	__asm__ volatile("pushq $0x23\n\tpushq %0\n\tpushq $2\n\tpushq $0x1b\n\tpushq %1\n\tiretq"
			 :: "r"(top), "r"(follow), "D"(worker) : "memory");
	__builtin_unreachable();
}

static u8 *starting_stack __attribute__((used));

/* A vCPU that has started, on the stack that all of them share: it leaves that before the next one is started. */
__attribute__((naked)) void ap_main(void)
{
	__asm__ volatile("movq starting_stack(%rip), %rsp\n\tcall follow_first");
}

static void all_at_once(u32 what)
{
	phase = what;
	take_part(&workers[0], what);
	for (u64 i = 1; i < count; i++)
		while (workers[i].through != what)
			;
}

/* Requests of each vCPU, and in how many ticks all of them. */
static void print_done(u32 what)
{
	print(" ticks=");
	print_number(took[what]);
	for (u64 i = 0; i < count; i++) {
		print(" ");
		print_number(workers[i].batches[what] * depth);
	}
}

static void report(void)
{
	print("vcpus:");
	print_done(REQUESTS);
	if (floor_bell) {
		print(" floor:");
		print_done(FLOOR);
	}
	print("\n");
	end(0);
}

static void lead(void)
{
	warm(&workers[0]);
	if (floor_bell)
		all_at_once(FLOOR);
	all_at_once(REQUESTS);
	for (u64 i = 0; i < count; i++)
		requests_check(workers[i].memory);
	report();
}

static void start_workers(struct device *device)
{
	device_start(device, F_FLUSH | F_MQ);
	for (u64 i = 0; i < count; i++) {
		workers[i].memory = HEAP + i * MEMORY;
		queue_start_raw(device, &workers[i].queue, i, (void *)workers[i].memory);
	}
	device_ready(device);
	for (u64 i = 0; i < count; i++) {
		requests_prepare(&workers[i].queue, workers[i].memory, BUFFERS);
		workers[i].queue.avail->flags = 1;
	}
	for (u64 i = 1; i < count; i++) {
		starting = &workers[i];
		starting_stack = stacks[i] + STACK;
		start_vcpu(i);
	}
}

int run(void)
{
	struct device device;

	if (!find_mmio(&device, 1))
		fail("disks", 0, 1);
	count = option("vcpus", 1);
	if (!count || count > MOST)
		fail("vcpus", count, MOST);
	depth = option("depth", 1);
	wanted_ticks = option("ticks", 0);
	ring = option("ring", 0);
	floor_bell = option("floor", 0);
	start_workers(&device);
	if (ring == 3)
		enter_ring3(lead);
	lead();
	return 0;
}
