/* Checks block devices: every request type, cut in every way a driver may cut it, with every
 * feature negotiated or not; then prints a checksum of what a disk holds, for the host to compare.
 *
 *   area=SECTOR area_sectors=N   what may be written on the first disk (default: all of it)
 *   rounds=N                     how often the cuts are gone through
 *   buffers=ADDRESS              where data goes (default: 17 MiB)
 */
#include "guest.h"

enum { IN, OUT, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { OK, IOERR, UNSUPP };
enum { F_RO = 1 << 5, F_DISCARD = 1 << 13 };
enum { PARTS = 64, BATCH = 16, MOST = 1 << 18 };

struct part { u64 addr; u32 len; int write; };
struct header { u32 type, reserved; u64 sector; };
struct range { u64 sector; u32 count, flags; };

static struct device devices[8];
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

static u16 next_desc;

static void put(struct queue *queue, const struct part *parts, int count, int slot)
{
	int indirect = devices[0].features & F_INDIRECT && (random(2) || count > 8);
	volatile struct desc *table = indirect ? (volatile struct desc *)tables + slot * PARTS : queue->desc;
	u16 first = indirect ? 0 : next_desc, head = next_desc;

	for (int i = 0; i < count; i++)
		table[first + i] = (struct desc){ parts[i].addr, parts[i].len,
						  (parts[i].write ? WRITE : 0) | (i + 1 < count ? NEXT : 0),
						  first + i + 1 };
	if (indirect)
		queue->desc[head] = (struct desc){ (u64)table, count * sizeof(struct desc), INDIRECT, 0 };
	next_desc += indirect ? 1 : count;
	queue->avail->ring[(queue->avail->idx + slot) % QUEUE_SIZE] = head;
}

static void ring(struct queue *queue, u16 count)
{
	u16 before = queue->avail->idx, now = before + count;

	barrier();
	queue->avail->idx = now;
	full_barrier();
	if (queue->event && (u16)(now - queue->used->avail_event - 1) >= (u16)(now - before))
		return;
	write32(queue->base + NOTIFY, queue->index);
}

static void finish(struct queue *queue, u16 count)
{
	u16 target = queue->last + count;
	u64 patience = 1ull << 32;

	while (queue->used->idx != target)
		if (!patience--)
			fail("used index", queue->used->idx, target);
	queue->last = target;
	requests += count;
	next_desc = 0;
}

static u32 used_len(struct queue *queue, u16 back)
{
	return queue->used->elem[(u16)(queue->last - back) % QUEUE_SIZE].len;
}

/* Requests */

/* Cut `length` bytes at `at` into `count` buffers of uneven sizes. */
static int cut(struct part *parts, u8 *at, u32 length, int count, int write)
{
	int n = 0;

	while (n < count - 1 && length > 1) {
		u32 size = 1 + random(length - 1 < 2 * length / count + 1 ? length - 1 : 2 * length / count + 1);

		parts[n++] = (struct part){ (u64)at, size, write };
		at += size, length -= size;
	}
	parts[n++] = (struct part){ (u64)at, length, write };
	return n;
}

/* Lay out one request; `odd` lets header and status share buffers with the data. */
static void build(struct queue *queue, int slot, u32 type, u64 sector, u8 *data, u32 length, int pieces, int odd)
{
	struct part parts[PARTS];
	int n = 0, into = type == IN || type == GET_ID;
	u8 *status = slots[slot].status;

	slots[slot].header = (struct header){ type, 0, sector };
	*status = 0xff;
	if (odd) {	/* the header in two */
		parts[n++] = (struct part){ (u64)&slots[slot].header, 5, 0 };
		parts[n++] = (struct part){ (u64)&slots[slot].header + 5, 11, 0 };
	} else {
		parts[n++] = (struct part){ (u64)&slots[slot].header, 16, 0 };
	}
	if (length)
		n += cut(parts + n, data, length, pieces, into);
	if (odd && into && length && parts[n - 1].addr + parts[n - 1].len == (u64)data + length) {
		parts[n - 1].len++;	/* the status behind the data, in one buffer */
		data[length] = 0xff;
	} else {
		parts[n++] = (struct part){ (u64)status, 1, 1 };
	}
	put(queue, parts, n, slot);
}

static u8 status_of(int slot, u32 type, u8 *data, u32 length, int odd)
{
	return odd && (type == IN || type == GET_ID) && length ? data[length] : *slots[slot].status;
}

static void request(struct queue *queue, u32 type, u64 sector, u8 *data, u32 length, int pieces, int odd, u8 wanted)
{
	u8 status;

	build(queue, 0, type, sector, data, length, pieces, odd);
	ring(queue, 1);
	finish(queue, 1);
	status = status_of(0, type, data, length, odd);
	if (status != wanted)
		fail("status", (u64)type << 32 | status, (u64)type << 32 | wanted);
	if (wanted == OK && type == IN && used_len(queue, 1) != length + 1)
		fail("bytes written", used_len(queue, 1), length + 1);
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
		ring(queue, BATCH);
		finish(queue, BATCH);
		for (int i = 0; i < BATCH; i++)
			build(queue, i, i == 7 ? FLUSH : IN, i == 7 ? 0 : area + i * 8, second + i * 8192, i == 7 ? 0 : length, 1 + random(3), 0);
		ring(queue, BATCH);
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

	if (!(devices[0].features & F_DISCARD) || area_sectors < 64)
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

static void open_disk(struct device *device, u32 features)
{
	device_start(device, features);
	sectors = read32(device->base + CONFIG) | (u64)read32(device->base + CONFIG + 4) << 32;
	queue_count = *(volatile u16 *)(device->base + CONFIG + 34);
	if (queue_count < 1 || queue_count > 16)
		queue_count = 1;
	for (int i = 0; i < queue_count; i++)
		queue_start(device, &queues[i], i, (void *)HEAP + 0x10000 + i * 0x4000);
	device_ready(device);
}

static void check_disk(struct device *device, u32 rounds)
{
	static const u32 variants[] = { 0, F_INDIRECT, F_EVENT, F_INDIRECT | F_EVENT };
	u8 id[32] = { 0 };
	int read_only;

	for (int i = 0; i < 4; i++) {
		open_disk(device, variants[i] | F_RO | F_DISCARD | 1 << 9 | 1 << 12 | 1 << 14);
		devices[0].features = device->features;
		read_only = !!(device->features & F_RO);
		for (int q = 0; q < queue_count; q++)
			queues[q].avail->flags = 1;
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
	print("check: id=");
	print((char *)id);
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

static int count;

static void check_all(void)
{
	for (int i = 0; i < count; i++) {
		struct device device = devices[i];

		requests = 0;
		check_disk(&device, option("rounds", 40));
	}
	print("check: passed\n");
	end(0);
}

/* In ring 0, where HLT is allowed: requests that are waited for by their interrupts. */
static void by_interrupt(struct device *device)
{
	static const u32 variants[] = { 0, F_EVENT };

	for (int v = 0; v < 2; v++) {
		open_disk(device, variants[v]);
		interrupts_start(device);
		for (int i = 0; i < 20; i++) {
			struct queue *queue = &queues[0];
			u16 target = queue->last + 1;

			build(queue, 0, IN, 0, second, SECTOR, 1, 0);
			queue->avail->used_event = queue->last;
			ring(queue, 1);
			do
				wait_for_interrupt();
			while (queue->used->idx != target);
			finish(queue, 1);
			if (*slots[0].status != OK)
				fail("status by interrupt", *slots[0].status, OK);
		}
	}
	if (interrupts_taken < 40)
		fail("interrupts", interrupts_taken, 40);
}

int run(void)
{
	buffer = (void *)option("buffers", HEAP + 0x100000);
	second = buffer + 0x700000;
	count = find_devices(devices, 8);
	if (!count)
		fail("disks", 0, 1);
	for (int i = 0; i < count; i++) {
		struct device saved = devices[i], first = devices[0];

		interrupts_taken = 0;
		devices[0].features = 0;
		by_interrupt(&saved);
		devices[0] = first;
	}
	enter_ring3(check_all);
}
