"""Ways that a state goes and comes back: each says what differs then."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from vmm.devmodel.view import View, to_dict
from vmm.executors import kvm_state, unicorn_state
from vmm.executors._emulator import ffi
from vmm.executors.kvm_state import MOVING, KvmState, meant
from vmm.executors.reset import reset
from vmm.executors.state import blank, bytes_of, differences
from vmm.executors.transfer import Fate, Rebuilt
from vmm.executors.unicorn_cpu import UnicornCpu
from vmm.executors.unicorn_state import CALLS, CONTEXT
from vmm.kvm.memory import GuestMemory
from vmm.kvm.vm import Vcpu, Vm

from .freedom import BYTES, bits_of

Differences = list[tuple[str, int, int]]       # field, as given, as found
MOVING_FIELDS = {where.split("[")[0] + "." + where.split("[")[1][:-1] if "[" in where else where for where in MOVING}
INVERTED = bytes(255 - i for i in range(256))


def number(state: View) -> int:
    return int.from_bytes(bytes_of(state), "little")


class Trip:
    """`base`: fields of a vCPU that was reset; `components`: of its XSAVE area, (offset, bytes) by their bit."""

    base: dict[str, Any]
    components: dict[int, tuple[int, int]]
    emulated: Emulated | None = None        # that it goes through

    def __init__(self) -> None:
        self.given = blank()
        self._made = ExitStack()

    def there_and_back(self, checked: bool) -> Differences:
        """Of `given`; `checked`: it is known that a CPU can be that.  Raises NotTransferable."""
        raise NotImplementedError

    def close(self) -> None:
        self._made.close()


class Kvm(Trip):
    """To a vCPU, from there to another one, and out of that.  Of a VM with so many bytes of memory."""

    def __init__(self, memory: int = 1 << 20, cpus: int = 2):
        super().__init__()
        vm = self._made.enter_context(closing(Vm()))
        for slot in self._made.enter_context(closing(GuestMemory(memory))).slots():
            vm.add_memory(*slot)
        self.vcpus = [KvmState(self._made.enter_context(closing(Vcpu(vm, i, cpus)))) for i in range(cpus)]
        self._between, self._found = blank(), blank()
        self.vcpus[0].take(self._between)
        self.base = to_dict(self._between)
        self.components = {each["bit"]: (each["at"], each["bytes"]) for each in self.vcpus[0].extended()}
        self._carried = _mask(kvm_state.FATES, lambda fate: not isinstance(fate, Rebuilt)) & ~bits_of(MOVING_FIELDS)

    def there_and_back(self, checked: bool) -> Differences:
        """`give` compares by itself what it gave with what the vCPU says then."""
        one, other = self.vcpus
        one.give(self.given, checked)
        one.take(self._between)
        if self.emulated:
            self.emulated.pass_through(self._between)
        other.give(self._between, checked=True)
        other.take(self._found)
        return self.compared(self.given, self._found)

    def compared(self, given: View, found: View) -> Differences:
        if not (number(given) ^ number(found)) & self._carried:
            return []
        return [(where, value, then) for where, value, then in differences(given, found)
                if where not in MOVING and not isinstance(kvm_state.FATES[where.split("[")[0]], Rebuilt)
                and meant(where, value) != meant(where, then)]


class Emulator(Trip):
    """To the emulator, and out of it."""

    emulated: Emulated

    def __init__(self) -> None:
        super().__init__()
        self.base, self.components = reset(), {}
        self.emulated, self._found = self._made.enter_context(closing(Emulated())), blank()

    def there_and_back(self, checked: bool) -> Differences:
        if not checked:
            unicorn_state.refuse(self.given)
        bytes_of(self._found)[:] = bytes_of(self.given)
        self.emulated.pass_through(self._found)
        return list(differences(self.given, self._found))


class Both(Kvm):
    """From KVM to the emulator, and from there to KVM."""

    def __init__(self) -> None:
        super().__init__()
        self.emulated = self._made.enter_context(closing(Emulated()))

    def there_and_back(self, checked: bool) -> Differences:
        if not checked:
            unicorn_state.refuse(self.given)
        return super().there_and_back(checked)


class Emulated:
    """A CPU of the emulator's that a state passes through.  Bits `free` of what is carried in it are others before it
    is taken out again; all is taken, not only what has changed."""

    def __init__(self) -> None:
        self._cpu, self.free = UnicornCpu(None), 0
        self._carried = _mask(unicorn_state.FATES, lambda fate: fate in (CONTEXT, CALLS))

    def pass_through(self, state: View) -> None:
        self._cpu.give(state, checked=True)
        self._all_changed()
        bytes_of(state)[:] = (number(state) ^ self._carried & self.free).to_bytes(BYTES, "little")
        self._cpu.take(state)

    def _all_changed(self) -> None:
        """As if no word of the CPU's were what it was given."""
        emulator = self._cpu.emulator
        size = emulator.cpu_bytes
        ffi.buffer(emulator.given, size)[:] = ffi.buffer(emulator.cpu, size)[:].translate(INVERTED)
        emulator.flags_given = ~emulator.flags_given & 0xffffffff

    def close(self) -> None:
        self._cpu.close()


def _mask(fates: dict[str, Fate], wanted: Callable[[Fate], bool]) -> int:
    return bits_of(path for path, fate in fates.items() if wanted(fate))


TRIPS: dict[str, type[Trip]] = {"kvm": Kvm, "emulator": Emulator, "both": Both}
