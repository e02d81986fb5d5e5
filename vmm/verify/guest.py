"""A guest of one executor: it does steps, and shows what can be seen of their outcome.

What is compared, byte by byte: guest memory, the register page, device memory, and of shared state what whoever holds
it writes (`position`, blocks of the device's own).  As values: what a read
returned, interrupts, requests completed and bytes moved by both halves together, what is in flight, and whatever a
device adds (`output`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..device.register_device import RegisterDevice
from ..devmodel.layout import BlockLayout
from ..devmodel.schema import HOLDER
from ..devmodel.virtqueue import control_layout, queue_layout
from ..errors import UserError
from ..machine.machine import Machine
from ..testing.driver import Registers
from .steps import Step


@dataclass(frozen=True)
class Area:
    """Bytes that are to be equal in all executors; `tell` says what lies at an offset."""

    name: str
    address: int
    size: int
    tell: Callable[[int], str]


LOOKS = ("begin", "tell_memory", "values", "seen", "interrupted", "settle", "table", "make_available",
         "took", "send", "got", "sent", "play")
TYPES = {"int": int, "str": str, "bool": int, "list": (list, tuple)}     # of what a step takes, by its annotation


class Guest:
    """Of a register device.  Each public method but LOOKS is a step; what it returns is to be equal, too."""

    patience_s = 0.0            # for what is in flight to come back, before it makes a difference

    @classmethod
    def kinds(cls) -> set[str]:
        """Of steps that there are."""
        return {name for base in cls.__mro__ for name, value in vars(base).items()
                if inspect.isfunction(value) and not name.startswith("_") and name not in LOOKS}

    @classmethod
    def check(cls, step: Step, number: int) -> None:
        """Raises UserError for a step that cannot be played: it would fail on all executors alike, as if in step."""
        if step.kind not in (known := cls.kinds()):
            raise UserError(f"step {step.kind!r}; wanted one of {', '.join(sorted(known))}")
        signature = inspect.signature(getattr(cls, step.kind))
        try:
            signature.bind(None, **step.given)
        except TypeError as error:
            raise UserError(f"step {number}, {step.kind}: {error}; wanted {signature}") from None
        for name, parameter in signature.parameters.items():
            wanted: Any = TYPES.get(parameter.annotation, object)
            if name in step.given and not isinstance(step.given[name], wanted):
                raise UserError(f"step {number}, {step.kind}: {name} is {step.given[name]!r:.40}; "
                                f"wanted {parameter.annotation}")

    def __init__(self, machine: Machine, device: RegisterDevice):
        self.machine, self.device, self.mode = machine, device, device.mode
        self.registers = Registers(machine, device)
        self.spurious = False       # whether an interrupt may come of the last step without a reason
        self._interrupts = [0] * len(device.place.lines)

    @cached_property
    def areas(self) -> list[Area]:
        return list(self._areas())

    def play(self, step: Step) -> Any:
        """Do a step; what it returns."""
        return getattr(self, step.kind)(**step.given)

    # steps

    def write(self, register: str, value: int) -> None:
        self.registers.write(register, value)

    def read(self, register: str) -> int:
        return self.registers.read(register)

    def write_at(self, offset: int, width: int, value: int) -> None:
        self.registers.write_at(offset, width, value)

    def read_at(self, offset: int, width: int) -> int:
        return self.registers.read_at(offset, width)

    def poke(self, at: int, data: str) -> None:
        """Write guest memory; `data` is hexadecimal."""
        self.machine.memory.write(at, bytes.fromhex(data))

    def switch(self) -> None:
        """Offload off, and on again."""
        if self.mode != "off":
            self.machine.set_offload(self.device, "off")
            self.machine.set_offload(self.device, self.mode)

    def take(self) -> None:
        """Userspace takes the device over, and gives it back."""
        with self.device.alone():
            pass

    # what is seen

    def begin(self) -> None:
        """A step is about to be done."""

    def _areas(self) -> Iterator[Area]:
        device, place = self.device, self.device.place
        yield Area("memory", self.machine.memory.address, self.machine.memory.size, self.tell_memory)
        yield Area("page", place.page, device.registers.register_bytes, lambda at: _register(device, at))
        for name, at in device.layout.memory_places().items():
            yield Area(name, place.own_memory + at, device.layout.memories[name].size, lambda at: f"byte {at:#x}")
        for block in device.layout.state.fields:
            if block.block and block.block is not control_layout() and block.block is not queue_layout() and \
                    block.writer is HOLDER:     # what a handler alone may write, off never has
                yield Area(f"state.{block.name}", place.state + block.offset, block.size, field_at(block.block))

    def tell_memory(self, at: int) -> str:
        return f"guest-physical {at:#x}"

    def values(self) -> dict[str, Any]:
        """What is compared as values; an executor's own half of the work counts for all of it."""
        return self._done(self.device.state.control)

    @staticmethod
    def _done(of: Any) -> dict[str, int]:
        return {"requests": of.entry.handled + of.user.handled, "bytes": of.entry.bytes + of.user.bytes}

    def interrupted(self) -> list[bool]:
        """Of each line whether it was raised since the last call."""
        now = [self.machine.interrupts_of(line.gsi) for line in self.device.place.lines]
        raised = [count > before for count, before in zip(now, self._interrupts)]
        self._interrupts = now
        return raised

    @property
    def cause(self) -> int:
        """Of an interrupt, as the driver can read it; 0 where it cannot."""
        return 0

    def settle(self) -> None:
        """Wait for what the last step has left to others."""

    @property
    def declined(self) -> dict[str, int]:
        """By the reason's name, of all queues."""
        entries = [self.device.state.control.entry, *(queue.entry for queue in self._queues())]
        return {reason.name: count for reason in self.device.layout.reasons
                if (count := sum(entry.declined[reason] for entry in entries))}

    @property
    def handled(self) -> int:
        """What the kernel half did: requests, or writes of registers."""
        return sum(entry.handled for entry in (self.device.state.control.entry,
                                               *(queue.entry for queue in self._queues())))

    def _queues(self) -> list:
        return []


def _register(device: RegisterDevice, at: int) -> str:
    for name, register in device.registers.registers.items():
        if register.offset <= at < register.offset + register.type.size:
            return name
    return f"byte {at:#x}, of no register"


def field_at(block: BlockLayout) -> Callable[[int], str]:
    def tell(at: int) -> str:
        return next((field.name for field in block.fields if field.offset <= at < field.offset + field.size),
                    f"byte {at:#x}")
    return tell

