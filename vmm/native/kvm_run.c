#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "kvm_run.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

int kvm_call(int fd, unsigned long request, void *argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

int kvm_call_value(int fd, unsigned long request, unsigned long value)
{
	int result = ioctl(fd, request, value);

	return result < 0 ? -errno : result;
}

/* Inside KVM_RUN nothing is blocked but what the thread had blocked before, less `signal`. */
int set_signal_mask(int vcpu_fd, int signal)
{
	struct { struct kvm_signal_mask head; uint64_t set; } mask = { .head.len = 8 };
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	memcpy(&mask.set, &now, sizeof(mask.set));
	mask.set &= ~(1ull << (signal - 1));
	return kvm_call(vcpu_fd, KVM_SET_SIGNAL_MASK, &mask);
}

int block_signal(int signal)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int this_thread(void)
{
	return syscall(SYS_gettid);
}

/* The thread leaves KVM_RUN, or does not enter it the next time: the signal stays pending. */
int kick_thread(int thread, int signal)
{
	return syscall(SYS_tgkill, getpid(), thread, signal) < 0 ? -errno : 0;
}

/* One edge of an interrupt line.  Several threads may be at it: each lowers it before, or one that finds
 * it high would make no edge, and the guest may have taken the other's before this one's cause was there. */
int pulse_line(int vm_fd, uint32_t gsi)
{
	struct kvm_irq_level low = { .irq = gsi, .level = 0 }, high = { .irq = gsi, .level = 1 };
	int result = kvm_call(vm_fd, KVM_IRQ_LINE, &low);

	if (result >= 0)
		result = kvm_call(vm_fd, KVM_IRQ_LINE, &high);
	return result < 0 ? result : kvm_call(vm_fd, KVM_IRQ_LINE, &low);
}

static void raise_line(int vm_fd, int32_t line)
{
	uint64_t one = 1;

	if (line >= 0)
		pulse_line(vm_fd, line);
	else if (write(~line, &one, sizeof(one)) < 0)
		return;		/* it is full of signals */
}

/* Take the signal that ended KVM_RUN.  A further one would only end the next KVM_RUN too. */
static void take_signal(int signal)
{
	static const struct timespec now;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	sigtimedwait(&set, NULL, &now);
}

static uint64_t load(const uint8_t *data, uint32_t width)
{
	uint64_t value = 0;

	memcpy(&value, data, width <= 8 ? width : 8);
	return value;
}

/* Take the access apart; 0 if the exit is none. */
static int access_of(struct vcpu_loop *loop)
{
	struct kvm_run *run = loop->run;

	if (run->exit_reason == KVM_EXIT_MMIO) {
		loop->bus = 0;
		loop->is_write = run->mmio.is_write;
		loop->width = run->mmio.len;
		loop->count = 1;
		loop->address = run->mmio.phys_addr;
		loop->data = run->mmio.data;
	} else if (run->exit_reason == KVM_EXIT_IO) {
		loop->bus = 1;
		loop->is_write = run->io.direction == KVM_EXIT_IO_OUT;
		loop->width = run->io.size;
		loop->count = run->io.count;
		loop->address = run->io.port;
		loop->data = (uint8_t *)run + run->io.data_offset;
	} else {
		return 0;
	}
	loop->value = loop->is_write ? load(loop->data, loop->width) : 0;
	return 1;
}

void vcpu_answer(struct vcpu_loop *loop, uint64_t value)
{
	memcpy(loop->data, &value, loop->width <= 8 ? loop->width : 8);
}

/* Whether the serial port has answered all of the access (INS and OUTS are several); what is left is Python's. */
static int serve_serial(struct vcpu_loop *loop)
{
	int offset = serial_register(loop, loop->bus, loop->address, loop->width);

	if (offset < 0)
		return 0;
	for (; loop->count; loop->count--, loop->data++) {
		int done = loop->is_write ? serial_write(loop->serial, offset, *loop->data)
					  : serial_read(loop->serial, offset);

		if (done & SERIAL_FULL)
			break;
		if (done & SERIAL_RAISE)
			raise_line(loop->vm_fd, loop->serial_line);
		if (!loop->is_write)
			*loop->data = done;
	}
	if (loop->count) {
		loop->value = *loop->data;
		return 0;
	}
	loop->serial_exits++;
	return 1;
}

/* Offer the access to the native exit path: its verdict, TO_USER if there is none. */
static int offer(struct vcpu_loop *loop, int32_t *line)
{
	if (!loop->is_write || loop->count != 1 || !loop->hook)
		return TO_USER;
	return loop->hook(loop->path, loop->bus, loop->address, loop->width, loop->value, line);
}

/* Verdicts that ask for the line have it raised; whether the others are Python's. */
static int goes_up(struct vcpu_loop *loop, int verdict, const int32_t *line)
{
	if (verdict == HANDLED_INTERRUPT || verdict == TO_USER_INTERRUPT)
		raise_line(loop->vm_fd, *line);
	return verdict == TO_USER || verdict == TO_USER_INTERRUPT;
}

/* Offer what the kernel half declined to the native build of its handler, in order, up to the first that is Python's;
 * whether all is done.  Each has sent a signal. */
static int assist(struct vcpu_loop *loop)
{
	while (declines_wait(loop)) {
		int32_t line;

		if (!loop->assist || goes_up(loop, loop->assist(loop->path, loop->outbox, *loop->declines_read, &line), &line))
			return 0;
		*loop->declines_read += 1;
		__atomic_fetch_add(loop->all_read, 1, __ATOMIC_SEQ_CST);
		take_signal(loop->signal);
		loop->assisted++;
	}
	return 1;
}

/* Where the last exit was an access, and has been answered. */
static int run_on(struct vcpu_loop *loop)
{
	int next = loop->after && loop->answered ? loop->after(loop, loop->after_data) : AFTER_ENTER;

	loop->answered = 0;
	if (next == AFTER_EXIT)
		loop->waiting = 1;
	return next;
}

/* Run the guest until Python is needed: an exit reason, or -errno (-EINTR: declines, or a kick).  An exit that
 * follows declines is told at the next call, when Python has read them. */
int vcpu_enter(struct vcpu_loop *loop)
{
	for (;;) {
		int32_t line;

		if (run_on(loop) == AFTER_LOOK)
			return -EINTR;
		if (!assist(loop)) {	/* of the rest of that instruction */
			take_signal(loop->signal);
			return -EINTR;
		}
		if (!loop->waiting) {
			uint64_t began = __rdtsc();

			if (ioctl(loop->vcpu_fd, KVM_RUN, 0) < 0) {
				if (errno == EAGAIN)
					continue;
				if (errno != EINTR)
					return -errno;
				if (declines_wait(loop) && assist(loop))
					continue;
				take_signal(loop->signal);
				return -EINTR;
			}
			loop->run_ticks = __rdtsc() - began;
			loop->runs++;
			if (!assist(loop)) {
				loop->waiting = 1;
				take_signal(loop->signal);
				return -EINTR;
			}
		}
		loop->waiting = 0;
		if (!access_of(loop))
			return loop->run->exit_reason;
		loop->answered = 1;
		if (serve_serial(loop))
			continue;
		if (goes_up(loop, offer(loop, &line), &line)) {
			loop->exits++;
			return loop->run->exit_reason;
		}
		loop->hooked++;
	}
}
