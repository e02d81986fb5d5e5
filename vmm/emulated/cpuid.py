"""What CPUID says in a VM that Unicorn runs: what its model of a CPU has, less what does not work there, with the
vCPU's place in the machine (vmm/kvm/cpuid.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

from ..chips.apic_timer import BUS_NS
from ..executors._emulator import lib
from ..executors.unicorn_cpu import const, made
from ..kvm import cpuid

BASIC, EXTENDED = range(0xe), range(0x80000000, 0x80000009)      # leaves
BY_INDEX = (4, 7, 0xb, 0xd)
SUBLEAVES = 4
# of leaf 1.  The APIC's deadline is no way to a faster timer, as accesses of model-specific registers are slow here
MONITOR, X2APIC, DEADLINE, XSAVE, OSXSAVE = 1 << 3, 1 << 21, 1 << 24, 1 << 26, 1 << 27
MACHINE_CHECKS = 1 << 7 | 1 << 14       # edx
NESTED = 1 << 2                         # of leaf 0x80000001, ecx: SVM
# of leaf 7, ebx: FSGSBASE, SMEP, ERMS, SMAP.  BMI1 and BMI2 are in Unicorn's model, and it raises #UD
FEATURES_7 = 1 << 0 | 1 << 7 | 1 << 9 | 1 << 20
PHYSICAL_BITS = 40                      # of Unicorn's model

CLOCKS = 0x15                           # leaf: the ratio of the time-stamp counter's clock to a crystal's, in Hz
APIC_HZ = 1_000_000_000 // BUS_NS
CALIBRATION_S = 0.02

Leaf = tuple[int, int, int, int]        # eax, ebx, ecx, edx


class Cpuid:
    """Of vCPU `index` of `cpus`."""

    def __init__(self, index: int, cpus: int):
        entries = [SimpleNamespace(**vars(entry)) for entry in _model()]
        found = cpuid.adapt(entries, index, cpus, tsc_deadline=False)
        self._leaves = {(each["function"], each["index"]): tuple(each[name] for name in ("eax", "ebx", "ecx", "edx"))
                        for each in found}
        self._leaves[0, 0] = (CLOCKS, *self._leaves[0, 0][1:])
        self._leaves[CLOCKS, 0] = (*clock_ratio(tsc_khz()), APIC_HZ, 0)

    def leaf(self, leaf: int, index: int) -> Leaf:
        """Zeroes where there is none; of one that is too large the highest of the basic ones, as on Intel's CPUs
        (SDM 2, CPUID)."""
        highest = self._leaves[0, 0][0]
        if highest < leaf < 0x40000000 or (leaf > 0x80000000 and leaf > self._leaves[0x80000000, 0][0]):
            leaf = highest
        return self._leaves.get((leaf, index if leaf in BY_INDEX else 0), (0, 0, 0, 0))


def clock_ratio(khz: int) -> tuple[int, int]:
    """Denominator and numerator of the time-stamp counter's rate by the APIC timer's, which Linux takes for the
    crystal's; as exact as its arithmetic bears, of 32 bits in kHz (native_calibrate_tsc, arch/x86/kernel/tsc.c)."""
    exact, most = Fraction(khz, APIC_HZ // 1000), (1 << 32) // (APIC_HZ // 1000) - 1
    found = exact.limit_denominator(max(1, int(most / float(exact))))
    return found.denominator, found.numerator


@cache
def tsc_khz() -> int:
    """Of this host's time-stamp counter, by its clock."""
    def both() -> tuple[int, int]:
        return lib.emulator_ticks(), time.monotonic_ns()
    ticks, ns = both()
    time.sleep(CALIBRATION_S)
    later_ticks, later_ns = both()
    return (later_ticks - ticks) * 1_000_000 // (later_ns - ns)


@cache
def _model() -> list[SimpleNamespace]:
    """As KVM has such entries."""
    return list(_entries())


def _entries() -> Iterator[SimpleNamespace]:
    uc = made()
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, b"\x0f\xa2\xf4")           # cpuid; hlt
    registers = [getattr(const, f"UC_X86_REG_{name}") for name in ("EAX", "EBX", "ECX", "EDX")]
    for leaf in (*BASIC, *EXTENDED):
        for index in range(SUBLEAVES if leaf in BY_INDEX else 1):
            uc.reg_write(registers[0], leaf)
            uc.reg_write(registers[2], index)
            uc.emu_start(0x1000, 0)
            eax, ebx, ecx, edx = (uc.reg_read(each) for each in registers)
            if leaf == 1:
                ecx = ecx & ~(MONITOR | DEADLINE | XSAVE | OSXSAVE) | X2APIC
                edx &= ~MACHINE_CHECKS
            elif leaf == 0x80000001:
                ecx &= ~NESTED
            elif leaf == 7:
                ebx, ecx, edx = ebx & FEATURES_7, 0, 0
            elif leaf == 0xd:
                eax = ebx = ecx = edx = 0
            yield SimpleNamespace(function=leaf, index=index, flags=int(leaf in BY_INDEX), eax=eax, ebx=ebx, ecx=ecx,
                                  edx=edx)
