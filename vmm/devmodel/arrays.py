"""Arrays of numbers in shared memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from _cffi_backend import FFI  # what an API-mode module uses; `import cffi` takes 30 ms more

ffi = FFI()


class OwnershipError(AttributeError):
    """A write of a field that another side owns at the moment."""


class Array(Sequence):
    """A fixed array of numbers in shared memory, each `step` elements from the one before."""

    __slots__ = ("_pointer", "_count", "_step", "_size", "_check")

    def __init__(self, pointer: Any, count: int, check: Callable[[], None], step: int = 1):
        """`pointer` is to the first; `check()` raises OwnershipError unless userspace may write now."""
        self._pointer, self._count, self._check, self._step = pointer, count, check, step
        self._size = ffi.sizeof(ffi.typeof(pointer).item)

    def __len__(self) -> int:
        return self._count

    def _at(self, index: int) -> int:
        """Where it is; from the end, if it is negative."""
        found = index + self._count if index < 0 else index
        if not 0 <= found < self._count:
            raise IndexError(f"element {index} of {self._count}")
        return found * self._step

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._pointer[i * self._step] for i in range(*index.indices(self._count))]
        return self._pointer[self._at(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        """One element; or a slice, by as many numbers, or by bytes (or another buffer) of the same length."""
        if isinstance(index, slice):
            self._set(range(*index.indices(self._count)), value)
            return
        at = self._at(index)
        self._check()
        self._pointer[at] = value

    def _set(self, places: range, value: Any) -> None:
        if isinstance(value, (bytes, bytearray, memoryview)):
            self._set_bytes(places, memoryview(value).cast("B"))
            return
        numbers = list(value)
        if len(numbers) != len(places):
            raise IndexError(f"{len(places)} elements set to {len(numbers)}; wanted as many")
        self._check()
        for place, number in zip(places, numbers):
            self._pointer[place * self._step] = number

    def _set_bytes(self, places: range, data: memoryview) -> None:
        if len(data) != len(places) * self._size or places.step != 1 or self._step != 1:
            raise IndexError(f"{len(data)} bytes for {len(places)} elements of {self._size}; wanted as many, and "
                             "elements that touch")
        self._check()
        ffi.memmove(self._pointer + places.start, data, len(data))

    def memoryview(self) -> memoryview:
        """The array's own memory, as bytes: to be written if userspace may write it now, else read-only.
        Raises ValueError if the array has a stride."""
        if self._step != 1:
            raise ValueError(f"elements {self._step * self._size} bytes apart; wanted ones that touch")
        found = memoryview(ffi.buffer(self._pointer, self._count * self._size)).cast("B")
        try:
            self._check()
        except OwnershipError:
            return found.toreadonly()
        return found

    def __bytes__(self) -> bytes:
        return bytes(self.memoryview())
