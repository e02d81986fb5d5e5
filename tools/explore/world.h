/* What the explorer runs: actors that take turns at scheduling points, and the words between them.
 *
 * An actor's stores go through a buffer of its own, as on x86.  It is emptied by its next atomic or full barrier, or
 * one store at a time whenever that is chosen; stores that no barrier() stands between may leave in any order, which
 * the compiler may give them. */
#ifndef SPLITVMM_WORLD_H
#define SPLITVMM_WORLD_H

enum {
	STORES = 24,		/* that one actor may have in its buffer */
	STACK_BYTES = 16384,
	MAIL = 16,
	SLOTS = 16,		/* requests that the drivers may make */
	NO_STATUS = 0xff,	/* what the driver has where the status will be */
};

/* Two vCPUs, each with a driver of the queue; the thread that polls the ring; whoever collects where an interrupt is
 * injected; the guest's interrupt handler; and userspace, which is Python on the caller's stack. */
enum actor_name { VCPU0, VCPU1, RING, COLLECTOR, GUEST_IRQ, USERSPACE, ACTORS };

/* What an actor waits for. */
enum wait { NOTHING, CHANGE, DRIVER_LOCK, SERVED, ENTRIES, SIGNALLED, INTERRUPTED, MAILED, RESUMED, STILL, ENDED };

enum over { GOING, QUIET, VIOLATED, PRUNED };

struct store { __u64 at, value; __u32 size, epoch; };

struct actor {
	__u32 wait, epoch, stores, storing, inside, changed;
	__u32 assisting, reserved;	/* it is in the native build, which is offered what the kernel half declined */
	struct store store[STORES];
};

/* What userspace is asked to do: a doorbell that was declined (`of` is the vCPU), an upcall (`of` is the reason), or
 * an item of its own script (`of` is its number). */
enum mail_kind { NO_MAIL, DOORBELL, UPCALLED, SCRIPTED };
struct mail { __u32 kind, of; };

/* All of it is the state, beside what is shared and the stacks. */
struct world {
	struct actor actor[ACTORS];
	struct mail mail[MAIL];
	__u64 userspace_read;		/* all that userspace has read since it last waited, as a hash */
	__u32 current, mails, served[2], locked, awake, signals, irq, paused, scripted;
	__u32 delays, now;
	__u16 offered, seen, heads[SLOTS], asked[SLOTS];
	__u16 completed;		/* entries of the ring so far */
};

/* What stays the same through an exploration. */
struct scenario {
	void *device;			/* struct device */
	__u64 ram, ram_bytes, uring;
	__u64 avail, used;	/* guest-physical */
	__u64 status[SLOTS];		/* of each request: guest-physical */
	__u32 size, event_index;
	__u32 requests[2];		/* of each vCPU's driver */
	__u32 through_ring;		/* a bit for each request that takes the ring */
	__u32 failing;			/* a bit for each entry of the ring that comes back with an error */
	__u32 scripts;			/* items of userspace's own */
	__u32 preemptions, delays;	/* how many of them a schedule may have */
	__u32 forgets;			/* the driver resets: what it asked for before need not be done */
	__u32 rounds;			/* looks of one visit at a queue that is filled meanwhile */
	__u32 at_once;			/* requests that a driver makes available before it rings; 0: one */
	__u32 assisted;			/* the native build is offered what the kernel half declines */
	__u32 always;			/* drivers ring whatever they were asked for */
	__u32 by_ring;			/* interrupts of what was collected are raised through the ring */
};

#endif
