"""What the kernel takes long for when a machine is made, and Python has no part in: begun on threads of its own while
the rest of this package is still being imported and the machine put together."""

from __future__ import annotations

import sys
from contextlib import suppress

from ..sync.background import Background
from ..timeline import span

SWITCH_S = 0.0002       # a thread of ours that comes back from the kernel has the interpreter after that; 5 ms is usual


class Ahead:
    """Of one machine: a context manager, as what nobody has taken in the end is closed.  Without a configuration there
    is nothing in it.  KVM's VM is not among it: debugfs names that by the thread that makes it, and tools look there
    for the process's id."""

    def __init__(self, config=None):
        self._ram: Background | None = None
        self._asked: set[str] = set()
        self._switch_s = sys.getswitchinterval()
        if config and config.kvm and config.has_exits and config.modes & {"on", "auto"}:
            sys.setswitchinterval(SWITCH_S)
            self._asked = config.modes
            self._ram = Background(lambda: _make_ram(config), "RAM")

    def ram(self, asked: set[str]):
        """RAM for devices with these modes, or None if none was begun.  Raises what making it raised."""
        if asked != self._asked or not self._ram:
            return None
        job, self._ram = self._ram, None
        return job.result()

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        sys.setswitchinterval(self._switch_s)
        if self._ram:
            with suppress(Exception):       # what is not wanted any more has not failed, either
                self._ram.result().close()


def _make_ram(config):
    from .ram import Ram
    with span("RAM"):
        return Ram(config.memory, config.modes, True, config.hugepages)
