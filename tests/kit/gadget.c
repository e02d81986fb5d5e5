/* The kernel half of gadget.py. */
#include "gadget.gen.h"
#include "device.h"

static __u32 paint(struct gadget *gadget)
{
	__u32 length = gadget->latched.y;
	__u8 *at;

	if (length > 64)
		return GADGET_DECLINE_TOO_MUCH;
	if (gadget->latched.x > GADGET_CANVAS_BYTES - 64)
		return GADGET_DECLINE_ODD;
	at = memory_at(gadget->device, GADGET_CANVAS + gadget->latched.x, length);
	if (!at)
		return GADGET_DECLINE_ODD;
	for (__u32 i = 0; i < 64 && i < length; i++) {
		__u32 place = i;

		barrier_var(place);	/* or the mask goes, whose point is that 6.1's verifier sees it */
		WRITE_ONCE(at[place & 63], 0xaa);	/* or the compiler makes a memset of it, which BPF has not */
	}
	gadget->state->kept.paints++;
	return DONE;
}

static __u32 command(struct gadget *gadget, __u32 value)
{
	trace(gadget->device, "command %u, %llu", value, 1ull << 40);
	trace(gadget->device, "no numbers");
	switch ((enum gadget_command)value) {
	case GADGET_COMMAND_SUM:
		if (bits_of(gadget->page->control, GADGET_CONTROL_MODE) == GADGET_MODE_SLOW)
			return GADGET_DECLINE_ODD;
		WRITE_ONCE(gadget->page->result, gadget->latched.x + gadget->latched.y);
		return DONE;
	case GADGET_COMMAND_PAINT:
		return paint(gadget);
	case GADGET_COMMAND_RAISE:
		return DONE_INTERRUPT;
	}
	return GADGET_DECLINE_UNKNOWN;
}

static __u32 wide(struct gadget *gadget, __u64 value)
{
	WRITE_ONCE(gadget->page->seen, value);
	return DONE;
}

static __u32 bell(struct gadget *gadget, __u32 value)
{
	WRITE_ONCE(gadget->page->last_bell, value << 8 | gadget->bells);
	return DONE;
}

static __u32 channel_tail(struct gadget *gadget, __u16 value)
{
	struct gadget_channel_ring *ring = &gadget->page->channel[gadget->channel].ring[gadget->channel_ring];

	if (value == 13)
		return GADGET_DECLINE_ODD;
	WRITE_ONCE(ring->sum, READ_ONCE(ring->head) + value);
	return DONE;
}

static __u32 port_tail(struct gadget *gadget, __u16 value)
{
	struct gadget_port *port = registers_at(gadget->device, GADGET_PORT + gadget->port * GADGET_PORT_STRIDE, struct gadget_port);

	if (!port)
		return GADGET_DECLINE_ODD;
	WRITE_ONCE(port->sum, READ_ONCE(port->head) + value);
	return DONE;
}

DEVICE(ON(GADGET_COMMAND, command) ON(GADGET_WIDE, wide) ON(GADGET_BELLS, bell)
       ON(GADGET_CHANNEL_RING_TAIL, channel_tail) ON(GADGET_PORT_TAIL, port_tail))
