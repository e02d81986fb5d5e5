/* probe: a device of registers, as its schema has it (lock=False), and as a handler that has the device to itself. */
#include "input.h"
#include "probe/probe.gen.h"
static int alone;
#undef HANDLER_LOCKED
#define HANDLER_LOCKED	alone
#include "probe/probe.c"
#include <sanitizer/asan_interface.h>

/* of a record's `queue`: who has the device when the guest writes */
enum { USER_HOLDS = 1, LOCKED = 2, TAKEN_INSIDE = 4, LET_GO = 8, ALONE = 16 };

static struct probe_state *state;
static struct device *device;
static const struct record *current;
static __u32 looks;	/* of the handler, at what another CPU may change */

static void host_check_transfer(const struct iovec *list, int count, off_t offset, int write)
{
	(void)write;
	fail("I/O of %d buffers at %lld, from %p", count, (long long)offset, (void *)list);
}

static void host_enter(int queue, unsigned int submitted, int wake)
{
	fail("io_uring_enter: ring %d, %u entries, %d", queue, submitted, wake);
}

/* Whoever has the lock lets go of it after a while; userspace takes the device. */
static void other_cpu(void)
{
	if (looks++ != current->a % 160)
		return;
	if (current->queue & LET_GO)
		state->control.entry.rings = 0;
	if (current->queue & TAKEN_INSIDE)
		*(__u32 *)&state->control.ownership.holder = SIDE_USER;
}

static void write_register(const struct record *record)
{
	struct entry *entry = &state->control.entry, before;
	struct access access = { .value = record->b, .offset = record->kind % 4 * 4, .width = 4 };
	int locked = record->queue & LOCKED, held = record->queue & USER_HOLDS;
	enum verdict verdict;
	__u32 reason = 0;

	alone = !!(record->queue & ALONE);
	*(__u32 *)&state->control.ownership.holder = held ? SIDE_USER : SIDE_KERNEL;
	entry->rings = entry->active = !!locked;
	before = *entry;
	current = record;
	looks = 0;
	verdict = device_notify(device, &access, &reason);
	say("%#x = %#x: flags %#x, after %u looks -> verdict %d, reason %u\n", access.offset, record->b, record->queue,
	    record->a % 160, verdict, reason);
	require(entry->active == before.active, "%u handlers inside; wanted %u", entry->active, before.active);
	require(entry->rings == 0 || locked, "the device is locked");
	require((verdict == VERDICT_HANDLED) == (entry->handled > before.handled), "verdict %d; handled %llu, before %llu",
		verdict, entry->handled, before.handled);
	require((verdict == VERDICT_TO_USER) == (entry->declined[reason % 24] > before.declined[reason % 24]),
		"verdict %d; reason %u was not counted, or was", verdict, reason);
	if (!alone)
		return;
	require(!held || (verdict == VERDICT_TO_USER && reason == DECLINE_HELD_BY_USER), "it ran while userspace had the device");
	require(!locked || record->queue & LET_GO || verdict == VERDICT_TO_USER, "it ran while another had the lock");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const struct memory_layout memory;
	struct record record;

	if (!state) {
		state = calloc(1, sizeof(*state));
		device = device_new(state, calloc(1, PAGE_BYTES), NULL, NULL, NULL, 0, 0, -1, NULL, &memory, NULL, 0);
		host.said = !!getenv("FUZZ_SAY");
	}
	memset(state, 0, sizeof(*state));
	for (; bytes >= sizeof(record); data += sizeof(record), bytes -= sizeof(record)) {
		memcpy(&record, data, sizeof(record));
		write_register(&record);
	}
	return 0;
}
