/* Accesses of a device's registers, as the command line has them; addresses are guest-physical.
 *
 *   a=ADDRESS aw=BYTES av=N    a write; without av, a read
 *   b= ...                     the next one, and so on to h
 *   count=N          the whole list so often
 *   cpus=2           on a second vCPU too, at the same time
 *   pin=N            with interrupts from this pin of the I/O APIC, which have time to come after each access
 *   report=ADDRESS   64-bit: what each read found, and with pin= in the end how many interrupts came
 */
#include "guest.h"

enum { ACCESSES = 8, PATIENCE = 2000 };		/* more instructions than an emulating KVM looks away for */

static struct { u64 at, width, value, is_write; } list[ACCESSES];
static u64 count, report, pin;
static volatile u32 second_done;

static u64 read(u64 at, u64 width)
{
	switch (width) {
	case 1: return *(volatile u8 *)at;
	case 2: return *(volatile u16 *)at;
	case 4: return *(volatile u32 *)at;
	default: return *(volatile u64 *)at;
	}
}

static void write(u64 at, u64 width, u64 value)
{
	switch (width) {
	case 1: *(volatile u8 *)at = value; break;
	case 2: *(volatile u16 *)at = value; break;
	case 4: *(volatile u32 *)at = value; break;
	default: *(volatile u64 *)at = value;
	}
}

static void take_interrupts(void)
{
	__asm__ volatile("sti");
	for (volatile u32 i = 0; i < PATIENCE; i++)
		;
	__asm__ volatile("cli");
}

static void go_through(void)
{
	for (u64 n = 0; n < count; n++)
		for (int i = 0; i < ACCESSES && list[i].at; i++) {
			if (list[i].is_write)
				write(list[i].at, list[i].width, list[i].value);
			else
				write(report, 8, read(list[i].at, list[i].width));
			if (pin)
				take_interrupts();
		}
}

/* Called by the second vCPU, on a stack of its own. */
void ap_main(void)
{
	second_up = 1;
	go_through();
	second_done = 1;
	for (;;)
		__asm__ volatile("cli; hlt");
}

int run(void)
{
	for (int i = 0; i < ACCESSES; i++) {
		char at[] = { 'a' + i, 0 }, width[] = { 'a' + i, 'w', 0 }, value[] = { 'a' + i, 'v', 0 };

		list[i].at = option(at, 0);
		list[i].width = option(width, 4);
		list[i].value = option(value, 0);
		list[i].is_write = option(value, 0) == option(value, 1);	/* it is there */
	}
	count = option("count", 1);
	report = option("report", 0);
	pin = option("pin", 0);
	if (pin) {
		interrupts_fast(list[0].at & ~0xfffull, pin);
	}
	if (option("cpus", 1) == 2)
		start_second();
	go_through();
	while (option("cpus", 1) == 2 && !second_done)
		;
	if (pin)
		write(report, 8, interrupts_taken);
	return 0;
}
