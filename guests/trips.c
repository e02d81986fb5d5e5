/* Times what a driver does by many accesses in a row: the register dances that an emulator may run on through.
 *
 *   dance=NAME   writes (five registers, as one write each), polling (a status register, 64 times), string (64 bytes out
 *                of a port by one instruction, ten times), bits (64 bits over a clock and a data line), posted (four
 *                registers, sixteen times)
 *   count=N      how often
 *   base=ADDRESS of the device's registers; port=PORT of one that takes bytes
 */
#include "guest.h"

enum { POLLS = 64, POSTS = 64, BITS = 64, BYTES = 64, STRINGS = 10 };

static volatile u32 *base;
static u32 sum;

static void writes(void)
{
	for (int i = 0; i < 5; i++)
		base[i] = i + 1;
}

static void polling(void)
{
	for (int i = 0; i < POLLS; i++)
		sum += base[0];
}

static void string(void)
{
	static u8 bytes[BYTES];
	u16 port = option("port", 0x80);

	for (int i = 0; i < STRINGS; i++) {
		const u8 *from = bytes;
		u64 left = BYTES;

		__asm__ volatile("rep outsb" : "+S"(from), "+c"(left) : "d"(port) : "memory");
	}
}

/* A clock and a data line, as an I2C controller of two registers has them: data, clock high, look, clock low. */
static void bits(void)
{
	u64 word = 0x5ac3f00d12345678;

	for (int i = 0; i < BITS; i++, word >>= 1) {
		base[1] = word & 1;
		base[2] = 1;
		sum += base[0];
		base[2] = 0;
	}
}

static void posted(void)
{
	for (int i = 0; i < POSTS; i++)
		base[i % 4] = i;
}

int run(void)
{
	static const struct { const char *name; void (*dance)(void); } dances[] = {
		{ "writes", writes }, { "polling", polling }, { "string", string }, { "bits", bits },
		{ "posted", posted } };
	u32 count = option("count", 100);
	u64 begin;

	base = (volatile u32 *)option("base", 0);
	for (int i = 0; i < 5; i++) {
		if (!option_is("dance", dances[i].name))
			continue;
		dances[i].dance();
		begin = ticks();
		for (u32 left = count; left; left--)
			dances[i].dance();
		print("exits: count=");
		print_number(count);
		print(" ticks=");
		print_number(ticks() - begin);
		print("\n");
		return sum & 0x80000000 ? 1 : 0;
	}
	fail("dance", 0, 1);
}
