"""fw_cfg, CMOS and the keyboard controller, as a BIOS finds them; and as a guest that wants to break them does."""

import logging
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.errors import UserError
from vmm.firmware import keyboard
from vmm.firmware.cmos import Cmos
from vmm.firmware.fw_cfg import DIRECTORY, FIRST_FILE, FwCfg
from vmm.firmware.keyboard import Keyboard
from vmm.firmware.keymap import scan_codes
from vmm.firmware.pm1 import Pm1Control, Pm1Event
from vmm.firmware.ports import DebugConsole, SystemControl

DATA, COMMAND = 0, 4


class Line:
    def __init__(self):
        self.pulses = 0

    def pulse(self):
        self.pulses += 1


def item(fw_cfg, selector, length):
    fw_cfg.write(0, 2, selector)
    return bytes(fw_cfg.read(1, 1) for _ in range(length))


def test_fw_cfg_has_a_directory():
    fw_cfg = FwCfg(cpus=3)
    fw_cfg.add_file("etc/first", b"abc")
    fw_cfg.add_number("etc/second", 7)
    assert item(fw_cfg, 0, 6) == b"QEMU\0\0" and item(fw_cfg, 5, 2) == b"\3\0"
    names = item(fw_cfg, DIRECTORY, 4 + 2 * 64)
    assert names[:4] == b"\0\0\0\2"
    assert struct.unpack(">IH2x56s", names[4:68]) == (3, FIRST_FILE, b"etc/first".ljust(56, b"\0"))
    assert item(fw_cfg, FIRST_FILE, 3) == b"abc" and item(fw_cfg, FIRST_FILE + 1, 8) == b"\7" + bytes(7)


def register(cmos, index):
    cmos.write(0, 1, index)
    return cmos.read(1, 1)


def test_cmos_tells_time_and_memory():
    cmos = Cmos(low_bytes=48 << 20, cpus=2, seconds=lambda: 1_700_000_000)      # 2023-11-14 22:13:20, a Tuesday
    assert [register(cmos, i) for i in (0x32, 9, 8, 7, 6, 4, 2, 0)] == [0x20, 0x23, 0x11, 0x14, 3, 0x22, 0x13, 0x20]
    assert register(cmos, 0x34) | register(cmos, 0x35) << 8 == (48 - 16) << 4 and register(cmos, 0x5f) == 1
    cmos.write(0, 1, 0x80 | 0x0f)       # the highest bit is none of the index
    cmos.write(1, 1, 5)
    assert register(cmos, 0x0f) == 5


@pytest.fixture
def resets():
    return []


@pytest.fixture
def keys(resets):
    return Keyboard(lambda: resets.append(1), Line())


def answers(keys):
    found = []
    while keys.read(COMMAND, 1) & keyboard.OUTPUT_FULL:
        found.append(keys.read(DATA, 1))
    return found


def enable(keys):
    keys.write(DATA, 1, keyboard.ENABLE_SCANNING)
    assert keys.read(DATA, 1) == 0xfa


def test_controller_and_keyboard_test_themselves(keys):
    keys.write(COMMAND, 1, keyboard.SELF_TEST)
    keys.write(COMMAND, 1, keyboard.TEST_KEYBOARD)
    keys.write(DATA, 1, keyboard.RESET)
    assert answers(keys) == [0x55, 0, 0xfa, 0xaa]


def test_keys_come_one_at_a_time_with_interrupts(keys):
    keys.write(COMMAND, 1, keyboard.WRITE_COMMAND_BYTE)
    keys.write(DATA, 1, keyboard.INTERRUPT | keyboard.TRANSLATE)
    enable(keys)
    keys.type("a<up>")
    assert keys._line.pulses == 2 and not keys.typed
    assert answers(keys) == [0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8] and keys._line.pulses == 7 and keys.typed


def test_a_keyboard_that_is_off_keeps_its_keys(keys):
    keys.type("a")
    assert answers(keys) == []
    enable(keys)
    assert answers(keys) == [0x1e, 0x9e]
    keys.write(DATA, 1, keyboard.DEFAULTS_OFF)
    keys.type("b")
    assert answers(keys) == [0xfa]
    enable(keys)
    keys.write(COMMAND, 1, keyboard.DISABLE)
    assert answers(keys) == []
    keys.write(COMMAND, 1, keyboard.ENABLE)
    assert answers(keys) == [0x30, 0xb0]


def test_arguments_are_no_commands(keys):
    keys.write(DATA, 1, keyboard.LAMPS)
    keys.write(DATA, 1, keyboard.RESET)
    assert answers(keys) == [0xfa, 0xfa]
    keys.write(COMMAND, 1, keyboard.WRITE_OUTPUT_PORT)
    keys.write(DATA, 1, keyboard.RESET)
    assert answers(keys) == []


def test_resets(keys, resets):
    keys.write(COMMAND, 1, keyboard.PULSE_RESET)
    SystemControl(lambda: resets.append(2)).write(0, 1, 3)
    assert resets == [1, 2]


@pytest.mark.parametrize("writes, ends", [
    ([(0, 2, 1 << 13 | 5 << 10)], [0]), ([(1, 1, 0x34)], [0]), ([(0, 2, 5 << 10)], []),
    ([(0, 2, 1 << 13 | 3 << 10)], [])])
def test_power_off(writes, ends):
    stopped = []
    control = Pm1Control(stopped.append)
    for access in writes:
        control.write(*access)
    assert stopped == ends and control.read(0, 2) == 1


def test_events_may_be_enabled():
    events = Pm1Event()
    events.write(0, 4, 0xffffffff)
    events.write(2, 2, 0x0120)
    assert events.read(0, 4) == 0x01200000


def test_shifted_keys():
    assert scan_codes("A<lt>\n") == [0x2a, 0x1e, 0x9e, 0xaa, 0x2a, 0x33, 0xb3, 0xaa, 0x1c, 0x9c]
    with pytest.raises(UserError, match="'é'; wanted a character"):
        scan_codes("é")


def test_log_of_the_bios(caplog):
    console = DebugConsole()
    with caplog.at_level(logging.DEBUG):
        for byte in b"Hello\xff\n" + b"x" * 1000:
            console.write(0, 1, byte)
    assert console.read(0, 1) == 0xe9
    assert [record.message for record in caplog.records] == ["Hello\\xff", "x" * 400, "x" * 400]


ACCESSES = st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.sampled_from((1, 2, 4)),
                              st.integers(0, 0xffffffff) | st.integers(0, 255)), max_size=60)


@given(ACCESSES)
def test_whatever_a_guest_does(accesses):
    keys = Keyboard(lambda: None, Line())
    keys.type("a" * 8)
    fw_cfg = FwCfg(1)
    fw_cfg.add_file("etc/file", b"x")
    for device, ports in ((keys, 5), (fw_cfg, 2), (Cmos(1 << 24, 1), 2), (DebugConsole(), 1),
                          (SystemControl(lambda: None), 1), (Pm1Event(), 4), (Pm1Control(lambda status: None), 2)):
        for writes, offset, width, value in accesses:
            if offset + width > ports:
                continue
            if writes:
                device.write(offset, width, value & (1 << 8 * width) - 1)
            else:
                assert 0 <= device.read(offset, width) < 1 << 8 * width
    assert len(keys._answers) <= keyboard.ANSWERS_MOST
