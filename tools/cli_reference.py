"""docs/cli.md, the command line: from its parser.

    python -m tools.cli_reference [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator

from vmm.cli.main import make_parser
from vmm.cli.parser import Attached, commands_of
from vmm.paths import ROOT

from .reference import written

PAGE = ROOT / "docs" / "cli.md"
HEAD = """# Command line

Made from the parser of `splitvmm` by `python -m tools.cli_reference`; `splitvmm COMMAND --help` says the same, and so
do the manual pages (`make man`).
"""


TYPED = re.compile(r"""@[a-z]+ | (?<![\w/-])--?[a-z][a-z-]*(?:=[\w.\[\]=,]*\w)? | \w+=[\w\[\]:|]+(?:\.{3}\])?""",
                   re.VERBOSE)


def page() -> str:
    return "\n\n".join([HEAD.strip(), *_command(make_parser(), "", "#")]) + "\n"


def _command(parser: argparse.ArgumentParser, summary: str, level: str) -> Iterator[str]:
    """A section, and one of each of its commands; `messages` are in the first one alone."""
    yield f"`{_synopsis(parser)}`"
    yield _marked(parser.description or summary)
    for title, lines in _tables(parser, level).items():
        yield from [f"**{title[:1].upper()}{title[1:]}**"] * bool(title)
        yield "\n".join(["| | |", "|---|---|", *lines])
    if parser.epilog:
        yield _marked(parser.epilog)
    for command, said in commands_of(parser).values():
        yield f"{level}# `{command.prog}`"
        yield from _command(command, said, level + "#")


def _synopsis(parser: argparse.ArgumentParser) -> str:
    takes = [_value(action) for action in parser._actions if not action.option_strings]
    return " ".join([parser.prog, "[OPTION]...", *takes])


def _tables(parser: argparse.ArgumentParser, level: str) -> dict[str, list[str]]:
    """Title -> lines; what argparse has groups of its own for has none."""
    found: dict[str, list[str]] = {}
    for group in parser._action_groups:
        title = "" if group.title in ("positional arguments", "options") else group.title or ""
        lines = [_line(parser, action) for action in group._group_actions if _is_told(action)]
        if lines and (title != "messages" or level == "#"):
            found.setdefault(title, []).extend(lines)
    return found


def _is_told(action: argparse.Action) -> bool:
    """Whether a table has it: --help is everywhere, and commands have sections of their own."""
    return action.help is not argparse.SUPPRESS and not isinstance(
        action, argparse._HelpAction | argparse._SubParsersAction)


def _line(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    value = _value(action)
    attached = "" if not value else value if isinstance(action, Attached) else f" {value}"
    name = ", ".join(f"{option}{attached}" for option in action.option_strings) or value
    says = argparse.HelpFormatter(parser.prog)._expand_help(action)
    return f"| `{_in_cell(name)}` | {_in_cell(_marked(says))} |"


def _value(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    if isinstance(action, Attached):
        return f"[={name}]"
    return {0: "", "?": f"[{name}]", "*": f"[{name}]..."}.get(action.nargs, name)


def _in_cell(text: str) -> str:
    return text.replace("|", r"\|")


def _marked(text: str) -> str:
    """Help as Markdown: what is typed is code."""
    words = re.split(r"(`[^`]*`)", " ".join(text.split()))
    words[::2] = [TYPED.sub(r"`\g<0>`", word).replace("*", r"\*").replace("<", r"\<") for word in words[::2]]
    return "".join(words)


if __name__ == "__main__":
    sys.exit(written(PAGE, page(), "the parser says", sys.argv[1:]))
