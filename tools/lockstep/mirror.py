"""A vCPU of KVM's on a copy of a machine's memory, that does one instruction at a time (KVM_GUESTDBG_SINGLESTEP,
Documentation/virt/kvm/api.rst, 4.87); its accesses are answered as those of whoever did it first were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vmm.devmodel.exit_path import Bus
from vmm.executors.kvm_special import from_special, to_special
from vmm.executors.state import GENERAL, blank
from vmm.kvm.slots import Slot
from vmm.kvm.vm import Vcpu, Vm
from vmm.sync.region import PAGE, Region

from .watchdog import Watchdog

MOST_EXITS = 100_000            # of one instruction, which may be a repeated one
DATA = 0xffffffff               # what nobody answered reads as


@dataclass(frozen=True)
class Access:
    """Of a device, or of an address that has nothing."""

    bus: Bus
    address: int
    width: int
    is_write: bool
    value: int

    def __str__(self) -> str:
        what = "write" if self.is_write else "read"
        return f"{what} {self.bus.name.lower()} {self.address:#x}/{self.width} {self.value:#x}"


class BareVm(Vm):
    """Without chips of KVM's: every access of theirs is an exit.  Pages that are written are told."""

    def _make_chips(self) -> None:
        self.writable_flags = self.lib.KVM_MEM_LOG_DIRTY_PAGES


class Copy:
    """A slot of the machine's, and memory of ours that is to have the same in it."""

    def __init__(self, vm: BareVm, slot: Slot):
        self.vm, self.slot = vm, slot
        self.theirs = vm.ffi.buffer(vm.ffi.cast("char *", slot.address), slot.bytes)
        self.memory = Region.anonymous("mirror", slot.bytes)
        self.number = vm.add_memory(*slot._replace(address=self.memory.address))
        self._bits = bytearray(-(-slot.bytes // PAGE // 64) * 8)
        self._log = vm.ffi.new("struct kvm_dirty_log *", {
            "slot": self.number, "dirty_bitmap": vm.ffi.cast("void *", vm.ffi.from_buffer(self._bits))})

    def refresh(self) -> None:
        self.memory.view[:] = self.theirs
        self.written()

    def written(self) -> list[int]:
        """Pages, as offsets, that KVM has written since this was called."""
        if self.slot.read_only:
            return []
        self.vm.call("KVM_GET_DIRTY_LOG", self._log)
        bits = int.from_bytes(self._bits, "little")
        found = []
        while bits:
            low = bits & -bits
            found.append((low.bit_length() - 1) * PAGE)
            bits ^= low
        return found

    def differing(self, pages: Iterable[int]) -> Iterator[tuple[int, bytes, bytes]]:
        """Of these: (guest-physical address, KVM's page, the machine's)."""
        for at in pages:
            ours, theirs = bytes(self.memory.view[at:at + PAGE]), self.theirs[at:at + PAGE]
            if ours != theirs:
                yield self.slot.gpa + at, ours, theirs

    def close(self) -> None:
        self.vm.remove_memory(self.number)
        self.memory.close()


class Mirror:
    """The vCPU, and its memory.  Raises UserError where KVM cannot be had."""

    def __init__(self) -> None:
        self.vm = BareVm()
        self.vcpu = Vcpu(self.vm, 0, 1)
        self._watchdog, self.copies, self._slots = Watchdog(self.vcpu), list[Copy](), {}
        self.ffi, self.lib, self._got = self.vcpu.ffi, self.vcpu.lib, blank()
        self._expected: list[Access] = []
        self.surplus: Access | None = None      # an access that is not as expected
        self._call("KVM_SET_GUEST_DEBUG", self.ffi.new("struct kvm_guest_debug *", {
            "control": self.lib.KVM_GUESTDBG_ENABLE | self.lib.KVM_GUESTDBG_SINGLESTEP}))

    def _call(self, request: str, argument: Any) -> None:
        self.vm.call(request, argument, self.vcpu.fd)

    def map(self, slots: dict[int, Slot], shown: list[Slot]) -> None:
        """Have copies of these, but for `shown`: registers that are read where they are."""
        if slots != self._slots:
            for number in list(self.vm.slots):
                if all(number != each.number for each in self.copies):
                    self.vm.remove_memory(number)
            for each in self.copies:
                each.close()
            self.copies = [Copy(self.vm, slot) for slot in slots.values() if slot not in shown]
            for slot in shown:
                self.vm.add_memory(*slot)
            self._slots = dict(slots)
        self.refresh()

    def refresh(self) -> None:
        """All memory is the machine's again."""
        for each in self.copies:
            each.refresh()

    def give(self, fields: dict[str, Any]) -> None:
        """General and special registers of a VcpuState, as `to_dict` has it."""
        self._call("KVM_SET_SREGS", self.ffi.new("struct kvm_sregs *", to_special(fields)))
        self.vcpu.set_regs(**{name: fields["general"][name] for name in GENERAL})

    def take(self) -> Any:
        """A VcpuState with these."""
        regs = self.vcpu.get_regs()
        for name in GENERAL:
            setattr(self._got.general, name, getattr(regs, name))
        from_special(self.vcpu.get_sregs(), self._got)
        return self._got

    def step(self, accesses: list[Access], repeated: bool) -> str:
        """One instruction, all of a `repeated` one: "", or why it was not done."""
        self._expected, self.surplus = list(accesses), None
        before, run, answered = self.rip if repeated else -1, self.vcpu.kvm_run, False
        for _ in range(MOST_EXITS):
            run.immediate_exit = int(answered)      # no trap follows OUT: have it done, and nothing behind it
            with self._watchdog:
                reason = self.vcpu.enter()
            run.immediate_exit = 0
            if reason in (self.lib.KVM_EXIT_IO, self.lib.KVM_EXIT_MMIO):
                self._answer(Bus.PORT if reason == self.lib.KVM_EXIT_IO else Bus.MMIO)
                answered = True
            elif reason == self.lib.KVM_EXIT_DEBUG or (reason < 0 and answered):
                if self.rip != before:
                    return ""
                answered = False
            else:
                return "hangs" if reason < 0 else self._why(reason)
        return "hangs"

    def _why(self, reason: int) -> str:
        return "refused" if reason == self.lib.KVM_EXIT_INTERNAL_ERROR else f"exit {reason}"

    @property
    def rip(self) -> int:
        return self.vcpu.get_regs().rip

    def left(self) -> Access | None:
        """An access that was expected, and did not come."""
        return self._expected[0] if self._expected else None

    def _answer(self, bus: Bus) -> None:
        loop, size = self.vcpu.loop, self.vcpu.loop.width
        data = self.ffi.buffer(loop.data, size * loop.count)
        for at in range(0, len(data), size):
            value = int.from_bytes(data[at:at + size], "little") if loop.is_write else 0
            expected = self._next(Access(bus, loop.address, size, bool(loop.is_write), value))
            if not loop.is_write:
                data[at:at + size] = (expected.value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def _next(self, one: Access) -> Access:
        """The access that is expected in this one's place."""
        wanted = self._expected.pop(0) if self._expected else None
        if wanted and (wanted.bus, wanted.address, wanted.width, wanted.is_write) == \
                (one.bus, one.address, one.width, one.is_write) and (not one.is_write or wanted.value == one.value):
            return wanted
        if wanted:
            self._expected.insert(0, wanted)
        if not (one.is_write and self._in_rom(one)):
            self.surplus = self.surplus or one
        return Access(one.bus, one.address, one.width, one.is_write, DATA)

    def _in_rom(self, one: Access) -> bool:
        return one.bus == Bus.MMIO and any(
            slot.read_only and slot.gpa <= one.address < slot.gpa + slot.bytes for slot in self._slots.values())

    def close(self) -> None:
        self._watchdog.close()
        for each in self.copies:
            each.close()
        self.vcpu.close()
        self.vm.close()
