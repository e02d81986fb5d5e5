/* Who holds a queue, its hand-over, its doorbells and its interrupts.  vmm/sync/PROTOCOL.md: "States and arcs", "Two
 * doorbells at one queue", "A decline"; kernel_devices/ownership.h, visit.h; vmm/sync/ownership.py,
 * vmm/virtqueue/virtqueue.py, vmm/virtio/virtio_device.py.
 *
 * Two vCPUs make requests available and ring; their doorbells run the handler, and behind it the Python half for what
 * is declined.  A thread of userspace takes the queue, serves it, and gives it back.  The driver's interrupt handler
 * sees what is used, and says at which entry it wants the next interrupt.  One request is declined, whichever it is.
 *
 * models:
 *	two_requests	-
 *	flags		FLAGS		no event indices: flags say who wants what
 *	three_requests	THREE		none of them is declined but for being held or busy
 *	reset		RESET		by a vCPU, at any moment
 *
 * faults:
 *	NO_BARRIER_IN_ENTER	two_requests	one_holder	`active` is not out when `holder` is read
 *	NO_LOOK_AT_HOLDER	two_requests	one_holder	a handler enters, whoever holds the queue
 *	NO_BARRIER_IN_TAKE	two_requests	one_holder	`holder` is not out when `active` is read
 *	NO_WAIT_IN_TAKE		two_requests	one_holder	userspace goes on while handlers are inside
 *	NO_LOCK			two_requests	one_holder	a second doorbell is served beside the first
 *	NO_LOOK_AGAIN		two_requests	no_request_lost	after asking for a doorbell
 *	NO_BARRIER_BEFORE_LOOK	two_requests	no_request_lost	what is asked for is not out when we look
 *	NO_LOOK_AGAIN_IN_PYTHON	two_requests	no_request_lost	as above, in the Python half
 *	NO_BARRIER_BEFORE_LOOK_IN_PYTHON	two_requests	no_request_lost
 *	RINGS_READ_LATE		two_requests	no_request_lost	doorbells count as looked for that came after the look
 *	RINGS_NOT_COMPARED	two_requests	no_request_lost	the lock is let go by 0, though somebody rang
 *	DECLINE_SUBTRACTS	three_requests	no_request_lost	a decline does not let go by 0: the lock stays taken
 *	BUSY_IS_HANDLED		three_requests	no_request_lost	after its last round a handler leaves, and tells nobody
 *	DECLINE_IS_TAKEN	two_requests	no_request_lost	what is declined does not stay where it was
 *	PUBLISHED_LATE		two_requests	all_seen	used entries are out when the driver's wish has been read
 *	PUBLISHED_LATE_IN_PYTHON	two_requests	all_seen
 *	DECIDED_IS_FORGOTTEN	two_requests	all_seen	an interrupt decided on in a round before the decline
 *	UNSIGNALLED_NOT_SHARED	two_requests	all_seen	userspace decides by what it used itself
 *	COUNTED_AFTER_LETTING_GO	two_requests	counters_add_up	the counters are behind the lock, too
 *	RESET_DOES_NOT_TAKE	reset		none_after_reset	a handler is inside when the reset is done
 *	GENERATION_UNSEEN	two_requests	-	nothing depends on it: see README.md
 */

#define CPUS			4	/* two vCPUs, userspace, and one for the driver's interrupt handler */
#ifdef THREE
#define REQUESTS		3
#else
#define REQUESTS		2
#endif
#define WORDS			QUEUE_WORDS
#define STALLED			false
#define VISITED_SOON		false
#include "queue.pml"

#ifdef THREE
bool odd;
#else
bool odd = true;		/* a request that the handler declines is still to come */
#endif

/* serve_waiting() */
inline serve_waiting() {
	atomic {
		waiting = load(AVAIL) - next_avail;
		do
		:: waiting > 0 ->
			if
			:: push(next_avail); next_avail++; requests++; waiting--
			:: odd -> odd = false; reason = ODD; waiting = 0;
#ifdef DECLINE_IS_TAKEN
				next_avail++;
#endif
				break
			fi
		:: else -> break
		od
	}
}

/* VirtioDevice._serve() */
inline serve() {
	lock(device_lock);
	if
	:: !ready
	:: else ->
		take();
#ifdef UNSIGNALLED_NOT_SHARED
		unsignalled = 0;
#endif
		serve_empty();
		decide_on_interrupt();
		give();
		atomic { interrupt = interrupt || wanted; wanted = false }
	fi;
	unlock(device_lock)
}

/* Negotiation.stop_queue(); the driver uses the queue no more */
inline reset() {
	lock(device_lock);
#ifndef RESET_DOES_NOT_TAKE
	take();
	serving--;
#endif
	ready = false;
	unlock(device_lock)
}

/* The doorbell's handler, and the Python half for what it declines. */
inline doorbell() {
	visit();
	atomic { interrupt = interrupt || (reason == NONE && wanted); wanted = false };
	if
	:: reason != NONE -> reason = NONE; serve()
	:: else
	fi
}

proctype vcpu(byte me, left) {
	byte before, seen, generation, was, requests, waiting, rounds, added;
	mtype reason = NONE;
	bool unpublished, wanted, locked, drained, ring;

	do
	:: left > 0 ->
		request();
		if
		:: ring -> doorbell()
		:: else
		fi
#ifdef RESET
	:: ready && me == 0 -> reset(); break
	:: !ready -> break
#endif
	:: else -> break
	od;
	running--
}

proctype userspace(byte me) {
	bool unpublished, wanted;

	serve();
	running--
}

/* Stores become visible, sometime. */
proctype memory() {
	byte at, value;

end:	do
	:: drain(0)
	:: drain(1)
	:: drain(2)
	:: drain(3)
	od
}

#define NO_STORES	(empty(buffer[0]) && empty(buffer[1]) && empty(buffer[2]) && empty(buffer[3]))

init {
	atomic {
		word[HOLDER] = KERNEL;
		running = 3;
		run memory();
		run interrupts(3);
		run userspace(2);
		run vcpu(1, 1);
		run vcpu(0, REQUESTS - 1)
	};
	atomic {
		running == 0 && !interrupt && NO_STORES;	/* nothing more happens */
		if
		:: !ready
		:: else ->
			property(no_request_lost, next_used == REQUESTS);
			property(all_seen, seen_used == REQUESTS);
			property(counters_add_up, handled == REQUESTS)
		fi
	}
}
