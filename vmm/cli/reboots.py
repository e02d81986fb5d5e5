"""How often a guest may start again."""

from __future__ import annotations

REFUSED = 101       # exit status
LOOP, QUICK_S = 5, 60.0     # so many restarts, none of them later than that after its start, are a loop


class Reboots:
    """`most` restarts in all; with None, any number that is no loop."""

    def __init__(self, most: int | None):
        self._most, self._count, self._quick = most, 0, 0

    def refused(self, ran_s: float) -> str:
        """"" if a guest that ran for so long may start again; else why not."""
        self._count += 1
        self._quick = self._quick + 1 if ran_s < QUICK_S else 0
        if self._most is not None:
            allowed = f"wanted at most {self._most} (--reboots)" if self._most else "it may not (--no-reboot)"
            return f"the guest restarts for the {_th(self._count)} time; {allowed}" if self._count > self._most else ""
        if self._quick > LOOP:
            return (f"the guest has restarted {LOOP} times in a row within {QUICK_S:.0f} s of its start, and does so "
                    "again; --reboots N allows more")
        return ""


def _th(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number // 10 % 10 == 1 else ending}"
