/* virtio over PCI (VIRTIO 1.2, 4.1), with MSI-X (PCI Local Bus 3.0, 6.8.2). */
#include "virtio.h"

enum { ADDRESS_PORT = 0xcf8, DATA_PORT = 0xcfc, DEVICES = 32 };
enum { ID = 0, COMMAND = 4, BAR0 = 0x10, CAPABILITIES = 0x34 };		/* registers of configuration space */
enum { MEMORY_AND_MASTER = 6, VENDOR = 0x1af4, FIRST_MODERN = 0x1040 };
enum { CAP_VENDOR = 9, CAP_MSIX = 0x11, MSIX_ENABLE = 1u << 31 };	/* in its first four bytes */
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE };		/* 4.1.4 */
enum { FEATURES_SEL = 0x00, FEATURES = 0x04, DRIVER_FEATURES_SEL = 0x08, DRIVER_FEATURES = 0x0c, STATUS = 0x14,
       QUEUE_SEL = 0x16, QUEUE_SIZE_AT = 0x18, QUEUE_VECTOR = 0x1a, QUEUE_ENABLE = 0x1c, QUEUE_NOTIFY_OFF = 0x1e,
       QUEUE_DESC = 0x20, QUEUE_DRIVER = 0x28, QUEUE_DEVICE = 0x30 };	/* 4.1.4.3 */
enum { ENTRY_BYTES = 16, ENTRY_DATA = 8, ENTRY_CONTROL = 12, MESSAGES = 0xfee00000 };

static u32 config_read(u32 device, u32 at)
{
	out32(ADDRESS_PORT, 1u << 31 | device << 11 | at);
	return in32(DATA_PORT);
}

static void config_write(u32 device, u32 at, u32 value)
{
	out32(ADDRESS_PORT, 1u << 31 | device << 11 | at);
	out32(DATA_PORT, value);
}

/* What one capability of the device at `number` tells. */
static void capability(struct device *device, u32 number, u32 at, u64 bar)
{
	u32 head = config_read(number, at);
	u64 place = bar + config_read(number, at + 8);

	if ((head & 0xff) == CAP_MSIX) {
		device->vectors = bar + (config_read(number, at + 4) & ~7u);
		device->pending = bar + (config_read(number, at + 8) & ~7u);
		config_write(number, at, head | MSIX_ENABLE);
	} else if ((head & 0xff) == CAP_VENDOR) {
		switch (head >> 24) {
		case CAP_COMMON:
			device->base = place;
			break;
		case CAP_NOTIFY:
			device->doorbells = place;
			device->doorbell_step = config_read(number, at + 16);
			break;
		case CAP_DEVICE:
			device->config = place;
			break;
		}
	}
}

int find_pci(struct device *found, int most)
{
	int count = 0;

	for (u32 number = 0; number < DEVICES && count < most; number++) {
		struct device *device = &found[count];
		u32 id = config_read(number, ID);
		u64 bar;

		if ((id & 0xffff) != VENDOR || id >> 16 < FIRST_MODERN)
			continue;
		memset(device, 0, sizeof(*device));
		device->transport = &virtio_pci;
		device->id = (id >> 16) - FIRST_MODERN;
		config_write(number, COMMAND, config_read(number, COMMAND) | MEMORY_AND_MASTER);
		bar = (config_read(number, BAR0) & ~15u) | (u64)config_read(number, BAR0 + 4) << 32;
		for (u32 at = config_read(number, CAPABILITIES) & 0xfc; at; at = config_read(number, at) >> 8 & 0xfc)
			capability(device, number, at, bar);
		if (!device->base || !device->config || !device->doorbells || !device->vectors)
			fail("capabilities of a PCI device", device->base, 1);
		count++;
	}
	return count;
}

static u8 status(struct device *device)
{
	return read8(device->base + STATUS);
}

static void set_status(struct device *device, u8 status)
{
	write8(device->base + STATUS, status);
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
	write16(device->base + QUEUE_SEL, queue);
	return read16(device->base + QUEUE_SIZE_AT);
}

static u64 start(struct device *device, u16 queue, u16 size, u64 desc, u64 driver, u64 used)
{
	u64 base = device->base;

	write16(base + QUEUE_SEL, queue);
	write16(base + QUEUE_SIZE_AT, size);
	write_address(base + QUEUE_DESC, desc);
	write_address(base + QUEUE_DRIVER, driver);
	write_address(base + QUEUE_DEVICE, used);
	write16(base + QUEUE_ENABLE, 1);
	if (read16(base + QUEUE_ENABLE) != 1)
		fail("queue enabled", read16(base + QUEUE_ENABLE), 1);
	return device->doorbells + (u64)read16(base + QUEUE_NOTIFY_OFF) * device->doorbell_step;
}

/* Each queue has the MSI-X entry of its number; a change goes by way of masking it. */
static void route(struct device *device, u16 queue, u8 vector, int masked)
{
	u64 entry = device->vectors + queue * ENTRY_BYTES;

	write32(entry + ENTRY_CONTROL, 1);
	write32(entry, MESSAGES);
	write32(entry + 4, 0);
	write32(entry + ENTRY_DATA, vector);
	if (!masked)
		write32(entry + ENTRY_CONTROL, 0);
	write16(device->base + QUEUE_SEL, queue);
	if (read16(device->base + QUEUE_VECTOR) == queue)
		return;
	write16(device->base + QUEUE_VECTOR, queue);
	if (read16(device->base + QUEUE_VECTOR) != queue)
		fail("vector of a queue", read16(device->base + QUEUE_VECTOR), queue);
}

static void acknowledge(struct device *device)
{
	(void)device;	/* a message tells by its vector why it is sent */
}

const struct transport virtio_pci = {
	status, set_status, offered, accept, largest, start, route, acknowledge,
};
