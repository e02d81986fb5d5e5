"""Guests' files: whatever is in one, and however long it says or seems to be, it is loaded or refused in a moment."""

import os
import struct
import tracemalloc
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm.boot import boot
from vmm.boot.elf import HEADERS_MOST
from vmm.errors import UserError
from vmm.firmware import rom
from vmm.kvm.memory import GuestMemory

MEMORY = 4 << 20                    # bytes of the guest's
MOST_MEMORY = 16 << 20              # bytes that loading may take beside it
SPARSE = 200 << 30                  # bytes of a file that has none on the disk
CODE_AT, LOADED_AT = 0x1000, 0x100000
LOAD, NOTE = 1, 4
WORD = st.one_of(st.sampled_from([0, 1, 4, 0xfff, 0x1000, 0x100000, MEMORY - 1, MEMORY, 1 << 31, (1 << 32) - 1, 1 << 63,
                                  (1 << 64) - 1]), st.integers(0, (1 << 64) - 1))
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))


def elf(segments, machine=62, entry=LOADED_AT, count=None, size=56) -> bytes:
    """A 64-bit ELF of segments: (type, offset, physical address, bytes in the file, bytes in memory)."""
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, size, len(segments) if count is None else count, 64, 0, 0)
    table = b"".join(struct.pack("<IIQQQQQQ", kind, 7, offset, address, address, length, room, 4096)
                     for kind, offset, address, length, room in segments)
    return (head + table).ljust(CODE_AT, b"\0") + b"\x90" * 64


def loaded(folder, data, command_line="", sparse=False):
    """Load it, or be refused, with little memory."""
    path = folder / "guest"
    path.write_bytes(data)
    if sparse:
        os.truncate(path, SPARSE)
    with closing(GuestMemory(MEMORY)) as memory:
        tracemalloc.start()
        try:
            return boot.load(memory, path, command_line, [], None)
        except UserError as error:
            assert "wanted" in str(error)
            return error
        finally:
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
            tracemalloc.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


@QUICK
@given(st.lists(st.tuples(st.sampled_from([LOAD, LOAD, NOTE, 2]), WORD, WORD, WORD, WORD), max_size=4),
       st.sampled_from([62, 3, 40]), WORD, st.booleans())
def test_segments_of_any_kind(folder, segments, machine, entry, sparse):
    loaded(folder, elf(segments, machine, entry), sparse=sparse)


@QUICK
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from([18, 0, 1]), st.binary(max_size=12)),
                max_size=4), st.integers(0, 80))
def test_notes_of_any_kind(folder, notes, cut):
    """Names and descriptors that are shorter and longer than they say."""
    data = b"".join(struct.pack("<III", name, length, kind) + b"Xen\0" + rest for name, length, kind, rest in notes)
    whole = elf([(LOAD, CODE_AT, LOADED_AT, 64, 64), (NOTE, CODE_AT + 64, 0, max(0, len(data) - cut), 0)]) + data
    loaded(folder, whole)


def test_notes_as_long_as_a_disk(folder):
    found = loaded(folder, elf([(LOAD, CODE_AT, LOADED_AT, 64, 64), (NOTE, CODE_AT, 0, SPARSE // 2, 0)]), sparse=True)
    assert found.mode == "long"


def test_program_headers_as_long_as_a_disk(folder):
    found = loaded(folder, elf([], count=0xfffe, size=0xffff), sparse=True)
    assert f"65534 program headers of 65535 bytes, more than {HEADERS_MOST} in all" in str(found)


def test_segments_over_each_other(folder):
    """A thousand that have all of memory cleared."""
    segments = [(LOAD, 0, LOADED_AT, 0, MEMORY - LOADED_AT)] * 1000
    assert "segments of more bytes than RAM has, 0x400000" in str(loaded(folder, elf(segments)))


def test_bzimage_as_long_as_a_disk(folder):
    head = bytearray(0x2000)
    head[0x202:0x208] = b"HdrS" + struct.pack("<H", 0x20f)
    head[0x211], head[0x236] = 1, 1
    assert "needs memory up to" in str(loaded(folder, bytes(head), sparse=True))


@pytest.mark.parametrize("where", ["module", "initrd", "flat", "firmware"])
@pytest.mark.parametrize("what", ["sparse", "/dev/zero", "pipe"])
def test_what_does_not_end(tmp_path, where, what):
    """A file larger than memory, a device that goes on for ever, and a pipe that nobody writes to."""
    path, guest = tmp_path / "it", tmp_path / "guest"
    guest.write_bytes(elf([(LOAD, CODE_AT, LOADED_AT, 64, 64)]))
    if what == "sparse":
        path.touch()
        os.truncate(path, SPARSE)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(what)
    with closing(GuestMemory(MEMORY)) as memory:
        def load():
            if where == "firmware":
                rom.read(path)
            elif where == "flat":
                boot.load(memory, path, "", [], 0x1000)
            else:
                boot.load(memory, guest, "", [path], None, where)
        if what == "pipe" and where != "firmware":
            load()      # it is empty
            return
        with pytest.raises(UserError, match="it: (File too large|0 bytes); wanted"):
            load()


def test_a_pipe_is_no_guest(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with closing(GuestMemory(MEMORY)) as memory, pytest.raises(UserError, match="seekable.*; wanted a guest to boot"):
        boot.load(memory, tmp_path / "pipe", "", [], None)


@QUICK
@given(st.one_of(st.text(max_size=80), st.binary(max_size=80)).map(lambda given: os.fsdecode(os.fsencode(given))))
def test_command_lines_of_any_bytes(folder, text):
    """Those of an argument that is no text, too."""
    with closing(GuestMemory(MEMORY)) as memory:
        (folder / "guest").write_bytes(elf([(LOAD, CODE_AT, LOADED_AT, 64, 64)]))
        boot.load(memory, folder / "guest", text, [], None)
        assert memory.read(boot.COMMAND_LINE, len(os.fsencode(text)) + 1) == os.fsencode(text) + b"\0"
