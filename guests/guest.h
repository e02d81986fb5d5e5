/* What every guest of ours needs: ports, the command line and interrupts.  Runs under any VMM that
 * boots PVH.  Drivers are in virtio.h. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define SECTOR		512
#define HEAP		0x1000000ull	/* 16 MiB and up is the guests' own */

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }
static inline void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" :: "a"(value), "Nd"(port)); }
static inline u32 in32(u16 port) { u32 value; __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static inline u64 ticks(void) { u32 low, high; __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)); return low | (u64)high << 32; }
static inline void barrier(void) { __asm__ volatile("" ::: "memory"); }
static inline void full_barrier(void) { __asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc"); }
static inline void write32(u64 at, u32 value) { *(volatile u32 *)at = value; }
static inline void write16(u64 at, u16 value) { *(volatile u16 *)at = value; }
static inline void write8(u64 at, u8 value) { *(volatile u8 *)at = value; }
static inline u32 read32(u64 at) { return *(volatile u32 *)at; }
static inline u16 read16(u64 at) { return *(volatile u16 *)at; }
static inline u8 read8(u64 at) { return *(volatile u8 *)at; }

__attribute__((noreturn)) void end(u32 status);
void print(const char *text);
void print_number(u64 value);
void print_hex(u64 value);
__attribute__((noreturn)) void fail(const char *what, u64 found, u64 wanted);

/* The command line: `name=VALUE`, decimal or 0x hexadecimal. */
extern const char *command_line;
u64 option(const char *name, u64 otherwise);
u64 number(const char **text);		/* reads one, and goes past it */
int option_is(const char *name, const char *value);

void *memset(void *to, int value, size_t count);
void *memcpy(void *to, const void *from, size_t count);

/* Interrupts: these vectors have entries; a handler runs with interrupts off. */
enum { FIRST_VECTOR = 0x50, VECTORS = 32 };
void interrupt_handle(u8 vector, void (*handler)(void *), void *argument);
void ioapic_route(u32 pin, u8 vector, int masked);

/* The fast way, of one virtio-mmio device alone: `interrupts_taken` moves with each of its interrupts. */
extern volatile u32 interrupts_taken;
void interrupts_fast(u64 base, u32 pin);
void enter_ring3(void (*function)(void)) __attribute__((noreturn));

/* Another vCPU calls ap_main(), which sets `second_up`.  They share a stack: who starts a third one gives the second
 * another before that. */
extern volatile u32 second_up;
void start_second(void);
void start_vcpu(u32 number);

/* `sti; hlt` takes no interrupt between the two. */
static inline void wait_for_interrupt(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }

int main(u64 start_info);

#endif
