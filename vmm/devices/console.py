"""virtio-console, user half: one port between a guest and two descriptors (VIRTIO 1.2, section 5.3)."""

from __future__ import annotations

import os

from ..device.place import Place
from ..devmodel.devices.console import RECEIVE, TRANSMIT, Console, ConsoleConfig
from ..devmodel.layout import layout_block
from ..sync.counting import count
from ..virtio.receiver import Receiver
from ..virtio.virtio_device import VirtioDevice
from ..virtqueue.ring import BrokenQueue
from ..virtqueue.virtqueue import UserQueue

SIZE, EMERG_WRITE = 1 << 0, 1 << 2      # feature bits, 5.3.3
_EMERGENCY_AT = layout_block(ConsoleConfig).field("emerg_wr").offset


class ConsoleDevice(VirtioDevice):
    """A console that reads `input_fd`, or nothing if that is -1, and writes `output_fd`."""

    schema = Console
    handler = "console"
    config_type = ConsoleConfig
    doorbell_interrupts = False
    uring_queues = 2

    def __init__(self, name: str, input_fd: int, output_fd: int, size: tuple[int, int] | None = None):
        """Takes the descriptors over.  `size` is (columns, rows) of a terminal."""
        super().__init__(name, EMERG_WRITE | (SIZE if size else 0), [64, 64])
        self._input, self._output, self._size = input_fd, output_fd, size

    def attach(self, place: Place) -> None:
        super().attach(place)
        if self._size:
            self.config.cols, self.config.rows = self._size
        self.state.stream.ended = int(self._input < 0)
        self._receiver = Receiver(self, self._sources)

    def terminal_resized(self) -> None:
        """The terminal, if it leads to one, has another size; the driver is told."""
        if self._size:
            with self.lock:
                self.config.cols, self.config.rows = os.get_terminal_size(self._output)
                self.config_changed()

    def uring_files(self) -> list[int]:
        return [self._input if self._input >= 0 else self._output, self._output]

    def receives(self, index: int) -> bool:
        return index == RECEIVE

    def nudge(self) -> None:
        self._receiver.nudge()

    def config_write(self, offset: int, width: int, value: int) -> None:
        if offset == _EMERGENCY_AT:
            queue = self.queues[TRANSMIT]
            with queue.ownership:       # in its place behind what is on its way
                self._settle(queue)
                self._write(memoryview(bytes([value & 0xff])))
            self._serve(queue)          # what waited for that, and whoever was told of it saw it held

    # transmit

    def in_order(self, index: int) -> bool:
        return index == TRANSMIT

    def serve(self, queue: UserQueue) -> tuple[int, int]:
        if queue.index == RECEIVE:
            return 0, 0
        requests = moved = 0
        for chain in queue.chains():
            if chain.writable:
                raise BrokenQueue(f"{queue.name}: output with device-writable buffers")
            moved += self._write_parts(queue, chain.readable)
            queue.push(chain, 0)
            requests += 1
        return requests, moved

    def _write_parts(self, queue: UserQueue, parts: list[tuple[int, int]], skip: int = 0) -> int:
        """Write these buffers but for the first `skip` bytes, from where they lie: a few descriptors can
        name gigabytes.  Returns their bytes; what cannot be written is lost, and said so."""
        for at, size in parts:
            done = min(skip, size)
            skip -= done
            if not self._write(queue.memory.view[at + done:at + size]):
                break
        return sum(size for _, size in parts)

    def _write(self, data: memoryview) -> bool:
        """Whether all of it was written."""
        try:
            while data:
                data = data[os.write(self._output, data):]
        except OSError as error:
            self.log.warning("%s: output: %s", self.name, error)
        return not data

    # receive

    def _sources(self) -> dict:
        queue = self.queues[RECEIVE]
        if self.state.stream.ended or not self.user_receives(queue):
            return {}
        return {self._input: lambda: self._receive(queue)}

    def _receive(self, queue: UserQueue) -> None:
        """What is there, into the next buffer; at the end of the input, nothing ever again."""
        try:
            chain, which = next(queue.buffers())
            if not chain.writable or chain.readable:
                raise BrokenQueue(f"{queue.name}: a receive buffer that the device may not write")
            at, room = chain.writable[0]
            data = os.read(self._input, room)
        except BrokenQueue as error:
            self._needs_reset(error)
            return
        except OSError as error:
            self.log.warning("%s: input: %s", self.name, error)
            data = b""
        if not data:
            self.state.stream.ended = 1
            return
        queue.take_buffers([which])
        queue.memory.view[at:at + len(data)] = data
        queue.push(chain, len(data))
        count(queue.state.user, 1, len(data))
        if queue.wants_interrupt():
            self.transport.queue_used(RECEIVE)

    # what the kernel half had

    def came_back(self, queue: UserQueue, tag, result: int) -> tuple[int, int] | None:
        if queue.index == RECEIVE and result <= 0:
            self.state.stream.ended |= int(result == 0)
            return None
        if queue.index == TRANSMIT and result != tag.wanted:
            tag.written = max(0, result)
            return None
        queue.push(tag, result if queue.index == RECEIVE else 0)
        return 1, result

    def redo(self, queue: UserQueue, tag, parts: list[tuple[int, int]]) -> int:
        moved = self._write_parts(queue, parts, tag.written)
        queue.push(tag, 0)
        return moved

    def close(self) -> None:
        if self.place:
            self._receiver.close()
        super().close()
        for fd in {self._input, self._output} - {-1}:
            os.close(fd)
