/* Powers off when its power button is pressed; with `ignore=1` it only says so.  Listens as a driver of
 * the button does: by having the interrupt unmasked that the DSDT gives for it. */
#include "guest.h"

enum { POWER_PIN = 3, SLEEP_CONTROL = 0x680, SLEEP_ENABLE = 1 << 5, TYPE_OFF = 5 << 2 };

int run(void)
{
	u32 seen = 0;

	interrupts_fast(HEAP, POWER_PIN);
	print("listening\n");
	for (;;) {
		wait_for_interrupt();
		if (interrupts_taken == seen)
			continue;
		seen = interrupts_taken;
		print("pressed\n");
		if (!option("ignore", 0))
			out8(SLEEP_CONTROL, SLEEP_ENABLE | TYPE_OFF);
	}
}
