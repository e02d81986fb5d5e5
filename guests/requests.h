/* Block requests that are all in the ring beforehand: going round costs an index, a doorbell and a look. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "virtio.h"

enum { F_FLUSH = 1 << 9 };	/* without it every write would be written through (5.2.5) */
enum { PREPARED = 64 };
enum { REQUESTS_HEADERS = 0x10000, REQUESTS_STATUS = 0x20000, REQUESTS_BUFFERS = 0x100000 };	/* in their memory */

/* Lays out PREPARED requests of a queue, as the command line says (op, bytes, pattern), in `memory`, with so much of it
 * for buffers, which several may share.  Random places are those of queue 0, 1 and so on. */
void requests_prepare(struct queue *queue, u64 memory, u64 buffer_bytes);
void requests_check(u64 memory);	/* their statuses */

/* One look after each doorbell, five instructions a round; CHECK says what a look leads to.
 * In ring 0 of some hosts each instruction is emulated, and costs as much as a small request. */
#define ROUND(CHECK)				\
	"add %w[step], %w[index]\n\t"		\
	"mov %w[index], %[avail]\n\t"		\
	"mov %k[number], %[bell]\n"		\
	CHECK
/* So many rounds, with `step`, `index`, `avail`, `used` and `bell` of the function around them; NUMBER is the queue's. */
#define ROUNDS(TIMES, NUMBER, CHECK)						\
	__asm__ volatile(".rept " STRING(TIMES) "\n\t" ROUND(CHECK) ".endr"	\
		: [index] "+r"(index), [avail] "=m"(*avail), [bell] "=m"(*bell)	\
		: [step] "r"(step), [number] "r"(NUMBER), [used] "m"(*used) : "memory", "cc")
#define STRING(x) STRING_(x)
#define STRING_(x) #x
#define UNTIL_USED "1: cmp %w[index], %[used]\n\tjne 1b\n"
#define LOOK_ONCE "cmp %w[index], %[used]\n\tje 1f\n1:\n"

#endif
