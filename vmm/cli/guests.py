"""Guests that come with splitvmm, by name: `splitvmm run @check`."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..paths import BUILD

# of them, those that do something without a host program of their own
DESCRIBED = {
    "check": "checks its disks with every kind of request, and writes to them",
    "echo": "sends back what the serial port receives (--serial stdio), up to a newline",
    "typed": "the same, by a virtio console (--console stdio)",
    "net": "answers ping and UDP (--net; --cmdline \"op=echo ip=0x0a000002\")",
    "button": "powers off when asked to (SIGTERM)",
}
HELP = "or @NAME for a guest that comes with splitvmm: " + "; ".join(
    f"@{name} {what}" for name, what in DESCRIBED.items())


def guest(text: str) -> Path:
    """GUEST as it was given, as a path."""
    if not text.startswith("@"):
        return Path(text)
    path = BUILD / f"{text[1:]}.elf"
    if "/" in text or not path.exists():
        known = ", ".join(f"@{found.stem}" for found in sorted(BUILD.glob("*.elf"))) or "`make` to have built some"
        raise UserError(f"{text}: no guest of that name comes with splitvmm; wanted {known}, or ./{text} for a file")
    return path
