/* A queue, with what handlers, userspace and the driver do with it.  vmm/sync/PROTOCOL.md: "States and arcs", "Two
 * doorbells at one queue", "A decline"; kernel_devices/ownership.h, visit.h; vmm/sync/ownership.py,
 * vmm/virtqueue/virtqueue.py.
 *
 * A model defines REQUESTS, CPUS and WORDS, which begins at QUEUE_WORDS, and of its own
 *	serve_waiting()		what the handler does with what waits, up to a reason to decline
 *	STALLED			requests wait for those in flight
 *	VISITED_SOON		no doorbell need be asked for
 * and WANTS_ALL if the driver wants an interrupt for all that is used. */

#define USER			0
#define KERNEL			1
#define ROUNDS			2	/* of a visit; 8 in visit.h */
#define MANY_USED		128	/* 0x8000 in ring.h */

#define AVAIL			0	/* avail index, of the driver */
#define AVAIL_EVENT		1	/* at which entry we want a doorbell */
#define USED			2	/* used index */
#define USED_EVENT		3	/* at which entry the driver wants an interrupt */
#define NO_INTERRUPT		4	/* it wants none */
#define HOLDER			5
#define GENERATION		6	/* modulo 2: a handler stays through one take, and no give */
#define ACTIVE			7
#define RINGS			8
#define QUEUE_WORDS		9
#define BUFFERED		2
#include "x86.pml"

/* properties, and reasons to decline */
mtype = { one_holder, each_once, no_request_lost, all_seen, counters_add_up, none_after_reset,
	  used_when_done };
mtype = { NONE, HELD_BY_USER, NOT_READY, ODD, BUSY, BUDGET, RING_ASLEEP, IO_FAILED };

/* position, setup, and counters: the holder's */
byte next_avail, next_used, unsignalled;
byte handled;			/* by both halves together */
bool ready = true;

byte serving;			/* who uses them now */
bool done[REQUESTS];

/* the driver's own */
byte made_available, seen_used;
bool guest_lock, interrupt;

bool device_lock;		/* of userspace's threads */
byte running;			/* vCPUs and threads that have not ended; the driver's interrupt handler, if it runs */

inline begin_serving() {
	serving++;
	property(one_holder, serving == 1)
}

/* A used entry, which the driver sees when it is published. */
inline push(request) {
	property(none_after_reset, ready);
	property(each_once, !done[request]);
	done[request] = true;
	next_used++;
	unsignalled = (unsignalled < MANY_USED -> unsignalled + 1 : unsignalled);
	unpublished = true
}

inline publish() {
	atomic {
		if
		:: unpublished -> unpublished = false; store(USED, next_used)
		:: else
		fi
	}
}

/* used_wants_interrupt(): for what was used since the last time */
inline look_at_wish() {
	if
	:: unsignalled == 0
	:: else ->
#ifdef WANTS_ALL
		wanted = true
#elif defined(FLAGS)
		wanted = wanted || !load(NO_INTERRUPT)
#else
		wanted = wanted || ((next_used - load(USED_EVENT) - 1) & 255) < unsignalled
#endif
	fi;
	unsignalled = 0
}

/* The handler */

inline enter() {
#ifdef NO_BARRIER_IN_ENTER
	store(ACTIVE, 1);
#else
	fetch_add(ACTIVE, 1);
#endif
	if
#ifdef NO_LOOK_AT_HOLDER
	:: true ->
#else
	:: load(HOLDER) == KERNEL ->
#endif
		generation = load(GENERATION)
	:: else ->
		reason = HELD_BY_USER
	fi
}

inline leave() {
	fetch_add(ACTIVE, -1)
}

inline count_served() {
	was = handled;			/* not an atomic of the CPU's: the lock is held */
#ifdef COUNTED_AFTER_LETTING_GO
	skip;
#endif
	handled = was + requests;
	was = 0;
	requests = 0
}

inline let_go() {
#ifdef RINGS_NOT_COMPARED
	exchange(RINGS, 0);
	before = seen;
#else
	fetch_add(RINGS, -seen);
#endif
	drained = before == seen;
	serving = (drained -> serving - 1 : serving)
}

/* serve_round(), to be broken out of */
inline serve_round() {
#ifdef RINGS_READ_LATE
	serve_waiting();
#else
	atomic { rounds++; seen = load(RINGS) };
	serve_waiting();
#endif
#ifndef PUBLISHED_LATE
	publish();
#endif
	if
	:: reason != NONE -> break
	:: else
	fi;
#ifndef FLAGS
	if
	:: VISITED_SOON
	:: else -> store(AVAIL_EVENT, next_avail)
	fi;
#endif
#ifndef NO_BARRIER_BEFORE_LOOK
	barrier();
#endif
	if
#ifndef NO_LOOK_AGAIN
	:: !STALLED && load(AVAIL) != next_avail
#endif
	:: else ->
#ifdef NO_BARRIER_BEFORE_LOOK
		barrier();
#endif
#ifndef GENERATION_UNSEEN
		if
		:: load(GENERATION) != generation -> reason = HELD_BY_USER; break
		:: else
		fi;
#endif
		atomic {
			look_at_wish();
#ifndef COUNTED_AFTER_LETTING_GO
			count_served()
#endif
		};
#ifdef PUBLISHED_LATE
		publish();
#endif
#ifdef RINGS_READ_LATE
		atomic { rounds++; seen = load(RINGS) };
#endif
		atomic {
			let_go();
			if
			:: drained -> break
			:: else
			fi
		}
	fi
}

/* serve_locked() */
inline serve_locked() {
	if
	:: !ready -> reason = NOT_READY
	:: else ->
		do
		:: rounds < ROUNDS -> serve_round()
		:: else -> reason = BUSY; break
		od
	fi;
#ifdef PUBLISHED_LATE
	publish();
#endif
	atomic {
		rounds = 0;
		if
		:: drained -> drained = false
		:: else ->
#ifndef DECIDED_IS_FORGOTTEN
			unsignalled = (wanted -> MANY_USED : unsignalled);
#endif
#ifndef COUNTED_AFTER_LETTING_GO
			count_served();
#endif
#ifdef DECLINE_SUBTRACTS
			fetch_add(RINGS, -seen);
#else
			exchange(RINGS, 0);
#endif
			serving--
		fi
	};
#ifdef COUNTED_AFTER_LETTING_GO
	count_served();
#endif
#ifdef BUSY_IS_HANDLED
	reason = (reason == BUSY -> NONE : reason)
#endif
}

/* visit_queue(): with `reason`, and `wanted` for an interrupt that is whoever's who runs it */
inline visit() {
	enter();
	if
	:: reason == HELD_BY_USER
	:: else ->
		atomic {
			fetch_add(RINGS, 1);
#ifdef NO_LOCK
			before = 0;
#endif
			if
			:: before == 0 -> begin_serving(); locked = true
			:: else
			fi;
			before = 0
		};
		if
		:: locked -> locked = false; serve_locked()
		:: else
		fi
	fi;
	leave()
}

/* Userspace */

inline take() {
	atomic { store(HOLDER, USER); store(GENERATION, 1) };
#ifndef NO_BARRIER_IN_TAKE
	barrier();
#endif
	atomic {
#ifndef NO_WAIT_IN_TAKE
		load(ACTIVE) == 0;
#endif
		begin_serving()
	}
}

inline give() {
	atomic { serving--; store(GENERATION, 0) };
	barrier();
	store(HOLDER, KERNEL);
#ifndef NO_BARRIER_AFTER_GIVE
	barrier()
#endif
}

/* UserQueue.chains(): until the queue is empty, and the driver will ring */
inline serve_empty() {
	do
	:: atomic { load(AVAIL) != next_avail -> push(next_avail); next_avail++; handled++ }
	:: else ->
#ifndef PUBLISHED_LATE_IN_PYTHON
		publish();
#endif
#ifndef FLAGS
		store(AVAIL_EVENT, next_avail);
#endif
#ifndef NO_BARRIER_BEFORE_LOOK_IN_PYTHON
		barrier();
#endif
		if
#ifndef NO_LOOK_AGAIN_IN_PYTHON
		:: load(AVAIL) != next_avail
#endif
		:: else -> break
		fi
	od
}

/* UserQueue.wants_interrupt() */
inline decide_on_interrupt() {
#ifndef PUBLISHED_LATE_IN_PYTHON
	publish();
	barrier();
#endif
	atomic { look_at_wish() };
#ifdef PUBLISHED_LATE_IN_PYTHON
	publish()
#endif
}

/* The driver */

/* Make one request available, or two at once, and see whether a doorbell is asked for (2.7.13). */
inline request() {
	atomic {
		lock(guest_lock);
		if
		:: added = 1
		:: left > 1 -> added = 2
		fi;
		left = left - added;
		made_available = made_available + added;
		store(AVAIL, made_available)
	};
	atomic {
		barrier() ->
#ifdef FLAGS
		ring = true;
#else
		ring = ((made_available - load(AVAIL_EVENT) - 1) & 255) < added;
#endif
		added = 0;
		unlock(guest_lock)
	}
}

/* Its interrupt handler: see what is used, and say when to interrupt next (2.7.7, 2.7.14). */
proctype interrupts(byte me) {
#ifdef WANTS_ALL
end:	do
	:: atomic { interrupt -> interrupt = false; seen_used = load(USED) }
	od
#else
	byte event;

end:	do
	:: interrupt ->
		atomic { interrupt = false; running++ };
#ifdef FLAGS
		store(NO_INTERRUPT, 1);
#endif
		do
		:: atomic {
				seen_used = load(USED);
				event = seen_used;
#ifdef FLAGS
				store(NO_INTERRUPT, 0)
#else
				if
				:: event + 1 < REQUESTS -> event++
				:: true
				fi;
				store(USED_EVENT, event)
#endif
			};
			barrier();
			if
			:: load(USED) > event
			:: else -> atomic { event = 0; running--; break }
			fi
		od
	od
#endif
}
