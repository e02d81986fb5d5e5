/* Generated from vmm/devmodel/devices/console.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_CONSOLE_GEN_H
#define SPLITVMM_CONSOLE_GEN_H

#include <linux/types.h>
#include "../virtqueue.gen.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum {
	CONSOLE_RECEIVE = 0x0,
	CONSOLE_TRANSMIT = 0x1,
};

/* Device configuration (VIRTIO 1.2, 5.3.4). */
struct console_config {
	__le16 cols;	/* 0x000 of the terminal [characters] */
	__le16 rows;	/* 0x002 of the terminal [characters] */
	__le32 max_nr_ports;	/* 0x004 of several ports, not offered */
	__le32 emerg_wr;	/* 0x008 a character to be written at once */
};
_Static_assert(__builtin_offsetof(struct console_config, cols) == 0x0, "console_config.cols");
_Static_assert(__builtin_offsetof(struct console_config, rows) == 0x2, "console_config.rows");
_Static_assert(__builtin_offsetof(struct console_config, max_nr_ports) == 0x4, "console_config.max_nr_ports");
_Static_assert(__builtin_offsetof(struct console_config, emerg_wr) == 0x8, "console_config.emerg_wr");
_Static_assert(sizeof(struct console_config) == 0xc, "console_config");

#define CONSOLE_ID 3
#define CONSOLE_VERSION 1
#define CONSOLE_LAYOUT_HASH 0x25adafec531ba96dull
#define CONSOLE_QUEUES 2

#define HANDLER_LOCKED 0	/* it has the device to itself */
#define HANDLER_RAISES 0	/* HANDLED_INTERRUPT raises the device's line */

enum console_decline {
	CONSOLE_DECLINE_HELD_BY_USER = 1,	/* userspace holds the queue */
	CONSOLE_DECLINE_NOT_READY = 2,	/* the queue is not set up */
	CONSOLE_DECLINE_MALFORMED = 3,	/* a chain breaks a rule of the specification */
	CONSOLE_DECLINE_OUTSIDE_RAM = 4,	/* an address is outside guest memory */
	CONSOLE_DECLINE_STRADDLES = 5,	/* a buffer spans two memory elements */
	CONSOLE_DECLINE_BUSY = 6,	/* other vCPUs kept the queue filled, or the device locked */
	CONSOLE_DECLINE_BUDGET = 7,	/* it asked for more than one exit may take, of bytes or of time */
	CONSOLE_DECLINE_RING_ASLEEP = 8,	/* submitted, but the thread that polls the ring sleeps */
	CONSOLE_DECLINE_IO_FAILED = 9,	/* asynchronous I/O came back with an error or short */
	CONSOLE_DECLINE_NO_RING = 10,	/* it takes real I/O, and there is no ring to do it through */
	CONSOLE_DECLINE_ENDED = 11,	/* the input has ended */
	CONSOLE_DECLINE_FRAMING = 12,	/* buffers cut in a way that the handler leaves to userspace */
};

/* The input. */
struct console_stream {
	__u32 ended;	/* 0x000 1 once it has */
	__u32 reserved;	/* 0x004 to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct console_stream, ended) == 0x0, "console_stream.ended");
_Static_assert(__builtin_offsetof(struct console_stream, reserved) == 0x4, "console_stream.reserved");
_Static_assert(sizeof(struct console_stream) == 0x8, "console_stream");

/* shared state of Console */
struct console_state {
	struct device_control control;	/* 0x000 who holds the device, and counters */
	struct console_stream stream;	/* 0x1c0 The input. */
	__u8 reserved_1c8[56];	/* 0x1c8 to the next field's place */
	struct virtqueue queue[2];	/* 0x200 virtqueues, in order of declaration */
};
_Static_assert(__builtin_offsetof(struct console_state, control) == 0x0, "console_state.control");
_Static_assert(__builtin_offsetof(struct console_state, stream) == 0x1c0, "console_state.stream");
_Static_assert(__builtin_offsetof(struct console_state, reserved_1c8) == 0x1c8, "console_state.reserved_1c8");
_Static_assert(__builtin_offsetof(struct console_state, queue) == 0x200, "console_state.queue");
_Static_assert(sizeof(struct console_state) == 0x680, "console_state");

#endif /* SPLITVMM_CONSOLE_GEN_H */
