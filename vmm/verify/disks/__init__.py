"""Images of the disks that are compared: disk.py; and such as fail where a rule says so: faulty.py, server.py."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from . import faulty


def why_not(kind: str) -> str:
    """Why a kind of disk, of strategy.SETTINGS, is not to be had here, or ""."""
    return faulty.why_not() if kind == "faulty" else _past_the_page_cache() if kind == "direct" else ""


def _past_the_page_cache() -> str:
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.close(os.open(file.name, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC))
        except OSError:
            return f"{Path(file.name).parent}: a file system without O_DIRECT; wanted one that has it (TMPDIR)"
    return ""
