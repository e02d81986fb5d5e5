"""What all commands' options have in common: how a mistake ends, and two kinds of option that argparse lacks."""

from __future__ import annotations

import argparse
import os
import sys
from functools import cache

from . import standard


class Formatter(argparse.HelpFormatter):
    """argparse makes one for each argument, and has shutil imported for the width, which takes as long as all else of
    a guest's command line."""

    def __init__(self, prog: str, **options):
        super().__init__(prog, **{"width": _columns() - 2, **options})


@cache
def _columns() -> int:
    """The terminal's, as shutil.get_terminal_size() has it."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):
        return 80


class Parser(argparse.ArgumentParser):
    """Ends with EX_USAGE, after the usage of the command that was given."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{"formatter_class": Formatter, **options})

    def error(self, message: str):
        standard.tell(f"{self.format_usage()}{self.prog}: {message}\n")
        self.exit(os.EX_USAGE)

    def parse_known_args(self, args=None, namespace=None):
        args = list(sys.argv[1:] if args is None else args)
        end = args.index("--") if "--" in args else len(args)
        return super().parse_known_args([*map(self._attach, args[:end]), *args[end:]], namespace)

    def _get_values(self, action, arg_strings):
        """`--option=--` as its value is written: argparse takes it for the end of options, and for no value."""
        if action.option_strings and arg_strings == ["--"]:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value
        return super()._get_values(action, arg_strings)

    def _attach(self, word: str) -> str:
        """A word as argparse shall see it: an Attached option without a value is given its default there."""
        known = self._option_string_actions
        named = [word] if word in known else [name for name in known if word[:2] == "--" and name.startswith(word)]
        if len(named) == 1 and isinstance(known[named[0]], Attached):
            return f"{word}={known[named[0]].const}"
        return word


class Attached(argparse.Action):
    """An option whose value, if it has one, is attached by `=`: the word behind it is another's.  Without, it is
    `const`."""

    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, dest, nargs="?", **options)

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, values)


class Version(argparse.Action):
    """Prints the version, and ends."""

    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        sys.stdout.write(f"{parser.prog} {version()}\n")
        parser.exit()


def commands_of(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Of each of its commands the name, the parser and what its parent's help says of it; none if it has none."""
    return {told.dest: (action.choices[told.dest], told.help or "")
            for action in parser._actions if isinstance(action, argparse._SubParsersAction)
            for told in action._choices_actions}


def version() -> str:
    """That of pyproject.toml: as it was installed, or of the checkout itself where it never was."""
    from importlib import metadata

    from ..paths import ROOT
    try:
        return metadata.version("splitvmm")
    except metadata.PackageNotFoundError:
        import tomllib
        return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
