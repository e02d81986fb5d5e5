"""A keyboard controller and its keyboard (Intel 8042; IBM PS/2 Technical Reference, "Keyboard and Auxiliary Device
Controller"), as far as a BIOS and a boot loader use them.  There is no mouse."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from . import keymap

# status
OUTPUT_FULL, SYSTEM_FLAG, COMMAND, UNLOCKED = 1 << 0, 1 << 2, 1 << 3, 1 << 4
# command byte
INTERRUPT, DISABLED, TRANSLATE = 1 << 0, 1 << 4, 1 << 6
# commands to the controller
READ_COMMAND_BYTE, WRITE_COMMAND_BYTE, SELF_TEST, TEST_KEYBOARD = 0x20, 0x60, 0xaa, 0xab
DISABLE_AUXILIARY, ENABLE_AUXILIARY, TEST_AUXILIARY = 0xa7, 0xa8, 0xa9
DISABLE, ENABLE, READ_OUTPUT_PORT, WRITE_OUTPUT_PORT, PULSE_RESET = 0xad, 0xae, 0xd0, 0xd1, 0xfe
SELF_TEST_PASSED, NO_AUXILIARY = 0x55, 0xff
NOT_RESET, A20 = 1 << 0, 1 << 1             # output port
# commands to the keyboard, and its answers
RESET, IDENTIFY, ECHO, ENABLE_SCANNING, DEFAULTS_OFF = 0xff, 0xf2, 0xee, 0xf4, 0xf5
LAMPS, SCAN_CODE_SET, TYPEMATIC = 0xed, 0xf0, 0xf3      # which have an argument
ACKNOWLEDGED, TEST_PASSED, MODEL = 0xfa, 0xaa, (0xab, 0x83)
ANSWERS_MOST = 16           # bytes that a guest has yet to read; what is more is lost


class Keyboard:
    """Ports 0x60 and 0x64, which are `offset` 0 and 4.  `type` has keys pressed, each when the one before was
    read, and none before the keyboard is told to look at them: a BIOS throws away what comes earlier."""

    def __init__(self, reset: Callable[[], None], line=None):
        """`reset()` starts the guest again; `line` is the interrupt line."""
        self._reset, self._line, self._lock = reset, line, threading.Lock()
        self._answers: deque[int] = deque()     # of the controller, or of the keyboard to a command
        self._keys: deque[int] = deque()        # scan codes of set 1, in which the controller translates them
        self._command_byte, self._scanning = SYSTEM_FLAG | TRANSLATE, False
        self._wanted = 0                        # the command whose argument comes next at port 0x60
        self._argument_of_keyboard = False

    def type(self, text: str) -> None:
        """Press keys.  Raises UserError for what is on no key."""
        codes = keymap.scan_codes(text)
        with self._lock:
            self._keys += codes
            self._raise()

    @property
    def typed(self) -> bool:
        """Whether the guest has read all that was typed."""
        return not self._keys

    def port(self, offset: int) -> Port:
        """One of both alone: the timer's is between them."""
        return Port(self, offset)

    # the guest's accesses

    def read(self, offset: int, width: int) -> int:
        with self._lock:
            if offset == 4:
                return SYSTEM_FLAG | UNLOCKED | (OUTPUT_FULL if self._output() else 0)
            if offset or not (output := self._output()):
                return 0
            value = output.popleft()
            self._raise()
            return value

    def write(self, offset: int, width: int, value: int) -> None:
        value &= 0xff
        if offset == 4 and value == PULSE_RESET:
            self._reset()
            return
        with self._lock:
            if offset == 4:
                self._command(value)
            elif offset == 0:
                self._data(value)
            self._raise()

    def _output(self) -> deque[int]:
        """What port 0x60 is read from: keys once every answer was."""
        pressed = self._scanning and not self._command_byte & DISABLED
        return self._answers or (self._keys if pressed else self._answers)

    def _raise(self) -> None:
        if self._line and self._output() and self._command_byte & INTERRUPT:
            self._line.pulse()

    def _answer(self, *data: int) -> None:
        self._answers += data[:ANSWERS_MOST - len(self._answers)]

    def _command(self, value: int) -> None:
        """A command to the controller."""
        answers = {READ_COMMAND_BYTE: self._command_byte, SELF_TEST: SELF_TEST_PASSED, TEST_KEYBOARD: 0,
                   TEST_AUXILIARY: NO_AUXILIARY, READ_OUTPUT_PORT: NOT_RESET | A20}
        self._wanted = 0
        if value in answers:
            self._answer(answers[value])
        elif value in (ENABLE, DISABLE):
            self._command_byte = self._command_byte & ~DISABLED | (DISABLED if value == DISABLE else 0)
        elif value not in (ENABLE_AUXILIARY, DISABLE_AUXILIARY) and value < 0xf0:
            self._wanted = value        # with an argument, all others have one

    def _data(self, value: int) -> None:
        """An argument of a command, or a byte to the keyboard."""
        wanted, self._wanted = self._wanted, 0
        if wanted == WRITE_COMMAND_BYTE:
            self._command_byte = value
        elif not wanted:
            self._to_keyboard(value)

    def _to_keyboard(self, value: int) -> None:
        if self._argument_of_keyboard:
            self._argument_of_keyboard = False
            self._answer(ACKNOWLEDGED)
            return
        answers = {RESET: (ACKNOWLEDGED, TEST_PASSED), IDENTIFY: (ACKNOWLEDGED, *MODEL), ECHO: (ECHO,)}
        self._answer(*answers.get(value, (ACKNOWLEDGED,)))
        self._argument_of_keyboard = value in (LAMPS, SCAN_CODE_SET, TYPEMATIC)
        if value in (RESET, ENABLE_SCANNING, DEFAULTS_OFF):
            self._scanning = value == ENABLE_SCANNING


class Port:
    """A port of a keyboard controller's."""

    def __init__(self, keyboard: Keyboard, offset: int):
        self._keyboard, self._offset = keyboard, offset

    def read(self, _offset: int, width: int) -> int:
        return self._keyboard.read(self._offset, width)

    def write(self, _offset: int, width: int, value: int) -> None:
        self._keyboard.write(self._offset, width, value)
