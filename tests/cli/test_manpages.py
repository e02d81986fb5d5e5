"""Manual pages: nothing is missing, and man(1) has nothing to complain of."""

import argparse
import shutil
import subprocess

import pytest

from vmm.cli.main import make_parser

manpages = pytest.importorskip("tools.manpages", reason="argparse-manpage is not installed: make man")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("man") / "new"
    assert manpages.main([str(folder)]) == 0
    return {path.stem: path for path in folder.iterdir()}


def actions(parser):
    """Those that a page has: `--help` is on none."""
    return [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]


def words(path) -> str:
    """A page's text, without what makes it bold."""
    return path.read_text().replace(r"\-", "-").replace(r"\fB", "").replace(r"\fR", "")


def test_all_is_there(pages):
    root = make_parser()
    commands, = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    assert set(pages) == {"splitvmm", *(f"splitvmm-{name}" for name in commands.choices)}
    for name in commands.choices:
        assert f".BR splitvmm-{name} (1)" in words(pages["splitvmm"])
    for name, parser in {"splitvmm": root, **{f"splitvmm-{n}": p for n, p in commands.choices.items()}}.items():
        said = words(pages[name])
        for action in actions(parser):
            for option in action.option_strings:
                assert any(line.startswith(option) or f", {option}" in line for line in said.splitlines()), option
            if action.metavar and action is not commands:
                assert action.metavar in said.split(".SH DESCRIPTION")[1]


@pytest.mark.parametrize("command", [["man", "--warnings", "-E", "UTF-8", "-l"], ["mandoc", "-Tlint", "-Wwarning"]])
def test_nothing_is_amiss(pages, command):
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} on this machine")
    for path in pages.values():
        done = subprocess.run([*command, path], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", path
        assert command[0] == "mandoc" or path.stem.upper() in done.stdout
        assert command[0] == "man" or done.stdout == ""
