/* Two vCPUs that break every rule of a disk's queue at once: the second writes over descriptors, indices, flags and
 * request headers all the while; the first rings, moves the rings, resets the device, and aims its interrupts anywhere.
 * All that the device may write lies in one area; around it nothing may change.  Now and then the second stands still,
 * the device is reset, and must do a plain request.
 *
 *   rounds=N  seed=N
 *   wild=N    of 1000 descriptors so many name no buffer that there is: such a request ends it until the next reset
 */
#include "virtio.h"

enum { AREA_BYTES = 0x400000, MOST_BYTES = 0x10000, SENTINEL = 0x5a, GUARD_BYTES = 0x1000, PLAIN_EVERY = 8 };
enum { HEADERS = 0x10000, TABLES = 0x20000, RINGS = 0x200000, PLACES = 8, BUFFERS = 0x300000 };
enum { STEPS = 64, CHAINS = 16, HEADER_COUNT = 32, IN = 0, OUT = 1, SPAN = 64 };
enum { MESSAGES = 0xfee00000, ENTRY_BYTES = 16, ENTRY_DATA = 8, ENTRY_CONTROL = 12 };	/* MSI-X */
enum { COLLECT = 0xfeefe000, COLLECT_OWNER = 16, COLLECT_VECTOR = 0x20 };	/* vmm/devmodel/exit_path.py */

struct header { u32 type, reserved; u64 sector; };

static struct device device;
static struct queue queue;
static u64 seed, sectors, ram;
static u32 wild;
static u8 *const before = (u8 *)HEAP, *const area = (u8 *)HEAP + GUARD_BYTES,
	  *const behind = (u8 *)HEAP + GUARD_BYTES + AREA_BYTES;
static volatile u32 hold, held, stop, stopped;
static volatile struct queue *volatile target;	/* what the second vCPU writes over */

static u32 chance(u64 *state, u32 below)
{
	*state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
	return (*state >> 16) % below;
}

static int is_wild(u64 *state) { return chance(state, 1000) < wild; }

static u64 place(u64 *state)
{
	const u64 nowhere[] = { ram - chance(state, 2), ~0ull - chance(state, 1 << 20), device.base, 0xfee00000 };

	if (is_wild(state))
		return nowhere[chance(state, 4)];
	switch (chance(state, 32)) {
	case 0:		/* the device writes over its own rings, */
		return (u64)area + RINGS + chance(state, PLACES * QUEUE_BYTES);
	case 1:		/* or over requests */
		return (u64)area + HEADERS + chance(state, RINGS - HEADERS);
	case 2:
		return (u64)area + BUFFERS + chance(state, 4096);
	default:
		return (u64)area + BUFFERS + chance(state, SPAN) * SECTOR;
	}
}

static u32 length(u64 *state)
{
	if (is_wild(state))
		return chance(state, 2) ? 0 : ~0u - chance(state, 1 << 16);
	return chance(state, 128) ? SECTOR << chance(state, 4) : 1 + chance(state, MOST_BYTES);
}

/* Even ones are mostly reads, odd ones mostly writes, and each goes on where the one before it begins. */
static void scribble_header(u64 *state, u32 i)
{
	static const u8 others[] = { OUT, IN, 4, 8, 11, 13, 99, 255 };
	volatile struct header *header = (void *)(area + HEADERS + 16 * i);
	u64 sector = i * 2;

	header->type = chance(state, 32) ? i % 2 : others[chance(state, sizeof(others))];
	if (!chance(state, 32))
		sector = sectors - chance(state, SPAN);
	else if (is_wild(state))
		sector = ~0ull - chance(state, SPAN);
	header->sector = sector;
}

static volatile struct desc *table_at(u32 i) { return (void *)(area + TABLES + i * 4096); }

static u64 header_at(u64 *state, int write)
{
	return (u64)area + HEADERS + 16 * (chance(state, HEADER_COUNT / 2) * 2 + write);
}

/* A request of a table's entries, right more often than not. */
static void write_table(u64 *state, volatile struct desc *table, u32 entries, u32 first)
{
	int write = chance(state, 2);

	for (u32 i = 0; i < entries; i++) {
		u64 addr = i ? place(state) : header_at(state, write);
		u32 len = !i ? 16 : i + 1 == entries ? 1 : length(state);
		u16 flags = i + 1 == entries ? WRITE : !i || write ? NEXT : NEXT | WRITE;

		if (is_wild(state))
			flags = chance(state, 8);
		table[i] = (struct desc){ addr, len, flags, first + i + 1 };
	}
}

static void write_chain(u64 *state, volatile struct desc *desc, u32 at)
{
	u32 table = chance(state, CHAINS), entries = 3 + chance(state, 4) * chance(state, 16);

	if (chance(state, 4)) {
		write_table(state, &desc[at], 3, at);
		return;
	}
	write_table(state, table_at(table), entries, 0);
	desc[at] = (struct desc){ (u64)table_at(table), 16 * entries - is_wild(state), INDIRECT, 0 };
}

static u32 some_chain(u64 *state) { return chance(state, CHAINS) * 4; }

static void scribble(u64 *state)
{
	volatile struct queue *of = target;
	volatile u16 *word;

	if (!of)
		return;
	switch (chance(state, 16)) {
	case 0:
		of->avail->idx += is_wild(state) ? chance(state, 1 << 16) : chance(state, 64);
		break;
	case 1:
		of->avail->flags = chance(state, 4);
		break;
	case 2:
		of->used->flags = chance(state, 2);
		of->used->idx = chance(state, 1 << 16);
		break;
	case 3:		/* event indices of both sides */
		word = chance(state, 2) ? &of->avail->ring[QUEUE_SIZE] : (volatile u16 *)&of->used->elem[QUEUE_SIZE];
		*word = of->avail->idx + chance(state, 16) - 8;
		break;
	case 4:
		of->avail->ring[chance(state, QUEUE_SIZE)] = some_chain(state) + is_wild(state) * chance(state, QUEUE_SIZE);
		break;
	case 5:		/* of a packed ring: a descriptor's flags */
		if (of->ring == &packed_ring && is_wild(state))
			of->slots[chance(state, QUEUE_SIZE)].flags = chance(state, 1 << 16);
		break;
	case 6:
	case 7:
	case 8:
		scribble_header(state, chance(state, HEADER_COUNT));
		break;
	case 9:
		write32(of->bell, chance(state, 64) ? 0 : chance(state, 4));
		break;
	default:
		if (of->ring == &packed_ring)
			write_table(state, table_at(chance(state, CHAINS)), 8, 0);
		else
			write_chain(state, of->desc, some_chain(state));
	}
}

/* Called by the second vCPU, on a stack of its own. */
void ap_main(void)
{
	u64 state = seed * 77 + 5;

	second_up = 1;
	while (!stop) {
		held = hold;
		if (!held)
			scribble(&state);
	}
	stopped = 1;
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* A vector of PCI: masked, and aimed at a CPU that is there or not, or at where the device's own messages go. */
static void aim(u64 *state)
{
	u64 entry = device.vectors + chance(state, 2) * ENTRY_BYTES;
	u32 collect = (1 + chance(state, 4)) << COLLECT_OWNER | (COLLECT_VECTOR + chance(state, 4));

	if (device.transport != &virtio_pci)
		return;
	write32(entry + ENTRY_CONTROL, chance(state, 2));
	if (chance(state, 2)) {
		write32(entry, COLLECT | chance(state, 2) * chance(state, 4096));
		write32(entry + ENTRY_DATA, chance(state, 2) ? collect : chance(state, ~0u));
	} else {
		write32(entry + ENTRY_DATA, FIRST_VECTOR + chance(state, VECTORS));	/* first: others may be an NMI */
		write32(entry, MESSAGES);
	}
	write32(entry + ENTRY_CONTROL, chance(state, 2));
}

static void start(u64 features, u32 at)
{
	target = NULL;
	hold = 1;
	while (!held)
		;
	device_start(&device, features);
	queue_start_raw(&device, &queue, 0, area + RINGS + at * QUEUE_BYTES);
}

static u64 some_features(u64 *state)
{
	u64 packed = device.transport->offered(&device) & F_PACKED && chance(state, 2) ? F_PACKED : 0;

	return packed | F_INDIRECT | (chance(state, 2) ? F_EVENT : 0);
}

/* Makes some of the requests available that lie there; of a packed ring, new ones. */
static void offer(u64 *state)
{
	u32 count = 1 + chance(state, 8);

	if (!(device.features & F_PACKED)) {
		for (u32 i = 0; i < count; i++)
			queue.avail->ring[(queue.avail->idx + i) % QUEUE_SIZE] = some_chain(state);
		barrier();
		queue.avail->idx += count;
		return;
	}
	for (u32 i = 0; i < count; i++) {
		u32 table = chance(state, CHAINS), entries = 3 + chance(state, 4) * chance(state, 16);
		u16 flags = INDIRECT | (queue.next_wrap ? 1 << 7 : 1 << 15);

		write_table(state, table_at(table), entries, 0);
		queue.slots[queue.next].addr = (u64)table_at(table);
		queue.slots[queue.next].len = 16 * entries;
		queue.slots[queue.next].id = queue.next;
		barrier();
		queue.slots[queue.next].flags = flags;
		if (++queue.next == queue.size)
			queue.next = 0, queue.next_wrap = !queue.next_wrap;
	}
}

static void attack(u64 *state)
{
	u32 steps = chance(state, STEPS);

	start(some_features(state), chance(state, PLACES));
	for (u32 i = 0; i < HEADER_COUNT; i++)
		scribble_header(state, i);
	for (u32 i = 0; !(device.features & F_PACKED) && i < 4 * CHAINS; i += 4)
		write_chain(state, queue.desc, i);
	device.transport->route(&device, 0, FIRST_VECTOR, 0);
	device_ready(&device);
	target = &queue;
	hold = !chance(state, 4);
	for (u32 i = 0; i < steps; i++) {
		offer(state);
		for (u32 k = chance(state, 4); k; k--)
			queue_ring(&queue);
		if (!chance(state, 16))
			aim(state);
		if (is_wild(state))	/* another place, without a reset */
			device.transport->start(&device, 0, QUEUE_SIZE, (u64)area + RINGS, (u64)area + RINGS + 4096,
						(u64)area + RINGS + 8192);
	}
}

static void check_guards(void)
{
	for (u32 i = 0; i < GUARD_BYTES; i++)
		if (before[i] != SENTINEL || behind[i] != SENTINEL)
			fail("guard", i, SENTINEL);
}

/* One sector, written or read, waited for by polling. */
static void plain_request(u32 type, u64 sector, volatile u64 *data)
{
	volatile struct header *header = (void *)(area + HEADERS);
	volatile u8 *status = area + HEADERS + 64;
	struct buffer parts[3] = { { (u64)header, 16, 0 }, { (u64)data, SECTOR, type == IN }, { (u64)status, 1, 1 } };
	u32 token, bytes;

	*header = (struct header){ type, 0, sector };
	*status = 0xff;
	queue_put(&queue, parts, 3, 0, NULL);
	queue_notify(&queue);
	for (u64 patience = 1ull << 28; !queue_take(&queue, &token, &bytes); patience--)
		if (!patience)
			fail("plain request", type, sector);
	if (*status)
		fail("its status", *status, 0);
}

static void behave(u64 *state, u32 round)
{
	volatile u64 *data = (void *)(area + BUFFERS);

	start(some_features(state), 0);
	device_ready(&device);
	*data = round * 0x9e3779b97f4a7c15ull;
	plain_request(OUT, sectors / 2, data);
	*data = 0;
	plain_request(IN, sectors / 2, data);
	if (*data != round * 0x9e3779b97f4a7c15ull)
		fail("plain data", *data, round);
	check_guards();
}

static void attacks(void)
{
	u64 state = seed;
	u32 rounds = option("rounds", 64);

	for (u32 i = 0; i < rounds; i++) {
		attack(&state);
		if (i % PLAIN_EVERY == PLAIN_EVERY - 1)
			behave(&state, i);
	}
	behave(&state, rounds);
	stop = 1;
	while (!stopped)
		;
	print("adversary: passed\n");
	end(0);
}

int run(void)
{
	ram = option("ram", 64 << 20);
	wild = option("wild", 1);
	seed = option("seed", 1) * 88172645463325253ull;
	if (!find_devices(&device, 1))
		fail("disks", 0, 1);
	sectors = read32(device.config) | (u64)read32(device.config + 4) << 32;
	memset(before, SENTINEL, GUARD_BYTES);
	memset(behind, SENTINEL, GUARD_BYTES);
	hold = 1;
	start_second();
	enter_ring3(attacks);
}
