"""Partial emulation: after an exit a vCPU of KVM's runs on in an emulator, while it pays (vmm/native/partial.c).

Whether it pays is learned for each instruction that exits: by exits that were spared, each at the least time that a
KVM_RUN took which ended there, against the time that running on took.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..devmodel.view import address_of
from ..kvm.addresses import KVM_PORTS
from ..kvm.bus import AddressSpace
from ..kvm.vm import KvmError, Vcpu
from ._emulator import ffi, lib
from .executor import Accesses, Why
from .guest_map import BESIDE_KVM
from .state import blank
from .unicorn_cpu import UnicornCpu

MOST_BLOCKS, IDLE_BLOCKS = 4096, 16     # where it pays: at a time; and in a row without an access
BY_ITSELF = 0                           # blocks: as it pays


def _bits(ports: tuple[range, ...]) -> bytes:
    found = bytearray(8192)
    for port in (port for each in ports for port in each):
        found[port >> 3] |= 1 << (port & 7)
    return bytes(found)


KERNEL_PORTS = _bits(KVM_PORTS)


class Partial:
    """One vCPU's.  Used on the vCPU's thread but where told otherwise."""

    def __init__(self, vcpu: Vcpu, mmio: AddressSpace, accesses: Accesses, blocks: int,
                 on_error: Callable[[BaseException], None]):
        if vcpu.vm.capability("KVM_CAP_SYNC_REGS") <= 0:
            raise KvmError("/dev/kvm: no KVM_CAP_SYNC_REGS; wanted it for partial emulation: Linux 4.17 has it")
        self.vcpu = vcpu
        self.cpu = UnicornCpu(accesses, guarded=True, kernel_ports=KERNEL_PORTS, on_error=on_error)
        self._state = blank()
        emulator = self.cpu.emulator
        self.cpu.follow(vcpu, mmio, BESIDE_KVM)
        emulator.state = ffi.cast("struct vcpu_state *", address_of(self._state))
        self.partial = ffi.new("struct partial *", {
            "emulator": emulator, "blocks": blocks, "most_blocks": MOST_BLOCKS, "idle_blocks": IDLE_BLOCKS})
        vcpu.run_after(int(ffi.cast("uintptr_t", ffi.addressof(lib, "partial_after"))),
                       int(ffi.cast("uintptr_t", self.partial)))

    def counters(self) -> dict[str, Any]:
        """Of all runs: exits that were run on from; exits spared, and basic blocks run, by that; why the runs ended;
        exits not run on from, as something was on its way into the vCPU, or an instruction has several accesses."""
        found = self.partial
        return {"runs": found.runs, "spared": found.spared, "blocks": found.ran, "occupied": found.refused,
                "midway": found.midway, "translations_flushed": self.cpu.emulator.flushes,
                "stopped": {why.name.lower(): found.why[why] for why in Why if found.why[why]}}

    def table(self) -> list[dict[str, Any]]:
        """What was learned of each instruction that exits, those with most exits first; times in ticks of the
        time-stamp counter."""
        spots = [each for each in self.partial.spots if each.exits]
        return [{"rip": each.rip, "exits": each.exits, "runs": each.runs, "spared": each.spared, "ticks": each.ticks,
                 "kvm_ticks": each.kvm_ticks, "pays": not each.skip}
                for each in sorted(spots, key=lambda each: -each.exits)]

    def close(self) -> None:
        self.vcpu.run_after(0, 0)
        self.cpu.close()
