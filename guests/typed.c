/* Sends back what the first virtio console receives, and ends with status 3 after a newline.  Each buffer is with
 * the receive queue, or with the transmit queue to send what it holds.  In between it halts. */
#include "virtio.h"

enum { RECEIVE, TRANSMIT, BUFFERS = 16, BUFFER = 1024 };

static struct device devices[8];
static struct queue rx, tx;
static u32 in_flight;		/* being sent */
static int at_end;

static u8 *buffer(u32 i) { return (u8 *)HEAP + 0x10000 + i * BUFFER; }

static void put(struct queue *queue, u32 i, u32 length)
{
	struct buffer whole = { (u64)buffer(i), length, queue == &rx };

	queue_put(queue, &whole, 1, i, NULL);
}

static void on_console_interrupt(void *of)
{
	((struct device *)of)->transport->acknowledge(of);
}

static void step(void)
{
	u32 i, length;

	while (queue_take(&rx, &i, &length)) {
		if (!length || length > BUFFER)
			fail("bytes received", length, BUFFER);
		at_end |= buffer(i)[length - 1] == '\n';
		put(&tx, i, length);
		in_flight++;
	}
	while (queue_take(&tx, &i, &length)) {
		put(&rx, i, BUFFER);
		in_flight--;
	}
	queue_notify(&tx);
	queue_notify(&rx);
}

static void start(struct device *device)
{
	device_start(device, features_asked());
	queue_start(device, &rx, RECEIVE, (void *)HEAP);
	queue_start(device, &tx, TRANSMIT, (void *)HEAP + QUEUE_BYTES);
	interrupt_handle(FIRST_VECTOR, on_console_interrupt, device);
	for (u16 i = 0; i < (device->transport == &virtio_pci ? 2 : 1); i++)
		device->transport->route(device, i, FIRST_VECTOR, 0);
	device_ready(device);
	for (u32 i = 0; i < BUFFERS; i++)
		put(&rx, i, BUFFER);
	queue_notify(&rx);
}

int run(void)
{
	struct device *device = devices;

	for (int left = find_devices(devices, 8); device->id != ID_CONSOLE; device++)
		if (!left--)
			fail("consoles", 0, 1);
	start(device);
	while (!at_end || in_flight) {
		step();
		if ((!at_end || in_flight) && !(queue_listen(&rx) | queue_listen(&tx)))
			wait_for_interrupt();
	}
	return 3;
}
