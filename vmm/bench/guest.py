"""A Linux guest under splitvmm or under QEMU, each a process of its own that is told what to do over
its serial port, and what KVM and the scheduler counted for it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import UserError
from .measure import qemu_microvm

KVM = Path("/sys/kernel/debug/kvm")
TO_USER = ("mmio_exits", "io_exits", "signal_exits")    # arch/x86/kvm/x86.c: what ends KVM_RUN
TIMEOUT_S = 900         # for hangs


@dataclass(frozen=True)
class Counts:
    """Since the guest began.  CPU times are of all threads, vCPUs, and io_uring's threads, in ns."""

    cpu: int = 0
    vcpu: int = 0
    ring: int = 0
    exits: int = 0
    to_user: int = 0

    def since(self, before: Counts) -> Counts:
        return Counts(*(getattr(self, name) - getattr(before, name) for name in (f.name for f in fields(self))))


class LinuxGuest:
    """One guest; a context manager.  `up_ns` is the time that it took to its first process.

    Its initial RAM disk says `guest: up`, then `guest: serving`, and takes a shell command a line,
    answering what that printed and `guest: status N` (tools/nested/guestinit, job `serve`).
    """

    def __init__(self, command: list[str]):
        self._errors = tempfile.TemporaryFile()
        began = time.monotonic_ns()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        self._limit = threading.Timer(TIMEOUT_S, self._process.kill)
        self._limit.start()
        self._last: list[str] = []
        try:
            for line in self._lines():
                if line.startswith("guest: up"):
                    self.up_ns = time.monotonic_ns() - began
                if line == "guest: serving":
                    return
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _lines(self) -> Iterator[str]:
        """What it says, as it says it.  Raises UserError when it ends."""
        for line in self._process.stdout:
            text = line.decode(errors="replace").strip()
            self._last = [*self._last[-9:], text]
            yield text
        self._errors.seek(0)
        raise UserError(f"{self._process.args[0]}: the guest ended with status {self._process.wait()}; it said "
                        f"{self._last} and {self._errors.read()[-500:].decode(errors='replace')!r}")

    def run(self, command: str) -> Iterator[str]:
        """Lines that a command prints, as they come.  Raises UserError when it fails."""
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        for line in self._lines():
            if line.startswith("guest: status "):
                if line != "guest: status 0":
                    raise UserError(f"in the guest, {command}: {line.removeprefix('guest: ')}; it said {self._last}")
                return
            yield line

    def do(self, command: str) -> list[str]:
        return list(self.run(command))

    def counts(self) -> Counts:
        """Raises UserError without debugfs."""
        cpu = {"cpu": 0, "vcpu": 0, "ring": 0}
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            try:
                took, name = int((task / "schedstat").read_text().split()[0]), (task / "comm").read_text()
            except (OSError, IndexError):
                continue        # it has ended meanwhile
            cpu["cpu"] += took
            if name.startswith("CPU "):
                cpu["vcpu"] += took
            elif name.startswith("iou-"):
                cpu["ring"] += took
        return Counts(**cpu, exits=self._counter("exits"), to_user=sum(map(self._counter, TO_USER)))

    def _counter(self, name: str) -> int:
        found = list(KVM.glob(f"{self._process.pid}-*/{name}"))
        if not found:
            raise UserError(f"{KVM}: no counters of process {self._process.pid}; wanted debugfs to be mounted")
        return int(found[0].read_text())

    def power_off(self) -> None:
        """Raises UserError if it ends otherwise."""
        self._process.stdin.write(b"poweroff -f\n")
        self._process.stdin.flush()
        self._process.stdout.read()
        status = self._process.wait()
        if status:
            raise UserError(f"{self._process.args[0]}: status {status} when the guest had powered off; wanted 0")

    def close(self) -> None:
        self._limit.cancel()
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            file.close()


@dataclass(frozen=True)
class Setting:
    """What every guest of a comparison has in common; its devices are on PCI."""

    kernel: Path
    initrd: Path
    cached: Path        # images of disks: through the host's page cache, and past it
    direct: Path
    tap: str
    mac: str
    memory: int = 512 << 20
    append: str = "console=ttyS0 quiet panic=-1 job=serve"


def splitvmm(at: Setting, mode: str) -> list[str]:
    how = f"offload={mode},transport=pci"
    return [sys.executable, "-m", "vmm", "run", "--kernel", str(at.kernel), "--initrd", str(at.initrd),
            "--append", at.append, "--mem", f"{at.memory >> 20}M", "--serial", "stdio", "--no-reboot",
            "--disk", f"path={at.cached},{how}", "--disk", f"path={at.direct},cache=none,{how}",
            "--net", f"tap={at.tap},mac={at.mac},{how}"]


def qemu(at: Setting, mode: str) -> list[str]:
    """microvm; `mode` is `qemu`, or `vhost` for the kernel's network device."""
    words = ["-initrd", str(at.initrd), "-object", "iothread,id=io"]
    for name, image, direct in (("cached", at.cached, "off"), ("direct", at.direct, "on")):
        words += ["-blockdev", (f"driver=raw,node-name={name},cache.direct={direct},file.driver=file,"
                                f"file.filename={image},file.aio=io_uring,file.cache.direct={direct}"),
                  "-device", f"virtio-blk-pci,drive={name},iothread=io,queue-size=256"]
    words += ["-netdev", f"tap,id=net,ifname={at.tap},script=no,downscript=no,vhost="
              + ("on" if mode == "vhost" else "off"), "-device", f"virtio-net-pci,netdev=net,mac={at.mac}"]
    return qemu_microvm("acpi=on,rtc=off,pic=off,pit=off,pcie=on", "host", at.memory, at.kernel, at.append, "stdio",
                        *words)


def command(at: Setting, mode: str) -> list[str]:
    return qemu(at, mode) if mode in ("qemu", "vhost") else splitvmm(at, mode)
