"""What a guest finds in its memory: start info, memory map, command line, modules."""

import struct

import pytest

from vmm.boot import boot, loading
from vmm.kvm.addresses import ACPI_TABLES, ECAM, HIGH_START, LOW_END
from vmm.kvm.memory import GuestMemory
from vmm.paths import BUILD


@pytest.fixture
def memory():
    memory = GuestMemory(8 << 20)
    yield memory
    memory.close()


def start_info(memory):
    return struct.unpack("<IIIIQQQQII", memory.read(boot.START_INFO, 56))


def test_pvh(memory, tmp_path):
    modules = []
    for i, size in enumerate((5000, 1)):
        modules.append(tmp_path / f"module{i}")
        modules[-1].write_bytes(bytes([i + 1]) * size)
    entry = boot.load(memory, BUILD / "check.elf", "a=1 b=2", modules, None)
    assert entry.mode == "pvh" and 0x100000 <= entry.address < 0x200000
    magic, version, _, count, list_at, command, rsdp, map_at, entries, _ = start_info(memory)
    assert (magic, version, count, rsdp) == (boot.START_MAGIC, 1, 2, ACPI_TABLES)
    assert memory.read(command, 8) == b"a=1 b=2\0"
    found = [struct.unpack("<QQII", memory.read(map_at + 24 * i, 24)) for i in range(entries)]
    assert found == [(0, 0x9fc00, loading.RAM, 0), (ACPI_TABLES, 0x10000, loading.ACPI, 0),
                     (1 << 20, 7 << 20, loading.RAM, 0), (ECAM, 1 << 20, loading.RESERVED, 0)]
    for i, (path, size) in enumerate(zip(modules, (5000, 1), strict=True)):
        at, length, _, _ = struct.unpack("<QQQQ", memory.read(list_at + 32 * i, 32))
        assert at % 4096 == 0 and length == size and memory.read(at, size) == path.read_bytes()


def test_memory_map_has_the_hole():
    memory = GuestMemory(5 << 30)
    boot.load(memory, BUILD / "check.elf", "", [], None)
    map_at, entries = start_info(memory)[7:9]
    ranges = [struct.unpack("<QQII", memory.read(map_at + 24 * i, 24)) for i in range(entries)]
    assert [r[:2] for r in ranges if r[2] == loading.RAM] == [
        (0, 0x9fc00), (1 << 20, LOW_END - (1 << 20)), (HIGH_START, 2 << 30)]
    memory.close()


def test_bss_is_zero(memory):
    memory.write(0x100000, b"\xff" * (1 << 20))
    boot.load(memory, BUILD / "check.elf", "", [], None)
    assert memory.read(0x180000, 4096) in (b"\xff" * 4096, bytes(4096))
    from elftools.elf.elffile import ELFFile
    with open(BUILD / "check.elf", "rb") as file:
        segment = next(s for s in ELFFile(file).iter_segments() if s["p_type"] == "PT_LOAD")
        start, end = segment["p_paddr"] + segment["p_filesz"], segment["p_paddr"] + segment["p_memsz"]
    assert memory.read(start, end - start) == bytes(end - start)


def test_long_mode_tables(memory):
    assert boot.load(memory, BUILD / "long_mode.elf", "", [], None).mode == "long"
    assert struct.unpack("<Q", memory.read(boot.PAGE_TABLES + 0x2000 + 8, 8)) == (0x200083,)


@pytest.mark.parametrize("arguments, says", [
    (dict(command_line="x" * 9000), "command line of 9000 bytes"),
    (dict(modules=["/no/such/module"]), "No such file or directory; wanted the guest's module"),
    (dict(modules=["/no/such/initrd"], what="initrd"), "No such file or directory; wanted the guest's initrd"),
    (dict(modules=[BUILD / "check.elf"] * 400, what="initrd"), "initrd of .* do not fit"),
])
def test_refused(memory, arguments, says):
    from pathlib import Path
    given = {"command_line": "", "modules": [], **arguments}
    with pytest.raises(loading.BootError, match=says):
        boot.load(memory, BUILD / "check.elf", given["command_line"], [Path(m) for m in given["modules"]], None,
                  given.get("what", "module"))
