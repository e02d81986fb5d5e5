"""A guest's accesses of a register page: which registers each is of, and what becomes of them.

The exit path takes only writes of one whole register.  All others come here in every mode, so that
a device has one rule for them (`widths=` in its schema):

SPLIT   a write of several registers, or of a part of one, is a write of each register that it touches,
        the lowest first.  The bytes that it leaves out are as the page shows them; of a register whose
        ones clear, they are 0.  A read likewise is put together from the registers that it touches.
EXACT   such a write has no effect.  Such a read finds the bytes of the page where the guest may have them
        from memory anyway, and all ones where it may not.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import partial
from operator import setitem
from typing import Any

from ..devmodel.register_layout import PlacedRegister
from ..devmodel.schema import Access, Takes, Widths
from ..devmodel.view import ffi
from ..sync._shared import lib


def _ones(width: int) -> int:
    return (1 << 8 * width) - 1


def _ignore(value: int) -> None:
    """A write without an effect."""


class Accesses:
    """The registers of one device, as the guest reaches them."""

    def __init__(self, device):
        self._device, layout = device, device.registers
        self._alone = device.alone()
        self._exact, self._page_is_memory = layout.widths is Widths.EXACT, layout.page_is_memory
        self._in_order = sorted(layout.registers.items(), key=lambda item: item[1].offset)
        self._by_half = {(r.offset + half, 4): (r, half) for _, r in self._in_order if r.halves
                         for half in (0, 4)}
        self._pointers: dict = {}
        self._writers = {name: self._writer(r) for name, r in self._in_order}
        self._posters = {name: self._poster(name, r) for name, r in self._in_order if r.takes is Takes.POSTED}
        self._readers = {name: partial(reader, *r.indices) for name, r in self._in_order
                         if (reader := getattr(device.taker, f"on_read_{r.declared}", None))}
        self._interrupting = {r.offset for _, r in self._in_order if r.interrupts}
        # what takes an access of one whole register, by offset and width: made once, as almost all are such
        self.whole_reads = {(r.offset, r.type.size): self._whole_read(name, r) for name, r in self._in_order}
        self.whole_writes = {(r.offset, r.type.size): self._whole_write(name, r) for name, r in self._in_order}

    def _writer(self, register: PlacedRegister) -> Callable[[int], None] | None:
        """What takes the writes that userspace does, with the device held, or None."""
        if handler := getattr(self._device.taker, f"on_write_{register.declared}", None):
            writer = partial(handler, *register.indices) if register.indices else handler
            return self._doorbell(register, writer) if register.takes is Takes.NOTIFY else writer
        if register.takes is not Takes.USER:
            return None
        if register.access is Access.W1C:
            return lambda value: self._clear(register, value)
        if register.access is Access.RW:
            return self._putter(register)
        return None

    def _doorbell(self, register: PlacedRegister, answer: Callable[[int], None]) -> Callable[[int], None]:
        """What answers a doorbell, and latches and counts as the kernel half does; virtio devices latch
        nothing, and count the doorbells of each queue."""
        device = self._device
        if device.has_transport:
            return answer
        counters, kind = device.state.control.user, namedtuple("Latched", register.latches)
        latched = [self._pointer(device.registers.registers[each]) for each in register.latches]

        def ring(value: int) -> None:
            if latched:
                device.latched = kind(*(pointer[0] for pointer in latched))     # each is read once
            answer(value)
            counters.doorbells += 1
            counters.handled += 1
        return ring

    def _poster(self, name: str, register: PlacedRegister) -> Callable[[int], None]:
        """What stores a posted write."""
        if cleared := self._device.cleared(name):
            address = self._device.place.page + cleared.offset
            return lambda value: lib.fetch_and32(address, ~value & 0xffffffff)
        return self._putter(register)

    def _putter(self, register: PlacedRegister) -> Callable[[int], None]:
        """What shows a value in the page, by one store."""
        return partial(setitem, self._pointer(register), 0)

    def _pointer(self, register: PlacedRegister) -> Any:
        """To the register in the page, of its own width."""
        found = self._pointers.get(register.offset)
        if found is None:
            found = ffi.cast(f"uint{8 * register.type.size}_t *", self._device.place.page + register.offset)
            self._pointers[register.offset] = found
        return found

    def put(self, register: PlacedRegister, value: int) -> None:
        """Show a value in the page, by one store."""
        self._pointer(register)[0] = value

    def _clear(self, register: PlacedRegister, value: int) -> None:
        """Clear bits of a register; a handler that needs no lock may be setting others, with an atomic."""
        if register.type.size == 4:
            lib.fetch_and32(self._device.place.page + register.offset, ~value & 0xffffffff)
        else:
            self.put(register, self._pointer(register)[0] & ~value)

    def interrupts(self, offset: int) -> bool:
        """Whether every write of the register there interrupts."""
        return offset in self._interrupting

    def _touched(self, offset: int, width: int) -> list[tuple[str, PlacedRegister]]:
        return [(name, r) for name, r in self._in_order
                if r.offset < offset + width and offset < r.offset + r.type.size]

    def _whole_only(self, touched: list[tuple[str, PlacedRegister]]) -> bool:
        """Whether one of them takes no access but of itself."""
        return any(self._exact if r.widths is None else r.widths is Widths.EXACT for _, r in touched)

    # reads

    def read(self, offset: int, width: int) -> int:
        whole = self.whole_reads.get((offset, width))
        return whole() if whole else self._read_other(offset, width)

    def _read_other(self, offset: int, width: int) -> int:
        value, touched = self._bytes_of_page(offset, width), self._touched(offset, width)
        if self._page_is_memory or not touched:
            return value
        if self._whole_only(touched):
            self._refuse("read", offset, width)
            return _ones(width)
        with self._alone:
            for _, register in touched:
                read = self.whole_reads[register.offset, register.type.size]()
                value = self._merged(value, offset, width, read, register)
        return value

    def _whole_read(self, name: str, register: PlacedRegister) -> Callable[[], int]:
        """What reads a register."""
        reader, mask = self._readers.get(name), _ones(register.type.size)
        if reader is None:
            pointer = self._pointer(register)
            return lambda: pointer[0]

        acquire, release = self._alone.acquire, self._alone.release

        def read() -> int:
            acquire()
            try:
                return reader() & mask
            finally:
                release()
        return read

    @staticmethod
    def _merged(value: int, offset: int, width: int, read: int, register: PlacedRegister) -> int:
        """`value`, read at `offset`, with the bytes that are the register's."""
        mask, shift = _ones(register.type.size), 8 * (register.offset - offset)
        if shift < 0:
            mask, read, shift = mask >> -shift, read >> -shift, 0
        return (value & ~(mask << shift) | read << shift) & _ones(width)

    def _bytes_of_page(self, offset: int, width: int) -> int:
        return int.from_bytes(bytes(self._buffer(offset, width)), "little")

    def _buffer(self, offset: int, width: int) -> Any:
        return ffi.buffer(ffi.cast("char *", self._device.place.page + offset), width)

    # writes

    def write(self, offset: int, width: int, value: int) -> None:
        whole = self.whole_writes.get((offset, width))
        if whole:
            whole(value)
        else:
            self._write_other(offset, width, value)

    def _write_other(self, offset: int, width: int, value: int) -> None:
        if half := self._by_half.get((offset, width)):
            self._write_half(*half, value)
            return
        touched = self._touched(offset, width)
        if not touched:
            self._device.write_undeclared(offset, width, value)
        elif self._whole_only(touched):
            self._refuse("write", offset, width)
        else:
            with self._alone:
                for _, register in touched:
                    self._write_part(register, offset, width, value)

    def _write_half(self, register: PlacedRegister, half: int, value: int) -> None:
        """4 of the 8 bytes of a register with halves=True; the upper half completes a write of it."""
        with self._alone:
            if not half or register.takes is Takes.POSTED:
                self._buffer(register.offset + half, 4)[:] = value.to_bytes(4, "little")
            if half and register.takes is Takes.POSTED:
                self._written(register)
            elif half:
                low = int.from_bytes(bytes(self._buffer(register.offset, 4)), "little")
                self.whole_writes[register.offset, 8](value << 32 | low)

    def _write_part(self, register: PlacedRegister, offset: int, width: int, value: int) -> None:
        """What a write of other bytes than the register's is for the register."""
        first, end = max(offset, register.offset), min(offset + width, register.offset + register.type.size)
        given, shift = value >> 8 * (first - offset) & _ones(end - first), 8 * (first - register.offset)
        clears = register.access is Access.W1C or register.clears
        if register.takes is Takes.POSTED and not clears:   # no more than these bytes: others may be writing the rest
            self._buffer(first, end - first)[:] = given.to_bytes(end - first, "little")
            self._written(register)
        else:
            shown = 0 if clears else self._bytes_of_page(register.offset, register.type.size)
            write = self.whole_writes[register.offset, register.type.size]
            write(shown & ~(_ones(end - first) << shift) | given << shift)

    def _whole_write(self, name: str, register: PlacedRegister) -> Callable[[int], None]:
        """What writes a register; of one that is read-only, or has nothing to do, nothing."""
        writer = self._writers[name]
        write = self._held(writer) if writer else self._posters.get(name, _ignore)
        if not register.interrupts:
            return write

        def write_and_interrupt(value: int) -> None:
            write(value)
            self._device.interrupt()
        return write_and_interrupt

    def _held(self, writer: Callable[[int], None]) -> Callable[[int], None]:
        acquire, release = self._alone.acquire, self._alone.release

        def write(value: int) -> None:
            acquire()
            try:
                writer(value)
            finally:
                release()
        return write

    def _written(self, register: PlacedRegister) -> None:
        if register.interrupts:
            self._device.interrupt()

    def _refuse(self, what: str, offset: int, width: int) -> None:
        device = self._device
        device.access_log.once((what, offset, width), "%s: a %s of %d bytes at %#x; wanted one of a whole "
                               "register, as %s has widths=EXACT", device.name, what, width, offset,
                               device.registers.device.__name__)
