/* Checks block devices: every request type, cut in every way a driver may cut it, with every
 * feature negotiated or not; then prints a checksum of what a disk holds, for the host to compare.
 *
 *   area=SECTOR area_sectors=N   what may be written on the first disk (default: all of it)
 *   rounds=N                     how often the cuts are gone through
 *   buffers=ADDRESS              where data goes (default: 17 MiB)
 */
#include "virtio.h"

enum { IN, OUT, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { OK, IOERR, UNSUPP };
enum { F_RO = 1 << 5, F_FLUSH = 1 << 9, F_MQ = 1 << 12, F_DISCARD = 1 << 13, F_WRITE_ZEROES = 1 << 14 };
enum { PARTS = 64, BATCH = 16, MOST = 1 << 18 };

struct header { u32 type, reserved; u64 sector; };
struct range { u64 sector; u32 count, flags; };

static struct device devices[8], *device;	/* `device`: the one that is checked */
static struct queue queues[16];
static int queue_count;
static u64 sectors, area, area_sectors, requests;
static u32 seed = 12345;

static struct { struct header header; u8 status[16]; } *const slots = (void *)HEAP + 0x80000;
static struct desc *const tables = (void *)HEAP + 0x90000;	/* PARTS entries for each of a batch */
static u8 *buffer, *second;

static u32 random(u32 below)
{
	seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
	return seed % below;
}

/* Rings */

static void put(struct queue *queue, const struct buffer *parts, int count, int slot)
{
	int indirect = queue->device->features & F_INDIRECT && (random(2) || count > 8);

	queue_put(queue, parts, count, slot, indirect ? tables + slot * PARTS : NULL);
}

/* Each of `count` slots comes back, once; returns the bytes written for the last one. */
static u32 finish(struct queue *queue, u32 count)
{
	u32 waiting = (1u << count) - 1, slot, written = 0;
	u64 patience = 1ull << 32;

	while (waiting) {
		if (queue_take(queue, &slot, &written)) {
			if (!(waiting >> slot & 1))
				fail("used slot", slot, waiting);
			waiting &= ~(1u << slot);
		} else if (!patience--) {
			fail("requests that do not come back", waiting, 0);
		}
	}
	requests += count;
	return written;
}

/* Requests */

/* Cut `length` bytes at `at` into `count` buffers of uneven sizes. */
static int cut(struct buffer *parts, u8 *at, u32 length, int count, int write)
{
	int n = 0;

	while (n < count - 1 && length > 1) {
		u32 size = 1 + random(length - 1 < 2 * length / count + 1 ? length - 1 : 2 * length / count + 1);

		parts[n++] = (struct buffer){ (u64)at, size, write };
		at += size, length -= size;
	}
	parts[n++] = (struct buffer){ (u64)at, length, write };
	return n;
}

/* Lay out one request; `odd` lets header and status share buffers with the data. */
static void build(struct queue *queue, int slot, u32 type, u64 sector, u8 *data, u32 length, int pieces, int odd)
{
	struct buffer parts[PARTS];
	int n = 0, into = type == IN || type == GET_ID;
	u8 *status = slots[slot].status;

	slots[slot].header = (struct header){ type, 0, sector };
	*status = 0xff;
	if (odd) {	/* the header in two */
		parts[n++] = (struct buffer){ (u64)&slots[slot].header, 5, 0 };
		parts[n++] = (struct buffer){ (u64)&slots[slot].header + 5, 11, 0 };
	} else {
		parts[n++] = (struct buffer){ (u64)&slots[slot].header, 16, 0 };
	}
	if (length)
		n += cut(parts + n, data, length, pieces, into);
	if (odd && into && length && parts[n - 1].addr + parts[n - 1].len == (u64)data + length) {
		parts[n - 1].len++;	/* the status behind the data, in one buffer */
		data[length] = 0xff;
	} else {
		parts[n++] = (struct buffer){ (u64)status, 1, 1 };
	}
	put(queue, parts, n, slot);
}

static u8 status_of(int slot, u32 type, u8 *data, u32 length, int odd)
{
	return odd && (type == IN || type == GET_ID) && length ? data[length] : *slots[slot].status;
}

static void request(struct queue *queue, u32 type, u64 sector, u8 *data, u32 length, int pieces, int odd, u8 wanted)
{
	u32 written;
	u8 status;

	build(queue, 0, type, sector, data, length, pieces, odd);
	queue_notify(queue);
	written = finish(queue, 1);
	status = status_of(0, type, data, length, odd);
	if (status != wanted)
		fail("status", (u64)type << 32 | status, (u64)type << 32 | wanted);
	if (wanted == OK && type == IN && written != length + 1)
		fail("bytes written", written, length + 1);
}

/* Contents: each 8 bytes tell where they belong and which writing they are of. */

static void fill(u8 *data, u64 sector, u32 length, u32 salt)
{
	for (u32 i = 0; i < length / 8; i++)
		((u64 *)data)[i] = (sector * 64 + i) * 0x9e3779b97f4a7c15ull + salt;
}

static void compare(const u8 *data, u64 sector, u32 length, u32 salt)
{
	for (u32 i = 0; i < length / 8; i++) {
		u64 wanted = (sector * 64 + i) * 0x9e3779b97f4a7c15ull + salt;

		if (((const u64 *)data)[i] != wanted)
			fail("data", ((const u64 *)data)[i], wanted);
	}
}

static void cuts(u32 rounds)
{
	static const u32 lengths[] = { 512, 1024, 4096, 4608, 16384, 65536, 131072, MOST };

	for (u32 i = 0; i < rounds; i++) {
		struct queue *queue = &queues[random(queue_count)];
		u32 length = lengths[random(8)];
		u64 sector;

		if (length / SECTOR > area_sectors)
			length = SECTOR;
		sector = area + random(area_sectors - length / SECTOR + 1);
		fill(buffer, sector, length, i);
		request(queue, OUT, sector, buffer, length, 1 + random(20), random(2), OK);
		memset(second, 0xee, length);
		request(queue, IN, sector, second, length, 1 + random(20), random(2), OK);
		compare(second, sector, length, i);
		if (i % 8 == 0)
			request(queue, FLUSH, 0, 0, 0, 0, 0, OK);
	}
}

/* Several requests for one doorbell, reads and writes mixed. */
static void batches(u32 rounds)
{
	u32 length = 8 * SECTOR;

	if (area_sectors < BATCH * 8)
		return;
	for (u32 round = 0; round < rounds; round++) {
		struct queue *queue = &queues[random(queue_count)];

		for (int i = 0; i < BATCH; i++) {
			fill(buffer + i * 8192, area + i * 8, length, round);
			build(queue, i, OUT, area + i * 8, buffer + i * 8192, length, 1 + random(3), 0);
		}
		queue_notify(queue);
		finish(queue, BATCH);
		for (int i = 0; i < BATCH; i++)
			build(queue, i, i == 7 ? FLUSH : IN, i == 7 ? 0 : area + i * 8, second + i * 8192, i == 7 ? 0 : length, 1 + random(3), 0);
		queue_notify(queue);
		finish(queue, BATCH);
		for (int i = 0; i < BATCH; i++) {
			if (*slots[i].status != OK)
				fail("status in a batch", *slots[i].status, OK);
			if (i != 7)
				compare(second + i * 8192, area + i * 8, length, round);
		}
	}
}

static void ranges(void)
{
	struct range *range = (void *)buffer;
	struct queue *queue = &queues[0];

	if (!(device->features & F_DISCARD) || area_sectors < 64)
		return;
	range[0] = (struct range){ area + 8, 16, 0 };
	range[1] = (struct range){ area + 40, 8, 1 };
	request(queue, WRITE_ZEROES, 0, buffer, 2 * sizeof(*range), 1, 0, OK);
	request(queue, IN, area + 8, second, 16 * SECTOR, 3, 0, OK);
	for (u32 i = 0; i < 16 * SECTOR; i++)
		if (second[i])
			fail("zeroed data", second[i], 0);
	range[0] = (struct range){ area + 16, 8, 0 };
	request(queue, DISCARD, 0, buffer, sizeof(*range), 1, 0, OK);
	range[0] = (struct range){ sectors, 8, 0 };
	request(queue, DISCARD, 0, buffer, sizeof(*range), 1, 0, IOERR);
}

static void errors(void)
{
	request(&queues[0], IN, sectors, buffer, SECTOR, 1, 0, IOERR);
	request(&queues[0], IN, ~0ull, buffer, SECTOR, 1, 0, IOERR);
	request(&queues[0], 77, 0, buffer, SECTOR, 1, 0, UNSUPP);
}

/* What is on the disk, for the host: first the area is filled anew, if it may be written. */
static u32 adler(u32 sum, const u8 *data, u32 length)
{
	u32 a = sum & 0xffff, b = sum >> 16;

	while (length) {
		u32 run = length < 5552 ? length : 5552;

		length -= run;
		while (run--)
			a += *data++, b += a;
		a %= 65521, b %= 65521;
	}
	return a | b << 16;
}

static void settle(void)
{
	for (u64 at = 0; at < area_sectors;) {
		u32 length = area_sectors - at < MOST / SECTOR ? (area_sectors - at) * SECTOR : MOST;

		fill(buffer, area + at, length, 0);
		request(&queues[0], OUT, area + at, buffer, length, 4, 0, OK);
		at += length / SECTOR;
	}
	request(&queues[0], FLUSH, 0, 0, 0, 0, 0, OK);
}

static u32 checksum(void)
{
	u32 sum = 1;

	for (u64 at = 0; at < sectors;) {
		u32 length = sectors - at < MOST / SECTOR ? (sectors - at) * SECTOR : MOST;

		request(&queues[random(queue_count)], IN, at, buffer, length, 4, 0, OK);
		sum = adler(sum, buffer, length);
		at += length / SECTOR;
	}
	return sum;
}

static void open_disk(u64 features)
{
	device_start(device, features | features_asked());
	sectors = read32(device->config) | (u64)read32(device->config + 4) << 32;
	queue_count = device->features & F_MQ ? read16(device->config + 34) : 1;
	for (int i = 0; i < queue_count; i++) {
		queue_start(device, &queues[i], i, (void *)HEAP + 0x10000 + i * QUEUE_BYTES);
		queue_quiet(&queues[i]);
	}
	device_ready(device);
}

static void print_result(const char *id)
{
	print("check: id=");
	print(id);
	print(" sectors=");
	print_number(sectors);
	print(" queues=");
	print_number(queue_count);
	print(" adler=");
	print_number(checksum());
	print(" requests=");
	print_number(requests);
	print("\n");
}

static void check_disk(u32 rounds)
{
	static const u32 variants[] = { 0, F_INDIRECT, F_EVENT, F_INDIRECT | F_EVENT };
	u8 id[32] = { 0 };
	int read_only;

	requests = 0;
	for (int i = 0; i < 4; i++) {
		open_disk(variants[i] | F_RO | F_DISCARD | F_FLUSH | F_MQ | F_WRITE_ZEROES);
		read_only = !!(device->features & F_RO);
		area = option("area", 0);
		area_sectors = option("area_sectors", sectors - area);
		errors();
		if (read_only) {
			request(&queues[0], OUT, 0, buffer, SECTOR, 1, 0, IOERR);
			continue;
		}
		cuts(rounds);
		batches(rounds / 8 + 1);
		ranges();
	}
	memset(buffer, 0, 32);
	request(&queues[0], GET_ID, 0, buffer, 20, 1, 0, OK);
	memcpy(id, buffer, 20);
	if (!read_only)
		settle();
	print_result((char *)id);
	device->transport->set_status(device, 0);	/* the next one has the same rings */
}

static int count;

static void check_all(void)
{
	for (device = devices; device < devices + count; device++)
		check_disk(option("rounds", 40));
	print("check: passed\n");
	end(0);
}

/* In ring 0, where HLT is allowed: requests that are waited for by their interrupts. */

static u32 interrupts;

static void on_disk_interrupt(void *of)
{
	((struct device *)of)->transport->acknowledge(of);
	interrupts++;
}

static void by_interrupt(void)
{
	static const u32 variants[] = { 0, F_EVENT };
	struct queue *queue = &queues[0];
	u32 slot, written;

	interrupts = 0;
	for (int i = 0; i < 40; i++) {
		if (i % 20 == 0) {
			open_disk(variants[i / 20]);
			device->transport->route(device, 0, FIRST_VECTOR, 0);
			interrupt_handle(FIRST_VECTOR, on_disk_interrupt, device);
		}
		build(queue, 0, IN, 0, second, SECTOR, 1, 0);
		queue_listen(queue);
		queue_notify(queue);
		do
			wait_for_interrupt();
		while (!queue_take(queue, &slot, &written));
		if (*slots[0].status != OK)
			fail("status by interrupt", *slots[0].status, OK);
	}
	if (interrupts < 40)
		fail("interrupts", interrupts, 40);
	device->transport->set_status(device, 0);
}

int run(void)
{
	buffer = (void *)option("buffers", HEAP + 0x100000);
	second = buffer + 0x700000;
	count = find_devices(devices, 8);
	if (!count)
		fail("disks", 0, 1);
	for (device = devices; device < devices + count; device++)
		by_interrupt();
	enter_ring3(check_all);
}
