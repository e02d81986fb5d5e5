/* virtio-console: two streams, one read and one write at a time. */
#include "host.h"
#include "console/console.c"
#define HAS_RINGS 1
#define STATE struct console_state
#include "run.h"

static void device_set_up(const struct setup_record *setup)
{
	state->stream.ended = setup->device & 1;
}

static void device_change(const struct record *record)
{
	state->stream.ended = record->a & 1;
}

static int device_request(int queue, const struct record *record, struct part *part)
{
	return spread(part, record->a & 0x80 ? 32 + (record->a >> 6 & 1) : 1 + (record->a >> 3 & 3), DATA + record->b % 0x8000,
		      1 + (record->b >> 16 & 0xff), (queue == CONSOLE_RECEIVE) ^ ((record->a & 7) == 7));
}

static void device_served(int queue)
{
	(void)queue;
}

/* Input is read when there is some, and by whoever may. */
static int device_may_wait(int queue)
{
	return queue == CONSOLE_RECEIVE;
}

static int tag_of_no_chain(const struct tag *tag)
{
	(void)tag;
	return 0;
}

static void device_check_entry(const struct sqe *sqe, __u64 bytes)
{
	require(sqe->off == ~0ull && bytes && bytes < 1ull << 32, "%llu bytes at %llu of a stream", bytes, sqe->off);
}

#include "stream.h"
