/* The parts of the network guest: its card, the answers that it gives, and its disk. */
#ifndef NET_H
#define NET_H

#include "virtio.h"

enum { F_CSUM = 1 << 0, F_GUEST_CSUM = 1 << 1, F_MAC = 1 << 5, F_GUEST_TSO4 = 1 << 7, F_HOST_TSO4 = 1 << 11,
       F_MERGE = 1 << 15 };
enum { HEADER = 12, ETHER = 14, ARP = 0x0806, IPV4 = 0x0800, ICMP = 1, UDP = 17 };
enum { HEADER_FLAGS = 0, HEADER_GSO = 1, HEADER_CSUM = 6, HEADER_BUFFERS = 10, NEEDS_CSUM = 1 };	/* 5.1.6 */
enum { BUFFERS = HEAP + 0x100000, RINGS = HEAP, DISK_RINGS = HEAP + 0x20000, DISK_DATA = HEAP + 0x1100000 };

extern struct queue rx, tx;
extern u64 mac;
extern u32 ip;
extern int by_interrupt;

static inline u16 swap16(u16 v) { return v << 8 | v >> 8; }
static inline u32 swap32(u32 v) { return __builtin_bswap32(v); }
static inline u16 load16(const u8 *at) { return *(const u16 *)at; }
static inline u32 load32(const u8 *at) { return *(const u32 *)at; }
static inline void store16(u8 *at, u16 v) { *(u16 *)at = v; }
static inline void store32(u8 *at, u32 v) { *(u32 *)at = v; }
static inline void put_mac(u8 *at) { store32(at, mac), store16(at + 4, mac >> 32); }

/* Answers until it is told to end; `count` receive buffers of `bytes` each. */
__attribute__((noreturn)) void echo(u32 count, u32 bytes);

/* The disk: DISK_DEPTH pieces at a time are written, read back, and now and then flushed. */
extern u64 disk_requests;
void disk_start(struct device *device);
void disk_step(void);		/* if all that was asked of it is done: check that, and ask for more */
void disk_finish(void);

#endif
