/* Asks for as much as it can with one doorbell, for what the longest visit of a handler is.
 *
 *   requests=N  reads made available before each doorbell
 *   buffers=N   of each read, by an indirect table
 *   bytes=N     of each buffer; all of them are the same memory
 *   rounds=N    doorbells
 */
#include "virtio.h"

enum { TABLES = 0x400000, TABLE_BYTES = 0x1000, HEADERS = 0x100000, STATUSES = 0x180000, DATA = 0x1000000 };

static struct queue queue;

/* Read `i` is of the i-th place on the disk of `places` that are as long as it. */
static void prepare(u32 i, u32 buffers, u32 bytes, u32 places)
{
	struct desc *table = (void *)(HEAP + TABLES + (u64)i * TABLE_BYTES);
	struct { u32 type, reserved; u64 sector; } *header = (void *)(HEAP + HEADERS + 16ull * i);

	*header = (typeof(*header)){ 0, 0, (u64)(i % places) * buffers * bytes / SECTOR };
	table[0] = (struct desc){ (u64)header, sizeof(*header), NEXT, 1 };
	for (u32 k = 1; k <= buffers; k++)
		table[k] = (struct desc){ HEAP + DATA, bytes, NEXT | WRITE, k + 1 };
	table[buffers + 1] = (struct desc){ HEAP + STATUSES + i, 1, WRITE, 0 };
	queue.desc[i] = (struct desc){ (u64)table, sizeof(*table) * (buffers + 2), INDIRECT, 0 };
}

static void check(u32 requests)
{
	for (u32 i = 0; i < requests; i++)
		if (*(volatile u8 *)(HEAP + STATUSES + i))
			fail("request status", *(volatile u8 *)(HEAP + STATUSES + i), 0);
}

int run(void)
{
	u32 requests = option("requests", 128), buffers = option("buffers", 126), bytes = option("bytes", SECTOR);
	u32 rounds = option("rounds", 10), head = 0;
	struct device device;

	if (!find_mmio(&device, 1))
		fail("disks", 0, 1);
	device_start(&device, F_INDIRECT);
	queue_start_raw(&device, &queue, 0, (void *)HEAP);
	device_ready(&device);
	for (u32 i = 0; i < requests; i++)
		prepare(i, buffers, bytes, read32(device.config) / (buffers * bytes / SECTOR));
	queue.avail->flags = 1;		/* no interrupts: we look */
	while (rounds--) {
		for (u32 i = 0; i < requests; i++)
			queue.avail->ring[head++ % QUEUE_SIZE] = i;
		barrier();
		queue.avail->idx = head;
		write32(queue.bell, 0);
		while (queue.used->idx != (u16)head)
			barrier();
	}
	check(requests);
	print("heavy: done\n");
	return 0;
}
