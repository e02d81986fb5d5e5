/* virtio over MMIO (VIRTIO 1.2, 4.2). */
#include "virtio.h"

enum { MAGIC = 0, VERSION = 4, DEVICE_ID = 8, FEATURES = 0x10, FEATURES_SEL = 0x14, DRIVER_FEATURES = 0x20,
       DRIVER_FEATURES_SEL = 0x24, QUEUE_SEL = 0x30, QUEUE_NUM_MAX = 0x34, QUEUE_NUM = 0x38,
       QUEUE_READY = 0x44, NOTIFY = 0x50, INTERRUPT_STATUS = 0x60, INTERRUPT_ACK = 0x64, STATUS = 0x70,
       QUEUE_DESC = 0x80, QUEUE_DRIVER = 0x90, QUEUE_DEVICE = 0xa0, CONFIG = 0x100 };

static int starts_with(const char *text, const char *prefix)
{
	while (*prefix && *text == *prefix)
		text++, prefix++;
	return !*prefix;
}

/* As Linux has them on the command line: virtio_mmio.device=SIZE@ADDRESS:PIN */
int find_mmio(struct device *found, int most)
{
	int count = 0;

	for (const char *at = command_line; *at && count < most; at++) {
		struct device *device = &found[count];
		const char *text = at;

		if (!starts_with(at, "virtio_mmio.device="))
			continue;
		while (*text && *text++ != '@')
			;
		memset(device, 0, sizeof(*device));
		device->transport = &virtio_mmio;
		device->base = number(&text);
		device->config = device->base + CONFIG;
		text++;
		device->pin = number(&text);
		if (read32(device->base + MAGIC) != 0x74726976 || read32(device->base + VERSION) != 2)
			fail("virtio magic", read32(device->base + MAGIC), 0x74726976);
		device->id = read32(device->base + DEVICE_ID);
		if (device->id)
			count++;
	}
	return count;
}

static u8 status(struct device *device)
{
	return read32(device->base + STATUS);
}

static void set_status(struct device *device, u8 status)
{
	write32(device->base + STATUS, status);
}

static u64 offered(struct device *device)
{
	return features_read(device->base + FEATURES_SEL, device->base + FEATURES);
}

static void accept(struct device *device, u64 features)
{
	features_write(device->base + DRIVER_FEATURES_SEL, device->base + DRIVER_FEATURES, features);
}

static u16 largest(struct device *device, u16 queue)
{
	write32(device->base + QUEUE_SEL, queue);
	return read32(device->base + QUEUE_NUM_MAX);
}

static u64 start(struct device *device, u16 queue, u16 size, u64 desc, u64 driver, u64 used)
{
	u64 base = device->base;

	write32(base + QUEUE_SEL, queue);
	write32(base + QUEUE_NUM, size);
	write_address(base + QUEUE_DESC, desc);
	write_address(base + QUEUE_DRIVER, driver);
	write_address(base + QUEUE_DEVICE, used);
	write32(base + QUEUE_READY, 1);
	if (read32(base + QUEUE_READY) != 1)
		fail("queue ready", read32(base + QUEUE_READY), 1);
	return base + NOTIFY;
}

static void route(struct device *device, u16 queue, u8 vector, int masked)
{
	(void)queue;	/* one interrupt for all */
	ioapic_route(device->pin, vector, masked);
}

static void acknowledge(struct device *device)
{
	write32(device->base + INTERRUPT_ACK, read32(device->base + INTERRUPT_STATUS));
}

const struct transport virtio_mmio = {
	status, set_status, offered, accept, largest, start, route, acknowledge,
};
