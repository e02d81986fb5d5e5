"""What the tools' command lines have in common."""

from __future__ import annotations

import argparse


def listed(text: str, known: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """The names in `text`, between commas; an error of the command line's unless all are known."""
    names = text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"{name}: no such; wanted some of {', '.join(known)}")
    return names
