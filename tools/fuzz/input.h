/* What an input says: records of 8 bytes each.  The first two are the setup, each other is one step.  Every byte
 * pattern is an input, and a record means the same wherever it stands. */
#ifndef SPLITVMM_FUZZ_INPUT_H
#define SPLITVMM_FUZZ_INPUT_H

#include "host.h"

#define STEPS(step)										\
	step(REQUEST,	"the driver makes a request of the device's available")			\
	step(DESCRIPTOR, "the driver writes one descriptor, and makes its chain available at its end")	\
	step(STORE,	"the guest stores a value in its memory")				\
	step(AVAIL,	"the driver moves what it has made available")				\
	step(DOORBELL,	"a vCPU rings")								\
	step(COMPLETE,	"io_uring completes a request")						\
	step(COLLECT,	"the collector runs")							\
	step(SERVE,	"userspace takes the queue, serves it, gives it back")			\
	step(TAKE,	"userspace takes the queue, or gives it back")				\
	step(RESET,	"the driver resets, and sets the queue up anew")			\
	step(DEVICE,	"userspace changes the device")						\
	step(HOST,	"the host changes")							\
	step(BUSY,	"a vCPU rings while another is in the handler")				\
	step(MEANWHILE,	"the next step comes while a handler runs")				\
	step(WISH,	"the driver says what it wants interrupts for")

#define AS_NAME(name, what)	STEP_##name,
enum kind { STEPS(AS_NAME) KINDS };
#undef AS_NAME

struct record {
	__u8 kind;
	__u8 queue;	/* and, above it, flags */
	__u16 a;
	__u32 b;
};
_Static_assert(sizeof(struct record) == 8, "record");

/* How the queues are set up; more than that a RESET says. */
struct setup_record {
	__u8 ring;	/* PACKED and so on */
	__u8 size;
	__u8 memory;	/* LARGE_RAM and so on */
	__u8 places;	/* where the rings lie */
	__u32 device;	/* the device's own */
	__u32 more;
	__u32 reserved;
};
_Static_assert(sizeof(struct setup_record) == 2 * sizeof(struct record), "setup_record");

/* of `ring` */
enum { PACKED = 1, EVENT_INDEX = 2, INDIRECT = 4, POLLED = 8, RAISES = 16, LAZY = 32, NO_RING = 64, WRAPS = 128 };
/* of `memory` */
enum { LARGE_RAM = 1, HOLE = 2, TWO_ELEMENTS = 4, CAUSE = 8 };

enum { MOST_STEPS = 128 };

static const char *const step_names[] = {
#define AS_TEXT(name, what)	#name,
	STEPS(AS_TEXT)
#undef AS_TEXT
};

#endif
