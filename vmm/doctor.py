"""What this host has, what each part is needed for, and how to get the rest.

Nothing is inferred that can be tried: KVM is opened, maps are made, the dispatcher is loaded
and attached, and what `offload=auto` takes is asked of a machine.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .device import BUILD
from .errors import UserError


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` is empty where nothing is amiss."""

    what: str
    good: bool
    found: str
    use: str            # what it is needed for
    remedy: str = ""


def _kernel() -> Finding:
    release = platform.release()
    numbers = tuple(int(n) for n in release.split("-")[0].split(".")[:2] if n.isdigit())
    good = numbers >= (6, 1) and platform.machine() == "x86_64"
    return Finding("kernel", good, f"Linux {release}, {platform.machine()}", "everything",
                   "" if good else "Linux 6.1 or later on x86-64")


def _kvm() -> Finding:
    from .kvm import KvmError, Vm
    try:
        Vm().close()
    except KvmError as error:
        found, _, remedy = str(error).partition("; ")
        return Finding("KVM", False, found, "running guests", remedy)
    return Finding("KVM", True, "a VM can be made", "running guests")


def _bpf() -> Finding:
    from .bpf import why_not
    if reason := why_not():
        return Finding("BPF", False, reason.partition(";")[0], "offload=on",
                       "be root, or have CAP_BPF and CAP_PERFMON; /proc/sys/kernel/unprivileged_bpf_disabled "
                       "does not matter then")
    return Finding("BPF", True, "maps can be made", "offload=on")


def _lockdown() -> Finding:
    path = Path("/sys/kernel/security/lockdown")
    try:
        text = path.read_text()
        level = text[text.index("[") + 1:text.index("]")]
    except (OSError, ValueError):
        return Finding("lockdown", True, "not to be read here", "offload=on, which integrity allows")
    good = level != "confidentiality"
    return Finding("lockdown", good, level, "offload=on",
                   "" if good else "lockdown=integrity or none: confidentiality hides guest memory from BPF")


def _tracepoints() -> Finding:
    path = Path("/sys/kernel/btf/vmlinux")
    good = path.exists() and b"kvm_mmio" in path.read_bytes() or Path("/sys/kernel/btf/kvm").exists()
    return Finding("tracepoints", good, "kvm_mmio" if good else "no kvm_mmio in the kernel's BTF", "offload=on",
                   "" if good else "load the kvm module, or a kernel with CONFIG_DEBUG_INFO_BTF and tracepoints")


def _page_cache() -> Finding:
    """offload=host asks the page cache with RWF_NOWAIT; a file system that does not know it makes
    the vCPU wait for reads from the disk, and is no obstacle."""
    with tempfile.NamedTemporaryFile(dir=".") as file:
        file.write(bytes(4096))
        file.flush()
        try:
            os.preadv(file.fileno(), [bytearray(512)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            pass
        except OSError as error:
            return Finding("page cache", True, f"RWF_NOWAIT in this folder: {error.strerror}",
                           "offload=host, which may wait for the disk without it")
    return Finding("page cache", True, "RWF_NOWAIT in this folder", "offload=host")


def _built() -> Finding:
    missing = [name for name in ("exit_path.bpf.o", "exit_path.so", "blk.bpf.o", "blk.so")
               if not (BUILD / name).exists()]
    return Finding("handlers", not missing, f"missing: {', '.join(missing)}" if missing else "built",
                   "offload=on and host", "make" if missing else "")


def _clang() -> Finding:
    path = next(filter(None, map(shutil.which, ("clang", "clang-19", "clang-14"))), None)
    return Finding("clang", bool(path), path or "not found", "building handlers for offload=on",
                   "" if path else "apt-get install clang, or your system's equivalent")


def _qemu() -> Finding:
    path = shutil.which("qemu-system-x86_64")
    return Finding("QEMU", bool(path), path or "not found", "only bench --peer qemu",
                   "" if path else "apt-get install qemu-system-x86")


CHECKS: tuple[Callable[[], Finding], ...] = (_kernel, _kvm, _bpf, _lockdown, _tracepoints, _page_cache,
                                             _built, _clang, _qemu)


def choice() -> tuple[bool, str]:
    """Whether guests run here, and what `offload=auto` takes, by asking a machine."""
    from .machine import Machine, MachineConfig
    from .probe import ProbeDevice
    try:
        with Machine(MachineConfig(memory=1 << 20, serial="null"), ((ProbeDevice("probe"), "auto"),)) as machine:
            return True, machine.choices["probe"]
    except UserError as error:
        return False, str(error).splitlines()[0]


def main() -> int:
    from rich.console import Console
    from rich.table import Table
    console = Console(width=None if os.isatty(1) else 118, highlight=False)
    table = Table()
    for column in ("", "found", "needed for", "how to get it"):
        table.add_column(column)
    for check in CHECKS:
        finding = check()
        table.add_row(f"{'ok     ' if finding.good else 'missing'} {finding.what}", finding.found, finding.use,
                      finding.remedy)
    console.print(table)
    runs, chosen = choice()
    console.print(f"offload=auto takes here: {chosen}" if runs else f"no guest can run here: {chosen}")
    return 0 if runs else 1
