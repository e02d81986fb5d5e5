/* A CPU of Unicorn's: what it runs, where its accesses go, and why it stops. */
#include "emulator.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

enum { PAGE_BITS = 12, PAGE = 1 << PAGE_BITS, PAGES = 1 << 14, WAYS = 4, INVALID_OPCODE = 6, TRAP = 8, ENABLED = 9 /* flags */ };
enum { LOOKS = 16 };	/* quiet blocks between looks at whether the run is to end */
#define NO_PAGE (~0ull)

/* A page that code was run of, as it was when that was translated: Unicorn sees what it writes itself, and nothing of
 * what KVM, devices and other vCPUs write. */
struct code_page {
	uint64_t page;
	uint32_t epoch;
	uint8_t copy[PAGE];
};

static struct emulator_callbacks python;

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

/* Whether a page has what its translations were made of; from now on it has what is there now. */
static int same_code(struct emulator *emulator, uint64_t page, const uint8_t *at)
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
		emulator->page_count++;
	} else if (known->epoch != emulator->epoch && memcmp(known->copy, at, PAGE)) {
		return 0;
	}
	known->epoch = emulator->epoch;
	return 1;
}

/* The page of a linear address that code is fetched from; NULL if it is no RAM, or changed.  Beside KVM nothing that runs
 * here maps memory elsewhere: there it is found once in a run, and looked at again where others may have written it. */
static uint8_t *code_at(struct emulator *emulator, uint64_t linear, uint64_t *physical)
{
	uint64_t page = linear >> PAGE_BITS;
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
	if (place->epoch != emulator->epoch && !same_code(emulator, place->physical >> PAGE_BITS, place->at)) {
		emulator->stale = true;
		return NULL;
	}
	place->epoch = emulator->epoch;
	*physical = place->physical + (linear & (PAGE - 1));
	return place->at + (linear & (PAGE - 1));
}

static uint32_t in_page(uint64_t linear)
{
	return PAGE - (linear & (PAGE - 1));
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
	rest = code_at(emulator, linear + first, &other);
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
		if (mark->kind == MARK && mark->linear == linear && code_at(emulator, linear, &physical) &&
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
		if (found->linear == linear && code_at(emulator, linear, &physical) && found->physical == physical)
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
	emulator->quiet_page = NO_PAGE;
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
	const uint8_t *code = code_at(emulator, linear, &physical), *all;

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
		code = code_at(emulator, linear, &physical);
		emulator->last_page = page;
	}
	if (last != page && last != emulator->last_other) {
		uint64_t other;

		code_at(emulator, last << PAGE_BITS, &other);
		emulator->last_other = last;
	}
	return !emulator->stale && (!emulator->guarded || (code && ours(emulator, linear, bytes, physical, code)));
}

/* Whether nothing has to be looked at before a block, as it is in the page of the last one, where nothing is marked. */
static bool is_quiet(const struct emulator *emulator, uint64_t linear, uint32_t bytes)
{
	return linear >> PAGE_BITS == emulator->quiet_page && (linear + bytes - 1) >> PAGE_BITS == emulator->quiet_page &&
	       emulator->ran < emulator->budget && (emulator->ran % LOOKS || !is_asked(emulator));
}

/* A block runs: those that follow in its page are quiet, unless each counts. */
static void quieten(struct emulator *emulator, uint64_t page)
{
	bool each = emulator->guarded || emulator->awaited || emulator->stepping || emulator->idle_budget;

	emulator->quiet_page = each || emulator->marked_pages[page % EMULATOR_CACHED] ? NO_PAGE : page;
}

/* Before a basic block's first instruction: Unicorn looks at a stop that is asked for here before it runs that. */
static void on_block(struct uc_struct *uc, uint64_t linear, uint32_t bytes, void *data)
{
	struct emulator *emulator = data;

	(void)uc;
	if (is_quiet(emulator, linear, bytes)) {
		emulator->ran++;
		return;
	}
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
		quieten(emulator, linear >> PAGE_BITS);
	}
}

/* Accesses */

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
	emulator->accesses++;
	emulator->untold = true;	/* the block may be translated anew from here on */
	emulator->idle = 0;
	emulator->epoch++;		/* a device may have written code */
	emulator->last_page = emulator->last_other = emulator->quiet_page = NO_PAGE;
	emulator->callback_ticks += __rdtsc() - began;
}

static uint64_t read_access(struct emulator *emulator, uint32_t bus, uint64_t address, uint32_t width)
{
	uint64_t began = __rdtsc(), value = python.read(emulator->handle, bus, address, width);

	emulator->accesses++;
	emulator->untold = true;	/* the block may be translated anew from here on */
	emulator->told = true;
	emulator->idle = 0;
	emulator->callback_ticks += __rdtsc() - began;
	return value;
}

static uint64_t on_read(struct uc_struct *uc, uint64_t offset, unsigned width, void *data)
{
	struct access_window *window = data;
	struct emulator *emulator = window->emulator;
	const uint8_t *shown = memory_at(emulator->registers, emulator->register_count, window->gpa + offset, width);
	uint64_t value = 0;

	(void)uc;
	if (!shown)
		return read_access(emulator, 0, window->gpa + offset, width);
	memcpy(&value, shown, width);		/* as where KVM has the page as memory */
	return value;
}

static void on_write(struct uc_struct *uc, uint64_t offset, unsigned width, uint64_t value, void *data)
{
	struct access_window *window = data;

	(void)uc;
	write_access(window->emulator, 0, window->gpa + offset, width, value);
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
	undo_write(emulator);
	if (!at || (size_t)size > sizeof(emulator->undo))
		return false;
	memcpy(emulator->undo, at, size);
	emulator->undo_at = at;
	emulator->undo_bytes = size;
	emulator->quiet_page = NO_PAGE;
	write_access(emulator, 0, gpa, size, size < 8 ? value & ((1ull << 8 * size) - 1) : (uint64_t)value);
	return true;
}

static uint32_t on_in(struct uc_struct *uc, uint32_t port, int width, void *data)
{
	(void)uc;
	return read_access(data, 1, port & 0xffff, width);
}

static void on_out(struct uc_struct *uc, uint32_t port, int width, uint32_t value, void *data)
{
	struct emulator *emulator = data;

	(void)uc;
	write_access(emulator, 1, port & 0xffff, width, width < 4 ? value & ((1u << 8 * width) - 1) : value);
	if (emulator->moved) {		/* by that, it may be: what is behind it in the block finds it so */
		emulator_settle(emulator);
		emulator->run++;
	}
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
		{ number->hook_write_protected, on_write_protected, 0, !emulator->guarded },
		{ number->hook_instruction, on_in, number->in, 1 },
		{ number->hook_instruction, on_out, number->out, 1 },
		{ number->hook_instruction, on_syscall, number->syscall, !emulator->guarded },
		{ number->hook_instruction, on_sysenter, number->sysenter, !emulator->guarded },
		{ number->hook_instruction, on_cpuid, number->cpuid, !emulator->guarded },
	};

	python = *callbacks;
	emulator->untold = true;
	emulator->quiet_page = NO_PAGE;
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
	emulator->quiet_page = NO_PAGE;
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
		emulator->last_page = emulator->last_other = emulator->quiet_page = NO_PAGE;
		emulator->untold = true;
		emulator->run++;
		emulator->call.reg_read(emulator->uc, emulator->number.rip, &rip);
		error = emulator->call.emu_start(emulator->uc, rip, ~0ull, 0, 0);
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
