/* The part of the vCPU loop that is C: enter the guest, and let the native exit path try first. */
#include "serial.h"
#include <linux/kvm.h>
#include <stdint.h>

/* What the native dispatcher says of a write: Verdict of vmm/devmodel/exit_path.py. */
enum { TO_USER, HANDLED, HANDLED_INTERRUPT, TO_USER_INTERRUPT };

/* exit_path_write() of the native dispatcher.  `line` is the interrupt that some verdicts ask for: a GSI to pulse, or
 * an eventfd to signal, inverted. */
typedef int (*write_hook)(void *path, uint32_t bus, uint64_t address, uint32_t width,
			  uint64_t value, int32_t *line);

/* exit_path_assist_next() of the native dispatcher: offered the decline `next` of an outbox. */
typedef int (*assist_hook)(void *path, const void *ring, uint32_t next, int32_t *line);

enum after { AFTER_ENTER, AFTER_EXIT, AFTER_LOOK };	/* KVM_RUN; an exit, which kvm_run has; whether to go on */

struct vcpu_loop {
	int vcpu_fd, vm_fd, signal;
	struct kvm_run *run;
	write_hook hook;		/* NULL: every exit goes to Python */
	void *path;
	const volatile uint32_t *declines;	/* of this vCPU, free running; NULL if there are none */
	volatile uint32_t *declines_read, *all_read;	/* of them; of all vCPUs' */
	const void *outbox;		/* where they are, */
	assist_hook assist;		/* and who is offered them before Python; NULL: nobody */
	uint32_t waiting;		/* the exit is to be dealt with after the declines that it follows */
	uint64_t runs;			/* KVM_RUN calls that returned; with the next two, where vmm/top/sample.py looks */
	uint64_t hooked;		/* exits that the hook took */
	uint64_t exits;			/* exits with an access that were left to Python */
	uint64_t assisted;		/* declines that `assist` did */
	uint64_t serial_exits;		/* exits with an access that the serial port answered, here */

	struct serial *serial;		/* NULL: its accesses go to Python */
	uint32_t serial_base;		/* its first port */
	int32_t serial_line;		/* its interrupt, as a hook has it */

	/* partial emulation: runs on after an access that was answered; what is next (enum after).  NULL: none */
	int (*after)(struct vcpu_loop *loop, void *data);
	void *after_data;
	uint32_t answered;		/* the last exit was an access */
	uint64_t run_ticks;		/* of the time-stamp counter: the last KVM_RUN */
	volatile uint32_t leave;	/* set by any thread: an emulator that has the vCPU stops, too, as for a signal */

	/* the access, where the exit is one */
	uint32_t bus, is_write, width, count;
	uint64_t address, value;
	uint8_t *data;			/* where it comes from, or a read's answer goes */
};

/* Whether writes by this thread have gone up that Python has not read.  An exit may come with them: that of a later
 * write of the same instruction. */
static inline int declines_wait(const struct vcpu_loop *loop)
{
	return loop->declines && *loop->declines != *loop->declines_read;
}

/* The register of the serial port that an access is of; -1 if it is none, or Python's. */
static inline int serial_register(const struct vcpu_loop *loop, uint32_t bus, uint64_t address, uint32_t width)
{
	uint64_t offset = address - loop->serial_base;

	return loop->serial && bus == 1 && width == 1 && offset < SERIAL_REGISTERS ? (int)offset : -1;
}

int vcpu_enter(struct vcpu_loop *loop);
void vcpu_answer(struct vcpu_loop *loop, uint64_t value);
int kvm_call(int fd, unsigned long request, void *argument);
int kvm_call_value(int fd, unsigned long request, unsigned long value);
int set_signal_mask(int vcpu_fd, int signal);
int block_signal(int signal);
int kick_thread(int thread, int signal);
int this_thread(void);
int pulse_line(int vm_fd, uint32_t gsi);
