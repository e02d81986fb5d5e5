"""Keys of a terminal: those for the guest, those for us, and what happens with too many."""

import os
import pty
import select
import termios
import threading

import pytest

from vmm.devices import terminal
from vmm.devices.terminal import HELD_BYTES, Sink, Terminal

ENOUGH_S = 60


class Guest:
    """Takes `room` bytes, and then no more."""

    def __init__(self, room):
        self.room, self.got = room, bytearray()
        self.stopped, self.failures, self.failed = threading.Event(), [], threading.Event()
        self.fd = os.eventfd(1, os.EFD_CLOEXEC)

    def receive(self, data):
        taken = data[:self.room - len(self.got)]
        self.got += taken
        if len(self.got) == self.room:
            os.eventfd_read(self.fd)
        return len(taken)

    def fail(self, error):
        self.failures.append(error)
        self.failed.set()


@pytest.fixture
def keyboard(monkeypatch):
    """A terminal in standard input's place: (our end, its end)."""
    ours, theirs = pty.openpty()
    monkeypatch.setattr(terminal, "STDIN", theirs)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def open_terminal(guest):
    made = Terminal(Sink(guest.fd, select.POLLIN, guest.receive), guest.stopped.set, guest.fail)
    made.start()
    return made


def test_keys_for_us_come_through_a_full_guest(keyboard):
    """More than is held is typed: the rest is dropped, Ctrl-A x is seen; the terminal is given back."""
    ours, theirs = keyboard
    before, guest = termios.tcgetattr(theirs), Guest(2)
    made = open_terminal(guest)
    os.write(ours, b"\1\1b")
    for _ in range(2 * HELD_BYTES // 1024):
        os.write(ours, b"y" * 1024)
    os.write(ours, b"\1x")
    assert guest.stopped.wait(ENOUGH_S) and guest.got == b"\1b"
    made.close()
    assert termios.tcgetattr(theirs) == before


def test_a_failure_ends_the_machine(keyboard):
    guest = Guest(2)
    guest.receive = lambda data: 1 // 0
    made = open_terminal(guest)
    os.write(keyboard[0], b"a")
    assert guest.failed.wait(ENOUGH_S) and isinstance(guest.failures[0], ZeroDivisionError)
    made.close()
