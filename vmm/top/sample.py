"""What a VM has counted up to now, as plain data, by the names of `run --stats=json`."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

from ..devmodel.uring import STRIDE, TAGS, uring_layout
from ..devmodel.virtqueue import Side
from .listing import Device, Vm
from .process import Places, copies_of

_LOOP = struct.Struct("<3Q")        # of struct vcpu_loop (vmm/native/kvm_run.h): runs, hooked, exits
_WORD = struct.Struct("<I")


@dataclass(frozen=True)
class Sample:
    """`told` has keys `executor`, `vcpus` and `devices`."""

    taken_ns: int       # CLOCK_MONOTONIC
    told: dict[str, Any]


def take(vm: Vm) -> Sample | None:
    """None: its devices, or their modes, are others than it said.  Raises Gone, Unreadable or TornRead."""
    taken_ns = monotonic_ns()
    told = {"executor": vm.executor, "vcpus": _vcpus(vm), "devices": [_device(vm.pid, device) for device in vm.devices]}
    header, = Places(vm.pid, [(vm.at, len(vm.header))]).read()
    return Sample(taken_ns, told) if header == vm.header else None


def _vcpus(vm: Vm) -> list[dict[str, int]]:
    """Each count is a word of its own."""
    found = []
    for index, data in enumerate(Places(vm.pid, [(at, _LOOP.size) for at in vm.vcpus]).read()):
        runs, hooked, exits = _LOOP.unpack(data)
        found.append({"vcpu": index, "exits": exits, "taken": hooked, "runs": runs})
    return found


def _device(pid: int, device: Device) -> dict[str, Any]:
    shadow = device.shadow
    data = shadow.read(copies_of(pid, device.state, shadow.size))
    found: dict[str, Any] = {"device": device.name, "schema": device.schema, "version": device.version,
                             "offload": device.offload}
    if not device.queues:
        return found | _held(device, data, 0) | {"total": _counters(device, data, 0)}
    queues = [{"queue": i, **_held(device, data, 1 + i), **ring, **_counters(device, data, 1 + i)}
              for i, ring in enumerate(_rings(pid, device))]
    return found | {"total": _total(queues), "queues": queues}


def _held(device: Device, data: bytes, block: int) -> dict[str, Any]:
    holder, generation = device.shadow.ownership(data, block)
    return {"holder": "kernel" if holder == Side.KERNEL else "user", "generation": generation}


def _counters(device: Device, data: bytes, block: int) -> dict[str, Any]:
    """`declined` by reason's name; the first reason is number 1."""
    found = device.shadow.counters(data, block)
    return found | {"declined": dict(zip(device.reasons, found["declined"][1:]))}


def _total(queues: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for name, first in queues[0].items():
        if name == "declined":
            total[name] = {reason: sum(queue[name][reason] for queue in queues) for reason in first}
        elif name == "longest_ns":
            total[name] = max(queue[name] for queue in queues)
        elif name not in ("queue", "holder", "generation", "in_flight", "polling"):
            total[name] = sum(queue[name] for queue in queues)
    return total


def _rings(pid: int, device: Device) -> list[dict[str, Any]]:
    """Of each queue's io_uring: requests `in_flight`, and whether the queue is looked at now (`polling`); None where
    there is none that may be used."""
    words = Places(pid, [(device.uring + i * STRIDE + at, _WORD.size)
                         for i in range(device.urings) for at in _RING_WORDS]).read()
    found: list[dict[str, Any]] = [{"in_flight": None, "polling": None}] * device.queues
    for i in range(device.urings):
        ready, free, polling = (_WORD.unpack(word)[0] for word in words[3 * i:3 * i + 3])
        if ready:
            found[i] = {"in_flight": max(0, TAGS - free), "polling": bool(polling)}
    return found


def _ring_word(block: str, name: str) -> int:
    """Where it is in a queue's io_uring, in bytes."""
    item = uring_layout().field(block)
    assert item.block
    return item.offset + item.block.field(name).offset


_RING_WORDS = (_ring_word("wiring", "ready"), _ring_word("flight", "free"), _ring_word("looks", "polling"))
