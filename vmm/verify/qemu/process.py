"""QEMU's process: a machine with one virtio device and RAM that we map, whose only CPU stands still.

Debian leaves the accelerator `qtest` out of its QEMU; the protocol of that name works with any.  So the CPU is
emulated, and finds firmware of ours that halts it.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from ...errors import UserError
from ...kvm.memory import GuestMemory
from .qtest import QemuGone, Qtest

PROGRAM = "qemu-system-x86_64"
TRIED = "7.2"               # whose differences from ours are known
START_S = 30.0
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")       # util-linux
FIRMWARE_BYTES = 64 << 10
RESET_VECTOR = FIRMWARE_BYTES - 16
HALT = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the hlt
MACHINE = "microvm,memory-backend=ram,acpi=on,pcie=on,rtc=off,pit=off,pic=off,isa-serial=off,ioapic2=off"


def version() -> str:
    """Of the QEMU that is installed, "7.2" say.  Raises UserError where there is none."""
    if not shutil.which(PROGRAM):
        raise UserError(f"{PROGRAM}: not found; wanted QEMU {TRIED} (Debian: qemu-system-x86)")
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+\.\d+)", said)
    if not found:
        raise UserError(f"{PROGRAM} --version: {said!r}; wanted a version")
    return found[1]


class Qemu:
    """`device` are the arguments that make the device, and `fds` what it is given for that.  `folder` is for its files;
    `memory` becomes its RAM."""

    def __init__(self, device: list[str], fds: list[int], memory: GuestMemory, folder: Path):
        self._said = 0
        self._errors = folder / "stderr"
        with ExitStack() as stack:
            self._process = self._start(device, fds, memory, folder, stack)
            self.qtest = Qtest(self._accept())
            stack.pop_all()
        try:
            self.qtest.intercept("ioapic")
        except BaseException:
            self.close()
            raise

    def _start(self, device: list[str], fds: list[int], memory: GuestMemory, folder: Path,
               stack: ExitStack) -> subprocess.Popen:
        firmware = folder / "firmware"
        firmware.write_bytes(bytes(RESET_VECTOR) + HALT.ljust(16, b"\0"))
        self._listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(folder / "qtest"))
        self._listener.listen(1)
        fd = memory.region.fds[0]
        with self._errors.open("wb") as errors:
            return subprocess.Popen([
                *ENDS_WITH_US, PROGRAM, "-accel", "tcg", "-machine", MACHINE, "-nodefaults", "-display", "none",
                "-bios", firmware, "-m", f"{memory.size >> 20}M",
                "-qtest", f"unix:{folder / 'qtest'}", "-qtest-log", "/dev/null",
                "-object", f"memory-backend-file,id=ram,size={memory.size},mem-path=/proc/self/fd/{fd},share=on",
                *device], pass_fds=[fd, *fds], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)

    def _accept(self) -> socket.socket:
        """QEMU's connection, or the reason why there is none.  Raises QemuGone."""
        self._listener.settimeout(0.05)
        try:
            for _ in range(int(START_S / 0.05)):
                try:
                    return self._listener.accept()[0]
                except TimeoutError:
                    if self._process.poll() is not None:
                        break
            raise QemuGone(f"{PROGRAM}: {self.said() or 'no answer'}")
        except BaseException:
            self.end()
            raise
        finally:
            self._listener.close()

    def said(self) -> str:
        """What it wrote to its standard error since the last call, without its own name."""
        with self._errors.open() as errors:
            errors.seek(self._said)
            text = errors.read()
            self._said = errors.tell()
        return text.strip().replace(f"{PROGRAM}: ", "")

    def how_it_ended(self) -> str:
        """For one that is gone: its exit status and its last words."""
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "it does not answer"
        return f"exit status {status}: {self.said()}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.qtest.close()
        self.end()
