"""One part of a vCPU of KVM's, moved by a table (kvm_tables.py, vmm/native/kvm_state.c)."""

from __future__ import annotations

import os
from typing import Any

from ..kvm.vm import KvmError, Vcpu
from .kvm_tables import Part, table
from .transfer import NotTransferable


class MovedPart:
    """Of one vCPU.  States are `struct vcpu_state *`."""

    def __init__(self, vcpu: Vcpu, part: Part):
        self.part, self._fd, self._lib = part, vcpu.fd, vcpu.lib
        ffi, kind, fields = vcpu.ffi, f"struct {part.kind} *", table(vcpu.ffi, part)
        self._data, self._initial = ffi.new(kind), ffi.new(kind, part.constants)
        self._fields = ffi.new("struct kvm_field[]", fields)
        self._part = ffi.new("struct kvm_part *", {
            "get": getattr(vcpu.lib, f"KVM_GET_{part.request}"), "set": getattr(vcpu.lib, f"KVM_SET_{part.request}"),
            "argument": self._data, "data": ffi.cast("uint8_t *", self._data),
            "initial": ffi.cast("uint8_t *", self._initial), "bytes": ffi.sizeof(f"struct {part.kind}"),
            "fields": self._fields, "count": len(fields)})

    def point(self, vcpu: Vcpu, **attribute: int) -> None:
        """Where the request's argument is a struct kvm_device_attr, which says where the part is."""
        at = int(vcpu.ffi.cast("uintptr_t", self._data))
        self._attribute = vcpu.ffi.new("struct kvm_device_attr *", attribute | {"addr": at})
        self._part.argument = self._attribute

    def take(self, state: Any) -> None:
        """Into a state that is all zeroes there.  Raises KvmError."""
        result = self._lib.kvm_part_take(self._fd, self._part, state)
        if result < 0:
            raise KvmError(f"KVM_GET_{self.part.request}: {os.strerror(-result)}")

    def give(self, state: Any) -> None:
        """Raises NotTransferable."""
        result = self._lib.kvm_part_give(self._fd, self._part, state)
        if result < 0:
            raise NotTransferable(f"{self.part.what}: this KVM refuses it (KVM_SET_{self.part.request}: "
                                  f"{os.strerror(-result)})")
