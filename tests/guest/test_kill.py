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


@pytest.mark.parametrize("cache", ["writeback", "none", "writethrough"])
def test_killed(tmp_path, mode, ring, cache):
    """`w N` must be in the file even without a flush: with `writeback` it is in the page cache, which
    outlives the process; the other modes do not even need that.  `f N` must be, too."""
    chance, told = random.Random(f"{mode}{cache}"), []
    for round_ in range(ROUNDS):
        image, serial = tmp_path / f"disk{round_}", tmp_path / f"serial{round_}"
        image.write_bytes(bytes(SECTORS * 512))
        try:
            DiskImage(image, cache=cache).close()
        except DiskError as error:
            pytest.skip(f"no O_DIRECT here: {error}")
        process = subprocess.Popen([SPLITVMM, "run", BUILD / "log.elf", "--mem", "32M", "--serial", f"file={serial}",
                                    "--disk", f"path={image},offload={mode},cache={cache},async=on",
                                    "--cmdline", f"sectors={SECTORS}"], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not serial.exists() or b"w" not in serial.read_bytes():
            assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        written, flushed = (max([0, *map(int, re.findall(rf"^{kind} (\d+)\n", serial.read_text(), re.MULTILINE))])
                            for kind in "wf")
        data = image.read_bytes()
        for n in range(max(written, flushed)):
            assert data[n * 512:n * 512 + 512] == (n + 1).to_bytes(8, "little") * 64, f"record {n} of {written}"
        told.append(written)
    assert all(told)
