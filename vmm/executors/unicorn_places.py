"""Where a saved context of Unicorn's has what: it holds all of a CPU, hidden parts of segments included, and Unicorn's
own calls reach but some of it.

Its layout is nobody's promise, so each place is found by writing a value through Unicorn's calls and looking for it in
a context saved then; a version that keeps things elsewhere is asked anew, one that has something nowhere is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ..devmodel import vcpu
from ..errors import UserError
from . import state

CODE = 0x51c20000           # where code is tried
SEGMENT_BYTES = 24          # selector, padding, base (8 bytes), limit, flags
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr", "gdt", "idt")      # one after the other
GENERAL = [name for name in state.GENERAL if name != "rflags"]      # which is kept in pieces
MSRS = ("sysenter_esp", "sysenter_eip", "star", "lstar", "cstar", "fmask", "kernel_gs_base", "tsc_aux", "pat",
        "misc_enable")


@dataclass(frozen=True)
class Places:
    """Offsets in a saved context, in bytes; all words there are little-endian."""

    general: dict[str, int]     # 8 bytes each
    segments: dict[str, int]    # SEGMENT_BYTES each
    control: dict[str, int]     # cr0, cr2, cr3, cr4: 8 bytes each; cr8: one
    efer: int                   # 8 bytes
    msrs: dict[str, int]        # 8 bytes each
    sysenter_cs: int            # 4 bytes
    flags: int                  # 4 bytes: what decides how code is translated (hidden)
    debug: int                  # dr0 to dr7, 8 bytes each
    exception: int              # its error code and whether it was an INT, 4 bytes each; 8: what is behind that
    old_exception: int          # 4 bytes: one that was raised and is not delivered yet, or -1
    tsc_offset: int             # 8 bytes: from the host's time-stamp counter to the guest's
    st: int                     # the register file, 16 bytes each, not by the stack's top
    top: int                    # 4 bytes, the stack's top
    status: int                 # 2 bytes, x87 status without it
    fcw: int                    # 2 bytes
    tags: int                   # a byte each: 1 is empty
    fip: int                    # 8 bytes
    fdp: int                    # 8 bytes
    fop: int                    # 2 bytes
    mxcsr: int                  # 4 bytes
    xmm: int
    xmm_stride: int             # bytes from one to the next


class _Search:
    """Writes to a CPU of its own, and looks where they went."""

    def __init__(self) -> None:
        import unicorn
        import unicorn.x86_const as const
        self.const, self.uc = const, unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._serial = self.header = 0
        self.header = self.word("RAX")      # what is before it is the context's own, and changes by itself

    def value(self, bits: int = 64) -> int:
        """One that was not there before."""
        self._serial += 1
        return 0x1d2e3f405162738495a6 * (2 * self._serial + 1) & (1 << bits) - 1

    def changed(self, register: str, value: Any) -> tuple[bytes, list[int]]:
        before = bytes(self.uc.context_save())
        self.uc.reg_write(getattr(self.const, f"UC_X86_REG_{register}"), value)
        after = bytes(self.uc.context_save())
        return after, [at for at in range(self.header, len(after)) if before[at] != after[at]]

    def word(self, register: str, value: Any = None, size: int = 8, shown: int | None = None) -> int:
        """Where a register's value appears."""
        value = self.value() if value is None else value
        after, changed = self.changed(register, value)
        shown = value if shown is None else shown
        at = after.find(shown.to_bytes(size, "little"), self.header)
        if at < 0 or not any(at <= each < at + size for each in changed):
            raise UserError(f"unicorn: {register} is nowhere in a saved context; wanted a version that was tried")
        return at

    def first(self, register: str, value: Any) -> list[int]:
        """Bytes that change as a register is written."""
        _, changed = self.changed(register, value)
        if not changed:
            raise UserError(f"unicorn: {register} is nowhere in a saved context; wanted a version that was tried")
        return changed


@cache
def places() -> Places:
    """Of the Unicorn that is installed.  Raises UserError."""
    search = _Search()
    fs = search.word("FS_BASE", search.value(46)) - 8
    first = fs - SEGMENTS.index("fs") * SEGMENT_BYTES
    segments = {name: first + i * SEGMENT_BYTES for i, name in enumerate(SEGMENTS)}
    for register, name in (("GDTR", "gdt"), ("IDTR", "idt")):
        base = search.value(46)
        if search.word(register, (0, base, 0xffff, 0), shown=base) != segments[name] + 8:
            raise UserError(f"unicorn: {name} is not where it was; wanted a version that was tried")
    fsw = search.first("FPSW", 0x3801)
    st, xmm = search.value(), search.value()
    return Places(
        general={name: search.word(name.upper()) for name in GENERAL}, segments=segments,
        control={"cr2": search.word("CR2"), "cr3": search.word("CR3", 0x3a5000),
                 "cr4": search.word("CR4", 0x20, shown=0x20), "cr8": search.first("CR8", 9)[0],
                 "cr0": search.word("CR0", 0xe0050033)},
        efer=search.word("MSR", (0xc0000080, 0xd01), shown=0xd01),
        msrs={name: search.word("MSR", (vcpu.MSRS[name], value := search.value()), shown=value) for name in MSRS},
        sysenter_cs=search.word("MSR", (vcpu.MSRS["sysenter_cs"], 0x9bd8), 4, 0x9bd8),
        flags=_flags(search), debug=search.word("DR0"), exception=_exception(), old_exception=(old := _old_exception()),
        tsc_offset=_tsc_offset(old + 16),
        st=search.word("FP0", (st, 0x1234), shown=st), top=fsw[0], status=fsw[-1], fcw=search.word("FPCW", 0x2b7f, 2),
        tags=_tags(search), fip=search.word("FIP"), fdp=search.word("FDP"), fop=search.word("FOP", 0x5a7, 2),
        mxcsr=search.word("MXCSR", 0x9fc0, 4), xmm=(xmm0 := search.word("XMM0", xmm)),
        xmm_stride=search.word("XMM1", search.value()) - xmm0)


def _flags(search: _Search) -> int:
    """The task-switched bit of cr0 is in them, at 11 of 32."""
    _, changed = search.changed("CR0", 0xe0050033 ^ 8)
    at = changed[0] - 1
    if changed[0] == search.word("CR0", 0xe0050033):
        raise UserError("unicorn: hidden flags are nowhere in a saved context; wanted a version that was tried")
    return at


def _tags(search: _Search) -> int:
    search.changed("FPTAG", 0)
    return search.first("FPTAG", 0xffff)[0]


def _exception() -> int:
    """Where INT leaves the address behind it, which nothing else has: its error code is before that."""
    _, _, data = _raised("cd42")               # int 0x42
    at = data.find((CODE + 2).to_bytes(8, "little"))
    if at < 8 or data[at - 4:at] != bytes([1, 0, 0, 0]):
        raise UserError("unicorn: exceptions are nowhere in a saved context; wanted a version that was tried")
    return at - 8


def _old_exception() -> int:
    """Where a division by zero leaves its vector, 0: what was -1."""
    _, before, after = _raised("31c0f7f0")      # xor eax, eax; div eax
    at = next((at for at in range(0, len(before) - 3, 4)
               if before[at:at + 4] == b"\xff" * 4 and after[at:at + 4] == bytes(4)), -1)
    if at < 0:
        raise UserError("unicorn: a raised exception is nowhere in a saved context; wanted a version that was tried")
    return at


def _tsc_offset(at: int) -> int:
    """Whether RDTSC goes by what is there."""
    import ctypes

    import unicorn
    import unicorn.x86_const as const
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.mem_map(CODE, 0x1000)
    uc.mem_write(CODE, bytes.fromhex("0f31f4"))     # rdtsc; hlt
    found = []
    for offset in (0, 1 << 62):
        context = uc.context_save()
        ctypes.memmove(context.context.value + at, offset.to_bytes(8, "little"), 8)
        uc.context_restore(context)
        uc.emu_start(CODE, 0)
        found.append(uc.reg_read(const.UC_X86_REG_RDX) << 32 | uc.reg_read(const.UC_X86_REG_RAX))
    if not 0 <= found[1] - found[0] - (1 << 62) < 1 << 40:
        raise UserError("unicorn: the counter's offset is nowhere in a saved context; wanted a version that was tried")
    return at


def _raised(code: str) -> tuple[Any, bytes, bytes]:
    """A CPU, and contexts before and after an exception of code's; it has left that address."""
    import unicorn
    import unicorn.x86_const as const
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.mem_map(CODE, 0x1000)
    uc.mem_write(CODE, bytes.fromhex(code))
    uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, vector, data: uc.emu_stop())
    before = bytes(uc.context_save())
    uc.emu_start(CODE, 0)
    uc.reg_write(const.UC_X86_REG_RIP, 0)
    return uc, before, bytes(uc.context_save())
