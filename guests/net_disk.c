/* The network guest's disk: see net.h. */
#include "net.h"

enum { F_FLUSH = 1 << 9, IN = 0, OUT = 1, FLUSH = 4 };
enum { DISK_DEPTH = 16, PIECE = 4096, PIECES = 2048 };
enum { WRITING, READING, FLUSHING, PHASES };
enum { HEADERS = HEAP + 0x30000, STATUSES = HEADERS + 0x1000 };

static struct queue disk;
static u64 rounds;
static u32 in_flight;
u64 disk_requests;

static u64 pattern(u64 round, u64 i, u64 k) { return (round * 31 + i) * 0x9e3779b97f4a7c15ull + k; }
static u64 *piece(u64 i) { return (u64 *)(DISK_DATA + i * PIECE); }
static volatile u8 *status(u64 i) { return (u8 *)STATUSES + i; }
static u64 pieces(void) { return rounds % PHASES == FLUSHING ? 1 : DISK_DEPTH; }

void disk_start(struct device *device)
{
	device_start(device, F_FLUSH | features_asked());
	queue_start(device, &disk, 0, (void *)DISK_RINGS);
	queue_quiet(&disk);
	device_ready(device);
}

static void submit(u64 i, u32 type)
{
	struct { u32 type, reserved; u64 sector; } *header = (void *)(HEADERS + 16 * i);
	u64 place = (rounds / PHASES * DISK_DEPTH + i) % PIECES;
	struct buffer parts[3] = { { (u64)header, 16, 0 }, { (u64)piece(i), PIECE, type == IN },
				   { (u64)status(i), 1, 1 } };

	header->type = type;
	header->sector = type == FLUSH ? 0 : place * (PIECE / SECTOR);
	*status(i) = 0xff;
	if (type == FLUSH)
		parts[1] = parts[2];
	queue_put(&disk, parts, type == FLUSH ? 2 : 3, i, NULL);
	disk_requests++;
	in_flight++;
}

static void ask(void)
{
	static const u32 types[PHASES] = { OUT, IN, FLUSH };
	u64 phase = rounds % PHASES;

	for (u64 i = 0; i < pieces(); i++) {
		for (u64 k = 0; phase != FLUSHING && k < PIECE / 8; k += 64)
			piece(i)[k] = phase == READING ? 0 : pattern(rounds / PHASES, i, k);
		submit(i, types[phase]);
	}
	queue_notify(&disk);
}

static void check(void)
{
	for (u64 i = 0; i < pieces(); i++) {
		if (*status(i))
			fail("disk status", *status(i), 0);
		for (u64 k = 0; rounds % PHASES == READING && k < PIECE / 8; k += 64)
			if (piece(i)[k] != pattern(rounds / PHASES, i, k))
				fail("disk data", piece(i)[k], pattern(rounds / PHASES, i, k));
	}
}

static int done(void)
{
	u32 i, length;

	while (in_flight && queue_take(&disk, &i, &length))
		in_flight--;
	return !in_flight;
}

void disk_step(void)
{
	if (!disk.device || !done())
		return;
	if (disk_requests)
		check(), rounds++;
	ask();
}

void disk_finish(void)
{
	while (disk.device && !done())
		;
	if (disk_requests)
		check();
}
