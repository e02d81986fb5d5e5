"""What pages tell their readers to do can be done, and comes to what they say."""

import os
import re
import shutil
import sys

import pytest

from tests.docs.blocks import Block, blocks, do, shows
from vmm.paths import ROOT

PAGES = ("docs/firmware.md", "docs/getting-started.md", "docs/guests.md", "docs/recording.md", "docs/schema.md",
         "docs/top.md", "docs/tuning.md", "docs/verify.md",
         "examples/adder/README.md", "examples/blitter/README.md", "examples/louder/README.md")


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Where `splitvmm` and `python` are those under test."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, command in (("splitvmm", f"{sys.executable} -m vmm"), ("python", sys.executable)):
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "PYTEST_ADDOPTS")}
    return {**kept, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def folder(request, tmp_path):
    """Where a reader is: an empty folder, or, of an example, a copy of its own."""
    there, page = tmp_path / "here", ROOT / request.param
    if page.name == "README.md" and list(page.parent.glob("*.py")):
        shutil.copytree(page.parent, there, ignore=shutil.ignore_patterns("build", "__pycache__"))
    else:
        there.mkdir()
    return there


@pytest.mark.parametrize("page, folder", [(page, page) for page in PAGES], indirect=["folder"], ids=PAGES)
def test_each_command(page, folder, environment, clang, request):
    found, missing = blocks((ROOT / page).read_text()), set()
    assert len(found) == (ROOT / page).read_text().count("\n```") / 2
    for block in found:
        try:
            for name in block.needs:
                request.getfixturevalue(name)
        except pytest.skip.Exception as reason:
            missing.add(str(reason))
        else:
            do(block, folder, environment)
    if missing:
        pytest.skip("; ".join(sorted(missing)))


@pytest.mark.parametrize("page", PAGES)
def test_targets_of_make_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("said, shown, fits", [
    ("", "", True), ("a\n", "", False), ("a b\nc\n", "a b\nc\n", True), ("a 12 b\n", "a … b\n", True),
    ("a 12 c\n", "a … b\n", False),
    ("a\nb\nc\n", "…\nc\n", True), ("c\n", "…\nc\n", True), ("c\nd\n", "…\nc\n", False), ("c\nd\n", "…\nc\n…\n", True),
    ("a\nb\n", "a…\n", False), ("a.b\n", "a.b\n", True), ("axb\n", "a.b\n", False), ("no end", "no …\n", True)])
def test_what_is_shown_is_held_against_what_is_said(said, shown, fits):
    assert shows(said, shown) == fits


@pytest.mark.parametrize("text, says", [
    ("$ echo yes\nno\n", "said\nyes"), ("$ false\n", "ended with 1; wanted 0"), ("yes\n", "wanted a command")])
def test_a_page_that_is_not_true(tmp_path, text, says):
    with pytest.raises(AssertionError, match=re.escape(says)):
        do(Block("console", "", text), tmp_path, dict(os.environ))


def test_files_and_changes(tmp_path):
    page = '```c title="a.c"\none\ntwo\n```\n```diff title="a.c"\n one\n-two\n+three\n```\n'
    for block in blocks(page):
        do(block, tmp_path, {})
    assert (tmp_path / "a.c").read_text() == "one\nthree\n"
    with pytest.raises(AssertionError, match="has 0 times"):
        do(blocks(page)[1], tmp_path, {})
