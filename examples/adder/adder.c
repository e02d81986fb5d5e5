/* Adder on the exit path: adds what fits 32 bits, declines the rest.  See adder.py. */
#include "adder.gen.h"
#include "device.h"

static __u32 add(struct adder *adder, __u32 summand)
{
	__u32 sum = adder->latched.operand + summand;

	if (sum < summand)
		return ADDER_DECLINE_OVERFLOW;
	WRITE_ONCE(adder->page->sum, sum);
	return DONE;
}

DEVICE(ON(ADDER_ADD, add))
