"""By which transport, with which rings, and with what notifications guests of ours drive a device."""

import pytest

# Of the eight combinations four, in which each pair of choices is found.
COMBINATIONS = pytest.mark.parametrize("transport, packed, event", [
    ("mmio", False, True), ("mmio", True, False), ("pci", False, False), ("pci", True, True)],
    ids=["mmio-split-event", "mmio-packed-flags", "pci-split-flags", "pci-packed-event"])


def words(transport: str, packed: bool, event: bool) -> str:
    """Of the guest's command line."""
    return f"transport={transport} packed={int(packed)} event={int(event)}"
