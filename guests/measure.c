/* Times block requests, with as few instructions for each as can be: all of them are written
 * into the rings beforehand, and going round costs an index, a doorbell and a look.
 *
 *   op=read|write  bytes=N  depth=N  batches=N  pattern=sequential|random  wait=poll|interrupt
 *   notify=event   ring only if the device has asked for that (F_EVENT); waits by polling
 *   ring=0|3       floor=ADDRESS: time the same loop with that doorbell as well, waiting for nothing, half of
 *                  it before and half of it after
 *   stamps=N       time N batches one by one, in place of all that; passes=N: and again, so often in all
 * Batches are rounded up to a multiple of 32.
 */
#include "requests.h"
#include "stamps.h"

enum { BUFFERS = 32 << 20 };
#define UNTIL_INTERRUPTED "1: sti; hlt; cli\n\tcmp %w[index], %[used]\n\tjne 1b\n"
#define UNROLLED 32		/* rounds for each look at how many are left */

static struct queue queue;
static u16 depth;
static u32 batches, stamps, passes;
static u64 doorbell, floor_bell;
static int by_interrupt, by_event;
static u32 rung;
static u64 took, floor_took;

/* The loop around a doorbell that somebody claims and nobody listens to. */
static void go_floor(u32 count)
{
	static volatile u16 nothing_available;
	volatile u16 *avail = &nothing_available, *used = &queue.used->idx;
	volatile u32 *bell = (volatile u32 *)floor_bell;
	u32 left = count / UNROLLED;
	u16 index = *avail, step = depth;
	u64 begin = ticks();

	while (left--)
		ROUNDS(UNROLLED, 0, LOOK_ONCE);
	floor_took += ticks() - begin;
}

static void go(void)
{
	volatile u16 *avail = &queue.avail->idx, *used = &queue.used->idx;
	volatile u32 *bell = (volatile u32 *)doorbell;
	u32 left = batches / UNROLLED;
	u16 index = *avail, step = depth;
	u64 begin = ticks();

	if (by_interrupt)
		while (left--)
			ROUNDS(UNROLLED, 0, UNTIL_INTERRUPTED);
	else
		while (left--)
			ROUNDS(UNROLLED, 0, UNTIL_USED);
	took = ticks() - begin;
}

/* The same of a driver that obeys the event index (2.7.10.1), written as compilers do: some instructions more. */
static void go_by_event(void)
{
	volatile u16 *avail = &queue.avail->idx, *used = &queue.used->idx;
	volatile u16 *event = (volatile u16 *)&queue.used->elem[queue.size];
	u16 index = *avail;
	u64 begin = ticks();

	for (u32 i = 0; i < batches; i++) {
		index += depth;
		*avail = index;
		full_barrier();
		if ((u16)(index - *event - 1) < depth) {
			*(volatile u32 *)doorbell = 0;
			rung++;
		}
		while (*used != index)
			;
	}
	took = ticks() - begin;
}

static void run_batches(void)
{
	if (by_event)
		go_by_event();
	else
		go();
}

/* Each batch by itself, from before it is made available to when it is seen to be used.  Inlined with constants: a
 * branch would be in what is timed, and so would be what is not in a register. */
static inline __attribute__((always_inline)) void go_stamped(int event_index, int interrupt)
{
	volatile u16 *avail = &queue.avail->idx, *used = &queue.used->idx;
	volatile u16 *event = (volatile u16 *)&queue.used->elem[queue.size];
	volatile u32 *bell = (volatile u32 *)doorbell;
	u16 index = *avail, step = depth;

	for (u32 i = 0; i < stamps; i++) {
		struct stamp begin = stamp(), end;

		if (interrupt) {
			ROUNDS(1, 0, UNTIL_INTERRUPTED);
		} else if (!event_index) {
			ROUNDS(1, 0, UNTIL_USED);
		} else {
			index += step;
			*avail = index;
			full_barrier();
			if ((u16)(index - *event - 1) < step)
				*bell = 0;
			while (*used != index)
				;
		}
		end = stamp();
		stamped[i] = (struct stamped){ begin, end };
	}
}

static void run_stamped(void)
{
	while (passes--) {
		if (by_event)
			go_stamped(1, 0);
		else if (by_interrupt)
			go_stamped(0, 1);
		else
			go_stamped(0, 0);
		stamps_count(stamps);
	}
	requests_check(HEAP);
	stamps_report();
	end(0);
}

static void report(void)
{
	requests_check(HEAP);
	print("measure: requests=");
	print_number((u64)depth * batches);
	print(" ticks=");
	print_number(took);
	print(" floor=");
	print_number(floor_took);
	print(" rung=");
	print_number(by_event ? rung : batches);
	print(" interrupts=");
	print_number(interrupts_taken);
	print("\n");
	end(0);
}

static void measure(void)
{
	u32 wanted = batches;

	/* every prepared request once, so that none is cold and each has a status */
	batches = UNROLLED * (PREPARED / depth / UNROLLED + 1);
	run_batches();
	if (stamps)
		run_stamped();
	batches = wanted;
	rung = interrupts_taken = 0;
	if (floor_bell)
		go_floor(batches / 2 + UNROLLED / 2);
	run_batches();
	if (floor_bell)
		go_floor(batches / 2);
	report();
}

int run(void)
{
	struct device device;

	if (!find_mmio(&device, 1))
		fail("disks", 0, 1);
	depth = option("depth", 1);
	batches = (option("batches", 1000) + UNROLLED - 1) / UNROLLED * UNROLLED;
	stamps = option("stamps", 0);
	passes = option("passes", 1);
	if (stamps > MOST_STAMPED)
		fail("stamps", stamps, MOST_STAMPED);
	floor_bell = option("floor", 0);
	by_interrupt = option_is("wait", "interrupt");
	by_event = option_is("notify", "event");
	device_start(&device, F_FLUSH | (by_event ? F_EVENT : 0));
	queue_start_raw(&device, &queue, 0, (void *)HEAP);
	device_ready(&device);
	doorbell = queue.bell;
	requests_prepare(&queue, HEAP, BUFFERS);
	queue.avail->flags = by_interrupt ? 0 : 1;
	if (by_interrupt)
		interrupts_fast(device.base, device.pin);
	if (option("ring", 0) == 3)
		enter_ring3(measure);
	measure();
	return 0;
}
