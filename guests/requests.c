#include "requests.h"

void requests_prepare(struct queue *queue, u64 memory, u64 buffer_bytes)
{
	struct device *device = queue->device;
	u32 bytes = option("bytes", 4096), slots = buffer_bytes / bytes;
	u64 sectors = read32(device->config) | (u64)read32(device->config + 4) << 32;
	u64 places = sectors * SECTOR / bytes, seed = 88172645463325252ull + queue->index;
	int random = option_is("pattern", "random"), write = option_is("op", "write");
	struct { u32 type, reserved; u64 sector; } *header = (void *)(memory + REQUESTS_HEADERS);
	volatile u8 *status = (void *)(memory + REQUESTS_STATUS);
	u64 buffers = memory + REQUESTS_BUFFERS;

	if (!slots)
		fail("room for a buffer", buffer_bytes, bytes);
	if (places > (64 << 20) / bytes)
		places = (64 << 20) / bytes;
	for (u32 i = 0; i < PREPARED; i++) {
		volatile struct desc *desc = &queue->desc[3 * i];

		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		header[i].type = write;
		header[i].sector = (random ? seed % places : i % places) * (bytes / SECTOR);
		desc[0] = (struct desc){ (u64)&header[i], 16, NEXT, 3 * i + 1 };
		desc[1] = (struct desc){ buffers + (i % slots) * bytes, bytes, NEXT | (write ? 0 : WRITE), 3 * i + 2 };
		desc[2] = (struct desc){ (u64)&status[i], 1, WRITE, 0 };
	}
	for (u32 i = 0; i < QUEUE_SIZE; i++)
		queue->avail->ring[i] = 3 * (i % PREPARED);
}

void requests_check(u64 memory)
{
	volatile u8 *status = (void *)(memory + REQUESTS_STATUS);

	for (int i = 0; i < PREPARED; i++)
		if (status[i])
			fail("request status", status[i], 0);
}
