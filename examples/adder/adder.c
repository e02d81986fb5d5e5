/* Adder on the exit path: adds what fits 32 bits, declines the rest.  See adder.py. */
#include "ownership.h"
#include "adder.gen.h"

DEVICE_STATE(struct adder_state)
DEVICE_NO_SCRATCH

static __always_inline enum verdict add(struct adder_page *page, struct entry *entry, __u32 summand,
					__u32 *reason)
{
	__u32 operand = READ_ONCE(page->operand);

	if (operand + summand < operand) {
		*reason = ADDER_DECLINE_OVERFLOW;
		return VERDICT_TO_USER;
	}
	WRITE_ONCE(page->sum, operand + summand);
	fetch_add(&entry->handled, 1);
	return VERDICT_HANDLED;
}

static __always_inline enum verdict adder_notify(struct device *device, const struct access *access,
						 __u32 *reason)
{
	struct adder_state *state = device_state(device);
	struct adder_page *page = device_page(device);
	enum verdict verdict = VERDICT_TO_USER;
	__u32 generation;

	if (!state || !page)
		return VERDICT_TO_USER;
	*reason = ADDER_DECLINE_HELD_BY_USER;
	if (enter(&state->control.ownership, &state->control.entry, &generation)) {
		verdict = add(page, &state->control.entry, access->value, reason);
		leave(&state->control.entry);
	}
	if (verdict == VERDICT_TO_USER)
		count_decline(&state->control.entry, *reason);
	return verdict;
}

DEVICE_HANDLER(adder_notify, ADDER_LAYOUT_HASH)
