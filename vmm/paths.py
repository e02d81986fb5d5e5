"""Where the checkout and what is built from it lie."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = Path(os.environ.get("SPLITVMM_BUILD", ROOT / "build"))      # built handlers and guests
HEADERS = ROOT / "kernel_devices"                                   # what handlers include
GUESTS = ROOT / "guests"                                            # what guests are built with
