"""AML, as far as declaring devices takes it (ACPI 6.4, chapter 20; resource descriptors: 6.4).

Each function encodes one term; what it contains is given encoded.
"""

from __future__ import annotations

import struct

ZERO, ONE = b"\x00", b"\x01"
NAME, SCOPE, BUFFER, PACKAGE, DEVICE = b"\x08", b"\x10", b"\x11", b"\x12", b"\x5b\x82"
STRING = b"\x0d"
INTEGERS = ((b"\x0a", "<B"), (b"\x0b", "<H"), (b"\x0c", "<I"), (b"\x0e", "<Q"))     # prefix, what follows

MEMORY32_FIXED, EXTENDED_INTERRUPT, QWORD_SPACE = 0x86, 0x89, 0x8a      # large descriptors, 6.4.3
END_TAG = b"\x79\x00"           # with no checksum, 6.4.2.9
CONSUMER = 1 << 0               # of what it describes, not a bridge that hands it on
MIN_FIXED, MAX_FIXED = 1 << 2, 1 << 3
MEMORY_SPACE, READ_WRITE = 0, 1 << 0
EDGE = 1 << 1                   # active high and exclusive, with the bits behind it clear


def sized(content: bytes) -> bytes:
    """`content` behind its PkgLength, which counts itself (20.2.4)."""
    total = len(content) + 1
    if total < 1 << 6:
        return bytes([total]) + content
    for more in (1, 2, 3):
        total = len(content) + 1 + more
        if total < 1 << 4 + 8 * more:
            return bytes([more << 6 | total & 0xf]) + (total >> 4).to_bytes(more, "little") + content
    raise ValueError(f"a term of {len(content)} bytes")


def path(text: str) -> bytes:
    """A NameString of one segment, of up to four characters, below \\ or the scope that it is in (20.2.2)."""
    segment = text.removeprefix("\\")
    assert 1 <= len(segment) <= 4
    return text[:len(text) - len(segment)].encode("ascii") + segment.ljust(4, "_").encode("ascii")


# data objects, 20.2.3

def integer(value: int) -> bytes:
    """In as few bytes as it takes."""
    if value in (0, 1):
        return ONE if value else ZERO
    for prefix, form in INTEGERS:
        if value < 1 << 8 * struct.calcsize(form):
            return prefix + struct.pack(form, value)
    raise ValueError(f"an integer of {value.bit_length()} bits")


def string(text: str) -> bytes:
    data = text.encode("ascii")
    assert 0 not in data
    return STRING + data + b"\0"


def buffer(data: bytes) -> bytes:
    return BUFFER + sized(integer(len(data)) + data)


def uuid(text: str) -> bytes:
    """As ToUUID has it (19.6.142)."""
    from uuid import UUID
    return buffer(UUID(text).bytes_le)


def package(*elements: bytes) -> bytes:
    return PACKAGE + sized(bytes([len(elements)]) + b"".join(elements))


# named objects, 20.2.5

def name(place: str, value: bytes) -> bytes:
    return NAME + path(place) + value


def scope(place: str, *terms: bytes) -> bytes:
    return SCOPE + sized(path(place) + b"".join(terms))


def device(place: str, *terms: bytes) -> bytes:
    return DEVICE + sized(path(place) + b"".join(terms))


# resource descriptors, 6.4

def resources(*descriptors: bytes) -> bytes:
    """A resource template."""
    return buffer(b"".join(descriptors) + END_TAG)


def _large(kind: int, form: str, *values: int) -> bytes:
    data = struct.pack(f"<{form}", *values)
    return struct.pack("<BH", kind, len(data)) + data


def memory(base: int, size: int) -> bytes:
    """A window of addresses, read and written uncached (6.4.3.4, 6.4.3.5.1)."""
    if base + size < 1 << 32:
        return _large(MEMORY32_FIXED, "BII", READ_WRITE, base, size)
    return _large(QWORD_SPACE, "BBBQQQQQ", MEMORY_SPACE, CONSUMER | MIN_FIXED | MAX_FIXED, READ_WRITE,
                  0, base, base + size - 1, 0, size)


def interrupt(gsi: int) -> bytes:
    """An edge, active high, that is the device's alone (6.4.3.6)."""
    return _large(EXTENDED_INTERRUPT, "BBI", CONSUMER | EDGE, 1, gsi)
