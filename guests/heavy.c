/* Asks for as much as it can with one doorbell, for what the longest visit of a handler is.
 *
 *   requests=N  reads made available before each doorbell
 *   buffers=N   of each read, by an indirect table
 *   bytes=N     of each buffer; all of them are the same memory
 *   rounds=N    doorbells; 0: says "1", and goes on until it is killed
 *   pieces=2    each header in two buffers, which handlers decline
 *   interrupts=1  it asks for one for each doorbell, though it looks; takes them in ring 0 alone
 *   ring=0|3
 */
#include "virtio.h"

enum { TABLES = 0x400000, TABLE_BYTES = 0x1000, HEADERS = 0x100000, STATUSES = 0x180000, DATA = 0x1000000 };

static struct device device;
static struct queue queue;
static u32 requests, buffers, bytes, pieces, rounds;

/* Read `i` is of the i-th place on the disk of `places` that are as long as it. */
static void prepare(u32 i, u32 places)
{
	struct desc *table = (void *)(HEAP + TABLES + (u64)i * TABLE_BYTES);
	struct { u32 type, reserved; u64 sector; } *header = (void *)(HEAP + HEADERS + 16ull * i);
	u32 piece = sizeof(*header) / pieces, k;

	*header = (typeof(*header)){ 0, 0, (u64)(i % places) * buffers * bytes / SECTOR };
	for (k = 0; k < pieces; k++)
		table[k] = (struct desc){ (u64)header + k * piece, piece, NEXT, k + 1 };
	for (; k < pieces + buffers; k++)
		table[k] = (struct desc){ HEAP + DATA, bytes, NEXT | WRITE, k + 1 };
	table[k] = (struct desc){ HEAP + STATUSES + i, 1, WRITE, 0 };
	queue.desc[i] = (struct desc){ (u64)table, sizeof(*table) * (k + 1), INDIRECT, 0 };
}

static void check(void)
{
	for (u32 i = 0; i < requests; i++)
		if (*(volatile u8 *)(HEAP + STATUSES + i))
			fail("request status", *(volatile u8 *)(HEAP + STATUSES + i), 0);
}

static void go(void)
{
	u32 left = rounds, head = 0;

	do {
		for (u32 i = 0; i < requests; i++)
			queue.avail->ring[head++ % QUEUE_SIZE] = i;
		barrier();
		queue.avail->idx = head;
		write32(queue.bell, 0);
		while (queue.used->idx != (u16)head)
			barrier();
	} while (!rounds || --left);
	check();
	print("heavy: done\n");
	end(0);
}

int run(void)
{
	requests = option("requests", 128), buffers = option("buffers", 126), bytes = option("bytes", SECTOR);
	rounds = option("rounds", 10), pieces = option("pieces", 1);
	if (!find_mmio(&device, 1))
		fail("disks", 0, 1);
	device_start(&device, F_INDIRECT);
	queue_start_raw(&device, &queue, 0, (void *)HEAP);
	device_ready(&device);
	for (u32 i = 0; i < requests; i++)
		prepare(i, read32(device.config) / (buffers * bytes / SECTOR));
	queue.avail->flags = !option("interrupts", 0);		/* 1: none */
	if (!rounds)
		print("1");
	if (!queue.avail->flags)
		interrupts_fast(device.base, device.pin);
	if (option("ring", 0) == 3)
		enter_ring3(go);
	if (!queue.avail->flags)
		__asm__ volatile("sti");
	go();
	return 0;
}
