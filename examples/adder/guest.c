/* Adds 800 pairs of numbers, one in eight of which overflows, and checks each sum; its status is 0 if all are right. */
#include "guest.h"
#include "adder.gen.h"

int run(void)
{
	volatile struct adder_page *adder = (void *)option("adder.base", 0xd0000000);
	u32 carries = adder->carries;

	for (u32 i = 0; i < 800; i++) {
		u32 first = i % 8 ? i * 1000 : 0xffffff00 + i, second = 256, sum = first + second;

		adder->operand = first;
		adder->add = second;
		carries += sum < first;
		if (adder->sum != sum)
			fail("sum", adder->sum, sum);
	}
	if (adder->carries != carries)
		fail("carries", adder->carries, carries);
	print("adder: 800 sums are right\n");
	return 0;
}
