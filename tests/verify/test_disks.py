"""Disks that fail where they are told to, and halves that make the same of it."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vmm.devices.blk import BlkDevice
from vmm.devmodel.devices.blk import Status
from vmm.errors import UserError
from vmm.verify import NotInStep, campaign, verify
from vmm.verify.disks.faulty import FaultyDisks, why_not
from vmm.verify.strategies import ours
from vmm.verify.strategies.blk import BlkInFlightGuest

DATA = bytes(range(256)) * 32       # 16 sectors

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def disks():
    made = FaultyDisks()
    yield made
    made.close()


@pytest.fixture
def disk(disks, tmp_path):
    """A disk, and its file opened as a device has it."""
    backing = tmp_path / "image"
    backing.write_bytes(DATA)
    made = disks.add(backing)
    made.fd = os.open(made.path, os.O_RDWR)
    yield made
    os.close(made.fd)


def test_a_sound_one_has_what_is_behind_it(disk, tmp_path):
    assert os.pread(disk.fd, 1 << 20, 0) == DATA and os.lseek(disk.fd, 0, os.SEEK_END) == len(DATA)
    assert os.pwrite(disk.fd, b"new", 600) == 3
    os.fdatasync(disk.fd)
    assert (tmp_path / "image").read_bytes()[598:605] == DATA[598:600] + b"new" + DATA[603:605]


def test_a_read_stops_before_what_cannot_be_read(disk):
    disk.fail("read", 512, 512, "EIO")
    assert os.pread(disk.fd, 4096, 0) == DATA[:512]
    assert os.pread(disk.fd, 512, 1024) == DATA[1024:1536]
    with pytest.raises(OSError) as error:
        os.pread(disk.fd, 512, 1023)
    assert error.value.errno == errno.EIO
    assert os.pwrite(disk.fd, b"x" * 4096, 0) == 4096       # reads alone
    disk.mend()
    assert os.pread(disk.fd, 4096, 0) == b"x" * 4096


def test_a_full_disk_takes_what_there_is_room_for(disk):
    disk.fail("write", 1024, 512, "ENOSPC")
    assert os.pwrite(disk.fd, b"y" * 2048, 512) == 512
    with pytest.raises(OSError) as error:
        os.pwrite(disk.fd, b"z" * 512, 1024)
    assert error.value.errno == errno.ENOSPC and os.pread(disk.fd, 1024, 512) == b"y" * 512 + DATA[1024:1536]


def test_a_short_one_can_go_on(disk):
    disk.fail("read", 700, 1, "short")
    assert os.pread(disk.fd, 1024, 0) == DATA[:700] and os.pread(disk.fd, 324, 700) == DATA[700:1024]


@pytest.mark.parametrize("durable", [False, True])
def test_a_flush_that_fails(disk, durable):
    disk.fail("flush", 0, 0, "EIO")
    with pytest.raises(OSError) as error:
        if durable:
            os.pwritev(disk.fd, [b"w" * 512], 0, os.RWF_DSYNC)
        else:
            os.fdatasync(disk.fd)
    assert error.value.errno == errno.EIO and os.pread(disk.fd, 512, 0) == (b"w" * 512 if durable else DATA[:512])


def test_a_late_one_is_overtaken(disk):
    disk.fail("read", 0, 512, "late")
    order = []

    def read(sector):
        os.pread(disk.fd, 512, 512 * sector)
        order.append(sector)
    first = threading.Thread(target=read, args=[0])
    first.start()
    while first.is_alive():
        read(1)
    first.join()
    assert order[0] == 1 and 0 in order


def test_nothing_is_left_of_it(tmp_path):
    """However it ends: mounts are the file system's own, and it ends with whoever started it."""
    mounts = Path("/proc/self/mounts").read_text()
    program = """
import os, signal, sys
from vmm.verify.disks.faulty import FaultyDisks
disks = FaultyDisks()
print(disks._process.pid, flush=True)
{end}
"""
    for end in ("", "os.kill(os.getpid(), signal.SIGKILL)"):
        done = subprocess.run([sys.executable, "-c", program.format(end=end)], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "TMPDIR": str(tmp_path)})      # others have disks meanwhile
        pid = int(done.stdout)
        for _ in range(500):
            if not Path(f"/proc/{pid}").exists():
                break
            threading.Event().wait(0.01)
        assert not Path(f"/proc/{pid}").exists()
        left = list(tmp_path.iterdir())
        assert Path("/proc/self/mounts").read_text() == mounts and (end or not left)
        assert end == "" or [folder.name[:15] for folder in left] == ["splitvmm-disks-"]


def test_what_cannot_go_wrong_is_refused(disk):
    for operation, result in (("read", "ENOSPC"), ("flush", "short"), ("discard", "EIO")):
        with pytest.raises(ValueError, match=f"{operation} {result}; wanted one of"):
            disk.fail(operation, 0, 512, result)


def test_one_that_is_gone_says_so(tmp_path):
    disks, backing = FaultyDisks(), tmp_path / "image"
    backing.write_bytes(DATA)
    disks._process.kill()
    disks._process.wait()
    with pytest.raises(UserError, match="disk=faulty: a file system by FUSE"):
        disks.add(backing)


@pytest.mark.parametrize("fault", ["redo", "flush"])
def test_what_goes_wrong_below_is_compared(ring, monkeypatch, fault):
    """A half that takes what failed for done is found."""
    monkeypatch.setattr(campaign, "SHRINK_S", 1)
    monkeypatch.setattr(BlkInFlightGuest, "patience_s", 0.2)
    if fault == "redo":
        monkeypatch.setattr(BlkDevice, "redo", lambda self, queue, tag, parts: (
            self._finish(queue, tag, Status.OK, 1), 0)[1])
    else:
        def came_back(self, queue, tag, result):
            self._finish(queue, tag, Status.OK, (tag.written if tag.buffers else 0) + 1)
            return 1, tag.wanted
        monkeypatch.setattr(BlkDevice, "came_back", came_back)
    with pytest.raises(NotInStep):
        verify(ours()["blk"](), ["off", "host"], None, 20000, 1, disk="faulty", **{"async": "on"})
