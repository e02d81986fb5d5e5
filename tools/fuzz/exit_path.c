/* The native dispatcher: routes that come and go, against a plain list of them, and writes. */
#include "input.h"
#include <pthread.h>
#include <exit_path.c>

enum { MOST_ROUTES = 64 };
enum operation { ADD, REMOVE, WRITE, FILL, OPERATIONS };

struct listed {
	struct route_key key;
	struct route route;
	__s32 line;
	int has_page, has_handler;
};

static struct exit_path *path;
static struct listed list[MOST_ROUTES];
static int count;
static __u8 *page;
static __u32 written;		/* by the handler: which it was asked */

static void host_check_transfer(const struct iovec *buffers, int parts, off_t offset, int write)
{
	(void)write;
	fail("I/O of %d buffers at %lld, from %p", parts, (long long)offset, (void *)buffers);
}

static void host_enter(int queue, unsigned int submitted, int wake)
{
	fail("io_uring_enter: ring %d, %u entries, %d", queue, submitted, wake);
}

static void other_cpu(void)
{
}

/* A device's handler, as the dispatcher calls it. */
static int notified(struct device *device, const struct access *access, __u32 *reason)
{
	require(!device && access->value >> 32 == 0, "a device, or a value, that nobody gave");
	written = access->offset;
	*reason = 1;
	return access->value % 3;
}

/* Few keys, many of which begin at one place of the table. */
static struct route_key key_of(const struct record *record)
{
	static const __u8 widths[] = { 4, 2, 1, 8 };

	return (struct route_key){ .address = 0xd0000000 + (__u64)(record->a & 7) * 4 + (__u64)(record->a >> 3 & 3) * (SLOTS << 12),
				   .bus = record->a >> 5 & 1, .width = widths[record->a >> 6 & 3] };
}

static struct listed *listed(const struct route_key *key)
{
	for (int i = 0; i < count; i++)
		if (!memcmp(&list[i].key, key, sizeof(*key)))
			return &list[i];
	return NULL;
}

static void add(const struct record *record)
{
	const struct listed new = { key_of(record), { .device = 1, .action = record->b % 7, .offset = record->b >> 3,
				    .target = record->b >> 16, .interrupts = record->b >> 28 & 1 }, record->queue,
				    !(record->queue & 1), !(record->queue & 2) };
	struct listed *old = listed(&new.key);

	if (!old && count == MOST_ROUTES)
		return;
	require(!exit_path_add(path, &new.key, &new.route, new.has_page ? page : NULL, new.has_handler ? notified : NULL, NULL,
			       new.line), "no room for route %d", count);
	*(old ? old : &list[count++]) = new;
}

static void take_out(const struct route_key *key)
{
	struct listed *old = listed(key);

	exit_path_remove(path, key);
	if (old)
		*old = list[--count];
}

/* What a store into the page may change lies in the register; all of it is a device's page. */
static void write_value(const struct record *record)
{
	const struct route_key key = key_of(record);
	const struct listed *of = listed(&key);
	__s32 line = -1;
	int verdict = exit_path_write(path, key.bus, key.address, key.width, record->b, &line);

	say(" -> verdict %d\n", verdict);
	if (!of) {
		require(verdict == VERDICT_TO_USER, "verdict %d of a write that has no route", verdict);
		return;
	}
	require(of->route.action == ACTION_IGNORE || line == of->line, "line %d; wanted %d", line, of->line);
	if (of->route.action == ACTION_NOTIFY && of->has_handler)
		require(written == of->route.offset, "the handler of register %#x ran; wanted %#x", written, of->route.offset);
	if (of->route.action == ACTION_NOTIFY ? !of->has_handler : !of->has_page && of->route.action != ACTION_IGNORE)
		require(verdict == VERDICT_TO_USER, "verdict %d of a write that nobody takes", verdict);
}

/* More routes than there is room for. */
static void fill(void)
{
	struct route_key key = { .address = 0, .bus = BUS_PORT, .width = 1 };
	static const struct route route;
	int added = count;

	while (!exit_path_add(path, &key, &route, NULL, NULL, NULL, 0)) {
		key.address += 4;
		added++;
	}
	require(added == SLOTS, "%d routes in a table of %d", added, SLOTS);
	require(exit_path_write(path, BUS_MMIO, ~0ull, 4, 0, &(__s32){ 0 }) == VERDICT_TO_USER, "a route that nobody added");
	exit_path_free(path);
	path = exit_path_new(NULL);
	count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const char *const names[] = { "ADD", "REMOVE", "WRITE", "FILL" };
	struct record record;

	if (!path) {
		path = exit_path_new(NULL);
		page = calloc(1, PAGE_BYTES);
		host.said = !!getenv("FUZZ_SAY");
	}
	memset(page, 0, PAGE_BYTES);
	for (int i = 0; bytes >= sizeof(record) && i < MOST_STEPS; i++, data += sizeof(record), bytes -= sizeof(record)) {
		memcpy(&record, data, sizeof(record));
		say("%3d %-8s key %#x  value %#x\n", i, names[record.kind % OPERATIONS], record.a & 0xff, record.b);
		switch ((enum operation)(record.kind % OPERATIONS)) {
		case ADD: add(&record); break;
		case REMOVE: take_out(&(struct route_key){ key_of(&record).address, key_of(&record).bus, key_of(&record).width }); break;
		case WRITE: write_value(&record); break;
		case FILL: if (record.a == 0xffff && bytes < 2 * sizeof(record)) fill(); break;
		case OPERATIONS: break;
		}
	}
	while (count)
		take_out(&(const struct route_key){ list[0].key.address, list[0].key.bus, list[0].key.width });
	return 0;
}
