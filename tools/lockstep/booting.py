"""A machine that boots in the emulator, and KVM's vCPU that does some of its instructions after it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from capstone import x86

from vmm.devmodel.exit_path import Bus
from vmm.devmodel.view import to_dict
from vmm.emulated.vcpu import EmulatedVcpu
from vmm.executors.instructions import MOST_BYTES, REPEATS, decoded, mode_of, prefixes
from vmm.executors.kvm_state import meant
from vmm.executors.state import GENERAL, SEGMENTS, bytes_of
from vmm.machine.machine import Machine
from vmm.sync.region import PAGE

from .campaign import Difference
from .candidates import Candidate, is_ours
from .comparing import Differs
from .known import Known, explained
from .mirror import Access, Mirror
from .trial import Trial
from .undefined import Undefined, undefined
from .world import MODES, Mode

PROTECTED_16 = Mode("protected-16", 0)
SMALL = 0xffff                              # the limit of a segment as real mode leaves it
VGA = range(0xa0000, 0xc0000)
LOADERS = range(0x500, 0xa0000)             # where a BIOS loads code, and has none of its own
STRINGS = ("movs", "stos", "lods", "cmps", "scas", "ins", "outs")
# what KVM and the emulator have each for themselves: clocks, CPUID, model-specific registers; and HLT, which waits
OWN = frozenset("cpuid rdtsc rdtscp rdmsr wrmsr hlt".split())
CONTROL = ("cr0", "cr3", "cr4", "efer")
WAIT = 1000                                 # basic blocks
MOST_SHOWN, MOST_ITERATIONS = 2, 1 << 20    # differences of a kind; of a repeated instruction


def mode_named(state: Any) -> Mode:
    """What a vCPU in ring 0 is in."""
    segments = state.segments
    if not state.control.cr0 & 1:
        big = any(getattr(segments, name).limit > SMALL for name in ("ds", "es", "fs", "gs", "ss"))
        return MODES["big-real" if big else "real"]
    return (PROTECTED_16, MODES["protected-0"], MODES["long-0"])[mode_of(state)]


@dataclass
class Counted:
    """Of one mode: instructions by mnemonic; of these, those of what the BIOS has loaded, those that only one of both
    can do, and those that KVM refused; and differences."""

    names: Counter[str] = field(default_factory=Counter)
    loaded: int = 0
    own: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    explained: Counter[Known] = field(default_factory=Counter)
    differences: Counter[tuple[str, ...]] = field(default_factory=Counter)

    @property
    def compared(self) -> int:
        return self.names.total() - self.own.total() - self.refused.total()


class Boot:
    """`machine` has one vCPU, the emulator's, and is not started otherwise."""

    def __init__(self, machine: Machine, mirror: Mirror):
        self.machine, self.mirror = machine, mirror
        self.vcpu: EmulatedVcpu = machine.vcpus[0]
        self.state = self.vcpu.state
        self.found: dict[str, Counted] = {}
        self.examples: list[Difference] = []
        self.unlike: Counter[int] = Counter()   # pages that were not alike at the end of a stretch
        self._accesses: list[Access] = []
        self._listen()
        machine.offloading.before_start()
        machine.on_thread(self.vcpu)

    def _listen(self) -> None:
        """Keep what the emulator's accesses were."""
        cpu, kept = self.vcpu.cpu, self._accesses
        read_on, write_on = cpu.read, cpu.write

        def read(bus: int, address: int, width: int) -> int:
            value = read_on(bus, address, width)
            kept.append(Access(Bus(bus), address, width, False, value))
            return value

        def write(bus: int, address: int, width: int, value: int) -> None:
            kept.append(Access(Bus(bus), address, width, True, value & (1 << 8 * width) - 1))
            write_on(bus, address, width, value)
        cpu.read, cpu.write = read, write

    @property
    def over(self) -> bool:
        return self.machine.running.stopped

    @property
    def mode(self) -> Mode:
        return mode_named(self.state)

    @property
    def in_loaded(self) -> bool:
        return self.state.segments.cs.base + self.state.general.rip in LOADERS

    @property
    def steps(self) -> int:
        return sum(each.names.total() for each in self.found.values())

    def alone(self, blocks: int) -> None:
        """So many basic blocks without KVM; a wait counts for some."""
        while blocks > 0 and not self.over:
            self.vcpu.advance(blocks)
            blocks -= max(WAIT, self.vcpu.cpu.emulator.ran)
            self._accesses.clear()

    def stretch(self, steps: int) -> None:
        """So many steps on both."""
        slots = self.vcpu.vm.slots
        shown = [each for each in slots.values()
                 if each.read_only and self.machine.buses[Bus.MMIO].find(each.gpa, 1)[0]]
        self.mirror.map(slots, shown)
        self.mirror.give(to_dict(self.state))
        end = self.steps + steps
        while self.steps < end and not self.over and self.vcpu.vm.slots is slots:
            self._arrived()
        for copy in self.mirror.copies:
            if copy.slot.gpa >= self.machine.memory.low and not copy.slot.read_only:
                continue        # a display's memory, which writes of other addresses change
            self.unlike.update(gpa for gpa, *_ in copy.differing(range(0, copy.slot.bytes, PAGE)))

    def _arrived(self) -> None:
        """A step, if there is one to do, behind what an event has written."""
        before = bytes(bytes_of(self.state))
        if not self.vcpu.arrive():
            return
        if bytes_of(self.state)[:] != before:
            self._same_again()
        self._step()

    def _same_again(self, memory: bool = True) -> None:
        if memory:
            self.mirror.refresh()
        self.mirror.give(to_dict(self.state))

    def _next(self) -> Candidate | None:
        state = self.state
        linear = state.segments.cs.base + state.general.rip
        self.vcpu.cpu.give(state, checked=True)
        code = self.vcpu.cpu.code(linear & 0xffffffff, MOST_BYTES)
        found = decoded(code, linear, mode_of(state))
        return Candidate(code[:found.size], found) if found else None

    def _step(self) -> None:
        state, one, mode = self.state, self._next(), mode_named(self.state)
        general = {name: getattr(state.general, name) for name in GENERAL}
        linear = state.segments.cs.base + general["rip"]
        repeated = one is not None and one.name.startswith(STRINGS) and bool(REPEATS & set(prefixes(one.decoded)))
        self._accesses.clear()
        self._emulate(repeated)
        count = self.found.setdefault(mode.name, Counted())
        name = one.name if one else "?"
        count.names[name] += 1
        count.loaded += linear in LOADERS
        if one is None or name in OWN:
            count.own[name] += 1
            self._same_again()
            return
        end = self.mirror.step(self._accesses, repeated)
        if not end and self._shadows(one) and self.mirror.rip != state.general.rip:
            end = self.mirror.step(self._accesses, False)       # the emulator's trap came one later (SDM 3, 6.8.3)
        if end == "refused":
            count.refused[name] += 1
            self._same_again()
            return
        self._compare(mode, one, general, linear, end)

    @staticmethod
    def _shadows(one: Candidate) -> bool:
        """Whether it loads ss, behind which no trap comes."""
        operands = one.decoded.operands
        return one.name in ("mov", "pop") and operands[0].reg == x86.X86_REG_SS

    def _emulate(self, repeated: bool) -> None:
        at = self.state.general.rip
        self.vcpu.step()
        for _ in range(MOST_ITERATIONS if repeated else 0):
            if self.state.general.rip != at:
                break
            self.vcpu.step()

    def _compare(self, mode: Mode, one: Candidate, general: dict[str, int], linear: int, end: str) -> None:
        dma = any(each.is_write and each.bus == Bus.MMIO and each.address not in VGA for each in self._accesses)
        kvm = self.mirror.take()
        fields, alike = self._registers(kvm, mode, undefined(one, general, kvm.general.rflags))
        if end:
            fields = [Differs("end", end, "done")]
        fields += self._accessed() + ([] if dma else self._written())
        if fields:
            trial = Trial("ours" if is_ours(one.decoded) else "other", [one], one.code, linear)
            self._differs(mode, trial, general, fields)
        if fields or dma or not alike:
            self._same_again(memory=bool(fields) or dma)

    def _registers(self, kvm: Any, mode: Mode, left_open: Undefined) -> tuple[list[Differs], bool]:
        """What differs; and whether nothing does, not even what is undefined."""
        low = (1 << mode.register_bits) - 1
        pairs = {name: (getattr(kvm.general, name) & low, getattr(self.state.general, name) & low) for name in GENERAL}
        pairs |= {name: (getattr(kvm.control, name), getattr(self.state.control, name)) for name in CONTROL}
        for name in (*SEGMENTS, "gdt", "idt"):
            ours, theirs = getattr(kvm.segments, name), getattr(self.state.segments, name)
            for word in ("base", "limit") if name in ("gdt", "idt") else ("selector", "base", "limit", "access"):
                where = f"{name}.{word}"
                pairs[where] = meant(where, getattr(ours, word)), meant(where, getattr(theirs, word))
        unlike = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if "rflags" in unlike and not (unlike["rflags"][0] ^ unlike["rflags"][1]) & ~left_open.flags:
            return [Differs(name, *pair) for name, pair in unlike.items()
                    if name != "rflags" and name not in left_open.fields], False
        return [Differs(name, *pair) for name, pair in unlike.items() if name not in left_open.fields], not unlike

    def _accessed(self) -> list[Differs]:
        surplus, left = self.mirror.surplus, self.mirror.left()
        return [Differs("access", surplus or "none", left or "none")] if surplus or left else []

    def _written(self) -> list[Differs]:
        found = []
        for copy in self.mirror.copies:
            for gpa, ours, theirs in copy.differing(copy.written()):
                at = next(i for i in range(PAGE) if ours[i] != theirs[i])
                found.append(Differs(f"memory[{gpa + at:#x}]", ours[at:at + 8].hex(), theirs[at:at + 8].hex()))
        return found

    def _differs(self, mode: Mode, trial: Trial, general: dict[str, int], fields: list[Differs]) -> None:
        count = self.found[mode.name]
        whys = [explained(mode, trial, each, fields) for each in fields]
        if all(whys):
            count.explained.update(set(whys))
            return
        left = [each for each, why in zip(fields, whys) if not why]
        key = (trial.name, *(each.field.split("[")[0] for each in left))
        count.differences[key] += 1
        if count.differences[key] <= MOST_SHOWN:
            self.examples.append(Difference(mode.name, trial.kind, trial.name, trial.text, trial.code, general, left))
