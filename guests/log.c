/* Writes numbered sectors, and says on the serial port how far it was told that they are written
 * ("w N": completed) and safe ("f N": flushed).  Runs until it is killed, or the disk is full. */
#include "virtio.h"

enum { F_FLUSH = 1 << 9, BATCH = 8 };
static const u64 HEADERS = HEAP + 0x10000, STATUSES = HEAP + 0x18000, DATA = HEAP + 0x20000;

static struct queue queue;

static void submit(u32 slot, u32 type, u64 sector, u64 data)
{
	struct { u32 type, reserved; u64 sector; } *header = (void *)HEADERS + 16 * slot;
	volatile struct desc *desc = &queue.desc[3 * slot];

	header->type = type;
	header->sector = sector;
	*(volatile u8 *)(STATUSES + slot) = 0xff;
	desc[0] = (struct desc){ (u64)header, 16, NEXT, 3 * slot + (data ? 1 : 2) };
	desc[1] = (struct desc){ data, SECTOR, NEXT, 3 * slot + 2 };
	desc[2] = (struct desc){ STATUSES + slot, 1, WRITE, 0 };
	queue.avail->ring[queue.avail->idx % QUEUE_SIZE] = 3 * slot;
	barrier();
	queue.avail->idx++;
}

static void finish(u32 slots)
{
	queue_ring(&queue);
	while (queue.used->idx != queue.avail->idx)
		;
	for (u32 i = 0; i < slots; i++)
		if (*(volatile u8 *)(STATUSES + i))
			fail("status", *(volatile u8 *)(STATUSES + i), 0);
}

static void say(const char *what, u64 count)
{
	print(what);
	print_number(count);
	print("\n");
}

static void write_log(void)
{
	u64 sectors = option("sectors", 2048);

	for (u64 n = 0; n + BATCH <= sectors; n += BATCH) {
		for (u32 i = 0; i < BATCH; i++) {
			u64 *data = (u64 *)(DATA + i * SECTOR);

			for (u32 k = 0; k < SECTOR / 8; k++)
				data[k] = n + i + 1;
			submit(i, 1, n + i, (u64)data);
		}
		finish(BATCH);
		say("w ", n + BATCH);
		if (n / BATCH % 4 == 3) {
			submit(0, 4, 0, 0);
			finish(1);
			say("f ", n + BATCH);
		}
	}
	end(0);
}

int run(void)
{
	struct device device;

	if (!find_mmio(&device, 1))
		fail("disks", 0, 1);
	device_start(&device, F_FLUSH);
	queue_start_raw(&device, &queue, 0, (void *)HEAP);
	queue.avail->flags = 1;
	device_ready(&device);
	enter_ring3(write_log);
}
