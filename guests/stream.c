/* A guest that sends numbered packets whose every byte the host can tell, as a driver with byte queue
 * limits does: a few at a time, in buffers cut anywhere, rung for and interrupted for only when asked
 * (event index), and no more until those are used.  A used buffer is scribbled over at once, and is the
 * first to be filled again.  With a disk, and wait=poll, that is kept busy meanwhile.
 *
 *   packets=N wait=poll|interrupt idle=TICKS (now and then, longer than a polling thread stays awake)
 *
 * A frame is of type 0x88b5; behind its 14 bytes are the packet's number and its length (4 bytes each), and
 * then table[number * 7 % 2048 ...], of which tools/streamguest.py has a copy.
 */
#include "net.h"

enum { FIXED = HEADER + ETHER + 8, MOST = 1514 + HEADER, SLOT = 2048 };
enum { SLOTS = 64, CUTS = QUEUE_SIZE / SLOTS, BURST = 8, STEP = 7, OFFSETS = 2048, TABLE = 4096 };

struct queue tx;
static struct { u16 length, cuts; } slots[SLOTS];
static u16 unused[SLOTS], unused_count;	/* slots, the one used last on top */
static struct desc (*const tables)[CUTS] = (void *)HEAP + 0x60000;
static u8 *const table = (void *)HEAP + 0x70000, *const buffers = (void *)HEAP + 0x80000;
static u64 card, packets, idle;
static u32 seed = 12345, features;
int by_interrupt;

static u32 random(u32 below)
{
	seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
	return seed % below;
}

static void fill_table(void)
{
	u32 value = 1;

	for (u32 i = 0; i < TABLE; i++) {
		value = value * 1103515245 + 12345;
		table[i] = value >> 16;
	}
}

static u8 *fill(u16 slot, u32 number)
{
	u8 *packet = buffers + slot * SLOT, *frame = packet + HEADER;
	u32 length = FIXED + random(MOST - FIXED + 1);

	memset(packet, 0, HEADER);
	memcpy(frame, "\2\0\0\0\0\1", 6);	/* to nobody */
	memcpy(frame + 6, &card, 6);
	memcpy(frame + 12, "\x88\xb5", 2);
	memcpy(frame + ETHER, &number, 4);
	memcpy(frame + ETHER + 4, &length, 4);
	memcpy(packet + FIXED, table + number * STEP % OFFSETS, length - FIXED);
	slots[slot].length = length;
	return packet;
}

/* Make a packet available, in one to CUTS buffers. */
static void send(u16 slot, u32 number)
{
	u64 at = (u64)fill(slot, number);
	u32 left = slots[slot].length, cuts = 1 + random(CUTS);
	int indirect = features & F_INDIRECT && random(2);
	volatile struct desc *desc = indirect ? tables[slot] : tx.desc + slot * CUTS;
	u16 first = indirect ? 0 : slot * CUTS;

	for (u32 i = 0; i < cuts; i++) {
		u32 length = i + 1 < cuts ? 1 + random(left - (cuts - i - 1)) : left;

		desc[i] = (struct desc){ at, length, i + 1 < cuts ? NEXT : 0, first + i + 1 };
		at += length;
		left -= length;
	}
	if (indirect)
		tx.desc[slot * CUTS] = (struct desc){ (u64)desc, cuts * sizeof(*desc), INDIRECT, 0 };
	tx.avail->ring[tx.avail->idx % QUEUE_SIZE] = slot * CUTS;
	barrier();
	tx.avail->idx++;
}

/* Ring, if the device asked for it (2.7.10). */
static void ring(u16 before)
{
	full_barrier();
	if (!tx.event || passed(tx.used->elem[QUEUE_SIZE].id, tx.avail->idx, before))
		queue_ring(&tx);
}

/* Take back what is used. */
static void reclaim(void)
{
	while (tx.last != tx.used->idx) {
		u32 id = tx.used->elem[tx.last++ % QUEUE_SIZE].id, slot = id / CUTS;

		if (id % CUTS || slot >= SLOTS || !slots[slot].length)
			fail("used id", id, SLOTS * CUTS);
		memset(buffers + slot * SLOT, 0xdd, slots[slot].length);
		slots[slot].length = 0;
		unused[unused_count++] = slot;
	}
}

/* Until at most `left` packets are in flight; asked for one interrupt, at the last of them. */
static void wait_until(u16 left)
{
	for (;;) {
		u16 wanted = tx.avail->idx - tx.last - left;

		if (tx.used->idx != tx.last) {
			reclaim();
			continue;
		}
		if ((short)wanted <= 0)
			return;
		if (!by_interrupt) {
			disk_step();
			continue;
		}
		tx.avail->ring[QUEUE_SIZE] = tx.last + wanted - 1;
		full_barrier();
		while ((u16)(tx.used->idx - tx.last) < wanted)
			wait_for_interrupt();
	}
}

static void stream(void)
{
	for (u64 number = 0; number < packets;) {
		u16 before = tx.avail->idx, burst = 1 + random(BURST);

		for (; burst && unused_count && number < packets; burst--)
			send(unused[--unused_count], number++);
		ring(before);
		if (!by_interrupt)
			disk_step();
		wait_until(random(3) ? random(SLOTS - BURST) : 0);
		for (u64 until = ticks() + idle; !random(32) && ticks() < until;)
			;
	}
	wait_until(0);
	disk_finish();
	print("stream: packets=");
	print_number(packets);
	print(" disk=");
	print_number(disk_requests);
	print("\n");
	end(0);
}

int run(void)
{
	struct device found[8], *device = NULL;
	int count = find_devices(found, 8);

	by_interrupt = option_is("wait", "interrupt");
	for (int i = 0; i < count; i++) {
		if (found[i].id == ID_NET)
			device = &found[i];
		else if (found[i].id == ID_BLK && !by_interrupt)
			disk_start(&found[i]);
	}
	if (!device)
		fail("network cards", 0, 1);
	packets = option("packets", 1000);
	idle = option("idle", 1 << 24);
	device_start(device, F_MAC | F_INDIRECT | F_EVENT);
	features = device->features;
	card = read32(device->config) | (u64)read32(device->config + 4) << 32;
	queue_start_raw(device, &tx, 1, (void *)HEAP + 0x10000);
	tx.avail->flags = !by_interrupt;
	device_ready(device);
	if (by_interrupt)
		interrupts_fast(device->base, device->pin);
	fill_table();
	for (u16 i = 0; i < SLOTS; i++)
		unused[unused_count++] = i;
	print("net: ready\n");
	if (!by_interrupt)
		enter_ring3(stream);
	stream();
	return 0;
}
