"""All VMs of this host, or one process's, looked at again and again."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic_ns
from typing import Any

from ..devmodel.view import TornRead
from ..errors import UserError
from . import listing, process, sample
from .process import Gone, Unreadable
from .rates import with_rates
from .sample import Sample

CHANGES = 3         # of a VM's devices and modes, while it is looked at once


class Watch:
    """`pid` is the one process to look at; `device` the name of what to tell of alone."""

    def __init__(self, pid: int | None = None, device: str | None = None):
        self._pid, self._device = pid, device
        self._before: dict[tuple[int, int], Sample] = {}
        self._looked_ns: int | None = None
        self.ended = False      # the process that was asked for

    def look(self) -> dict[str, Any]:
        """What there is now, and rates since the last look, as --json prints it.  Raises UserError at the first look at
        a process that is no VM, or whose memory may not be read; later on, it has ended."""
        first, now_ns = self._looked_ns is None, monotonic_ns()
        before, self._before = self._before, {}
        vms = [vm for pid in ([self._pid] if self._pid else process.processes()) for vm in self._vms(pid, before)]
        if self._pid and first:
            self._check(vms)
        self.ended = self._pid is not None and not vms
        if first and self._device and not any(vm.get("devices") for vm in vms):
            raise UserError(f"--device {self._device}: no VM has one of this name; wanted a device of a VM")
        interval_s = None if self._looked_ns is None else (now_ns - self._looked_ns) / 1e9
        self._looked_ns = now_ns
        return {"interval_s": interval_s, "vms": vms}

    def _check(self, vms: list[dict[str, Any]]) -> None:
        if not vms:
            raise UserError(f"process {self._pid}: no VM of splitvmm; wanted the process of one, as `splitvmm top` "
                            "lists them")
        if all("not_readable" in vm for vm in vms):
            raise UserError(f"process {self._pid}: not readable: {vms[0]['not_readable']}")

    def _vms(self, pid: int, before: dict) -> Iterator[dict[str, Any]]:
        """Each of a process's; one that ends meanwhile is none."""
        try:
            places = process.directories(pid)
        except Gone:
            return
        except Unreadable as error:     # nobody knows whether it is a VM
            if self._pid:
                yield {"pid": pid, "not_readable": str(error)}
            return
        for at in places:
            try:
                yield {"pid": pid, **self._told(pid, at, before)}
            except Gone:
                continue
            except (Unreadable, TornRead) as error:
                yield {"pid": pid, "not_readable": str(error)}

    def _told(self, pid: int, at: int, before: dict) -> dict[str, Any]:
        for _ in range(CHANGES):
            vm = listing.listed(pid, at)
            if (found := sample.take(vm)) is not None:
                self._before[vm.key] = found
                told = with_rates(before.get(vm.key), found)
                told["devices"] = [device for device in told["devices"] if self._device in (None, device["device"])]
                return told
        raise Unreadable("its devices change all the time")
