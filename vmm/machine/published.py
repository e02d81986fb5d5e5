"""What a machine tells of its devices to those who look at it from other processes (vmm/sync/directory.py)."""

from __future__ import annotations

from time import monotonic_ns
from typing import Any

from ..device.register_device import RegisterDevice
from ..devmodel.view import address_of
from ..sync.directory import LONGEST, Directory, blocks_hash


class Published:
    """A machine's directory; there is none before `begin`."""

    def __init__(self, machine):
        self._machine, self._began_ns = machine, monotonic_ns()
        self._directory: Directory | None = None

    def begin(self) -> None:
        """The machine is whole."""
        self._directory = Directory(self._contents())

    def update(self) -> None:
        """Its devices or their modes are others than before."""
        if self._directory:
            self._directory.write(self._contents())

    def _contents(self) -> dict[str, Any]:
        """Of a vCPU: the address of what its loop counts."""
        return {"blocks": blocks_hash(), "began_ns": self._began_ns,
                "executor": self._machine.config.executor.name,
                "vcpus": [int(vcpu.ffi.cast("uintptr_t", vcpu.ffi.addressof(vcpu.loop, "runs")))
                          for vcpu in self._machine.vcpus],
                "devices": [_device(device) for device in self._machine.devices]}

    def close(self) -> None:
        if self._directory:
            self._directory.close()
            self._directory = None


def _device(device: RegisterDevice) -> dict[str, Any]:
    """Addresses are those of this process; `at` is where its first queue is in its state, `urings` how many of its
    queues have an io_uring at `uring` and behind it."""
    queues = device.layout.state.field("queue").offset if device.queue_count else 0
    return {"name": _word(device.name), "schema": _word(device.layout.c_name), "version": device.layout.version,
            "layout": device.layout.hash, "offload": device.mode, "state": address_of(device.state), "at": queues,
            "queues": device.queue_count, "uring": device.place.urings,
            "urings": device.uring_queues if device.place.urings else 0,
            "reasons": [_word(reason.name.lower()) for reason in device.layout.reasons]}


def _word(name: str) -> str:
    """As much of it as there is room for; a name of the command line may hold what is no text."""
    return name.encode(errors="replace").decode()[:LONGEST]
