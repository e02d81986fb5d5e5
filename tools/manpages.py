"""Write the manual pages from the command line's parser: one of splitvmm, one of each of its commands.

    python -m tools.manpages FOLDER
"""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from argparse_manpage.manpage import Manpage

from vmm.cli.main import make_parser
from vmm.cli.parser import commands_of, version

SUMMARY = "virtual machines whose devices live on both sides of the kernel boundary"


def pages() -> dict[str, str]:
    """Name -> text, as man(7) has it."""
    root = make_parser()
    found = {f"splitvmm-{name}": _page(parser, f"splitvmm-{name}", summary)
             for name, (parser, summary) in commands_of(root).items()}
    for action in root._actions:
        if isinstance(action, argparse._SubParsersAction):
            action.choices.clear()      # of the commands, splitvmm's own page has the names
    return {"splitvmm": _page(root, "splitvmm", SUMMARY, tuple(found))} | found


def _page(parser, name: str, summary: str, others: tuple[str, ...] = ("splitvmm",)) -> str:
    page = Manpage(parser, {"project_name": "splitvmm", "version": version(), "manual_title": "User Commands",
                            "description": summary})
    page.prog = name
    page.date = datetime.fromisoformat(page.date).strftime("%B %-d, %Y")   # no hyphens, which it would escape
    page.add_section("see also", "=", "\n".join(f".BR {other} (1)" for other in others).replace("-", r"\-"))
    return str(page)


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / f"{name}.1").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
