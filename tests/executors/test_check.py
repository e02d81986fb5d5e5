"""What CPUs of today can be is nobody's mistake, and what none can be is found: bits that the manuals name."""

import pytest

from vmm.executors.check import problems
from vmm.executors.generated import States
from vmm.executors.reset import reset


def wrong(where, value, mode="long"):
    """Fields that are found wrong when one of a good state is `value`."""
    state = States(reset(), 1).next(mode)
    assert not list(problems(state))
    *outer, last = where.split(".")
    at = state
    for name in outer:
        at = at[name]
    at[last] = at[last] | value if where != "control.xcr0" else value
    return [found for found, _, _ in problems(state)]


@pytest.mark.parametrize("where, bits", [
    ("control.cr4", 1 << 25 | 1 << 27 | 1 << 28 | 1 << 32),     # UINTR, LASS, LAM_SUP, FRED (SDM 3, 2.5)
    ("control.cr3", 1 << 61 | 1 << 62),                         # LAM_U57, LAM_U48 (SDM 3, 2.5)
    ("control.efer", 1 << 21 | 1 << 20 | 1 << 12),              # AIBRSE, UAIE, SVME (AMD APM 2, 3.1.7)
    ("control.xcr0", 0x1f),                                     # MPX (SDM 1, 13.3)
    ("control.xcr0", 0x602e7),                                  # AVX-512, PKRU, AMX
    ("xsave.xstate_bv", 1 << 2),                                # AVX, of which xcr0 has nothing (SDM 1, 13.6)
    ("xsave.mxcsr", 1 << 17),                                   # MM (AMD APM 1, 4.2.2)
])
def test_what_a_cpu_can_be(where, bits):
    assert not wrong(where, bits)


@pytest.mark.parametrize("where, bits", [
    ("control.cr4", 1 << 15), ("control.cr4", 1 << 26), ("control.cr3", 1 << 60), ("control.efer", 1 << 19),
    ("control.xcr0", 0xf), ("control.xcr0", 0x67), ("control.xcr0", 0x20003), ("control.xcr0", 0x403),
    ("xsave.mxcsr", 1 << 16),
])
def test_what_none_can_be(where, bits):
    assert where in wrong(where, bits)


def test_linear_address_masking_is_of_long_mode():
    assert wrong("control.cr3", 1 << 61, "pae") == ["control.cr3"]
