"""Register files, arrays, pages, memory, latches and halves: the same in Python, natively, and as BPF."""

import logging
import threading
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.devmodel.view import OwnershipError
from vmm.errors import UserError
from vmm.testing import driven


@pytest.fixture
def drive(gadget, mode):
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(driven(gadget.GadgetDevice("gadget", **options), mode))


@pytest.fixture
def driver(drive):
    return drive()


def by_kernel(driver) -> int:
    """What a write returns that the handler takes."""
    return int(driver.device.mode != "off")


def test_a_doorbell_latches(driver):
    driver.write("x", 0xfffffff0)
    driver.write("y", 0x20)
    assert driver.write("command", 1) == by_kernel(driver)
    assert driver.read("result") == 0x10


def test_what_the_handler_declines_is_done(driver):
    driver.write("control", 2 << 4)
    driver.write("x", 3)
    assert driver.write("command", 1) == 0 and driver.read("result") == 3
    assert driver.write("command", 99) == 0
    assert driver.declined == ({"ODD": 1, "UNKNOWN": 1} if by_kernel(driver) else {})
    assert driver.device.page.control_mode is driver.device.schema.Mode.SLOW and driver.device.page.control_on == 0


def test_which_of_several_is_meant(driver):
    for channel in range(3):
        for ring in range(2):
            name = f"channel[{channel}].ring[{ring}]"
            driver.write(f"{name}.head", 100 * channel + ring)
            assert driver.write(f"{name}.tail", 7) == by_kernel(driver)
    assert [driver.device.page.channel[c].ring[r].sum for c in range(3) for r in range(2)] == [7, 8, 107, 108, 207, 208]
    for bell in range(3):
        driver.write(f"bells[{bell}]", 5)
        assert driver.read("last_bell") == 5 << 8 | bell


def test_second_page(driver):
    for port in (0, 63, 127):
        driver.write(f"port[{port}].head", port)
        assert driver.write(f"port[{port}].tail", 1000) == by_kernel(driver)
        assert driver.read(f"port[{port}].sum") == 1000 + port
    assert driver.read("port[64].sum") == 0 and driver.read("x") == 0


def test_arrays_with_a_stride(driver):
    for i in range(8):
        driver.write(f"table[{i}]", 10 + i)
    page = driver.device.page
    assert list(page.table) == page.table[:] == list(range(10, 18))
    assert page.table[-1] == 17 and page.table[2:6:3] == [12, 15]
    assert driver.read_at(0x40, 4) == 10
    page.table[1] = 99
    page.table[-2:] = [1, 2]
    assert driver.read("table[1]") == 99 and [driver.read(f"table[{i}]") for i in (6, 7)] == [1, 2]
    with pytest.raises(ValueError, match="4 bytes apart"):
        page.table.memoryview()


def test_clears_in_a_register_file(driver):
    assert driver.write("channel[1].clear", 0x0f) == by_kernel(driver)
    assert [driver.read(f"channel[{i}].mask") for i in range(3)] == [0xff, 0xf0, 0xff]


def test_what_the_guest_clears_is_changed_by_atomics_alone(driver):
    device = driver.device
    with pytest.raises(OwnershipError, match="set_bits.. or clear_bits.. of the device"):
        device.page.channel[1].mask |= 1
    with pytest.raises(KeyError, match="no register channel.9..mask of 4 bytes"):
        device.set_bits("channel[9].mask", 1)
    ended, lost = threading.Event(), []

    def clear():
        while not ended.is_set():
            driver.write("channel[1].clear", 1)
            lost.extend([1] * (driver.read("channel[1].mask") & 1))
    thread = threading.Thread(target=clear)
    thread.start()
    for _ in range(20000):
        device.set_bits("channel[1].mask", 2)
        device.clear_bits("channel[1].mask", 2)
    ended.set()
    thread.join()
    assert not lost and driver.read("channel[1].mask") == 0xfc


def test_halves_of_a_posted_register(driver):
    assert driver.write_at(0x100, 4, 0x11111111) == driver.write_at(0x104, 4, 0x22222222) == by_kernel(driver)
    assert driver.read("channel[0].base") == 0x2222222211111111


def test_halves_of_a_doorbell(driver):
    driver.write_at(0x18, 4, 0x55667788)
    assert driver.read("seen") == 0
    assert driver.write_at(0x1c, 4, 0x11223344) == by_kernel(driver)
    assert driver.read("seen") == 0x1122334455667788
    driver.write("wide", 1 << 63)
    assert driver.read("seen") == 1 << 63
    assert driver.read("wide") == 0x55667788        # the lower half alone is kept
    driver.write_at(0x18, 2, 0xaaaa)
    assert driver.read("seen") == 0x5566aaaa


def test_halves_that_userspace_takes(driver):
    driver.write_at(0x20, 4, 5)
    assert driver.read("seen") == 0
    driver.write_at(0x24, 4, 6)
    assert driver.read("seen") == 6 << 32 | 5


def test_one_register_may_be_strict(driver):
    driver.write_at(0x14, 2, 0xffff)
    assert driver.read("strict") == 0
    driver.write("strict", 0xffff)
    assert driver.read("strict") == 0xffff


@pytest.mark.bpf_paths("device_memory")
@pytest.mark.parametrize("x, y, done", [(0, 64, 1), (5, 3, 1), (0x2fc0, 64, 1), (0x2fc1, 64, 0), (0, 65, 0),
                                        (0x2fff, 64, 0), (0x3000, 1, 0), (0xffffffff, 64, 0)])
def test_memory(driver, x, y, done):
    driver.write("x", x)
    driver.write("y", y)
    assert driver.write("command", 2) == done * by_kernel(driver)
    canvas = driver.device.memory.canvas
    end = min(x + y, 0x3000)
    assert bytes(canvas) == (bytes(x) + b"\xaa" * max(0, end - x)).ljust(0x3000, b"\0")[:0x3000]
    assert bytes(driver.device.memory.spare) == bytes(0x1000)


def test_the_guest_reaches_device_memory(driver):
    driver.write_at(0x4010, 8, 0x0123456789abcdef)
    assert driver.device.memory.canvas[0x10] == 0xef and driver.read_at(0x4014, 4) == 0x01234567
    driver.device.memory.spare[0] = 7
    assert driver.read_at(0x8000, 1) == 7
    driver.write_at(0x7fff, 1, 1)        # the last byte before it is nobody's
    assert driver.device.memory.spare[0] == 7 and driver.read_at(0x7000, 4) == 0


def test_interrupt(driver):
    before = driver.interrupts
    assert driver.write("command", 3) == by_kernel(driver)
    assert driver.interrupts == before + 1


def test_counting(driver):
    for _ in range(3):
        driver.write("command", 1)
    driver.write("command", 99)
    entry, user = driver.device.state.control.entry, driver.device.state.control.user
    assert (entry.doorbells, entry.handled, user.doorbells, user.handled) == (
        (4, 3, 1, 1) if by_kernel(driver) else (0, 0, 4, 4))


def test_options(drive):
    driver = drive(start=42, shape="square")
    assert driver.read("result") == 42 and driver.device.shape == "square" and driver.device.loud is False


def test_unknown_option(gadget):
    with pytest.raises(UserError, match="no option 'end'; wanted one of start, shape, loud"):
        gadget.GadgetDevice("gadget", end=3)


SAID = {"off": ["gadget (Python): command 1, 1099511627776"],
        "host": ["gadget (native): command 1, 1099511627776", "gadget (native): no numbers"],
        "on": ["gadget (kernel): command 1, 1099511627776", "gadget (kernel): no numbers"]}


def test_trace(gadget, mode, caplog):
    caplog.set_level(logging.INFO, "splitvmm.trace")
    with driven(gadget.GadgetDevice("gadget", loud=True), mode, trace=True) as driver:
        driver.write("command", 1)
    assert [record.message for record in caplog.records if record.name == "splitvmm.trace"] == SAID[mode]


def test_nothing_is_said_where_nobody_listens(gadget, mode, caplog):
    caplog.set_level(logging.WARNING, "splitvmm.trace")
    with driven(gadget.GadgetDevice("gadget", loud=True), mode) as driver:
        driver.write("command", 1)
    assert not caplog.records


NAMES = st.sampled_from(["x", "y", "command", "control", "wide", "strict", "wide_user", "table[3]", "bells[2]",
                         "channel[0].base", "channel[1].clear", "channel[2].ring[1].head", "channel[2].ring[1].tail",
                         "port[77].head", "port[77].tail"])
STEPS = st.lists(st.one_of(
    st.tuples(NAMES, st.none(), st.one_of(st.integers(0, 4), st.integers(0, 2**64 - 1))),
    st.tuples(st.integers(0, 0x1ff), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1))), max_size=40)


def after(gadget, mode, steps) -> tuple:
    """What is to be seen of a device that was written to."""
    with driven(gadget.GadgetDevice("gadget"), mode) as driver:
        for where, width, value in steps:
            if width is None:
                driver.write(where, value & (1 << 8 * driver.device.registers.registers[where].type.size) - 1)
            else:
                driver.write_at(where, width, value & (1 << 8 * width) - 1)
        pages = b"".join(driver.read_at(at, 8).to_bytes(8, "little") for at in range(0, 0x2000, 8))
        return pages, bytes(driver.device.memory.canvas), driver.interrupts


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_halves_agree(gadget, steps):
    assert after(gadget, "off", steps) == after(gadget, "host", steps)


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_halves_agree_in_the_kernel(gadget, bpf_run, steps):
    assert after(gadget, "off", steps) == after(gadget, "on", steps)
