/* One instruction that writes several registers of the device in order.py; says what became of each. */
#include "guest.h"
#include "order.gen.h"

static volatile struct order_page *order;

static void say(const char *what, u64 value)
{
	print(what);
	print_hex(value);
	print(" ");
}

static void write_string(volatile void *to, const u32 *from, u64 count)
{
	__asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count) :: "memory");
}

static void write_16(volatile void *to, u64 low, u64 high)
{
	u64 pair[2] __attribute__((aligned(16))) = { low, high };

	__asm__ volatile("movdqu %0, %%xmm0; movdqu %%xmm0, %1" :: "m"(pair), "m"(*(volatile char (*)[16])to) : "memory");
}

int run(void)
{
	static const u32 three[] = { 7, 0, 5 };
	u64 cr4;

	order = (void *)option("order.base", 0);
	write_string(&order->mine, three, 3);		/* mine, kick, mark */
	say("snap", order->snap);
	say("count", order->count);
	for (u32 reason = 1; reason < ORDER_DECLINE_ALWAYS; reason++)
		order->kick = reason;
	say("count", order->count);
	write16((u64)order + 0xfffe, 0x1234);
	say("far", order->seen);
	if (option("sse", 0)) {
		__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
		__asm__ volatile("mov %0, %%cr4" :: "r"(cr4 | 0x600));	/* OSFXSR, OSXMMEXCPT */
		write_16(&order->base, 0x1111, 0x2222);		/* base, bell */
		say("base", order->base);
		say("seen", order->seen);
		write_16(&order->bell, 0x3333, 0x4444);		/* bell, and what no guest may write */
		say("seen", order->seen);
		write_16(&order->seen, 0x5555, 0x66ull << 32 | 0x77);	/* the same, mine and kick */
		say("seen", order->seen);
		say("count", order->count);
	}
	return 0;
}
