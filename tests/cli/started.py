"""Processes of `splitvmm` that end with the test that started them, also where it fails."""

import subprocess
import sys
from pathlib import Path

SPLITVMM = Path(sys.executable).parent / "splitvmm"
_started: list[subprocess.Popen] = []


def start(*arguments, **options) -> subprocess.Popen:
    _started.append(subprocess.Popen([SPLITVMM, *map(str, arguments)], **options))
    return _started[-1]


def end_all() -> None:
    while _started:
        process = _started.pop()
        process.kill()
        process.wait()
