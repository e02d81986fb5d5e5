/* The native dispatcher: the vCPU loop asks it about every write that leaves KVM_RUN. */
#include "exit_path.h"

enum { SLOTS = 1024 };	/* a power of two, well above PAGES times a device's routed registers */

typedef int (*notify_fn)(struct device *, const struct access *, __u32 *reason);

struct entry_point {
	struct route_key key;
	struct route route;
	void *page;
	notify_fn notify;
	struct device *device;
	__s32 gsi;
	__u32 used;
};

struct exit_path {
	struct entry_point slot[SLOTS];
};

static struct entry_point *find(struct exit_path *path, const struct route_key *key)
{
	__u32 at = (key->address >> 2) * 31 + key->bus * 7 + key->address + key->width;

	for (__u32 i = 0; i < SLOTS; i++) {
		struct entry_point *entry = &path->slot[(at + i) & (SLOTS - 1)];

		if (!entry->used)
			return entry;
		if (entry->key.address == key->address && entry->key.bus == key->bus &&
		    entry->key.width == key->width)
			return entry;
	}
	return NULL;
}

struct exit_path *exit_path_new(void)
{
	return calloc(1, sizeof(struct exit_path));
}

void exit_path_free(struct exit_path *path)
{
	free(path);
}

/* Add a route, or change one.  0, or -1 if the table is full. */
int exit_path_add(struct exit_path *path, const struct route_key *key, const struct route *route,
		  void *page, void *notify, struct device *device, __s32 gsi)
{
	struct entry_point *entry = find(path, key);

	if (!entry)
		return -1;
	*entry = (struct entry_point){ *key, *route, page, (notify_fn)notify, device, gsi, 1 };
	return 0;
}

/* Take a route out; its place in the table stays, as the table is probed past it. */
void exit_path_remove(struct exit_path *path, const struct route_key *key)
{
	struct entry_point *entry = find(path, key);

	if (entry && entry->used)
		entry->route.action = 0;
}

/* A write: a Verdict, and the interrupt to raise if that is HANDLED_INTERRUPT. */
int exit_path_write(struct exit_path *path, __u32 bus, __u64 address, __u32 width, __u64 value,
		    __s32 *gsi)
{
	struct route_key key = { .address = address, .bus = bus, .width = width };
	struct entry_point *entry = find(path, &key);
	struct access access;
	__u32 reason;

	if (!entry || !entry->used)
		return VERDICT_TO_USER;
	if (entry->route.action == ACTION_IGNORE)
		return VERDICT_HANDLED;
	if (entry->route.action == ACTION_NOTIFY) {
		if (!entry->notify)
			return VERDICT_TO_USER;	/* a device without a handler */
		access = (struct access){ .value = value, .device = entry->route.device,
					  .offset = entry->route.offset, .width = width };
		*gsi = entry->gsi;
		return entry->notify(entry->device, &access, &reason);
	}
	return entry->page && posted_write(entry->page, &entry->route, width, value) ?
	       VERDICT_HANDLED : VERDICT_TO_USER;
}
