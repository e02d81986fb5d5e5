"""`splitvmm completion`: scripts by which a shell completes command lines, made from the parser by shtab."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from .parser import Attached

SHELLS = ("bash", "zsh", "tcsh")
FILES, FOLDERS = ("FILE", "GUEST"), ("DIR",)        # metavars of arguments that are paths


def add(commands, root) -> None:
    completion = commands.add_parser(
        "completion", help="print the script by which a shell completes command lines",
        description="Print the script by which a shell completes command lines of splitvmm.",
        epilog="For this session of bash: source <(splitvmm completion bash).  For all of them, write it to "
        "~/.local/share/bash-completion/completions/splitvmm; for zsh, to _splitvmm in a folder of $fpath.")
    completion.set_defaults(func=partial(_print, root), parser=completion)
    completion.add_argument("shell", metavar="SHELL", choices=SHELLS, help=" or ".join((", ".join(SHELLS[:-1]),
                                                                                       SHELLS[-1])))


def _print(root, options) -> int:
    import shtab
    for action in _actions(root):
        _mark(action, shtab)
    sys.stdout.write(shtab.complete(root, options.shell) + "\n")
    return 0


def _actions(parser):
    """All of a parser's, and of its commands'."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _mark(action, shtab) -> None:
    """Tell shtab what argparse does not know of an action, or otherwise."""
    kind = (action.metavar or "").removeprefix("[path=]").partition("[")[0]
    if isinstance(action, argparse._SubParsersAction):
        return
    if action.choices:
        action.choices = list(action.choices)       # a dict would be taken for one of commands
    elif isinstance(action, Attached):
        action.nargs = 0        # the word behind it is another's
    elif kind in FILES or kind == "FILE.py":
        action.complete = shtab.FILE
    elif kind in FOLDERS:
        action.complete = shtab.DIRECTORY
