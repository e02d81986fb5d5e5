"""Syslinux's menus in graphics: in protected and in big real mode, where a KVM that emulates those gives up."""

from time import monotonic, sleep

import pytest

from tools import syslinux_disk
from vmm.machine.config import ExecutorConfig
from vmm.machine.machine import Machine

pytest.importorskip("unicorn")

MENU_S = 100        # for hangs
ENDS = "b0{status:02x} ba0105 ee f4"        # mov $status, %al; mov $0x501, %dx; out %al, %dx; hlt
ENTRIES = {"first": bytes.fromhex(ENDS.format(status=1)), "second": bytes.fromhex(ENDS.format(status=9))}
DRAWS_S = 6         # until it is whole
COLOURS = 200       # that a picture has, and a menu of characters has not
MENUS = [pytest.param(None, id="vesamenu"), pytest.param(syslinux_disk.GFXBOOT, id="gfxboot", marks=pytest.mark.skipif(
    not syslinux_disk.GFXBOOT.exists(), reason="no archive of gfxboot's (the Debian package gfxboot-themes)"))]


def colours(machine):
    """How many of them the display shows, where it is in a mode with 16 bits a pixel or more."""
    frame = machine.vga.frame()
    step = len(frame.pixels) // (frame.width * frame.height)
    return len({frame.pixels[at:at + step] for at in range(0, len(frame.pixels), step)}) if step > 1 else 0


@pytest.mark.skipif(bool(syslinux_disk.why_not()), reason=syslinux_disk.why_not())
@pytest.mark.parametrize("archive", MENUS)
def test_menu(tmp_path, seabios, bios_machine, archive):
    disk = syslinux_disk.make_disk(tmp_path, ENTRIES, archive)
    config = bios_machine(disk, "host", vga="std", executor=ExecutorConfig("emulator"))
    with Machine(config) as machine:
        machine.start()
        deadline = monotonic() + MENU_S
        while colours(machine) < COLOURS:
            assert monotonic() < deadline and not machine.running.stopped
            sleep(0.5)
        sleep(DRAWS_S)
        machine.keyboard.type("<down>")
        sleep(1)
        machine.keyboard.type("<enter>")
        assert machine.wait(MENU_S) == 9
