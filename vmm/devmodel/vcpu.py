"""The state of an x86 vCPU, whoever runs it: KVM or an emulator.

Names and bits are those of the Intel SDM (volumes 1 and 3); where KVM has words of its own, as for events that are on
their way, they are those of Documentation/virt/kvm/api.rst.  Whoever runs the vCPU holds the state.
"""

from __future__ import annotations

import enum

from .schema import HOLDER, Block, bits_of, enum_of, nested, u8, u16, u32, u64

VERSION = 1                 # of the state; moves with its layout
XSAVE_BYTES = 4096          # of the area, in the standard format (SDM 1, 13.4); all but AMX fits
EXTENDED_AT = 576           # behind the header (SDM 1, 13.4.2)
OTHER_MSRS = 192            # that have no name here
APIC_REGISTERS = 64         # each 32 bits, 16 bytes apart in the APIC's page (SDM 3, table 11-1)


class Activity(enum.IntEnum):
    """What the vCPU is about: KVM_MP_STATE_*."""

    RUNNABLE = 0
    UNINITIALIZED = 1
    INIT_RECEIVED = 2
    HALTED = 3
    SIPI_RECEIVED = 4


class General(Block):
    """General registers."""

    rax = u64("rax")
    rbx = u64("rbx")
    rcx = u64("rcx")
    rdx = u64("rdx")
    rsi = u64("rsi")
    rdi = u64("rdi")
    rsp = u64("rsp")
    rbp = u64("rbp")
    r8 = u64("r8")
    r9 = u64("r9")
    r10 = u64("r10")
    r11 = u64("r11")
    r12 = u64("r12")
    r13 = u64("r13")
    r14 = u64("r14")
    r15 = u64("r15")
    rip = u64("the next instruction's offset in cs")
    rflags = u64("flags")


class Segment(Block):
    """A segment register with what is hidden behind its selector (SDM 3, 3.4.3)."""

    base = u64("where it begins", unit="linear address")
    limit = u32("its last byte, whatever its granularity", unit="bytes")
    access = bits_of(u32, type=(0, 4), s=4, dpl=(5, 2), present=7, avl=12, l=13, db=14, g=15, unusable=16)(
        "as a VMCS has them (SDM 3, 25.4.1)")
    selector = u16("what was loaded")
    reserved = u16[3]("to a multiple of 8")


class Table(Block):
    """A descriptor table's register."""

    base = u64("where it begins", unit="linear address")
    limit = u16("its last byte", unit="bytes")
    reserved = u16[3]("to a multiple of 8")


class Segments(Block):
    """Segments and descriptor tables."""

    cs = nested(Segment)("code")
    ds = nested(Segment)("data")
    es = nested(Segment)("data")
    fs = nested(Segment)("data")
    gs = nested(Segment)("data")
    ss = nested(Segment)("stack")
    tr = nested(Segment)("task")
    ldt = nested(Segment)("local descriptor table")
    gdt = nested(Table)("global descriptor table")
    idt = nested(Table)("interrupt descriptor table")


class Control(Block):
    """Control registers (SDM 3, 2.5), and what goes with paging."""

    cr0 = u64("cr0")
    cr2 = u64("cr2", unit="linear address")
    cr3 = u64("cr3", unit="guest-physical address")
    cr4 = u64("cr4")
    cr8 = u64("task priority")
    efer = u64("extended features (SDM 3, 2.2.1)")
    xcr0 = u64("which state components XSAVE has (SDM 1, 13.3)")
    apic_base = u64("where the local APIC is, and whether (SDM 3, 11.4.4)")
    pdptr = u64[4]("with PAE paging: what cr3 pointed to when it was loaded (SDM 3, 4.4.1)")
    pdptrs_valid = u64("1 if those count")


class Debug(Block):
    """Debug registers (SDM 3, 18.2)."""

    dr = u64[4]("breakpoints dr0 to dr3", unit="linear address")
    dr6 = u64("what happened")
    dr7 = u64("what is watched")


class OtherMsr(Block):
    """A model-specific register that has no name here."""

    index = u32("its number")
    reserved = u32("to a multiple of 8")
    value = u64("its value")


class Msrs(Block):
    """Model-specific registers (SDM 4; KVM's own: Documentation/virt/kvm/x86/msr.rst)."""

    sysenter_cs = u64("0x174")
    sysenter_esp = u64("0x175")
    sysenter_eip = u64("0x176")
    star = u64("0xc0000081")
    lstar = u64("0xc0000082")
    cstar = u64("0xc0000083")
    fmask = u64("0xc0000084")
    kernel_gs_base = u64("0xc0000102")
    tsc_aux = u64("0xc0000103")
    tsc_adjust = u64("0x3b")
    tsc_deadline = u64("0x6e0", unit="ticks of the time-stamp counter")
    pat = u64("0x277")
    misc_enable = u64("0x1a0")
    mtrr_default = u64("0x2ff")
    mtrr_base = u64[8]("0x200, 0x202 ...")
    mtrr_mask = u64[8]("0x201, 0x203 ...")
    mtrr_fixed = u64[11]("0x250, 0x258, 0x259, 0x268 to 0x26f")
    count = u32("of the others")
    reserved = u32("to a multiple of 8")
    others = nested(OtherMsr)[OTHER_MSRS]("by their number")


# field of Msrs -> its number; of an array, those of its elements
MSRS = {"sysenter_cs": 0x174, "sysenter_esp": 0x175, "sysenter_eip": 0x176, "star": 0xc0000081, "lstar": 0xc0000082,
        "cstar": 0xc0000083, "fmask": 0xc0000084, "kernel_gs_base": 0xc0000102, "tsc_aux": 0xc0000103,
        "tsc_adjust": 0x3b, "tsc_deadline": 0x6e0, "pat": 0x277, "misc_enable": 0x1a0, "mtrr_default": 0x2ff}
MSR_ARRAYS = {"mtrr_base": [0x200 + 2 * i for i in range(8)], "mtrr_mask": [0x201 + 2 * i for i in range(8)],
              "mtrr_fixed": [0x250, 0x258, 0x259, *range(0x268, 0x270)]}


class Xsave(Block):
    """The XSAVE area, byte by byte (SDM 1, 10.5.1 and 13.4)."""

    fcw = u16("x87 control")
    fsw = u16("x87 status")
    ftw = u8("x87 tags, abridged")
    reserved1 = u8("as FXSAVE has it")
    fop = u16("x87 opcode")
    fip = u64("x87 instruction pointer")
    fdp = u64("x87 data pointer")
    mxcsr = u32("SSE control and status")
    mxcsr_mask = u32("which of its bits there are")
    st = u8[128]("x87 registers, 16 bytes each")
    xmm = u8[256]("SSE registers, 16 bytes each")
    unused = u8[96]("as FXSAVE leaves them")
    xstate_bv = u64("components that are not in their initial state")
    xcomp_bv = u64("0: the standard format")
    header = u64[6]("reserved")
    extended = u8[XSAVE_BYTES - EXTENDED_AT]("AVX, AVX-512, PKRU and so on, where CPUID leaf 0xd has them")


class Events(Block):
    """What is on its way into the vCPU, and what keeps it out: struct kvm_vcpu_events."""

    exception_injected = u8("1: it is being delivered")
    exception_pending = u8("1: it is to be delivered, and may be intercepted yet")
    exception_nr = u8("vector")
    exception_has_error = u8("1 if it has an error code")
    exception_error = u32("that")
    exception_payload = u64("of a #PF the address, of a #DB what goes to dr6")
    exception_has_payload = u8("1 if it has one")
    interrupt_injected = u8("1: it is being delivered")
    interrupt_nr = u8("vector")
    interrupt_soft = u8("1: by an INT instruction")
    shadow = bits_of(u8, mov_ss=0, sti=1)("what inhibits interrupts for one instruction")
    nmi_injected = u8("1: it is being delivered")
    nmi_pending = u8("how many wait")
    nmi_masked = u8("1: until IRET")
    sipi_vector = u32("where a SIPI would start the vCPU", unit="pages")
    smm = u8("1 in system management mode")
    smi_pending = u8("1: one waits")
    smm_inside_nmi = u8("1: it came during an NMI")
    latched_init = u8("1: an INIT waits")
    triple_fault = u8("1: one is to be reported")
    reserved = u8[7]("to a multiple of 8")


class Timing(Block):
    """The time-stamp counter."""

    tsc = u64("as the guest read it when the state was taken", unit="ticks")
    tsc_offset = u64("from the host's to the guest's, which wraps", unit="ticks")
    tsc_khz = u32("how fast it counts", unit="kHz")
    reserved = u32("to a multiple of 8")


class VcpuState(Block, writer=HOLDER):
    """The state of an x86 vCPU, between two instructions."""

    general = nested(General)("general registers")
    segments = nested(Segments)("segments and descriptor tables")
    control = nested(Control)("control registers")
    debug = nested(Debug)("debug registers")
    msrs = nested(Msrs)("model-specific registers")
    xsave = nested(Xsave)("x87, SSE, AVX and so on")
    events = nested(Events)("what is on its way")
    timing = nested(Timing)("the time-stamp counter")
    activity = enum_of(u32, Activity)("whether it runs, and what it waits for")
    apic_present = u32("1 if there is a local APIC, whose registers follow")
    apic = u32[APIC_REGISTERS]("the local APIC's registers, by offset / 16")
