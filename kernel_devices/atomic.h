/* Memory that another CPU reads or writes meanwhile. */
#ifndef SPLITVMM_ATOMIC_H
#define SPLITVMM_ATOMIC_H

#ifdef EXPLORE		/* tools/explore: each is a point where another actor may go on */
#include <points.h>
#else
/* One access of the field's own width: of what a guest or another CPU may be writing, or reading. */
#define READ_ONCE(x)	(*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

/* Atomics on words of 4 or 8 bytes at multiples of their size, and full barriers; each returns what was there
 * before. */
#define fetch_add(word, n)	__sync_fetch_and_add(word, n)
#define fetch_or(word, n)	__sync_fetch_and_or(word, n)
#define fetch_and(word, n)	__sync_fetch_and_and(word, n)
#define exchange(word, n)	__sync_lock_test_and_set(word, n)
#define compare_exchange(word, from, to)	__sync_val_compare_and_swap(word, from, to)

#ifndef barrier		/* libbpf has one, for BPF */
#define barrier()	__asm__ volatile("" ::: "memory")
#endif
#endif

#endif
