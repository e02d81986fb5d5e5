"""What is typed, as scan codes of set 1 of an American keyboard (IBM PS/2 Technical Reference, "Keyboards")."""

from __future__ import annotations

import re

from ..errors import UserError

RELEASED, EXTENDED, SHIFT = 0x80, 0xe0, 0x2a
_ROWS = ((0x02, "1234567890-=", "!@#$%^&*()_+"), (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
         (0x1e, "asdfghjkl;'`", 'ASDFGHJKL:"~'), (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"), (0x39, " ", ""))
_PLAIN = {character: code for start, plain, _ in _ROWS for code, character in enumerate(plain, start)}
_SHIFTED = {character: code for start, _, shifted in _ROWS for code, character in enumerate(shifted, start)}
_NAMED = {"esc": 0x01, "backspace": 0x0e, "tab": 0x0f, "enter": 0x1c, "home": 0x47, "up": 0x48, "pageup": 0x49,
          "left": 0x4b, "right": 0x4d, "end": 0x4f, "down": 0x50, "pagedown": 0x51, "delete": 0x53}
_NAMED |= {f"f{number}": 0x3a + number for number in range(1, 11)}
_ON_THE_RIGHT = range(0x47, 0x54)       # of the main part: EXTENDED is before their codes


def scan_codes(text: str) -> list[int]:
    """Each character's key is pressed and let go; `<enter>` is a key by its name, `<lt>` the character <.
    Raises UserError."""
    return [code for part in re.findall(r"<\w+>|.|\n", text) for code in _key(part)]


def _key(part: str) -> list[int]:
    name = "enter" if part == "\n" else part[1:-1]
    if part == "<lt>":
        return _shifted(_SHIFTED["<"])
    if name in _NAMED:
        code = _NAMED[name]
        before = [EXTENDED] if code in _ON_THE_RIGHT else []
        return [*before, code, *before, code | RELEASED]
    if part in _PLAIN:
        return [_PLAIN[part], _PLAIN[part] | RELEASED]
    if part in _SHIFTED:
        return _shifted(_SHIFTED[part])
    raise UserError(f"key {part!r}; wanted a character of an American keyboard, or one of "
                    f"{', '.join(f'<{name}>' for name in _NAMED)}")


def _shifted(code: int) -> list[int]:
    return [SHIFT, code, code | RELEASED, SHIFT | RELEASED]
