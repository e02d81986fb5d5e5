/* Generated from vmm/devmodel/vcpu.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_VCPU_STATE_GEN_H
#define SPLITVMM_VCPU_STATE_GEN_H

#include <linux/types.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum activity {
	ACTIVITY_RUNNABLE = 0,
	ACTIVITY_UNINITIALIZED = 1,
	ACTIVITY_INIT_RECEIVED = 2,
	ACTIVITY_HALTED = 3,
	ACTIVITY_SIPI_RECEIVED = 4,
};

/* General registers. */
struct general {
	__u64 rax;	/* 0x000 rax */
	__u64 rbx;	/* 0x008 rbx */
	__u64 rcx;	/* 0x010 rcx */
	__u64 rdx;	/* 0x018 rdx */
	__u64 rsi;	/* 0x020 rsi */
	__u64 rdi;	/* 0x028 rdi */
	__u64 rsp;	/* 0x030 rsp */
	__u64 rbp;	/* 0x038 rbp */
	__u64 r8;	/* 0x040 r8 */
	__u64 r9;	/* 0x048 r9 */
	__u64 r10;	/* 0x050 r10 */
	__u64 r11;	/* 0x058 r11 */
	__u64 r12;	/* 0x060 r12 */
	__u64 r13;	/* 0x068 r13 */
	__u64 r14;	/* 0x070 r14 */
	__u64 r15;	/* 0x078 r15 */
	__u64 rip;	/* 0x080 the next instruction's offset in cs */
	__u64 rflags;	/* 0x088 flags */
};
_Static_assert(__builtin_offsetof(struct general, rax) == 0x0, "general.rax");
_Static_assert(__builtin_offsetof(struct general, rbx) == 0x8, "general.rbx");
_Static_assert(__builtin_offsetof(struct general, rcx) == 0x10, "general.rcx");
_Static_assert(__builtin_offsetof(struct general, rdx) == 0x18, "general.rdx");
_Static_assert(__builtin_offsetof(struct general, rsi) == 0x20, "general.rsi");
_Static_assert(__builtin_offsetof(struct general, rdi) == 0x28, "general.rdi");
_Static_assert(__builtin_offsetof(struct general, rsp) == 0x30, "general.rsp");
_Static_assert(__builtin_offsetof(struct general, rbp) == 0x38, "general.rbp");
_Static_assert(__builtin_offsetof(struct general, r8) == 0x40, "general.r8");
_Static_assert(__builtin_offsetof(struct general, r9) == 0x48, "general.r9");
_Static_assert(__builtin_offsetof(struct general, r10) == 0x50, "general.r10");
_Static_assert(__builtin_offsetof(struct general, r11) == 0x58, "general.r11");
_Static_assert(__builtin_offsetof(struct general, r12) == 0x60, "general.r12");
_Static_assert(__builtin_offsetof(struct general, r13) == 0x68, "general.r13");
_Static_assert(__builtin_offsetof(struct general, r14) == 0x70, "general.r14");
_Static_assert(__builtin_offsetof(struct general, r15) == 0x78, "general.r15");
_Static_assert(__builtin_offsetof(struct general, rip) == 0x80, "general.rip");
_Static_assert(__builtin_offsetof(struct general, rflags) == 0x88, "general.rflags");
_Static_assert(sizeof(struct general) == 0x90, "general");

/* A segment register with what is hidden behind its selector (SDM 3, 3.4.3). */
struct segment {
	__u64 base;	/* 0x000 where it begins [linear address] */
	__u32 limit;	/* 0x008 its last byte, whatever its granularity [bytes] */
	__u32 access;	/* 0x00c as a VMCS has them (SDM 3, 25.4.1) */
	__u16 selector;	/* 0x010 what was loaded */
	__u16 reserved[3];	/* 0x012 to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct segment, base) == 0x0, "segment.base");
_Static_assert(__builtin_offsetof(struct segment, limit) == 0x8, "segment.limit");
_Static_assert(__builtin_offsetof(struct segment, access) == 0xc, "segment.access");
_Static_assert(__builtin_offsetof(struct segment, selector) == 0x10, "segment.selector");
_Static_assert(__builtin_offsetof(struct segment, reserved) == 0x12, "segment.reserved");
_Static_assert(sizeof(struct segment) == 0x18, "segment");
enum {
	SEGMENT_ACCESS_TYPE = 0xf << 0,
	SEGMENT_ACCESS_S = 1 << 4,
	SEGMENT_ACCESS_DPL = 0x3 << 5,
	SEGMENT_ACCESS_PRESENT = 1 << 7,
	SEGMENT_ACCESS_AVL = 1 << 12,
	SEGMENT_ACCESS_L = 1 << 13,
	SEGMENT_ACCESS_DB = 1 << 14,
	SEGMENT_ACCESS_G = 1 << 15,
	SEGMENT_ACCESS_UNUSABLE = 1 << 16,
};

/* A descriptor table's register. */
struct table {
	__u64 base;	/* 0x000 where it begins [linear address] */
	__u16 limit;	/* 0x008 its last byte [bytes] */
	__u16 reserved[3];	/* 0x00a to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct table, base) == 0x0, "table.base");
_Static_assert(__builtin_offsetof(struct table, limit) == 0x8, "table.limit");
_Static_assert(__builtin_offsetof(struct table, reserved) == 0xa, "table.reserved");
_Static_assert(sizeof(struct table) == 0x10, "table");

/* Segments and descriptor tables. */
struct segments {
	struct segment cs;	/* 0x000 code */
	struct segment ds;	/* 0x018 data */
	struct segment es;	/* 0x030 data */
	struct segment fs;	/* 0x048 data */
	struct segment gs;	/* 0x060 data */
	struct segment ss;	/* 0x078 stack */
	struct segment tr;	/* 0x090 task */
	struct segment ldt;	/* 0x0a8 local descriptor table */
	struct table gdt;	/* 0x0c0 global descriptor table */
	struct table idt;	/* 0x0d0 interrupt descriptor table */
};
_Static_assert(__builtin_offsetof(struct segments, cs) == 0x0, "segments.cs");
_Static_assert(__builtin_offsetof(struct segments, ds) == 0x18, "segments.ds");
_Static_assert(__builtin_offsetof(struct segments, es) == 0x30, "segments.es");
_Static_assert(__builtin_offsetof(struct segments, fs) == 0x48, "segments.fs");
_Static_assert(__builtin_offsetof(struct segments, gs) == 0x60, "segments.gs");
_Static_assert(__builtin_offsetof(struct segments, ss) == 0x78, "segments.ss");
_Static_assert(__builtin_offsetof(struct segments, tr) == 0x90, "segments.tr");
_Static_assert(__builtin_offsetof(struct segments, ldt) == 0xa8, "segments.ldt");
_Static_assert(__builtin_offsetof(struct segments, gdt) == 0xc0, "segments.gdt");
_Static_assert(__builtin_offsetof(struct segments, idt) == 0xd0, "segments.idt");
_Static_assert(sizeof(struct segments) == 0xe0, "segments");

/* Control registers (SDM 3, 2.5), and what goes with paging. */
struct control {
	__u64 cr0;	/* 0x000 cr0 */
	__u64 cr2;	/* 0x008 cr2 [linear address] */
	__u64 cr3;	/* 0x010 cr3 [guest-physical address] */
	__u64 cr4;	/* 0x018 cr4 */
	__u64 cr8;	/* 0x020 task priority */
	__u64 efer;	/* 0x028 extended features (SDM 3, 2.2.1) */
	__u64 xcr0;	/* 0x030 which state components XSAVE has (SDM 1, 13.3) */
	__u64 apic_base;	/* 0x038 where the local APIC is, and whether (SDM 3, 11.4.4) */
	__u64 pdptr[4];	/* 0x040 with PAE paging: what cr3 pointed to when it was loaded (SDM 3, 4.4.1) */
	__u64 pdptrs_valid;	/* 0x060 1 if those count */
};
_Static_assert(__builtin_offsetof(struct control, cr0) == 0x0, "control.cr0");
_Static_assert(__builtin_offsetof(struct control, cr2) == 0x8, "control.cr2");
_Static_assert(__builtin_offsetof(struct control, cr3) == 0x10, "control.cr3");
_Static_assert(__builtin_offsetof(struct control, cr4) == 0x18, "control.cr4");
_Static_assert(__builtin_offsetof(struct control, cr8) == 0x20, "control.cr8");
_Static_assert(__builtin_offsetof(struct control, efer) == 0x28, "control.efer");
_Static_assert(__builtin_offsetof(struct control, xcr0) == 0x30, "control.xcr0");
_Static_assert(__builtin_offsetof(struct control, apic_base) == 0x38, "control.apic_base");
_Static_assert(__builtin_offsetof(struct control, pdptr) == 0x40, "control.pdptr");
_Static_assert(__builtin_offsetof(struct control, pdptrs_valid) == 0x60, "control.pdptrs_valid");
_Static_assert(sizeof(struct control) == 0x68, "control");

/* Debug registers (SDM 3, 18.2). */
struct debug {
	__u64 dr[4];	/* 0x000 breakpoints dr0 to dr3 [linear address] */
	__u64 dr6;	/* 0x020 what happened */
	__u64 dr7;	/* 0x028 what is watched */
};
_Static_assert(__builtin_offsetof(struct debug, dr) == 0x0, "debug.dr");
_Static_assert(__builtin_offsetof(struct debug, dr6) == 0x20, "debug.dr6");
_Static_assert(__builtin_offsetof(struct debug, dr7) == 0x28, "debug.dr7");
_Static_assert(sizeof(struct debug) == 0x30, "debug");

/* A model-specific register that has no name here. */
struct other_msr {
	__u32 index;	/* 0x000 its number */
	__u32 reserved;	/* 0x004 to a multiple of 8 */
	__u64 value;	/* 0x008 its value */
};
_Static_assert(__builtin_offsetof(struct other_msr, index) == 0x0, "other_msr.index");
_Static_assert(__builtin_offsetof(struct other_msr, reserved) == 0x4, "other_msr.reserved");
_Static_assert(__builtin_offsetof(struct other_msr, value) == 0x8, "other_msr.value");
_Static_assert(sizeof(struct other_msr) == 0x10, "other_msr");

/* Model-specific registers (SDM 4; KVM's own: Documentation/virt/kvm/x86/msr.rst). */
struct msrs {
	__u64 sysenter_cs;	/* 0x000 0x174 */
	__u64 sysenter_esp;	/* 0x008 0x175 */
	__u64 sysenter_eip;	/* 0x010 0x176 */
	__u64 star;	/* 0x018 0xc0000081 */
	__u64 lstar;	/* 0x020 0xc0000082 */
	__u64 cstar;	/* 0x028 0xc0000083 */
	__u64 fmask;	/* 0x030 0xc0000084 */
	__u64 kernel_gs_base;	/* 0x038 0xc0000102 */
	__u64 tsc_aux;	/* 0x040 0xc0000103 */
	__u64 tsc_adjust;	/* 0x048 0x3b */
	__u64 tsc_deadline;	/* 0x050 0x6e0 [ticks of the time-stamp counter] */
	__u64 pat;	/* 0x058 0x277 */
	__u64 misc_enable;	/* 0x060 0x1a0 */
	__u64 mtrr_default;	/* 0x068 0x2ff */
	__u64 mtrr_base[8];	/* 0x070 0x200, 0x202 ... */
	__u64 mtrr_mask[8];	/* 0x0b0 0x201, 0x203 ... */
	__u64 mtrr_fixed[11];	/* 0x0f0 0x250, 0x258, 0x259, 0x268 to 0x26f */
	__u32 count;	/* 0x148 of the others */
	__u32 reserved;	/* 0x14c to a multiple of 8 */
	struct other_msr others[192];	/* 0x150 by their number */
};
_Static_assert(__builtin_offsetof(struct msrs, sysenter_cs) == 0x0, "msrs.sysenter_cs");
_Static_assert(__builtin_offsetof(struct msrs, sysenter_esp) == 0x8, "msrs.sysenter_esp");
_Static_assert(__builtin_offsetof(struct msrs, sysenter_eip) == 0x10, "msrs.sysenter_eip");
_Static_assert(__builtin_offsetof(struct msrs, star) == 0x18, "msrs.star");
_Static_assert(__builtin_offsetof(struct msrs, lstar) == 0x20, "msrs.lstar");
_Static_assert(__builtin_offsetof(struct msrs, cstar) == 0x28, "msrs.cstar");
_Static_assert(__builtin_offsetof(struct msrs, fmask) == 0x30, "msrs.fmask");
_Static_assert(__builtin_offsetof(struct msrs, kernel_gs_base) == 0x38, "msrs.kernel_gs_base");
_Static_assert(__builtin_offsetof(struct msrs, tsc_aux) == 0x40, "msrs.tsc_aux");
_Static_assert(__builtin_offsetof(struct msrs, tsc_adjust) == 0x48, "msrs.tsc_adjust");
_Static_assert(__builtin_offsetof(struct msrs, tsc_deadline) == 0x50, "msrs.tsc_deadline");
_Static_assert(__builtin_offsetof(struct msrs, pat) == 0x58, "msrs.pat");
_Static_assert(__builtin_offsetof(struct msrs, misc_enable) == 0x60, "msrs.misc_enable");
_Static_assert(__builtin_offsetof(struct msrs, mtrr_default) == 0x68, "msrs.mtrr_default");
_Static_assert(__builtin_offsetof(struct msrs, mtrr_base) == 0x70, "msrs.mtrr_base");
_Static_assert(__builtin_offsetof(struct msrs, mtrr_mask) == 0xb0, "msrs.mtrr_mask");
_Static_assert(__builtin_offsetof(struct msrs, mtrr_fixed) == 0xf0, "msrs.mtrr_fixed");
_Static_assert(__builtin_offsetof(struct msrs, count) == 0x148, "msrs.count");
_Static_assert(__builtin_offsetof(struct msrs, reserved) == 0x14c, "msrs.reserved");
_Static_assert(__builtin_offsetof(struct msrs, others) == 0x150, "msrs.others");
_Static_assert(sizeof(struct msrs) == 0xd50, "msrs");

/* The XSAVE area, byte by byte (SDM 1, 10.5.1 and 13.4). */
struct xsave {
	__u16 fcw;	/* 0x000 x87 control */
	__u16 fsw;	/* 0x002 x87 status */
	__u8 ftw;	/* 0x004 x87 tags, abridged */
	__u8 reserved1;	/* 0x005 as FXSAVE has it */
	__u16 fop;	/* 0x006 x87 opcode */
	__u64 fip;	/* 0x008 x87 instruction pointer */
	__u64 fdp;	/* 0x010 x87 data pointer */
	__u32 mxcsr;	/* 0x018 SSE control and status */
	__u32 mxcsr_mask;	/* 0x01c which of its bits there are */
	__u8 st[128];	/* 0x020 x87 registers, 16 bytes each */
	__u8 xmm[256];	/* 0x0a0 SSE registers, 16 bytes each */
	__u8 unused[96];	/* 0x1a0 as FXSAVE leaves them */
	__u64 xstate_bv;	/* 0x200 components that are not in their initial state */
	__u64 xcomp_bv;	/* 0x208 0: the standard format */
	__u64 header[6];	/* 0x210 reserved */
	__u8 extended[3520];	/* 0x240 AVX, AVX-512, PKRU and so on, where CPUID leaf 0xd has them */
};
_Static_assert(__builtin_offsetof(struct xsave, fcw) == 0x0, "xsave.fcw");
_Static_assert(__builtin_offsetof(struct xsave, fsw) == 0x2, "xsave.fsw");
_Static_assert(__builtin_offsetof(struct xsave, ftw) == 0x4, "xsave.ftw");
_Static_assert(__builtin_offsetof(struct xsave, reserved1) == 0x5, "xsave.reserved1");
_Static_assert(__builtin_offsetof(struct xsave, fop) == 0x6, "xsave.fop");
_Static_assert(__builtin_offsetof(struct xsave, fip) == 0x8, "xsave.fip");
_Static_assert(__builtin_offsetof(struct xsave, fdp) == 0x10, "xsave.fdp");
_Static_assert(__builtin_offsetof(struct xsave, mxcsr) == 0x18, "xsave.mxcsr");
_Static_assert(__builtin_offsetof(struct xsave, mxcsr_mask) == 0x1c, "xsave.mxcsr_mask");
_Static_assert(__builtin_offsetof(struct xsave, st) == 0x20, "xsave.st");
_Static_assert(__builtin_offsetof(struct xsave, xmm) == 0xa0, "xsave.xmm");
_Static_assert(__builtin_offsetof(struct xsave, unused) == 0x1a0, "xsave.unused");
_Static_assert(__builtin_offsetof(struct xsave, xstate_bv) == 0x200, "xsave.xstate_bv");
_Static_assert(__builtin_offsetof(struct xsave, xcomp_bv) == 0x208, "xsave.xcomp_bv");
_Static_assert(__builtin_offsetof(struct xsave, header) == 0x210, "xsave.header");
_Static_assert(__builtin_offsetof(struct xsave, extended) == 0x240, "xsave.extended");
_Static_assert(sizeof(struct xsave) == 0x1000, "xsave");

/* What is on its way into the vCPU, and what keeps it out: struct kvm_vcpu_events. */
struct events {
	__u8 exception_injected;	/* 0x000 1: it is being delivered */
	__u8 exception_pending;	/* 0x001 1: it is to be delivered, and may be intercepted yet */
	__u8 exception_nr;	/* 0x002 vector */
	__u8 exception_has_error;	/* 0x003 1 if it has an error code */
	__u32 exception_error;	/* 0x004 that */
	__u64 exception_payload;	/* 0x008 of a #PF the address, of a #DB what goes to dr6 */
	__u8 exception_has_payload;	/* 0x010 1 if it has one */
	__u8 interrupt_injected;	/* 0x011 1: it is being delivered */
	__u8 interrupt_nr;	/* 0x012 vector */
	__u8 interrupt_soft;	/* 0x013 1: by an INT instruction */
	__u8 shadow;	/* 0x014 what inhibits interrupts for one instruction */
	__u8 nmi_injected;	/* 0x015 1: it is being delivered */
	__u8 nmi_pending;	/* 0x016 how many wait */
	__u8 nmi_masked;	/* 0x017 1: until IRET */
	__u32 sipi_vector;	/* 0x018 where a SIPI would start the vCPU [pages] */
	__u8 smm;	/* 0x01c 1 in system management mode */
	__u8 smi_pending;	/* 0x01d 1: one waits */
	__u8 smm_inside_nmi;	/* 0x01e 1: it came during an NMI */
	__u8 latched_init;	/* 0x01f 1: an INIT waits */
	__u8 triple_fault;	/* 0x020 1: one is to be reported */
	__u8 reserved[7];	/* 0x021 to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct events, exception_injected) == 0x0, "events.exception_injected");
_Static_assert(__builtin_offsetof(struct events, exception_pending) == 0x1, "events.exception_pending");
_Static_assert(__builtin_offsetof(struct events, exception_nr) == 0x2, "events.exception_nr");
_Static_assert(__builtin_offsetof(struct events, exception_has_error) == 0x3, "events.exception_has_error");
_Static_assert(__builtin_offsetof(struct events, exception_error) == 0x4, "events.exception_error");
_Static_assert(__builtin_offsetof(struct events, exception_payload) == 0x8, "events.exception_payload");
_Static_assert(__builtin_offsetof(struct events, exception_has_payload) == 0x10, "events.exception_has_payload");
_Static_assert(__builtin_offsetof(struct events, interrupt_injected) == 0x11, "events.interrupt_injected");
_Static_assert(__builtin_offsetof(struct events, interrupt_nr) == 0x12, "events.interrupt_nr");
_Static_assert(__builtin_offsetof(struct events, interrupt_soft) == 0x13, "events.interrupt_soft");
_Static_assert(__builtin_offsetof(struct events, shadow) == 0x14, "events.shadow");
_Static_assert(__builtin_offsetof(struct events, nmi_injected) == 0x15, "events.nmi_injected");
_Static_assert(__builtin_offsetof(struct events, nmi_pending) == 0x16, "events.nmi_pending");
_Static_assert(__builtin_offsetof(struct events, nmi_masked) == 0x17, "events.nmi_masked");
_Static_assert(__builtin_offsetof(struct events, sipi_vector) == 0x18, "events.sipi_vector");
_Static_assert(__builtin_offsetof(struct events, smm) == 0x1c, "events.smm");
_Static_assert(__builtin_offsetof(struct events, smi_pending) == 0x1d, "events.smi_pending");
_Static_assert(__builtin_offsetof(struct events, smm_inside_nmi) == 0x1e, "events.smm_inside_nmi");
_Static_assert(__builtin_offsetof(struct events, latched_init) == 0x1f, "events.latched_init");
_Static_assert(__builtin_offsetof(struct events, triple_fault) == 0x20, "events.triple_fault");
_Static_assert(__builtin_offsetof(struct events, reserved) == 0x21, "events.reserved");
_Static_assert(sizeof(struct events) == 0x28, "events");
enum {
	EVENTS_SHADOW_MOV_SS = 1 << 0,
	EVENTS_SHADOW_STI = 1 << 1,
};

/* The time-stamp counter. */
struct timing {
	__u64 tsc;	/* 0x000 as the guest read it when the state was taken [ticks] */
	__u64 tsc_offset;	/* 0x008 from the host's to the guest's, which wraps [ticks] */
	__u32 tsc_khz;	/* 0x010 how fast it counts [kHz] */
	__u32 reserved;	/* 0x014 to a multiple of 8 */
};
_Static_assert(__builtin_offsetof(struct timing, tsc) == 0x0, "timing.tsc");
_Static_assert(__builtin_offsetof(struct timing, tsc_offset) == 0x8, "timing.tsc_offset");
_Static_assert(__builtin_offsetof(struct timing, tsc_khz) == 0x10, "timing.tsc_khz");
_Static_assert(__builtin_offsetof(struct timing, reserved) == 0x14, "timing.reserved");
_Static_assert(sizeof(struct timing) == 0x18, "timing");

/* The state of an x86 vCPU, between two instructions. */
struct vcpu_state {
	struct general general;	/* 0x000 general registers */
	struct segments segments;	/* 0x090 segments and descriptor tables */
	struct control control;	/* 0x170 control registers */
	struct debug debug;	/* 0x1d8 debug registers */
	struct msrs msrs;	/* 0x208 model-specific registers */
	struct xsave xsave;	/* 0xf58 x87, SSE, AVX and so on */
	struct events events;	/* 0x1f58 what is on its way */
	struct timing timing;	/* 0x1f80 the time-stamp counter */
	__u32 activity;	/* 0x1f98 whether it runs, and what it waits for */
	__u32 apic_present;	/* 0x1f9c 1 if there is a local APIC, whose registers follow */
	__u32 apic[64];	/* 0x1fa0 the local APIC's registers, by offset / 16 */
};
_Static_assert(__builtin_offsetof(struct vcpu_state, general) == 0x0, "vcpu_state.general");
_Static_assert(__builtin_offsetof(struct vcpu_state, segments) == 0x90, "vcpu_state.segments");
_Static_assert(__builtin_offsetof(struct vcpu_state, control) == 0x170, "vcpu_state.control");
_Static_assert(__builtin_offsetof(struct vcpu_state, debug) == 0x1d8, "vcpu_state.debug");
_Static_assert(__builtin_offsetof(struct vcpu_state, msrs) == 0x208, "vcpu_state.msrs");
_Static_assert(__builtin_offsetof(struct vcpu_state, xsave) == 0xf58, "vcpu_state.xsave");
_Static_assert(__builtin_offsetof(struct vcpu_state, events) == 0x1f58, "vcpu_state.events");
_Static_assert(__builtin_offsetof(struct vcpu_state, timing) == 0x1f80, "vcpu_state.timing");
_Static_assert(__builtin_offsetof(struct vcpu_state, activity) == 0x1f98, "vcpu_state.activity");
_Static_assert(__builtin_offsetof(struct vcpu_state, apic_present) == 0x1f9c, "vcpu_state.apic_present");
_Static_assert(__builtin_offsetof(struct vcpu_state, apic) == 0x1fa0, "vcpu_state.apic");
_Static_assert(sizeof(struct vcpu_state) == 0x20a0, "vcpu_state");

#endif /* SPLITVMM_VCPU_STATE_GEN_H */
