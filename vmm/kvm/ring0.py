"""How fast this KVM runs a guest's kernel: some emulate ring 0, an instruction at a time."""

from __future__ import annotations

import errno
from contextlib import closing
from functools import cache
from time import perf_counter_ns

from .addresses import EXIT_PORT, MIB
from .memory import GuestMemory
from .vm import KvmError, Vcpu, Vm

LOOPS = 1000                # of two instructions each
TRIES = 3                   # the fastest counts: others share the CPU
EMULATED_NS = 30            # more than on any CPU that has KVM, or that QEMU emulates


def _counted(loops: int) -> bytes:
    """mov $loops, %ecx; 1: dec %ecx; jnz 1b; out %al, %dx"""
    return bytes.fromhex("b9") + loops.to_bytes(4, "little") + bytes.fromhex("49 75fd ee")


_ROUND = _counted(1) + _counted(LOOPS)
CODE = b"\xba" + EXIT_PORT.to_bytes(4, "little") + _ROUND + bytes((0xeb, 256 - len(_ROUND) - 2))
"""mov $EXIT_PORT, %edx; then both, again and again; 32-bit code, at 0."""


@cache
def instruction_ns() -> float:
    """How long an instruction takes in ring 0, in nanoseconds; found in a VM of its own, in some 10 ms
    where it is long.  Raises KvmError."""
    with closing(Vm()) as vm, closing(GuestMemory(MIB)) as memory:
        for slot in memory.slots():
            vm.add_memory(*slot)
        memory.write(0, CODE)
        with closing(Vcpu(vm, 0, 1)) as vcpu:
            _protected_mode(vcpu)
            few, many = zip(*((_until_port_ns(vcpu), _until_port_ns(vcpu)) for _ in range(TRIES)), strict=True)
    return max(0, min(many) - min(few)) / (2 * (LOOPS - 1))


def _protected_mode(vcpu: Vcpu) -> None:
    """Flat, 32 bits, no paging: every KVM runs this as it runs a kernel."""
    sregs = vcpu.get_sregs()
    flat = {"base": 0, "limit": 0xffffffff, "present": 1, "s": 1, "g": 1, "db": 1}
    sregs.cs = {**flat, "selector": 8, "type": 11}
    for name in ("ds", "es", "fs", "gs", "ss"):
        setattr(sregs, name, {**flat, "selector": 16, "type": 3})
    sregs.cr0 |= 1
    vcpu.set_sregs(sregs)
    vcpu.set_regs(rip=0)


def _until_port_ns(vcpu: Vcpu) -> int:
    """Run until the guest writes to its port; nanoseconds."""
    began = perf_counter_ns()
    while (reason := vcpu.enter()) == -errno.EINTR:
        pass
    took = perf_counter_ns() - began
    if reason != vcpu.lib.KVM_EXIT_IO:
        raise KvmError(f"KVM, timing ring 0: exit {reason}; wanted one for a port")
    return took


def emulated() -> str:
    """"" where a guest's kernel runs natively; else what there is to say.  Raises KvmError."""
    took = instruction_ns()
    return f"KVM emulates ring 0 ({took:.0f} ns an instruction)" if took >= EMULATED_NS else ""
