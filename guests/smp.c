/* Starts the second CPU before anything else is done to the first one's APIC: firmware has left it
 * switched on, and a kernel may rely on that (Intel SDM volume 3, 8.4). */
#include "guest.h"

enum { APIC_ICR = 0xfee00300, TRAMPOLINE = 0xb000 };
enum { INIT = 0x4500, STARTUP = 0x4600 };	/* asserted, edge */

extern char ap_begin[], ap_end[];

/* Called by the second CPU, on a stack of its own. */
void ap_main(void)
{
	second_up = 1;
	for (;;)
		__asm__ volatile("cli; hlt");
}

int run(void)
{
	u64 began = ticks(), patience = option("patience", 1ull << 33);

	memcpy((void *)TRAMPOLINE, ap_begin, ap_end - ap_begin);
	write32(APIC_ICR + 0x10, 1 << 24);
	write32(APIC_ICR, INIT);
	write32(APIC_ICR, STARTUP | TRAMPOLINE >> 12);
	while (!second_up)
		if (ticks() - began > patience)
			fail("second CPU", 0, 1);
	print("smp: passed\n");
	return 0;
}
