"""Fixtures for devices' tests: `pytest -p vmm.testing.plugin`, as `splitvmm test` has it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..device.register_device import RegisterDevice
from ..kvm.bpf import why_not
from ..virtio.virtio_device import VirtioDevice
from .drive import driven, driven_virtio

MODES = ("off", "host", "on")
HANG_S = 120


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Who serves: Python alone, the native handler, or the BPF one, where this process may load it."""
    if request.param == "on" and (reason := why_not()):
        pytest.skip(reason)
    return request.param


@pytest.fixture
def drive(mode):
    """drive(device): puts a device into a machine without vCPUs, once for each mode, and returns what drives
    it: Registers, or a Driver if it is a virtio device."""
    with ExitStack() as stack:
        def put(device, **options):
            start = driven_virtio if isinstance(device, VirtioDevice) else driven
            return stack.enter_context(start(device, mode, **options))
        yield put


def _text(value: object) -> str:
    """As in a list of keys."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value).replace(",", ",,")


@pytest.fixture
def boot(mode):
    """boot(Class, *options, guest=..., KEY=...): `splitvmm run` with a device of that class and its guest, once for
    each mode; what became of it.  The guest is a path, or build/guest.elf beside the device's file.  `options` are of
    the command (`"--cpus", "2"`), keys are of `--device` (`limit=7`, `transport="pci"`)."""
    if not os.path.exists("/dev/kvm"):
        pytest.skip("no /dev/kvm on this machine")

    def run(kind: type[RegisterDevice], *options: str, guest: Path | None = None,
            **keys: object) -> subprocess.CompletedProcess:
        path = Path(inspect.getfile(kind))
        given = "".join(f",{name}={_text(value)}" for name, value in keys.items())
        device = f"{_text(path)}:{kind.__name__},offload={mode}{given}"
        return subprocess.run([sys.executable, "-m", "vmm", "run", str(guest or path.parent / "build" / "guest.elf"),
                               "--mem", "32M", "--device", device, *options], capture_output=True, text=True,
                              timeout=HANG_S)
    return run
