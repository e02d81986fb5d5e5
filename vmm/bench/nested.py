"""A benchmark in a machine with hardware-style KVM, which QEMU emulates on this one (tools/nested)."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import UserError
from ..paths import ROOT
from ..sync.signals import temporary_folder
from . import draw, saved
from .rows import Wanted

CPUS = 2
TIMEOUT_S = 4 * 3600        # for hangs
# Images on a file system that takes buffered writes at once, on a loop device
IMAGES = ("set -e; truncate -s 400M /dev/shm/bench; mkfs.xfs -q /dev/shm/bench; mkdir -p /run/bench; "
          "mount -o loop /dev/shm/bench /run/bench; ")


def bench(wanted: Wanted) -> int:
    """Run `splitvmm bench` with the same options there; its status.  Raises UserError."""
    if not (ROOT / "tools" / "nested" / "run.py").exists():
        raise UserError(f"--in-nested: no tools/nested in {ROOT}; wanted a checkout of the project")
    if subprocess.run([sys.executable, "-m", "tools.nested.build", "--kernel", "612"], cwd=ROOT).returncode:
        raise UserError("--in-nested: the nested machine could not be built")
    words = _words(wanted)
    run = [sys.executable, "-m", "tools.nested.run", "--cpus", str(CPUS), "--timeout", str(TIMEOUT_S)]
    # A folder of its own to leave the rows in: what is shared hides what lies there, and 9p is no file
    # system to measure on, nor for temporary files (iperf3's: ftruncate(2) fails once unlinked)
    with temporary_folder("splitvmm-bench-") as shared:
        rows = Path(shared) / "rows.json"
        if wanted.json or wanted.html:
            words += ["--json", rows]
            run += ["--rw", shared]
        command = ("" if wanted.directory else IMAGES) + shlex.join(map(str, words))
        status = subprocess.run([*map(str, run), command], cwd=ROOT).returncode
        if rows.exists():
            _keep(rows, wanted)
    return status


def _words(wanted: Wanted) -> list:
    """The command there, but for its files."""
    words = [sys.executable, "-m", "vmm", "bench", wanted.what]
    words += ["--modes", ",".join(wanted.modes)] if wanted.what != "host" else []
    words += ["--repeat", wanted.repeat, "--directory", wanted.directory or "/run/bench"]
    words += ["--peer", ",".join(wanted.peers)] if wanted.peers else []
    words += ["--on", ",".join(wanted.storages)] if wanted.storages else []
    words += ["--vms", ",".join(map(str, wanted.vms))] if wanted.vms else []
    words += ["--vcpus", ",".join(map(str, wanted.vcpus))] if wanted.vcpus else []
    return words + [flag for flag, given in (("--quick", wanted.quick), ("--one-cpu", wanted.one_cpu)) if given]


def _keep(rows: Path, wanted: Wanted) -> None:
    """What the machine left behind, where it was asked for; the page is drawn here."""
    if wanted.json:
        shutil.copyfile(rows, wanted.json)
    if wanted.html:
        draw.write(saved.read(rows), wanted.html)
