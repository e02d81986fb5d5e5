"""A guest's file, opened; one that was compressed as a whole (vmlinux.gz and the like) is unpacked."""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError
from ..files import open_at_once
from ..kvm.addresses import GIB

MOST_BYTES = GIB        # of what comes out
FORMATS = {             # how a file starts -> its name, the module that unpacks it, and the tool
    b"\x1f\x8b": ("gzip", "gzip", "gzip -d"),
    b"\xfd7zXZ\0": ("xz", "lzma", "xz -d"),
    b"BZh": ("bzip2", "bz2", "bzip2 -d"),
    b"\x28\xb5\x2f\xfd": ("zstd", "compression.zstd", "zstd -d"),       # in Python from 3.14 on
    b"\x04\x22\x4d\x18": ("lz4", "", "lz4 -d"),
    b"\x02\x21\x4c\x18": ("lz4", "", "lz4 -d"),
}


class BadFile(UserError):
    """The file cannot be read, or not be unpacked."""


def open_guest(path: Path) -> BinaryIO:
    """The file's contents, to be closed by the caller.  Raises BadFile."""
    try:
        file = open(path, "rb", opener=open_at_once)
        head = file.read(8)
        file.seek(0)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}; wanted a guest to boot") from None
    found = next((given for magic, given in FORMATS.items() if head.startswith(magic)), None)
    if found is None:
        return file
    with file:
        return io.BytesIO(_unpacked(path, file, *found))


def _unpacked(path: Path, file: BinaryIO, name: str, module: str, tool: str) -> bytes:
    try:
        opener = import_module(module).open if module else None
    except ImportError:
        opener = None
    if not opener:
        raise BadFile(f"{path}: compressed with {name}, which this Python cannot unpack; wanted it unpacked: "
                      f"{tool} {path}")
    try:
        with opener(file) as stream:
            data = stream.read(MOST_BYTES + 1)
    except Exception as error:      # of each module's own kind, and OSError, EOFError, zlib.error
        raise BadFile(f"{path}: compressed with {name}: {error}; wanted it whole") from None
    if len(data) > MOST_BYTES:
        raise BadFile(f"{path}: compressed with {name}, more than {MOST_BYTES >> 20} MiB unpacked; wanted a kernel")
    return data
