/* The kernel half of chime.py. */
#include "chime.gen.h"
#include "device.h"

static __u32 take(struct chime *chime, __u64 value)
{
	WRITE_ONCE(chime->page->shown, value);
	return DONE;
}

static __u32 leave_it(struct chime *chime, __u64 value)
{
	return CHIME_DECLINE_ASKED;
}

static __u32 take_port(struct chime *chime, __u32 value)
{
	return DONE;
}

static __u32 sound(struct chime *chime, __u32 value)
{
	trace(chime->device, "loud %u", value);
	return DONE_INTERRUPT;
}

DEVICE(ON(CHIME_TAKEN, take) ON(CHIME_LEFT, leave_it) ON(CHIME_LAST, leave_it) ON(CHIME_PORT, take_port)
       ON(CHIME_LOUD, sound))
