"""How a signal ends `splitvmm run`: in order, whatever it is doing, and at once if that hangs."""

from __future__ import annotations

import logging
import os
import signal
import threading
from time import monotonic

from ..errors import UserError

POWER_S = 10        # for the guest to power off after its button was pressed
CLOSE_S = 10        # for the machine to come down
BOUNCE_S = 0.2      # SIGTERMs that are one: timeout(1) signals the process, and its group

log = logging.getLogger("splitvmm")


class Ending:
    """Takes SIGINT, SIGTERM, SIGHUP and SIGWINCH on a thread of its own, for the block; they are blocked
    everywhere else, so that no system call and no line of Python is ever interrupted by one.

    SIGTERM presses the guest's power button, if it has one.  A second one, POWER_S, or any other
    signal ends the guest.  `machine` is None while none runs: one that is being made then ends as soon as it is
    made, so that its devices are closed.
    """

    def __init__(self):
        self.status: int | None = None      # what the command ends with, once a signal has ended it
        self.asked = False                  # the guest was asked to power off
        self._machine = None
        self._deadline: float | None = None
        self._closing = False
        self._lock = threading.Lock()
        self._taken = {signal.SIGWINCH, *(number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
                                          if signal.getsignal(number) != signal.SIG_IGN)}  # nohup(1), `&` in a script
        self._thread = threading.Thread(target=self._run, daemon=True, name="signals")

    def __enter__(self) -> Ending:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._closing = True
        signal.pthread_kill(self._thread.ident, signal.SIGWINCH)
        self._thread.join()
        if self.status is None:     # else further signals would end what is ending already
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    @property
    def machine(self):
        return self._machine

    @machine.setter
    def machine(self, machine) -> None:
        with self._lock:
            self._machine = machine
            if machine and self.status is not None:     # it came while there was none
                machine.abort(self.status)

    def _run(self) -> None:
        while not self._closing:
            left = None if self._deadline is None else max(0.0, self._deadline - monotonic())
            info = signal.sigwaitinfo(self._taken) if left is None else signal.sigtimedwait(self._taken, left)
            with self._lock:
                try:
                    if not self._closing:
                        self._take(info.si_signo if info else None)
                except Exception as error:
                    self._failed(error)

    def _failed(self, error: Exception) -> None:
        if self._machine is None:
            raise error
        self._machine.running.failed(error)

    def _take(self, number: int | None) -> None:
        """A signal, or None at the deadline."""
        if number == signal.SIGWINCH:
            if self._machine:
                self._machine.terminal_resized()
        elif number is None:
            self._overdue()
        elif self._machine is None:
            self.status = self.status or 128 + number
            self._deadline = self._deadline or monotonic() + CLOSE_S
        elif self.status is None:
            self._end(number)

    def _end(self, number: int) -> None:
        now = monotonic()
        if number == signal.SIGTERM and self.asked and now < self._deadline - POWER_S + BOUNCE_S:
            return
        if number == signal.SIGTERM and not self.asked and self._pressed():
            self.asked = True
            self._deadline = now + POWER_S
            log.warning("SIGTERM: the guest's power button is pressed; it has %d s", POWER_S)
            return
        self.status = 128 + number
        self._deadline = now + CLOSE_S
        self._machine.abort(self.status)

    def _pressed(self) -> bool:
        """Whether the guest has a power button, and knows now that it is pressed."""
        try:
            return self._machine.press_power_button()
        except UserError:       # the machine is coming down
            return False

    def _overdue(self) -> None:
        if self.status is None:
            self._end(signal.SIGTERM)
            return
        log.warning("the machine does not come down in %d s; it ends as it is", CLOSE_S)
        if self._machine and self._machine.terminal:
            self._machine.terminal.restore()
        os._exit(self.status)
