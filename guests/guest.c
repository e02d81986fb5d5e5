#include "guest.h"

enum { PIC = 0x20, PIC_DATA = 0x21, PIC_VECTOR = 0x38 };
enum { COM1 = 0x3f8, EXIT = 0x501, FAST_VECTOR = 0x40, SPURIOUS_VECTOR = 0xff, TRAMPOLINE = 0xb000 };
enum { APIC = 0xfee00000, APIC_EOI = 0xb0, APIC_SPURIOUS = 0xf0, APIC_ICR = 0x300, APIC_ON = 1 << 8 };
enum { IOAPIC = 0xfec00000, MASKED = 1 << 16 };

const char *command_line;
volatile u32 interrupts_taken;
u64 interrupting;	/* base of the device that does; interrupt_entry reads it */

void end(u32 status)
{
	for (;;)
		out32(EXIT, status);
}

void print(const char *text)
{
	while (*text)
		out8(COM1, *text++);
}

void print_number(u64 value)
{
	char text[24], *at = text + sizeof(text);

	*--at = 0;
	do
		*--at = '0' + value % 10;
	while (value /= 10);
	print(at);
}

void print_hex(u64 value)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		out8(COM1, "0123456789abcdef"[value >> shift & 15]);
}

void fail(const char *what, u64 found, u64 wanted)
{
	print("guest: ");
	print(what);
	print(": found 0x");
	print_hex(found);
	print(", wanted 0x");
	print_hex(wanted);
	print("\n");
	end(1);
}

void *memset(void *to, int value, size_t count)
{
	void *result = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
	return result;
}

void *memcpy(void *to, const void *from, size_t count)
{
	void *result = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) :: "memory");
	return result;
}

/* Command line */

static const char *option_text(const char *name)
{
	for (const char *at = command_line; *at;) {
		const char *n = name;

		while (*n && *at == *n)
			at++, n++;
		if (!*n && *at == '=')
			return at + 1;
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return NULL;
}

u64 number(const char **text)
{
	const char *at = *text;
	u64 value = 0, base = 10;

	if (at[0] == '0' && at[1] == 'x')
		base = 16, at += 2;
	for (;; at++) {
		u64 digit = *at >= '0' && *at <= '9' ? *at - '0' : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10 : 99;

		if (digit >= base)
			break;
		value = value * base + digit;
	}
	*text = at;
	return value;
}

u64 option(const char *name, u64 otherwise)
{
	const char *text = option_text(name);

	return text ? number(&text) : otherwise;
}

int option_is(const char *name, const char *value)
{
	const char *text = option_text(name);

	while (text && *value && *text == *value)
		text++, value++;
	return text && !*value && (*text == ' ' || !*text);
}

/* Interrupts */

static struct { u16 low, selector, kind, middle; u32 high, zero; } gates[256] __attribute__((aligned(16)));

static void gate(int vector, void (*entry)(void))
{
	u64 at = (u64)entry;

	gates[vector].low = at;
	gates[vector].selector = 8;
	gates[vector].kind = 0x8e00;
	gates[vector].middle = at >> 16;
	gates[vector].high = at >> 32;
}

void interrupt_entry(void);
void spurious_entry(void);
extern char interrupt_entries[];	/* 16 bytes each */
void exception_entry(void);

void on_exception(u64 first, u64 second, u64 third)
{
	print("guest: exception: ");
	print_hex(first);
	print(" ");
	print_hex(second);
	print(" ");
	print_hex(third);
	print("\n");
}

static void ioapic_write(u32 index, u32 value)
{
	write32(IOAPIC, index);
	write32(IOAPIC + 0x10, value);
}

/* By the first 8259 alone, which needs no word that an interrupt is through (8259A, ICW4: AEOI). */
static void pic_start(u32 pin)
{
	out8(PIC, 0x11);
	out8(PIC_DATA, PIC_VECTOR);
	out8(PIC_DATA, 1 << 2);
	out8(PIC_DATA, 3);
	out8(PIC_DATA, ~(1 << pin));
}

static void apic_start(void)
{
	write32(APIC + APIC_SPURIOUS, APIC_ON | SPURIOUS_VECTOR);
}

/* Edge-triggered, to this CPU. */
void ioapic_route(u32 pin, u8 vector, int masked)
{
	ioapic_write(0x10 + 2 * pin + 1, 0);
	ioapic_write(0x10 + 2 * pin, vector | (masked ? MASKED : 0));
}

/* With chip=8259 as firmware has left the APIC. */
void interrupts_fast(u64 base, u32 pin)
{
	interrupting = base;
	if (option_is("chip", "8259")) {
		pic_start(pin);
		return;
	}
	apic_start();
	ioapic_route(pin, FAST_VECTOR, 0);
}

static struct { void (*function)(void *); void *argument; } handlers[VECTORS];

void interrupt_handle(u8 vector, void (*handler)(void *), void *argument)
{
	apic_start();
	handlers[vector - FIRST_VECTOR].function = handler;
	handlers[vector - FIRST_VECTOR].argument = argument;
}

/* Called by the entry of each of these vectors. */
void on_interrupt(u64 number)
{
	if (!handlers[number].function)
		fail("interrupt without a handler: vector", number + FIRST_VECTOR, 0);
	handlers[number].function(handlers[number].argument);
	write32(APIC + APIC_EOI, 0);
}

/* Other vCPUs, whose numbers are those of their APICs */

volatile u32 second_up;
extern char ap_begin[], ap_end[];

void start_vcpu(u32 number)
{
	second_up = 0;
	memcpy((void *)TRAMPOLINE, ap_begin, ap_end - ap_begin);
	apic_start();
	write32(APIC + APIC_ICR + 0x10, number << 24);
	write32(APIC + APIC_ICR, 0x4500);			/* INIT */
	write32(APIC + APIC_ICR, 0x4600 | TRAMPOLINE >> 12);	/* STARTUP */
	for (u64 patience = 1ull << 26; !second_up; patience--)
		if (!patience)
			fail("vCPU", 0, number);
}

void start_second(void)
{
	start_vcpu(1);
}

static void traps_start(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) pointer = { sizeof(gates) - 1, (u64)gates };

	for (int vector = 0; vector < 32; vector++)
		gate(vector, exception_entry);
	gate(FAST_VECTOR, interrupt_entry);
	for (int pin = 0; pin < 8; pin++)
		gate(PIC_VECTOR + pin, interrupt_entry);
	gate(SPURIOUS_VECTOR, spurious_entry);
	for (int i = 0; i < VECTORS; i++)
		gate(FIRST_VECTOR + i, (void (*)(void))(interrupt_entries + 16 * i));
	__asm__ volatile("lidt %0" :: "m"(pointer));
}

int run(void);

/* hvm_start_info: magic, version, flags, modules, module list, command line */
int main(u64 start_info)
{
	command_line = (const char *)*(u64 *)(start_info + 24);
	traps_start();
	return run();
}
