"""GRUB on a disk: started by SeaBIOS, its menu on the display, driven by the keyboard."""

from time import monotonic, sleep

import pytest

from tools import grub_disk
from vmm.kvm.ring0 import emulated
from vmm.machine.config import ExecutorConfig
from vmm.machine.machine import Machine

MENU = """
set timeout=-1
menuentry "the first entry" { outb 0x501 1 }
menuentry "the second entry" { outb 0x501 9 }
"""
GRUB_S = 240    # where a KVM emulates it


@pytest.mark.skipif(bool(grub_disk.why_not()), reason=grub_disk.why_not())
def test_menu(tmp_path, seabios, bios_machine):
    disk = grub_disk.make_disk(tmp_path, MENU, ("iorw",))
    # much faster than a KVM that emulates ring 0 in software
    executor = ExecutorConfig("emulator") if emulated() else ExecutorConfig()
    with Machine(bios_machine(disk, "auto", vga="std", executor=executor)) as machine:
        machine.start()
        deadline = monotonic() + GRUB_S
        while not any("*the first entry" in line for line in machine.vga.text()):
            assert monotonic() < deadline and not machine.running.stopped, "\n".join(machine.vga.text())
            sleep(0.2)
        machine.keyboard.type("<down><enter>")
        assert machine.wait(GRUB_S) == 9
