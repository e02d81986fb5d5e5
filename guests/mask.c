/* Masks the disk's interrupt, has requests completed meanwhile, and unmasks it; moves it to another
 * vector with requests in flight.  A lost interrupt leaves the guest halted for ever.
 *
 *   rounds=N
 */
#include "virtio.h"

enum { BATCH = 8, VECTORS_USED = 4 };

static struct device device;
static struct queue queue;
static struct { u32 type, reserved; u64 sector; } *const headers = (void *)HEAP + 0x10000;
static volatile u8 *const statuses = (u8 *)HEAP + 0x11000;
static volatile u64 *const data = (void *)HEAP + 0x20000;
static volatile u32 interrupts, done;
static u8 vector;

/* Sectors that tell their number. */
static void submit(u32 round)
{
	for (u32 i = 0; i < BATCH; i++) {
		struct buffer parts[3] = { { (u64)&headers[i], 16, 0 }, { (u64)(data + i * SECTOR / 8), SECTOR, 1 },
					   { (u64)&statuses[i], 1, 1 } };

		headers[i].type = 0;
		headers[i].sector = (round * BATCH + i) % 4096;
		statuses[i] = 0xff;
		data[i * SECTOR / 8] = ~0ull;
		queue_put(&queue, parts, 3, i, NULL);
	}
	done = 0;
	queue_listen(&queue);
	queue_notify(&queue);
}

static void take_all(void)
{
	u32 i, length;

	while (queue_take(&queue, &i, &length)) {
		if (statuses[i] || data[i * SECTOR / 8] != headers[i].sector)
			fail("data", data[i * SECTOR / 8], headers[i].sector);
		done++;
	}
}

static void on_disk_interrupt(void *of)
{
	((struct device *)of)->transport->acknowledge(of);
	interrupts++;
	do
		take_all();
	while (queue_listen(&queue));
}

static void route(u8 to, int masked)
{
	device.transport->route(&device, 0, to, masked);
}

static void wait_for_all(void)
{
	while (done < BATCH)
		wait_for_interrupt();
}

/* Long enough that hosts which look for interrupts only now and then have done so. */
static void let_interrupts_in(void)
{
	__asm__ volatile("sti");
	for (volatile u32 i = 0; i < 2048; i++)
		;
	__asm__ volatile("cli");
}

static int is_pending(void)
{
	return read32(device.pending) & 1;
}

/* Completed while masked: taken by polling.  MSI-X keeps the message (PCI Local Bus 3.0, 6.8.2), an
 * edge on an I/O APIC's pin is lost (82093AA, 3.2.4); requests after it are told of by either. */
static void masked(u32 round)
{
	u32 before;

	route(vector, 1);
	let_interrupts_in();		/* what was on its way */
	before = interrupts;
	submit(round);
	while (done < BATCH)
		take_all();
	if (device.transport == &virtio_pci)
		while (!is_pending())
			;		/* the device tells after the used ring does */
	let_interrupts_in();
	if (interrupts != before)
		fail("interrupts while masked", interrupts, before);
	route(vector, 0);
	if (device.transport == &virtio_pci) {
		while (interrupts == before)
			wait_for_interrupt();
		if (is_pending())
			fail("pending when unmasked", 1, 0);
	}
}

static void moved(u32 round)
{
	submit(round);
	vector = FIRST_VECTOR + (vector + 1 - FIRST_VECTOR) % VECTORS_USED;
	route(vector, 0);
	wait_for_all();
}

int run(void)
{
	u32 rounds = option("rounds", 20);

	if (!find_devices(&device, 1))
		fail("disks", 0, 1);
	device_start(&device, features_asked());
	queue_start(&device, &queue, 0, (void *)HEAP);
	for (u8 i = 0; i < VECTORS_USED; i++)
		interrupt_handle(FIRST_VECTOR + i, on_disk_interrupt, &device);
	vector = FIRST_VECTOR;
	route(vector, 0);
	device_ready(&device);
	for (u32 i = 0; i < rounds; i++) {
		submit(3 * i);
		wait_for_all();
		masked(3 * i + 1);
		moved(3 * i + 2);
	}
	print("mask: passed\n");
	return 0;
}
