"""A benchmark in a machine with hardware-style KVM, which QEMU emulates on this one (tools/nested)."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import UserError
from ..paths import ROOT

CPUS = 2
TIMEOUT_S = 4 * 3600        # for hangs
# Images on a file system that takes buffered writes at once, on a loop device
IMAGES = ("set -e; truncate -s 400M /dev/shm/bench; mkfs.xfs -q /dev/shm/bench; mkdir -p /run/bench; "
          "mount -o loop /dev/shm/bench /run/bench; ")


def bench(options) -> int:
    """Run `splitvmm bench` with the same options there; its status.  Raises UserError."""
    if not (ROOT / "tools" / "nested" / "run.py").exists():
        raise UserError(f"--in-nested: no tools/nested in {ROOT}; wanted a checkout of the project")
    if subprocess.run([sys.executable, "-m", "tools.nested.build", "--kernel", "612"], cwd=ROOT).returncode:
        raise UserError("--in-nested: the nested machine could not be built")
    words = [sys.executable, "-m", "vmm", "bench", options.what, "--modes", options.modes, "--repeat", options.repeat,
             "--directory", options.directory or "/run/bench"]
    words += ["--peer", options.peer] if options.peer else []
    words += [flag for flag, given in (("--quick", options.quick), ("--one-cpu", options.one_cpu)) if given]
    run = [sys.executable, "-m", "tools.nested.run", "--cpus", str(CPUS), "--timeout", str(TIMEOUT_S)]
    # A folder of its own to leave the rows in: what is shared hides what lies there, and 9p is no file
    # system to measure on, nor for temporary files (iperf3's: ftruncate(2) fails once unlinked)
    with tempfile.TemporaryDirectory(prefix="splitvmm-bench-") as shared:
        rows = Path(shared) / "rows.json"
        if options.json:
            words += ["--json", rows]
            run += ["--rw", shared]
        command = ("" if options.directory else IMAGES) + shlex.join(map(str, words))
        status = subprocess.run([*map(str, run), command], cwd=ROOT).returncode
        if rows.exists():
            shutil.copyfile(rows, options.json)
    return status
