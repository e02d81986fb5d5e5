/* The native dispatcher: the vCPU loop asks it about every write that leaves KVM_RUN. */
#include "exit_path.h"
#include <pthread.h>

enum { SLOTS = 2 * ROUTES };	/* a power of two, and never nearly full */

typedef int (*notify_fn)(struct device *, const struct access *, __u32 *reason);

struct entry_point {
	struct route_key key;
	struct route route;
	void *page;
	notify_fn notify;
	struct device *device;
	__s32 line;		/* interrupt to raise: a GSI to pulse, or ~eventfd */
	__u32 used;
};

typedef int (*assist_fn)(struct device *, const struct declined *, __s32 *line);

/* A device that the kernel half has, and its native build, which is offered what that declines. */
struct assistant {
	assist_fn assist;
	struct device *device;
};

/* Routes change while vCPUs run: a guest may move a PCI device's registers. */
struct exit_path {
	pthread_rwlock_t lock;
	struct assistant assistant[DEVICES];
	struct event_ring *events;	/* NULL if nobody records */
	struct entry_point slot[SLOTS];
};

static __u32 bucket_of(const struct route_key *key)
{
	return ((key->address >> 12) * 31 + (key->address >> 2) * 7 + key->bus * 5 + key->width) & (SLOTS - 1);
}

/* The entry with this key, or the free one where it would be; NULL if the table is full. */
static struct entry_point *find(struct exit_path *path, const struct route_key *key)
{
	for (__u32 i = 0, at = bucket_of(key); i < SLOTS; i++, at = (at + 1) & (SLOTS - 1)) {
		struct entry_point *entry = &path->slot[at];

		if (!entry->used || (entry->key.address == key->address && entry->key.bus == key->bus &&
				     entry->key.width == key->width))
			return entry;
	}
	return NULL;
}

struct exit_path *exit_path_new(void *events)
{
	struct exit_path *path = calloc(1, sizeof(*path));

	if (path) {
		pthread_rwlock_init(&path->lock, NULL);
		path->events = events;
	}
	return path;
}

void exit_path_free(struct exit_path *path)
{
	pthread_rwlock_destroy(&path->lock);
	free(path);
}

/* Add a route, or change one.  0, or -1 if the table is full. */
int exit_path_add(struct exit_path *path, const struct route_key *key, const struct route *route,
		  void *page, void *notify, struct device *device, __s32 line)
{
	struct entry_point *entry;

	pthread_rwlock_wrlock(&path->lock);
	entry = find(path, key);
	if (entry)
		*entry = (struct entry_point){ *key, *route, page, (notify_fn)notify, device, line, 1 };
	pthread_rwlock_unlock(&path->lock);
	return entry ? 0 : -1;
}

/* Take a route out, and move up what was put further on because its place was taken. */
void exit_path_remove(struct exit_path *path, const struct route_key *key)
{
	struct entry_point *entry, moved;
	__u32 at;

	pthread_rwlock_wrlock(&path->lock);
	entry = find(path, key);
	if (entry && entry->used) {
		entry->used = 0;
		for (at = (entry - path->slot + 1) & (SLOTS - 1); path->slot[at].used; at = (at + 1) & (SLOTS - 1)) {
			moved = path->slot[at];
			path->slot[at].used = 0;
			*find(path, &moved.key) = moved;
		}
	}
	pthread_rwlock_unlock(&path->lock);
}

/* Have a device's native build offered what its kernel half declines; NULL: no longer.  No vCPU runs. */
void exit_path_assist_by(struct exit_path *path, __u32 slot, void *assist, struct device *device)
{
	if (slot < DEVICES)
		path->assistant[slot] = (struct assistant){ (assist_fn)assist, device };
}

/* A write that the kernel half declined: a Verdict, and the line to raise if it interrupts.  A doorbell alone can be
 * done here: of a device without queues both builds decline the same.  What has no reason only follows a decline. */
int exit_path_assist(struct exit_path *path, const struct declined *declined, __s32 *line)
{
	const struct access *access = &declined->access;
	const struct assistant *assistant = &path->assistant[access->device & (DEVICES - 1)];
	enum verdict verdict;

	if (access->device >= DEVICES || !declined->reason || !assistant->assist)
		return VERDICT_TO_USER;
	verdict = assistant->assist(assistant->device, declined, line);
	if (interrupts(verdict))
		record_access(path->events, EVENT_KIND_INTERRUPT, access, 0);
	return verdict;
}

/* The next of a vCPU's declines; outbox.ring is what KVM's loop knows of it. */
int exit_path_assist_next(struct exit_path *path, const struct declined *ring, __u32 next, __s32 *line)
{
	return exit_path_assist(path, &ring[next & (DECLINES - 1)], line);
}

static int lookup(struct exit_path *path, const struct route_key *key, struct entry_point *found)
{
	struct entry_point *entry;

	pthread_rwlock_rdlock(&path->lock);
	entry = find(path, key);
	if (entry)
		*found = *entry;
	pthread_rwlock_unlock(&path->lock);
	return entry && found->used;
}

/* A routed write: a Verdict, and why it is TO_USER. */
static enum verdict write_routed(const struct entry_point *entry, const struct access *access, __u32 *reason)
{
	enum verdict verdict;

	if (entry->route.action != ACTION_NOTIFY)
		verdict = entry->page && posted_write(entry->page, &entry->route, access->width, access->value) ?
			  VERDICT_HANDLED : VERDICT_TO_USER;
	else if (entry->notify)
		verdict = entry->notify(entry->device, access, reason);
	else
		return VERDICT_TO_USER;	/* a device without a handler */
	return verdict == VERDICT_HANDLED && entry->route.interrupts ? VERDICT_HANDLED_INTERRUPT : verdict;
}

/* A write: a Verdict, and the line to raise if that is HANDLED_INTERRUPT. */
int exit_path_write(struct exit_path *path, __u32 bus, __u64 address, __u32 width, __u64 value,
		    __s32 *line)
{
	struct route_key key = { .address = address, .bus = bus, .width = width };
	struct entry_point entry;
	struct access access;
	enum verdict verdict;
	__u32 reason = 0;

	if (!lookup(path, &key, &entry))
		return VERDICT_TO_USER;
	if (entry.route.action == ACTION_IGNORE)
		return VERDICT_HANDLED;
	*line = entry.line;
	access = (struct access){ .value = value, .device = entry.route.device, .offset = entry.route.offset,
				  .width = width };
	record_access(path->events, EVENT_KIND_WRITE, &access, 0);
	verdict = write_routed(&entry, &access, &reason);
	if (goes_up(verdict))
		record_access(path->events, EVENT_KIND_DECLINE, &access, reason);
	if (interrupts(verdict))
		record_access(path->events, EVENT_KIND_INTERRUPT, &access, 0);
	return verdict;
}
