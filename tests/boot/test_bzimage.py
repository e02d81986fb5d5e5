"""Linux's boot protocol, with an image of nothing but a header and a few bytes of code."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.boot import boot, bzimage, loading
from vmm.errors import UserError
from vmm.kvm.addresses import ACPI_TABLES, MIB
from vmm.kvm.memory import GuestMemory

CODE = b"\xf4\xeb\xfd" * 100


def image(version=0x20f, loadflags=1, xloadflags=1, preferred=2 * MIB, room=MIB, sectors=3):
    data = bytearray(512 * (sectors + 1))
    data[0x1f1], data[0x201], data[0x211] = sectors, 0x66, loadflags
    data[0x202:0x206] = b"HdrS"
    for form, at, value in (("<H", 0x206, version), ("<H", 0x236, xloadflags), ("<I", 0x22c, 0x7fffffff),
                            ("<I", 0x238, 2047), ("<Q", 0x258, preferred), ("<I", 0x260, room)):
        struct.pack_into(form, data, at, value)
    return bytes(data) + CODE


@pytest.fixture
def memory():
    memory = GuestMemory(8 << 20)
    yield memory
    memory.close()


def load(memory, tmp_path, data, command_line="", modules=()):
    path = tmp_path / "vmlinuz"
    path.write_bytes(data)
    return boot.load(memory, path, command_line, list(modules), None)


def test_loaded(memory, tmp_path):
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"\7" * 5000)
    entry = load(memory, tmp_path, image(), "console=ttyS0", [initrd])
    assert (entry.mode, entry.address) == ("linux", MIB + 0x200)
    assert memory.read(MIB, len(CODE)) == CODE
    page = memory.read(boot.PARAMETERS, 4096)
    at, size, command_line = struct.unpack_from("<II8xI", page, 0x218)
    assert page[0x210] == 0xff and size == 5000 and memory.read(at, 5000) == initrd.read_bytes()
    assert at % 4096 == 0 and 3 * MIB <= at
    assert memory.read(command_line, 14) == b"console=ttyS0\0"
    assert struct.unpack_from("<Q", page, 0x70) == (ACPI_TABLES,)
    entries = [struct.unpack_from("<QQI", page, 0x2d0 + 20 * i) for i in range(page[0x1e8])]
    assert (MIB, 7 * MIB, loading.RAM) in entries


def test_before_the_rsdp_had_a_field(memory, tmp_path):
    """Protocol 2.12 has the 64-bit entry, and other things where 2.14 has the RSDP's address."""
    assert load(memory, tmp_path, image(version=0x20c)).mode == "linux"
    assert struct.unpack_from("<Q", memory.read(boot.PARAMETERS, 4096), 0x70) == (0,)


@pytest.mark.parametrize("data, says", [
    (image(version=0x20b), "boot protocol 2.11; wanted 2.12"), (image(xloadflags=0), "no 64-bit entry"),
    (image(loadflags=0), "no 64-bit entry"), (image(room=7 * MIB), "memory up to 9 MiB"),
    (image(sectors=1)[:0x230], "560 bytes; wanted a whole"), (image()[:0x300], "in its setup code"),
    (image() + bytes(8 * MIB), "more than 8 MiB")])
def test_refused(memory, tmp_path, data, says):
    with pytest.raises(bzimage.BadImage, match=says):
        load(memory, tmp_path, data)


def test_one_initrd(memory, tmp_path):
    with pytest.raises(loading.BootError, match="2 modules"):
        load(memory, tmp_path, image(), modules=[tmp_path / "a", tmp_path / "b"])


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=0x206, max_size=3000))
def test_anything_else_is_an_error_of_the_users(tmp_path_factory, data):
    """No traceback, whatever follows the magic."""
    memory = GuestMemory(4 << 20)
    try:
        data = data[:0x202] + b"HdrS" + data[0x206:]
        load(memory, tmp_path_factory.getbasetemp(), data)
    except UserError:
        pass
    finally:
        memory.close()
