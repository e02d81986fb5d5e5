/* A network card and a console, whose peers send back what they get, and an entropy device. */
#include "many.h"

enum { RECEIVE, TRANSMIT };
enum { HEADER = 12, FRAME = HEADER + 14 + 50, FRAMES = 8, CHUNK = 64, CHUNKS = 4, RANDOM = 64, RANDOMS = 4 };
enum { TYPE = 0xb588, STEP = 2048 };		/* 0x88b5: for experiments (IEEE 802) */

static u8 *data(struct worker *worker, u16 queue, u32 i)
{
	return area(worker, AREA_DATA + ((u64)queue * QUEUE_SIZE + i) * STEP);
}

static void put(struct worker *worker, u16 queue, u32 i, u32 bytes)
{
	struct buffer whole = { (u64)data(worker, queue, i), bytes, queue == RECEIVE };

	queue_put(&worker->queues[queue], &whole, 1, i, NULL);
}

/* The card: FRAMES frames under way, each with its number. */

static void send_frame(struct worker *worker, u32 i)
{
	u8 *frame = data(worker, TRANSMIT, i);

	memset(frame, 0, FRAME);
	memset(frame + HEADER, 0xff, 6);
	frame[HEADER + 6] = 2;
	*(u16 *)(frame + HEADER + 12) = TYPE;
	*(u64 *)(frame + HEADER + 14) = worker->sent++;
	put(worker, TRANSMIT, i, FRAME);
	worker->in_flight += 2;		/* it is sent, and comes back */
}

static void begin_card(struct worker *worker)
{
	for (u32 i = 0; i < 2 * FRAMES; i++)
		put(worker, RECEIVE, i, STEP);
	for (u32 i = 0; i < FRAMES; i++)
		send_frame(worker, i);
}

/* A frame is sent in place of each that has come back, from whichever buffer is free. */
static void used_by_card(struct worker *worker, struct queue *queue, u32 i, u32 length)
{
	static u32 free[WORKERS][FRAMES], frees[WORKERS], owed[WORKERS];
	u32 n = worker->number;

	worker->in_flight--;
	if (queue->index == RECEIVE) {
		u64 number = *(u64 *)(data(worker, RECEIVE, i) + HEADER + 14);

		if (length != FRAME || number != worker->received)
			fail("frame: length, number", (u64)length << 32 | number, (u64)FRAME << 32 | worker->received);
		worker->received++;
		put(worker, RECEIVE, i, STEP);
		owed[n] += more(worker->sent + owed[n], frames);
	} else {
		free[n][frees[n]++] = i;
	}
	for (; owed[n] && frees[n]; owed[n]--)
		send_frame(worker, free[n][--frees[n]]);
}

const struct kind card_kind = { "card", 2, 0, begin_card, used_by_card };

/* The console: a stream of bytes that count up. */

static void send_chunk(struct worker *worker, u32 i)
{
	u8 *chunk = data(worker, TRANSMIT, i);

	for (u32 k = 0; k < CHUNK; k++)
		chunk[k] = worker->sent++ % 251;
	put(worker, TRANSMIT, i, CHUNK);
	worker->in_flight += 1 + CHUNK;		/* a buffer, and bytes that come back */
}

static void begin_console(struct worker *worker)
{
	for (u32 i = 0; i < 2 * CHUNKS; i++)
		put(worker, RECEIVE, i, CHUNK);
	for (u32 i = 0; i < CHUNKS; i++)
		send_chunk(worker, i);
}

static void used_by_console(struct worker *worker, struct queue *queue, u32 i, u32 length)
{
	if (queue->index == TRANSMIT) {
		worker->in_flight--;
		if (more(worker->sent, bytes))
			send_chunk(worker, i);
		return;
	}
	if (!length || length > CHUNK || length > worker->in_flight)
		fail("bytes of a console", length, CHUNK);
	for (u32 k = 0; k < length; k++, worker->received++)
		if (data(worker, RECEIVE, i)[k] != worker->received % 251)
			fail("byte of a console", data(worker, RECEIVE, i)[k], worker->received % 251);
	worker->in_flight -= length;
	put(worker, RECEIVE, i, CHUNK);
}

const struct kind console_kind = { "console", 2, 0, begin_console, used_by_console };

/* The entropy device: bytes that are not all zero. */

static void ask_random(struct worker *worker, u32 i)
{
	memset(data(worker, RECEIVE, i), 0, RANDOM);
	put(worker, RECEIVE, i, RANDOM);
	worker->sent++;
	worker->in_flight++;
}

static void begin_rng(struct worker *worker)
{
	for (u32 i = 0; i < RANDOMS; i++)
		ask_random(worker, i);
}

static void used_by_rng(struct worker *worker, struct queue *queue, u32 i, u32 length)
{
	u64 seen = 0;

	(void)queue;
	worker->in_flight--;
	worker->received++;
	if (length != RANDOM)
		fail("random bytes", length, RANDOM);
	for (u32 k = 0; k < RANDOM / 8; k++)
		seen |= ((u64 *)data(worker, RECEIVE, i))[k];
	if (!seen)
		fail("random bytes that are not zero", seen, 1);
	if (more(worker->sent, frames))
		ask_random(worker, i);
}

const struct kind rng_kind = { "rng", 1, 0, begin_rng, used_by_rng };
