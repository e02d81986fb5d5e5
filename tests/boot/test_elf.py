"""ELF files that no linker of ours made: by their segments alone."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vmm.boot import boot, loading
from vmm.errors import UserError
from vmm.kvm.memory import GuestMemory

LOAD, DYNAMIC, NOTE = 1, 2, 4           # p_type
CODE_AT, CODE = 0x1000, b"\xf4\xeb\xfd" * 8
PVH_NOTE = struct.pack("<III", 4, 8, 18) + b"Xen\0" + struct.pack("<Q", 0x100004)
OTHER_NOTE = struct.pack("<III", 5, 3, 18) + b"Xens\0\0\0\0" + b"abc\0"      # padded name and descriptor


def segment(kind, at, physical, size, memory=None):
    return struct.pack("<IIQQQQQQ", kind, 7, at, physical, physical, size, size if memory is None else memory, 0x1000)


def elf(segments, notes=b"", sections=(0, 0, 0), entry=0x100000, count=None, entry_bytes=56):
    """`sections`: where the section headers are said to be, how many, and which one has the names."""
    at, number, names = sections
    header = struct.pack("<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 2, 62, 1, entry, 64, at, 0, 64, entry_bytes,
                         len(segments) if count is None else count, 64, number, names)
    return (header + b"".join(segments)).ljust(CODE_AT, b"\0") + CODE + notes


def with_note(notes, **more):
    at = CODE_AT + len(CODE)
    return elf([segment(LOAD, CODE_AT, 0x100000, len(CODE), 0x2000), segment(DYNAMIC, CODE_AT, 0x100000, 16),
                segment(NOTE, at, 0, len(notes))], notes, **more)


@pytest.fixture
def memory():
    memory = GuestMemory(4 << 20)
    yield memory
    memory.close()


def load(memory, folder, data):
    path = folder / "kernel"
    path.write_bytes(data)
    return boot.load(memory, path, "", [], None)


@pytest.mark.parametrize("sections", [(0, 0, 0), (0x7fffffff, 30, 29), (0xfff0000000000000, 4, 3), (8, 9, 1),
                                      (0, 5, 0)],
                         ids=["stripped", "beyond the end", "far beyond", "garbage", "at 0"])
def test_dynamic_segment_without_good_sections(memory, tmp_path, sections):
    """Position-independent kernels have PT_DYNAMIC; what section headers say is nobody's business."""
    memory.write(0x100000, b"\xff" * 0x3000)
    entry = load(memory, tmp_path, with_note(OTHER_NOTE + PVH_NOTE, sections=sections))
    assert (entry.mode, entry.address) == ("pvh", 0x100004)
    assert memory.read(0x100000, 0x2001) == CODE.ljust(0x2000, b"\0") + b"\xff"
    assert load(memory, tmp_path, with_note(OTHER_NOTE, sections=sections)).mode == "long"


@pytest.mark.parametrize("data, says", [
    (elf([]), "nothing to load"),
    (elf([segment(LOAD, CODE_AT, 0xf0000, 16)]), "not over firmware's tables"),
    (elf([segment(LOAD, CODE_AT, 0x8000, 16)]), "boot data lies below"),
    (elf([segment(LOAD, CODE_AT, 8 << 20, 16)]), "wanted a run inside 4 MiB"),
    (elf([segment(LOAD, CODE_AT, 0x100000, 0x100, 0x10)]), "0x100 bytes in the file, 0x10 in memory"),
    (elf([segment(LOAD, CODE_AT, 0x100000, 0x100)]), "the end of a segment"),
    (elf([segment(LOAD, 1 << 63, 0x100000, 16)]), "the end of a segment"),
    (elf([], count=0xffff), "65535 program headers"), (elf([], count=40), "wanted a well-formed|nothing to load"),
    (elf([], count=3, entry_bytes=8), "3 program headers of 8 bytes"),
    (elf([segment(LOAD, CODE_AT, 0x100000, 16), segment(NOTE, 1 << 40, 0, 64)]), "its notes"),
    (elf([])[:40], "wanted a well-formed"), (b"\x7fELF\2\2" + bytes(100), "7f 45 4c 46 02 02"),
])
def test_refused(memory, tmp_path, data, says):
    with pytest.raises(loading.BootError, match=says):
        load(memory, tmp_path, data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
@example(b"\xff" * 200, 32)
def test_anything_else_is_an_error_of_the_users(tmp_path_factory, data, at):
    """No traceback, whatever is overwritten."""
    memory = GuestMemory(4 << 20)
    try:
        good = with_note(PVH_NOTE)
        load(memory, tmp_path_factory.getbasetemp(), good[:4 + at] + data + good[4 + at + len(data):])
    except UserError:
        pass
    finally:
        memory.close()
