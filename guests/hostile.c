/* A driver that breaks the rules, one after the other: each must end in DEVICE_NEEDS_RESET with
 * nothing used and no memory written that is not the device's, and a reset must mend it.
 */
#include "virtio.h"

enum { SENTINEL = 0x5a };

static struct device device;
static struct queue queue;
static struct { u32 type, reserved; u64 sector; } *const header = (void *)HEAP;
static u8 *const status = (u8 *)HEAP + 64, *const data = (u8 *)HEAP + 4096, *const guard = (u8 *)HEAP + 0x40000;
static volatile struct desc *const table = (void *)HEAP + 0x8000;

static void restart(void)
{
	device_start(&device, F_INDIRECT);
	queue_start_raw(&device, &queue, 0, (void *)HEAP + 0x10000);
	device_ready(&device);
	header->type = 0;
	header->sector = 1;
	*status = 0xff;
}

static void put(volatile struct desc *at, u64 addr, u32 len, u16 flags, u16 next)
{
	*at = (struct desc){ addr, len, flags, next };
}

static void whole(volatile struct desc *at)
{
	put(at, (u64)header, 16, NEXT, 1);
	put(at + 1, (u64)data, SECTOR, NEXT | WRITE, 2);
	put(at + 2, (u64)status, 1, WRITE, 0);
}

static void ring(u16 head, u16 count)
{
	queue.avail->ring[queue.avail->idx % QUEUE_SIZE] = head;
	barrier();
	queue.avail->idx += count;
	queue_ring(&queue);
}

static void loop(void) { whole(queue.desc); put(&queue.desc[1], (u64)data, SECTOR, NEXT | WRITE, 1); }
static void outside(void) { whole(queue.desc); queue.desc[0].next = QUEUE_SIZE; }
static void zero(void) { whole(queue.desc); queue.desc[1].len = 0; }
static void beyond(void) { whole(queue.desc); queue.desc[1].addr = option("ram", 64 << 20) - 511; }
static void wraps(void) { whole(queue.desc); queue.desc[1].addr = ~0ull - 255; }
static void hole(void) { whole(queue.desc); queue.desc[1].addr = device.base; }
static void huge(void) { whole(queue.desc); queue.desc[1].len = ~0u; }
static void header_beyond(void) { whole(queue.desc); queue.desc[0].addr = ~0ull - 7; }
static void status_beyond(void) { whole(queue.desc); queue.desc[2].addr = 0xf0000000; }
static void order(void) { whole(queue.desc); queue.desc[2].flags = 0; }
static void no_status(void) { put(queue.desc, (u64)header, 16, 0, 0); }
static void nested(void) { put(table, (u64)table, 16, INDIRECT, 0); put(queue.desc, (u64)table, 16, INDIRECT, 0); }
static void odd(void) { whole(table); put(queue.desc, (u64)table, 47, INDIRECT, 0); }
static void with_next(void) { whole(table); put(queue.desc, (u64)table, 48, INDIRECT | NEXT, 1); }
static void table_beyond(void) { put(queue.desc, option("ram", 64 << 20) - 16, 48, INDIRECT, 0); }

/* A device may take its time: another of its threads may be at the queue just now. */
static void wait_for(int (*happened)(void))
{
	u64 until = ticks() + (8ull << 30);

	while (!happened() && ticks() < until)
		;
}

static int needs_reset(void) { return device.transport->status(&device) & NEEDS_RESET; }
static int has_used(void) { return queue.used->idx; }

static void expect_reset(const char *what, u16 used)
{
	wait_for(needs_reset);
	if (!needs_reset() || queue.used->idx != used || *status != 0xff) {
		print(what);
		print("\n");
		fail("status, used index", (u64)needs_reset() << 32 | queue.used->idx,
		     (u64)NEEDS_RESET << 32 | used);
	}
	for (u32 i = 0; i < 4096; i++)
		if (guard[i] != SENTINEL)
			fail("guard", guard[i], SENTINEL);
}

static void expect_service(void)
{
	restart();
	whole(queue.desc);
	ring(0, 1);
	wait_for(has_used);
	if (queue.used->idx != 1 || *status != 0 || *(u64 *)data != 1)
		fail("after the reset", (u64)*status << 32 | queue.used->idx, 1);
}

static const struct { const char *name; void (*set)(void); } traps[] = {
	{ "loop", loop }, { "next outside", outside }, { "zero length", zero }, { "beyond RAM", beyond },
	{ "wraps", wraps }, { "in the hole", hole }, { "huge", huge }, { "header beyond", header_beyond },
	{ "status beyond", status_beyond }, { "readable last", order }, { "no status", no_status },
	{ "table in table", nested }, { "odd table", odd }, { "table and next", with_next },
	{ "table beyond", table_beyond },
};

static void misbehave(void)
{
	memset(guard, SENTINEL, 4096);
	for (u32 i = 0; i < sizeof(traps) / sizeof(traps[0]); i++) {
		restart();
		traps[i].set();
		ring(0, 1);
		expect_reset(traps[i].name, 0);
		queue_ring(&queue);
		expect_reset(traps[i].name, 0);
	}
	restart();
	whole(queue.desc);
	ring(0, QUEUE_SIZE + 1);
	expect_reset("too many available", 0);
	restart();
	ring(QUEUE_SIZE, 1);
	expect_reset("head outside", 0);
	expect_service();
	print("hostile: passed\n");
	end(0);
}

int run(void)
{
	if (!find_devices(&device, 1))
		fail("disks", 0, 1);
	enter_ring3(misbehave);
}
