/* Memory as x86 has it: a store waits in its CPU's buffer until that is drained, in order; a barrier or an atomic waits
 * for that.  Only words that somebody else reads without a lock are here; what a lock or `holder` guards is plain.
 *
 * Before it is included: WORDS, CPUS, BUFFERED, which is how many stores a buffer holds, and `me`, the CPU that runs
 * a process.  No process loads a word that it has in its own buffer, so nothing is forwarded. */

byte word[WORDS];
chan buffer[CPUS] = [BUFFERED] of { byte, byte };

#define load(at)		word[at]
#define store(at, value)	buffer[me]!at,(value)
#define barrier()		empty(buffer[me])

/* An atomic; the old value is in `before`. */
#define fetch_add(at, n)	atomic { barrier() -> before = word[at]; word[at] = word[at] + (n) }
#define exchange(at, value)	atomic { barrier() -> before = word[at]; word[at] = value }

/* One store of a CPU's becomes visible.  ACTIVE is only ever added to, in one instruction. */
#define drain(cpu)		d_step { buffer[cpu]?at,value -> \
					 word[at] = (at == ACTIVE -> word[at] + value : value); at = 0; value = 0 }

/* A lock of the guest's or of Python's: taken and let go of by atomics. */
#define lock(of)		atomic { !of && barrier() -> of = true }
#define unlock(of)		atomic { barrier() -> of = false }

/* A property of the protocol, by its name in `mtype`, which is printed along the trail. */
#define property(name, holds)	if :: holds :: else -> printf("violated: %e\n", name); assert(false) fi
