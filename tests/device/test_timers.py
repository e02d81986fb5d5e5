"""Timers of devices: when they call back, and that the device is held then."""

import threading
from time import monotonic, sleep

import pytest

from vmm.device.register_device import RegisterDevice
from vmm.devmodel.schema import NOTIFY, Device, reg, u32
from vmm.devmodel.virtqueue import Side
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine

HANG_S = 20


class Ticking(Device, id=0, version=1):
    """A device with a timer; no specification but this file."""

    ticks = reg(0, u32, "so many", takes=NOTIFY)


class TickingDevice(RegisterDevice):
    schema = Ticking

    def __init__(self, name="ticking"):
        super().__init__(name)
        self.ticked, self.held = threading.Semaphore(0), []
        self.timer_ = self.timer(self.tick)

    def on_write_ticks(self, value):
        self.page.ticks = value

    def tick(self):
        self.held.append(self.control.held_by_user())
        self.page.ticks += 1
        self.ticked.release()

    def wait(self, count=1):
        for _ in range(count):
            assert self.ticked.acquire(timeout=HANG_S)


@pytest.fixture
def machine():
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((TickingDevice(), "off"),)) as made:
        yield made


@pytest.fixture
def device(machine):
    return machine.devices[0]


def test_none_goes_off_in_a_device_that_is_closed():
    class Late(TickingDevice):
        def close(self):
            self.ticked = threading.Semaphore(0)
            sleep(0.05)
            self.late = self.ticked.acquire(blocking=False)
    device = Late()
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((device, "off"),)):
        device.timer_.start(0, every_s=0.001)
        device.wait()
    assert not device.late


def test_once(device):
    began = monotonic()
    device.timer_.start(0.02)
    assert device.timer_.running
    device.wait()
    assert monotonic() - began >= 0.02
    sleep(0.05)
    assert device.page.ticks == 1 and not device.timer_.running


def test_again_and_again_until_it_is_stopped(device):
    device.timer_.start(0, every_s=0.001)
    device.wait(5)
    with device.alone():
        device.timer_.stop()
        before = device.page.ticks
    sleep(0.02)
    assert device.page.ticks == before >= 5


def test_a_new_start_replaces_the_old_one(device):
    device.timer_.start(HANG_S)
    device.timer_.start(0)
    device.wait()
    device.timer_.start(0, every_s=HANG_S)
    device.wait()
    assert device.page.ticks == 2


def test_the_earliest_comes_first(machine, device):
    order, done = [], threading.Event()
    late, early = device.timer(lambda: (order.append("late"), done.set())), device.timer(lambda: order.append("early"))
    late.start(0.04)
    early.start(0.01)
    assert done.wait(HANG_S) and order == ["early", "late"]


def test_the_device_is_held(device):
    """Though it is the kernel half's."""
    device.control.assign(Side.KERNEL)
    device.timer_.start(0)
    device.wait()
    assert device.held == [True]
    with device.lock:
        assert device.control.holder is Side.KERNEL
    device.control.assign(Side.USER)


def test_it_waits_while_the_device_is_held(device):
    with device.alone():
        device.timer_.start(0)
        sleep(0.02)
        assert device.page.ticks == 0
    device.wait()


def test_stopped_while_it_waited(device):
    with device.alone():
        device.timer_.start(0)
        sleep(0.02)
        device.timer_.stop()
    sleep(0.02)
    assert device.page.ticks == 0


def test_an_error_ends_the_machine(machine, device):
    told = []
    device.failed = told.append
    error = RuntimeError("ticked off")

    def fail():
        raise error
    bad = device.timer(fail)
    bad.start(0)
    device.timer_.start(0.01)       # the others go on
    device.wait()
    assert told == [error]


def test_none_after_the_end():
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((TickingDevice(), "off"),)) as machine:
        device = machine.devices[0]
        device.timer_.start(0, every_s=0.001)
        device.wait()
    count = len(device.held)
    sleep(0.02)
    assert len(device.held) == count and "timers" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("times", [(-1, None), (0, 0), (0, -1)])
def test_times_that_are_over(device, times):
    with pytest.raises(ValueError, match="wanted times that are not over"):
        device.timer_.start(*times)
