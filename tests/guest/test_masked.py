"""Interrupts that are masked, and moved, while requests complete."""

from tests.guest.matrix import COMBINATIONS, words
from tests.guest.test_guests import run
from vmm.machine.config import DiskConfig


@COMBINATIONS
def test_masked_and_moved(tmp_path, mode, ring, image, transport, packed, event):
    """Past the page cache with packed rings: those reads are in flight for a while in every mode that has
    a ring."""
    disk = DiskConfig(image, offload=mode, cache="none" if packed else "writeback", transport=transport,
                      packed=packed)
    status, text, _ = run(tmp_path, "mask.elf", [disk], f"rounds=8 {words(transport, packed, event)}")
    assert status == 0 and "passed" in text, text
