/* A CPU of Unicorn's: what it runs, where its accesses go, and why it stops. */
#include "emulator.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

enum { PAGE_BITS = 12, PAGE = 1 << PAGE_BITS, PAGES = 1 << 14, WAYS = 4, INVALID_OPCODE = 6, TRAP = 8, ENABLED = 9 /* flags */ };
enum { LOOKS = 1024 };	/* quiet blocks between looks at whether the run is to end: some microseconds */
#define NO_PAGE (~0ull)
#define WORDS(bytes) ((bytes) > 4 ? (bytes) / 4u : 1u)

/* A page that code was run of, as it was when that was translated: Unicorn sees what it writes itself, and nothing of
 * what KVM, devices and other vCPUs write. */
struct code_page {
	uint64_t page;
	uint32_t epoch;
	uint8_t copy[PAGE];
};

static struct emulator_callbacks python;

/* From now on blocks are looked at before they run. */
static void unquiet(struct emulator *emulator)
{
	emulator->ran += emulator->quiet_given - emulator->quiet;
	emulator->quiet = emulator->quiet_given = 0;
}

static void stop(struct emulator *emulator, int why)
{
	if (emulator->why < 0)
		emulator->why = why;
	emulator->call.emu_stop(emulator->uc);
}

/* Where `bytes` of guest memory are, or NULL. */
static uint8_t *memory_at(const struct guest_range *ranges, uint32_t count, uint64_t gpa, uint32_t bytes)
{
	for (uint32_t i = 0; i < count; i++)
		if (gpa - ranges[i].gpa < ranges[i].bytes && ranges[i].bytes - (gpa - ranges[i].gpa) >= bytes)
			return ranges[i].at + (gpa - ranges[i].gpa);
	return NULL;
}

/* Unicorn lets a write to memory that is read-only through, or ends the guest: it is let through, and undone. */
static void undo_write(struct emulator *emulator)
{
	if (emulator->undo_bytes)
		memcpy(emulator->undo_at, emulator->undo, emulator->undo_bytes);
	emulator->undo_bytes = 0;
}

/* The code that runs */

static void forget_code(struct emulator *emulator)
{
	for (uint32_t i = 0; i < PAGES; i++) {
		free(emulator->pages[i]);
		emulator->pages[i] = NULL;
	}
	emulator->page_count = 0;
	memset(emulator->marked, 0, sizeof(emulator->marked));
	memset(emulator->marked_pages, 0, sizeof(emulator->marked_pages));
	emulator->marks = 0;
	if (emulator->blocks)
		memset(emulator->blocks, 0, EMULATOR_BLOCKS * sizeof(*emulator->blocks));
}

/* Whether a page has what its translations were made of: as of this epoch, or so many bytes of it, from one on; a page
 * that is new has what is there now. */
static int same_code(struct emulator *emulator, uint64_t page, const uint8_t *at, uint32_t from, uint32_t bytes)
{
	struct code_page *known;
	uint32_t i = (uint32_t)(page * 0x9e3779b1u) % PAGES;

	while ((known = emulator->pages[i]) && known->page != page)
		i = (i + 1) % PAGES;
	if (!known) {
		if (emulator->page_count >= PAGES / 2)
			return 0;
		known = malloc(sizeof(*known));
		if (!known)
			return 0;
		known->page = page;
		memcpy(known->copy, at, PAGE);
		emulator->pages[i] = known;
		known->epoch = emulator->epoch;
		emulator->page_count++;
	} else if (known->epoch != emulator->epoch && memcmp(known->copy + from, at + from, bytes)) {
		return 0;
	}
	if (bytes == PAGE)
		known->epoch = emulator->epoch;
	return 1;
}

static uint32_t in_page(uint64_t linear)
{
	return PAGE - (linear & (PAGE - 1));
}

/* Where code is fetched from, at a linear address; NULL if that is no RAM, or the code changed: those of `bytes` that are
 * in its page, beside KVM, where each block is looked at; else any of the page, once in an epoch.  Beside KVM nothing that
 * runs here maps memory elsewhere: there it is found once in a run. */
static uint8_t *code_at(struct emulator *emulator, uint64_t linear, uint32_t bytes, uint64_t *physical)
{
	uint64_t page = linear >> PAGE_BITS;
	uint32_t from = emulator->guarded ? linear & (PAGE - 1) : 0, rest = PAGE - from;
	struct code_place *place = &emulator->places[page % EMULATOR_CACHED];

	if (place->page != page || place->run != emulator->run || !emulator->guarded) {
		if (emulator->call.vmem_translate(emulator->uc, page << PAGE_BITS, emulator->number.executable,
						  &place->physical))
			return NULL;
		place->page = page;
		place->run = emulator->run;
		place->epoch = emulator->epoch - 1;
		place->at = memory_at(emulator->ranges, emulator->range_count, place->physical, PAGE);
	}
	if (!place->at)
		return NULL;
	if (emulator->guarded && bytes < rest)
		rest = bytes;
	if (place->epoch != emulator->epoch &&
	    !same_code(emulator, place->physical >> PAGE_BITS, place->at, from, rest)) {
		emulator->stale = true;
		return NULL;
	}
	if (rest == PAGE)
		place->epoch = emulator->epoch;
	*physical = place->physical + (linear & (PAGE - 1));
	return place->at + (linear & (PAGE - 1));
}

/* All of a block of at most a page, of which `code` is what is in the first one; NULL as code_at(). */
static const uint8_t *whole(struct emulator *emulator, uint64_t linear, uint32_t bytes, const uint8_t *code,
			    uint8_t *copy)
{
	uint32_t first = in_page(linear);
	uint64_t other;
	const uint8_t *rest;

	if (bytes <= first)
		return code;
	rest = code_at(emulator, linear + first, bytes - first, &other);
	if (!rest)
		return NULL;
	memcpy(copy, code, first);
	memcpy(copy + first, rest, bytes - first);
	return copy;
}

/* Blocks that are stopped before */

enum { NO_MARK, MARK, OLD_MARK };

static uint32_t first_mark(uint64_t linear)
{
	return (linear * 0x9e3779b97f4a7c15ull >> 40) % EMULATOR_MARKED;
}

/* The mark of the block that is at a linear address as memory is mapped now, or NULL. */
static struct block_mark *mark_of(struct emulator *emulator, uint64_t linear)
{
	struct block_mark *mark;
	uint64_t physical;

	for (uint32_t i = first_mark(linear); (mark = &emulator->marked[i])->kind != NO_MARK; i = (i + 1) % EMULATOR_MARKED)
		if (mark->kind == MARK && mark->linear == linear && code_at(emulator, linear, 1, &physical) &&
		    mark->physical == physical)
			return mark;
	return NULL;
}

/* Whether it has been looked at, and is stopped before or not any more. */
static bool was_marked(struct emulator *emulator, uint64_t linear)
{
	struct block_mark *found;
	uint64_t physical;

	for (uint32_t i = first_mark(linear); (found = &emulator->marked[i])->kind != NO_MARK; i = (i + 1) % EMULATOR_MARKED)
		if (found->linear == linear && code_at(emulator, linear, 1, &physical) && found->physical == physical)
			return true;
	return false;
}

static void mark(struct emulator *emulator, uint64_t linear, uint64_t physical)
{
	uint32_t i = first_mark(linear);

	if (mark_of(emulator, linear))
		return;
	if (emulator->marks == EMULATOR_MARKED / 2) {	/* all is translated anew, and marked then */
		emulator->stale = true;
		return;
	}
	while (emulator->marked[i].kind != NO_MARK)
		i = (i + 1) % EMULATOR_MARKED;
	emulator->marked[i] = (struct block_mark){ linear, physical, MARK };
	emulator->marks++;
	emulator->marked_pages[(linear >> PAGE_BITS) % EMULATOR_CACHED] = true;
	unquiet(emulator);
}

/* A block that was looked at more closely; whether it is not stopped before any more.  One in two pages may be another
 * one next time. */
int emulator_unmark(struct emulator *emulator, uint64_t linear)
{
	struct block_mark *found = mark_of(emulator, linear);

	if (emulator->left_bytes > in_page(linear))
		return 0;
	if (found)
		found->kind = OLD_MARK;
	return 1;
}

/* Whether code may have RDMSR (0f 32), WRMSR (0f 30), MOV to cr0 or cr4 (0f 22), of which Unicorn takes any value, or MOV
 * of cr8 (with REX.R: 0f 20, and 0f 22), which is the local APIC's. */
static int is_delicate(const uint8_t *code, uint32_t bytes)
{
	for (uint32_t i = 0; i + 1 < bytes; i++)
		if (code[i] == 0x0f && ((code[i + 1] & 0xfd) == 0x30 ||
					(code[i + 1] == 0x22 && i + 2 < bytes && !(code[i + 2] & 0x18)) ||
					(code[i + 1] == 0x20 && i && code[i - 1] & 4 && (code[i - 1] & 0xf0) == 0x40 &&
					 i + 2 < bytes && !(code[i + 2] & 0x38))))
			return 1;
	return 0;
}

/* Have a block be stopped before, if it has to be. */
static void look_at(struct emulator *emulator, uint64_t linear, uint32_t bytes)
{
	uint8_t copy[PAGE];
	uint64_t physical;
	const uint8_t *code = code_at(emulator, linear, bytes, &physical), *all;

	if (!code)
		return;
	all = bytes <= PAGE ? whole(emulator, linear, bytes, code, copy) : NULL;
	if (!all || is_delicate(all, bytes))
		mark(emulator, linear, physical);
}

static void on_translation(struct uc_struct *uc, const struct unicorn_translation *now,
			   const struct unicorn_translation *before, void *data)
{
	struct emulator *emulator = data;

	(void)uc;
	(void)before;
	look_at(emulator, now->pc, now->bytes);
}

static int mode_of(const struct emulator *emulator)
{
	uint32_t access = emulator->state->segments.cs.access;

	return emulator->state->control.efer >> 10 & 1 && access >> 13 & 1 ? 2 : access >> 14 & 1;
}

/* What is known of a block; its bytes are those that were looked at, as their pages are unchanged. */
static struct emulated_block *block_at(struct emulator *emulator, uint64_t linear, uint32_t bytes, uint64_t physical,
				       const uint8_t *code)
{
	uint32_t set = (uint32_t)((physical * 0x9e3779b97f4a7c15ull) >> 40) % (EMULATOR_BLOCKS / WAYS) * WAYS;
	struct emulated_block *block = &emulator->blocks[set];
	uint8_t mode = mode_of(emulator), copy[PAGE];

	for (int i = 0; i < WAYS; i++, block++)
		if (block->known && block->physical == physical && block->bytes == bytes && block->mode == mode &&
		    block->linear == linear)
			return block;
	block = &emulator->blocks[set + emulator->ran % WAYS];
	*block = (struct emulated_block){ .physical = physical, .linear = linear, .bytes = bytes, .mode = mode };
	code = whole(emulator, linear, bytes, code, copy);
	if (!code)
		return NULL;
	uint64_t began = __rdtsc();

	python.look(emulator->handle, block, code);
	emulator->callback_ticks += __rdtsc() - began;		/* once */
	block->known = 1;
	return block;
}

static int kernel_port(const struct emulator *emulator, uint32_t port)
{
	return emulator->kernel_ports[(port & 0xffff) >> 3] >> (port & 7) & 1;
}

static bool flag(const struct emulator *emulator, int number)
{
	uint32_t rflags = 0;

	emulator->call.reg_read(emulator->uc, emulator->number.rflags, &rflags);
	return rflags >> number & 1;
}

/* Whether a block may run beside KVM. */
static int ours(struct emulator *emulator, uint64_t linear, uint32_t bytes, uint64_t physical, const uint8_t *code)
{
	const struct emulated_block *block;
	uint64_t rdx;

	if (emulator->popped && flag(emulator, TRAP))
		return 0;
	if (bytes > PAGE || !(block = block_at(emulator, linear, bytes, physical, code)) || !block->ours)
		return 0;
	for (int i = 0; i < block->ports; i++) {
		int32_t port = block->port[i];

		if (port == EMULATOR_DX) {
			emulator->call.reg_read(emulator->uc, emulator->number.rdx, &rdx);
			port = rdx & 0xffff;
		}
		if (kernel_port(emulator, port))
			return 0;
	}
	emulator->popped = block->pops_flags;
	return 1;
}

/* Whether the run is to end.  One instruction is not interrupted. */
static bool is_asked(const struct emulator *emulator)
{
	return !emulator->stepping && (emulator->asked || emulator->moved || (emulator->loop && emulator->loop->leave));
}

/* Whether a block is what was translated, and one that may run here. */
static bool may_run(struct emulator *emulator, uint64_t linear, uint32_t bytes)
{
	uint64_t page = linear >> PAGE_BITS, last = (linear + bytes - 1) >> PAGE_BITS, physical;
	const uint8_t *code = NULL;

	if (page != emulator->last_page || emulator->guarded) {
		code = code_at(emulator, linear, bytes, &physical);
		emulator->last_page = page;
	}
	if (last != page && (last != emulator->last_other || emulator->guarded)) {
		uint64_t other;

		code_at(emulator, last << PAGE_BITS, linear + bytes - (last << PAGE_BITS), &other);
		emulator->last_other = last;
	}
	return !emulator->stale && (!emulator->guarded || (code && ours(emulator, linear, bytes, physical, code)));
}

/* A block runs: those that follow in its page are quiet for a while, unless each counts. */
static void quieten(struct emulator *emulator, uint64_t linear)
{
	bool each = emulator->guarded || emulator->awaited || emulator->stepping || emulator->idle_budget;
	uint64_t left = emulator->budget - emulator->ran;

	if (each || emulator->marked_pages[(linear >> PAGE_BITS) % EMULATOR_CACHED])
		return;
	emulator->quiet_page = linear & ~(uint64_t)(PAGE - 1);
	emulator->quiet = emulator->quiet_given = left < LOOKS ? left : LOOKS;
}

/* Before a block that is not quiet. */
static __attribute__((noinline)) void look_before(struct emulator *emulator, uint64_t linear, uint32_t bytes)
{
	unquiet(emulator);
	undo_write(emulator);
	if (emulator->untold && !emulator->guarded && !emulator->stepping && !was_marked(emulator, linear))
		look_at(emulator, linear, bytes);
	emulator->untold = false;
	if (emulator->ran++ >= emulator->budget || (emulator->idle_budget && ++emulator->idle > emulator->idle_budget)) {
		stop(emulator, EMULATOR_BUDGET);
	} else if (!emulator->stepping && mark_of(emulator, linear)) {
		emulator->left_bytes = bytes;
		stop(emulator, EMULATOR_LEFT);
	} else if (is_asked(emulator)) {
		stop(emulator, EMULATOR_ASKED);
	} else if (emulator->awaited && flag(emulator, ENABLED)) {
		stop(emulator, EMULATOR_BUDGET);
	} else if (!may_run(emulator, linear, bytes)) {
		stop(emulator, emulator->stale ? EMULATOR_BUDGET : EMULATOR_LEFT);
	} else {
		quieten(emulator, linear);
	}
}

/* Before a basic block's first instruction: Unicorn looks at a stop that is asked for here before it runs that.  To be
 * called at all takes two thirds as long as five instructions between registers: the quiet case does next to nothing. */
static void on_block(struct uc_struct *uc, uint64_t linear, uint32_t bytes, void *data)
{
	struct emulator *emulator = data;
	uint64_t page = emulator->quiet_page;

	(void)uc;
	if (emulator->quiet && ((linear ^ page) | ((linear + bytes - 1) ^ page)) < PAGE)
		emulator->quiet--;
	else
		look_before(emulator, linear, bytes);
}

/* Accesses */

static void count_access(struct emulator *emulator, uint64_t began)
{
	emulator->accesses++;
	emulator->idle = 0;
	emulator->callback_ticks += __rdtsc() - began;
}

/* Whether the serial port has answered an access, without Python: `value` is what it reads, or is to write. */
static bool serve_serial(struct emulator *emulator, uint32_t port, uint32_t width, bool is_write, uint32_t *value)
{
	struct vcpu_loop *loop = emulator->loop;
	int offset = loop ? serial_register(loop, 1, port, width) : -1, done;
	uint64_t began = __rdtsc();

	if (offset < 0)
		return false;
	done = is_write ? serial_write(loop->serial, offset, *value) : serial_read(loop->serial, offset);
	if (done & SERIAL_FULL)
		return false;
	if (done & SERIAL_RAISE) {
		python.raise(emulator->handle, loop->serial_line);
		emulator->told = true;
	}
	if (!is_write)
		*value = (uint8_t)done;
	count_access(emulator, began);
	return true;
}

static void write_access(struct emulator *emulator, uint32_t bus, uint64_t address, uint32_t width, uint64_t value)
{
	const struct vcpu_loop *loop = emulator->loop;
	uint64_t began = __rdtsc();
	int32_t line;
	int verdict = loop && loop->hook ? loop->hook(loop->path, bus, address, width, value, &line) : TO_USER;

	if (verdict == HANDLED_INTERRUPT || verdict == TO_USER_INTERRUPT)
		python.raise(emulator->handle, line);
	emulator->told |= verdict != HANDLED;
	if (verdict == TO_USER || verdict == TO_USER_INTERRUPT)
		python.write(emulator->handle, bus, address, width, value);
	else
		emulator->loop->hooked++;
	emulator->untold = true;	/* the block may be translated anew from here on */
	emulator->epoch++;		/* a device may have written code */
	emulator->last_page = emulator->last_other = NO_PAGE;
	unquiet(emulator);
	count_access(emulator, began);
}

static uint64_t read_access(struct emulator *emulator, uint32_t bus, uint64_t address, uint32_t width)
{
	uint64_t began = __rdtsc(), value = python.read(emulator->handle, bus, address, width);

	emulator->untold = true;	/* the block may be translated anew from here on */
	emulator->told = true;
	count_access(emulator, began);
	return value;
}

/* Guest memory that an access has moved is elsewhere before the next instruction's; translations are looked at before
 * the next block, as there is one that runs. */
static void remap(struct emulator *emulator)
{
	if (!emulator->moved)
		return;
	python.remap(emulator->handle);
	emulator->call.ctl(emulator->uc, emulator->number.flush_tlb);
	emulator->run++;
}

static uint64_t read_window(struct emulator *emulator, uint64_t gpa, uint32_t width)
{
	const uint8_t *shown = memory_at(emulator->registers, emulator->register_count, gpa, width);
	uint64_t value = 0;

	if (!shown)
		return read_access(emulator, 0, gpa, width);
	memcpy(&value, shown, width);		/* as where KVM has the page as memory */
	return value;
}

/* An instruction's access of a window, which is protected: it is done as a whole before Unicorn makes its pieces of it,
 * each of at most four bytes.  What is not aligned is read as the two aligned ones that it lies in, and written byte by
 * byte (access_with_adjusted_size, load_helper and store_helper of Unicorn 2.1, in qemu/softmmu/memory.c and
 * qemu/accel/tcg/cputlb.c).  One across pages stays in pieces. */
static bool begin_pieces(struct whole_access *whole, uint64_t gpa, uint32_t bytes, uint32_t unaligned)
{
	if (in_page(gpa) < bytes)
		return false;
	whole->gpa = gpa;
	whole->bytes = bytes;
	whole->pieces = gpa & (bytes - 1) ? unaligned : WORDS(bytes);
	return true;
}

static bool on_read_protected(struct uc_struct *uc, int type, uint64_t gpa, int size, int64_t value, void *data)
{
	struct emulator *emulator = data;
	struct whole_access *whole = &emulator->reading;

	(void)uc;
	(void)type;
	(void)value;
	whole->pieces = 0;
	if (begin_pieces(whole, gpa, size, 2 * WORDS(size)))
		whole->value = read_window(emulator, gpa, size);
	return true;
}

static uint64_t on_read(struct uc_struct *uc, uint64_t offset, unsigned width, void *data)
{
	struct access_window *window = data;
	struct whole_access *whole = &window->emulator->reading;
	uint64_t gpa = window->gpa + offset, value = 0;

	(void)uc;
	if (!whole->pieces)
		return read_window(window->emulator, gpa, width);
	whole->pieces--;
	for (unsigned i = 0; i < width; i++)
		if (gpa + i - whole->gpa < whole->bytes)
			value |= (whole->value >> 8 * (gpa + i - whole->gpa) & 0xff) << 8 * i;
	return value;
}

static bool write_window(struct emulator *emulator, uint64_t gpa, uint32_t size, uint64_t value)
{
	struct whole_access *whole = &emulator->writing;

	if (whole->pieces)			/* a byte of it */
		return true;
	if (begin_pieces(whole, gpa, size, size))
		write_access(emulator, 0, gpa, size, size < 8 ? value & ((1ull << 8 * size) - 1) : value);
	return true;
}

static void on_write(struct uc_struct *uc, uint64_t offset, unsigned width, uint64_t value, void *data)
{
	struct access_window *window = data;
	struct emulator *emulator = window->emulator;

	(void)uc;
	if (!emulator->writing.pieces)
		write_access(emulator, 0, window->gpa + offset, width, value);
	else if (!--emulator->writing.pieces)
		remap(emulator);	/* Unicorn has no use for the window any more */
}

/* Accesses of what is in `windows` there are told from now on. */
int emulator_window(struct emulator *emulator, uint32_t window)
{
	struct access_window *given = &emulator->windows[window];

	given->emulator = emulator;
	return emulator->call.mmio_map(emulator->uc, given->gpa, given->bytes, on_read, given, on_write, given);
}

static bool on_write_protected(struct uc_struct *uc, int type, uint64_t gpa, int size, int64_t value, void *data)
{
	struct emulator *emulator = data;
	uint8_t *at = memory_at(emulator->ranges, emulator->range_count, gpa, size);

	(void)uc;
	(void)type;
	if (!memory_at(emulator->ranges, emulator->range_count, gpa, 1))
		return write_window(emulator, gpa, size, value);
	undo_write(emulator);
	if (!at || emulator->guarded || (size_t)size > sizeof(emulator->undo))
		return false;
	memcpy(emulator->undo, at, size);
	emulator->undo_at = at;
	emulator->undo_bytes = size;
	write_access(emulator, 0, gpa, size, size < 8 ? value & ((1ull << 8 * size) - 1) : (uint64_t)value);
	return true;
}

static uint32_t on_in(struct uc_struct *uc, uint32_t port, int width, void *data)
{
	uint32_t value;

	(void)uc;
	if (serve_serial(data, port & 0xffff, width, false, &value))
		return value;
	return read_access(data, 1, port & 0xffff, width);
}

static void on_out(struct uc_struct *uc, uint32_t port, int width, uint32_t value, void *data)
{
	struct emulator *emulator = data;

	(void)uc;
	if (serve_serial(emulator, port & 0xffff, width, true, &value))
		return;
	write_access(emulator, 1, port & 0xffff, width, width < 4 ? value & ((1u << 8 * width) - 1) : value);
	remap(emulator);
}

/* Instructions */

static void on_exception(struct uc_struct *uc, uint32_t vector, void *data)
{
	struct emulator *emulator = data;

	(void)uc;
	emulator->vector = vector;
	stop(emulator, EMULATOR_EXCEPTION);
}

static int on_cpuid(struct uc_struct *uc, void *data)
{
	struct emulator *emulator = data;
	uint32_t registers[4];		/* eax, ebx, ecx, edx */

	for (int i = 0; i < 4; i++) {
		uint64_t value = 0;

		emulator->call.reg_read(uc, emulator->number.cpuid_registers[i], &value);
		registers[i] = value;
	}
	python.cpuid(emulator->handle, registers);
	for (int i = 0; i < 4; i++) {
		uint64_t value = registers[i];

		emulator->call.reg_write(uc, emulator->number.cpuid_registers[i], &value);
	}
	return 1;
}

static void on_syscall(struct uc_struct *uc, void *data)
{
	struct emulator *emulator = data;

	(void)uc;
	emulator->vector = 0;
	stop(emulator, EMULATOR_SYSCALL);
}

static void on_sysenter(struct uc_struct *uc, void *data)
{
	struct emulator *emulator = data;

	(void)uc;
	emulator->vector = 1;
	stop(emulator, EMULATOR_SYSCALL);
}

static int hook(struct emulator *emulator, int type, void *callback, int instruction)
{
	size_t made;

	return emulator->call.hook_add(emulator->uc, &made, type, callback, emulator, 1, 0, instruction);
}

/* 0, or an error of Unicorn's. */
int emulator_begin(struct emulator *emulator, const struct emulator_callbacks *callbacks)
{
	const struct unicorn_numbers *number = &emulator->number;
	const struct { int type; void *callback; int instruction, always; } hooks[] = {
		{ number->hook_block, on_block, 0, 1 },
		{ number->hook_translation, on_translation, 0, !emulator->guarded },
		{ number->hook_exception, on_exception, 0, 1 },
		{ number->hook_read_protected, on_read_protected, 0, 1 },
		{ number->hook_write_protected, on_write_protected, 0, 1 },
		{ number->hook_instruction, on_in, number->in, 1 },
		{ number->hook_instruction, on_out, number->out, 1 },
		{ number->hook_instruction, on_syscall, number->syscall, !emulator->guarded },
		{ number->hook_instruction, on_sysenter, number->sysenter, !emulator->guarded },
		{ number->hook_instruction, on_cpuid, number->cpuid, !emulator->guarded },
	};

	python = *callbacks;
	emulator->untold = true;
	emulator->pages = calloc(PAGES, sizeof(*emulator->pages));
	emulator->blocks = emulator->guarded ? calloc(EMULATOR_BLOCKS, sizeof(*emulator->blocks)) : NULL;
	if (!emulator->pages || (emulator->guarded && !emulator->blocks))
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++) {
		int result = hooks[i].always ? hook(emulator, hooks[i].type, hooks[i].callback, hooks[i].instruction) : 0;

		if (result)
			return result;
	}
	return 0;
}

void emulator_end(struct emulator *emulator)
{
	if (emulator->pages)
		forget_code(emulator);
	free(emulator->pages);
	free(emulator->blocks);
	emulator->pages = NULL;
	emulator->blocks = NULL;
}

/* The time-stamp counter, which is the guest's as well. */
uint64_t emulator_ticks(void)
{
	return __rdtsc();
}

/* Any thread: the run that is under way, or the next one, ends. */
void emulator_ask(struct emulator *emulator)
{
	emulator->asked = 1;
}

/* Others may have written guest memory since the last run. */
void emulator_written(struct emulator *emulator)
{
	emulator->epoch++;
}

/* Any thread: guest memory is elsewhere, which is looked up before the next run; the one under way ends. */
void emulator_moved(struct emulator *emulator)
{
	emulator->moved = 1;
}

static int reason(struct emulator *emulator, int error)
{
	const struct unicorn_numbers *number = &emulator->number;

	emulator->error = error;
	if (!error)
		return emulator->why >= 0 ? emulator->why : EMULATOR_HALTED;
	if (error == number->invalid) {
		emulator->vector = INVALID_OPCODE;
		return EMULATOR_EXCEPTION;
	}
	if (error == number->unmapped_read || error == number->unmapped_write || error == number->unmapped_fetch)
		return EMULATOR_NOWHERE;
	return EMULATOR_REFUSED;
}

/* All translations. */
static void flush(struct emulator *emulator)
{
	emulator->call.ctl(emulator->uc, emulator->number.flush_code);
	forget_code(emulator);
	emulator->untold = true;
	unquiet(emulator);
}

/* Before a CPU is given: guest memory is where it is now. */
void emulator_settle(struct emulator *emulator)
{
	if (emulator->moved) {
		emulator->moved = 0;
		python.remap(emulator->handle);
		flush(emulator);
	}
}

/* The CPU as it was given, for so many basic blocks; returns why it stopped. */
int emulator_run(struct emulator *emulator, uint64_t blocks)
{
	int error, why;

	emulator->budget = blocks;
	emulator->ran = emulator->idle = 0;
	emulator->popped = false;
	for (;;) {
		uint64_t rip;

		emulator->why = -1;
		emulator->stale = false;
		emulator->reading.pieces = emulator->writing.pieces = 0;
		emulator->last_page = emulator->last_other = NO_PAGE;
		emulator->untold = true;
		emulator->run++;
		emulator->call.reg_read(emulator->uc, emulator->number.rip, &rip);
		error = emulator->call.emu_start(emulator->uc, rip, ~0ull, 0, 0);
		unquiet(emulator);
		undo_write(emulator);
		why = reason(emulator, error);
		if (!emulator->stale || why != EMULATOR_BUDGET)
			break;
		flush(emulator);
		emulator->flushes++;
		emulator->ran--;
	}
	if (why == EMULATOR_BUDGET || why == EMULATOR_LEFT || why == EMULATOR_ASKED)
		emulator->ran--;		/* the block that it stopped before */
	if (why == EMULATOR_ASKED)
		emulator->asked = 0;
	return why;
}
