/* A disk: `depth` slots, each a place of the disk of its own, which it writes, reads back and reads
 * (or flushes) again, one request at a time.  Slots start at different steps, so that reads and writes
 * are always mixed. */
#include "many.h"

enum { F_FLUSH = 1 << 9, IN = 0, OUT = 1, FLUSH = 4 };
enum { PIECE = 4096, PARTS = 3, CHECKED = 64 };		/* every so many 8 bytes are looked at */

struct slot {
	struct { u32 type, reserved; u64 sector; } header;
	u64 step, written;	/* `written`: the step whose pattern is there, 0 if none is */
	volatile u8 status;
};

static struct slot *slot_of(struct worker *worker, u32 i)
{
	return (struct slot *)area(worker, AREA_HEADERS) + i;
}

static u64 *data_of(struct worker *worker, u32 i)
{
	return (u64 *)area(worker, AREA_DATA + (u64)i * PIECE);
}

static u64 pattern(u64 step, u32 i, u32 k)
{
	return (step * QUEUE_SIZE + i) * 0x9e3779b97f4a7c15ull + k;
}

static u32 type_at(u32 i, u64 step)
{
	return step % 3 == 0 ? OUT : step % 3 == 2 && i % 16 == 1 ? FLUSH : IN;
}

static void submit(struct worker *worker, u32 i)
{
	struct slot *slot = slot_of(worker, i);
	struct desc *table = (struct desc *)area(worker, AREA_TABLES) + PARTS * i;
	u32 type = type_at(i, slot->step);
	struct buffer parts[PARTS] = { { (u64)&slot->header, 16, 0 }, { (u64)data_of(worker, i), PIECE, type == IN },
				       { (u64)&slot->status, 1, 1 } };

	slot->header.type = type;
	slot->header.sector = type == FLUSH ? 0 : (u64)i * (PIECE / SECTOR);
	slot->status = 0xff;
	if (type == OUT)
		slot->written = slot->step + 1;
	for (u32 k = 0; type != FLUSH && k < PIECE / 8; k += CHECKED)
		data_of(worker, i)[k] = type == OUT ? pattern(slot->written, i, k) : 0;
	if (type == FLUSH)
		parts[1] = parts[2];
	queue_put(&worker->queues[0], parts, type == FLUSH ? 2 : 3, i, worker->device->features & F_INDIRECT ? table : NULL);
	worker->sent++;
	worker->in_flight++;
}

static void check(struct worker *worker, u32 i, u32 length)
{
	struct slot *slot = slot_of(worker, i);
	u32 type = slot->header.type;

	if (slot->status)
		fail("disk status", slot->status, 0);
	if (length != (type == IN ? PIECE + 1 : 1))
		fail("bytes written", length, type == IN ? PIECE + 1 : 1);
	for (u32 k = 0; type == IN && slot->written && k < PIECE / 8; k += CHECKED)
		if (data_of(worker, i)[k] != pattern(slot->written, i, k))
			fail("disk data", data_of(worker, i)[k], pattern(slot->written, i, k));
}

static void used(struct worker *worker, struct queue *queue, u32 i, u32 length)
{
	struct slot *slot = slot_of(worker, i);

	(void)queue;
	worker->in_flight--;
	worker->received++;
	check(worker, i, length);
	if (more(++slot->step, steps))
		submit(worker, i);
}

static void begin(struct worker *worker)
{
	if (depth * (PIECE / SECTOR) > read32(worker->device->config))
		fail("sectors", read32(worker->device->config), depth * (PIECE / SECTOR));
	for (u32 i = 0; i < depth; i++) {
		slot_of(worker, i)->step = i % 2 ? 2 : 0;
		slot_of(worker, i)->written = 0;
		submit(worker, i);
	}
}

const struct kind disk_kind = { "disk", 1, F_FLUSH | F_INDIRECT, begin, used };
