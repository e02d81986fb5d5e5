#include "guest.h"

enum { PIC = 0x20, PIC_DATA = 0x21, PIC_VECTOR = 0x38 };
enum { COM1 = 0x3f8, EXIT = 0x501, VECTOR = 0x40 };
enum { APIC = 0xfee00000, APIC_SPURIOUS = 0xf0, APIC_ICR = 0x300, IOAPIC = 0xfec00000, TRAMPOLINE = 0xb000 };

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

static u64 number(const char **text)
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

/* virtio-mmio devices, as Linux has them: virtio_mmio.device=SIZE@ADDRESS:PIN */
int find_devices(struct device *found, int most)
{
	static const char prefix[] = "virtio_mmio.device=";
	int count = 0;

	for (const char *at = command_line; *at && count < most; at++) {
		const char *text = at, *p = prefix;

		while (*p && *text == *p)
			text++, p++;
		if (*p)
			continue;
		while (*text && *text++ != '@')
			;
		found[count].base = number(&text);
		text++;
		found[count].pin = number(&text);
		if (read32(found[count].base + MAGIC) != 0x74726976 || read32(found[count].base + VERSION) != 2)
			fail("virtio magic", read32(found[count].base + MAGIC), 0x74726976);
		if (read32(found[count].base + DEVICE_ID))
			count++;
	}
	return count;
}

/* Reset and negotiate (VIRTIO 1.2, 3.1.1); `features` are the low 32 wanted, if offered. */
void device_start(struct device *device, u32 features)
{
	u64 base = device->base;

	write32(base + STATUS, 0);
	while (read32(base + STATUS))
		;
	write32(base + STATUS, 1);
	write32(base + STATUS, 3);
	write32(base + FEATURES_SEL, 0);
	device->features = features & read32(base + FEATURES);
	write32(base + DRIVER_FEATURES_SEL, 0);
	write32(base + DRIVER_FEATURES, device->features);
	write32(base + DRIVER_FEATURES_SEL, 1);
	write32(base + DRIVER_FEATURES, 1);	/* VIRTIO_F_VERSION_1 */
	write32(base + STATUS, 11);
	if (!(read32(base + STATUS) & 8))
		fail("features", read32(base + STATUS), 11);
}

static void write64(u64 at, u64 value)
{
	write32(at, value);
	write32(at + 4, value >> 32);
}

void queue_start(struct device *device, struct queue *queue, u16 index, void *memory)
{
	u64 base = device->base;

	memset(memory, 0, 16384);
	queue->desc = memory;
	queue->avail = memory + 4096;
	queue->used = memory + 8192;
	queue->base = base;
	queue->index = index;
	queue->last = 0;
	queue->event = !!(device->features & F_EVENT);
	write32(base + QUEUE_SEL, index);
	if (read32(base + QUEUE_NUM_MAX) < QUEUE_SIZE)
		fail("queue size", read32(base + QUEUE_NUM_MAX), QUEUE_SIZE);
	write32(base + QUEUE_NUM, QUEUE_SIZE);
	write64(base + QUEUE_DESC, (u64)queue->desc);
	write64(base + QUEUE_AVAIL, (u64)queue->avail);
	write64(base + QUEUE_USED, (u64)queue->used);
	write32(base + QUEUE_READY, 1);
	if (read32(base + QUEUE_READY) != 1)
		fail("queue ready", read32(base + QUEUE_READY), 1);
}

void device_ready(struct device *device)
{
	write32(device->base + STATUS, 15);
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

/* Route the device's pin, edge-triggered, to this CPU; with chip=8259 as firmware has left its APIC. */
void interrupts_start(struct device *device)
{
	interrupting = device->base;
	if (option_is("chip", "8259")) {
		pic_start(device->pin);
		return;
	}
	write32(APIC + APIC_SPURIOUS, 0x1ff);
	ioapic_write(0x10 + 2 * device->pin + 1, 0);
	ioapic_write(0x10 + 2 * device->pin, VECTOR);
}

/* The second vCPU */

volatile u32 second_up;
extern char ap_begin[], ap_end[];

void start_second(void)
{
	memcpy((void *)TRAMPOLINE, ap_begin, ap_end - ap_begin);
	write32(APIC + APIC_SPURIOUS, 0x1ff);
	write32(APIC + APIC_ICR + 0x10, 1 << 24);
	write32(APIC + APIC_ICR, 0x4500);			/* INIT */
	write32(APIC + APIC_ICR, 0x4600 | TRAMPOLINE >> 12);	/* STARTUP */
	for (u64 patience = 1ull << 26; !second_up; patience--)
		if (!patience)
			fail("second vCPU", 0, 1);
}

static void traps_start(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) pointer = { sizeof(gates) - 1, (u64)gates };

	for (int vector = 0; vector < 32; vector++)
		gate(vector, exception_entry);
	gate(VECTOR, interrupt_entry);
	for (int pin = 0; pin < 8; pin++)
		gate(PIC_VECTOR + pin, interrupt_entry);
	gate(0xff, interrupt_entry);
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
