"""Local APICs as firmware leaves them (Intel SDM volume 3, 12.4; MultiProcessor Specification 1.4, 3.6.2.2).

The first CPU's is switched on, with the 8259s on its LINT0 and the NMI on LINT1 (virtual wire mode); the
others are as INIT leaves them.
"""

from __future__ import annotations

import struct

from .vm import Vcpu

SPURIOUS, LINT0, LINT1 = 0x0f0, 0x350, 0x360        # registers
ENABLED, SPURIOUS_VECTOR = 1 << 8, 0xff
NMI, EXTERNAL = 4 << 8, 7 << 8                      # delivery modes, neither masked


def leave_as_firmware(vcpus: list[Vcpu]) -> None:
    """Set every vCPU's, when all are there.  Raises KvmError.

    KVM looks receivers of IPIs up in a map that it made when the last vCPU was still to be added to it
    (kvm_recalculate_apic_map, arch/x86/kvm/lapic.c).  KVM_SET_LAPIC makes it anew; else only a guest that
    writes to its APIC's registers first, as Linux does, would reach all of the others.
    """
    for vcpu in vcpus:
        state = vcpu.get_lapic()
        if vcpu.index == 0:
            registers = vcpu.ffi.buffer(state)
            for at, value in ((SPURIOUS, ENABLED | SPURIOUS_VECTOR), (LINT0, EXTERNAL), (LINT1, NMI)):
                struct.pack_into("<I", registers, at, value)
        vcpu.set_lapic(state)
