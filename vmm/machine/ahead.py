"""What the kernel takes long for when a machine is made, and Python has no part in: begun on threads of its own while
the rest of this package is still being imported and the machine put together."""

from __future__ import annotations

import sys

from ..sync.background import Background
from ..timeline import span

SWITCH_S = 0.0002       # a thread of ours that comes back from the kernel has the interpreter after that; 5 ms is usual


class Ahead:
    """Of one machine: a context manager, as what nobody has taken in the end is closed.  Without a configuration there
    is nothing in it."""

    def __init__(self, config=None):
        self._jobs: dict[str, Background] = {}
        self._asked: set[str] = set()
        self._switch_s = sys.getswitchinterval()
        if config and config.kvm and config.has_exits:
            sys.setswitchinterval(SWITCH_S)
            self._asked = config.modes
            if self._asked & {"on", "auto"}:    # first, as it takes longest
                self._jobs["ram"] = Background(lambda: _make_ram(config), "RAM")
            self._jobs["vm"] = Background(_make_vm, "VM")

    def vm(self):
        """The VM, or None if none was begun.  Raises what making it raised."""
        return self._take("vm")

    def ram(self, asked: set[str]):
        """RAM for devices with these modes, likewise."""
        return self._take("ram") if asked == self._asked else None

    def _take(self, name: str):
        job = self._jobs.pop(name, None)
        return job.result() if job else None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        sys.setswitchinterval(self._switch_s)
        for job in self._jobs.values():
            try:
                job.result().close()
            except Exception:       # what is not wanted any more has not failed, either
                continue


def _make_ram(config):
    from .ram import Ram
    with span("RAM"):
        return Ram(config.memory, config.modes, True, config.hugepages)


def _make_vm():
    from ..kvm.vm import Vm
    with span("KVM's VM"):
        return Vm()
