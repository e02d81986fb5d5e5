/* One input: a fresh device, a setup, steps. */
#ifndef SPLITVMM_FUZZ_RUN_H
#define SPLITVMM_FUZZ_RUN_H

#include "steps.h"

static void make_world(void)
{
	state = block(sizeof(*state));
	world.page = block(PAGE_BYTES);
	world.urings = block((size_t)LIVE_QUEUES * URING_STRIDE);
	for (int q = 0; q < LIVE_QUEUES; q++) {
		ASAN_POISON_MEMORY_REGION(ring_of(q) + 1, URING_STRIDE - sizeof(struct uring));
		world.pending[q] = block(PENDING * sizeof(struct pending));
		world.chain[q] = block((MOST_TAKEN + SIZES) * sizeof(struct chain_read));
	}
	world.ram = (__u8 *)block(RED_ZONE + LARGE_RAM_BYTES + RED_ZONE) + RED_ZONE;
	world.before = block(LARGE_RAM_BYTES);
	world.marks = block(LARGE_RAM_BYTES);
	ASAN_POISON_MEMORY_REGION(world.ram - RED_ZONE, RED_ZONE);
}

static void set_up(const struct setup_record *setup)
{
	static const __s32 lines[3] = { 5, ~EVENT_FD };
	__u64 bytes = setup->memory & LARGE_RAM ? LARGE_RAM_BYTES : RAM_BYTES;

	ASAN_UNPOISON_MEMORY_REGION(world.ram, LARGE_RAM_BYTES);
	memset(world.ram, 0, bytes);
	ASAN_POISON_MEMORY_REGION(world.ram + bytes, LARGE_RAM_BYTES - bytes + RED_ZONE);
	world.layout = (struct memory_layout){ bytes, setup->memory & HOLE ? LOW_BYTES : bytes, HIGH,
					       setup->memory & TWO_ELEMENTS ? ELEMENT_BYTES : bytes };
	world.inside = world.changed = 0;
	world.meanwhile = NULL;
	host = (struct host){ .now_ns = 1000000000, .ns_per_look = 100, .said = host.said };
	memset((void *)state, 0, sizeof(*state));
	memset(world.page, 0, PAGE_BYTES);
	world.device = device_new((void *)state, world.page, NULL, world.ram, world.urings,
				  HAS_RINGS ? LIVE_QUEUES : 0, 0, -1, NULL, &world.layout, lines, LIVE_QUEUES);
	for (int q = 0; q < LIVE_QUEUES; q++) {
		if (HAS_RINGS)
			memset((void *)ring_of(q), 0, offsetof(struct uring, iovecs));
		start_queue(q, setup->ring, setup->size, setup->places, setup->memory & CAUSE);
	}
	device_set_up(setup);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct setup_record setup = {};
	struct record record[MOST_STEPS];
	size_t steps;

	if (!state) {
		make_world();
		host.said = !!getenv("FUZZ_SAY");
	}
	memcpy(&setup, data, bytes < sizeof(setup) ? bytes : sizeof(setup));
	set_up(&setup);
	say("setup: ring %#x size %u memory %#x places %#x device %#x, %#x\n", setup.ring, setup.size, setup.memory, setup.places,
	    setup.device, setup.more);
	steps = bytes < sizeof(setup) ? 0 : (bytes - sizeof(setup)) / sizeof(record[0]);
	if (steps > MOST_STEPS)
		steps = MOST_STEPS;
	if (steps)
		memcpy(record, data + sizeof(setup), steps * sizeof(record[0]));
	for (size_t i = 0; i < steps; i++) {
		if (record[i].kind % KINDS == STEP_MEANWHILE && i + 1 < steps) {
			say("%3zu MEANWHILE, after %u accesses%s\n", i, record[i].a % 256,
			    record[i].queue & 0x80 ? ", and again" : "");
			world.countdown = record[i].a % 256;
			world.again = record[i].queue & 0x80 ? world.countdown + 1 : 0;
			world.meanwhile = &record[++i];
			continue;
		}
		say("%3zu", i);
		step(&record[i]);
	}
	device_free(world.device);
	return 0;
}

#endif
