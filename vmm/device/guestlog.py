"""Logging of what a guest did wrong, without letting it fill the disk."""

from __future__ import annotations

import logging
from collections.abc import Hashable

MOST = 20       # messages of one source


class GuestLog:
    """Warnings about one device's guest: the first few, and then a word that it goes on."""

    def __init__(self, name: str):
        self._log, self._left = logging.getLogger(name), MOST
        self._seen: set = set()

    def warning(self, message: str, *arguments: object) -> None:
        if self._left > 0:
            self._left -= 1
            self._log.warning(message, *arguments)
            if not self._left:
                self._log.warning("there is more of this; no further messages")

    def once(self, place: Hashable, message: str, *arguments: object) -> None:
        """A warning about what a guest may do at this `place` any number of times."""
        if self._left > 0 and place not in self._seen:
            self._seen.add(place)
            self.warning(message, *arguments)
