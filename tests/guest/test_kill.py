"""The VMM is killed at a random moment: what its guest was told is so, on the disk."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scale import scaled
from vmm.devices.disk_image import DiskError, DiskImage
from vmm.paths import BUILD

SPLITVMM = Path(sys.executable).parent / "splitvmm"
SECTORS = 32768
ROUNDS = scaled(4)


def started(folder, name, mode, cache="writeback"):
    """A guest that writes record after record, and says so; where it says that."""
    image, serial = folder / f"disk{name}", folder / f"serial{name}"
    image.write_bytes(bytes(SECTORS * 512))
    process = subprocess.Popen([SPLITVMM, "run", BUILD / "log.elf", "--mem", "32M", "--serial", f"file={serial}",
                                "--disk", f"path={image},offload={mode},cache={cache},async=on",
                                "--cmdline", f"sectors={SECTORS}"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not written(serial):
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.005)
    return process, image, serial


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()


def written(serial, kind="w"):
    """The last record that the guest was told of."""
    said = serial.read_text() if serial.exists() else ""
    return max([0, *map(int, re.findall(rf"^{kind} (\d+)\n", said, re.MULTILINE))])


def is_there(image, records):
    data = image.read_bytes()
    for n in range(records):
        assert data[n * 512:n * 512 + 512] == (n + 1).to_bytes(8, "little") * 64, f"record {n} of {records}"


@pytest.mark.parametrize("cache", ["writeback", "none", "writethrough"])
def test_killed(tmp_path, mode, ring, cache):
    """`w N` must be in the file even without a flush: with `writeback` it is in the page cache, which
    outlives the process; the other modes do not even need that.  `f N` must be, too."""
    chance, told = random.Random(f"{mode}{cache}"), []
    (tmp_path / "probe").write_bytes(bytes(512))
    try:
        DiskImage(tmp_path / "probe", cache=cache).close()
    except DiskError as error:
        pytest.skip(f"no O_DIRECT here: {error}")
    for round_ in range(ROUNDS):
        process, image, serial = started(tmp_path, round_, mode, cache)
        time.sleep(chance.uniform(0, 0.15))
        killed(process)
        told.append(written(serial))
        is_there(image, max(told[-1], written(serial, "f")))
    assert all(told)


def test_killed_beside_another(tmp_path, bpf, ring):
    """Which goes on, though the one that was there first, and made the host's path, is gone; and so are later ones."""
    first, *_ = started(tmp_path, "first", "on")
    survivor, image, serial = started(tmp_path, "survivor", "on")
    killed(first)
    for round_ in range(ROUNDS):
        beside, *_ = started(tmp_path, round_, "on")
        killed(beside)
        before, deadline = written(serial), time.monotonic() + 60
        while written(serial) == before:
            assert survivor.poll() is None and time.monotonic() < deadline, before
            time.sleep(0.005)
    killed(survivor)
    is_there(image, written(serial))
