"""What KVM does with a write of the guest's, done by this process: steps 1 to 3 of bpf_run.py."""

from __future__ import annotations

import itertools
import os
import select
import threading
from collections import Counter
from contextlib import contextmanager
from functools import lru_cache

from ..devmodel.exit_path import COLLECT_ADDRESS, Bus
from ..devmodel.layout import PAGE
from ..kvm import vm as kvm
from ..kvm.bpf import Maps, Object
from ..kvm.host_path import ENTRIES
from ..paths import BUILD
from ..sync.region import Piece, Region

TRACE_WRITE, PIO_OUT = 2, 1     # as exit_path.bpf.c has them
THREADS = 1024                  # that write, in the life of this process
MOST_BYTES = 64                 # of what one instruction writes, as bpf_run.bpf.c has them
STRIDE = MOST_BYTES + 8         # its struct written
VECTOR = 0x30                   # of pin 0; of others what follows


class Values:
    """Where the kernel finds what this process's threads write: a place for each of them."""

    def __init__(self):
        self._maps = Maps()
        fd = self._maps.array("written", STRIDE, THREADS)
        self._object = Object(BUILD / "bpf_run.bpf.o", self._maps, {}, {})
        self._region = Region("written", [Piece(fd, 0, -(-STRIDE * THREADS // PAGE) * PAGE)])
        self._next, self._mine = itertools.count(), threading.local()

    def put(self, data: bytes) -> int:
        """The kernel's address of `data`, until this thread's next one."""
        if len(data) > MOST_BYTES:
            raise ValueError(f"{len(data)} bytes by one instruction; wanted at most {MOST_BYTES}")
        if not hasattr(self._mine, "at"):
            index = next(self._next)
            if self._object.run("locate", index):
                raise RuntimeError(f"thread {index + 1} that writes; wanted at most {THREADS}")
            self._mine.at = STRIDE * index
        at, view = self._mine.at, self._region.view
        view[at:at + MOST_BYTES] = data.ljust(MOST_BYTES, b"\0")
        return int.from_bytes(view[at + MOST_BYTES:at + STRIDE], "little")


values = lru_cache(maxsize=1)(Values)


class PlayedPath:
    """In vmm.kvm.host_path.HostPath's place: runs a dispatcher's programs where the host's would have called them."""

    def __init__(self, played: PlayedVm):
        self._played = played
        self._inside, self._idle = 0, threading.Condition()

    def join(self, dispatcher: Object) -> None:
        self.loaded = dispatcher
        self._programs = {name: dispatcher.program(name) for name in ENTRIES}

    def listen(self, on: bool) -> None:
        """None is inside when this returns, and it is no more."""
        with self._idle:
            if on:
                self._played.attached.append(self)
            else:
                self._played.attached.remove(self)
                self._idle.wait_for(lambda: not self._inside)

    def run(self, name: str, *arguments: int) -> None:
        """Unless it listens no more."""
        with self._idle:
            if self not in self._played.attached:
                return
            self._inside += 1
        try:
            result = self.loaded.lib.run_program(self._programs[name], arguments, len(arguments))
            if result:
                raise OSError(abs(result), f"{self.loaded.path}: {name}: {result}; wanted 0")
        finally:
            with self._idle:
                self._inside -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Nothing is left to be closed."""


class PlayedVm:
    """What the rest of a machine asks of vmm.kvm.vm.Vm, done by this process."""

    fd = -1     # of no VM

    def __init__(self):
        self.lib = kvm.binding()[1]
        self.attached: list[PlayedPath] = []
        self.pins = [VECTOR + pin for pin in range(self.lib.KVM_IOAPIC_NUM_PINS)]  # edges, to CPU 0, not masked
        self.interrupts: Counter[int] = Counter()       # GSI -> how many have reached a CPU
        self._claims: dict[tuple, int] = {}
        self._irqfds: dict[int, int] = {}
        self._routes: dict[int, dict] = {}
        self._lock, self._injecting = threading.RLock(), threading.Lock()
        self._poll, self._stop = select.epoll(), os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._stop, select.EPOLLIN)
        self.failed = lambda error: None
        self._thread = threading.Thread(target=self._watch, daemon=True, name="irqfds")
        self._thread.start()

    # as the machine knows a Vm

    def host_path(self) -> PlayedPath:
        return PlayedPath(self)

    def add_memory(self, _gpa: int, _size: int, _address: int, read_only: bool = False) -> int:
        return 0

    def remove_memory(self, slot: int) -> None:
        """There are no slots: the driver finds everything by itself."""

    def ioeventfd(self, bus: Bus, address: int, width: int, fd: int, on: bool) -> None:
        if not on:
            del self._claims[bus, address, width]
        elif self._claims.setdefault((bus, address, width), fd) != fd:
            raise RuntimeError(f"{bus.name} {address:#x}, {width} bytes: claimed twice")

    def irqfd(self, fd: int, gsi: int, on: bool) -> None:
        with self._lock:
            if on:
                self._irqfds[fd] = gsi
                self._poll.register(fd, select.EPOLLIN)
            else:
                del self._irqfds[fd]
                self._poll.unregister(fd)

    def set_routing(self, entries: list[dict]) -> None:
        self._routes = {entry["gsi"]: entry for entry in entries}

    def ioapic_pins(self) -> list[int]:
        return self.pins

    def pic_masks(self) -> tuple[int, int]:
        return 0xff, 0xff       # as firmware leaves them

    def pulse(self, gsi: int) -> None:
        """An edge, on this thread."""
        route = self._routes[gsi]
        if route["type"] == self.lib.KVM_IRQ_ROUTING_MSI:
            self.message(route["address_hi"] << 32 | route["address_lo"], route["data"])
            if route["address_lo"] == COLLECT_ADDRESS:
                return
        with self._lock:
            self.interrupts[gsi] += 1

    def message(self, address: int, data: int) -> None:
        """Step 3: whose it is is the dispatcher's to see."""
        for program in list(self.attached):
            program.run("on_message", address, data)

    # what KVM does with a write

    def trace(self, bus: Bus, address: int, width: int, data: bytes, count: int = 1) -> None:
        """Step 1: `count` elements of `width` bytes, of which only a port takes more than one at once."""
        at = values().put(data)
        for program in list(self.attached):
            if bus is Bus.MMIO:
                program.run("on_mmio", TRACE_WRITE, width, address, at)
            else:
                program.run("on_pio", PIO_OUT, address, width, count, at)

    def claim(self, bus: Bus, address: int, width: int) -> bool:
        """Steps 2 and 3; whether there was a claim."""
        fd = self._claims.get((bus, address, width))
        if fd is None:
            return False
        with self._lock:
            gsi = self._irqfds.get(fd)
        if gsi is None:
            os.eventfd_write(fd, 1)
        else:
            self.pulse(gsi)     # at once, as irqfd_wakeup() does
        return True

    def _signalled(self, fd: int) -> None:
        """Inject what an eventfd is to inject: once, however often it was written."""
        with self._lock:
            gsi = self._irqfds.get(fd)
            try:
                if gsi is None or not os.eventfd_read(fd):
                    return
            except BlockingIOError:
                return
        self.pulse(gsi)

    @contextmanager
    def held_back(self):
        """No eventfd injects anything, and so no collector runs for one, for the block."""
        with self._injecting:
            yield

    def inject_waiting(self) -> None:
        """Inject what has been signalled: in KVM that is done by now, however busy the host is."""
        with self._injecting:
            for fd in list(self._irqfds):
                self._signalled(fd)

    def _watch(self) -> None:
        try:
            while True:
                for fd, _ in self._poll.poll():
                    if fd == self._stop:
                        return
                    with self._injecting:
                        self._signalled(fd)
        except BaseException as error:      # else completions would wait for ever
            self.failed(error)

    def close(self) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._poll.close()
        os.close(self._stop)
