"""Kernels by Multiboot: what their headers say, where all goes, and what the kernel is given."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.boot import boot, loading, multiboot
from vmm.errors import UserError
from vmm.kvm.addresses import ACPI_TABLES, CONVENTIONAL_END, MIB
from vmm.kvm.memory import GuestMemory

CODE_AT, CODE = 0x1000, b"\xf4\xeb\xfd" * 8
PVH_NOTE = struct.pack("<III", 4, 8, 18) + b"Xen\0" + struct.pack("<Q", 0x100004)


def header(flags=0, addresses=(), checksum=None):
    checksum = -(multiboot.MAGIC + flags) & 0xffffffff if checksum is None else checksum
    return struct.pack(f"<{3 + len(addresses)}I", multiboot.MAGIC, flags, checksum, *addresses)


def elf(segments, head=b"", head_at=0x400, entry=0x100000, bits=32, note=b""):
    """`segments` of (virtual address, physical address, bytes in memory), all of the same CODE."""
    headers, size, ident = [], (32 if bits == 32 else 56), (52 if bits == 32 else 64)
    for virtual, physical, in_memory in segments:
        fields = CODE_AT, virtual, physical, len(CODE), in_memory
        headers.append(struct.pack("<8I", 1, *fields, 7, 4096) if bits == 32 else
                       struct.pack("<II6Q", 1, 7, *fields, 4096))
    if note:
        at = CODE_AT + len(CODE)
        headers.append(struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(note), len(note), 4))
    first = struct.pack("<4sBBB9xHHI", b"\x7fELF", bits // 32, 1, 1, 2, 3 if bits == 32 else 62, 1)
    first += struct.pack("<IIIIHHHHHH" if bits == 32 else "<QQQIHHHHHH", entry, ident, 0, 0, ident, size, len(headers),
                         40, 0, 0)
    data = bytearray((first + b"".join(headers)).ljust(CODE_AT, b"\0") + CODE + note)
    data[head_at:head_at + len(head)] = head
    return bytes(data)


@pytest.fixture
def memory():
    memory = GuestMemory(4 << 20)
    yield memory
    memory.close()


def load(memory, folder, data, command_line="", modules=()):
    path = folder / "kernel"
    path.write_bytes(data)
    return boot.load(memory, path, command_line, list(modules), None)


class Information:
    """The structure, as a kernel reads it."""

    def __init__(self, memory, at):
        self.memory = memory
        words = struct.unpack("<29I", memory.read(at, 116))
        self.flags, self.lower, self.upper, _, self._command_line, self.count, self._modules = words[:7]
        self._map_bytes, self._map, self._loader = words[11], words[12], words[16]

    def string(self, at):
        return self.memory.read(at, 200).split(b"\0")[0].decode()

    @property
    def command_line(self):
        return self.string(self._command_line)

    @property
    def loader(self):
        return self.string(self._loader)

    @property
    def modules(self):
        rows = [struct.unpack("<4I", self.memory.read(self._modules + 16 * i, 16)) for i in range(self.count)]
        return [(start, end, self.string(text)) for start, end, text, _ in rows]

    @property
    def map(self):
        at, end, found = self._map, self._map + self._map_bytes, []
        while at < end:
            size, *entry = struct.unpack("<IQQI", self.memory.read(at, 24))
            found.append(tuple(entry))
            at += size + 4
        return found


def test_an_elf_and_what_it_is_given(memory, tmp_path):
    modules = []
    for i, size in enumerate((5000, 0, 1)):
        modules.append(tmp_path / f"module{i}")
        modules[-1].write_bytes(bytes([i + 1]) * size)
    memory.write(0x100000, b"\xff" * 0x3000)
    entry = load(memory, tmp_path, elf([(0x100000, 0x100000, 0x2000)], header(3)), "a=1 b=2", modules)
    assert (entry.mode, entry.address) == ("multiboot", 0x100000)
    assert memory.read(0x100000, 0x2001) == CODE.ljust(0x2000, b"\0") + b"\xff"
    found = Information(memory, entry.info)
    assert found.flags == 0b1001001101
    assert (found.lower, found.upper) == (639, 3 * 1024)
    assert found.map == loading.memory_map(memory)
    assert (found.command_line, found.loader) == ("kernel a=1 b=2", "splitvmm")
    for (start, end, text), path in zip(found.modules, modules, strict=True):
        assert start % 4096 == 0 and memory.read(start, end - start) == path.read_bytes() and text == path.name


def test_a_kernel_alone(memory, tmp_path):
    entry = load(memory, tmp_path, elf([(0x100000, 0x100000, 0x2000)], header()))
    found = Information(memory, entry.info)
    assert (found.command_line, found.modules) == ("kernel", [])


def test_the_entry_is_a_virtual_address(memory, tmp_path):
    data = elf([(0xc0000000, 0x100000, 0x2000)], header(), entry=0xc0000004)
    assert load(memory, tmp_path, data).address == 0x100004


@pytest.mark.parametrize("at, table", [(0, 0x9f000), (0x500, 0x9f000), (0x8000, 0x9f000), (0x9eff0, 0x9e000)])
def test_low_memory_is_the_kernels(memory, tmp_path, at, table):
    """Nothing of ours lies in what it takes, wherever that is."""
    entry = load(memory, tmp_path, elf([(at, at, 0xc00)], header(), entry=at))
    assert memory.read(at, 0xc00) == CODE.ljust(0xc00, b"\0")
    assert (entry.table, entry.info) == (table, table + boot.GDT_BYTES)


def test_where_low_memory_is_full(memory, tmp_path):
    entry = load(memory, tmp_path, elf([(0, 0, CONVENTIONAL_END), (0x3ff000, 0x3ff000, 0x1000)], header(), entry=0))
    assert entry.table == 0x3fe000


def test_no_room(memory, tmp_path):
    data = elf([(0, 0, CONVENTIONAL_END), (MIB, MIB, 3 * MIB)], header(), entry=0)
    with pytest.raises(loading.BootError, match="leaves no room for Multiboot's information"):
        load(memory, tmp_path, data)


# which format it is

@pytest.mark.parametrize("bits, note, head, mode", [
    (64, PVH_NOTE, header(), "pvh"), (64, b"", header(), "multiboot"), (64, b"", b"", "long"),
    (32, b"", header(), "multiboot"),
    (64, b"", header(checksum=1), "long")])
def test_which_format(memory, tmp_path, bits, note, head, mode):
    assert load(memory, tmp_path, elf([(0x100000, 0x100000, 0x2000)], head, bits=bits, note=note)).mode == mode


@pytest.mark.parametrize("head, at, found", [
    (header(), 0, True), (header(), 8180, True), (header(), 8184, False), (header(), 2, False), (header(), 8192, False),
    (header(1 << 16, (0,) * 5), 8160, True), (header(1 << 16, (0,) * 5), 8164, False), (header(), 4, True)])
def test_where_a_header_is_looked_for(head, at, found):
    """In the first 8192 bytes, whole, at a multiple of 4."""
    assert bool(multiboot.find(bytes(at) + head + bytes(100))) is found


def test_a_magic_number_alone_hides_no_header():
    magic = multiboot.MAGIC.to_bytes(4, "little")
    assert multiboot.find(magic * 3 + b"\0" + magic + bytes(3) + header()).at == 20


# the addresses of a header

def image(addresses, before=16, after=b"code"):
    return bytes(before) + header(1 << 16, addresses) + after


@pytest.mark.parametrize("file_at, load_end, bss_end, taken", [
    (16, 0, 0, 36), (16, 0x100024, 0, 36), (0, 0, 0, 52), (16, 0x100022, 0x100030, 34), (0, 0, 0x101000, 52)])
def test_a_flat_kernel(memory, tmp_path, file_at, load_end, bss_end, taken):
    memory.write(0x100000, b"\xff" * 0x2000)
    data = image((0x100000 + 16 - file_at, 0x100000, load_end, bss_end, 0x100020))
    entry = load(memory, tmp_path, data)
    assert (entry.mode, entry.address) == ("multiboot", 0x100020)
    end = bss_end or 0x100000 + taken
    assert memory.read(0x100000, end - 0x100000 + 1) == data[file_at:file_at + taken].ljust(
        end - 0x100000, b"\0") + b"\xff"


def test_addresses_come_before_segments(memory, tmp_path):
    head = header(1 << 16, (0x200400, 0x200000, 0, 0, 0x200500))
    data = elf([(0x100000, 0x100000, 0x2000)], head)
    assert load(memory, tmp_path, data).address == 0x200500
    assert memory.read(0x200000, len(data)) == data and memory.read(0x100000, 16) == bytes(16)


@pytest.mark.parametrize("data, says", [
    (elf([(0x100000, 0x100000, 0x2000)], header(4)), "wants 0x4 of the loader"),
    (elf([(0x100000, 0x100000, 0x2000)], header(1 << 15)), "wants 0x8000 of the loader"),
    (elf([(ACPI_TABLES, ACPI_TABLES, 0x100)], header()), "not over firmware's tables"),
    (elf([(8 << 20, 8 << 20, 0x100)], header()), "wanted a run inside 4 MiB"),
    (elf([], header()), "nothing to load"),
    (elf([(0x100000, 0x100000, 0x2000)]), "32-bit, without a PVH note or a Multiboot header"),
    (header() + bytes(64), "a Multiboot header with addresses"),
    (image((0x100000, 0x100010, 0, 0, 0)), "wanted them inside the file"),
    (image((0x100011, 0x100000, 0, 0, 0)), "wanted them inside the file"),
    (image((0x100000, 0x100000, 0x100100, 0, 0)), "wanted them inside the file"),
    (image((0x100000, 0x100000, 0xfffff, 0, 0)), "wanted them inside the file"),
    (image((0x100000, 0x100000, 0, 0x100001, 0)), "wanted 0x100024"),
    (image((0x100000, 0x100000, 0, 0xffffffff, 0)), "wanted a run inside 4 MiB"),
    (image((0xfffffff0, 0xfffffff0, 0, 0, 0)), "wanted a run inside 4 MiB"),
    (image((0xdfff0, 0xdfff0, 0, 0, 0)), "not over firmware's tables"),
])
def test_refused(memory, tmp_path, data, says):
    with pytest.raises(loading.BootError, match=says):
        load(memory, tmp_path, data)


def test_modules_do_not_go_below_1_mib(tmp_path):
    memory, module = GuestMemory(MIB), tmp_path / "module"
    module.write_bytes(b"x")
    with pytest.raises(loading.BootError, match="do not fit"):
        load(memory, tmp_path, elf([(0x8000, 0x8000, 0x1000)], header(), entry=0x8000), modules=[module])
    memory.close()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 0x1ffff), st.lists(st.integers(0, 0xffffffff), min_size=5, max_size=5))
def test_whatever_a_header_says(tmp_path_factory, flags, addresses):
    """It is loaded, or refused by an error of the user's."""
    memory = GuestMemory(4 << 20)
    try:
        load(memory, tmp_path_factory.getbasetemp(), image(tuple(addresses)) if flags & 1 << 16 else elf(
            [(addresses[0], addresses[1], addresses[2] & 0xfffff)], header(flags), entry=addresses[3]))
    except UserError:
        pass
    finally:
        memory.close()


@given(st.integers(1, 0x9000), st.lists(st.tuples(st.integers(0, 4 * MIB), st.integers(1, MIB)), max_size=8))
def test_a_free_place_is_free(size, runs):
    taken = [(start, start + length) for start, length in runs]
    at = multiboot.free_place(size, taken, 4 * MIB)
    if at is not None:
        assert 0x1000 <= at and (at + size <= CONVENTIONAL_END or (MIB <= at and at + size <= 4 * MIB))
        assert not any(start < at + size and at < end for start, end in taken)
