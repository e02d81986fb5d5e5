/* A driver that does what it is told.  The VMM writes an access into the mailbox and raises an interrupt; the guest
 * does it, and says so by a write to a port.  It counts the interrupts that it takes.
 *
 * The mailbox is the page below the guest (guest.ld), which lies where no memory of the machine's is.
 */
#include "guest.h"

enum { MAILBOX = 0x40000000, DONE = 0x510 };
enum { PINS = 24, LINES = VECTORS - 1 };	/* a line is a pin of the I/O APIC, or a message, with a vector for each */
enum { NOTHING, READ, WRITE, IN, OUT };
enum { BELL_VECTOR = FIRST_VECTOR, LINE_VECTOR };	/* the lowest: interrupts of before it are taken before it */

static volatile struct {
	u64 lines;			/* bit n: line n interrupts */
	u64 bell;			/* the pin that says there is something to do */
	u64 what, width, address, value;
	u64 taken[LINES];		/* interrupts */
} *const mailbox = (void *)MAILBOX;

static volatile u32 told;

static void on_bell(void *argument)
{
	told = 1;
}

static void on_line(void *argument)
{
	++*(volatile u64 *)argument;
}

static u64 read(u64 at, u64 width)
{
	switch (width) {
	case 1: return read8(at);
	case 2: return read16(at);
	case 4: return read32(at);
	default: return *(volatile u64 *)at;
	}
}

static void write(u64 at, u64 width, u64 value)
{
	switch (width) {
	case 1: write8(at, value); break;
	case 2: write16(at, value); break;
	case 4: write32(at, value); break;
	default: *(volatile u64 *)at = value;
	}
}

static u32 in(u16 port, u64 width)
{
	u32 value = 0;

	switch (width) {
	case 1: __asm__ volatile("inb %1, %b0" : "+a"(value) : "Nd"(port)); break;
	case 2: __asm__ volatile("inw %1, %w0" : "+a"(value) : "Nd"(port)); break;
	default: value = in32(port);
	}
	return value;
}

static void out(u16 port, u64 width, u32 value)
{
	switch (width) {
	case 1: out8(port, value); break;
	case 2: __asm__ volatile("outw %w0, %1" :: "a"(value), "Nd"(port)); break;
	default: out32(port, value);
	}
}

static void access(void)
{
	switch (mailbox->what) {
	case READ: mailbox->value = read(mailbox->address, mailbox->width); break;
	case WRITE: write(mailbox->address, mailbox->width, mailbox->value); break;
	case IN: mailbox->value = in(mailbox->address, mailbox->width); break;
	case OUT: out(mailbox->address, mailbox->width, mailbox->value);
	}
}

int run(void)
{
	for (u32 line = 0; line < LINES; line++) {
		if (!(mailbox->lines >> line & 1))
			continue;
		interrupt_handle(LINE_VECTOR + line, on_line, (void *)&mailbox->taken[line]);
		if (line < PINS)
			ioapic_route(line, LINE_VECTOR + line, 0);
	}
	interrupt_handle(BELL_VECTOR, on_bell, NULL);
	ioapic_route(mailbox->bell, BELL_VECTOR, 0);
	for (;;) {
		out8(DONE, 0);
		while (!told)
			wait_for_interrupt();
		told = 0;
		access();
	}
}
