"""Kernels that were compressed as a whole."""

import bz2
import gzip
import lzma
from importlib.util import find_spec

import pytest

from vmm.boot import boot, compressed
from vmm.boot.compressed import BadFile
from vmm.kvm.memory import GuestMemory
from vmm.paths import BUILD


@pytest.fixture
def memory():
    memory = GuestMemory(8 << 20)
    yield memory
    memory.close()


def load(memory, folder, data):
    path = folder / "vmlinux.compressed"
    path.write_bytes(data)
    return boot.load(memory, path, "", [], None)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_unpacked(memory, tmp_path, compress):
    plain = boot.load(memory, BUILD / "check.elf", "", [], None)
    at = plain.address & ~0xfff
    code = memory.read(at, 4096)
    memory.write(at, bytes(4096))
    assert load(memory, tmp_path, compress((BUILD / "check.elf").read_bytes())) == plain
    assert memory.read(at, 4096) == code


@pytest.mark.parametrize("damage", [lambda data: data[:len(data) // 2], lambda data: data[:20] + b"\xff" * 40],
                         ids=["cut", "garbage"])
@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_damaged(memory, tmp_path, compress, damage):
    with pytest.raises(BadFile, match="vmlinux.compressed: compressed with .*; wanted it whole"):
        load(memory, tmp_path, damage(compress((BUILD / "check.elf").read_bytes())))


def test_too_much(memory, tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "MOST_BYTES", 1 << 20)
    with pytest.raises(BadFile, match="more than 1 MiB unpacked"):
        load(memory, tmp_path, gzip.compress(bytes((1 << 20) + 1)))


@pytest.mark.parametrize("magic, says", [(b"\x28\xb5\x2f\xfd", "compressed with zstd.*wanted it unpacked: zstd -d"),
                                         (b"\x04\x22\x4d\x18", "compressed with lz4.*wanted it unpacked: lz4 -d")])
def test_what_python_cannot_unpack(memory, tmp_path, magic, says):
    if magic[0] == 0x28 and find_spec("compression"):
        pytest.skip("this Python can")
    with pytest.raises(BadFile, match=says):
        load(memory, tmp_path, magic + bytes(100))
