"""Model-specific registers of a vCPU of KVM's: all that this KVM lists, but for those that say nothing of the vCPU."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from ..devmodel.vcpu import MSR_ARRAYS, MSRS, OTHER_MSRS
from ..kvm.vm import Vcpu
from .state import bytes_of, write_array
from .transfer import NotTransferable

NAMED = {*MSRS.values(), *(index for indices in MSR_ARRAYS.values() for index in indices)}
TSC = 0x10                                  # moves by itself; its offset says all of it
HYPERV = range(0x40000000, 0x40000200)      # two are clocks; where CPUID has no Hyper-V, a guest can write none


class KvmMsrs:
    """Those of one vCPU.  Raises NotTransferable."""

    def __init__(self, vcpu: Vcpu):
        self.vcpu, self.vm, self.ffi, self.lib = vcpu, vcpu.vm, vcpu.ffi, vcpu.lib
        self._indices = sorted(NAMED | {index for index in self._listed() if index != TSC and index not in HYPERV})

    def _listed(self) -> list[int]:
        found = self.ffi.new("struct msr_indices *", {"nmsrs": 512})
        self.vm.call("KVM_GET_MSR_INDEX_LIST", found, self.vm.kvm_fd)
        return list(found.indices[0:found.nmsrs])

    def read(self, indices: Iterable[int]) -> dict[int, int]:
        """Of those that there are: KVM stops before the first that this vCPU has not."""
        found, left = dict[int, int](), list(indices)
        while left:
            asked = self.ffi.new("struct msr_list *", {"nmsrs": len(left), "entries": [{"index": i} for i in left]})
            got = self.vm.call("KVM_GET_MSRS", asked, self.vcpu.fd)
            found |= {asked.entries[i].index: asked.entries[i].data for i in range(got)}
            left = left[got + 1:]
        return found

    def take(self, msrs: Any) -> None:
        found = self.read(self._indices)
        for name, index in MSRS.items():
            setattr(msrs, name, found.pop(index, 0))
        for name, indices in MSR_ARRAYS.items():
            write_array(msrs, name, [found.pop(index, 0) for index in indices])
        if len(found) > OTHER_MSRS:
            raise NotTransferable(f"msrs.others: {len(found)} of them; wanted at most {OTHER_MSRS}")
        msrs.count = len(found)
        words = [word for index, value in found.items() for word in (index, value)]
        bytes_of(msrs)[-16 * OTHER_MSRS:] = struct.pack(f"<{len(words)}Q", *words).ljust(16 * OTHER_MSRS, b"\0")

    def give(self, msrs: dict[str, Any], names: Collection[str] = ()) -> None:
        """Those that differ from what the vCPU has: some can be read, and not written.  `names`: these alone."""
        wanted = [each for each in _named(msrs) if not names or each[0].removeprefix("msrs.") in names]
        has = self.read(index for _, index, _ in wanted) if names else self.read(self._indices)
        for where, index, value in wanted:
            if has.get(index, 0) == value:
                continue
            result = self.lib.kvm_call(self.vcpu.fd, self.lib.KVM_SET_MSRS, self.ffi.new("struct msr_list *", {
                "nmsrs": 1, "entries": [{"index": index, "data": value}]}))
            if result != 1:
                raise NotTransferable(f"{where}, MSR {index:#x}: {value:#x}; this KVM refuses it"
                                      + (f" ({os.strerror(-result)})" if result < 0 else ""))


def _named(msrs: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """(field, number, value) of each."""
    for name, index in MSRS.items():
        yield f"msrs.{name}", index, msrs[name]
    for name, indices in MSR_ARRAYS.items():
        for i, index in enumerate(indices):
            yield f"msrs.{name}[{i}]", index, msrs[name][i]
    for i in range(msrs["count"]):
        yield f"msrs.others[{i}]", msrs["others"][i]["index"], msrs["others"][i]["value"]
