"""The fixture of `splitvmm test` that checks whether a device's halves are in step: `-p vmm.verify.plugin`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..device.register_device import RegisterDevice
from ..kvm.bpf import why_not
from .campaign import Result, verify
from .strategy import Strategy, strategy_of

STEPS = 2000


@pytest.fixture
def in_step() -> Callable[..., Result]:
    """in_step(Class): plays random sequences of guest actions, made of the schema, on a device of that class, with
    offload off, host and, where this process may load BPF, on; they have to show the same after each step.  A
    Strategy in the class's place knows more of what its guests do.  `steps=` and `seed=` say which sequences."""
    executors = ["off", "host", *([] if why_not() else ["on"])]

    def check(device: type[RegisterDevice] | Strategy, steps: int = STEPS, seed: int = 0, **setting: str) -> Result:
        strategy = device if isinstance(device, Strategy) else strategy_of(device)
        return verify(strategy, executors, None, steps, seed, **setting)
    return check
