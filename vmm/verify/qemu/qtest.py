"""The client's side of QEMU's qtest protocol: accesses to guest-physical memory and registers, as lines of text, and
the machine's interrupt lines (QEMU, softmmu/qtest.c)."""

from __future__ import annotations

import socket
from collections import Counter

WIDTHS = {1: "b", 2: "w", 4: "l", 8: "q"}       # bytes -> the command's last letter
TIMEOUT_S = 5.0


class QemuGone(ConnectionError):
    """QEMU ended, or does not answer."""


class Qtest:
    """Writes are kept until something is read, or `flush` is called: one exchange for all of them."""

    def __init__(self, connection: socket.socket):
        self._socket, self._pending = connection, list[str]()
        self._socket.settimeout(TIMEOUT_S)
        self._lines = connection.makefile("r", encoding="ascii", newline="\n")
        self.raised: Counter[int] = Counter()       # interrupt lines, how often each rose

    def write(self, address: int, width: int, value: int) -> None:
        self._pending.append(f"write{WIDTHS[width]} {address:#x} {value & (1 << 8 * width) - 1:#x}")

    def read(self, *accesses: tuple[int, int]) -> list[int]:
        """What is at each (address, width), read in this order.  Raises QemuGone."""
        self._pending += [f"read{WIDTHS[width]} {address:#x}" for address, width in accesses]
        answers = self.flush()
        return [int(answer, 16) for answer in answers[len(answers) - len(accesses):]]

    def intercept(self, device: str) -> None:
        """Have the lines into a device told of, and not reach it."""
        self._pending.append(f"irq_intercept_in {device}")
        self.flush()

    def flush(self) -> list[str]:
        """Send what is kept; what was answered to each.  Raises QemuGone."""
        commands, self._pending = self._pending, []
        try:
            self._socket.sendall("".join(f"{command}\n" for command in commands).encode())
            return [self._answer(command) for command in commands]
        except OSError as error:
            raise QemuGone(f"QEMU: {error}") from None

    def _answer(self, command: str) -> str:
        while True:
            word, _, rest = self._lines.readline().strip().partition(" ")
            if word == "OK":
                return rest
            if word != "IRQ":
                raise QemuGone(f"QEMU answers {word or 'nothing'} {rest} to {command}; wanted OK")
            edge, _, line = rest.partition(" ")
            if edge == "raise":
                self.raised[int(line)] += 1

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
