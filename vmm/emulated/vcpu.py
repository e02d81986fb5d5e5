"""A vCPU that Unicorn runs alone: what KVM's Vcpu is to a machine, and what KVM does between a guest's instructions."""

from __future__ import annotations

import threading
from typing import Any

from ..devmodel.exit_path import Bus
from ..devmodel.vcpu import Activity
from ..devmodel.view import to_dict
from ..executors.executor import Accesses, Stop, Why
from ..executors.instructions import (
    MOST_BYTES,
    control_write,
    decoded,
    is_delicate,
    is_locked_wrongly,
    may_be_delicate,
    mode_of,
    priority_move,
)
from ..executors.kvm_special import from_special, to_special
from ..executors.reset import reset
from ..executors.state import GENERAL, blank, write_all
from ..executors.unicorn_cpu import UnicornCpu
from ..kvm.bus import AddressSpace
from ..kvm.vcpu import UnhandledExit
from ..kvm.vm import described
from .control import check_control
from .cpuid import PHYSICAL_BITS, Cpuid
from .delivery import Event, NotEmulated, Shutdown, deliver, exception, raised
from .linear import Fault, Physical
from .msrs import RDMSR, WRMSR, ModelSpecific
from .system_calls import syscall, sysenter
from .vm import EmulatedVm

ALL = ((0, 1 << PHYSICAL_BITS),)
SLICE, SHARED_SLICE = 50_000, 5_000     # basic blocks at a time; where there are other vCPUs
WAIT_NS = 1_000_000_000                 # at most, between looks at what else there is
ENABLED = 1 << 9                        # rflags
NMI, INVALID_OPCODE, GENERAL_PROTECTION = 2, 6, 13      # vectors
MOST_PRIORITY = 15                      # of cr8
APIC = 1 << 9                           # of CPUID leaf 1, edx
MOST_NMIS = 2                           # that wait (process_nmi, arch/x86/kvm/x86.c)
BOOTSTRAP, APIC_ON = 1 << 8, 1 << 11    # IA32_APIC_BASE (SDM 3, 11.4.4)


class _Accesses:
    """Those of one vCPU's: its own local APIC is where that is, and CPUID is its own."""

    def __init__(self, others: Accesses, vm: EmulatedVm, index: int, cpus: int, loop: Any):
        self._others, self._apic, self._cpuid, self._loop = others, vm.chips.apic(index), Cpuid(index, cpus), loop
        self.raise_ = others.raise_

    def _in_apic(self, bus: int, address: int) -> int:
        """The offset in its page; negative where it is not."""
        base = self._apic.base
        offset = address - (base & ~0xfff)
        return offset if bus == Bus.MMIO and base & APIC_ON and 0 <= offset < 0x1000 else -1

    def read(self, bus: int, address: int, width: int) -> int:
        if (offset := self._in_apic(bus, address)) >= 0:
            return self._apic.read(offset, width)
        self._loop.exits += 1
        return self._others.read(bus, address, width)

    def write(self, bus: int, address: int, width: int, value: int) -> None:
        if (offset := self._in_apic(bus, address)) >= 0:
            self._apic.write(offset, width, value)
        else:
            self._loop.exits += 1
            self._others.write(bus, address, width, value)

    def cpuid(self, leaf: int, index: int) -> tuple[int, int, int, int]:
        eax, ebx, ecx, edx = self._cpuid.leaf(leaf, index)
        if leaf == 1 and not self._apic.base & APIC_ON:
            edx &= ~APIC
        return eax, ebx, ecx, edx


class _Told:
    """What other CPUs and chips have told one, until it looks: as much of it as makes a difference.  Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nmis, self._init, self._sipi = 0, False, -1

    def add(self, what: str, vector: int) -> None:
        with self._lock:
            if what == "nmi":
                self._nmis = min(MOST_NMIS, self._nmis + 1)
            elif what == "init":
                self._nmis, self._init, self._sipi = 0, True, -1
            else:
                self._sipi = vector

    def take(self) -> tuple[bool, int, int]:
        """Whether there was an INIT; NMIs, and the vector of a SIPI or -1, since then."""
        with self._lock:
            found = self._init, self._nmis, self._sipi
            self._nmis, self._init, self._sipi = 0, False, -1
        return found


class EmulatedVcpu:
    """One of `cpus`.  Its registers are for its own thread, or before that begins."""

    coalesced = None

    def __init__(self, vm: EmulatedVm, index: int, cpus: int, mmio: AddressSpace, accesses: Accesses):
        self.vm, self.index, self.ffi, self.lib = vm, index, vm.ffi, vm.lib
        self.loop = self.ffi.new("struct vcpu_loop *")
        self.state, self.physical = blank(), Physical()
        self.cpu = UnicornCpu(_Accesses(accesses, vm, index, cpus, self.loop))
        self.cpu.follow(self, mmio, ALL, self.physical.map)
        self.apic = vm.chips.apic(index)
        self._msrs, self._shared = ModelSpecific(self.state, self.apic), cpus > 1
        self._woken, self._told = threading.Event(), _Told()
        self._reset()
        self.state.activity = Activity.UNINITIALIZED if index else Activity.RUNNABLE
        vm.vcpus.append(self)

    def _reset(self) -> None:
        """But for what it waits for."""
        fields = reset(self.cpu.accesses.cpuid(1, 0)[0], self.apic.base)
        fields["timing"]["tsc_offset"] = self.vm.tsc_offset
        write_all(self.state, fields)

    # as KVM's

    def get_regs(self):
        return self.ffi.new("struct kvm_regs *", {name: getattr(self.state.general, name) for name in GENERAL})

    def set_regs(self, **values: int) -> None:
        for name in GENERAL:
            setattr(self.state.general, name, values.get(name, 2 if name == "rflags" else 0))

    def get_sregs(self):
        return self.ffi.new("struct kvm_sregs *", to_special(to_dict(self.state)))

    def set_sregs(self, sregs: Any) -> None:
        from_special(sregs, self.state)

    def get_lapic(self):
        page = self.ffi.new("struct kvm_lapic_state *")
        for i, value in enumerate(self.apic.store()):
            self.ffi.buffer(page)[16 * i:16 * i + 4] = value.to_bytes(4, "little")
        return page

    def set_lapic(self, page: Any) -> None:
        data = self.ffi.buffer(page)
        self.apic.load([int.from_bytes(data[at:at + 4], "little") for at in range(0, 1024, 16)], self.apic.base)

    def describe(self) -> str:
        return described(self)

    # any thread

    def wake(self) -> None:
        """It has something to look at."""
        self._woken.set()
        self.cpu.ask()

    def look_earlier(self) -> None:
        """A chip's time comes earlier than it was to wait for."""
        self._woken.set()

    def tell(self, what: str, vector: int = 0) -> None:
        """An NMI, INIT or SIPI."""
        self._told.add(what, vector)
        self.wake()

    # its own thread

    def advance(self, most: int = SLICE) -> None:
        """A slice of running, `most` basic blocks at most, or of waiting.  Raises UnhandledExit, and what a device
        does."""
        if not self._is_ready():
            self._wait()
            return
        try:
            self._inject()
            self._run(most)
        except Shutdown as error:
            raise UnhandledExit(f"the guest shut down: {error}\n{self.describe()}") from None
        except NotEmulated as error:
            raise UnhandledExit(f"the emulator has no {error}\n{self.describe()}") from None

    def arrive(self) -> bool:
        """Have what has come for it delivered; whether it has an instruction to do, else a while was waited."""
        if not self._is_ready():
            self._wait()
            return False
        self._inject()
        return True

    def step(self) -> None:
        """An instruction, or an iteration of a repeated one, and the exception that comes of it.  After `arrive`."""
        self.cpu.give(self.state, checked=True)
        self._instruction()

    def _is_ready(self) -> bool:
        """Whether it runs, when chips and other CPUs have been looked at."""
        self.vm.chips.tick()
        self._take(*self._told.take())
        if self.state.activity == Activity.HALTED and self._wakes():
            self.state.activity = Activity.RUNNABLE
        return self.state.activity == Activity.RUNNABLE

    def _wakes(self) -> bool:
        events = self.state.events
        return bool(events.nmi_pending and not events.nmi_masked) or \
            (bool(self.state.general.rflags & ENABLED) and self.vm.chips.pending(self.index))

    def _wait(self) -> None:
        """For something to be told, or a chip's time to come; whatever it was is looked at after this, as is
        whether to go on."""
        due = self.vm.chips.next_ns()
        left = WAIT_NS if due is None else min(WAIT_NS, due - self.vm.chips.clock.ns())
        if left > 0:
            self._woken.wait(left / 1e9)
        self._woken.clear()

    def _take(self, init: bool, nmis: int, sipi: int) -> None:
        state = self.state
        if init:
            bootstrap = self.apic.base & BOOTSTRAP
            self._reset()
            state.activity = Activity.RUNNABLE if bootstrap else Activity.INIT_RECEIVED
        if nmis:
            state.events.nmi_pending = min(MOST_NMIS, state.events.nmi_pending + nmis)
        if sipi >= 0 and state.activity in (Activity.INIT_RECEIVED, Activity.UNINITIALIZED):
            state.segments.cs.selector, state.segments.cs.base = sipi << 8, sipi << 12
            state.general.rip = 0
            state.activity = Activity.RUNNABLE

    def _inject(self) -> None:
        """What can be delivered now."""
        state = self.state
        self.cpu.emulator.awaited = False
        if state.events.shadow:
            return
        if state.events.nmi_pending and not state.events.nmi_masked:
            state.events.nmi_pending -= 1
            state.events.nmi_masked = 1
            deliver(state, self.physical, Event(NMI))
        elif self.vm.chips.pending(self.index):
            if not state.general.rflags & ENABLED:
                self.cpu.emulator.awaited = True
            elif (vector := self.vm.chips.acknowledge(self.index)) is not None:
                deliver(state, self.physical, Event(vector))

    def _run(self, most: int) -> None:
        state = self.state
        state.control.cr8 = self.apic.cr8
        alone = state.events.shadow or state.events.nmi_pending     # what waits is behind the next block
        blocks = 1 if alone else min(most, SHARED_SLICE if self._shared else SLICE)
        if self._shared:
            with self.vm.turns.mine():
                self.cpu.written()
                stop = self.cpu.run(state, blocks, checked=True)
        else:
            stop = self.cpu.run(state, blocks, checked=True)
        self.loop.runs += 1
        self._after(stop)

    def _after(self, stop: Stop) -> None:
        if stop.why == Why.FAILED:
            assert self.cpu.error
            raise self.cpu.error
        if stop.why == Why.HALTED:
            self.state.activity = Activity.HALTED
        elif stop.why == Why.EXCEPTION:
            deliver(self.state, self.physical, raised(stop, self.cpu.code(self._linear() - 1, 1)))
        elif stop.why == Why.SYSCALL:
            self._call(stop)
        elif stop.why == Why.LEFT:
            self._step_through()
        elif stop.why in (Why.NOWHERE, Why.REFUSED):
            raise UnhandledExit(f"the emulator gave up: {self.cpu.reason(stop)}\n{self.describe()}")

    def _step_through(self) -> None:
        """A block with an instruction that is not Unicorn's: up to behind that."""
        state, started = self.state, self._linear()
        self.cpu.give(state, checked=True)
        block = self.cpu.code(started, self.cpu.emulator.left_bytes)
        if not may_be_delicate(block, started, mode_of(state)) and self.cpu.unmark(started):
            return
        for _ in range(len(block)):
            self.cpu.give(state, checked=True)
            if self._instruction():
                return

    def _instruction(self) -> bool:
        """Does the next one; whether it is not Unicorn's, or had Unicorn stop.  The CPU has been given the state."""
        state = self.state
        code = self.cpu.code(self._linear(), MOST_BYTES)
        if is_locked_wrongly(code, mode_of(state)):
            deliver(state, self.physical, exception(INVALID_OPCODE, 0))
            return True
        instruction = decoded(code, self._linear(), mode_of(state))
        delicate = instruction is not None and is_delicate(instruction)
        if delicate and self._delicate(instruction):
            return True
        stop = self.cpu.step(state)
        if stop.why != Why.BUDGET:
            self._after(stop)
            return True
        return delicate

    def _linear(self) -> int:
        """Where the next instruction is."""
        return self.state.segments.cs.base + self.state.general.rip

    def _delicate(self, instruction: Any) -> bool:
        """Whether it was done, or faulted; else it is Unicorn's to do."""
        state = self.state
        if state.control.cr0 & 1 and state.segments.ss.access >> 5 & 3:
            return False            # it faults
        try:
            if instruction.mnemonic == "mov" and (move := priority_move(instruction)):
                self._move_priority(*move)
            elif instruction.mnemonic == "mov":
                name, source = control_write(instruction)
                check_control(state, name, getattr(state.general, source))
                return False
            elif not self._msrs.access(WRMSR if instruction.mnemonic == "wrmsr" else RDMSR):
                return False
            state.general.rip += instruction.size
            state.events.shadow = 0
        except Fault as fault:
            deliver(state, self.physical, exception(fault.vector, fault.error))
        return True

    def _move_priority(self, register: str, is_write: bool) -> None:
        """MOV of cr8, which is the local APIC's (SDM 3, 11.8.6).  Raises Fault."""
        general = self.state.general
        if not is_write:
            setattr(general, register, self.apic.cr8)
            return
        value = getattr(general, register)
        if value > MOST_PRIORITY:
            raise Fault(GENERAL_PROTECTION)
        self.apic.set_cr8(value)
        self.state.control.cr8 = value

    def _call(self, stop: Stop) -> None:
        general = self.state.general
        before = {name: getattr(general, name) for name in GENERAL}
        try:
            (sysenter if stop.vector else syscall)(self.state)
        except Fault as fault:
            for name, value in before.items():
                setattr(general, name, value)
            general.rip -= 2        # both are of two bytes
            deliver(self.state, self.physical, exception(fault.vector, fault.error))

    def close(self) -> None:
        self.cpu.close()

