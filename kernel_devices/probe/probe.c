/* Probe: the least that a handler can do.  See vmm/devmodel/devices/probe.py.  It counts with atomics,
 * so that it needs no lock, and says so in its schema. */
#include "../ownership.h"
#include "probe.gen.h"

DEVICE_STATE(struct probe_state)
DEVICE_NO_SCRATCH

static __always_inline enum verdict probe_notify(struct device *device, const struct access *access,
					       __u32 *reason)
{
	struct probe_state *state = device_state(device);

	if (!state)
		return VERDICT_TO_USER;
	fetch_add(&state->control.entry.doorbells, 1);
	if (access->offset == PROBE_HANDLED)
		return VERDICT_HANDLED;
	*reason = PROBE_DECLINE_ASKED;
	count_decline(&state->control.entry, *reason);
	return VERDICT_TO_USER;
}

DEVICE_HANDLER(probe_notify, PROBE_LAYOUT_HASH)
