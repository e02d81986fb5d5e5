/* The macros by which handlers touch words that others touch, too, as scheduling points: what platform.h has in their
 * place if EXPLORE is defined.  Of that build is all that explore.c runs. */
#ifndef SPLITVMM_POINTS_H
#define SPLITVMM_POINTS_H

#include <linux/types.h>

enum update { ADD, OR, AND, SET, SET_IF };

__u64 explored_load(const volatile void *at, __u32 size);
void explored_store(volatile void *at, __u32 size, __u64 value);
__u64 explored_update(volatile void *at, __u32 size, enum update how, __u64 n, __u64 from);
void explored_order(void);
void explored_yield(void);

#define READ_ONCE(x)		((__typeof__(x))explored_load(&(x), sizeof(x)))
#define WRITE_ONCE(x, v)	explored_store(&(x), sizeof(x), (__u64)(v))
#define updated(word, how, n, from)	({ (__typeof__(*(word)))explored_update(word, sizeof(*(word)), how, (__u64)(n), from); })
#define fetch_add(word, n)	updated(word, ADD, n, 0)
#define fetch_or(word, n)	updated(word, OR, n, 0)
#define fetch_and(word, n)	updated(word, AND, n, 0)
#define exchange(word, n)	updated(word, SET, n, 0)
#define compare_exchange(word, from, to)	updated(word, SET_IF, to, from)
#define barrier()		explored_order()

/* What the native platform has beside them. */
__u32 explored_enter(const __u32 *flags);
void explored_upcall(__u32 reason);
__u64 explored_now(void);
__u32 explored_cpu(void);
__u32 explored_rounds(void);
int explored_may_wait(void);

#define uring_enter(uring, submitted, flags)	explored_enter(flags)
#define upcall(collecting, index, reason)	explored_upcall(reason)
#define lock_wait()		explored_yield()
#define this_cpu()		explored_cpu()
#define ROUNDS			explored_rounds()
#define MAY_WAIT		explored_may_wait()

static inline __u64 now_ns(void)
{
	return explored_now();
}

#endif
