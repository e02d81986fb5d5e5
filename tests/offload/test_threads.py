"""The threads beside the vCPUs: whom they serve, and what becomes of their errors."""

import os
import threading
from types import SimpleNamespace

import pytest

from vmm.devmodel.view import ffi
from vmm.offload.native import Collector
from vmm.offload.upcalls import Upcalls


class Device:
    """Notes what it is asked to do."""

    name, uring_queues, place = "disk0", 3, SimpleNamespace(lines=[])

    def __init__(self, upcalled=lambda queue, reason: None):
        self.failures, self.failed_once = [], threading.Event()
        self.upcalls, self.pulsed, self.polled = [], [], threading.Event()
        self._upcalled = upcalled

    def failed(self, error):
        self.failures.append(error)
        self.failed_once.set()

    def upcalled(self, queue, reason):
        self.upcalls.append(queue)
        self._upcalled(queue, reason)

    def line(self, queue):
        return SimpleNamespace(pulse=lambda: self.pulsed.append(queue))

    def poll_completions(self):
        self.polled.set()


class Library:
    """A handler's object whose collector has said all of `answers`, and then waits to be stopped."""

    def __init__(self, *answers):
        self.answers, self.done = list(answers), threading.Event()

    def device_collect(self, _handle, fd, _vm_fd, upcalls, interrupts):
        if self.answers:
            error, upcalls[0], interrupts[0] = self.answers.pop(0)
            return error
        self.done.set()
        os.eventfd_read(fd)
        upcalls[0] = interrupts[0] = 0
        return 0


def collect(device, library):
    collector = Collector(library, ffi.NULL, device, None)
    collector.start()
    assert library.done.wait(60) or device.failed_once.wait(60)
    collector.close()


def test_only_the_queue_that_asked_is_looked_at():
    """Another one may have a handler inside that waits for a frozen disk."""
    device = Device()
    collect(device, Library((0, 0b010, 0b100)))
    assert device.upcalls == [1] and device.pulsed == [2] and not device.failures


def broken(*_):
    raise ZeroDivisionError("in the device's own code")


@pytest.mark.parametrize("device, library, kind", [
    (Device(upcalled=broken), Library((0, 1, 0)), ZeroDivisionError),
    (Device(), Library((-5, 0, 0)), OSError),
])
def test_a_collector_that_fails_says_so(device, library, kind):
    library.done.set()      # it will not get there
    collector = Collector(library, ffi.NULL, device, None)
    collector.start()
    assert device.failed_once.wait(60) and isinstance(device.failures[0], kind)
    collector.close()


class Maps:
    """BPF's ring buffer of upcalls, with as many `calls` in it as are wanted."""

    ffi = ffi

    def __init__(self, calls):
        self.calls, self.lib = calls, self
        self.fd = os.eventfd(1, os.EFD_CLOEXEC)

    def ring(self, _name, _size):
        return self.fd

    def records_open(self, _fd, size):
        self.size = size
        return 1

    def records_fd(self, _handle):
        return self.fd

    def records_take(self, _handle, _records, _most):
        return self.calls

    def records_close(self, _handle):
        os.close(self.fd)


def test_completions_are_polled_by_the_clock():
    """However often it is called in between."""
    device, failed = Device(), []
    upcalls = Upcalls(Maps(0), 0, lambda access: None, {0: device}, failed.append, lambda: None)
    assert device.polled.wait(60) and not failed
    upcalls.close()


def test_an_upcall_that_fails_says_so():
    failed, told = [], threading.Event()
    upcalls = Upcalls(Maps(1), 0, broken, {}, lambda error: (failed.append(error), told.set()), lambda: None)
    assert told.wait(60) and isinstance(failed[0], ZeroDivisionError)
    upcalls.close()
