"""What this host has, what each part is needed for, and how to get the rest.

Nothing is inferred that can be tried: KVM is opened, maps are made, the dispatcher is loaded
and attached, and what `offload=auto` takes is asked of a machine.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..paths import BUILD


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


GUESTS = "running guests, but by --executor emulator"


def _kvm() -> Finding:
    from ..kvm.vm import KvmError, Vm
    try:
        Vm().close()
    except KvmError as error:
        found, _, remedy = str(error).partition("; ")
        return Finding("KVM", False, found, GUESTS, remedy)
    return Finding("KVM", True, "a VM can be made", GUESTS)


LINUX = "Linux guests, but by --executor emulator"


def _ring0() -> Finding:
    from ..kvm.ring0 import emulated
    from ..kvm.vm import KvmError
    try:
        said = emulated()
    except KvmError as error:
        return Finding("ring 0", False, str(error).partition("; ")[0], LINUX, "a KVM that works")
    return Finding("ring 0", not said, said or "runs natively", LINUX,
                   "Linux will not boot on this KVM; tools/nested has a machine where it does" if said else "")


def _emulator() -> Finding:
    from ..machine.config import ExecutorConfig, MachineConfig
    from ..machine.machine import Machine
    use = "--executor auto; and emulator, guests without /dev/kvm"
    try:
        with Machine(MachineConfig(memory=1 << 20, serial="null", executor=ExecutorConfig("emulator"))):
            pass
    except UserError as error:
        found, _, remedy = str(error).removeprefix("--executor emulator: ").partition("; wanted ")
        return Finding("emulator", False, found, use, remedy)
    from capstone import __version__ as capstone
    from unicorn import __version__ as unicorn
    return Finding("emulator", True, f"Unicorn {unicorn}, Capstone {capstone}", use)


def _bpf() -> Finding:
    from ..kvm.bpf import why_not
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
    good = b"kvm_mmio" in _btf()
    return Finding("tracepoints", good, "kvm_mmio" if good else "no kvm_mmio in the kernel's BTF", "offload=on",
                   "" if good else "load the kvm module, or a kernel with CONFIG_DEBUG_INFO_BTF and tracepoints")


def _collector() -> Finding:
    good = b"kvm_msi_set_irq" in _btf()
    return Finding("interrupts", good, "kvm_msi_set_irq" if good else "no kvm_msi_set_irq in the kernel's BTF",
                   "asynchronous I/O with offload=on", "" if good else "a kernel whose KVM has that tracepoint")


def _btf() -> bytes:
    """Type information of kernel and KVM, as one lump: names are in it as they are."""
    return b"".join(path.read_bytes() for path in map(Path, ("/sys/kernel/btf/vmlinux", "/sys/kernel/btf/kvm"))
                    if path.exists())


def _io_uring() -> Finding:
    from ..virtqueue.uring import why_not
    if reason := why_not():
        found, _, remedy = reason.partition("; wanted ")
        return Finding("io_uring", False, found, "asynchronous I/O by handlers: writes, flushes, network; "
                       "they decline it without", remedy)
    return Finding("io_uring", True, "a polled ring in memory of ours", "asynchronous I/O by handlers")


def _tun() -> Finding:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        remedy = "load the module tun" if error.errno in (2, 19) else "be root, or use --net socket=PATH"
        return Finding("TUN", False, f"/dev/net/tun: {error.strerror}", "--net tap=NAME", remedy)
    return Finding("TUN", True, "/dev/net/tun opens", "--net tap=NAME")


def _permissions() -> Finding:
    """Effective capabilities (proc(5): CapEff), by their numbers in linux/capability.h."""
    text = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    held = int(text.split()[1], 16)
    lacking = [name for name, bit in (("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39))
               if not held >> bit & 1 and not held >> 21 & 1]      # CAP_SYS_ADMIN stands for the last two
    return Finding("permissions", not lacking, f"without {', '.join(lacking)}" if lacking else "all that is needed",
                   "offload=on (CAP_BPF, CAP_PERFMON); making TAP interfaces (CAP_NET_ADMIN)",
                   "be root, or setcap on the Python interpreter; TAPs can be made beforehand" if lacking else "")


def _cpus() -> Finding:
    count = len(os.sched_getaffinity(0))
    return Finding("CPUs", count > 1, f"{count} for this process", "the thread that polls rings, beside the guest's",
                   "" if count > 1 else "more of them: with one, auto takes host for devices that do real I/O")


def _page_cache() -> Finding:
    """offload=host asks the page cache with RWF_NOWAIT; a file system that does not know it makes
    the vCPU wait for reads from the disk, and is no obstacle."""
    use = "offload=host, which may wait for the disk without it"
    try:
        with tempfile.NamedTemporaryFile(dir=".") as file:
            file.write(bytes(4096))
            file.flush()
            os.preadv(file.fileno(), [bytearray(512)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        pass
    except OSError as error:
        return Finding("page cache", True, f"RWF_NOWAIT in this folder: {error.strerror}", use)
    return Finding("page cache", True, "RWF_NOWAIT in this folder", use)


def _built() -> Finding:
    from ..devmodel.headers import state_layouts
    missing = [name + kind for name in ("exit_path", *state_layouts()) for kind in (".bpf.o", ".so")
               if not (BUILD / (name + kind)).exists()]
    return Finding("handlers", not missing, f"missing: {', '.join(missing)}" if missing else "built",
                   "offload=on and host", "make, in a checkout" if missing else "")


def _tools() -> Finding:
    from ..kit.build import CC, CLANG, missing
    lacks = missing((CC, CLANG))
    return Finding("compilers", not lacks, f"not found: {'; '.join(lacks)}" if lacks else
                   f"{CLANG.found()}, {CC.found()}", "building devices of your own",
                   f"apt-get install {' '.join(lacks.values())}, or your system's equivalents" if lacks else "")


def _pytest() -> Finding:
    found = importlib.util.find_spec("pytest") is not None
    return Finding("pytest", found, "it can be imported" if found else "not found", "splitvmm test",
                   "" if found else "pip install pytest")


def _qemu() -> Finding:
    path = shutil.which("qemu-system-x86_64")
    return Finding("QEMU", bool(path), path or "not found", "only bench --peer qemu",
                   "" if path else "apt-get install qemu-system-x86")


CHECKS: tuple[Callable[[], Finding], ...] = (_kernel, _kvm, _ring0, _emulator, _permissions, _bpf, _lockdown,
                                             _tracepoints, _io_uring, _collector, _cpus, _tun, _page_cache, _built,
                                             _tools, _pytest, _qemu)


def choice(executor: str = "kvm") -> tuple[bool, str]:
    """Whether guests run here, and what `offload=auto` takes, by asking a machine."""
    from ..machine.config import DiskConfig, ExecutorConfig, MachineConfig
    from ..machine.machine import Machine
    try:
        with tempfile.NamedTemporaryFile() as image:
            image.write(bytes(4096))
            image.flush()
            config = MachineConfig(memory=1 << 20, serial="null", disks=[DiskConfig(Path(image.name))],
                                   executor=ExecutorConfig(executor))
            with Machine(config) as machine:
                return True, machine.choices["disk0"]
    except UserError as error:
        return False, str(error).splitlines()[0]
