"""A CPU of Unicorn's on guest memory: an executor (executor.py).  What is done for each access and each basic block is
in C (vmm/native/emulator.c).

Guest memory is mapped as it is, without copying.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Iterable
from typing import Any

import unicorn
import unicorn.x86_const as const
from unicorn.unicorn_py3.unicorn import uclib

from ..devmodel.view import View, address_of
from ..errors import UserError
from ..kvm.bus import AddressSpace
from . import blocks
from ._emulator import ffi, lib
from .executor import Accesses, Stop, Why
from .guest_map import Range, Window, guest_map
from .instructions import PUSHF, is_pushf, mode_of, stack_top
from .kvm_special import TABLES
from .state import SEGMENTS
from .unicorn_places import GENERAL, MSRS, Places, places
from .unicorn_state import refuse

PAGE = 4096
TRAP, RESUME = 1 << 8, 1 << 16      # rflags: an exception after each instruction; none for the next one
DEBUG = 1                           # its vector
STEP_BLOCKS = 4                     # an instruction ends one; a string instruction may be several
ALL_SEGMENTS = [*SEGMENTS, *TABLES]     # as struct segments has them
CALLS = ("emu_start emu_stop reg_read reg_write context_save context_restore ctl mmio_map hook_add "
         "vmem_translate").split()
HALT = b"\xf4"
NO_PORTS = bytes(8192)      # a bit for each


def made() -> Any:
    """A CPU of Unicorn's whose model has what its translation knows: SMAP among it."""
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_cpu_model(const.UC_CPU_X86_SKYLAKE_CLIENT)
    return uc


def _control(number: int, arguments: int) -> int:
    """UC_CTL_WRITE of unicorn.h."""
    return number | arguments << 26 | unicorn.UC_CTL_IO_WRITE << 30


def _numbers() -> dict[str, Any]:
    return {
        "rip": const.UC_X86_REG_RIP, "rflags": const.UC_X86_REG_EFLAGS, "rdx": const.UC_X86_REG_RDX,
        "fcw": const.UC_X86_REG_FPCW, "mxcsr": const.UC_X86_REG_MXCSR,
        "cpuid_registers": [getattr(const, f"UC_X86_REG_{name}") for name in ("RAX", "RBX", "RCX", "RDX")],
        "flush_tlb": _control(unicorn.UC_CTL_TLB_FLUSH, 0), "flush_code": _control(unicorn.UC_CTL_TB_FLUSH, 0),
        "hook_block": unicorn.UC_HOOK_BLOCK, "hook_translation": unicorn.UC_HOOK_EDGE_GENERATED,
        "hook_exception": unicorn.UC_HOOK_INTR, "hook_write_protected": unicorn.UC_HOOK_MEM_WRITE_PROT,
        "hook_read_protected": unicorn.UC_HOOK_MEM_READ_PROT,
        "hook_instruction": unicorn.UC_HOOK_INSN, "in": const.UC_X86_INS_IN, "out": const.UC_X86_INS_OUT,
        "cpuid": const.UC_X86_INS_CPUID, "syscall": const.UC_X86_INS_SYSCALL, "sysenter": const.UC_X86_INS_SYSENTER,
        "invalid": unicorn.UC_ERR_INSN_INVALID, "unmapped_read": unicorn.UC_ERR_READ_UNMAPPED,
        "unmapped_write": unicorn.UC_ERR_WRITE_UNMAPPED, "unmapped_fetch": unicorn.UC_ERR_FETCH_UNMAPPED,
        "executable": unicorn.UC_PROT_EXEC}


def _places(at: Places) -> dict[str, Any]:
    found = {name: value for name, value in vars(at).items() if isinstance(value, int)}
    return found | {name: at.control[name] for name in ("cr0", "cr2", "cr3", "cr4", "cr8")} | {
        "general": [at.general[name] for name in GENERAL], "msrs": [at.msrs[name] for name in MSRS],
        "segments": [at.segments[name] for name in ALL_SEGMENTS]}


class UnicornCpu:
    """One vCPU's.  `guarded`: it runs beside KVM, and stops before blocks and ports that are KVM's (blocks.py,
    `kernel_ports`: a bit for each port)."""

    def __init__(self, accesses: Accesses, *, guarded: bool = False, kernel_ports: bytes = NO_PORTS,
                 on_error: Callable[[BaseException], None] | None = None):
        self.accesses, self._on_error = accesses, on_error
        self.on_moved: Callable[[], None] = lambda: None
        self._vm: Any = None        # whose memory slots it follows
        if accesses:        # so that each takes as little time as may be
            self.read, self.write = accesses.read, accesses.write
        self.error: BaseException | None = None     # out of `accesses`, when a run has FAILED
        self.uc = made()
        self._context = self.uc.context_save()
        self._given = ffi.new("uint8_t[]", self._context.size)
        self._ports, self._handle = ffi.new("uint8_t[]", kernel_ports), ffi.new_handle(self)
        self.emulator = ffi.new("struct emulator *", {
            "call": {name: ffi.cast("void *", ctypes.cast(getattr(uclib, f"uc_{name}"), ctypes.c_void_p).value)
                     for name in CALLS},
            "number": _numbers(), "at": _places(places()), "uc": self._pointer(self.uc._uch),
            "context": self._pointer(self._context.context), "cpu": self._pointer(self._context.context),
            "given": self._given, "cpu_bytes": self._context.size, "handle": self._handle, "guarded": guarded,
            "kernel_ports": self._ports})
        self.uc.ctl_exits_enabled(True)         # none: no translation is made anew for where a run ends
        self._check(lib.emulator_begin(self.emulator, CALLBACKS))
        self._begin()
        self._memory: set[Range] = set()
        self._told: set[Window] = set()
        self._slots: dict[Window, int] = {}     # of emulator.windows

    def _begin(self) -> None:
        """Have it translate once: the first translation of all is told to nobody."""
        self.uc.mem_map(0, PAGE)
        self.uc.mem_write(0, HALT)
        self.emulator.budget = 1
        self.uc.emu_start(0, 0)
        self.uc.mem_unmap(0, PAGE)
        self.emulator.untold = True

    @staticmethod
    def _pointer(value: Any) -> Any:
        return ffi.cast("void *", ctypes.cast(value, ctypes.c_void_p).value)

    @staticmethod
    def _check(error: int) -> None:
        if error:
            raise UserError(f"unicorn: {uclib.uc_strerror(error).decode() if error > 0 else error}")

    # memory

    def map(self, ranges: Iterable[Range], windows: Iterable[Window] = (), registers: Iterable[Range] = ()) -> None:
        """Have guest memory be these, and tell accesses of the windows, none of which overlap, but for reads of
        `registers`: those are read where they are."""
        memory, told, shown = set(ranges), set(windows), list(registers)
        if max(len(memory), len(shown)) > lib.EMULATOR_RANGES or len(told) > lib.EMULATOR_WINDOWS:
            raise UserError(f"{len(memory)} runs of guest memory, {len(shown)} of registers; wanted at most "
                            f"{lib.EMULATOR_RANGES}")
        for old in (self._memory - memory) | (self._told - told):
            self.uc.mem_unmap(old.gpa, old.bytes)
        for new in memory - self._memory:
            protection = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC if new.read_only else unicorn.UC_PROT_ALL
            self.uc.mem_map_ptr(new.gpa, new.bytes, protection, ctypes.c_void_p(new.address))
        self.emulator.range_count = self._list(memory, self.emulator.ranges)
        self.emulator.register_count = self._list(shown, self.emulator.registers)
        self._slots = {window: i for window, i in self._slots.items() if window in told}
        for window in told - self._told:
            self._tell(window)
        self._memory, self._told = memory, told
        self.written()

    @staticmethod
    def _list(ranges: Collection[Range], places: Any) -> int:
        for i, each in enumerate(ranges):
            places[i] = {"gpa": each.gpa, "bytes": each.bytes, "at": ffi.cast("uint8_t *", each.address)}
        return len(ranges)

    def _tell(self, window: Window) -> None:
        used = set(self._slots.values())
        i = self._slots[window] = next(i for i in range(lib.EMULATOR_WINDOWS) if i not in used)
        self.emulator.windows[i] = {"gpa": window.gpa, "bytes": window.bytes}
        self._check(lib.emulator_window(self.emulator, i))
        self.uc.mem_protect(window.gpa, window.bytes, unicorn.UC_PROT_NONE)     # so that it tells of whole accesses

    def follow(self, vcpu: Any, mmio: AddressSpace, told: Collection[tuple[int, int]],
               on_map: Callable[[list[Range]], None] = lambda memory: None) -> None:
        """Be in a vCPU's place: memory is where the slots of its VM are, now and whenever they move, and accesses are
        offered to the native exit path of its loop first, where that has one.  `told`: see guest_map; `on_map` hears
        of memory as well."""
        self._vm = vcpu.vm
        self.emulator.loop = ffi.cast("struct vcpu_loop *", int(vcpu.ffi.cast("uintptr_t", vcpu.loop)))

        def map_slots() -> None:
            memory, windows, registers = guest_map(vcpu.vm.slots.values(), mmio, told)
            self.map(memory, windows, registers)
            on_map(memory)
        self.on_moved = map_slots
        self._vm.on_moved.append(self.moved)        # first, as other threads may move them meanwhile
        map_slots()

    def moved(self) -> None:
        """Any thread: guest memory is elsewhere now; `on_moved` is called before the next run."""
        lib.emulator_moved(self.emulator)

    def written(self) -> None:
        """Others may have written guest memory since the last run."""
        lib.emulator_written(self.emulator)

    # running

    def give(self, state: View, checked: bool = False) -> None:
        """Have the CPU be that.  Raises NotTransferable; nothing is touched of what is refused.  `checked`: it is known
        that the CPU can be that."""
        if not checked:
            refuse(state)
        self.emulator.state = ffi.cast("struct vcpu_state *", address_of(state))
        lib.emulator_give(self.emulator)

    def take(self, state: View) -> None:
        """What the CPU has become since it was given `state`."""
        self.emulator.state = ffi.cast("struct vcpu_state *", address_of(state))
        lib.emulator_take(self.emulator)

    def run(self, state: View, blocks: int, checked: bool = False) -> Stop:
        """See Executor, and `give`.  An error out of `accesses` ends it: FAILED, and `error` has it."""
        lib.emulator_settle(self.emulator)
        self.give(state, checked)
        self.error = None
        emulator = self.emulator
        why = Why(lib.emulator_run(emulator, blocks))
        self.take(state)
        if self.error is not None:
            return Stop(Why.FAILED)
        if why == Why.EXCEPTION:
            code, is_int = ffi.cast("int32_t *", emulator.cpu + emulator.at.exception)[0:2]
            return Stop(why, emulator.vector, code & 0xffffffff, bool(is_int))
        return Stop(why, emulator.vector if why == Why.SYSCALL else 0, emulator.error)

    def step(self, state: View) -> Stop:
        """One instruction, whatever it is; an exception #DB of it alone is no difference, nor is what PUSHF pushes.
        See `run`."""
        flags, dr6, began = state.general.rflags, state.debug.dr6, _linear(state)
        state.general.rflags |= TRAP
        self.emulator.stepping = True
        stop = self.run(state, STEP_BLOCKS, checked=True)
        self.emulator.stepping = False
        state.general.rflags = state.general.rflags & ~(TRAP | RESUME) | flags & TRAP
        if stop.why == Why.EXCEPTION and stop.vector == DEBUG and not stop.is_int:
            state.debug.dr6 = dr6
            if not flags & TRAP:
                self._take_trap_back(state, began)
            return Stop(Why.BUDGET)
        return stop

    def _take_trap_back(self, state: View, began: int) -> None:
        """From what PUSHF has pushed, if it was that: the trap flag is ours."""
        now = _linear(state)
        if self.code(now - 1, 1) != PUSHF or not is_pushf(self.code(began, now - began), mode_of(state)):
            return
        top = stack_top(state) + 1
        data = ctypes.create_string_buffer(1)
        uclib.uc_vmem_read(self.uc._uch, ctypes.c_uint64(top), unicorn.UC_PROT_READ, data, ctypes.c_uint64(1))
        data.raw = bytes([data.raw[0] & ~(TRAP >> 8)])
        uclib.uc_vmem_write(self.uc._uch, ctypes.c_uint64(top), unicorn.UC_PROT_WRITE, data, ctypes.c_uint64(1))

    def unmark(self, linear: int) -> bool:
        """Do not stop before this block again, as long as it is what it is; False where that may not be known."""
        return bool(lib.emulator_unmark(self.emulator, linear))

    def code(self, linear: int, size: int) -> bytes:
        """What the CPU would fetch there; less of it where a page has nothing.  After `give`."""
        found = b""
        while len(found) < size:
            at = linear + len(found)
            data = ctypes.create_string_buffer(min(size - len(found), PAGE - at % PAGE))
            if uclib.uc_vmem_read(self.uc._uch, ctypes.c_uint64(at), unicorn.UC_PROT_EXEC, data,
                                  ctypes.c_uint64(len(data))):
                break
            found += data.raw
        return found

    @staticmethod
    def reason(stop: Stop) -> str:
        """Why it stopped for good: NOWHERE or REFUSED."""
        return uclib.uc_strerror(stop.error).decode()

    def ask(self) -> None:
        lib.emulator_ask(self.emulator)

    def failed(self, error: BaseException) -> None:
        """Out of a callback: the run ends, before its next block."""
        self.error = self.error or error
        lib.emulator_ask(self.emulator)
        if self._on_error:
            self._on_error(error)

    def close(self) -> None:
        if self._vm:
            self._vm.on_moved.remove(self.moved)
        lib.emulator_end(self.emulator)
        del self.uc, self._context


def _linear(state: View) -> int:
    return (state.segments.cs.base + state.general.rip) & (1 << 64) - 1


def _failed(kind: Any, error: Any, trace: Any) -> None:
    frame = trace.tb_frame
    while frame and "handle" not in frame.f_locals:
        frame = frame.f_back
    if frame:
        ffi.from_handle(frame.f_locals["handle"]).failed(error)


@ffi.def_extern(onerror=_failed)
def emulator_read(handle, bus, address, width):
    return ffi.from_handle(handle).read(bus, address, width)


@ffi.def_extern(onerror=_failed)
def emulator_write(handle, bus, address, width, value):
    ffi.from_handle(handle).write(bus, address, width, value)


@ffi.def_extern(onerror=_failed)
def emulator_raise(handle, line):
    ffi.from_handle(handle).accesses.raise_(line)


@ffi.def_extern(onerror=_failed)
def emulator_remap(handle):
    ffi.from_handle(handle).on_moved()


@ffi.def_extern(onerror=_failed)
def emulator_look(handle, block, code):
    found = blocks.look(ffi.buffer(code, block.bytes)[:], block.linear, block.mode)
    block.ours, block.ports, block.pops_flags = found.ours, len(found.ports), found.pops_flags
    for i, port in enumerate(found.ports):
        block.port[i] = lib.EMULATOR_DX if port is None else port


@ffi.def_extern(onerror=_failed)
def emulator_cpuid(handle, registers):
    leaf, index = registers[0], registers[2]
    registers[0:4] = ffi.from_handle(handle).accesses.cpuid(leaf, index)


CALLBACKS = ffi.new("struct emulator_callbacks *", {
    "read": lib.emulator_read, "write": lib.emulator_write, "look": lib.emulator_look, "cpuid": lib.emulator_cpuid,
    "raise": lib.emulator_raise, "remap": lib.emulator_remap})
