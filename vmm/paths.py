"""Where the headers of handlers, and what is built, lie: in a checkout, or in an installation.  Nothing else
asks which of the two this is."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
_INSTALLED = Path(__file__).parent / "built"
_CHECKOUT = (ROOT / "kernel_devices").is_dir()
BUILD = Path(os.environ.get("SPLITVMM_BUILD") or (ROOT / "build" if _CHECKOUT else _INSTALLED))   # handlers, guests
HEADERS = ROOT / "kernel_devices" if _CHECKOUT else _INSTALLED / "include"      # what handlers are compiled with
GUESTS = ROOT / "guests" if _CHECKOUT else _INSTALLED / "guests"                # sources that guests are built with
