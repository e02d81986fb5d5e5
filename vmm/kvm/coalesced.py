"""Writes that KVM puts into a ring, for which the guest does not leave KVM_RUN (Documentation/virt/kvm/api.rst,
KVM_REGISTER_COALESCED_MMIO).

There is one ring a VM, in a page of every vCPU's mapping of kvm_run: KVM adds at `last`, this process takes at
`first`.  They are done when a vCPU comes out of KVM_RUN for anything else, and before that (VcpuThread): so the
order is the guest's.  With a full ring a write leaves KVM_RUN as any other, and so does one that crosses a zone's end.

Nobody is told that the ring has something: while no vCPU comes out, what is in it is not done, and a page that
the guest reads as memory does not show it.  The exit path (offload on, host) takes its writes before userspace
looks here, so zones are for devices that are off.
"""

from __future__ import annotations

import threading

from ..sync.region import PAGE
from .bus import AddressSpace
from .vm import KvmError, Vcpu, Vm

CAPABILITY = "KVM_CAP_COALESCED_MMIO"
WIDEST = 8      # bytes; KVM takes what is wider, or crosses a page, apart


def why_not(vm: Vm) -> str:
    """Why this KVM has no such ring, or ""."""
    return "" if vm.capability(CAPABILITY) > 0 else f"KVM has no {CAPABILITY}"


class CoalescedRing:
    """The ring of a VM whose vCPUs do not run yet; its writes are done in `space`."""

    def __init__(self, vm: Vm, vcpus: list[Vcpu], space: AddressSpace):
        """Raises KvmError where there is none."""
        if reason := why_not(vm):
            raise KvmError(f"{reason}; wanted it for writes without an exit")
        at = vm.capability(CAPABILITY) * PAGE       # the capability is the number of the page
        if at + PAGE > vm.run_bytes:
            raise KvmError(f"kvm_run of {vm.run_bytes:#x} bytes; wanted a ring of writes in it, at {at:#x}")
        self._vm, self._space, self._ffi = vm, space, vm.ffi
        self._ring = vm.ffi.cast("struct kvm_coalesced_mmio_ring *", vm.ffi.cast("char *", vcpus[0].kvm_run) + at)
        self._entries: int = vm.lib.KVM_COALESCED_MMIO_MAX
        self._zones: list[tuple[int, int]] = []     # guest-physical addresses: the first, the one behind
        self._lock = threading.Lock()
        for vcpu in vcpus:
            vcpu.coalesced = self

    def add(self, address: int, size: int) -> None:
        """From now on writes that lie wholly in these bytes of guest-physical memory go into the ring."""
        self._zones = [*self._zones, (address, address + size)]     # before KVM can have put anything there
        self._vm.call("KVM_REGISTER_COALESCED_MMIO", self._ffi.new("struct kvm_coalesced_mmio_zone *", {
            "addr": address, "size": size}))

    def drain(self) -> None:
        """Do what this vCPU has put there before it came out, and others before that.  Raises KvmError for
        what KVM does not write there."""
        with self._lock:        # also where the ring is empty: another thread may be doing what was there
            ring, first, last = self._ring, self._ring.first, self._ring.last
            if last >= self._entries:
                raise KvmError(f"KVM's ring of writes: last is {last}; wanted less than {self._entries}")
            while first != last:        # as it was: others may be adding for as long as they like
                write = self._checked(ring.coalesced_mmio[first])
                ring.first = first = (first + 1) % self._entries    # KVM's again; x86 does not store before it loads
                self._space.write(*write)

    def _checked(self, entry) -> tuple[int, int, int]:
        """Address, width and value of an entry, each read once."""
        address, width, port = entry.phys_addr, entry.len, entry.pio
        if not port and 1 <= width <= WIDEST:
            for start, end in self._zones:
                if start <= address and address + width <= end:
                    return address, width, self._ffi.cast("uint64_t *", entry.data)[0] & (1 << 8 * width) - 1
        zones = " or ".join(f"{start:#x} to {end - 1:#x}" for start, end in self._zones) or "no zone"
        raise KvmError(f"KVM's ring of writes: {width} bytes at {'port ' if port else ''}{address:#x}; wanted 1 to "
                       f"{WIDEST} in {zones}")
