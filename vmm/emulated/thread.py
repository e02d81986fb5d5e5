"""The thread of a vCPU that is emulated: what VcpuThread is to one of KVM's."""

from __future__ import annotations

import threading
from pathlib import Path
from time import thread_time_ns
from typing import Any


class EmulatedThread(threading.Thread):
    """See VcpuThread, whose `host` and `running` these are."""

    port_exits = 0

    def __init__(self, vcpu: Any, host: Any, running: Any):
        super().__init__(name=f"vcpu{vcpu.index}", daemon=True)
        self.vcpu, self.host, self.running, self.lib = vcpu, host, running, vcpu.lib
        self.cpu_ns = self.thread = 0
        self.through = False

    @property
    def exits(self) -> int:
        """Accesses that were told to devices in Python."""
        return self.vcpu.loop.exits

    def kick(self) -> None:
        """Any thread: have it look whether it is to go on."""
        self.vcpu.wake()

    leave = kick

    def run(self) -> None:
        try:
            self.thread = self.lib.this_thread()
            Path(f"/proc/self/task/{self.thread}/comm").write_text(f"CPU {self.vcpu.index}/emulator")   # for top(1)
            self.host.on_thread(self.vcpu)
            while self.running.checkpoint():
                self.vcpu.advance()
        except BaseException as error:
            self.running.failed(error)
        finally:
            self.cpu_ns, self.through = thread_time_ns(), True
            self.running.ended()
