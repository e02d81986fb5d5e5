/* Times block requests, with as few instructions for each as can be: all of them are written
 * into the rings beforehand, and going round costs an index, a doorbell and a look.
 *
 *   op=read|write  bytes=N  depth=N  batches=N  pattern=sequential|random  wait=poll|interrupt
 *   notify=event   ring only if the device has asked for that (F_EVENT); waits by polling
 *   ring=0|3       floor=ADDRESS: time the same loop with that doorbell as well, waiting for nothing, half of
 *                  it before and half of it after
 *   stamps=N       time N batches one by one, in place of all that
 * Batches are rounded up to a multiple of 32.
 */
#include "stamps.h"
#include "virtio.h"

enum { F_FLUSH = 1 << 9 };
enum { PREPARED = 64, BUFFERS = 32 << 20 };

/* One look after each doorbell, five instructions a round; CHECK says what a look leads to.
 * In ring 0 of some hosts each instruction is emulated, and costs as much as a small request. */
#define UNROLLED 32
#define ROUND(CHECK)				\
	"add %w[step], %w[index]\n\t"		\
	"mov %w[index], %[avail]\n\t"		\
	"mov %k[zero], %[bell]\n"		\
	CHECK
#define ROUNDS(CHECK)								\
	__asm__ volatile(".rept " STRING(UNROLLED) "\n\t" ROUND(CHECK) ".endr"	\
		: [index] "+r"(index), [avail] "=m"(*avail), [bell] "=m"(*bell)	\
		: [step] "r"(step), [zero] "r"(0), [used] "m"(*used) : "memory", "cc")
#define STRING(x) STRING_(x)
#define STRING_(x) #x

static struct queue queue;
static u16 depth;
static u32 batches, stamps;
static u64 doorbell, floor_bell;
static int by_interrupt, by_event;
static u32 rung;
static u64 took, floor_took;

static void prepare(struct device *device)
{
	u32 bytes = option("bytes", 4096), slots = BUFFERS / bytes;
	u64 sectors = read32(device->config) | (u64)read32(device->config + 4) << 32;
	u64 places = sectors * SECTOR / bytes, seed = 88172645463325252ull;
	int random = option_is("pattern", "random"), write = option_is("op", "write");
	struct { u32 type, reserved; u64 sector; } *header = (void *)(HEAP + 0x10000);
	volatile u8 *status = (void *)(HEAP + 0x20000);
	u64 buffers = HEAP + 0x100000;

	if (places > (64 << 20) / bytes)
		places = (64 << 20) / bytes;
	for (u32 i = 0; i < PREPARED; i++) {
		volatile struct desc *desc = &queue.desc[3 * i];

		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		header[i].type = write;
		header[i].sector = (random ? seed % places : i % places) * (bytes / SECTOR);
		desc[0] = (struct desc){ (u64)&header[i], 16, NEXT, 3 * i + 1 };
		desc[1] = (struct desc){ buffers + (i % slots) * bytes, bytes, NEXT | (write ? 0 : WRITE), 3 * i + 2 };
		desc[2] = (struct desc){ (u64)&status[i], 1, WRITE, 0 };
	}
	for (u32 i = 0; i < QUEUE_SIZE; i++)
		queue.avail->ring[i] = 3 * (i % PREPARED);
	queue.avail->flags = by_interrupt ? 0 : 1;
}

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
		ROUNDS("cmp %w[index], %[used]\n\tje 1f\n1:\n");
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
			ROUNDS("1: sti; hlt; cli\n\tcmp %w[index], %[used]\n\tjne 1b\n");
	else
		while (left--)
			ROUNDS("1: cmp %w[index], %[used]\n\tjne 1b\n");
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
 * branch would be in what is timed. */
static inline __attribute__((always_inline)) void go_stamped(u32 count, int event_index, int interrupt)
{
	volatile u16 *avail = &queue.avail->idx, *used = &queue.used->idx;
	volatile u16 *event = (volatile u16 *)&queue.used->elem[queue.size];
	volatile u32 *bell = (volatile u32 *)doorbell;
	u16 index = *avail, step = depth;

	for (u32 i = 0; i < count; i++) {
		struct stamp begin, end;

		index += step;
		begin = stamp();
		*avail = index;
		if (event_index)
			full_barrier();
		if (!event_index || (u16)(index - *event - 1) < step)
			*bell = 0;
		do
			if (interrupt)
				wait_for_interrupt();
		while (*used != index);
		end = stamp();
		stamped[i] = (struct stamped){ begin, end };
	}
}

static void check_statuses(void)
{
	volatile u8 *status = (void *)(HEAP + 0x20000);

	for (int i = 0; i < PREPARED; i++)
		if (status[i])
			fail("request status", status[i], 0);
}

static void run_stamped(void)
{
	if (by_event)
		go_stamped(stamps, 1, 0);
	else if (by_interrupt)
		go_stamped(stamps, 0, 1);
	else
		go_stamped(stamps, 0, 0);
	check_statuses();
	stamps_report(stamps);
	end(0);
}

static void report(void)
{
	check_statuses();
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
	if (stamps > MOST_STAMPED)
		fail("stamps", stamps, MOST_STAMPED);
	floor_bell = option("floor", 0);
	by_interrupt = option_is("wait", "interrupt");
	by_event = option_is("notify", "event");
	device_start(&device, F_FLUSH | (by_event ? F_EVENT : 0));	/* or every write would be written through (5.2.5) */
	queue_start_raw(&device, &queue, 0, (void *)HEAP);
	device_ready(&device);
	doorbell = queue.bell;
	prepare(&device);
	if (by_interrupt)
		interrupts_fast(device.base, device.pin);
	if (option("ring", 0) == 3)
		enter_ring3(measure);
	measure();
	return 0;
}
