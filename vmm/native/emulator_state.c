/* The declared state, given to a CPU of Unicorn's and taken from it, by a saved context with its words changed; hidden
 * parts of segments are in it.  What Unicorn has not stays in the state, beside it. */
#include "emulator.h"
#include <string.h>

enum {	/* hidden flags, by which code is translated: HF_*_SHIFT of QEMU's target/i386/cpu.h */
	INHIBIT = 3, CS32 = 4, SS32 = 5, ADD_SEGMENTS = 6, PROTECTED = 7, MP = 9, EM = 10, TS = 11, LONG = 14, CS64 = 15,
	FXSR = 22, SMAP = 23
};
#define NMI_MASKED (1u << 2)		/* HF2_NMI_MASK, in the word behind them */
#define FROM_RFLAGS 0x73100u		/* tf, iopl, rf, vm, ac: at the same places */
#define VM86 (1u << 17)
#define UNUSABLE (1u << 16)		/* of a segment's access; the rest of it is a descriptor's, 8 bits lower */
#define LONG_CODE (1u << 13)
#define BIG (1u << 14)
#define ACCESS 0xf0ffu
#define LEVEL 0x60u			/* which a stack's has where it is null, too (SDM 3, 5.8.9.4) */
#define DESCRIPTOR_PRESENT (1u << 15)
#define X87 1u
#define SSE 2u
#define STI_SHADOW 2u
#define TOP(status) ((status) >> 11 & 7)
#define TOP_BITS 0x3800u

enum { SEGMENT_COUNT = 8, TABLE_COUNT = 2 };

struct unicorn_segment {	/* SegmentCache of QEMU */
	uint32_t selector;
	uint64_t base;
	uint32_t limit, flags;
};

static const uint16_t msr_places[] = {	/* as MSRS of unicorn_places.py has them */
	offsetof(struct msrs, sysenter_esp), offsetof(struct msrs, sysenter_eip), offsetof(struct msrs, star),
	offsetof(struct msrs, lstar), offsetof(struct msrs, cstar), offsetof(struct msrs, fmask),
	offsetof(struct msrs, kernel_gs_base), offsetof(struct msrs, tsc_aux), offsetof(struct msrs, pat),
	offsetof(struct msrs, misc_enable),
};

static uint32_t word32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

/* What QEMU derives from the rest. */
static uint32_t hidden_flags(const struct vcpu_state *state)
{
	uint64_t cr0 = state->control.cr0, cr4 = state->control.cr4, rflags = state->general.rflags;
	const struct segments *segments = &state->segments;
	uint32_t cs = segments->cs.access, ss = segments->ss.access;
	uint32_t protected = cr0 & 1, long_mode = state->control.efer >> 10 & 1, vm86 = !!(rflags & VM86);
	uint32_t cpl = vm86 ? 3 : protected ? ss >> 5 & 3 : 0;
	uint32_t flags = cpl | (rflags & FROM_RFLAGS) | protected << PROTECTED | long_mode << LONG |
			 (uint32_t)!!state->events.shadow << INHIBIT;

	flags |= (cr0 >> 1 & 1) << MP | (cr0 >> 2 & 1) << EM | (cr0 >> 3 & 1) << TS;
	flags |= (cr4 >> 9 & 1) << FXSR | (cr4 >> 21 & 1) << SMAP;
	if (long_mode && cs & LONG_CODE)
		return flags | 1u << CS32 | 1u << SS32 | 1u << CS64;
	flags |= (uint32_t)!!(cs & BIG) << CS32 | (uint32_t)!!(ss & BIG) << SS32;
	if (!protected || vm86 || !(cs & BIG) || segments->ds.base || segments->es.base || segments->ss.base)
		flags |= 1u << ADD_SEGMENTS;
	return flags;
}

static void put_segments(struct emulator *emulator)
{
	const struct segment *segment = &emulator->state->segments.cs;
	const struct table *table = &emulator->state->segments.gdt;
	const uint32_t *at = emulator->at.segments;

	for (int i = 0; i < SEGMENT_COUNT; i++, segment++) {
		struct unicorn_segment theirs = { segment->selector, segment->base, segment->limit,
						  (segment->access & (segment->access & UNUSABLE ? LEVEL : ACCESS)) << 8 };

		memcpy(emulator->cpu + *at++, &theirs, sizeof(theirs));
	}
	for (int i = 0; i < TABLE_COUNT; i++, table++) {
		struct unicorn_segment theirs = { 0, table->base, table->limit, 0 };

		memcpy(emulator->cpu + *at++, &theirs, sizeof(theirs));
	}
}

/* A component in its initial state may have anything in the area (SDM 1, 13.6). */
static void put_float(struct emulator *emulator)
{
	const struct unicorn_places *at = &emulator->at;
	struct xsave initial = emulator->state->xsave;
	const struct xsave *xsave = &initial;
	uint8_t *cpu = emulator->cpu;

	if (!(initial.xstate_bv & X87)) {
		memset(&initial, 0, offsetof(struct xsave, mxcsr));
		memset(initial.st, 0, sizeof(initial.st));
		initial.fcw = 0x37f;
	}
	if (!(initial.xstate_bv & SSE))
		memset(initial.xmm, 0, sizeof(initial.xmm));
	uint32_t top = TOP(xsave->fsw);
	uint16_t status = xsave->fsw & ~TOP_BITS;

	put32(cpu + at->top, top);
	memcpy(cpu + at->status, &status, 2);
	memcpy(cpu + at->fcw, &xsave->fcw, 2);
	memcpy(cpu + at->fop, &xsave->fop, 2);
	memcpy(cpu + at->fip, &xsave->fip, 8);
	memcpy(cpu + at->fdp, &xsave->fdp, 8);
	put32(cpu + at->mxcsr, xsave->mxcsr);
	for (int i = 0; i < 8; i++) {		/* FXSAVE has them by the stack's top (SDM 1, 10.5.1.1) */
		cpu[at->tags + i] = !(xsave->ftw >> i & 1);
		memcpy(cpu + at->st + 16 * ((top + i) & 7), xsave->st + 16 * i, 10);
	}
	for (int i = 0; i < 16; i++)
		memcpy(cpu + at->xmm + i * at->xmm_stride, xsave->xmm + 16 * i, 16);
}

/* Rounding, precision and what becomes of denormals, as it has them, follow from writes of these registers alone. */
static void put_rounding(struct emulator *emulator, uint16_t fcw_before, uint32_t mxcsr_before)
{
	const struct unicorn_places *at = &emulator->at;
	uint32_t mxcsr = word32(emulator->cpu + at->mxcsr);
	uint16_t fcw;

	memcpy(&fcw, emulator->cpu + at->fcw, sizeof(fcw));
	if (fcw != fcw_before)
		emulator->call.reg_write(emulator->uc, emulator->number.fcw, &fcw);
	if (mxcsr != mxcsr_before)
		emulator->call.reg_write(emulator->uc, emulator->number.mxcsr, &mxcsr);
}

/* Have the CPU be what the state says; whether it can be that is for the caller to know. */
void emulator_give(struct emulator *emulator)
{
	const struct unicorn_places *at = &emulator->at;
	struct vcpu_state *state = emulator->state;
	uint8_t *cpu = emulator->cpu;
	uint32_t rflags = state->general.rflags, mxcsr;
	uint16_t fcw;

	emulator->call.context_save(emulator->uc, emulator->context);
	memcpy(&fcw, cpu + at->fcw, sizeof(fcw));
	mxcsr = word32(cpu + at->mxcsr);
	for (int i = 0; i < 17; i++)
		memcpy(cpu + at->general[i], &state->general.rax + i, 8);
	for (size_t i = 0; i < sizeof(msr_places) / sizeof(msr_places[0]); i++)
		memcpy(cpu + at->msrs[i], (uint8_t *)&state->msrs + msr_places[i], 8);
	put32(cpu + at->sysenter_cs, state->msrs.sysenter_cs);
	memcpy(cpu + at->debug, state->debug.dr, 32);
	memcpy(cpu + at->debug + 48, &state->debug.dr6, 8);
	memcpy(cpu + at->debug + 56, &state->debug.dr7, 8);
	put_segments(emulator);
	memcpy(cpu + at->cr0, &state->control.cr0, 8);
	memcpy(cpu + at->cr2, &state->control.cr2, 8);
	memcpy(cpu + at->cr3, &state->control.cr3, 8);
	memcpy(cpu + at->cr4, &state->control.cr4, 8);
	cpu[at->cr8] = state->control.cr8;
	memcpy(cpu + at->efer, &state->control.efer, 8);
	put32(cpu + at->flags, hidden_flags(state));
	put32(cpu + at->flags + 4, (word32(cpu + at->flags + 4) & ~NMI_MASKED) |
					   (state->events.nmi_masked ? NMI_MASKED : 0));
	memcpy(cpu + at->tsc_offset, &state->timing.tsc_offset, 8);
	put32(cpu + at->old_exception, ~0u);	/* whoever gives it has delivered it, or knows that it waits */
	put_float(emulator);
	emulator->call.context_restore(emulator->uc, emulator->context);
	emulator->call.reg_write(emulator->uc, emulator->number.rflags, &rflags);	/* which it has in pieces */
	put_rounding(emulator, fcw, mxcsr);
	emulator->call.ctl(emulator->uc, emulator->number.flush_tlb);
	emulator->call.context_save(emulator->uc, emulator->context);
	memcpy(emulator->given, cpu, emulator->cpu_bytes);
	emulator->flags_given = rflags;
}

/* `bytes` of the CPU's words, if they are not what was given. */
static void moved(const struct emulator *emulator, uint32_t at, void *into, size_t bytes)
{
	if (memcmp(emulator->cpu + at, emulator->given + at, bytes))
		memcpy(into, emulator->cpu + at, bytes);
}

static void take_segments(struct emulator *emulator)
{
	struct segment *segment = &emulator->state->segments.cs;
	struct table *table = &emulator->state->segments.gdt;

	for (int i = 0; i < SEGMENT_COUNT + TABLE_COUNT; i++) {
		uint32_t at = emulator->at.segments[i];
		struct unicorn_segment theirs;

		if (!memcmp(emulator->cpu + at, emulator->given + at, sizeof(theirs)))
			continue;
		memcpy(&theirs, emulator->cpu + at, sizeof(theirs));
		if (i < SEGMENT_COUNT) {
			segment[i].selector = theirs.selector;
			segment[i].base = theirs.base;
			segment[i].limit = theirs.limit;
			segment[i].access = (theirs.flags >> 8 & ACCESS) | (theirs.flags & DESCRIPTOR_PRESENT ? 0 : UNUSABLE);
		} else {
			table[i - SEGMENT_COUNT].base = theirs.base;
			table[i - SEGMENT_COUNT].limit = theirs.limit;
		}
	}
}

static void take_x87(struct emulator *emulator)
{
	const struct unicorn_places *at = &emulator->at;
	struct xsave *xsave = &emulator->state->xsave;
	const uint8_t *cpu = emulator->cpu;
	uint32_t top = word32(cpu + at->top);
	uint8_t empty[8];

	if (!memcmp(cpu + at->top, emulator->given + at->top, at->mxcsr - at->top))
		return;
	memcpy(&xsave->fsw, cpu + at->status, 2);
	xsave->fsw = (xsave->fsw & ~TOP_BITS) | top << 11;
	memcpy(&xsave->fcw, cpu + at->fcw, 2);
	memcpy(&xsave->fop, cpu + at->fop, 2);
	memcpy(&xsave->fip, cpu + at->fip, 8);
	memcpy(&xsave->fdp, cpu + at->fdp, 8);
	memcpy(empty, cpu + at->tags, 8);
	xsave->ftw = 0;
	for (int i = 0; i < 8; i++) {
		xsave->ftw |= !empty[i] << i;
		memcpy(xsave->st + 16 * i, cpu + at->st + 16 * ((top + i) & 7), 10);
	}
	xsave->xstate_bv |= X87;
}

static void take_sse(struct emulator *emulator)
{
	const struct unicorn_places *at = &emulator->at;
	struct xsave *xsave = &emulator->state->xsave;
	const uint8_t *cpu = emulator->cpu;

	if (!memcmp(cpu + at->mxcsr, emulator->given + at->mxcsr, at->xmm + 16 * at->xmm_stride - at->mxcsr))
		return;
	memcpy(&xsave->mxcsr, cpu + at->mxcsr, 4);
	for (int i = 0; i < 16; i++)
		memcpy(xsave->xmm + 16 * i, cpu + at->xmm + i * at->xmm_stride, 16);
	xsave->xstate_bv |= SSE;
}

/* What the CPU has become since it was given the state: what did not change there stays as it is, so that nothing is
 * lost that Unicorn has no place for. */
void emulator_take(struct emulator *emulator)
{
	const struct unicorn_places *at = &emulator->at;
	struct vcpu_state *state = emulator->state;
	uint32_t rflags = 0, flags;

	emulator->call.context_save(emulator->uc, emulator->context);
	emulator->call.reg_read(emulator->uc, emulator->number.rflags, &rflags);
	for (int i = 0; i < 17; i++)
		moved(emulator, at->general[i], &state->general.rax + i, 8);
	if (rflags != emulator->flags_given)
		state->general.rflags = rflags;
	for (size_t i = 0; i < sizeof(msr_places) / sizeof(msr_places[0]); i++)
		moved(emulator, at->msrs[i], (uint8_t *)&state->msrs + msr_places[i], 8);
	moved(emulator, at->sysenter_cs, &state->msrs.sysenter_cs, 4);
	moved(emulator, at->debug, state->debug.dr, 32);
	moved(emulator, at->debug + 48, &state->debug.dr6, 8);
	moved(emulator, at->debug + 56, &state->debug.dr7, 8);
	take_segments(emulator);
	moved(emulator, at->cr0, &state->control.cr0, 8);
	moved(emulator, at->cr2, &state->control.cr2, 8);
	moved(emulator, at->cr3, &state->control.cr3, 8);
	moved(emulator, at->cr4, &state->control.cr4, 8);
	moved(emulator, at->efer, &state->control.efer, 8);
	if (emulator->cpu[at->cr8] != emulator->given[at->cr8]) {
		state->control.cr8 = emulator->cpu[at->cr8];
		state->apic[8] = state->control.cr8 << 4;		/* the APIC's TPR (SDM 3, 11.8.6) */
	}
	flags = word32(emulator->cpu + at->flags);
	if (!(flags >> INHIBIT & 1))
		state->events.shadow = 0;
	else if (!state->events.shadow)
		state->events.shadow = STI_SHADOW;
	state->events.nmi_masked = !!(word32(emulator->cpu + at->flags + 4) & NMI_MASKED);	/* until IRET */
	take_x87(emulator);
	take_sse(emulator);
}
