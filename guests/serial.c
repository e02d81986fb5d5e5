/* Sends on the serial port: a pattern of `bytes=N` letters, byte I of it being letter I % 23.
 *
 *   how=plain      one after the other
 *   how=polled     each when the line status says that there is room
 *   how=string     by instructions of 4,096 bytes
 *   how=interrupt  up to a FIFO's worth for each interrupt of the transmitter
 *   how=both       as plain, while the second vCPU sends as many of capital letters
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

/* Called by the second vCPU, on a stack of its own. */
void ap_main(void)
{
	second_up = 1;
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
	else
		plain('a');
	if (option_is("then", "crash"))
		crash();
	while (option_is("then", "stay"))
		__asm__ volatile("cli; hlt");
	return 0;
}
