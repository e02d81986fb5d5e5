/* The host of a native handler under test: its system calls end as the input wants.  No file, no io_uring and no clock
 * of this machine has a part in it, so that an input does the same each time.  Include this before the handler. */
#ifndef SPLITVMM_FUZZ_HOST_H
#define SPLITVMM_FUZZ_HOST_H

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { IMAGE_FD = 70, EVENT_FD = 80, RING_FD = 90, VM_FD = 100, TRACE_FD = 110 };

/* How accesses of the image end. */
enum image { IMAGE_WHOLE, IMAGE_NOT_RESIDENT, IMAGE_NO_NOWAIT, IMAGE_SHORT, IMAGE_OUTCOMES };

struct host {
	unsigned long long now_ns, ns_per_look;	/* of the clock */
	enum image image;
	int enter_fails;		/* io_uring_enter(2): once with EINTR, then with EAGAIN */
	unsigned int collections;	/* reads of the eventfd, before the one that says stop */
	unsigned int signals;		/* written to eventfds */
	unsigned int raised;		/* interrupts of the collector's */
	int said;			/* steps are printed */
};
static struct host host;

/* An oracle: what is found is a defect. */
#define require(true_thing, ...)	do { if (!(true_thing)) fail(__VA_ARGS__); } while (0)

static __attribute__((noreturn, noinline, format(printf, 1, 2))) void fail(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	va_start(arguments, format);
	fputs("defect: ", stderr);
	vfprintf(stderr, format, arguments);
	fputs("\n", stderr);
	va_end(arguments);
	abort();
}

/* What becomes of a step, for whoever reads the input as text. */
static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	va_list arguments;

	if (!host.said)
		return;
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fflush(stdout);
}

static void host_check_transfer(const struct iovec *list, int count, off_t offset, int write);	/* what is asked for */
static void host_enter(int queue, unsigned int submitted, int wake);

static ssize_t host_transfer(const struct iovec *list, int count, off_t offset, int write)
{
	ssize_t bytes = 0;

	host_check_transfer(list, count, offset, write);
	for (int i = 0; i < count; i++) {
		if (!write)
			memset(list[i].iov_base, offset >> 9, list[i].iov_len);
		bytes += list[i].iov_len;
	}
	return bytes - (host.image == IMAGE_SHORT);
}

static __attribute__((unused)) ssize_t host_preadv(int fd, const struct iovec *list, int count, off_t offset)
{
	require(fd == IMAGE_FD, "a read of descriptor %d; wanted the image's", fd);
	return host_transfer(list, count, offset, 0);
}

static __attribute__((unused)) ssize_t host_preadv2(int fd, const struct iovec *list, int count, off_t offset, int flags)
{
	if (flags && (host.image == IMAGE_NOT_RESIDENT || host.image == IMAGE_NO_NOWAIT)) {
		errno = host.image == IMAGE_NO_NOWAIT ? EOPNOTSUPP : EAGAIN;
		return -1;
	}
	return host_preadv(fd, list, count, offset);
}

static __attribute__((unused)) ssize_t host_pwritev2(int fd, const struct iovec *list, int count, off_t offset, int flags)
{
	require(fd == IMAGE_FD, "a write to descriptor %d; wanted the image's", fd);
	if (host.image == IMAGE_NOT_RESIDENT) {
		errno = ENOSPC;
		return -1;
	}
	return host_transfer(list, count, offset, 1);
}

static __attribute__((unused)) ssize_t host_write(int fd, const void *from, size_t bytes)
{
	require(fd == TRACE_FD || (bytes == 8 && fd >= EVENT_FD && fd < RING_FD), "%zu bytes to descriptor %d", bytes, fd);
	host.signals++;
	if (host.image == IMAGE_SHORT) {
		errno = EAGAIN;		/* it is full of signals */
		return -1;
	}
	return bytes;
}

/* The eventfd that a collector waits for; in the end it says stop, or fails. */
static __attribute__((unused)) ssize_t host_read(int fd, void *to, size_t bytes)
{
	unsigned long long count = host.collections ? 1 : 1ull << 31;

	require(fd >= EVENT_FD && fd < RING_FD && bytes == 8, "a read of %zu bytes of descriptor %d", bytes, fd);
	if (!host.collections && host.image == IMAGE_SHORT) {
		errno = EBADF;
		return -1;
	}
	host.collections -= host.collections > 0;
	memcpy(to, &count, sizeof(count));
	return sizeof(count);
}

static __attribute__((unused)) int host_ioctl(int fd, unsigned long request, struct kvm_irq_level *level)
{
	require(fd == VM_FD && request == KVM_IRQ_LINE, "ioctl %#lx of descriptor %d", request, fd);
	host.raised += level->level;
	return 0;
}

static __attribute__((unused)) long host_syscall(long number, int ring, unsigned int submitted, unsigned int least,
						  unsigned int flags, void *signals, unsigned long bytes)
{
	require(number == __NR_io_uring_enter && !least && !signals && !bytes, "system call %ld", number);
	if (host.enter_fails) {
		errno = host.enter_fails == 2 ? EINTR : EAGAIN;
		host.enter_fails -= host.enter_fails == 2;
		return -1;
	}
	host_enter(ring - RING_FD, submitted, flags);
	return submitted;
}

static __attribute__((unused)) int host_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	host.now_ns += host.ns_per_look;
	*now = (struct timespec){ host.now_ns / 1000000000, host.now_ns % 1000000000 };
	return 0;
}

static void other_cpu(void);	/* what another CPU, or the guest, does in the middle of a handler */

static __attribute__((unused)) int host_sched_yield(void)
{
	other_cpu();
	return 0;
}

#define preadv		host_preadv
#define preadv2		host_preadv2
#define pwritev2	host_pwritev2
#define write		host_write
#define read		host_read
#define ioctl		host_ioctl
#define syscall		host_syscall
#define clock_gettime	host_clock_gettime
#define sched_yield	host_sched_yield
#define WINDOW()	other_cpu()

#include "platform.h"

/* Each access of guest memory is another moment at which its guest may change it. */
static __always_inline void *ram_at_any_time(struct device *device, __u64 gpa, __u32 length, __u32 *reason)
{
	other_cpu();
	return ram_at(device, gpa, length, reason);
}
#define ram_at	ram_at_any_time

/* What one exit may take is the kernel half's: the native one's is too much to be reached. */
#undef BUDGET_NS
#define BUDGET_NS	40000
#define BUDGET_BYTES	(600 << 10)

#endif
