"""What came to pass between two samples of a VM."""

from __future__ import annotations

from typing import Any

from .sample import Sample

COUNTERS = ("doorbells", "handled", "bytes", "busy_ns")     # of each half


def with_rates(before: Sample | None, now: Sample) -> dict[str, Any]:
    """`now`, where whatever has counters has `rates` as well: None if it was not there before."""
    seconds = (now.taken_ns - before.taken_ns) / 1e9 if before else 0.0
    old = before.told if before and seconds > 0 else {"vcpus": [], "devices": []}
    vcpus = {vcpu["vcpu"]: vcpu for vcpu in old["vcpus"]}
    devices = {device["device"]: device for device in old["devices"]}
    return {"executor": now.told["executor"],
            "vcpus": [vcpu | {"rates": _vcpu(vcpus.get(vcpu["vcpu"]), vcpu, seconds)} for vcpu in now.told["vcpus"]],
            "devices": [_device(devices.get(device["device"]), device, seconds) for device in now.told["devices"]]}


def _vcpu(before: dict | None, now: dict, seconds: float) -> dict[str, float] | None:
    if before is None:
        return None
    return {name: _rate(before, now, name, seconds) for name in ("exits", "taken", "runs")}


def _device(before: dict | None, now: dict, seconds: float) -> dict[str, Any]:
    found = now | {"total": now["total"] | {"rates": _rates(before and before["total"], now["total"], seconds)}}
    if "queues" not in now:
        return found
    old = {queue["queue"]: queue for queue in before.get("queues", ())} if before else {}
    return found | {"queues": [queue | {"rates": _rates(old.get(queue["queue"]), queue, seconds)}
                               for queue in now["queues"]]}


def _rates(before: dict | None, now: dict, seconds: float) -> dict[str, Any] | None:
    """Per second; `each_ns` and `user_each_ns` are the time inside for a request of the interval, None without any."""
    if before is None:
        return None
    found: dict[str, Any] = {}
    for half in ("", "user_"):
        for name in COUNTERS:
            found[half + name] = _rate(before, now, half + name, seconds)
        requests, busy_ns = (now[half + name] - before[half + name] for name in ("handled", "busy_ns"))
        found[half + "each_ns"] = round(busy_ns / requests, 1) if requests else None
    for name in ("assisted", "waited", "polled"):
        found[name] = _rate(before, now, name, seconds)
    declined = before["declined"]
    found["declined"] = {reason: _rate(declined, now["declined"], reason, seconds) for reason in now["declined"]
                         if reason in declined}
    return found


def _rate(before: dict[str, int], now: dict[str, int], name: str, seconds: float) -> float:
    return round((now[name] - before[name]) / seconds, 1)
