#include "virtio.h"

int find_devices(struct device *found, int most)
{
	int count = find_pci(found, most);

	count += find_mmio(found + count, most - count);
	for (int i = 0; i < count; i++)
		if (option_is("transport", found[i].transport == &virtio_pci ? "mmio" : "pci"))
			fail("a device by another transport", found[i].base, 0);
	return count;
}

u64 features_asked(void)
{
	return (option("packed", 0) ? F_PACKED : 0) | (option("event", 0) ? F_EVENT : 0);
}

/* Reset and negotiate (3.1.1). */
void device_start(struct device *device, u64 features)
{
	const struct transport *by = device->transport;
	u64 offered;

	by->set_status(device, 0);
	while (by->status(device))
		;
	by->set_status(device, ACKNOWLEDGE);
	by->set_status(device, ACKNOWLEDGE | DRIVER);
	offered = by->offered(device);
	if ((features & F_PACKED) > (offered & F_PACKED))
		fail("packed rings offered", offered, F_PACKED);
	device->features = (features | F_VERSION_1) & offered;
	by->accept(device, device->features);
	by->set_status(device, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	if (!(by->status(device) & FEATURES_OK))
		fail("features", by->status(device), ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

void device_ready(struct device *device)
{
	device->transport->set_status(device, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

/* `memory`: descriptors, then what the driver writes, then what the device writes, on a page or two each. */
void queue_start(struct device *device, struct queue *queue, u16 index, void *memory)
{
	u16 largest = device->transport->largest(device, index);

	memset(memory, 0, QUEUE_BYTES);
	memset(queue, 0, sizeof(*queue));
	queue->device = device;
	queue->index = index;
	queue->size = queue->room = largest < QUEUE_SIZE ? largest : QUEUE_SIZE;
	queue->event = !!(device->features & F_EVENT);
	queue->desc = memory;
	queue->avail = memory + 4096;
	queue->used = memory + 8192;
	for (u16 i = 0; i < queue->size; i++)
		queue->link[i] = i + 1;
	queue->ring = device->features & F_PACKED ? &packed_ring : &split_ring;
	queue->ring->start(queue);
	queue->bell = device->transport->start(device, index, queue->size, (u64)memory, (u64)memory + 4096,
					       (u64)memory + 8192);
}

void queue_start_raw(struct device *device, struct queue *queue, u16 index, void *memory)
{
	queue_start(device, queue, index, memory);
	if (queue->size != QUEUE_SIZE)
		fail("queue size", queue->size, QUEUE_SIZE);
}

void queue_put(struct queue *queue, const struct buffer *buffers, u32 count, u32 token, struct desc *table)
{
	if (!count || (table ? 1 : count) > queue->room)
		fail("room in a ring", queue->room, count);
	queue->ring->put(queue, buffers, count, token, table);
}

void queue_ring(struct queue *queue)
{
	if (queue->device->transport == &virtio_pci)
		write16(queue->bell, queue->index);
	else
		write32(queue->bell, queue->index);
}

void queue_notify(struct queue *queue)
{
	if (queue->ring->show(queue))
		queue_ring(queue);
}

int queue_take(struct queue *queue, u32 *token, u32 *length)
{
	return queue->ring->take(queue, token, length);
}

int queue_listen(struct queue *queue)
{
	queue->ring->listen(queue);
	full_barrier();		/* the device sees that we listen, or we see what it used */
	return queue->ring->waiting(queue);
}

void queue_quiet(struct queue *queue)
{
	queue->ring->quiet(queue);
}

u64 features_read(u64 select, u64 window)
{
	u64 low;

	write32(select, 0);
	low = read32(window);
	write32(select, 1);
	return low | (u64)read32(window) << 32;
}

void features_write(u64 select, u64 window, u64 features)
{
	for (u32 i = 0; i < 2; i++) {
		write32(select, i);
		write32(window, features >> 32 * i);
	}
}
