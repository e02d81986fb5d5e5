"""Guest memory that a guest moves by an access, and reaches in the same basic block."""

from contextlib import closing

import pytest

pytest.importorskip("unicorn")
pytest.importorskip("capstone")

from tests.executors.real_mode import state_at
from vmm.executors.executor import Why
from vmm.executors.guest_map import Range, Window
from vmm.executors.unicorn_cpu import UnicornCpu
from vmm.sync.region import Region

CODE, WINDOW, BANK = 0x1000, 0xa0000, 0x10000
REGISTER = 0x90000      # of a device, which says as well what the window shows


class Banked:
    """What a window shows, a port says, or a register."""

    def __init__(self, code):
        self.ram, self.banks, self.told = Region.anonymous("ram", BANK), Region.anonymous("banks", 4 * BANK), []
        self.ram.view[CODE:CODE + len(code)] = code
        self.cpu = UnicornCpu(self)
        self.cpu.on_moved = self.map
        self.bank = 0
        self.map()

    def map(self):
        ranges = [Range(0, BANK, self.ram.address)]
        if self.bank is not None:
            ranges.append(Range(WINDOW, BANK, self.banks.address + self.bank * BANK))
        self.cpu.map(ranges, [Window(BANK, WINDOW - BANK)] if self.bank is not None else [Window(BANK, WINDOW)])

    def write(self, bus, address, _width, value):
        self.told.append((bus, address, value))
        if bus == 1 or address == REGISTER:
            self.bank = value if value < 4 else None
            self.cpu.moved()

    def read(self, *_):
        raise AssertionError

    def run(self):
        return self.cpu.run(state_at(CODE, ds=WINDOW, es=REGISTER), 1, checked=True)

    def close(self):
        self.cpu.close()
        self.ram.close()
        self.banks.close()


def test_a_bank_that_is_switched_and_written_to():
    """Each write is to the bank of then; and where it is no memory any more, it is told."""
    # mov byte [0], 1; mov al, 2; out 0x80; mov byte [0], 2; mov al, 9; out 0x80; mov byte [0], 3; hlt
    with closing(Banked(bytes.fromhex("c606000001 b002 e680 c606000002 b009 e680 c606000003 f4"))) as made:
        stop = made.run()
        assert stop.why in (Why.HALTED, Why.BUDGET, Why.ASKED)
        assert (made.banks.view[0], made.banks.view[2 * BANK]) == (1, 2)
        assert made.told == [(1, 0x80, 2), (1, 0x80, 9), (0, WINDOW, 3)]


def test_a_bank_that_is_switched_by_a_register():
    """The window that the register is in is another one behind the last switch."""
    # mov byte [0], 1; mov byte es:[0], 2; mov byte [0], 2; mov byte es:[0], 9; mov byte [0], 3; hlt
    code = "c606000001 26c606000002 c606000002 26c606000009 c606000003 f4"
    with closing(Banked(bytes.fromhex(code))) as made:
        stop = made.run()
        assert stop.why in (Why.HALTED, Why.BUDGET, Why.ASKED)
        assert (made.banks.view[0], made.banks.view[2 * BANK]) == (1, 2)
        assert made.told == [(0, REGISTER, 2), (0, REGISTER, 9), (0, WINDOW, 3)]
