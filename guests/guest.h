/* What every guest of ours needs: ports, the command line, interrupts, and a virtio-mmio driver
 * that is plain enough to be obviously right.  Runs under any VMM that boots PVH. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define SECTOR		512
#define QUEUE_SIZE	256
#define HEAP		0x1000000ull	/* 16 MiB and up is the guests' own */

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }
static inline void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" :: "a"(value), "Nd"(port)); }
static inline u8 in8(u16 port) { u8 value; __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static inline u64 ticks(void) { u32 low, high; __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)); return low | (u64)high << 32; }
static inline void barrier(void) { __asm__ volatile("" ::: "memory"); }
static inline void full_barrier(void) { __asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc"); }
static inline void write32(u64 at, u32 value) { *(volatile u32 *)at = value; }
static inline u32 read32(u64 at) { return *(volatile u32 *)at; }

__attribute__((noreturn)) void end(u32 status);
void print(const char *text);
void print_number(u64 value);
void print_hex(u64 value);
__attribute__((noreturn)) void fail(const char *what, u64 found, u64 wanted);

/* The command line: `name=VALUE`, decimal or 0x hexadecimal. */
extern const char *command_line;
u64 option(const char *name, u64 otherwise);
int option_is(const char *name, const char *value);

void *memset(void *to, int value, size_t count);
void *memcpy(void *to, const void *from, size_t count);

/* virtio */
struct desc { u64 addr; u32 len; u16 flags, next; };
struct avail { u16 flags, idx, ring[QUEUE_SIZE], used_event; };
struct used { u16 flags, idx; struct { u32 id, len; } elem[QUEUE_SIZE]; u16 avail_event; };

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };
enum { F_INDIRECT = 1 << 28, F_EVENT = 1 << 29 };
enum { MAGIC = 0, VERSION = 4, DEVICE_ID = 8, FEATURES = 0x10, FEATURES_SEL = 0x14, DRIVER_FEATURES = 0x20,
       DRIVER_FEATURES_SEL = 0x24, QUEUE_SEL = 0x30, QUEUE_NUM_MAX = 0x34, QUEUE_NUM = 0x38,
       QUEUE_READY = 0x44, NOTIFY = 0x50, INTERRUPT_STATUS = 0x60, INTERRUPT_ACK = 0x64, STATUS = 0x70,
       QUEUE_DESC = 0x80, QUEUE_AVAIL = 0x90, QUEUE_USED = 0xa0, CONFIG = 0x100 };

struct queue {
	volatile struct desc *desc;
	volatile struct avail *avail;
	volatile struct used *used;
	u64 base;		/* of its device's registers */
	u16 index, last;	/* used entries seen */
	int event;		/* event index negotiated */
};

struct device { u64 base; u32 pin, features; };

int find_devices(struct device *found, int most);
void device_start(struct device *device, u32 features);
void queue_start(struct device *device, struct queue *queue, u16 index, void *memory);
void device_ready(struct device *device);

/* Interrupts: `interrupts_taken` moves with each. */
extern volatile u32 interrupts_taken;
void interrupts_start(struct device *device);
void enter_ring3(void (*function)(void)) __attribute__((noreturn));

/* The second vCPU calls ap_main(), which sets `second_up`. */
extern volatile u32 second_up;
void start_second(void);

/* `sti; hlt` takes no interrupt between the two. */
static inline void wait_for_interrupt(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }

int main(u64 start_info);

#endif
