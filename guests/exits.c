/* Times accesses: goes through a list of register writes (and one read) a number of times.
 *
 *   count=N  loops=N  write0=ADDRESS .. write4=ADDRESS  read=ADDRESS
 */
#include "guest.h"

/* How long so many rounds take, in ticks. */
static u64 loop(u32 left, volatile u32 **at, int writes, volatile u32 *from)
{
	u64 begin = ticks();

	if (from)
		while (left--)
			(void)*from;
	else if (writes == 1)
		while (left--)
			*at[0] = 1;
	else if (writes == 5)
		for (; left; left--)	/* so that the last round, which writes 1 to 5, is no other */
			*at[0] = left, *at[1] = 2, *at[2] = 3, *at[3] = 4, *at[4] = 5;
	return ticks() - begin;
}

static void report(u32 count, u64 took)
{
	print("exits: count=");
	print_number(count);
	print(" ticks=");
	print_number(took);
	print("\n");
}

int run(void)
{
	static const char *const names[] = { "write0", "write1", "write2", "write3", "write4" };
	u32 count = option("count", 1000), loops = option("loops", 1);
	volatile u32 *at[5];
	int writes = 0;

	while (writes < 5 && option(names[writes], 0))
		at[writes] = (volatile u32 *)option(names[writes], 0), writes++;
	while (loops--)
		report(count, loop(count, at, writes, (volatile u32 *)option("read", 0)));
	return 0;
}
