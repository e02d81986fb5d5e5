"""Code beside KVM that a device writes while the emulator runs on: blocks are compared with what was translated."""

from contextlib import closing

import pytest

pytest.importorskip("unicorn")
pytest.importorskip("capstone")

from tests.executors.real_mode import state_at
from vmm.executors.executor import Why
from vmm.executors.unicorn_cpu import Range, UnicornCpu, Window
from vmm.sync.region import Region

CODE, RAM, WINDOW = 0x1000, 0x10000, 0xa0000
LOAD = b"\xb8\x01\x00" + b"\xeb\x00"        # mov ax, 1; jmp to what follows
HALT = b"\xf4"                              # KVM's


class Written:
    """The code writes a register and goes on to LOAD, which is at `load`."""

    def __init__(self, load):
        self.ram, self.changes = Region.anonymous("ram", RAM), {}
        start = b"\xc6\x06\x00\x00\x01" + b"\xe9" + (load - CODE - 8).to_bytes(2, "little")     # mov byte [0], 1; jmp
        self.ram.view[CODE:CODE + len(start)] = start
        self.ram.view[load:load + len(LOAD + HALT)] = LOAD + HALT
        self.cpu = UnicornCpu(self, guarded=True)
        self.cpu.map([Range(0, RAM, self.ram.address)], [Window(WINDOW, 0x1000)])

    def write(self, *_):
        for address, value in self.changes.items():
            self.ram.view[address] = value

    def read(self, *_):
        raise AssertionError

    def run(self):
        state = state_at(CODE, ds=WINDOW)
        assert self.cpu.run(state, 100, checked=True).why == Why.LEFT
        return state.general.rax

    def close(self):
        self.cpu.close()
        self.ram.close()


@pytest.mark.parametrize("load", [CODE + 0x100, CODE + 0x1100, CODE + 0xfff, CODE + 0xffe])
def test_a_block_that_a_device_writes(load):
    """It is in the page of the one that ran, in another one, or in two."""
    with closing(Written(load)) as made:
        assert [made.run(), made.run()] == [1, 1] and made.cpu.emulator.flushes == 0
        made.changes = {load + 1: 2}
        assert [made.run(), made.run()] == [2, 2] and made.cpu.emulator.flushes == 1
        made.changes = {load + 2: 3}
        assert [made.run(), made.run()] == [0x302, 0x302] and made.cpu.emulator.flushes == 2


def test_what_is_no_code_of_a_page_of_code():
    """Data beside code, as a driver of one page has: nothing is translated anew."""
    with closing(Written(CODE + 0x100)) as made:
        assert made.run() == 1
        made.changes = {CODE + 0x80: 7, CODE + 0x106: 7}
        assert [made.run(), made.run()] == [1, 1] and made.cpu.emulator.flushes == 0


def test_a_block_behind_what_was_written_before_it_ran():
    """The page is known by a block of it; another one is written, and runs for the first time then."""
    with closing(Written(CODE + 0x100)) as made:
        made.changes = {CODE + 0x101: 2}
        assert [made.run(), made.run()] == [2, 2]
