/* Adds pairs of numbers on the device at 0xd0000000 and checks each sum; one in eight overflows.
 * Entered in long mode; ends with the number of wrong answers. */
typedef unsigned int u32;

static volatile u32 *const operand = (u32 *)0xd0000000, *const add = operand + 1,
		    *const sum = operand + 2, *const carries = operand + 3;

static void end(u32 status)
{
	__asm__ volatile("outl %0, %w1" :: "a"(status), "d"(0x501));
}

void _start(void)
{
	u32 wrong = 0, expected = *carries;

	for (u32 i = 0; i < 800; i++) {
		u32 first = i % 8 ? i * 1000 : 0xffffff00 + i, second = 256;

		*operand = first;
		*add = second;
		expected += first + second < first;
		wrong += *sum != first + second;
	}
	end(wrong + (*carries != expected));
	for (;;)
		;
}
