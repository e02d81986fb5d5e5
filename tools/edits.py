"""Faults are put into the project's own text: small edits of copies."""

from __future__ import annotations


def place_of(file: str, text: str, old: str) -> int:
    """Where `old` is in the text of a file.  Raises LookupError if it is not there once."""
    if text.count(old) != 1:
        raise LookupError(f"{file}: {text.count(old)} times {old!r}; wanted it once")
    return text.index(old)


def replaced(file: str, text: str, old: str, new: str) -> str:
    """Raises LookupError as place_of() does."""
    at = place_of(file, text, old)
    return text[:at] + new + text[at + len(old):]
