"""Ends a KVM_RUN that does not come back: of a guest that loops."""

from __future__ import annotations

import threading
from typing import Any

from vmm.devmodel.exit_path import SIGNAL

PATIENCE_S = 1.0


class Watchdog:
    """Of the thread that made it, and one vCPU that it enters."""

    def __init__(self, vcpu: Any):
        self._lib, self._runs, self._inside, self._over = vcpu.lib, 0, False, threading.Event()
        self._lib.block_signal(SIGNAL)              # delivered only inside KVM_RUN
        self._lib.set_signal_mask(vcpu.fd, SIGNAL)
        self._of = self._lib.this_thread()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def __enter__(self) -> None:
        self._runs += 1
        self._inside = True

    def __exit__(self, *_: object) -> None:
        self._inside = False

    def _watch(self) -> None:
        seen = -1
        while not self._over.wait(PATIENCE_S):
            if self._inside and seen == self._runs:
                self._lib.kick_thread(self._of, SIGNAL)
            seen = self._runs

    def close(self) -> None:
        self._over.set()
        self._thread.join()
