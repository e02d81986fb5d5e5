"""A disk on a file system that is frozen for a while, with requests, flushes and a reset in flight."""

import fcntl
import os
import subprocess
import threading
import time

import pytest

from tests.guest.test_guests import TIMEOUT_S, run
from vmm.machine.config import DiskConfig
from vmm.machine.stats import device_totals

FIFREEZE, FITHAW = 0xc0045877, 0xc0045878      # linux/fs.h
COMMAND = 0x20000       # guest-physical
GO_ON, RESTART, FINISH = 0, 1, 2        # as many.h has them
FROZEN_S = 1.5      # longer than any hand-over that need not wait
FILE_SYSTEM_BYTES, IMAGE_BYTES = 64 << 20, 2 << 20


class FileSystem:
    """An ext4 of our own, mounted; `frozen` while it takes no writes."""

    def __init__(self, folder):
        self.path, self._image, self._fd, self.frozen = folder / "mounted", folder / "file-system", -1, False
        self.path.mkdir()
        with open(self._image, "wb") as file:
            file.truncate(FILE_SYSTEM_BYTES)

    def mount(self) -> str:
        """Why it cannot be, or nothing."""
        for command in (["mkfs.ext4", "-q", self._image], ["mount", "-o", "loop", self._image, self.path]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                return f"{command[0]}: {done.stderr.strip()}"
        self._fd = os.open(self.path, os.O_RDONLY)
        return ""

    def freeze(self) -> None:
        fcntl.ioctl(self._fd, FIFREEZE, 0)
        self.frozen = True

    def thaw(self) -> None:
        fcntl.ioctl(self._fd, FITHAW, 0)
        self.frozen = False

    def close(self) -> None:
        if self._fd >= 0:
            if self.frozen:
                self.thaw()
            os.close(self._fd)
            subprocess.run(["umount", self.path], check=True)


@pytest.fixture
def file_system(tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root to mount a file system")
    made = FileSystem(tmp_path)
    if reason := made.mount():
        pytest.skip(reason)
    yield made
    made.close()


def served(machine) -> int:
    totals = device_totals(machine.devices[0])
    return totals["handled"] + totals["user_handled"]


def wait_until(machine, what: str, happened) -> None:
    """Looks again and again; a guest that has ended, or a time out of all reason, fails the test."""
    deadline = time.monotonic() + TIMEOUT_S
    while not happened():
        assert machine.status is None, f"the guest ended while {what} was waited for"
        assert time.monotonic() < deadline, f"{what} has not happened in {TIMEOUT_S} s"
        time.sleep(0.01)


def command(machine) -> int:
    return int.from_bytes(machine.memory.read(COMMAND, 4), "little")


@pytest.mark.parametrize("cache, change", [("writeback", "reset"), ("none", "toggle")])
def test_frozen_disk(tmp_path, mode, ring, file_system, cache, change):
    """What was in flight is done when the file system thaws, and then what came meanwhile: the driver
    resets the device, or the device changes hands.  The guest goes on afterwards."""
    image = file_system.path / "disk"
    image.write_bytes(bytes(IMAGE_BYTES))
    other = "host" if mode == "off" else "off"

    def freeze(machine):
        device = machine.devices[0]
        toggle = threading.Thread(target=lambda: machine.set_offload(device, other))
        wait_until(machine, "service", lambda: served(machine) > 100)
        file_system.freeze()
        time.sleep(FROZEN_S / 2)
        stuck = served(machine)
        if change == "reset":
            machine.memory.write(COMMAND, RESTART.to_bytes(4, "little"))
        else:
            toggle.start()
        time.sleep(FROZEN_S / 2)
        assert machine.status is None and served(machine) == stuck
        file_system.thaw()
        if change == "reset":
            wait_until(machine, "the reset", lambda: command(machine) == GO_ON)
        else:
            toggle.join(TIMEOUT_S)
            assert device.mode == other
        before = served(machine)
        wait_until(machine, "service", lambda: served(machine) > before + 100)
        machine.memory.write(COMMAND, FINISH.to_bytes(4, "little"))
    status, text, _ = run(tmp_path, "many.elf", [DiskConfig(image, offload=mode, cache=cache)],
                          f"depth=32 event=1 command={COMMAND:#x}", during=freeze)
    assert status == 0 and "passed" in text, text
    assert text.count("restarted") == (change == "reset")
