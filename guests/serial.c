/* Sends on the serial port: a pattern of `bytes=N` letters, byte I of it being letter I % 23.
 *
 *   how=plain      one after the other
 *   how=polled     each when the line status says that there is room
 *   how=string     by instructions of 4,096 bytes
 *   how=interrupt  up to a FIFO's worth for each interrupt of the transmitter
 *   how=both       as plain, while the second vCPU sends as many of capital letters
 *   how=chaos      both vCPUs access all registers at once, `bytes` times, in every width and by string
 *                  instructions, with its interrupts let in; then the port is set up again, and says "passed"
 *   then=crash     it ends by a triple fault, else with status 0
 *   then=stay      it never ends
 */
#include "guest.h"

enum { COM1 = 0x3f8, IER = COM1 + 1, IIR = COM1 + 2, LSR = COM1 + 5 };
enum { IER_EMPTY = 2, IIR_EMPTY = 2, IIR_CAUSE = 0xf, LSR_EMPTY = 0x20, FIFO_BYTES = 16 };
enum { SERIAL_PIN = 4, SERIAL_VECTOR = FIRST_VECTOR, STRING = 4096, LETTERS = 23 };

static u64 bytes, sent;
static volatile u32 second_done;

static inline u8 in8(u16 port) { u8 value; __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port)); return value; }

static void plain(u8 first)
{
	for (u64 i = 0; i < bytes; i++)
		out8(COM1, first + i % LETTERS);
}

static void polled(void)
{
	for (u64 i = 0; i < bytes; i++) {
		while (!(in8(LSR) & LSR_EMPTY))
			;
		out8(COM1, 'a' + i % LETTERS);
	}
}

static void string(void)
{
	u8 *text = (u8 *)HEAP;

	for (u64 at = 0; at < bytes; at += STRING) {
		const u8 *from = text;
		u64 count = bytes - at < STRING ? bytes - at : STRING;

		for (u64 i = 0; i < count; i++)
			text[i] = 'a' + (at + i) % LETTERS;
		__asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(COM1) : "memory");
	}
}

static void on_serial(void *argument)
{
	(void)argument;
	if ((in8(IIR) & IIR_CAUSE) != IIR_EMPTY)
		return;
	for (int i = 0; i < FIFO_BYTES && sent < bytes; i++, sent++)
		out8(COM1, 'a' + sent % LETTERS);
}

static void by_interrupt(void)
{
	interrupt_handle(SERIAL_VECTOR, on_serial, NULL);
	ioapic_route(SERIAL_PIN, SERIAL_VECTOR, 0);
	out8(IER, IER_EMPTY);
	while (sent < bytes)
		wait_for_interrupt();
}

/* Any register, or next to them, in any way. */
static void access_any(u64 *state)
{
	u8 *data = (u8 *)HEAP + 0x10000;
	u64 count, value;
	u16 port;

	*state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
	value = *state >> 24;
	port = COM1 - 1 + (*state >> 8) % 10;
	count = 1 + (*state >> 12) % 64;
	switch (*state >> 20 & 15) {
	case 0:
		__asm__ volatile("outw %w0, %w1" :: "a"(value), "d"(port));
		break;
	case 1:
		out32(port, value);
		break;
	case 2:
		__asm__ volatile("inw %w1, %w0" : "=a"(value) : "d"(port));
		break;
	case 3:
		in32(port);
		break;
	case 4:
		__asm__ volatile("rep outsb" : "+S"(data), "+c"(count) : "d"(port) : "memory");
		break;
	case 5:
		__asm__ volatile("rep insb" : "+D"(data), "+c"(count) : "d"(port) : "memory");
		break;
	case 6:
		__asm__ volatile("rep outsw" : "+S"(data), "+c"(count) : "d"(port) : "memory");
		break;
	case 7:		/* FIFOs emptied and switched */
		out8(COM1 + 2, value);
		break;
	case 8:		/* the loop-back */
		out8(COM1 + 4, value & 0x10);
		break;
	case 9:
	case 10:
	case 11:
		in8(port);
		break;
	default:
		out8(port, value);
	}
}

static void access_much(u64 seed)
{
	for (u64 i = 0; i < bytes; i++)
		access_any(&seed);
}

/* Called by the second vCPU, on a stack of its own. */
void ap_main(void)
{
	second_up = 1;
	if (option_is("how", "chaos"))
		access_much(2463534242ull);
	else
		plain('A');
	second_done = 1;
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void both(void)
{
	start_second();
	plain('a');
	while (!second_done)
		;
}

static void on_chaos(void *argument)
{
	(void)argument;
	in8(IIR);
	in8(COM1);
}

static void chaos(void)
{
	static const struct { u8 at, value; } plain_again[] = { { 3, 3 }, { 1, 0 }, { 4, 8 }, { 2, 7 } };

	interrupt_handle(SERIAL_VECTOR, on_chaos, NULL);
	ioapic_route(SERIAL_PIN, SERIAL_VECTOR, 0);
	start_second();
	__asm__ volatile("sti");
	access_much(88172645463325253ull);
	while (!second_done)
		;
	__asm__ volatile("cli");
	for (u32 i = 0; i < sizeof(plain_again) / sizeof(plain_again[0]); i++)
		out8(COM1 + plain_again[i].at, plain_again[i].value);
	print("\nserial: passed\n");
}

static void crash(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" :: "m"(none));
}

int run(void)
{
	bytes = option("bytes", 1000);
	if (option_is("how", "polled"))
		polled();
	else if (option_is("how", "string"))
		string();
	else if (option_is("how", "interrupt"))
		by_interrupt();
	else if (option_is("how", "both"))
		both();
	else if (option_is("how", "chaos"))
		chaos();
	else
		plain('a');
	if (option_is("then", "crash"))
		crash();
	while (option_is("then", "stay"))
		__asm__ volatile("cli; hlt");
	return 0;
}
