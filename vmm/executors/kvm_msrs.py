"""Model-specific registers of a vCPU of KVM's: all that this KVM lists, but for those that say nothing of the vCPU."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from ..devmodel.vcpu import MSR_ARRAYS, MSRS, OTHER_MSRS
from ..devmodel.view import View, address_of
from ..kvm.vm import KvmError, Vcpu
from .kvm_tables import place_of
from .state import bytes_of
from .transfer import NotTransferable

TSC = 0x10                                  # moves by itself; its offset says all of it
HYPERV = range(0x40000000, 0x40000200)      # two are clocks; where CPUID has no Hyper-V, a guest can write none
NAMED = [*MSRS.values(), *(index for indices in MSR_ARRAYS.values() for index in indices)]
PATHS = {TSC: "timing.tsc", **{index: f"msrs.{name}" for name, index in MSRS.items()},
         **{index: f"msrs.{name}.{i}" for name, indices in MSR_ARRAYS.items() for i, index in enumerate(indices)}}
EMULATED = {f"msrs.{name}" for name in
            "star lstar cstar fmask kernel_gs_base sysenter_cs sysenter_esp sysenter_eip".split()}


class _Plan:
    """`at` is a struct kvm_msr_plan: the vCPU has the numbers `has`, the state has names for `named`."""

    def __init__(self, ffi: Any, has: Collection[int], named: Collection[int], others: bool):
        self.has, self._set = listed(ffi, has), listed(ffi, ())
        self._places = ffi.new("struct kvm_msr_place[]", [
            {"index": index, "at": place_of(PATHS[index]).at} for index in named])
        self.at = ffi.new("struct kvm_msr_plan *", {
            "has": ffi.cast("struct kvm_msrs *", self.has), "set": ffi.cast("struct kvm_msrs *", self._set),
            "named": self._places, "count": len(named), "others": others})


def listed(ffi: Any, indices: Collection[int]) -> Any:
    return ffi.new("struct msr_list *", {"nmsrs": len(indices), "entries": [{"index": index} for index in indices]})


class KvmMsrs:
    """Those of one vCPU.  Raises NotTransferable."""

    def __init__(self, vcpu: Vcpu):
        self.vcpu, self.vm, self.ffi, self.lib = vcpu, vcpu.vm, vcpu.ffi, vcpu.lib
        self._refused = self.ffi.new("uint32_t *")
        there = self._there(sorted({*NAMED, *self._listed()} - {TSC, *HYPERV}))
        others = [index for index in there if index not in PATHS]
        if len(others) > OTHER_MSRS:
            raise NotTransferable(f"msrs.others: {len(others)} of them; wanted at most {OTHER_MSRS}")
        self._taking = _Plan(self.ffi, [*there, TSC], [*NAMED, TSC], others=False)
        self._giving = _Plan(self.ffi, there, NAMED, others=True)
        emulated = [index for index in there if PATHS.get(index) in EMULATED]
        self._giving_back = _Plan(self.ffi, emulated, emulated, others=False)

    def _listed(self) -> list[int]:
        found = self.ffi.new("struct msr_indices *", {"nmsrs": 512})
        self.vm.call("KVM_GET_MSR_INDEX_LIST", found, self.vm.kvm_fd)
        return list(found.indices[0:found.nmsrs])

    def _there(self, indices: list[int]) -> list[int]:
        """Those that this vCPU has: KVM stops reading before the first that it has not."""
        found = list[int]()
        while indices:
            got = self.vm.call("KVM_GET_MSRS", listed(self.ffi, indices), self.vcpu.fd)
            found += indices[:got]
            indices = indices[got + 1:]
        return found

    def take(self, state: View) -> None:
        """Into a state that has none."""
        plan = self._taking
        got = self.lib.kvm_msrs_take(self.vcpu.fd, plan.at, self._pointer(state))
        if got < plan.has.nmsrs:
            raise KvmError(f"KVM_GET_MSRS: MSR {plan.has.entries[max(got, 0)].index:#x} is gone; wanted it still there")

    def give(self, state: View) -> None:
        self._give(state, self._giving)

    def give_back(self, state: View) -> None:
        """Those that an emulator has."""
        self._give(state, self._giving_back)

    def _give(self, state: View, plan: _Plan) -> None:
        """Those that differ from what the vCPU has: some can be read, and not written."""
        result = self.lib.kvm_msrs_give(self.vcpu.fd, plan.at, self._pointer(state), self._refused)
        if result <= 0:
            where, value = _found(state, self._refused[0])
            raise NotTransferable(f"{where}, MSR {self._refused[0]:#x}: {value:#x}; this KVM refuses it"
                                  + (f" ({os.strerror(-result)})" if result < 0 else ""))

    def _pointer(self, state: View) -> Any:
        return self.ffi.cast("struct vcpu_state *", address_of(state))


def _found(state: View, index: int) -> tuple[str, int]:
    """Where the state has that MSR, and its value."""
    for i in range(state.msrs.count):
        if state.msrs.others[i].index == index:
            return f"msrs.others[{i}]", state.msrs.others[i].value
    path = PATHS[index]
    at = place_of(path).at
    name, _, element = path.partition(".")[2].partition(".")
    return (f"msrs.{name}[{element}]" if element else path), int.from_bytes(bytes_of(state)[at:at + 8], "little")
