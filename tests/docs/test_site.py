"""The site: every page is there, leads to what is there, and reads as it was meant."""

import argparse
import re
import subprocess
import sys

import pytest

from tools import cli_reference, site
from vmm.cli.main import make_parser
from vmm.cli.parser import commands_of
from vmm.paths import ROOT


@pytest.mark.parametrize("link, becomes", [
    ("](../vmm/sync/PROTOCOL.md)", "](protocol.md)"), ("](../ARCHITECTURE.md#words)", "](architecture.md#words)"),
    ("](reference.md)", "](reference.md)"), ("](../examples/adder/adder.py)", "](source/examples/adder/adder.py.md)"),
    ("](https://example.org/a.md)", "](https://example.org/a.md)"), ("](#here)", "](#here)"),
    ("](measured/blk.json)", "](measured/blk.md)"),
    ("```\n[a](../ARCHITECTURE.md)\n```", "```\n[a](../ARCHITECTURE.md)\n```")])
def test_links(link, becomes):
    assert site._moved(f"a\n{link}\nb", "docs/getting-started.md", "getting-started.md") == f"a\n{becomes}\nb"


def test_a_link_to_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "_sources", lambda text, path: {"nothing.c"})
    with pytest.raises(LookupError, match=r"a page leads to nothing.c; wanted a file that is there"):
        site.assemble(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")
    folder = tmp_path_factory.mktemp("site")
    site.assemble(folder / "pages")
    (folder / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text().replace("build/", ""))
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr    # with a warning, say of a link that leads nowhere, it is another
    return folder / "site"


def test_every_page_of_the_source_is_there(built):
    pages = {*site.PAGES, *site.MEASURED, *(path.name for path in (ROOT / "docs").glob("*.md"))}
    listed = set(re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == pages
    assert not [page for page in pages if not (built / page.replace(".md", ".html")).is_file()]


def test_nothing_is_loaded_from_elsewhere(built):
    loads = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*(?:src|href)=["']?(?:https?:)?//""")
    assert not [str(path) for path in built.rglob("*.html") if loads.search(path.read_text())]


def test_lists_are_lists(built):
    """Where a paragraph goes on as a list, CommonMark has one, and Python-Markdown does not."""
    paragraph = re.compile(r"<p>(?:(?!</p>).)*?\n(?:[-*] |\d+\. |\|)", re.DOTALL)
    assert not [(str(path), found[0][-60:]) for path in built.rglob("*.html")
                if (found := paragraph.search(path.read_text()))]


def test_charts_are_drawn(built):
    for page in site.MEASURED:
        text = (built / page.replace(".md", ".html")).read_text()
        assert text.count("<svg") > 3 and "Figures of" in text and "&lt;svg" not in text
        assert (built / page.replace(".md", ".json")).is_file()
    assert ".measured" in (built / "measured.css").read_text()


def test_the_command_line_is_up_to_date():
    assert cli_reference.PAGE.read_text() == cli_reference.page()


def test_all_of_the_command_line_is_there():
    page = cli_reference.page()

    def walk(parser, section: str):
        for action in parser._actions:
            for option in action.option_strings if action.help is not argparse.SUPPRESS else ():
                assert option in section or option in ("-h", "--help"), option
        for command, _ in commands_of(parser).values():
            part = re.search(rf"^#+ `{command.prog}`$(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
            walk(command, part[1] + page.split("\n## ")[0])
    walk(make_parser(), page)


@pytest.mark.parametrize("text, marked", [
    ("takes --disk and -v", "takes `--disk` and `-v`"), ("by --stats=json,file=FILE.", "by `--stats=json,file=FILE`."),
    ("@check, a well-known one", "`@check`, a well-known one"), ("on|off", "on|off"),
    ("a=on|off (x)", "`a=on|off` (x)"),
    ("fd=N[:N...]) or", "`fd=N[:N...]`) or"), ("`--x` as it is", "`--x` as it is"), ("test_*.py", r"test_\*.py")])
def test_what_is_typed_is_code(text, marked):
    assert cli_reference._marked(text) == marked
