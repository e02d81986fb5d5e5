/* Requests in flight: the io_uring, its tags, and who collects what comes back.  vmm/sync/PROTOCOL.md: "Requests in
 * flight", "How much one visit does", "Interrupts"; kernel_devices/uring.h, serving.h, visit.h, doorbell.h;
 * vmm/virtqueue/uring.py, vmm/virtio/virtio_device.py, in_flight.py.
 *
 * A vCPU makes requests available and rings; its doorbell's handler submits them.  io_uring's thread takes submissions,
 * and the disk completes them in any order, and signals.  The collector visits the queue for that.  A thread of
 * userspace answers upcalls.  What else may happen is a model each.  Userspace does all that it finds itself, at once,
 * and nobody looks by the clock.
 *
 * models:
 *	any_order	-
 *	one_tag		TAGS=1		the second request waits for the first
 *	taken		TAKES		userspace takes the queue, at any moment
 *	asleep		SLEEPS		io_uring's thread does, when there is nothing to submit
 *	undone		FAILS		a request comes back undone, once
 *	undone_tag	FAILS,TAGS=1	and no other tag is free
 *	host		HOST,TAKES	the collector is a thread; nobody interrupts but who decides to
 *	repeated	REPEATED,TAGS=1	the ring posts a completion twice
 *	budget		LATE		a visit is out of time, once
 *	lazy		LAZY,FAILS	no doorbell is asked for while requests are in flight
 *	receive		RECEIVE,TAKES,REQUESTS=1	what is available is the kernel half's alone, whoever holds the queue
 *	off		OFF		offload is switched off, at any moment
 *	reset		RESET		by the vCPU, at any moment
 *
 * faults:
 *	TAIL_WITHOUT_BARRIER	asleep		no_request_lost	the tail is not out when the flag of sleep is read
 *	SLEEP_WITHOUT_LOOK	asleep		no_request_lost	io_uring's thread does not look again before it sleeps
 *	ASLEEP_IS_HANDLED	asleep		no_request_lost	nobody wakes it
 *	NO_LOOK_AFTER_GIVE	taken		no_request_lost	what came back meanwhile had nobody to look at it
 *	NO_BARRIER_AFTER_GIVE	taken		no_request_lost	`holder` is not out when completions are looked at
 *	FAILED_IS_HANDLED	undone		no_request_lost	what comes back undone is nobody's
 *	COLLECTED_ONLY		one_tag		no_request_lost	a collector does not look at the avail ring
 *	SERIAL_UNSEEN		repeated	used_when_done	a completion counts for the tag's next request
 *	FLYING_UNSEEN		repeated	each_once	a completion counts though its tag is free
 *	ANOTHERS_MESSAGE	any_order	all_seen	a collector runs for another device's message
 *	KICK_UNSEEN		receive		no_request_lost	a kick does not have the queue visited
 *	NO_KICK			receive		no_request_lost
 *	NOP_UNSEEN		budget		no_request_lost	who was called for the NOP found the lock taken
 *	BUDGET_IS_HANDLED	budget		no_request_lost
 *	LAZY_FOR_EVER		lazy		no_request_lost	no doorbell is asked for though nothing is in flight
 *	OFF_DOES_NOT_WAIT	off		no_request_lost	the ring is closed on what is in flight
 *	RESET_DOES_NOT_WAIT	reset		none_after_reset	what is in flight writes to the driver's memory
 */

#define CPUS			4	/* a vCPU, userspace, the collector, and one for another device's message */
#define WANTS_ALL
#ifndef REQUESTS
#define REQUESTS		2
#endif
#ifndef TAGS
#define TAGS			2
#endif
#define PLACES			4	/* of io_uring's rings; counters and serials are modulo that */
#define NEXT(n)			((n + 1) & (PLACES - 1))
#define NOP			TAGS	/* in a tag's place: an entry that does nothing */
#define NOBODY			255	/* a completion is of no request in flight */

#define SQ_TAIL			QUEUE_WORDS
#define CQ_TAIL			(QUEUE_WORDS + 1)
#define NEED_WAKEUP		(QUEUE_WORDS + 2)
#define KICKS			(QUEUE_WORDS + 3)	/* `kicks` is not `kicks_seen` */
#define WORDS			(QUEUE_WORDS + 4)
#define STALLED			stalled
#if !defined(LAZY)
#define VISITED_SOON		false
#elif defined(LAZY_FOR_EVER)
#define VISITED_SOON		true
#else
#define VISITED_SOON		(flying > 0)
#endif
#include "queue.pml"

mtype = { FREE, FLYING, FAILED };
typedef request_in_flight { mtype state = FREE; byte serial, head };
typedef submission { byte tag, serial, head };
typedef completion { byte tag, serial; bool undone };

/* flight: the holder's */
request_in_flight tags[TAGS];
byte tail, flying, failed;
bool nop;

/* io_uring's rings, and what it has taken */
submission sqe[PLACES];
completion cqe[PLACES];
byte sq_head, cq_head;
bool with_disk[TAGS + 1];
submission disk[TAGS];
bool awake = true, woken;
bool signalled;			/* the ring's eventfd, and its message */
bool ring_open = true;
bool performed[REQUESTS];

/* userspace's */
bool offloaded = true;		/* the queue is assigned to the kernel half, and doorbells go to its handler */
bool in_exit;			/* the vCPU is out of the guest: offload is not switched */
bool upcall_serve, upcall_wake, upcall_kick;

#ifdef FAILS
bool may_fail = true;
#endif
#ifdef REPEATED
bool may_repeat = true;
#endif
#ifdef LATE
bool may_be_late = true;
#endif

#define COMPLETIONS		(ring_open && cq_head != load(CQ_TAIL))

/* The ring, from either half */

inline submit_entry(number) {
	sqe[tail].tag = number;
	tail = NEXT(tail)
}

inline uring_commit(number) {
	tags[number].serial = NEXT(tags[number].serial);
	tags[number].state = FLYING;
	tags[number].head = next_avail;
	sqe[tail].serial = tags[number].serial;
	sqe[tail].head = next_avail;
	submit_entry(number);
	flying++;
	next_avail++
}

/* uring_take(): the tag of a request in flight, or NOBODY, in `found` */
inline uring_take() {
	found = cqe[cq_head].tag;
	if
	:: found == NOP -> nop = false; found = NOBODY
#ifndef FLYING_UNSEEN
	:: found != NOP && tags[found].state != FLYING -> found = NOBODY
#endif
#ifndef SERIAL_UNSEEN
	:: found != NOP && tags[found].serial != cqe[cq_head].serial -> found = NOBODY
#endif
	:: else ->
		flying--;
		if
		:: cqe[cq_head].undone -> tags[found].state = FAILED; failed++
		:: else
		fi
	fi;
	cq_head = NEXT(cq_head)
}

inline uring_release(number) {
	tags[number].state = FREE
}

/* A request is done, as its completion says. */
inline complete(number) {
	property(used_when_done, performed[tags[number].head]);
	push(tags[number].head);
	uring_release(number)
}

/* The handler */

/* Have the ring call us again; `otherwise` if it may have done so, as whoever was called found the lock taken. */
inline come_back(otherwise) {
	if
#ifndef NOP_UNSEEN
	:: nop && COMPLETIONS -> reason = otherwise
#endif
	:: else ->
		stalled = true;
		if
		:: nop
		:: else -> nop = true; submit_entry(NOP)
		fi
	fi
}

inline look_at_clock() {
#ifdef LATE
	if
	:: may_be_late -> may_be_late = false; late = true
	:: true
	fi
#else
	skip
#endif
}

/* collect_one(), for each that has come back */
inline collect_completions() {
	do
	:: atomic { COMPLETIONS && reason == NONE && !stalled ->
		look_at_clock();
		if
		:: late -> come_back(BUDGET)
		:: else ->
			uring_take();
			if
			:: found == NOBODY
			:: found != NOBODY && tags[found].state == FAILED -> undone = true
			:: else -> complete(found); requests++
			fi;
			found = 0
		fi }
	:: else -> break
	od
}

/* serve_one(), for each that waits */
inline serve_available() {
	atomic {
		waiting = load(AVAIL) - next_avail;
		do
		:: waiting > 0 && reason == NONE && !stalled ->
			look_at_clock();
			if
			:: late -> come_back(BUDGET)
			:: else ->
				if
				:: tags[0].state == FREE -> uring_commit(0); waiting--
#if TAGS > 1
				:: tags[0].state != FREE && tags[1].state == FREE -> uring_commit(1); waiting--
#endif
				:: else ->
					if
					:: flying > 0 -> stalled = true
					:: else -> come_back(BUSY)
					fi
				fi
			fi
		:: else -> waiting = 0; break
		od
	}
}

/* uring_submit(); a native handler wakes io_uring itself, by a system call */
inline uring_submit() {
	if
	:: load(SQ_TAIL) == tail
	:: else ->
#ifdef TAIL_WITHOUT_BARRIER
		store(SQ_TAIL, tail);
#else
		exchange(SQ_TAIL, tail);
#endif
#ifdef SLEEPS
		asleep = load(NEED_WAKEUP) || asleep
#endif
	fi
}

inline serve_waiting() {
	atomic { stalled = false; word[KICKS] = false };
	collect_completions();
#ifdef COLLECTED_ONLY
	if
	:: me == 2 -> stalled = true
	:: else -> serve_available()
	fi;
#else
	serve_available();
#endif
	uring_submit();
	atomic {
#ifndef FAILED_IS_HANDLED
		reason = (undone -> IO_FAILED : reason);
#endif
		undone = false
	}
}

/* A visit, and what it comes to. */
inline visit_with_ring() {
	visit();
	atomic {
#ifndef ASLEEP_IS_HANDLED
		reason = (reason == NONE && asleep -> RING_ASLEEP : reason);
#endif
#ifdef BUDGET_IS_HANDLED
		reason = (reason == BUDGET -> NONE : reason);
#endif
		asleep = false; stalled = false; late = false;
#ifdef HOST
		interrupt = interrupt || (wanted && (reason == NONE || reason == RING_ASLEEP));
#endif
		wanted = false
	}
}

/* The Python half */

/* Uring.enter() */
inline uring_enter() {
	if
	:: ring_open && sq_head != load(SQ_TAIL) ->
		atomic { woken = woken || load(NEED_WAKEUP) }
	:: else
	fi
}

/* Uring.kick() */
inline kick() {
	store(KICKS, true);
	atomic { barrier() -> signalled = true }
}

inline redo(number) {
	if
	:: tags[number].state == FAILED ->
		failed--;
		performed[tags[number].head] = true;
		complete(number);
		handled++
	:: else
	fi
}

/* InFlight._collect() */
inline collect() {
	uring_enter();
	do
	:: atomic { COMPLETIONS ->
		uring_take();
		if
		:: found == NOBODY
		:: found != NOBODY && tags[found].state == FAILED
		:: else -> complete(found); handled++
		fi;
		found = 0 }
	:: else -> break
	od;
	atomic {
		redo(0);
#if TAGS > 1
		redo(1)
#endif
	}
}

/* VirtioDevice._serve_held() */
inline serve_held() {
	if
	:: offloaded -> take()
	:: else -> begin_serving()
	fi;
	collect();
#ifndef RECEIVE
	serve_empty();
#endif
	decide_on_interrupt();
	if
	:: offloaded -> give()
	:: else -> serving--
	fi;
	atomic { interrupt = interrupt || wanted; wanted = false }
}

/* VirtioDevice._serve() */
inline serve() {
	do
	:: ready ->
		serve_held();
		if
#ifndef NO_LOOK_AFTER_GIVE
		:: COMPLETIONS
#endif
		:: else -> break
		fi
	:: else -> break
	od;
#if defined(RECEIVE) && !defined(NO_KICK)
	kick()
#endif
}

/* Offloading.set_mode(): while the vCPU stands still */
inline switch_off() {
	atomic { !in_exit -> in_exit = true };
	lock(device_lock);
	take();
	offloaded = false;
	collect();
#ifndef OFF_DOES_NOT_WAIT
	do
	:: flying > 0 -> uring_enter(); COMPLETIONS; collect()
	:: else -> break
	od;
#endif
	serve_empty();
	decide_on_interrupt();
	atomic { interrupt = interrupt || wanted; wanted = false; serving--; ring_open = false };
	unlock(device_lock);
	in_exit = false
}

/* Negotiation.stop_queue(), InFlight._drop(); the driver uses the queue no more */
inline reset() {
	lock(device_lock);
	take();
#ifndef RESET_DOES_NOT_WAIT
	do
	:: flying > 0 ->
		uring_enter();
		atomic { COMPLETIONS -> uring_take(); found = 0 }
	:: else -> break
	od;
#endif
	atomic { serving--; ready = false };
	unlock(device_lock)
}

/* InFlight.upcalled(), for what a vCPU or a collector has to say */
inline wake() {
	lock(device_lock);
	uring_enter();
	unlock(device_lock)
}

inline kick_again() {
	lock(device_lock);
	uring_enter();
	kick();
	unlock(device_lock)
}

inline serve_declined() {
	lock(device_lock);
	serve();
	unlock(device_lock)
}

/* Processes */

inline doorbell() {
	atomic { !in_exit -> in_exit = true };
	if
	:: offloaded ->
		visit_with_ring();
#ifndef HOST
		interrupt = true;		/* the claim's, whatever the handler did */
#endif
		if
		:: reason == NONE
		:: reason == RING_ASLEEP -> wake()
		:: reason == BUDGET -> kick_again()
		:: else -> serve_declined()
		fi;
		reason = NONE
	:: else -> serve_declined()
	fi;
	in_exit = false
}

proctype vcpu(byte me, left) {
	byte before, seen, generation, was, requests, waiting, rounds, added, found;
	mtype reason = NONE;
	bool unpublished, wanted, locked, drained, ring, stalled, asleep, undone, late;

	do
	:: left > 0 ->
		request();
		if
		:: ring -> doorbell()
		:: else
		fi
#ifdef RESET
	:: ready -> reset(); break
#endif
	:: else -> break
	od;
	running--
}

/* A collection: what it cannot do, userspace is told. */
inline collection() {
	if
	:: (COMPLETIONS
#ifndef KICK_UNSEEN
	    || load(KICKS)
#endif
	   ) && load(HOLDER) == KERNEL ->
		visit_with_ring();
		atomic {
			upcall_wake = upcall_wake || reason == RING_ASLEEP;
			upcall_kick = upcall_kick || reason == BUDGET;
			upcall_serve = upcall_serve || (reason != NONE && reason != HELD_BY_USER &&
							reason != RING_ASLEEP && reason != BUDGET);
			reason = NONE
		}
	:: else
	fi
}

/* Where the ring's message is injected, or a thread waits for its eventfd. */
proctype collector(byte me) {
	byte before, seen, generation, was, requests, waiting, rounds, found;
	mtype reason = NONE;
	bool unpublished, wanted, locked, drained, stalled, asleep, undone, late;

end:	do
	:: signalled ->
		atomic { signalled = false; running++ };
		collection();
		atomic {
#ifndef HOST
			interrupt = true;	/* the message is injected */
#endif
			running--
		}
	od
}

#ifdef ANOTHERS_MESSAGE
proctype another(byte me) {
	byte before, seen, generation, was, requests, waiting, rounds, found;
	mtype reason = NONE;
	bool unpublished, wanted, locked, drained, stalled, asleep, undone, late;

	collection();
	running--
}
#endif

proctype userspace(byte me) {
	byte found;
	bool unpublished, wanted;
#if defined(TAKES) || defined(OFF)
	bool may_take = true;
#endif

end:	do
	:: upcall_serve -> atomic { upcall_serve = false; running++ }; serve_declined(); running--
	:: upcall_wake -> atomic { upcall_wake = false; running++ }; wake(); running--
	:: upcall_kick -> atomic { upcall_kick = false; running++ }; kick_again(); running--
#ifdef OFF
	:: atomic { may_take -> may_take = false; running++ }; switch_off(); running--
#elif defined(TAKES)
	:: atomic { may_take -> may_take = false; running++ }; serve_declined(); running--
#endif
	od
}

/* io_uring's thread: takes what was submitted; sets a flag before it sleeps, and looks once more (io_sq_thread). */
proctype io_uring() {
end:	do
	:: atomic { awake && sq_head != load(SQ_TAIL) ->
		with_disk[sqe[sq_head].tag] = true;
		if
		:: sqe[sq_head].tag != NOP ->
			disk[sqe[sq_head].tag].serial = sqe[sq_head].serial;
			disk[sqe[sq_head].tag].head = sqe[sq_head].head
		:: else
		fi;
		sq_head = NEXT(sq_head) }
#ifdef SLEEPS
	:: awake && sq_head == load(SQ_TAIL) ->
		word[NEED_WAKEUP] = true;
		if
#ifndef SLEEP_WITHOUT_LOOK
		:: atomic { sq_head != load(SQ_TAIL) -> word[NEED_WAKEUP] = false }
#endif
		:: else -> awake = false
		fi
	:: atomic { !awake && woken -> awake = true; woken = false; word[NEED_WAKEUP] = false }
#endif
	od
}

/* Completes what io_uring has taken, in any order.  Signalling takes a lock, which is a barrier. */
inline post(number) {
	atomic {
		running++;
		with_disk[number] = false;
		cqe[posted].tag = number;
		if
		:: number != NOP ->
			property(none_after_reset, ready);
			cqe[posted].serial = disk[number].serial;
			if
			:: performed[disk[number].head] = true; cqe[posted].undone = false
#ifdef FAILS
			:: may_fail -> may_fail = false; cqe[posted].undone = true
#endif
			fi
		:: else
		fi;
		posted = NEXT(posted);
		word[CQ_TAIL] = posted
	};
	atomic { signalled = true; running-- }
}

proctype disks() {
	byte posted;

end:	do
	:: with_disk[0] -> post(0)
#if TAGS > 1
	:: with_disk[1] -> post(1)
#endif
	:: with_disk[NOP] -> post(NOP)
#ifdef REPEATED
	:: atomic { may_repeat && posted > 0 ->
		may_repeat = false;
		cqe[posted].tag = cqe[posted - 1].tag;
		cqe[posted].serial = cqe[posted - 1].serial;
		cqe[posted].undone = cqe[posted - 1].undone;
		posted = NEXT(posted);
		word[CQ_TAIL] = posted }
#endif
	od
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
#define DISK_IDLE	(!with_disk[0] && !with_disk[1] && !with_disk[TAGS])
#define RING_IDLE	(awake -> sq_head == load(SQ_TAIL) : !woken)
#define NOBODY_CALLED	(!signalled && !interrupt && !upcall_serve && !upcall_wake && !upcall_kick)

init {
	atomic {
		word[HOLDER] = KERNEL;
		running = 1;
		run memory();
		run interrupts(255);
		run disks();
		run io_uring();
		run collector(2);
		run userspace(1);
#ifdef ANOTHERS_MESSAGE
		running++;
		run another(3);
#endif
		run vcpu(0, REQUESTS)
	};
	atomic {
		running == 0 && NOBODY_CALLED && RING_IDLE && DISK_IDLE && NO_STORES;	/* nothing more happens */
		if
		:: !ready
		:: else ->
			property(no_request_lost, next_used == REQUESTS);
			property(all_seen, seen_used == REQUESTS);
			property(counters_add_up, handled == REQUESTS && flying == 0 && failed == 0)
		fi
	}
}
