"""The two that are held against each other: a vCPU of KVM's, and a CPU of the emulator's with its events delivered in
Python; each on memory of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vmm.devmodel.view import to_dict
from vmm.emulated.delivery import NotEmulated, Shutdown, deliver, exception
from vmm.emulated.linear import Physical
from vmm.executors.executor import Why
from vmm.executors.guest_map import Range
from vmm.executors.kvm_special import from_special, to_special
from vmm.executors.kvm_state import KvmState
from vmm.executors.state import GENERAL, blank, bytes_of, write_all
from vmm.executors.unicorn_cpu import UnicornCpu
from vmm.kvm.vm import Vcpu, Vm
from vmm.sync.region import Region

from .watchdog import Watchdog
from .world import BYTES, DONE_PORT, STUBS, Mode, build, fields_of

GENERAL_BYTES = 8 * len(GENERAL)
FLOAT_BYTES = 416               # of an XSAVE area: x87, mxcsr, SSE registers (SDM 1, 10.5.1)
FLOAT_COMPONENTS = 3            # XSTATE_BV: x87, SSE
XSTATE_BV = 512                 # where that is in the area
BLOCKS = 200                    # basic blocks that a step may take: a repeated string instruction is many
SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
MOST_ACCESSES = 200             # that one may have
TRIES = 2                       # of KVM_RUN, which a signal may end


@dataclass
class Outcome:
    """What a step has come to.  `end` is "" behind the instruction, "#14" in the handler of vector 14, or why there
    was neither; then the rest counts for nothing."""

    end: str
    general: dict[str, int] = field(default_factory=dict)
    memory: bytes = b""
    special: dict[str, int] = field(default_factory=dict)
    floats: bytes = b""

    @property
    def ran(self) -> bool:
        return not self.end or self.end[0] == "#"


def _general(data: bytes) -> dict[str, int]:
    words = memoryview(data).cast("Q")
    return dict(zip(GENERAL, words))


def _pack(general: dict[str, int]) -> bytes:
    return b"".join(general[name].to_bytes(8, "little") for name in GENERAL)


def _special(state: Any) -> dict[str, int]:
    """What an exception, or a load of a segment register, changes."""
    found = {}
    for name in SEGMENTS:
        segment = getattr(state.segments, name)
        found |= {f"{name}.{word}": getattr(segment, word) for word in ("selector", "base", "limit", "access")}
    return found | {"cr2": state.control.cr2}


class Side:
    """Memory of its own, and what a step is given: `fields` is the state but for general registers."""

    def __init__(self, mode: Mode):
        self.mode = mode
        self.memory = Region.anonymous("lockstep", BYTES)
        self.view = self.memory.view
        build(self.view, mode)

    def step(self, general: dict[str, int], floats: bytes = b"", special: bool = False) -> Outcome:
        """One step; `floats` as Outcome has them.  `special`: those registers are wanted behind the instruction as
        well."""
        raise NotImplementedError

    def close(self) -> None:
        self.memory.close()


class KvmSide(Side):
    """KVM's.  `refused` counts what it has no emulation for."""

    def __init__(self, mode: Mode):
        super().__init__(mode)
        self.vm = Vm()
        self.vm.add_memory(0, BYTES, self.memory.address)
        self.vcpu = Vcpu(self.vm, 0, 1)
        self._watchdog = Watchdog(self.vcpu)
        self._state, kvm = blank(), KvmState(self.vcpu)
        kvm.take(self._state)
        fields = fields_of(mode)
        write_all(self._state.segments, fields["segments"])
        write_all(self._state.control, {name: fields["control"][name] for name in ("cr0", "cr3", "cr4", "efer")})
        kvm.give(self._state)
        kvm.take(self._state)
        self.fields = to_dict(self._state)
        ffi = self.vcpu.ffi
        self._regs, self._sregs = ffi.new("struct kvm_regs *"), ffi.new("struct kvm_sregs *", to_special(self.fields))
        self._found, self._area = ffi.new("struct kvm_sregs *"), ffi.new("struct kvm_xsave *")
        self._words = ffi.buffer(self._regs)
        self._floats = ffi.buffer(self._area.region)
        self._got = blank()

    def _call(self, request: str, argument: Any) -> None:
        self.vm.call(request, argument, self.vcpu.fd)

    def step(self, general: dict[str, int], floats: bytes = b"", special: bool = False) -> Outcome:
        self._words[:GENERAL_BYTES] = _pack(general)
        self._call("KVM_SET_REGS", self._regs)
        if floats:
            self._floats[:FLOAT_BYTES] = floats
            self._floats[XSTATE_BV:XSTATE_BV + 8] = FLOAT_COMPONENTS.to_bytes(8, "little")
            self._call("KVM_SET_XSAVE", self._area)
        end = self._run()
        found = Outcome(end)
        if not found.ran:
            self._call("KVM_SET_SREGS", self._sregs)
            return found
        self._call("KVM_GET_REGS", self._regs)
        found.general, found.memory = _general(self._words[:GENERAL_BYTES]), bytes(self.view)
        if end or special:
            self._call("KVM_GET_SREGS", self._found)
            from_special(self._found, self._got)
            found.special = _special(self._got)
            self._call("KVM_SET_SREGS", self._sregs)
        if floats:
            self._call("KVM_GET_XSAVE", self._area)
            found.floats = bytes(self._floats[:FLOAT_BYTES])
        return found

    def _run(self) -> str:
        lib, loop = self.vcpu.lib, self.vcpu.loop
        for _ in range(TRIES):
            with self._watchdog:
                reason = self.vcpu.enter()
            if reason >= 0:
                break
        if reason == lib.KVM_EXIT_IO:
            return "" if loop.address == DONE_PORT else f"#{loop.address}"
        if reason == lib.KVM_EXIT_MMIO:
            self._finish()
            return "nowhere"
        if reason < 0:
            return "hangs"
        if reason == lib.KVM_EXIT_INTERNAL_ERROR:
            return "refused"
        return "shutdown" if reason == lib.KVM_EXIT_SHUTDOWN else f"exit {reason}"

    def _finish(self) -> None:
        """The accesses of an instruction that has some where nothing is: they would be done when KVM is entered for
        the next step (api.rst, 5: KVM_EXIT_MMIO)."""
        run, lib = self.vcpu.kvm_run, self.vcpu.lib
        run.immediate_exit = 1
        for _ in range(MOST_ACCESSES):
            if lib.kvm_call_value(self.vcpu.fd, lib.KVM_RUN, 0) < 0:
                break
        run.immediate_exit = 0

    def close(self) -> None:
        self._watchdog.close()
        self.vcpu.close()
        self.vm.close()
        super().close()


class _Ports:
    """Ends a run where the instruction is done."""

    cpu: UnicornCpu

    def read(self, bus: int, address: int, width: int) -> int:
        return (1 << 8 * width) - 1

    def write(self, bus: int, address: int, width: int, value: int) -> None:
        self.cpu.ask()

    def cpuid(self, leaf: int, index: int) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0


class EmulatorSide(Side):
    """The emulator's.  `state`: what KVM made of the mode's."""

    def __init__(self, mode: Mode, fields: dict[str, Any]):
        super().__init__(mode)
        ports = _Ports()
        ports.cpu = self.cpu = UnicornCpu(ports)
        ranges = [Range(0, BYTES, self.memory.address)]
        self.cpu.map(ranges)
        self._physical, self._state = Physical(ranges), blank()
        write_all(self._state, fields)
        self._words = bytes_of(self._state)
        self._begin = bytes(self._words)
        layout = self._state._layout
        self._general_at, self._floats_at = layout.field("general").offset, layout.field("xsave").offset

    def new_code(self) -> None:
        """Code was written."""
        self.cpu.written()

    def step(self, general: dict[str, int], floats: bytes = b"", special: bool = False) -> Outcome:
        words, state = self._words, self._state
        words[:] = self._begin
        words[self._general_at:self._general_at + GENERAL_BYTES] = _pack(general)
        if floats:
            words[self._floats_at:self._floats_at + FLOAT_BYTES] = floats
            state.xsave.xstate_bv = FLOAT_COMPONENTS
        end = self._run()
        found = Outcome(end)
        if not found.ran:
            return found
        found.general = _general(words[self._general_at:self._general_at + GENERAL_BYTES])
        found.memory = bytes(self.view)
        if end or special:
            found.special = _special(state)
        if floats:
            found.floats = bytes(words[self._floats_at:self._floats_at + FLOAT_BYTES])
        return found

    def _run(self) -> str:
        self.cpu.emulator.asked = 0     # by the rest of a block whose access was nowhere
        stop = self.cpu.run(self._state, BLOCKS, checked=True)
        if stop.why == Why.ASKED:
            return ""
        if stop.why != Why.EXCEPTION:
            return stop.why.name.lower()
        if stop.is_int:
            return f"int {stop.vector}"
        try:
            deliver(self._state, self._physical, exception(stop.vector, stop.error))
        except Shutdown:
            return "shutdown"
        except NotEmulated as error:
            return f"not emulated: {error}"
        linear = self._state.general.rip + self._state.segments.cs.base
        return f"#{(linear - STUBS) // 4}"

    def close(self) -> None:
        self.cpu.close()
        super().close()
