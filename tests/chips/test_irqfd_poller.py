"""Eventfds that raise interrupts, without KVM."""

import os
import threading

import pytest

from vmm.chips.irqfd import IrqfdPoller
from vmm.errors import UserError


class Pulses:
    """Counts them, and can be waited for."""

    def __init__(self):
        self.gsis, self._more = [], threading.Semaphore(0)

    def __call__(self, gsi):
        self.gsis.append(gsi)
        self._more.release()

    def wait(self, count):
        for _ in range(count):
            assert self._more.acquire(timeout=10)


@pytest.fixture
def pulses():
    return Pulses()


@pytest.fixture
def poller(pulses):
    made = IrqfdPoller(pulses)
    yield made
    made.close()


@pytest.fixture
def fds():
    made = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2)]
    yield made
    for fd in made:
        os.close(fd)


def test_each_raises_its_own(poller, pulses, fds):
    for fd, gsi in zip(fds, (5, 24)):
        poller.register(fd, gsi)
    os.eventfd_write(fds[1], 3)
    pulses.wait(1)
    os.eventfd_write(fds[0], 1)
    pulses.wait(1)
    assert pulses.gsis == [24, 5]
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fds[1])


def test_one_that_was_signalled_before(poller, pulses, fds):
    os.eventfd_write(fds[0], 1)
    poller.register(fds[0], 7)
    pulses.wait(1)
    assert pulses.gsis == [7]


def test_no_longer(poller, pulses, fds):
    """It keeps what it is told then, for whoever registers it next."""
    poller.register(fds[0], 7)
    poller.unregister(fds[0])
    os.eventfd_write(fds[0], 1)
    poller.register(fds[1], 8)
    os.eventfd_write(fds[1], 1)
    pulses.wait(1)
    assert pulses.gsis == [8] and os.eventfd_read(fds[0]) == 1


def test_many_at_once(poller, pulses, fds):
    """What is signalled while it is being read is one more pulse, or the same; the last one is never lost."""
    poller.register(fds[0], 9)
    for _ in range(1000):
        os.eventfd_write(fds[0], 1)
    pulses.wait(1)
    poller.unregister(fds[0])
    with pytest.raises(BlockingIOError):
        while True:
            os.eventfd_read(fds[0])
    assert 1 <= len(pulses.gsis) <= 1000


def test_what_cannot_be(poller, fds):
    poller.register(fds[0], 7)
    with pytest.raises(UserError, match=f"irqfd {fds[0]} raises GSI 7 already; wanted one"):
        poller.register(fds[0], 8)
    with pytest.raises(UserError, match=f"irqfd {fds[1]} raises no GSI"):
        poller.unregister(fds[1])
    blocking = os.eventfd(0)
    with pytest.raises(UserError, match="wanted an eventfd with EFD_NONBLOCK"):
        poller.register(blocking, 9)
    os.close(blocking)
