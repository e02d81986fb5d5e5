/* The handler of the example written out, without device.h: what the mistakes are put into. */
#include "ownership.h"
#include "adder.gen.h"

DEVICE_STATE(struct adder_state)
DEVICE_NO_SCRATCH

static __always_inline enum verdict adder_notify(struct device *device, const struct access *access,
						 __u32 *reason)
{
	struct adder_state *state = device_state(device);
	struct adder_page *page = device_page(device);
	__u32 operand, summand = access->value;

	if (!state || !page)
		return VERDICT_TO_USER;
	operand = READ_ONCE(page->operand);
	if (operand + summand < operand) {
		*reason = ADDER_DECLINE_OVERFLOW;
		return VERDICT_TO_USER;
	}
	WRITE_ONCE(page->sum, operand + summand);
	state->control.entry.handled++;
	return VERDICT_HANDLED;
}

DEVICE_HANDLER(adder_notify, ADDER_LAYOUT_HASH)
