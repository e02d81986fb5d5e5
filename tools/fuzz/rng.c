/* virtio-rng: a queue that is served at once. */
#include "host.h"
#include "rng/rng.c"
#define HAS_RINGS 0
#define STATE struct rng_state
#include "run.h"

static void device_set_up(const struct setup_record *setup)
{
	state->pool.taken = setup->device % (RNG_POOL_BYTES + 1);
}

static void device_change(const struct record *record)
{
	state->pool.taken = record->a % (RNG_POOL_BYTES + 1);
}

static int device_request(int queue, const struct record *record, struct part *part)
{
	static const __u32 lengths[] = { 64, 1, RNG_MOST_BYTES, RNG_MOST_BYTES + 1, 4096, 33000 };

	(void)queue;
	return spread(part, record->a & 0x80 ? 33 : 1 + (record->a >> 3 & 3), DATA + record->b % 0x8000, lengths[(record->a & 7) % 6],
		      !(record->a & 0x40));
}

/* It fills the pool. */
static void device_served(int queue)
{
	(void)queue;
	state->pool.taken = 0;
}

#include "apart.h"

static void device_check_entry(const struct sqe *sqe, __u64 bytes)
{
	fail("I/O of %llu bytes, opcode %u; wanted none", bytes, sqe->opcode);
}

static unsigned long long image_bytes(void)
{
	return 0;
}

static int image_may_change(void)
{
	return 0;
}

static int run_collector(int eventfd, int vm_fd, __u32 *upcalls, __u32 *interrupts)
{
	(void)eventfd, (void)vm_fd, (void)upcalls, (void)interrupts;
	return 0;
}
