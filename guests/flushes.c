/* Flushes one disk again and again, halting for each interrupt, while a second vCPU rings the doorbell of
 * another disk, which has nothing to do and whose interrupts nobody hears.  An interrupt that is lost
 * shows as a guest that halts for ever.
 *
 *   count=N  flushes
 */
#include "virtio.h"

enum { IOAPIC = 0xfec00000, F_FLUSH = 1 << 9, FLUSH = 4, DISK_VECTOR = FIRST_VECTOR, OTHER_VECTOR = FIRST_VECTOR + 1 };

static struct device disks[2];
static struct queue queue, other;
static volatile u32 interrupted, stop, second_done;

/* Called by the second vCPU, on a stack of its own, with interrupts off. */
void ap_main(void)
{
	second_up = 1;
	while (!stop)
		write32(other.bell, 0);
	second_done = 1;
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void on_disk(void *argument)
{
	struct device *device = argument;

	device->transport->acknowledge(device);
	interrupted++;
}

static void start(struct device *device, struct queue *its, u64 memory, u8 vector)
{
	device_start(device, F_FLUSH);
	queue_start_raw(device, its, 0, (void *)memory);
	device_ready(device);
	device->transport->route(device, 0, vector, 0);
}

/* To the second vCPU, which never takes it. */
static void send_away(u32 pin)
{
	write32(IOAPIC, 0x10 + 2 * pin + 1);
	write32(IOAPIC + 0x10, 1 << 24);
}

static void flush(void)
{
	static struct { u32 type, reserved; u64 sector; } header = { FLUSH };
	static volatile u8 status;

	status = 0xff;
	queue.desc[0] = (struct desc){ (u64)&header, sizeof(header), NEXT, 1 };
	queue.desc[1] = (struct desc){ (u64)&status, 1, WRITE, 0 };
	queue.avail->ring[queue.avail->idx % QUEUE_SIZE] = 0;
	barrier();
	queue.avail->idx++;
	queue_ring(&queue);
	queue.last++;
	while (queue.used->idx != queue.last)
		wait_for_interrupt();
	if (status)
		fail("status of a flush", status, 0);
}

int run(void)
{
	u32 count = option("count", 1000);

	if (find_mmio(disks, 2) != 2)
		fail("disks", 0, 2);
	interrupt_handle(DISK_VECTOR, on_disk, &disks[0]);
	start(&disks[0], &queue, HEAP, DISK_VECTOR);
	start(&disks[1], &other, HEAP + 0x10000, OTHER_VECTOR);
	send_away(disks[1].pin);
	start_second();
	while (count--)
		flush();
	stop = 1;
	while (!second_done)
		barrier();
	print("flushes: passed, interrupts ");
	print_number(interrupted);
	print("\n");
	return 0;
}
