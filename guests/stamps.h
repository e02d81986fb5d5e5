/* How long each request of a pass took, in ticks, and how many took how long. */
#ifndef STAMPS_H
#define STAMPS_H

#include "guest.h"

enum { MOST_STAMPED = 4096 };	/* requests of one pass; also in vmm/bench/tail.py */

/* A reading of the TSC, its halves as RDTSC leaves them: putting them together would be in what is timed. */
struct stamp { u32 low, high; };
struct stamped { struct stamp begin, end; };
extern struct stamped stamped[MOST_STAMPED];

static inline struct stamp stamp(void)
{
	struct stamp now;

	__asm__ volatile("rdtsc" : "=a"(now.low), "=d"(now.high) :: "memory");
	return now;
}

void stamps_count(u32 count);	/* of a pass, the first so many; a guest may make several passes */
void stamps_report(void);	/* prints `stamps: requests=N BUCKET:COUNT...` of all that were counted */

#endif
