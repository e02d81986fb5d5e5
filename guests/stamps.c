#include "stamps.h"

/* Buckets as of a histogram of floating point numbers: each power of two in STEPS of one width, so that none is wider
 * than one in STEPS of what is in it.  vmm/bench/tail.py has the way back. */
enum { STEP_BITS = 6, STEPS = 1 << STEP_BITS, BUCKETS = (64 - STEP_BITS + 1) * STEPS };

struct stamped stamped[MOST_STAMPED];
static u32 buckets[BUCKETS];
static u64 counted;

static u32 bucket(u64 ticks)
{
	u32 shift;

	if (ticks < STEPS)
		return ticks;
	shift = 63 - __builtin_clzll(ticks) - STEP_BITS;
	return shift * STEPS + (ticks >> shift);
}

static u64 joined(struct stamp at)
{
	return at.low | (u64)at.high << 32;
}

void stamps_count(u32 count)
{
	for (u32 i = 0; i < count; i++)
		buckets[bucket(joined(stamped[i].end) - joined(stamped[i].begin))]++;
	counted += count;
}

void stamps_report(void)
{
	print("stamps: requests=");
	print_number(counted);
	for (u32 i = 0; i < BUCKETS; i++) {
		if (!buckets[i])
			continue;
		print(" ");
		print_number(i);
		print(":");
		print_number(buckets[i]);
	}
	print("\n");
}
