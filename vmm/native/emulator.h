/* A CPU of Unicorn's that runs the declared state of a vCPU (vmm/devmodel/vcpu.py) on guest memory, and what it may
 * run of a guest that KVM runs otherwise.
 *
 * Unicorn is not there when this is built: its calls are looked up, and its numbers given, by who has loaded it
 * (vmm/executors/unicorn_cpu.py).
 */
#include "kvm_run.h"
#include "vcpu_state.gen.h"
#include <stdbool.h>
#include <stddef.h>

struct uc_struct;
struct uc_context;

/* unicorn/unicorn.h, as of 2.1 */
struct unicorn_calls {
	int (*emu_start)(struct uc_struct *uc, uint64_t begin, uint64_t until, uint64_t timeout, size_t count);
	int (*emu_stop)(struct uc_struct *uc);
	int (*reg_read)(struct uc_struct *uc, int id, void *value);
	int (*reg_write)(struct uc_struct *uc, int id, const void *value);
	int (*context_save)(struct uc_struct *uc, struct uc_context *context);
	int (*context_restore)(struct uc_struct *uc, struct uc_context *context);
	int (*ctl)(struct uc_struct *uc, int control, ...);
	int (*mmio_map)(struct uc_struct *uc, uint64_t address, uint64_t size, void *read, void *read_data, void *write,
			void *write_data);
	int (*hook_add)(struct uc_struct *uc, size_t *hook, int type, void *callback, void *data, uint64_t begin,
			uint64_t end, ...);
	int (*vmem_translate)(struct uc_struct *uc, uint64_t address, int protection, uint64_t *physical);
};

/* uc_tb */
struct unicorn_translation {
	uint64_t pc;
	uint16_t instructions, bytes;
};

struct unicorn_numbers {
	int rip, rflags, rdx, fcw, mxcsr, cpuid_registers[4];	/* registers */
	int flush_tlb, flush_code;			/* controls */
	int hook_block, hook_translation, hook_exception, hook_read_protected, hook_write_protected, hook_instruction,
	    in, out, cpuid, syscall, sysenter;
	int invalid, unmapped_read, unmapped_write, unmapped_fetch;	/* errors */
	int executable;					/* a protection */
};

/* Offsets in a saved context (vmm/executors/unicorn_places.py), from where a CPU's words begin in it. */
struct unicorn_places {
	uint32_t general[17], segments[10], cr0, cr2, cr3, cr4, cr8, efer, msrs[10], sysenter_cs, flags, debug, st, top,
		 status, fcw, tags, fip, fdp, fop, mxcsr, xmm, xmm_stride, exception, old_exception, tsc_offset;
};

enum emulator_stop {
	EMULATOR_BUDGET,	/* as many basic blocks as it was told */
	EMULATOR_ASKED,		/* by emulator_ask() */
	EMULATOR_LEFT,		/* before a block that is not to be run here */
	EMULATOR_HALTED,	/* behind HLT */
	EMULATOR_EXCEPTION,	/* `vector`, `error`; before the instruction, or behind it where it is an INT */
	EMULATOR_SYSCALL,	/* at SYSCALL or SYSENTER: `vector` is 0 or 1 */
	EMULATOR_NOWHERE,	/* an access of an address that has nothing here: `error` */
	EMULATOR_FAILED,	/* a callback did: who gave it knows */
	EMULATOR_REFUSED,	/* Unicorn gave up: `error` */
};

enum { EMULATOR_PORTS = 4, EMULATOR_DX = -1 };

/* What there is to know of a basic block: whether to run it, and the ports that it is at; EMULATOR_DX is that of its
 * beginning. */
struct emulated_block {
	uint64_t physical, linear;
	uint16_t bytes;
	uint8_t mode;		/* 2: 64 bits, 1: 32, 0: 16 */
	uint8_t ours;
	uint8_t known, ports, pops_flags;
	int32_t port[EMULATOR_PORTS];
};

struct code_page;

/* Guest memory, or registers that reads of take from memory. */
struct guest_range {
	uint64_t gpa, bytes;
	uint8_t *at;
};

/* Where code is fetched from; true of one run, and up to an epoch what its translations were made of. */
struct code_place {
	uint64_t page, run, physical;
	uint32_t epoch;
	uint8_t *at;
};

/* A block that is stopped before; zeros where there is none. */
struct block_mark {
	uint64_t linear, physical;
	uint32_t kind;
};

struct access_window {
	struct emulator *emulator;
	uint64_t gpa, bytes;
};

/* An instruction's access that Unicorn makes in pieces, so many of which are to come. */
struct whole_access {
	uint64_t gpa, value;
	uint32_t bytes, pieces;
};

enum { EMULATOR_RANGES = 64, EMULATOR_WINDOWS = 128, EMULATOR_CACHED = 256, EMULATOR_BLOCKS = 4096,
       EMULATOR_MARKED = 1024 };

struct emulator {
	struct unicorn_calls call;
	struct unicorn_numbers number;
	struct unicorn_places at;
	struct uc_struct *uc;
	struct uc_context *context;
	uint8_t *cpu, *given;		/* the words of the CPU in `context`; as they were given */
	uint32_t flags_given;
	size_t cpu_bytes;
	struct vcpu_state *state;
	void *handle;			/* whose callbacks are called */

	/* accesses */
	struct vcpu_loop *loop;		/* whose native exit path is offered them first; NULL if there is none */
	bool told;			/* Python of one */
	uint64_t accesses, callback_ticks;	/* of the time-stamp counter */

	uint8_t *undo_at, undo[16];	/* what was in read-only memory before Unicorn wrote there */
	uint32_t undo_bytes;
	struct access_window windows[EMULATOR_WINDOWS];
	struct whole_access reading, writing;
	struct guest_range registers[EMULATOR_RANGES];
	uint32_t register_count;

	/* the code that runs */
	struct guest_range ranges[EMULATOR_RANGES];
	uint32_t range_count;
	struct code_page **pages;	/* by guest-physical page, a hash table */
	uint32_t page_count;
	struct code_place places[EMULATOR_CACHED];
	uint64_t quiet_page;		/* whose blocks need no look, */
	uint32_t quiet, quiet_given;	/* so many of them from now on, and from when that was said: 0 where all need one */
	uint64_t last_page, last_other, run;	/* pages of the block that ran: its first, and another one */
	uint32_t epoch;			/* moves when others may have written guest memory */
	bool stale;			/* translations are */
	uint64_t flushes;

	/* beside KVM, blocks are looked at first; and stop before ports and blocks that are KVM's */
	bool guarded;
	const uint8_t *kernel_ports;	/* a bit for each */
	struct emulated_block *blocks;
	bool popped;			/* flags, by the last block: a trap after the next instruction is KVM's */

	/* alone, it stops before blocks with instructions that are done elsewhere, as Unicorn tells nobody of them */
	struct block_mark marked[EMULATOR_MARKED];	/* by linear address, a hash table */
	bool marked_pages[EMULATOR_CACHED];	/* by page, which others may share a place with */
	uint32_t marks;
	bool untold;			/* the next block's translation: Unicorn tells of those behind a block that ran */
	bool stepping;			/* through such a block */
	uint32_t left_bytes;		/* of the block that it stopped before */

	/* a run */
	uint64_t budget, ran;		/* basic blocks */
	uint32_t idle_budget, idle;	/* of them in a row without an access; 0: no limit */
	volatile uint32_t asked, moved;	/* a stop; guest memory is elsewhere */
	int why;
	uint32_t vector, error;
	bool awaited;			/* an interrupt is: a run stops before a block where interrupts are enabled */
};

/* Callbacks, all on the thread that runs: Python's. */
struct emulator_callbacks {
	uint64_t (*read)(void *handle, uint32_t bus, uint64_t address, uint32_t width);
	void (*write)(void *handle, uint32_t bus, uint64_t address, uint32_t width, uint64_t value);
	void (*look)(void *handle, struct emulated_block *block, const uint8_t *code);
	void (*cpuid)(void *handle, uint32_t *registers);
	void (*raise)(void *handle, int32_t line);
	void (*remap)(void *handle);
};

int emulator_begin(struct emulator *emulator, const struct emulator_callbacks *callbacks);
void emulator_end(struct emulator *emulator);
int emulator_window(struct emulator *emulator, uint32_t window);
void emulator_give(struct emulator *emulator);
void emulator_take(struct emulator *emulator);
int emulator_run(struct emulator *emulator, uint64_t blocks);
uint64_t emulator_ticks(void);
void emulator_ask(struct emulator *emulator);
int emulator_unmark(struct emulator *emulator, uint64_t linear);
void emulator_written(struct emulator *emulator);
void emulator_moved(struct emulator *emulator);
void emulator_settle(struct emulator *emulator);
