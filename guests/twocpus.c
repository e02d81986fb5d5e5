/* Two vCPUs at one device: the first reads and checks, the second rings the same queue's
 * doorbell all the while, and reads through a queue of its own.
 *
 *   requests=N     reads by the first
 *   restarts=N     the first resets the device so often, under the doorbells
 *   until=ADDRESS  the first goes on until the host has written something there
 */
#include "virtio.h"

enum { SLOTS = 0x80000 };

static struct device device;
static struct queue queues[2];
static u64 doorbell;		/* of the first queue, which restarts under it */
static volatile u32 second_done, stop;
static u32 restarts;

/* One read at a time, by polling, of a sector that tells its number. */
static void reads(struct queue *queue, u32 count, u64 stride)
{
	struct { u32 type, reserved; u64 sector; } *header = (void *)HEAP + SLOTS + queue->index * 0x1000;
	volatile u8 *status = (u8 *)header + 64;
	volatile u64 *data = (void *)HEAP + 0x100000 + queue->index * 0x100000;

	for (u32 i = 0; i < count; i++) {
		header->type = 0;
		header->sector = i * stride % 4096;
		*status = 0xff;
		data[0] = ~0ull;
		queue->desc[0] = (struct desc){ (u64)header, 16, NEXT, 1 };
		queue->desc[1] = (struct desc){ (u64)data, SECTOR, NEXT | WRITE, 2 };
		queue->desc[2] = (struct desc){ (u64)status, 1, WRITE, 0 };
		queue->avail->flags = 1;
		queue->avail->ring[queue->avail->idx % QUEUE_SIZE] = 0;
		barrier();
		queue->avail->idx++;
		queue_ring(queue);
		queue->last++;
		for (u64 patience = 1ull << 26; queue->used->idx != queue->last; patience--)
			if (!patience)
				fail("used index", queue->used->idx, queue->last);
		if (*status || data[0] != header->sector)
			fail("data", data[0], header->sector);
	}
}

/* Called by the second vCPU, on a stack of its own. */
void ap_main(void)
{
	second_up = 1;
	while (!stop) {
		write32(doorbell, 0);
		if (!restarts)
			reads(&queues[1], 1, 7);
	}
	second_done = 1;
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void start(void)
{
	device_start(&device, 1 << 12);
	queue_start_raw(&device, &queues[0], 0, (void *)HEAP + 0x10000);
	queue_start_raw(&device, &queues[1], 1, (void *)HEAP + 0x20000);
	device_ready(&device);
}

int run(void)
{
	volatile u32 *until = (volatile u32 *)option("until", 0);
	u32 count = option("requests", 300);

	if (!find_mmio(&device, 1))
		fail("disks", 0, 1);
	restarts = option("restarts", 0);
	start();
	doorbell = queues[0].bell;
	start_second();
	for (u32 i = 0; i < restarts; i++) {
		start();
		reads(&queues[0], 3, 1);
	}
	do
		reads(&queues[0], count, 1);
	while (until && !*until);
	stop = 1;
	while (!second_done)
		;
	print("twocpus: passed\n");
	return 0;
}
