"""The pages of the site of `make docs`, put together from where readers of the source look for them, with the sources
that they lead to, and charts of what was measured.

    python -m tools.site FOLDER
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

from vmm.bench import draw, saved, style
from vmm.bench.page import element
from vmm.paths import ROOT

# what a page of the site is in the source
PAGES = {
    "index.md": "README.md",
    "tutorials/adder.md": "examples/adder/README.md",
    "tutorials/blitter.md": "examples/blitter/README.md",
    "tutorials/louder.md": "examples/louder/README.md",
    "architecture.md": "ARCHITECTURE.md",
    "protocol.md": "vmm/sync/PROTOCOL.md",
    "models.md": "models/README.md",
    "reliability.md": "RELIABILITY.md",
    "benchmarks.md": "vmm/bench/README.md",
    "nested.md": "tools/nested/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
MEASURED = {"measured/exits.md": "Exits", "measured/blk.md": "Disk", "measured/storage.md": "Disk, on ext4 and XFS",
            "measured/net.md": "Network"}
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)(?=[)#])")
FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".c": "c", ".h": "c"}


def assemble(folder: Path) -> None:
    """All pages of the site into an empty folder."""
    shutil.copytree(ROOT / "docs", folder, dirs_exist_ok=True)
    pages = {**PAGES, **{path.name: f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}}
    sources = set()
    for page, path in pages.items():
        text = (ROOT / path).read_text()
        sources |= _sources(text, path)
        _write(folder / page, _moved(text, path, page))
    for source in sources:
        _write(folder / _page_of(source), _source_page(source))
    for page, title in MEASURED.items():
        _write(folder / page, _measured_page(page, title))
    _write(folder / "measured.css", _css())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# links

def _targets(text: str, path: str) -> dict[str, str]:
    """Of each link, outside of code: where it leads to in the source."""
    prose = FENCE.sub("", text)
    return {link: posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) for link in LINK.findall(prose)}


def _sources(text: str, path: str) -> set[str]:
    """Files that a page leads to, and that are no pages themselves."""
    return {target for target in _targets(text, path).values()
            if target not in PAGES.values() and not target.startswith("docs/")}


def _page_of(source: str) -> str:
    """Where on the site a file of the source is; of figures, their chart."""
    if source.startswith("docs/measured/"):
        return source.removeprefix("docs/").replace(".json", ".md")
    for page, path in PAGES.items():
        if source == path:
            return page
    return source.removeprefix("docs/") if source.startswith("docs/") else f"source/{source}.md"


def _moved(text: str, path: str, page: str) -> str:
    """A page whose links lead to pages of the site."""
    targets = _targets(text, path)

    def link(found: re.Match) -> str:
        return posixpath.relpath(_page_of(targets[found[0]]), posixpath.dirname(page) or ".")
    parts = FENCE.split(text)
    parts[::2] = [LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)


def _source_page(source: str) -> str:
    if not (ROOT / source).is_file():
        raise LookupError(f"a page leads to {source}; wanted a file that is there")
    language = LANGUAGES.get(Path(source).suffix, "text")
    return f"# {source}\n\n````{language}\n{(ROOT / source).read_text()}````\n"


# what was measured

def _measured_page(page: str, title: str) -> str:
    name = Path(page).stem
    charts = element("div", *draw.body(saved.read(ROOT / "docs" / "measured" / f"{name}.json")), class_="measured")
    return (f"---\nhide: [toc]\n---\n\n# {title}\n\nBy `splitvmm bench {name}`; [the rows]({name}.json), and "
            f"[how they are taken](../benchmarks.md).\n\n"
            + ElementTree.tostring(charts, "unicode", method="html").replace("\n", " ") + "\n")


def _css() -> str:
    """The look of `bench draw`, for what is inside of class `measured`, in the site's colours."""
    return (f":root {{ {style.colours(style.LIGHT)} }} [data-md-color-scheme=slate] {{ {style.colours(style.DARK)} }}\n"
            f".measured {{ {style.RULES} }}\n")


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    shutil.rmtree(folder, ignore_errors=True)
    assemble(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
