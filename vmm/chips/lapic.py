"""A CPU's local APIC (Intel SDM 3, chapter 11), as KVM has it where the manual leaves something open or more than one
model has been made (arch/x86/kvm/lapic.c): version 0x14, six local vectors, no directed EOI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..devmodel.vcpu import APIC_REGISTERS
from .apic_registers import (
    BASE_BOOT,
    BASE_DEFAULT,
    BASE_ENABLED,
    BASE_X2APIC,
    CLUSTERS,
    CURRENT_COUNT,
    DELIVERY,
    DFR,
    DIVIDE,
    ESR,
    ESR_RECEIVED_VECTOR,
    ESR_SENT_VECTOR,
    EXTERNAL,
    FLAT,
    ID,
    INITIAL_COUNT,
    IRR,
    ISR,
    LDR,
    LVT_BITS,
    LVT_ERROR,
    LVT_LINT0,
    LVT_LINT1,
    LVT_TIMER,
    MASKED,
    MODEL,
    NMI,
    ON,
    PAGE_BYTES,
    PPR,
    SPURIOUS,
    TMR,
    TPR,
    VECTOR,
    VECTOR_WORDS,
    VERSION,
    WORD,
)
from .apic_timer import ApicTimer
from .message import ANY_X2APIC, ANY_XAPIC, LOWEST_VECTOR, Message, Mode, of_command

if TYPE_CHECKING:
    from .apic_bus import ApicBus


def _vectors(words: list[int]) -> int:
    """256 bits of eight registers."""
    return sum(word << 32 * at for at, word in enumerate(words))


class LocalApic:
    """One of `bus`.  `interrupting` says whether it has an interrupt that may be injected now, `takes_external`
    whether the 8259s' get through to its CPU (virtual wire mode, MultiProcessor Specification 3.6.2.2)."""

    def __init__(self, index: int, bus: ApicBus, physical_bits: int = 52):
        self.index, self._bus = index, bus
        self._base_bits = (1 << physical_bits) - PAGE_BYTES | BASE_BOOT | BASE_X2APIC | BASE_ENABLED
        self.timer = ApicTimer(bus.clock, bus.deadlines, lambda: self.deliver(LVT_TIMER))
        self.interrupting = self.takes_external = False
        self.base = BASE_DEFAULT | BASE_ENABLED | (0 if index else BASE_BOOT)
        self.words = [0] * APIC_REGISTERS           # but ISR, TMR, IRR and the timer's counts
        self.words[ID] = (index & 0xff) << 24
        self.reset()

    def reset(self) -> None:
        """As INIT leaves it (SDM 3, 11.4.7.3): it keeps its number, and its mode.  LINT0 of the first CPU has the
        8259s, as KVM has it for firmware's sake."""
        words = self.words
        kept = words[ID], words[LDR]
        words[:] = [0] * APIC_REGISTERS
        words[ID], words[LDR] = kept if self.x2apic else (kept[0], 0)
        words[VERSION], words[DFR], words[SPURIOUS] = MODEL, FLAT, 0xff
        for entry in LVT_BITS:
            words[entry] = MASKED
        if not self.index:
            words[LVT_LINT0] = EXTERNAL
        self.isr = self.tmr = self.irr = 0
        self._errors = 0                            # since ESR was written
        self.timer.stop()
        self.timer.mode, self.timer.divisor = 0, 2
        self.update()

    # what it is

    @property
    def present(self) -> bool:
        return bool(self.base & BASE_ENABLED)

    @property
    def x2apic(self) -> bool:
        return bool(self.base & BASE_X2APIC)

    @property
    def on(self) -> bool:
        """Whether software has enabled it (SDM 3, 11.4.7.2)."""
        return bool(self.words[SPURIOUS] & ON) and self.present

    def is_meant(self, message: Message, from_cpu: bool) -> bool:
        """Whether it is one of a message's destinations (SDM 3, 11.6.2).  What comes from no CPU has eight bits of
        destination, and means all by all ones, whatever the mode."""
        destination = message.destination
        if destination == ANY_X2APIC or (destination == ANY_XAPIC and not (self.x2apic and from_cpu)):
            return True
        if not message.logical:
            if self.x2apic or destination > 0xff:
                return destination == self.index
            return destination == self.words[ID] >> 24
        return self._is_logically(destination)

    def _is_logically(self, destination: int) -> bool:
        mine = self.words[LDR]
        if self.x2apic:
            return mine >> 16 == destination >> 16 and bool(mine & destination & 0xffff)
        mine >>= 24
        if self.words[DFR] == FLAT:
            return bool(mine & destination)
        return self.words[DFR] == CLUSTERS and mine >> 4 == destination >> 4 and bool(mine & destination & 0xf)

    # interrupts

    def accept(self, mode: int, vector: int, level: bool, asserted: bool = True) -> bool:
        """An interrupt for its CPU; whether it took it (SDM 3, 11.8.4)."""
        if mode <= Mode.LOWEST_PRIORITY:
            return self._request(vector, level) if asserted or not level else False
        if mode == Mode.NMI:
            self._bus.nmi(self.index)
        elif mode == Mode.INIT and (asserted or not level):
            self.reset()
            self._bus.init(self.index)
        elif mode == Mode.STARTUP:
            self._bus.sipi(self.index, vector)
        else:
            return False
        return True

    def _request(self, vector: int, level: bool) -> bool:
        if not self.on:
            return False
        if vector < LOWEST_VECTOR:
            self.error(ESR_RECEIVED_VECTOR)
            return False
        bit = 1 << vector
        self.irr |= bit
        self.tmr = self.tmr | bit if level else self.tmr & ~bit
        self.update()
        return True

    def deliver(self, entry: int) -> None:
        """What a local vector table's entry makes of its event (SDM 3, 11.5.1)."""
        lvt = self.words[entry]
        if self.present and not lvt & MASKED:
            self.accept(lvt >> 8 & 7, lvt & VECTOR, bool(lvt & 1 << 15))

    def tick_as_nmi(self) -> None:
        """The PC's timer is on LINT0, by way of the 8259s; of that, a watchdog needs no more than the ticks."""
        if self.words[LVT_LINT0] & (MASKED | DELIVERY) == NMI:
            self.deliver(LVT_LINT0)

    def nmi_line(self) -> None:
        """LINT1, as a PC has it."""
        self.deliver(LVT_LINT1)

    def error(self, bit: int) -> None:
        """One is detected; told once until ESR is written."""
        if not self._errors & bit:
            self._errors |= bit
            self.deliver(LVT_ERROR)

    def show_errors(self) -> None:
        """ESR has those since it was last written, which is now (SDM 3, 11.5.3)."""
        self.words[ESR], self._errors = self._errors, 0

    def update(self) -> None:
        """After anything that priorities depend on (SDM 3, 11.8.3.1)."""
        words = self.words
        served = self.isr.bit_length() - 1 & 0xf0 if self.isr else 0
        priority = words[TPR]
        if priority & 0xf0 < served:
            priority = served
        words[PPR] = priority
        lint0 = words[LVT_LINT0]
        was = self.interrupting, self.takes_external
        self.interrupting = bool(self.irr) and self.irr.bit_length() - 1 & 0xf0 > priority and self.present
        self.takes_external = not self.present or lint0 & (MASKED | DELIVERY) == EXTERNAL
        if (self.interrupting and not was[0]) or (self.takes_external and not was[1]):
            self._bus.wake(self.index)

    def acknowledge(self) -> int:
        """The vector that the CPU takes now, while it is `interrupting`."""
        vector = self.irr.bit_length() - 1
        bit = 1 << vector
        self.irr ^= bit
        self.isr |= bit
        self.update()
        return vector

    def end_of_interrupt(self) -> None:
        """EOI: the highest one in service is through; the I/O APIC hears of those that are level-triggered."""
        if not self.isr:
            return
        vector = self.isr.bit_length() - 1
        self.isr ^= 1 << vector
        self.update()
        if self.tmr >> vector & 1:
            self._bus.end_of_interrupt(vector)

    # what a guest does

    def send(self, low: int, destination: int) -> None:
        """An IPI."""
        message = of_command(low, destination)
        if message.mode <= Mode.LOWEST_PRIORITY and message.vector < LOWEST_VECTOR:
            self.error(ESR_SENT_VECTOR)
        else:
            self._bus.send(message, self)

    @property
    def priority(self) -> int:
        """Of the task: TPR."""
        return self.words[TPR]

    def set_priority(self, value: int) -> None:
        self.words[TPR] = value & 0xff
        self.update()

    def set_base(self, value: int) -> bool:
        """IA32_APIC_BASE.  False where the CPU faults: reserved bits, and ways between modes that there are not
        (SDM 3, figure 11-27)."""
        mode, old = value & (BASE_ENABLED | BASE_X2APIC), self.base & (BASE_ENABLED | BASE_X2APIC)
        both = BASE_ENABLED | BASE_X2APIC
        if value & ~self._base_bits or mode == BASE_X2APIC or (old, mode) in ((both, BASE_ENABLED), (0, both)):
            return False
        self._enter(value)
        return True

    def _enter(self, value: int) -> None:
        changed, self.base = self.base ^ value, value
        if changed & BASE_ENABLED and self.present:
            self.words[ID] = (self.index & 0xff) << 24
        if changed & BASE_X2APIC and self.x2apic:
            self._take_x2apic_numbers()
        self.update()

    def _take_x2apic_numbers(self) -> None:
        """They cannot be chosen (SDM 3, 11.12.10.2)."""
        self.words[ID], self.words[LDR] = self.index, self.index >> 4 << 16 | 1 << (self.index & 0xf)

    # registers

    def register(self, at: int) -> int:
        """What is at offset 16 * `at`."""
        if ISR <= at < ESR:
            vectors = self.isr if at < TMR else self.tmr if at < IRR else self.irr
            return vectors >> 32 * (at & 7) & WORD
        if at == INITIAL_COUNT:
            return self.timer.initial
        return self.timer.current() if at == CURRENT_COUNT else self.words[at]

    def divisor(self) -> int:
        """What the timer's clock is divided by: bits 0, 1 and 3 (SDM 3, figure 11-10)."""
        value = self.words[DIVIDE]
        return 1 << ((value & 3 | value >> 1 & 4) + 1 & 7)

    def store(self) -> list[int]:
        """All registers, as KVM_GET_LAPIC has them: in x2APIC mode its number is where xAPIC mode has it."""
        words = [self.register(at) for at in range(APIC_REGISTERS)]
        if self.x2apic:
            words[ID] = self.index << 24 & WORD
        return words

    def load(self, words: list[int], base: int, deadline: int = 0) -> None:
        """Those that were stored, with IA32_APIC_BASE and IA32_TSC_DEADLINE; what an APIC cannot have is not taken.
        The timer goes on from the count that it had left."""
        self.base = base & self._base_bits
        self.words = [word & WORD for word in words]
        self.words[VERSION], self.words[PPR] = MODEL, 0
        self.words[TPR] &= 0xff
        if self.x2apic:
            self._take_x2apic_numbers()
        for at, bits in LVT_BITS.items():
            self.words[at] &= bits
        self.isr, self.tmr, self.irr = (_vectors(self.words[at:at + VECTOR_WORDS]) for at in (ISR, TMR, IRR))
        self._errors = 0
        self.timer.stop()
        self.timer.mode, self.timer.divisor = self.words[LVT_TIMER] >> 17 & 3, self.divisor()
        self.timer.resume(self.words[INITIAL_COUNT], self.words[CURRENT_COUNT])
        self.timer.set_deadline(deadline)
        self.update()
