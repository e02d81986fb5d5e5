/* A register device's handler, put together from functions, one for each register that takes writes:
 *
 *	static __u32 add(struct adder *adder, __u32 summand)
 *	{
 *		...
 *		return DONE;
 *	}
 *
 *	DEVICE(ON(ADDER_ADD, add))
 *
 * Each is given the device and what was written.  It returns DONE, DONE_INTERRUPT, or the reason for which
 * it leaves the write to the Python half, and then has changed nothing.  It has the device to itself, unless
 * the schema says lock=False.  Every doorbell of the schema needs its ON: the compiler says so.
 */
#ifndef SPLITVMM_DEVICE_H
#define SPLITVMM_DEVICE_H

#include "ownership.h"

#ifndef HANDLER_CONTEXT
#error "include the device's generated header before device.h; wanted one of a device with takes=NOTIFY, and no queues"
#endif

/* What a function of the handler returns, if not a reason. */
enum {
	DONE = 0,			/* the write is done */
	DONE_INTERRUPT = 1 << 16,	/* done, and the device interrupts */
};

#if HANDLER_MEMORY_BYTES
DEVICE_MEMORY(HANDLER_MEMORY_BYTES)

/* `length` bytes of device memory at `offset`, at most CHUNK (256 KiB) of them; NULL if they are not all there.
 * If a device has several memories, their offsets go on from one to the next.  The header has where each starts, which
 * is not where a guest has it:
 *
 *	__u8 *pixel = memory_at(blitter->device, BLITTER_SCREEN + at, 4);
 */
static __always_inline void *memory_at(struct device *device, __u64 offset, __u32 length)
{
	__u8 *memory = device_memory(device);

	if (!memory || length > CHUNK || offset > HANDLER_MEMORY_BYTES || length > HANDLER_MEMORY_BYTES - offset)
		return NULL;
	/* again, right before its use: 6.1's verifier does not know it any more once it was kept on the stack */
	barrier_var(offset);
	return offset < HANDLER_MEMORY_BYTES ? memory + offset : NULL;
}
#endif

static __always_inline enum verdict device_did(struct device_control *control, __u32 result, __u32 *reason)
{
	struct entry *entry = &control->entry;

	if (result != DONE && result != DONE_INTERRUPT) {
		*reason = result;
		if (!HANDLER_LOCKED)
			count_decline(entry, result);	/* else run_handler() does */
		return VERDICT_TO_USER;
	}
	if (HANDLER_LOCKED)
		entry->handled++;
	else
		fetch_add(&entry->handled, 1);
	return result == DONE ? VERDICT_HANDLED : VERDICT_HANDLED_INTERRUPT;
}

/* Writes of a doorbell are `function`'s: ON(ADDER_ADD, add).  Of one of several, the device's struct says which:
 * `blitter->channel` is the index of the register file `channel`. */
#define ON(register, function)	case register: result = function(&self, value); break;

/* The handler, of an ON for each doorbell: DEVICE(ON(DMA_START, start) ON(DMA_STOP, stop)). */
#define DEVICE(cases)									\
	DEVICE_STATE(HANDLER_STATE)							\
	DEVICE_NO_SCRATCH								\
	static __always_inline enum verdict on_write(struct device *device, const struct access *access, __u32 *reason) \
	{										\
		HANDLER_CONTEXT self = { .device = device, .page = device_page(device), .state = device_state(device) }; \
		__u64 value = access->value;						\
		__u32 result = DECLINE_NOT_READY;					\
											\
		if (!self.page || !self.state)						\
			return VERDICT_TO_USER;						\
		fetch_add(&self.state->control.entry.doorbells, 1);			\
		switch ((HANDLER_DOORBELLS)handler_prepare(&self, access->offset, &value)) { cases } \
		return device_did(&self.state->control, result, reason);		\
	}										\
	DEVICE_HANDLER(on_write, HANDLER_HASH)

#endif
